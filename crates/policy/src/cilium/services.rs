//! Peers that are known by their services, put into words that tables know: labels and addresses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fathom_identity::canonical_prefix;
use fathom_identity::key::NAMESPACE;
use ipnet::IpNet;

use crate::policy::{Entity, IpBlock, Peer, Peers, Policy, Rule, ServicePick, Services};
use crate::selector::{Labels, Requirement, Selector};
use crate::table::Direction;

/// (namespace, name).
pub type ServiceName = (Arc<str>, Arc<str>);

/// What policies can see of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    pub labels: Labels,
    /// Which pods of its namespace stand behind it. Empty: somebody else says so, by address.
    pub selector: Labels,
    /// Addresses of its endpoints, for services without a selector.
    pub addresses: BTreeSet<IpAddr>,
}

/// The service whose endpoints are the API servers.
const API_SERVER: (&str, &str) = ("default", "kubernetes");

impl Policy {
    /// Whether what it means depends on services.
    pub fn asks_for_services(&self) -> bool {
        let asks = |peer: &Peer| matches!(peer, Peer::Services(_) | Peer::Entity(Entity::KubeApiserver));
        self.peers().any(asks)
    }

    /// The policy with those behind services in the services' place: endpoints by the service's selector, or
    /// addresses outside of the cluster where it has none. `kube-apiserver` is whoever has an address of an
    /// endpoint of the service `kubernetes`.
    pub fn with_services(&self, services: &BTreeMap<ServiceName, ServiceFacts>) -> Cow<'_, Self> {
        if !self.asks_for_services() {
            return Cow::Borrowed(self);
        }
        let mut policy = self.clone();
        for direction in Direction::BOTH {
            let Some(rules) = policy.rules_mut(direction) else { continue };
            for rule in rules {
                let (Rule::Allow { peers, .. } | Rule::Deny { peers, .. }) = rule else { continue };
                if let Peers::Of(peers) = peers {
                    let named = std::mem::take(peers);
                    peers.extend(named.into_iter().flat_map(|peer| replaced(peer, services)));
                }
            }
        }
        Cow::Owned(policy)
    }
}

fn replaced(peer: Peer, services: &BTreeMap<ServiceName, ServiceFacts>) -> Vec<Peer> {
    match peer {
        Peer::Services(pick) => {
            let picked =
                services.iter().filter(|((namespace, name), facts)| picks(&pick, namespace, name, facts));
            picked.flat_map(|((namespace, _), facts)| behind(namespace, facts)).collect()
        }
        Peer::Entity(Entity::KubeApiserver) => {
            let key = (API_SERVER.0.into(), API_SERVER.1.into());
            let addresses = services.get(&key).into_iter().flat_map(|facts| &facts.addresses);
            let blocks = addresses.map(|address| Peer::Block(host(*address)));
            [peer].into_iter().chain(blocks).collect()
        }
        peer => vec![peer],
    }
}

fn picks(pick: &ServicePick, namespace: &str, name: &str, facts: &ServiceFacts) -> bool {
    pick.namespace.as_ref().is_none_or(|wanted| **wanted == *namespace)
        && match &pick.services {
            Services::Named(wanted) => **wanted == *name,
            Services::Labelled(selector) => selector.matches(&facts.labels),
        }
}

fn behind(namespace: &Arc<str>, facts: &ServiceFacts) -> Vec<Peer> {
    // Labels of pods have no sources: such a selector selects nobody.
    if facts.selector.keys().any(|key| key.contains(':')) {
        return Vec::new();
    }
    if facts.selector.is_empty() {
        return facts.addresses.iter().map(|address| Peer::Outside(host(*address))).collect();
    }
    let own = facts.selector.iter().map(|(key, value)| (key.clone(), value.clone()));
    let pairs = own.chain([(NAMESPACE.into(), namespace.clone())]);
    let mut requirements: Vec<Requirement> =
        pairs.map(|(key, value)| Requirement::In { key, values: [value].into() }).collect();
    requirements.sort_unstable();
    vec![Peer::Endpoints(Selector { requirements })]
}

fn host(address: IpAddr) -> IpBlock {
    IpBlock { cidr: canonical_prefix(IpNet::from(address)), except: Vec::new() }
}
