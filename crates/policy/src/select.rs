//! Which identities selectors select.

use fathom_identity::NumericIdentity;

use crate::policy::{Namespaces, Peer, Policy};
use crate::selector::{Requirement, Selector};
use crate::world::{Member, World};

impl World {
    /// Whether a policy restricts a pod identity.
    pub(crate) fn is_subject(&self, policy: &Policy, member: &Member) -> bool {
        *self.namespace(member) == policy.meta.namespace && policy.subject.matches(&member.labels)
    }

    /// Identities a peer of a policy stands for, ascending: pod identities or CIDR identities.
    pub(crate) fn select(&self, policy: &Policy, peer: &Peer) -> Vec<NumericIdentity> {
        match peer {
            Peer::Block(block) => {
                let mut numbers: Vec<NumericIdentity> =
                    self.cidrs.iter().filter(|(prefix, _)| block.selects(*prefix)).map(|(_, n)| *n).collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers
            }
            Peer::Pods { namespaces, pods } => self.select_pods(&self.groups_of(policy, namespaces), pods),
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
            Requirement::In { key, values } if values.len() == 1 => Some((key, values.first()?)),
            _ => None,
        });
        let lists = certain.map(|(key, value)| {
            self.by_label.get(key).and_then(|values| values.get(value)).map_or(&[][..], Vec::as_slice)
        });
        lists.min_by_key(|list| list.len())
    }
}
