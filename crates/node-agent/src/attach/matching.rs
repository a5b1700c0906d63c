//! Which namespace is which pod's. Pure: everything it reads was seen before.
//!
//! A pod's processes say it by their cgroup, which only the kubelet can name; before there are any, and for
//! runtimes that hide them, the addresses of the pod's status do. A pod with the right to may make further
//! namespaces, and its processes are in them too: what counts is the one that a cable leads to from the node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fathom_netns::Id;

use super::WantedPod;
use super::devices::{HostEnd, PodLink};
use super::namespaces::Seen;
use crate::cni::attachments::{AttachmentKey, DeviceRecord};

/// A pod and the device it is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub namespace: Arc<str>,
    pub pod_name: Arc<str>,
    pub uid: Arc<str>,
    pub interface: String,
    pub netns: PathBuf,
    pub addresses: Vec<IpAddr>,
    pub host_interface: String,
    pub device: DeviceRecord,
}

impl Adoption {
    pub fn key(&self) -> AttachmentKey {
        AttachmentKey { container_id: self.uid.to_string(), interface: self.interface.clone() }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    pub adoptions: Vec<Adoption>,
    /// Pods that can't be adopted as they are; those that are only not there yet are not among them.
    pub problems: BTreeSet<String>,
}

/// Gives each pod at most one namespace, and each namespace to at most one pod.
pub fn matches(pods: &[WantedPod], seen: &[Seen]) -> Matched {
    let mut matched = Matched::default();
    let mut taken: BTreeSet<Id> = BTreeSet::new();
    for pod in pods {
        let mut claims: Vec<Claim<'_>> = seen.iter().filter_map(|seen| claim(pod, seen)).collect();
        claims.sort_by_key(|claim| std::cmp::Reverse(claim.weight()));
        let Some(best) = claims.first() else { continue };
        let name = format!("pod {}/{}", pod.namespace, pod.name);
        let Some((link, end)) = best.cable else {
            let links = &best.seen.inside.links;
            if best.by_uid && !links.is_empty() && links.iter().all(|link| link.host_end.is_none()) {
                matched.problems.insert(format!(
                    "{name}: no device of this node leads into its network namespace ({}): only veth pairs are \
                     supported, it is not judged",
                    best.seen.path.display()
                ));
            }
            continue;
        };
        if claims.get(1).is_some_and(|second| second.weight() == best.weight()) {
            matched.problems.insert(format!(
                "{name}: two network namespaces ({}, {}) could be its own: neither is adopted",
                best.seen.path.display(),
                claims[1].seen.path.display()
            ));
            continue;
        }
        if !taken.insert(best.seen.id) {
            matched.problems.insert(format!(
                "{name}: its network namespace ({}) is another pod's too: it is not adopted twice",
                best.seen.path.display()
            ));
            continue;
        }
        let addresses = addresses(pod, link);
        if addresses.is_empty() {
            // The plugin is still at work.
            taken.remove(&best.seen.id);
            continue;
        }
        matched.adoptions.push(Adoption {
            namespace: pod.namespace.clone(),
            pod_name: pod.name.clone(),
            uid: pod.uid.clone(),
            interface: link.name.clone(),
            netns: best.seen.path.clone(),
            addresses,
            host_interface: end.name.clone(),
            device: DeviceRecord {
                ifindex: end.ifindex,
                pod_mac: link.mac.clone(),
                host_mac: end.mac.clone(),
                netns_cookie: best.seen.inside.cookie,
            },
        });
    }
    matched
}

struct Claim<'a> {
    seen: &'a Seen,
    cable: Option<(&'a PodLink, &'a HostEnd)>,
    by_uid: bool,
    by_address: bool,
}

impl Claim<'_> {
    fn weight(&self) -> (bool, bool, bool) {
        (self.cable.is_some(), self.by_uid, self.by_address)
    }
}

fn claim<'a>(pod: &WantedPod, seen: &'a Seen) -> Option<Claim<'a>> {
    let by_uid = !pod.uid.is_empty() && seen.uids.contains(&pod.uid);
    // Whose processes are in it is known to be somebody else: an address may have been used again.
    if !by_uid && !seen.uids.is_empty() {
        return None;
    }
    let holds = |link: &PodLink| link.addresses.iter().any(|address| pod.ips.contains(address));
    let by_address = seen.inside.links.iter().any(holds);
    if !by_uid && !by_address {
        return None;
    }
    // The pod's status says which of several networks is the cluster's; without it, the first with a cable.
    let mut cables: Vec<(&PodLink, &HostEnd)> =
        seen.inside.links.iter().filter_map(|link| Some((link, link.host_end.as_ref()?))).collect();
    cables.sort_by_key(|(link, _)| (!holds(link), link.addresses.is_empty()));
    let cable = cables.first().copied();
    // Its addresses are known and none is here: not this one, or not yet.
    let cable = cable.filter(|(link, _)| pod.ips.is_empty() || holds(link));
    Some(Claim { seen, cable, by_uid, by_address })
}

/// The pod's addresses on this device: by its status, when it has one; else what the device has, one per family.
fn addresses(pod: &WantedPod, link: &PodLink) -> Vec<IpAddr> {
    let known: Vec<IpAddr> = link.addresses.iter().copied().filter(|ip| pod.ips.contains(ip)).collect();
    let from = if known.is_empty() { &link.addresses } else { &known };
    let of = |v4: bool| from.iter().copied().find(|ip| ip.is_ipv4() == v4);
    of(true).into_iter().chain(of(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::devices::Inside;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pod(name: &str, uid: &str, ips: &[&str]) -> WantedPod {
        WantedPod {
            namespace: "default".into(),
            name: name.into(),
            uid: uid.into(),
            ips: ips.iter().map(|text| ip(text)).collect(),
        }
    }

    fn link(name: &str, addresses: &[&str], end: Option<u32>) -> PodLink {
        PodLink {
            name: name.into(),
            mac: "02:00:00:00:00:01".into(),
            addresses: addresses.iter().map(|text| ip(text)).collect(),
            host_end: end.map(|ifindex| HostEnd {
                ifindex,
                name: format!("veth{ifindex}"),
                mac: String::new(),
            }),
        }
    }

    /// Namespaces are told apart by any files: here those of a directory.
    fn seen(number: u64, uids: &[&str], links: Vec<PodLink>) -> Seen {
        let path = PathBuf::from(format!("/proc/{}", ["1", "self", "sys", "bus"][number as usize]));
        Seen {
            id: Id::of(&path).unwrap(),
            path,
            uids: uids.iter().map(|uid| (*uid).into()).collect(),
            inside: Inside { cookie: number, links },
        }
    }

    fn found(matched: &Matched) -> Vec<(&str, u32, Vec<String>)> {
        let of = |a: &Adoption| a.addresses.iter().map(ToString::to_string).collect();
        let mut found: Vec<_> =
            matched.adoptions.iter().map(|a| (&*a.pod_name, a.device.ifindex, of(a))).collect();
        found.sort();
        found
    }

    #[test]
    fn processes_say_whose_it_is_before_the_status_has_addresses() {
        let namespaces =
            [seen(1, &["u1"], vec![link("eth0", &["10.0.0.1", "fd00::1", "10.9.9.9"], Some(5))])];
        let matched = matches(&[pod("a", "u1", &[]), pod("b", "u2", &[])], &namespaces);
        assert_eq!(found(&matched), [("a", 5, vec!["10.0.0.1".into(), "fd00::1".into()])]);
        assert!(matched.problems.is_empty());
    }

    #[test]
    fn addresses_say_it_where_no_process_does_and_not_against_one() {
        let eth0 = || vec![link("eth0", &["10.0.0.1"], Some(5))];
        let pods = [pod("a", "u1", &["10.0.0.1"])];
        assert_eq!(matches(&pods, &[seen(1, &[], eth0())]).adoptions.len(), 1);
        assert_eq!(matches(&pods, &[seen(1, &["u2"], eth0())]), Matched::default(), "a used address");
    }

    #[test]
    fn of_a_pods_namespaces_the_one_with_a_cable_is_meant_and_of_its_links_the_one_in_its_status() {
        let namespaces = [
            seen(1, &["u1"], vec![link("tap0", &["192.168.1.1"], None)]),
            seen(
                2,
                &["u1"],
                vec![link("net1", &["172.16.0.1"], Some(6)), link("eth0", &["10.0.0.1"], Some(5))],
            ),
        ];
        let matched = matches(&[pod("a", "u1", &["10.0.0.1"])], &namespaces);
        assert_eq!(found(&matched), [("a", 5, vec!["10.0.0.1".into()])]);
    }

    #[test]
    fn what_is_not_clear_is_not_adopted_and_said() {
        let eth0 = |end| vec![link("eth0", &["10.0.0.1"], Some(end))];
        let two = matches(&[pod("a", "u1", &[])], &[seen(1, &["u1"], eth0(5)), seen(2, &["u1"], eth0(6))]);
        assert!(two.adoptions.is_empty());
        assert!(two.problems.iter().any(|p| p.contains("two network namespaces")), "{two:?}");

        let shared = [seen(1, &["u1", "u2"], eth0(5))];
        let twice = matches(&[pod("a", "u1", &[]), pod("b", "u2", &[])], &shared);
        assert_eq!(twice.adoptions.len(), 1);
        assert!(twice.problems.iter().any(|p| p.contains("b") && p.contains("another pod's too")));

        let macvlan = [seen(1, &["u1"], vec![link("eth0", &["10.0.0.1"], None)])];
        let none = matches(&[pod("a", "u1", &["10.0.0.1"])], &macvlan);
        assert!(none.adoptions.is_empty() && none.problems.iter().any(|p| p.contains("only veth pairs")));
    }

    #[test]
    fn a_pod_that_is_still_being_wired_is_no_problem() {
        let pods = [pod("a", "u1", &[])];
        assert_eq!(matches(&pods, &[seen(1, &["u1"], vec![])]), Matched::default());
        assert_eq!(matches(&pods, &[seen(1, &["u1"], vec![link("eth0", &[], Some(5))])]), Matched::default());
        let other = [pod("a", "u1", &["10.0.0.7"])];
        let matched = matches(&other, &[seen(1, &["u1"], vec![link("eth0", &["10.0.0.1"], Some(5))])]);
        assert!(matched.adoptions.is_empty(), "its status has another address");
    }
}
