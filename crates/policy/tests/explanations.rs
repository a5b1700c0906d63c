//! An explanation says what the look-up decides, and names the fields that would have to change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fathom_policy::oracle::{Cluster, Pod, Remote, allows};
use fathom_policy::spec::{LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use fathom_policy::testing::{Built, cases, cluster, uniform};
use fathom_policy::{Action, Direction, Explanation, Level, Miss, Step, Verdict, explain, lookup, steps};
use proptest::prelude::*;

fn explained(
    built: &Built,
    cluster: &Cluster,
    case: (usize, Direction, Remote, u8, Option<u16>),
) -> Explanation {
    let (local, direction, remote, proto, port) = case;
    let probe = built.probe(direction, remote, proto, port);
    let identity = built.identities[local];
    explain(identity, &built.policies, &built.world, &probe)
        .unwrap_or_else(|| panic!("pod {local} of {cluster:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_explained_verdict_is_that_of_the_look_up_and_the_named_rules_are_those_that_match(
        cluster in cluster()
    ) {
        let built = Built::new(&cluster);
        for case in cases(&cluster) {
            let (local, direction, remote, proto, port) = case;
            let decision = lookup(
                &built.tables[&built.identities[local]],
                &built.probe(direction, remote, proto, port),
            );
            let told = explained(&built, &cluster, case);
            prop_assert_eq!(told.verdict, decision.verdict, "{:?}: {:?}", case, told);
            let open = matches!(decision.level, Level::NotEnforced);
            prop_assert!(told.selecting.is_empty() || !open, "{:?}", told);
            prop_assert_eq!(told.local_host, decision.level == Level::LocalHost);
            if decision.rule_id == 0 {
                continue;
            }
            let named = &built.rules.resolve(decision.rule_id).unwrap().refs;
            match decision.level {
                // The policies behind a default deny are those that select the pod.
                Level::DefaultDeny => {
                    let policies: Vec<_> = named.iter().map(|rule| &rule.policy).collect();
                    prop_assert_eq!(policies, told.selecting.iter().collect::<Vec<_>>());
                }
                // The entry that decided was made by rules that match; others may match by another entry.
                _ => prop_assert!(named.iter().all(|rule| told.matching.contains(rule)), "{:?}", told),
            }
            prop_assert!(told.missed.iter().all(|missed| !missed.fields.is_empty()));
            prop_assert!(told.missed.is_sorted_by_key(|missed| missed.distance()));
        }
    }

    #[test]
    fn the_last_step_is_the_decision(cluster in cluster()) {
        let built = Built::new(&cluster);
        for (local, direction, remote, proto, port) in cases(&cluster) {
            let table = &built.tables[&built.identities[local]];
            let probe = built.probe(direction, remote, proto, port);
            let (decision, steps) = (lookup(table, &probe), steps(table, &probe));
            let ended = match *steps.last().unwrap() {
                Step::LocalHost(true) => (Level::LocalHost, 0, Verdict::Allow),
                Step::Enforced(false) => (Level::NotEnforced, 0, Verdict::Allow),
                Step::DefaultDeny(rule) => (Level::DefaultDeny, rule, Verdict::Deny),
                Step::Key { level, entry: Some(entry), .. } => {
                    let denied = entry.action == Action::Deny;
                    (level, entry.rule_id, if denied { Verdict::Deny } else { Verdict::Allow })
                }
                step => panic!("no end: {step:?}"),
            };
            prop_assert_eq!(ended, (decision.level, decision.rule_id, decision.verdict));
        }
    }

    #[test]
    fn the_explained_verdict_is_what_the_policies_say_read_out_loud(cluster in uniform()) {
        let built = Built::new(&cluster);
        for case in cases(&cluster) {
            let (local, direction, remote, proto, port) = case;
            let told = explained(&built, &cluster, case);
            let allowed = allows(&cluster, local, direction, remote, proto, port);
            prop_assert_eq!(told.verdict == Verdict::Allow, allowed, "{:?}: {:?}", case, told);
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn select(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector { match_labels: labels(pairs), ..LabelSelector::default() }
}

fn pod(namespace: &str, app: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.into(),
        labels: labels(&[("app", app)]),
        addresses: vec![address.parse().unwrap()],
        named_ports: vec![("http".into(), "TCP".into(), 8080)],
    }
}

/// A relay that two rules let web pods to, and one that lets a block to; a fan-out that is none of them.
fn live() -> Cluster {
    let from = |peer: Peer, port: PortValue| Rule {
        peers: vec![peer],
        ports: vec![Port { port: Some(port), ..Port::default() }],
    };
    let web = Peer { pod_selector: Some(select(&[("app", "web")])), ..Peer::default() };
    let both = Peer {
        pod_selector: Some(select(&[("app", "web"), ("tier", "front")])),
        namespace_selector: Some(select(&[("team", "ops")])),
        ..Peer::default()
    };
    let policy = NetworkPolicy {
        namespace: "live".into(),
        name: "relay".into(),
        pod_selector: select(&[("app", "relay")]),
        ingress: vec![from(both, PortValue::Number(9090)), from(web, PortValue::Name("http".into()))],
        ..NetworkPolicy::default()
    };
    Cluster {
        namespaces: [("live".to_owned(), labels(&[("team", "live")]))].into(),
        pods: vec![
            pod("live", "relay", "10.0.0.1"),
            pod("live", "web", "10.0.0.2"),
            pod("live", "fanout", "10.0.0.3"),
        ],
        policies: vec![policy],
    }
}

fn ask(cluster: &Cluster, from: Remote, proto: u8, port: u16) -> Explanation {
    let built = Built::new(cluster);
    explained(&built, cluster, (0, Direction::Ingress, from, proto, Some(port)))
}

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn the_nearest_rule_names_the_one_field_it_misses_by() {
    let cluster = live();
    let nearest = |from, proto, port| {
        let told = ask(&cluster, from, proto, port);
        assert_eq!(told.verdict, Verdict::Deny);
        let nearest = told.missed.into_iter().next().unwrap();
        (nearest.rule.index.unwrap(), nearest.fields)
    };
    let fanout = Remote::Pod(2, at("10.0.0.3"));
    let web = Remote::Pod(1, at("10.0.0.2"));
    let (rule, fields) = nearest(fanout, 6, 8080);
    let [Miss::Label { wanted, found }] = &fields[..] else { panic!("{fields:?}") };
    assert_eq!((rule, &*wanted.to_string(), found.as_deref()), (1, "app=web", Some("fanout")));

    let (rule, fields) = nearest(web, 6, 8081);
    let name = Miss::PortName { name: "http".into(), means: vec![8080], found: Some(8081) };
    assert_eq!((rule, fields), (1, vec![name]));

    let (rule, fields) = nearest(web, 17, 8080);
    let [Miss::Protocol { found: 17, .. }] = &fields[..] else { panic!("{fields:?}") };
    assert_eq!(rule, 1);

    // An address is no pod, which counts for more than a wrong label does.
    let (rule, fields) = nearest(Remote::Address(at("192.0.2.1")), 6, 8080);
    assert_eq!((rule, fields), (1, vec![Miss::NoPod]));

    // Two labels and the namespace's: far, and all of it is told.
    let (_, fields) = nearest(fanout, 6, 9090);
    assert_eq!(fields.len(), 2, "the other rule, by label and port: {fields:?}");
    let told = ask(&cluster, fanout, 6, 9090);
    assert_eq!(told.missed[1].fields.len(), 3, "{:?}", told.missed[1]);
}

#[test]
fn a_rule_nobody_understood_is_said_to_be_broken() {
    let mut cluster = live();
    cluster.policies[0].ingress[1].peers[0].pod_selector = None;
    let told = ask(&cluster, Remote::Pod(1, at("10.0.0.2")), 6, 8080);
    assert_eq!(told.verdict, Verdict::Deny);
    assert_eq!(told.missed[0].fields, [Miss::Broken]);
}

#[test]
fn the_rules_that_allow_are_named_and_an_open_direction_has_none() {
    let cluster = live();
    let told = ask(&cluster, Remote::Pod(1, at("10.0.0.2")), 6, 8080);
    let matching: Vec<_> = told.matching.iter().map(|rule| rule.index).collect();
    assert_eq!((told.verdict, matching), (Verdict::Allow, vec![Some(1)]));
    let built = Built::new(&cluster);
    let web = Remote::Pod(1, at("10.0.0.2"));
    let told = explained(&built, &cluster, (0, Direction::Egress, web, 6, Some(80)));
    assert!(told.selecting.is_empty() && told.verdict == Verdict::Allow);
}
