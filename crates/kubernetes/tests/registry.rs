//! Agents that agree on identity numbers, and relays that give them up, with an API server between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fathom_fake_apiserver::{ApiServer, Options};
use fathom_identity::{AllocateError, Label, LabelSet, Registry as _, allocate, candidates};
use fathom_kubernetes::collector::{self, Collected};
use fathom_kubernetes::crds::definitions;
use fathom_kubernetes::identity::identity;
use fathom_kubernetes::lease::{Election, Timing};
use fathom_kubernetes::registry::{ClusterError, ClusterRegistry, REFRESH};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

async fn server() -> ApiServer {
    let server = ApiServer::start(Options::default()).await.unwrap();
    for (_, definition) in definitions() {
        let mut definition = serde_json::to_value(definition).unwrap();
        definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
        definition["kind"] = json!("CustomResourceDefinition");
        server.put(&definition).unwrap();
    }
    server
}

fn client(server: &ApiServer) -> Client {
    Client::try_from(Config::new(server.url().parse().unwrap())).unwrap()
}

fn labels(app: &str) -> LabelSet {
    LabelSet::new([Label::k8s("app", app)])
}

/// Every identity there is: number and labels.
fn stored(server: &ApiServer) -> BTreeMap<u32, Value> {
    let shared = server.shared();
    let store = shared.store();
    let objects = store.objects("fathomidentities.fathom.dev");
    objects.map(|(key, object)| (key.name.parse().unwrap(), object["spec"]["labels"].clone())).collect()
}

/// The registry of an agent, and what ends it.
struct Agent {
    registry: ClusterRegistry,
    stop: CancellationToken,
}

impl Agent {
    fn start(server: &ApiServer, refresh: Duration) -> Agent {
        let agent = Agent { registry: ClusterRegistry::new(refresh), stop: CancellationToken::new() };
        let (registry, client, stop) = (agent.registry.clone(), client(server), agent.stop.clone());
        tokio::spawn(async move { registry.run(client, stop).await });
        agent
    }

    fn ask(&self, labels: &LabelSet) -> Result<u32, AllocateError<ClusterError>> {
        let number = allocate(&self.registry, labels);
        self.registry.hurry(labels);
        number
    }

    /// Asks until there is an answer.
    async fn number(&self, labels: &LabelSet) -> u32 {
        let mut news = self.registry.news();
        let answered = async {
            loop {
                if let Ok(number) = self.ask(labels) {
                    break number;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), news.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("no number came")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_agents_that_start_at_once_agree() {
    let server = server().await;
    let apps: Vec<LabelSet> = (0..60).map(|app| labels(&app.to_string())).collect();
    // The first numbers of some are others', or nobody knows whose.
    let number = |app: usize, turn: usize| candidates(&apps[app]).nth(turn).unwrap();
    for (taken, by) in [(number(3, 0), "x"), (number(4, 0), "y"), (number(4, 1), "z")] {
        server.put(&serde_json::to_value(identity(taken, &labels(by))).unwrap()).unwrap();
    }
    let mut nonsense = serde_json::to_value(identity(number(5, 0), &labels("n"))).unwrap();
    nonsense["spec"]["labels"] = json!(["no label"]);
    server.put(&nonsense).unwrap();
    server.shared().settings().delay = Duration::from_millis(5);

    let mut asking = JoinSet::new();
    for node in 0..200 {
        let agent = Agent::start(&server, REFRESH);
        let apps = apps.clone();
        asking.spawn(async move {
            let mut known = Vec::new();
            for pod in 0..6 {
                let app = (node * 7 + pod * 11) % apps.len();
                known.push((app, agent.number(&apps[app]).await));
            }
            (known, agent)
        });
    }
    let mut numbers: HashMap<usize, BTreeSet<u32>> = HashMap::new();
    let mut agents = Vec::new();
    while let Some(done) = asking.join_next().await {
        let (known, agent) = done.unwrap();
        for (app, number) in known {
            numbers.entry(app).or_default().insert(number);
        }
        agents.push(agent);
    }
    assert_eq!(numbers.len(), apps.len());
    for (app, numbers) in &numbers {
        assert_eq!(numbers.len(), 1, "app {app} has the numbers {numbers:?}");
    }
    let all: BTreeSet<u32> = numbers.values().flatten().copied().collect();
    assert_eq!(all.len(), apps.len(), "each has its own");
    assert!(all.iter().all(|number| (256..=65_535).contains(number)), "reserved ones are nobody's: {all:?}");
    let of = |app: usize| numbers[&app].first().copied().unwrap();
    assert_eq!(of(3), u32::from(number(3, 1)), "the next one after a number of others");
    assert_eq!(of(4), u32::from(number(4, 2)));
    assert_eq!(of(5), u32::from(number(5, 1)), "and after one nobody can read");
    until("one object for each", || stored(&server).len() == apps.len() + 4).await;
    for agent in &agents {
        for (app, app_labels) in apps.iter().enumerate() {
            assert_eq!(agent.number(app_labels).await, of(app), "whoever asks later hears the same");
        }
    }
}

#[tokio::test]
async fn labels_that_begin_at_the_same_number_get_two() {
    let server = server().await;
    let mut first = HashMap::new();
    let (a, b) = (0..)
        .find_map(|app: u32| {
            let app = labels(&app.to_string());
            let begins = candidates(&app).next().unwrap();
            first.insert(begins, app.clone()).map(|other| (other, app))
        })
        .unwrap();
    server.shared().settings().delay = Duration::from_millis(20);
    let (one, two) = (Agent::start(&server, REFRESH), Agent::start(&server, REFRESH));
    let (of_a, of_b) = tokio::join!(one.number(&a), two.number(&b));
    assert_ne!(of_a, of_b);
    assert_eq!((two.number(&a).await, one.number(&b).await), (of_a, of_b));
    assert_eq!(stored(&server).len(), 2);
}

#[tokio::test]
async fn an_agent_that_starts_again_finds_its_numbers_and_makes_none() {
    let server = server().await;
    let apps: Vec<LabelSet> = ["a", "b", "c"].map(labels).to_vec();
    let mut before = Vec::new();
    let agent = Agent::start(&server, REFRESH);
    for app in &apps {
        before.push(agent.number(app).await);
    }
    drop(agent);
    server.stop().await;
    server.start_again_empty().await.unwrap();
    let written = server.shared().store().version();
    let agent = Agent::start(&server, REFRESH);
    agent.registry.synced().await;
    let after: Vec<u32> = apps.iter().map(|app| agent.ask(app).unwrap()).collect();
    assert_eq!(after, before, "known as soon as the registry is");
    assert_eq!(server.shared().store().version(), written, "nothing was written");
}

#[tokio::test]
async fn while_the_server_is_away_known_numbers_stay_and_new_ones_wait() {
    let server = server().await;
    let agent = Agent::start(&server, REFRESH);
    let known = agent.number(&labels("a")).await;
    server.stop().await;
    assert_eq!(agent.ask(&labels("a")).unwrap(), known);
    assert!(agent.ask(&labels("b")).is_err());
    until("the agent to say so", || agent.registry.problem().is_some()).await;
    server.start_again().await.unwrap();
    let new = agent.number(&labels("b")).await;
    assert_ne!(new, known);
    until("the agent to be content", || agent.registry.problem().is_none()).await;
}

#[tokio::test]
async fn a_number_in_use_that_somebody_deletes_is_made_again() {
    let server = server().await;
    let agent = Agent::start(&server, REFRESH);
    let number = agent.number(&labels("a")).await;
    agent.registry.in_use(&[u16::try_from(number).unwrap()].into());
    server.remove("fathom.dev/v1alpha1", "FathomIdentity", "", &number.to_string()).unwrap();
    until("it to be there again", || stored(&server).contains_key(&number)).await;
    assert_eq!(agent.number(&labels("a")).await, number);
    server.shared().expire();
    server.remove("fathom.dev/v1alpha1", "FathomIdentity", "", &number.to_string()).unwrap();
    until("it to be there again, after 410 too", || stored(&server).contains_key(&number)).await;
}

/// A relay: stands for election and collects while it leads.
struct Relay {
    leading: watch::Receiver<bool>,
    collected: Arc<Collected>,
    stop: CancellationToken,
}

impl Relay {
    fn start(server: &ApiServer, name: &str, grace: Duration) -> Relay {
        let (lead, leading) = watch::channel(false);
        let (stop, collected) = (CancellationToken::new(), Arc::<Collected>::default());
        let timing = Timing {
            lease: Duration::from_secs(2),
            renew: Duration::from_millis(1500),
            retry: Duration::from_millis(200),
        };
        let election = Election::new(client(server), "kube-system", "fathom-relay", name, timing);
        tokio::spawn(election.run(lead, stop.clone()));
        tokio::spawn(collector::run(client(server), leading.clone(), grace, collected.clone(), stop.clone()));
        Relay { leading, collected, stop }
    }

    fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    fn removed(&self) -> u64 {
        self.collected.removed.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_that_leads_gives_up_what_nobody_uses_and_nothing_else() {
    let (refresh, grace) = (Duration::from_secs(2), Duration::from_secs(6));
    let server = server().await;
    let agent = Agent::start(&server, refresh);
    let (used, unused) = (agent.number(&labels("used")).await, agent.number(&labels("unused")).await);
    agent.registry.in_use(&[u16::try_from(used).unwrap()].into());
    let first = Relay::start(&server, "first", grace);
    until("the first to lead", || first.leads()).await;
    let second = Relay::start(&server, "second", grace);
    until("the unused one to go", || !stored(&server).contains_key(&unused)).await;
    assert!(!second.leads());
    assert_eq!((first.removed(), second.removed()), (1, 0));
    tokio::time::sleep(grace + refresh).await;
    assert_eq!(stored(&server).keys().copied().collect::<Vec<_>>(), [used], "what is used is refreshed");

    // The next leader collects as well; the number that was given up may be made again meanwhile.
    drop(first);
    until("the second to lead", || second.leads()).await;
    assert_eq!(agent.number(&labels("unused")).await, unused, "the same number, if it is free");
    until("it to go again", || !stored(&server).contains_key(&unused)).await;
    assert_eq!(second.removed(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_up_for_a_time_in_which_nobody_could_be_heard() {
    let (refresh, grace) = (Duration::from_secs(1), Duration::from_secs(3));
    let server = server().await;
    let agent = Agent::start(&server, refresh);
    let used = agent.number(&labels("used")).await;
    agent.registry.in_use(&[u16::try_from(used).unwrap()].into());
    let relay = Relay::start(&server, "relay", grace);
    until("the relay to lead", || relay.leads()).await;
    let uid = |server: &ApiServer| {
        let shared = server.shared();
        let objects = shared.store();
        let (_, object) = objects.objects("fathomidentities.fathom.dev").next().unwrap();
        object["metadata"]["uid"].clone()
    };
    let before = uid(&server);
    server.stop().await;
    tokio::time::sleep(grace * 2).await;
    assert!(!relay.leads(), "nor does it lead without a server");
    server.start_again_empty().await.unwrap();
    // One that begins now: after an outage longer than the grace, the other may come back later than the grace lasts,
    // which is far shorter here than the pauses between attempts.
    let again = Agent::start(&server, refresh);
    assert_eq!(again.number(&labels("used")).await, used);
    again.registry.in_use(&[u16::try_from(used).unwrap()].into());
    until("the relay to lead again", || relay.leads()).await;
    tokio::time::sleep(grace + refresh).await;
    assert_eq!(uid(&server), before, "the very object");
    assert_eq!(relay.removed(), 0);
}
