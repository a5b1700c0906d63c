//! Which identities selectors select.

use std::sync::Arc;

use fathom_identity::key::{self, NAMESPACE};
use fathom_identity::{NumericIdentity, reserved};
use ipnet::IpNet;

use crate::policy::{Entity, Namespaces, Peer, Policy, Subject};
use crate::selector::{RESERVED, Requirement, Selector};
use crate::world::{Member, World};

impl World {
    /// Whether a policy restricts a pod identity.
    pub(crate) fn is_subject(&self, policy: &Policy, member: &Member) -> bool {
        match &policy.subject {
            Subject::Pods(selector) => {
                *self.namespace(member) == policy.meta.namespace && selector.matches(&member.labels)
            }
            Subject::Endpoints(selector) => self.is_endpoint(selector, member),
            Subject::Nobody => false,
        }
    }

    fn is_endpoint(&self, selector: &Selector, member: &Member) -> bool {
        selector.holds(|key| self.label(member, key))
    }

    /// Whether an identity, a pod's or one with a fixed number, has such labels.
    pub(crate) fn has_labels(&self, selector: &Selector, number: NumericIdentity) -> bool {
        if let Some(member) = self.member(number) {
            return self.is_endpoint(selector, member);
        }
        let empty: Arc<str> = "".into();
        let name = reserved::name(number);
        selector.holds(|key| key.strip_prefix(RESERVED).filter(|key| Some(*key) == name).map(|_| &empty))
    }

    /// Identities a peer of a policy stands for, ascending: pod identities or CIDR identities.
    pub(crate) fn select(&self, policy: &Policy, peer: &Peer) -> Vec<NumericIdentity> {
        match peer {
            Peer::Block(block) | Peer::Outside(block) => self.prefixes(|prefix| block.selects(prefix)),
            Peer::Pods { namespaces, pods } => self.select_pods(&self.groups_of(policy, namespaces), pods),
            Peer::Endpoints(selector) => self.endpoints(selector),
            Peer::Entity(entity) => self.entity(*entity),
            Peer::Services(_) => Vec::new(),
        }
    }

    fn prefixes(&self, meant: impl Fn(IpNet) -> bool) -> Vec<NumericIdentity> {
        let meant = self.cidrs.iter().filter(|(prefix, _)| meant(*prefix));
        let mut numbers: Vec<NumericIdentity> = meant.map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn world_and_prefixes(&self) -> Vec<NumericIdentity> {
        [reserved::WORLD].into_iter().chain(self.prefixes(|_| true)).collect()
    }

    fn entity(&self, entity: Entity) -> Vec<NumericIdentity> {
        let fixed = match entity {
            Entity::World => return self.world_and_prefixes(),
            Entity::Cluster => {
                let own = reserved::all().map(|(number, _)| number).filter(|number| is_of_cluster(*number));
                return own.chain(self.identities()).collect();
            }
            Entity::Host => reserved::HOST,
            Entity::RemoteNode => reserved::REMOTE_NODE,
            Entity::KubeApiserver => reserved::KUBE_APISERVER,
            Entity::Ingress => reserved::INGRESS,
            Entity::Init => reserved::INIT,
            Entity::Health => reserved::HEALTH,
            Entity::Unmanaged => reserved::UNMANAGED,
        };
        vec![fixed]
    }

    fn endpoints(&self, selector: &Selector) -> Vec<NumericIdentity> {
        if selector.asks_for_reserved() {
            let fixed = reserved::all().map(|(number, _)| number).filter(|n| *n != reserved::UNKNOWN);
            let mut numbers: Vec<NumericIdentity> =
                fixed.filter(|number| self.has_labels(selector, *number)).collect();
            if numbers.contains(&reserved::WORLD) {
                numbers.extend(self.prefixes(|_| true));
            }
            return numbers;
        }
        let numbers = |places: &mut dyn Iterator<Item = u32>| -> Vec<NumericIdentity> {
            let members = places.map(|place| &self.members[place as usize]);
            let matching = members.filter(|member| self.is_endpoint(selector, member));
            matching.map(|member| member.number).collect()
        };
        if let Some(namespaces) = selector.only_values_of(NAMESPACE) {
            let groups = namespaces.iter().filter_map(|namespace| self.by_namespace.get(namespace)).flatten();
            let mut places = groups.flat_map(|group| self.groups[*group].members.iter().copied());
            let mut selected = numbers(&mut places);
            selected.sort_unstable();
            return selected;
        }
        match self.rarest(selector) {
            Some(places) => numbers(&mut places.iter().copied()),
            None => numbers(&mut (0..self.members.len() as u32)),
        }
    }

    /// For each group, whether its namespace is meant.
    fn groups_of(&self, policy: &Policy, namespaces: &Namespaces) -> Vec<bool> {
        match namespaces {
            Namespaces::Own => {
                self.groups.iter().map(|group| group.namespace == policy.meta.namespace).collect()
            }
            Namespaces::Matching(selector) => {
                self.groups.iter().map(|group| selector.matches(&group.labels)).collect()
            }
        }
    }

    fn select_pods(&self, groups: &[bool], pods: &Selector) -> Vec<NumericIdentity> {
        let numbers = |places: &mut dyn Iterator<Item = u32>| -> Vec<NumericIdentity> {
            let members = places.map(|place| &self.members[place as usize]);
            let matching = members.filter(|member| groups[member.group] && pods.matches(&member.labels));
            matching.map(|member| member.number).collect()
        };
        let in_groups: usize = self
            .groups
            .iter()
            .zip(groups)
            .filter(|(_, meant)| **meant)
            .map(|(group, _)| group.members.len())
            .sum();
        match self.rarest(pods) {
            Some(places) if places.len() < in_groups => numbers(&mut places.iter().copied()),
            _ => {
                let meant = self.groups.iter().zip(groups).filter(|(_, meant)| **meant);
                let mut selected = numbers(&mut meant.flat_map(|(group, _)| group.members.iter().copied()));
                selected.sort_unstable();
                selected
            }
        }
    }

    /// The shortest list of members that has all a selector could select, from its requirements of
    /// one certain value.
    fn rarest(&self, pods: &Selector) -> Option<&[u32]> {
        let certain = pods.requirements.iter().filter_map(|requirement| match requirement {
            // Facts about pods are not among their own labels.
            Requirement::In { key, .. } if key.starts_with(key::OWN_PREFIX) => None,
            Requirement::In { key, values } if values.len() == 1 => Some((key, values.first()?)),
            _ => None,
        });
        let lists = certain.map(|(key, value)| {
            self.by_label.get(key).and_then(|values| values.get(value)).map_or(&[][..], Vec::as_slice)
        });
        lists.min_by_key(|list| list.len())
    }
}

/// Whether a fixed number is somebody's who belongs to the cluster.
fn is_of_cluster(number: NumericIdentity) -> bool {
    use reserved::{HEALTH, HOST, INGRESS, INIT, KUBE_APISERVER, REMOTE_NODE, UNMANAGED};
    [HOST, REMOTE_NODE, KUBE_APISERVER, INGRESS, INIT, HEALTH, UNMANAGED].contains(&number)
}
