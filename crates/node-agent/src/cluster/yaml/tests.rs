//! The directory as a whole: files saved, broken, replaced and removed, and the deltas that follow.

use std::path::Path;
use std::time::Duration;

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
async fn saved_files_take_effect_within_tens_of_milliseconds() {
    let mut dir = Running::over(&[("a.yaml", &namespace("a", "one"))]).await;
    assert_eq!(team(&dir.index, "a").as_deref(), Some("one"));
    let start = tokio::time::Instant::now();
    dir.save("a.yaml", &namespace("a", "two"));
    dir.until("the edit", is("a", Some("two"))).await;
    assert!(start.elapsed() < Duration::from_millis(100), "took {:?}", start.elapsed());
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
    assert!(after.problems()[0].contains("last good objects stay"));
}

#[test]
fn a_version_that_is_not_read_is_named_and_other_groups_are_none_of_our_business() {
    let object =
        |version: &str| read(&format!("apiVersion: {version}\nkind: NetworkPolicy\nmetadata: {{name: p}}\n"));
    let fault = &object("networking.k8s.io/v1beta1").faults[0];
    assert!(fault.message.contains("write networking.k8s.io/v1"), "{fault:?}");
    assert_eq!(object("crd.projectcalico.org/v1"), Content::default());
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
