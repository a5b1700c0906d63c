//! One connection per agent, kept up with back-off, and what is known of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::backoff::Backoff;
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
    pub fn start(peers: watch::Receiver<Peers>, dial: Arc<dyn Dial>, backoff: (Duration, Duration)) -> Pool {
        let (sender, nodes) = watch::channel(Arc::default());
        let keeper = tokio::spawn(keep(peers, dial, backoff, Arc::new(sender)));
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
    backoff: (Duration, Duration),
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
                let keeper = tokio::spawn(hold(peer.clone(), dial.clone(), backoff, nodes.clone()));
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
async fn hold(
    peer: Peer,
    dial: Arc<dyn Dial>,
    (first, most): (Duration, Duration),
    nodes: Arc<watch::Sender<Arc<Nodes>>>,
) {
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
    let mut backoff = Backoff::new(first, most);
    set(State::Connecting);
    loop {
        let lost = match dial.dial(&peer).await {
            Ok(channel) => {
                tracing::info!(node = %peer.name, target = %peer.target, "connected");
                set(State::Connected(channel.clone()));
                backoff.reset();
                until_lost(channel).await
            }
            Err(error) => format!("{error:#}"),
        };
        let pause = backoff.pause();
        tracing::warn!(node = %peer.name, target = %peer.target, retry_in = ?pause, error = lost, "node unavailable");
        set(State::Unavailable(lost.into()));
        tokio::time::sleep(pause).await;
    }
}

/// Returns when the connection breaks, with the reason. A health watch is the cheapest stream a
/// server keeps open; one that does not serve it is asked now and then instead.
async fn until_lost(channel: Channel) -> String {
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest { service: "hubble.server.Observer".into() };
    match client.watch(request.clone()).await {
        Ok(response) => {
            let mut stream = response.into_inner();
            loop {
                match stream.message().await {
                    Ok(Some(health)) if health.status() == ServingStatus::NotServing => {
                        return "the agent is shutting down".into();
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return "the agent closed the connection".into(),
                    Err(status) => return status.message().to_owned(),
                }
            }
        }
        Err(status) if status.code() == tonic::Code::Unimplemented => loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if let Err(status) = client.check(request.clone()).await
                && status.code() == tonic::Code::Unavailable
            {
                return status.message().to_owned();
            }
        },
        Err(status) => status.message().to_owned(),
    }
}
