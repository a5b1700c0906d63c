//! Who there is: what selectors are looked up in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fathom_identity::{NumericIdentity, PodScope};
use ipnet::IpNet;

use crate::policy::Protocol;
use crate::selector::Labels;

/// A container port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub port: u16,
}

/// What policies can see of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Read from the identity's labels (`PodScope::of`), so that all pods of an identity agree.
    pub scope: PodScope,
    pub named_ports: BTreeSet<NamedPort>,
}

/// An identity with its pods' facts in one: labels are the same by definition, named ports are the union.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub number: NumericIdentity,
    pub labels: Labels,
    pub group: usize,
    pub named_ports: BTreeSet<NamedPort>,
}

/// Identities of one namespace that see the same namespace labels.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub namespace: Arc<str>,
    pub labels: Labels,
    /// Places in `members`, ascending.
    pub members: Vec<u32>,
}

/// Pod identities and CIDR identities at one moment, indexed for selection.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Sorted by number.
    pub(crate) members: Vec<Member>,
    pub(crate) groups: Vec<Group>,
    pub(crate) by_namespace: HashMap<Arc<str>, Vec<usize>>,
    /// Label key → value → places in `members`, ascending.
    pub(crate) by_label: HashMap<Arc<str>, HashMap<Arc<str>, Vec<u32>>>,
    pub(crate) cidrs: Vec<(IpNet, NumericIdentity)>,
}

impl World {
    /// From every pod of the cluster with its identity (also identities whose pods just left, while they are
    /// kept), and every CIDR identity in use.
    ///
    /// Pods that use the host's network have the host's identity, not one of their own: leave them out.
    pub fn new(
        pods: impl IntoIterator<Item = (NumericIdentity, PodFacts)>,
        cidrs: impl IntoIterator<Item = (IpNet, NumericIdentity)>,
    ) -> Self {
        let mut facts: BTreeMap<NumericIdentity, PodFacts> = BTreeMap::new();
        for (number, pod) in pods {
            match facts.entry(number) {
                std::collections::btree_map::Entry::Vacant(free) => _ = free.insert(pod),
                std::collections::btree_map::Entry::Occupied(known) => {
                    known.into_mut().named_ports.extend(pod.named_ports);
                }
            }
        }
        let mut world = Self { cidrs: cidrs.into_iter().collect(), ..Self::default() };
        let mut groups: HashMap<(Arc<str>, Labels), usize> = HashMap::new();
        for (place, (number, PodFacts { scope, named_ports })) in (0..).zip(facts) {
            for (key, value) in &scope.labels {
                let values = world.by_label.entry(key.clone()).or_default();
                values.entry(value.clone()).or_default().push(place);
            }
            let PodScope { namespace, labels, namespace_labels, .. } = scope;
            let group =
                *groups.entry((namespace.clone(), namespace_labels)).or_insert_with_key(|(_, labels)| {
                    let group = world.groups.len();
                    world.groups.push(Group {
                        namespace: namespace.clone(),
                        labels: labels.clone(),
                        members: Vec::new(),
                    });
                    world.by_namespace.entry(namespace.clone()).or_default().push(group);
                    group
                });
            world.groups[group].members.push(place);
            world.members.push(Member { number, labels, group, named_ports });
        }
        world
    }

    /// Every pod identity.
    pub fn identities(&self) -> impl Iterator<Item = NumericIdentity> + '_ {
        self.members.iter().map(|member| member.number)
    }

    pub(crate) fn member(&self, number: NumericIdentity) -> Option<&Member> {
        let place = self.members.binary_search_by_key(&number, |member| member.number).ok()?;
        Some(&self.members[place])
    }

    pub(crate) fn namespace(&self, member: &Member) -> &Arc<str> {
        &self.groups[member.group].namespace
    }
}
