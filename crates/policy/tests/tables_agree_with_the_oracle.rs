//! Parse, compile and look up together say what the naive oracle says, for generated clusters.

mod cluster;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fathom_identity::{
    CidrIdentities, Identities, Ipcache, IpcacheEntry, LabelFilter, MemoryRegistry, PodMeta, PodScope,
    reserved,
};
use fathom_policy::oracle::{self, Cluster, Remote};
use fathom_policy::{
    Compiler, Direction, Level, NamedPort, PodFacts, Policy, Probe, Protocol, RuleRegistry, Table, World,
    asked_labels, lookup, required_prefixes,
};
use proptest::prelude::*;

/// What an agent makes of a cluster.
struct Built {
    policies: Vec<Policy>,
    /// Identity by pod.
    identities: Vec<u32>,
    ipcache: Ipcache,
    tables: BTreeMap<u32, Table>,
    rules: RuleRegistry,
}

fn build(cluster: &Cluster) -> Built {
    let policies: Vec<Policy> = cluster.policies.iter().map(Policy::parse).collect();
    let mut filter = LabelFilter::default();
    filter.set_asked_for(asked_labels(&policies));
    let mut numbers = Identities::new(MemoryRegistry::default(), Duration::ZERO);
    let (mut identities, mut facts, mut ipcache) = (Vec::new(), Vec::new(), Ipcache::new());
    for (place, pod) in cluster.pods.iter().enumerate() {
        let meta = PodMeta {
            cluster: "default",
            namespace: &pod.namespace,
            service_account: "",
            labels: &pod.labels,
            namespace_labels: &cluster.namespaces[&pod.namespace],
        };
        let labels = meta.identity_labels(&filter);
        let identity = numbers.acquire(&labels).unwrap();
        let named_ports = pod.named_ports.iter().map(|(name, protocol, port)| NamedPort {
            name: name.as_str().into(),
            protocol: Protocol::from_name(protocol).unwrap(),
            port: *port,
        });
        facts.push((
            identity,
            PodFacts { scope: PodScope::of(&labels).unwrap(), named_ports: named_ports.collect() },
        ));
        identities.push(identity);
        let owner: Arc<str> = format!("pod-{place}").into();
        for address in &pod.addresses {
            ipcache.upsert(*address, &owner, IpcacheEntry { identity, node: "node-a".into() });
        }
    }
    let cidrs = CidrIdentities::new().set(&required_prefixes(&policies)).unwrap();
    ipcache.set_prefixes(cidrs.clone());
    let world = World::new(facts, cidrs);
    let mut rules = RuleRegistry::default();
    let mut compiler = Compiler::new(&policies, &world);
    let tables =
        world.identities().map(|local| (local, compiler.compile(local, &mut rules).unwrap())).collect();
    Built { policies, identities, ipcache, tables, rules }
}

impl Built {
    fn probe(&self, direction: Direction, remote: Remote, proto: u8, port: Option<u16>) -> Probe {
        let (remote, cidr) = match remote {
            Remote::LocalHost => (reserved::HOST, None),
            Remote::Pod(_, address) => (self.ipcache.identity(address), Some(self.ipcache.prefix(address))),
            Remote::Address(address) => (self.ipcache.identity(address), None),
        };
        Probe { remote, cidr, direction, proto, port }
    }
}

/// Ports that rules name, and their neighbours just outside.
const PACKETS: [(u8, Option<u16>); 15] = [
    (6, Some(80)),
    (6, Some(78)),
    (6, Some(81)),
    (6, Some(443)),
    (6, Some(8080)),
    (6, Some(8082)),
    (6, Some(100)),
    (6, Some(9000)),
    (6, Some(0)),
    (6, None),
    (17, Some(53)),
    (17, Some(8080)),
    (132, Some(80)),
    (132, None),
    (1, None),
];

fn remotes(cluster: &Cluster) -> Vec<Remote> {
    let pods = cluster.pods.iter().enumerate();
    let pods =
        pods.flat_map(|(place, pod)| pod.addresses.iter().map(move |address| Remote::Pod(place, *address)));
    let outside = cluster::OUTSIDE.iter().map(|text| Remote::Address(text.parse::<IpAddr>().unwrap()));
    pods.chain(outside).chain([Remote::LocalHost]).collect()
}

fn cases(cluster: &Cluster) -> impl Iterator<Item = (usize, Direction, Remote, u8, Option<u16>)> {
    let remotes = remotes(cluster);
    (0..cluster.pods.len()).flat_map(move |local| {
        let remotes = remotes.clone();
        Direction::BOTH.into_iter().flat_map(move |direction| {
            let remotes = remotes.clone();
            remotes.into_iter().flat_map(move |remote| {
                PACKETS.into_iter().map(move |(proto, port)| (local, direction, remote, proto, port))
            })
        })
    })
}

/// Each is a whole cluster with some 2,000 packets.
const CASES: u32 = 120;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_packet_is_judged_as_the_oracle_judges_it(cluster in cluster::uniform()) {
        let built = build(&cluster);
        for (local, direction, remote, proto, port) in cases(&cluster) {
            let expected = oracle::allows(&cluster, local, direction, remote, proto, port);
            let table = &built.tables[&built.identities[local]];
            let decision = lookup(table, &built.probe(direction, remote, proto, port));
            prop_assert_eq!(
                decision.allowed(), expected,
                "pod {} {:?} {:?} proto {} port {:?}: {:?}", local, direction, remote, proto, port, decision
            );
        }
    }

    #[test]
    fn pods_that_disagree_about_a_port_name_share_what_any_of_them_means(cluster in cluster::cluster()) {
        let built = build(&cluster);
        for (local, direction, remote, proto, port) in cases(&cluster) {
            if oracle::allows(&cluster, local, direction, remote, proto, port) {
                let table = &built.tables[&built.identities[local]];
                prop_assert!(lookup(table, &built.probe(direction, remote, proto, port)).allowed());
            }
        }
    }

    #[test]
    fn the_order_of_policies_makes_no_difference(cluster in cluster::uniform()) {
        let one = build(&cluster);
        let mut turned = cluster;
        turned.policies.reverse();
        prop_assert_eq!(one.tables, build(&turned).tables);
    }

    #[test]
    fn what_is_broken_is_named_with_policy_and_place(cluster in cluster::uniform()) {
        for problem in build(&cluster).policies.iter().flat_map(|policy| &policy.problems) {
            let text = problem.to_string();
            let named = format!("NetworkPolicy {}/{}: spec.", problem.policy.namespace, problem.policy.name);
            prop_assert!(text.starts_with(&named), "{}", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES / 4))]

    #[test]
    fn every_decision_names_rules_that_bear_it_out(cluster in cluster::uniform()) {
        let built = build(&cluster);
        for (local, direction, remote, proto, port) in cases(&cluster) {
            let table = &built.tables[&built.identities[local]];
            let decision = lookup(table, &built.probe(direction, remote, proto, port));
            if matches!(decision.level, Level::LocalHost | Level::NotEnforced) {
                prop_assert_eq!(decision.rule_id, 0);
                continue;
            }
            let set = built.rules.resolve(decision.rule_id).expect("each id in a table resolves");
            prop_assert!(set.refs.iter().all(|rule| rule.direction == direction));
            prop_assert_eq!(set.default_deny(), decision.level == Level::DefaultDeny);
            for rule in &set.refs {
                // The policy alone, with only this rule, must come to the same verdict.
                let mut alone = cluster.clone();
                alone.policies.retain(|policy| *policy.name == *rule.policy.name);
                if let (Some(index), Some(policy)) = (rule.index, alone.policies.first_mut()) {
                    let list = if direction == Direction::Ingress { &mut policy.ingress } else { &mut policy.egress };
                    *list = vec![list[index as usize].clone()];
                }
                let verdict = oracle::allows(&alone, local, direction, remote, proto, port);
                prop_assert_eq!(verdict, decision.allowed(), "{:?} is named for {:?}", rule, decision);
            }
        }
    }
}
