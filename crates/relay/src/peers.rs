//! Which agents exist: a static list, or what a peer service says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fathom_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, peer_client::PeerClient};
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::backoff::Backoff;

/// One agent to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Node name, as it appears in flows.
    pub name: Arc<str>,
    /// Where to dial: `host:port`, `tls://host:port`, `unix:///path`.
    pub target: Arc<str>,
    /// Name the agent's certificate must carry, when the peer service gave one.
    pub tls_server_name: Option<Arc<str>>,
}

/// All agents known, by name.
pub type Peers = Arc<BTreeMap<Arc<str>, Peer>>;

/// Opens channels; one implementation dials, tests hand out what they like.
pub trait Dial: Send + Sync + 'static {
    /// Connects to a peer, or says why not.
    fn dial(&self, peer: &Peer) -> futures::future::BoxFuture<'static, anyhow::Result<Channel>>;
}

/// The error for a `--peer` that is not `NAME=TARGET`.
#[derive(Debug, thiserror::Error)]
#[error(
    "--peer {0:?}: want NAME=TARGET, as in node-1=10.0.0.1:4244 or node-1=unix:///run/fathom/hubble.sock"
)]
pub struct BadPeer(String);

/// Parses one `--peer NAME=TARGET`.
pub fn parse_static(text: &str) -> Result<Peer, BadPeer> {
    match text.split_once('=') {
        Some((name, target)) if !name.is_empty() && !target.is_empty() => {
            Ok(Peer { name: name.into(), target: target.into(), tls_server_name: None })
        }
        _ => Err(BadPeer(text.to_owned())),
    }
}

/// Applies one notification; whether anything changed.
fn apply(peers: &mut BTreeMap<Arc<str>, Peer>, change: ChangeNotification) -> bool {
    let name: Arc<str> = change.name.as_str().into();
    match change.r#type() {
        ChangeNotificationType::PeerAdded | ChangeNotificationType::PeerUpdated => {
            let tls_server_name =
                change.tls.map(|tls| Arc::from(tls.server_name)).filter(|n: &Arc<str>| !n.is_empty());
            let peer = Peer { name: name.clone(), target: change.address.into(), tls_server_name };
            peers.insert(name, peer.clone()) != Some(peer)
        }
        ChangeNotificationType::PeerDeleted => peers.remove(&name).is_some(),
        ChangeNotificationType::Unknown => false,
    }
}

/// Follows a peer service for as long as somebody listens. A lost service keeps the last list:
/// agents do not vanish because the one that lists them did.
pub async fn follow_service(
    service: Peer,
    fixed: Vec<Peer>,
    dial: Arc<dyn Dial>,
    peers: watch::Sender<Peers>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
    loop {
        tokio::select! {
            () = peers.closed() => return,
            ended = listen(&service, &fixed, &*dial, &peers, &mut backoff) => {
                let pause = backoff.pause();
                tracing::warn!(service = %service.target, retry_in = ?pause, error = format!("{ended:#}"), "peer service lost; keeping the peers known");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn listen(
    service: &Peer,
    fixed: &[Peer],
    dial: &dyn Dial,
    out: &watch::Sender<Peers>,
    backoff: &mut Backoff,
) -> anyhow::Error {
    let mut stream = match dial.dial(service).await {
        Ok(channel) => match PeerClient::new(channel).notify(NotifyRequest {}).await {
            Ok(response) => response.into_inner(),
            Err(status) => return anyhow::anyhow!("peer.Peer/Notify: {}", status.message()),
        },
        Err(error) => return error,
    };
    // A new stream starts with the full list; what is not in it by the time it falls quiet is gone.
    let mut known: BTreeMap<Arc<str>, Peer> = fixed.iter().map(|p| (p.name.clone(), p.clone())).collect();
    let mut complete = false;
    loop {
        let next = if complete {
            stream.message().await
        } else {
            match tokio::time::timeout(Duration::from_millis(300), stream.message()).await {
                Ok(message) => message,
                Err(_) => {
                    complete = true;
                    out.send_replace(Arc::new(known.clone()));
                    backoff.reset();
                    continue;
                }
            }
        };
        match next {
            Ok(Some(change)) => {
                if apply(&mut known, change) {
                    // Before the list is complete only additions show, so that a reconnect does
                    // not drop peers that are about to be listed.
                    if complete {
                        out.send_replace(Arc::new(known.clone()));
                    } else {
                        out.send_modify(|all| {
                            let mut merged = BTreeMap::clone(all);
                            merged.extend(known.iter().map(|(name, peer)| (name.clone(), peer.clone())));
                            *all = Arc::new(merged);
                        });
                    }
                }
            }
            Ok(None) => return anyhow::anyhow!("the peer service closed the stream"),
            Err(status) => return anyhow::anyhow!("peer.Peer/Notify: {}", status.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_peer_needs_name_and_target() {
        let peer = parse_static("n1=unix:///a=b").unwrap();
        assert_eq!((&*peer.name, &*peer.target), ("n1", "unix:///a=b"));
        for bad in ["", "n1", "=x", "n1="] {
            assert!(parse_static(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn notifications_add_update_and_remove() {
        let mut peers = BTreeMap::new();
        let change = |kind: ChangeNotificationType, address: &str| ChangeNotification {
            name: "n1".into(),
            address: address.into(),
            r#type: kind.into(),
            tls: None,
        };
        assert!(apply(&mut peers, change(ChangeNotificationType::PeerAdded, "a:1")));
        assert!(!apply(&mut peers, change(ChangeNotificationType::PeerAdded, "a:1")));
        assert!(apply(&mut peers, change(ChangeNotificationType::PeerUpdated, "a:2")));
        assert_eq!(&*peers["n1"].target, "a:2");
        assert!(apply(&mut peers, change(ChangeNotificationType::PeerDeleted, "")));
        assert!(!apply(&mut peers, change(ChangeNotificationType::PeerDeleted, "")));
    }
}
