//! The API server as a source, compared with a directory that holds the same objects, and in every trouble an
//! API server can make.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fathom_fake_apiserver::{ApiServer as FakeServer, Options};
use fathom_kubernetes::connect::{Connection, connect};
use fathom_kubernetes::crds::definitions;
use fathom_kubernetes::registry::ClusterRegistry;
use fathom_node_agent::cluster::index::Index;
use fathom_node_agent::cluster::kube::ApiServer;
use fathom_node_agent::cluster::source::{Delta, Feed, Source};
use fathom_node_agent::cluster::yaml::YamlDirectory;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

async fn fake() -> FakeServer {
    let server = FakeServer::start(Options::default()).await.unwrap();
    for (_, definition) in definitions() {
        let mut definition = serde_json::to_value(definition).unwrap();
        definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
        definition["kind"] = json!("CustomResourceDefinition");
        server.put(&definition).unwrap();
    }
    server
}

async fn connection(server: &FakeServer) -> Connection {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let token = server.token("kube-system", "agent").unwrap();
    allow_everything(server);
    std::fs::write(&path, server.kubeconfig(&token)).unwrap();
    connect(Some(&path), "test").await.unwrap()
}

fn allow_everything(server: &FakeServer) {
    let group = "rbac.authorization.k8s.io";
    let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
        "metadata": {"name": "agent"}, "rules": [all]});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
        "metadata": {"name": "agent"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "agent"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "agent"}]});
    server.put(&role).unwrap();
    server.put(&binding).unwrap();
}

/// A running source and the index its deltas go into.
struct Running {
    index: Index,
    deltas: mpsc::Receiver<Vec<Delta>>,
    feed: Feed,
    stop: CancellationToken,
}

impl Running {
    async fn over(server: &FakeServer) -> Running {
        let connection = connection(server).await;
        let stop = CancellationToken::new();
        let registry = ClusterRegistry::default();
        let (keeper, client, until) = (registry.clone(), connection.client.clone(), stop.clone());
        tokio::spawn(async move { keeper.run(client, until).await });
        Running::of(ApiServer { connection, registry }, stop)
    }

    fn over_directory(root: &Path) -> Running {
        let source = YamlDirectory { root: root.to_owned(), last_good: None };
        Running::of(source, CancellationToken::new())
    }

    fn of(source: impl Source, stop: CancellationToken) -> Running {
        let (feed, deltas) = Feed::new();
        tokio::spawn(Box::new(source).run(feed.clone(), stop.clone()));
        Running { index: Index::default(), deltas, feed, stop }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Index) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds(&self.index) {
            let batch = tokio::time::timeout_at(deadline, self.deltas.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("never: {what}; {:?}", self.problems()));
            for delta in batch.expect("the source runs") {
                self.index.apply(delta);
            }
        }
    }

    async fn is_complete(&mut self) {
        self.until("everything is listed", Index::is_complete).await;
    }

    /// Takes in what comes for a while, and panics when something that must stay goes even for a moment.
    async fn stays(&mut self, time: Duration, holds: impl Fn(&Index) -> bool) {
        let until = tokio::time::Instant::now() + time;
        while let Ok(Some(batch)) = tokio::time::timeout_at(until, self.deltas.recv()).await {
            for delta in batch {
                self.index.apply(delta);
                assert!(holds(&self.index), "something went that had to stay");
            }
        }
        assert!(holds(&self.index));
    }

    fn problems(&self) -> Vec<String> {
        self.feed.status.problems.load().iter().map(ToString::to_string).collect()
    }

    async fn until_problems(&self, what: &str, hold: impl Fn(&[String]) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !hold(&self.problems()) {
            assert!(tokio::time::Instant::now() < deadline, "never: {what}: {:?}", self.problems());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn pods(index: &Index) -> BTreeSet<String> {
    index.pods.iter().map(|pod| pod.name.to_string()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": "node-a", "containers": [{"name": "main", "image": "x",
            "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.244.0.7",
            "podIPs": [{"ip": "10.244.0.7"}]}})
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// One object of each kind.
fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels":
            {"team": "x", "kubernetes.io/metadata.name": "default"}}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": {"zone": "1"}},
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}),
        pod("web"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.244.0.7"], "conditions": {"ready": true}, "nodeName": "node-a"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
        policy("deny", json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]})),
    ]
}

#[tokio::test]
async fn a_directory_and_a_server_with_the_same_objects_are_the_same() {
    let (server, folder) = (fake().await, tempfile::tempdir().unwrap());
    for object in objects() {
        server.put(&object).unwrap();
    }
    // The directory gets what the server shows, with what it filled in.
    let shown: Vec<Value> = {
        let store = server.shared().store();
        let places = [
            "namespaces",
            "nodes",
            "pods",
            "services",
            "endpointslices.discovery.k8s.io",
            "networkpolicies.networking.k8s.io",
        ];
        places.iter().flat_map(|place| store.objects(place).map(|(_, object)| (**object).clone())).collect()
    };
    for (number, object) in shown.iter().enumerate() {
        let path = folder.path().join(format!("{number}.yaml"));
        std::fs::write(path, object.to_string()).unwrap();
    }
    let (mut of_server, mut of_directory) =
        (Running::over(&server).await, Running::over_directory(folder.path()));
    of_server.is_complete().await;
    of_directory.is_complete().await;
    assert_eq!(of_server.problems(), [""; 0]);
    macro_rules! same {
        ($($kind:ident),*) => {$(
            let one: Vec<_> = of_server.index.$kind.iter().collect();
            let other: Vec<_> = of_directory.index.$kind.iter().collect();
            assert!(!one.is_empty());
            assert_eq!(one, other);
        )*};
    }
    same!(namespaces, nodes, pods, services, slices, policies);
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_what_changes_meanwhile_is_not_lost() {
    let server = fake().await;
    for number in 0..1200 {
        server.put(&pod(&format!("p{number:04}"))).unwrap();
    }
    server.shared().settings().delay = Duration::from_millis(20);
    let mut running = Running::over(&server).await;
    running.until("a first page", |index| index.pods.len() >= 500).await;
    // A page that was listed, one that was not, and a new one.
    for gone in ["p0000", "p1199"] {
        server.remove("v1", "Pod", "default", gone).unwrap();
    }
    server.put(&pod("new")).unwrap();
    running.is_complete().await;
    running
        .until("all and no more", |index| {
            let names = pods(index);
            names.len() == 1199
                && names.contains("new")
                && !names.contains("p0000")
                && !names.contains("p1199")
        })
        .await;
    let (allowed, _) = server.asked();
    let lists = allowed.iter().filter(|a| a.action.verb == "list" && a.action.resource == "pods");
    assert!(lists.map(|asked| asked.times).sum::<u64>() >= 3, "in pages");
}

#[tokio::test]
async fn a_state_that_is_compacted_between_two_pages_removes_nothing() {
    let server = fake().await;
    for number in 0..1200 {
        server.put(&pod(&format!("p{number:04}"))).unwrap();
    }
    server.shared().settings().delay = Duration::from_millis(20);
    let mut running = Running::over(&server).await;
    running.until("a first page", |index| index.pods.len() >= 500).await;
    server.shared().store().compact();
    running.is_complete().await;
    running.until("all of them", |index| index.pods.len() == 1200).await;
}

#[tokio::test]
async fn an_expired_watch_lists_anew_and_removes_only_what_is_gone() {
    for as_status in [false, true] {
        let server = fake().await;
        server.shared().settings().expired_as_status = as_status;
        for name in ["stays", "goes", "comes-back"] {
            server.put(&pod(name)).unwrap();
        }
        let mut running = Running::over(&server).await;
        running.is_complete().await;
        running.until("three pods", |index| index.pods.len() == 3).await;
        // While nobody watches one goes, one comes, one goes and comes back.
        server.stop().await;
        for name in ["goes", "comes-back"] {
            server.remove("v1", "Pod", "default", name).unwrap();
        }
        for name in ["new", "comes-back"] {
            server.put(&pod(name)).unwrap();
        }
        server.shared().expire();
        server.start_again().await.unwrap();
        let wanted = set(&["stays", "new", "comes-back"]);
        running.until("what there is now", |index| pods(index) == wanted).await;
        server.shared().expire();
        server.put(&pod("later")).unwrap();
        running.until("one more", |index| index.pods.len() == 4).await;
        running.until_problems("no problem", <[String]>::is_empty).await;
    }
}

#[tokio::test]
async fn bookmarks_keep_a_quiet_watch_young() {
    let server = fake().await;
    server.shared().settings().bookmark_every = Duration::from_millis(50);
    server.put(&pod("quiet")).unwrap();
    let mut running = Running::over(&server).await;
    running.is_complete().await;
    // Much happens elsewhere; a bookmark says up to where the pods are known.
    for number in 0..50 {
        server
            .put(&json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "default", "name": format!("c{number}")}}))
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.shared().store().compact();
    let before = lists(&server);
    server.shared().drop_connections();
    server.put(&pod("new")).unwrap();
    running.until("the new pod", |index| index.pods.len() == 2).await;
    assert_eq!(lists(&server), before, "nobody had to list again");
}

fn lists(server: &FakeServer) -> u64 {
    let (allowed, _) = server.asked();
    allowed.iter().filter(|a| a.action.verb == "list").map(|asked| asked.times).sum()
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let server = fake().await;
    server.put(&pod("web")).unwrap();
    server.stop().await;
    let mut running = Running::over(&server).await;
    running.stays(Duration::from_secs(1), |index| !index.is_complete()).await;
    server.start_again().await.unwrap();
    running.is_complete().await;
    running.until("the pod", |index| pods(index) == set(&["web"])).await;
}

#[tokio::test]
async fn a_server_that_goes_away_takes_nothing_with_it_and_is_named() {
    let server = fake().await;
    server.put(&pod("web")).unwrap();
    let mut running = Running::over(&server).await;
    running.is_complete().await;
    running.until("the pod", |index| pods(index) == set(&["web"])).await;
    server.stop().await;
    running.until_problems("every kind is said to be cut off", |problems| problems.len() >= 6).await;
    let problems = running.problems();
    assert!(
        problems.iter().all(|p| p.contains(&server.url()) && p.contains("stays in force")),
        "{problems:?}"
    );
    running.stays(Duration::from_secs(1), |index| pods(index) == set(&["web"])).await;
    server.start_again_empty().await.unwrap();
    running.until_problems("all is well", <[String]>::is_empty).await;
    server.remove("v1", "Pod", "default", "web").unwrap();
    running.until("the pod to go", |index| pods(index).is_empty()).await;
}

#[tokio::test]
async fn a_server_that_is_overwhelmed_or_refuses_takes_nothing_with_it() {
    let server = fake().await;
    server.put(&pod("web")).unwrap();
    let mut running = Running::over(&server).await;
    running.is_complete().await;
    running.until("the pod", |index| pods(index) == set(&["web"])).await;
    for refusal in [
        fathom_fake_apiserver::refusal::Refusal::new(429, "TooManyRequests", "too many requests")
            .retry_after(1),
        fathom_fake_apiserver::refusal::Refusal::new(500, "InternalError", "etcdserver: leader changed"),
        fathom_fake_apiserver::refusal::Refusal::new(403, "Forbidden", "pods is forbidden"),
        fathom_fake_apiserver::refusal::Refusal::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
    ] {
        server.shared().settings().faults = Some((12, refusal.clone()));
        server.shared().expire();
        running.stays(Duration::from_millis(1500), |index| pods(index) == set(&["web"])).await;
        server.shared().settings().faults = None;
        running.until_problems(&refusal.message, <[String]>::is_empty).await;
    }
    server.put(&pod("new")).unwrap();
    running.until("the watch to go on", |index| index.pods.len() == 2).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_skipped_said_counted_and_mended() {
    let server = fake().await;
    server.put(&pod("good")).unwrap();
    let mut bad = pod("bad");
    bad["spec"]["containers"] = json!("none");
    server.put(&bad).unwrap();
    // What it selects is known, whom it lets in is not: it lets nobody in.
    let odd = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "?"}}]}]});
    server.put(&policy("odd", odd)).unwrap();
    let mut running = Running::over(&server).await;
    running.is_complete().await;
    running.until("the good pod", |index| pods(index) == set(&["good"])).await;
    let said = |problems: &[String], object: &str| problems.iter().any(|problem| problem.contains(object));
    running
        .until_problems("both are said", |problems| {
            said(problems, "Pod default/bad") && said(problems, "NetworkPolicy default/odd")
        })
        .await;
    assert!(running.feed.status.problems_total.load(Ordering::Relaxed) >= 2);
    server.put(&pod("bad")).unwrap();
    running.until("both pods", |index| index.pods.len() == 2).await;
    // A good one that turns bad stays as it was, over an expired watch too.
    bad["metadata"]["name"] = json!("good");
    server.put(&bad).unwrap();
    running.until_problems("it is said", |problems| said(problems, "Pod default/good")).await;
    server.shared().expire();
    running.stays(Duration::from_secs(1), |index| pods(index) == set(&["bad", "good"])).await;
    server.remove("v1", "Pod", "default", "good").unwrap();
    running.until("it to go", |index| pods(index) == set(&["bad"])).await;
    server.remove("networking.k8s.io/v1", "NetworkPolicy", "default", "odd").unwrap();
    running.until_problems("nothing is wrong", <[String]>::is_empty).await;
}
