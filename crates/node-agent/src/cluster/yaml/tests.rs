//! The directory as a whole: files saved, broken, replaced and removed, and the deltas that follow.

use std::path::Path;
use std::time::Duration;

use std::sync::atomic::Ordering;

use super::*;
use crate::cluster::index::Index;
use crate::cluster::model::Object;

fn namespace(name: &str, team: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{team: {team}}}\n")
}

/// A running source over a directory, and the index its deltas go into.
struct Running {
    root: tempfile::TempDir,
    index: Index,
    deltas: tokio::sync::mpsc::Receiver<Vec<Delta>>,
    feed: Feed,
    stop: CancellationToken,
}

impl Running {
    async fn over(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(root.path().join(name), text).unwrap();
        }
        let mut running = Self::start(root, None);
        running.until("everything is listed", Index::is_complete).await;
        running
    }

    fn start(root: tempfile::TempDir, last_good: Option<PathBuf>) -> Self {
        let (feed, deltas) = Feed::new();
        let stop = CancellationToken::new();
        let source = YamlDirectory { root: root.path().to_owned(), last_good };
        tokio::spawn(Box::new(source).run(feed.clone(), stop.clone()));
        Running { root, index: Index::default(), deltas, feed, stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn save(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Applies deltas until the condition holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Index) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !holds(&self.index) {
            let batch = tokio::time::timeout_at(deadline, self.deltas.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("never: {what}; {:?}", self.feed.status.problems));
            for delta in batch.expect("the source runs") {
                self.index.apply(delta);
            }
        }
    }

    async fn until_problem(&self, text: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !self.problems().iter().any(|problem| problem.contains(text)) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "no problem says {text:?}: {:?}",
                self.problems()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn problems(&self) -> Vec<String> {
        self.feed.status.problems.load().iter().map(ToString::to_string).collect()
    }

    /// Nothing comes for as long as the source may hesitate.
    async fn quiet(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(400), self.deltas.recv()).await;
        assert!(next.is_err(), "unexpected: {next:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn team(index: &Index, name: &str) -> Option<String> {
    index.namespace_labels(name)?.get("team").cloned()
}

fn is(name: &'static str, value: Option<&'static str>) -> impl Fn(&Index) -> bool {
    move |index| team(index, name).as_deref() == value
}

#[tokio::test]
async fn saved_files_new_directories_and_removals_take_effect() {
    let mut dir = Running::over(&[("a.yaml", &namespace("a", "one"))]).await;
    assert_eq!(team(&dir.index, "a").as_deref(), Some("one"));
    dir.save("a.yaml", &namespace("a", "two"));
    dir.until("the edit", is("a", Some("two"))).await;
    std::fs::create_dir(dir.path("sub")).unwrap();
    dir.save("sub/b.yml", &namespace("b", "x"));
    dir.until("a file in a new directory", is("b", Some("x"))).await;
    std::fs::remove_file(dir.path("a.yaml")).unwrap();
    dir.until("the removal", is("a", None)).await;
}

#[tokio::test]
async fn an_editor_that_moves_files_about_never_makes_an_object_vanish() {
    let mut dir = Running::over(&[("a.yaml", &namespace("a", "one"))]).await;
    // vim: the old file becomes the backup, the new one is written under the old name.
    std::fs::rename(dir.path("a.yaml"), dir.path("a.yaml~")).unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    dir.save("a.yaml", &namespace("a", "two"));
    let first = dir.deltas.recv().await.unwrap();
    assert!(matches!(&first[..], [Delta::Upsert(..)]), "{first:?}");
    for delta in first {
        dir.index.apply(delta);
    }
    // Others write aside and rename over.
    dir.save("a.yaml.tmp", &namespace("a", "three"));
    std::fs::rename(dir.path("a.yaml.tmp"), dir.path("a.yaml")).unwrap();
    let second = dir.deltas.recv().await.unwrap();
    assert!(
        matches!(&second[..], [Delta::Upsert(_, Object::Namespace(n))] if n.labels["team"] == "three"),
        "{second:?}"
    );
    // Some truncate first and take their time.
    let file = std::fs::File::create(dir.path("a.yaml")).unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    drop(file);
    dir.save("a.yaml", &namespace("a", "four"));
    let third = dir.deltas.recv().await.unwrap();
    assert!(
        matches!(&third[..], [Delta::Upsert(_, Object::Namespace(n))] if n.labels["team"] == "four"),
        "{third:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_half_written_keeps_its_objects_and_names_file_and_line() {
    let both = format!("{}---\n{}", namespace("a", "one"), namespace("b", "one"));
    let mut dir = Running::over(&[("a.yaml", &both)]).await;
    dir.save("a.yaml", &format!("{}---\napiVersion: v1\nkind: [\n", namespace("a", "two")));
    dir.until_problem("a.yaml:").await;
    let problem = dir.problems().remove(0);
    assert!(problem.contains("not valid YAML") && problem.contains("last good objects stay"), "{problem}");
    dir.quiet().await;
    assert_eq!(dir.feed.status.problems_total.load(Ordering::Relaxed), 1, "said once");
    dir.save("a.yaml", &namespace("a", "three"));
    dir.until("mended", is("a", Some("three"))).await;
    dir.until("b is not in it any more", is("b", None)).await;
    assert!(dir.problems().is_empty());
}

#[tokio::test]
async fn one_wrong_object_leaves_the_others_alone() {
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIPs: [{ip: nonsense}]}\n";
    let mut dir = Running::over(&[("a.yaml", &format!("{}{pod}", namespace("a", "one")))]).await;
    assert_eq!(team(&dir.index, "a").as_deref(), Some("one"));
    let problem = dir.problems().remove(0);
    assert!(problem.contains("a.yaml:6: Pod default/p: status.podIPs[0].ip: \"nonsense\""), "{problem}");
    dir.save("a.yaml", &format!("{}{pod}", namespace("a", "two")));
    dir.until("the good object moves on", is("a", Some("two"))).await;
}

#[tokio::test]
async fn of_two_files_with_one_object_the_first_by_path_counts() {
    let mut dir =
        Running::over(&[("1.yaml", &namespace("a", "first")), ("2.yaml", &namespace("a", "second"))]).await;
    assert_eq!(team(&dir.index, "a").as_deref(), Some("first"));
    let problem = dir.problems().remove(0);
    assert!(
        problem.contains("2.yaml:1: Namespace a: already in ") && problem.contains("1.yaml:1"),
        "{problem}"
    );
    std::fs::remove_file(dir.path("1.yaml")).unwrap();
    dir.until("the second takes over", is("a", Some("second"))).await;
}

#[tokio::test]
async fn lists_json_and_unknown_kinds_are_read() {
    let list = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n\
                - {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n";
    let json = r#"{"kind":"NamespaceList","apiVersion":"v1","items":[{"metadata":{"name":"b"}}]}"#;
    let dir = Running::over(&[("l.yaml", list), ("l.json", json)]).await;
    let names: Vec<_> = dir.index.namespaces.iter().map(|n| n.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(dir.problems().is_empty(), "{:?}", dir.problems());
}

#[tokio::test]
async fn a_directory_that_goes_away_takes_nothing_with_it() {
    let mut dir = Running::over(&[("a.yaml", &namespace("a", "one"))]).await;
    let aside = dir.root.path().with_extension("aside");
    std::fs::rename(dir.root.path(), &aside).unwrap();
    dir.until_problem("cannot be listed").await;
    dir.quiet().await;
    std::fs::rename(&aside, dir.root.path()).unwrap();
    dir.save("a.yaml", &namespace("a", "two"));
    dir.until("it is back", is("a", Some("two"))).await;
}

#[tokio::test]
async fn a_file_broken_while_nobody_looked_still_means_what_it_last_meant() {
    let copies = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.yaml"), namespace("a", "one")).unwrap();
    let mut before = Running::start(root, Some(copies.path().to_owned()));
    before.until("listed", Index::is_complete).await;
    before.stop.cancel();
    before.save("a.yaml", "kind: [");
    let root = std::mem::replace(&mut before.root, tempfile::tempdir().unwrap());
    let mut after = Running::start(root, Some(copies.path().to_owned()));
    after.until("listed again", Index::is_complete).await;
    assert_eq!(team(&after.index, "a").as_deref(), Some("one"));
    after.until_problem("last good objects stay").await;
}

#[test]
fn a_version_that_is_not_read_is_named_and_other_groups_are_none_of_our_business() {
    let object =
        |version: &str| read(&format!("apiVersion: {version}\nkind: NetworkPolicy\nmetadata: {{name: p}}\n"));
    let fault = &object("networking.k8s.io/v1beta1").faults[0];
    assert!(fault.message.contains("write NetworkPolicy in networking.k8s.io/v1"), "{fault:?}");
    let other = object("crd.projectcalico.org/v1");
    assert!(other.faults.is_empty() && other.objects.is_empty() && !other.broken, "{other:?}");
}

#[test]
fn a_policy_that_is_wrong_keeps_its_last_good_form_or_restricts() {
    let policy = |ingress: &str| {
        read(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\n\
             spec:\n  podSelector: {{}}\n  ingress: {ingress}\n"
        ))
    };
    let mut view = view::View::default();
    let restricted = |deltas: Vec<Delta>| match &deltas[..] {
        [Delta::Upsert(_, Object::NetworkPolicy(policy))] => policy.written.ingress.is_empty(),
        other => panic!("one policy: {other:?}"),
    };
    view.put(Path::new("p.yaml"), policy("5"));
    assert!(restricted(view.deltas()), "never good: it restricts");
    assert!(view.problems()[0].message.contains("allows nothing"));
    view.put(Path::new("p.yaml"), policy("[{}]"));
    assert!(!restricted(view.deltas()));
    view.put(Path::new("p.yaml"), policy("5"));
    assert_eq!(view.deltas(), [], "the good form stays");
    assert!(view.problems()[0].message.contains("last good form stays"), "{:?}", view.problems());
}

fn policy(kind: &str, name: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: {kind}\nmetadata: {{{name}}}\nspec: {{podSelector: {{}}}}\n"
    )
}

/// What is left of a policy in force after its file says something else.
fn after(text: &str) -> (usize, Vec<String>) {
    let mut view = view::View::default();
    let path = Path::new("p.yaml");
    assert!(view.put(path, read(&policy("NetworkPolicy", "name: p, namespace: live"))));
    assert!(!view.put(path, read(text)), "understood: {text}");
    view.deltas();
    (view.len(), view.problems().iter().map(ToString::to_string).collect())
}

#[test]
fn a_slip_in_what_names_an_object_keeps_the_object_and_is_said() {
    let good = "name: p, namespace: live";
    for (text, says) in [
        (policy("NetworkPolcy", good), "write NetworkPolicy in networking.k8s.io/v1"),
        (policy("networkpolicy", good), "write NetworkPolicy"),
        (policy("NetworkPolciy", good), "write NetworkPolicy"),
        (policy("Policy", good), "stands where NetworkPolicy live/p was"),
        (
            policy("NetworkPolicy", good).replace("networking.k8s.io/v1", "networking.k8s.io/v2"),
            "write NetworkPolicy",
        ),
        (
            policy("NetworkPolicy", good).replace("networking.", "netwrking."),
            "stands where NetworkPolicy live/p",
        ),
        (policy("NetworkPolicy", good).replace("kind:", "knd:"), "apiVersion or kind is missing"),
        (
            policy("NetworkPolicy", good).replace("apiVersion:", "apiVersoin:"),
            "apiVersion or kind is missing",
        ),
        (policy("NetworkPolicy", "nme: p, namespace: live"), "without metadata.name"),
        (policy("NetworkPolicy", "name: p, namespce: live"), "metadata.namespce"),
        ("kind: List\napiVersion: v1\nitms: []\n".to_owned(), "List without items"),
    ] {
        let (left, problems) = after(&text);
        assert_eq!(left, 1, "{text}");
        assert!(problems.iter().any(|problem| problem.contains(says)), "{says}: {problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("stay")), "what is in force: {problems:?}");
    }
}

#[test]
fn an_object_of_another_kind_that_was_always_beside_it_keeps_nothing() {
    let mut view = view::View::default();
    let path = Path::new("p.yaml");
    let deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: p, namespace: live}\n";
    let both = policy("NetworkPolicy", "name: p, namespace: live") + deployment;
    assert!(view.put(path, read(&both)));
    assert!(view.put(path, read(deployment)), "the policy was taken out, and nothing stands in its place");
    view.deltas();
    assert_eq!((view.len(), view.problems().len()), (0, 0));
    // A slip stays one, whatever else is edited meanwhile.
    let slip = policy("Policy", "name: p, namespace: live");
    view.put(path, read(&both));
    view.put(path, read(&slip));
    view.put(path, read(&format!("{slip}---\n{}", namespace("a", "one"))));
    view.deltas();
    assert_eq!((view.len(), view.problems().len()), (2, 1));
}

/// A run of the source with copies, and then another one after `meanwhile`.
async fn restarted(files: &[(&str, &str)], meanwhile: impl FnOnce(&Path)) -> (Running, tempfile::TempDir) {
    let copies = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(root.path().join(name), text).unwrap();
    }
    let mut before = Running::start(root, Some(copies.path().to_owned()));
    before.until("listed", Index::is_complete).await;
    // Nothing is left to be settled.
    tokio::time::sleep(Duration::from_millis(150)).await;
    before.stop.cancel();
    let root = std::mem::replace(&mut before.root, tempfile::tempdir().unwrap());
    meanwhile(root.path());
    (Running::start(root, Some(copies.path().to_owned())), copies)
}

/// The file's writer went long ago.
fn age(path: &Path) {
    let then = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_at_a_restart_means_what_it_last_meant_and_is_tried_again() {
    let (mut after, _copies) = restarted(&[("a.yaml", &namespace("a", "one"))], |root| {
        let path = root.join("a.yaml");
        let large = std::fs::File::create(&path).unwrap();
        large.set_len(257 << 20).unwrap();
        age(&path);
    })
    .await;
    after.until("listed again", Index::is_complete).await;
    assert_eq!(team(&after.index, "a").as_deref(), Some("one"));
    let problem = after.problems().remove(0);
    assert!(problem.contains("cannot be read") && problem.contains("last good objects stay"), "{problem}");
    after.save("a.yaml", &namespace("a", "two"));
    after.until("it can be read", is("a", Some("two"))).await;
}

#[test]
fn a_read_that_failed_is_repeated_although_the_file_is_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.yaml");
    let mut scanner = Scanner::new(root.path().to_owned(), LastGood::new(None).unwrap());
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(257 << 20).unwrap();
    age(&path);
    let first = scanner.scan(Hints::default()).unwrap();
    assert!(first.again_in.is_some_and(|wait| wait <= Duration::from_millis(100)), "{first:?}");
    assert_eq!(scanner.view().problems().len(), 1);
    std::thread::sleep(Duration::from_millis(110));
    let second = scanner.scan(Hints::default()).unwrap();
    assert!(second.again_in.is_some_and(|wait| wait > Duration::from_millis(100)), "{second:?}");
}

#[tokio::test]
async fn a_file_cut_in_half_by_its_writer_at_a_restart_waits_with_its_copy() {
    let both = format!("{}---\n{}", namespace("a", "one"), namespace("b", "one"));
    let (mut after, _copies) = restarted(&[("a.yaml", &both)], |root| {
        std::fs::write(root.join("a.yaml"), namespace("a", "two")).unwrap();
    })
    .await;
    after.until("listed again", Index::is_complete).await;
    assert_eq!(team(&after.index, "b").as_deref(), Some("one"), "not gone before the writer is done");
    after.until("the writer was done after all", is("b", None)).await;
    assert_eq!(team(&after.index, "a").as_deref(), Some("two"));
}

#[tokio::test]
async fn a_broken_file_that_an_earlier_agent_may_have_known_by_another_name_removes_nothing() {
    let files = [("a.yaml", &*namespace("a", "one")), ("b.yaml", &*namespace("b", "one"))];
    let (mut after, copies) = restarted(&files, |root| {
        std::fs::rename(root.join("a.yaml"), root.join("c.yaml")).unwrap();
        std::fs::write(root.join("c.yaml"), "kind: [").unwrap();
        age(&root.join("c.yaml"));
    })
    .await;
    after.until_problem("all that is in force stays").await;
    after.quiet().await;
    after.save("c.yaml", &namespace("a", "two"));
    after.until("listed once it is mended", Index::is_complete).await;
    assert_eq!(team(&after.index, "a").as_deref(), Some("two"));
    assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 2, "the old name's copy is gone");
}

#[tokio::test]
async fn a_file_that_was_broken_before_holds_up_no_restart() {
    let mixed = format!("{}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: 7}}\n", namespace("m", "one"));
    let files = [("a.yaml", &*namespace("a", "one")), ("b.yaml", "kind: ["), ("m.yaml", &*mixed)];
    let (mut after, _copies) = restarted(&files, |root| {
        for name in ["a.yaml", "b.yaml", "m.yaml"] {
            age(&root.join(name));
        }
    })
    .await;
    after.until("listed again", Index::is_complete).await;
    assert_eq!(team(&after.index, "m").as_deref(), Some("one"), "what counted goes on to count");
    assert_eq!(after.problems().len(), 2);
}

#[tokio::test]
async fn a_policy_is_as_old_as_the_file_was_when_it_came_to_differ() {
    let policy = |name: &str, app: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{podSelector: {{matchLabels: {{app: {app}}}}}}}\n"
        )
    };
    let edit = |index: &Index, name: &str| {
        index.policies.get("default", name).unwrap().meaning.meta.edited.clone().expect("an edit")
    };
    let written = |path: &Path| {
        fathom_api::time::from_system_time(std::fs::metadata(path).unwrap().modified().unwrap())
    };
    let both = policy("web", "web") + &policy("db", "db");
    let mut running = Running::over(&[("p.yaml", &both)]).await;
    let first = edit(&running.index, "web");
    assert_eq!((&*first.by, first.unix_ns), ("p.yaml", written(&running.path("p.yaml"))));

    running.save("p.yaml", &(policy("web", "other") + &policy("db", "db")));
    let selects = |index: &Index| index.policies.get("default", "web").unwrap().meaning.subject.to_string();
    running.until("the edit", |index| selects(index) == "app=other").await;
    assert_eq!(edit(&running.index, "web").unix_ns, written(&running.path("p.yaml")));
    assert!(edit(&running.index, "web").unix_ns > first.unix_ns);
    assert_eq!(edit(&running.index, "db"), first, "the save did not touch it");
}
