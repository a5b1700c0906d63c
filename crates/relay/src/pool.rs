//! One connection per agent, kept up with back-off, and what is known of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use crate::backoff::Backoff;
use crate::health::Health;
use crate::peers::{Dial, Peer, Peers};

/// What the relay can do with a peer right now.
#[derive(Clone, Debug)]
pub enum State {
    /// Not reached yet, and not failed either.
    Connecting,
    Connected(Channel),
    /// The last try failed, or the connection broke; tried again with back-off.
    Unavailable(Arc<str>),
}

/// How often connections are tried and looked after.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first pause between two tries, and the longest.
    pub retry_first: Duration,
    pub retry_most: Duration,
    /// How often an agent is asked for its health, and how long it may take to answer.
    pub check_every: Duration,
    pub check_within: Duration,
}

impl Pace {
    /// The usual one, with the given pauses between tries.
    pub const fn retrying(first: Duration, most: Duration) -> Self {
        Pace {
            retry_first: first,
            retry_most: most,
            check_every: Duration::from_secs(5),
            check_within: Duration::from_secs(3),
        }
    }
}

/// A peer and its state.
#[derive(Clone, Debug)]
pub struct Node {
    pub peer: Peer,
    pub state: State,
    /// Counts connections, so that a reader can tell a new one from the one it lost.
    pub generation: u64,
}

/// All nodes by name, as they are at one moment.
pub type Nodes = BTreeMap<Arc<str>, Node>;

/// Keeps one connection per peer.
#[derive(Clone)]
pub struct Pool {
    nodes: watch::Receiver<Arc<Nodes>>,
    _keeper: Arc<AbortOnDropHandle<()>>,
}

impl Pool {
    /// Starts to connect to all of `peers`, as they come and go.
    pub fn start(peers: watch::Receiver<Peers>, dial: Arc<dyn Dial>, pace: Pace) -> Pool {
        let (sender, nodes) = watch::channel(Arc::default());
        let keeper = tokio::spawn(keep(peers, dial, pace, Arc::new(sender)));
        Pool { nodes, _keeper: Arc::new(AbortOnDropHandle::new(keeper)) }
    }

    /// The nodes as they are now.
    pub fn nodes(&self) -> Arc<Nodes> {
        self.nodes.borrow().clone()
    }

    /// To be told of changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Nodes>> {
        self.nodes.clone()
    }

    /// Waits until every known peer has been tried once, at most `limit`: so that a request that
    /// comes right after the start does not find all nodes "connecting".
    pub async fn settled(&self, limit: Duration) {
        let mut nodes = self.nodes.clone();
        let all_tried = nodes.wait_for(|nodes| {
            !nodes.is_empty() && nodes.values().all(|node| !matches!(node.state, State::Connecting))
        });
        let _ = tokio::time::timeout(limit, all_tried).await;
    }
}

async fn keep(
    mut peers: watch::Receiver<Peers>,
    dial: Arc<dyn Dial>,
    pace: Pace,
    nodes: Arc<watch::Sender<Arc<Nodes>>>,
) {
    let mut tasks: BTreeMap<Arc<str>, (Peer, AbortOnDropHandle<()>)> = BTreeMap::new();
    loop {
        let wanted = peers.borrow_and_update().clone();
        tasks.retain(|name, (peer, _)| wanted.get(name) == Some(peer));
        nodes.send_if_modified(|nodes| {
            let stale = nodes.iter().any(|(name, node)| wanted.get(name) != Some(&node.peer));
            if stale {
                Arc::make_mut(nodes).retain(|name, node| wanted.get(name) == Some(&node.peer));
            }
            stale
        });
        for (name, peer) in wanted.iter() {
            if !tasks.contains_key(name) {
                let keeper = tokio::spawn(hold(peer.clone(), dial.clone(), pace, nodes.clone()));
                tasks.insert(name.clone(), (peer.clone(), AbortOnDropHandle::new(keeper)));
            }
        }
        if peers.changed().await.is_err() {
            // The list is final; the connections stay.
            std::future::pending::<()>().await;
        }
    }
}

/// Keeps one peer connected until it is taken off the list.
async fn hold(peer: Peer, dial: Arc<dyn Dial>, pace: Pace, nodes: Arc<watch::Sender<Arc<Nodes>>>) {
    let set = |state: State| {
        nodes.send_modify(|nodes| {
            let node = Arc::make_mut(nodes).entry(peer.name.clone()).or_insert_with(|| Node {
                peer: peer.clone(),
                state: State::Connecting,
                generation: 0,
            });
            node.generation += u64::from(matches!(state, State::Connected(_)));
            node.state = state;
        });
    };
    let mut backoff = Backoff::new(pace.retry_first, pace.retry_most);
    set(State::Connecting);
    loop {
        let lost = match reach(&*dial, &peer, pace).await {
            Ok((channel, mut health)) => {
                tracing::info!(node = %peer.name, target = %peer.target, "connected");
                set(State::Connected(channel));
                backoff.reset();
                health.until_lost(pace).await
            }
            Err(why) => why,
        };
        let pause = backoff.pause();
        tracing::warn!(node = %peer.name, target = %peer.target, retry_in = ?pause, error = lost, "node unavailable");
        set(State::Unavailable(lost.into()));
        tokio::time::sleep(pause).await;
    }
}

/// A connection that something answers on: a frozen process's socket still accepts.
async fn reach(dial: &dyn Dial, peer: &Peer, pace: Pace) -> Result<(Channel, Health), String> {
    let channel = dial.dial(peer).await.map_err(|error| format!("{error:#}"))?;
    let mut health = Health::new(channel.clone());
    match health.ill(pace.check_within).await {
        None => Ok((channel, health)),
        Some(why) => Err(why),
    }
}
