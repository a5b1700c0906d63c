//! `peer.Peer`: which agents there are, and every change to that.

use std::collections::{BTreeMap, VecDeque};

use fathom_api::peer::peer_server::Peer as PeerApi;
use fathom_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, Tls};
use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `cluster/node`, or `node` in the cluster named "default".
    pub name: String,
    /// "192.0.2.7:4244".
    pub address: String,
    /// `None` = plaintext.
    pub tls_server_name: Option<String>,
}

/// The service. The list's sender belongs to the control side.
pub struct PeerService {
    pub peers: watch::Receiver<Vec<Peer>>,
    pub shutdown: CancellationToken,
}

type Changes = std::pin::Pin<Box<dyn Stream<Item = Result<ChangeNotification, Status>> + Send>>;

#[tonic::async_trait]
impl PeerApi for PeerService {
    type NotifyStream = Changes;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Changes>, Status> {
        let mut peers = self.peers.clone();
        peers.mark_changed();
        let told =
            Told { peers, shutdown: self.shutdown.clone(), known: BTreeMap::new(), ready: VecDeque::new() };
        let changes = futures::stream::unfold(Some(told), |told| async move {
            let mut told = told?;
            match told.next().await {
                Ok(change) => Some((Ok(change), Some(told))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

/// What one client knows.
struct Told {
    peers: watch::Receiver<Vec<Peer>>,
    shutdown: CancellationToken,
    known: BTreeMap<String, Peer>,
    ready: VecDeque<ChangeNotification>,
}

impl Told {
    async fn next(&mut self) -> Result<ChangeNotification, Status> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            tokio::select! {
                changed = self.peers.changed() => if changed.is_err() {
                    return Err(Status::unavailable("the list of peers has ended"));
                },
                () = self.shutdown.cancelled() => return Err(Status::unavailable("the agent is stopping")),
            }
            let now: BTreeMap<_, _> =
                self.peers.borrow_and_update().iter().map(|p| (p.name.clone(), p.clone())).collect();
            self.ready.extend(changes(&self.known, &now));
            self.known = now;
        }
    }
}

/// What leads from one list to the next: first who went, then who changed or came.
fn changes(before: &BTreeMap<String, Peer>, now: &BTreeMap<String, Peer>) -> Vec<ChangeNotification> {
    let gone = before.values().filter(|peer| !now.contains_key(&peer.name));
    let gone = gone.map(|peer| notification(peer, ChangeNotificationType::PeerDeleted));
    let other = now.values().filter_map(|peer| match before.get(&peer.name) {
        None => Some(notification(peer, ChangeNotificationType::PeerAdded)),
        Some(known) if known != peer => Some(notification(peer, ChangeNotificationType::PeerUpdated)),
        Some(_) => None,
    });
    gone.chain(other).collect()
}

fn notification(peer: &Peer, kind: ChangeNotificationType) -> ChangeNotification {
    ChangeNotification {
        name: peer.name.clone(),
        address: peer.address.clone(),
        r#type: kind.into(),
        tls: peer.tls_server_name.clone().map(|server_name| Tls { server_name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(list: &[(&str, &str)]) -> BTreeMap<String, Peer> {
        let peer = |(name, address): &(&str, &str)| Peer {
            name: (*name).to_owned(),
            address: (*address).to_owned(),
            tls_server_name: None,
        };
        list.iter().map(|entry| ((entry.0).to_owned(), peer(entry))).collect()
    }

    #[test]
    fn a_new_list_is_told_as_what_went_changed_and_came() {
        let before = peers(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = peers(&[("b", "2"), ("c", "4"), ("d", "5")]);
        let told: Vec<_> = changes(&before, &now).into_iter().map(|c| (c.name.clone(), c.r#type())).collect();
        assert_eq!(
            told,
            [
                ("a".to_owned(), ChangeNotificationType::PeerDeleted),
                ("c".to_owned(), ChangeNotificationType::PeerUpdated),
                ("d".to_owned(), ChangeNotificationType::PeerAdded),
            ]
        );
        assert_eq!(changes(&now, &now), []);
    }
}
