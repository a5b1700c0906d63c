//! Parse, compile and look up together say what the naive oracle says, for generated clusters.

use fathom_policy::testing::{Built, cases, cluster, uniform};
use fathom_policy::{Direction, Level, lookup, oracle};
use proptest::prelude::*;

/// Each is a whole cluster with some 2,000 packets.
const CASES: u32 = 120;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_packet_is_judged_as_the_oracle_judges_it(cluster in uniform()) {
        let built = Built::new(&cluster);
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
    fn pods_that_disagree_about_a_port_name_share_what_any_of_them_means(cluster in cluster()) {
        let built = Built::new(&cluster);
        for (local, direction, remote, proto, port) in cases(&cluster) {
            if oracle::allows(&cluster, local, direction, remote, proto, port) {
                let table = &built.tables[&built.identities[local]];
                prop_assert!(lookup(table, &built.probe(direction, remote, proto, port)).allowed());
            }
        }
    }

    #[test]
    fn the_order_of_policies_makes_no_difference(cluster in uniform()) {
        let one = Built::new(&cluster);
        let mut turned = cluster;
        turned.policies.reverse();
        prop_assert_eq!(one.tables, Built::new(&turned).tables);
    }

    #[test]
    fn what_is_broken_is_named_with_policy_and_place(cluster in uniform()) {
        for problem in Built::new(&cluster).policies.iter().flat_map(|policy| &policy.problems) {
            let text = problem.to_string();
            let named = format!("NetworkPolicy {}/{}: spec.", problem.policy.namespace, problem.policy.name);
            prop_assert!(text.starts_with(&named), "{}", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES / 4))]

    #[test]
    fn every_decision_names_rules_that_bear_it_out(cluster in uniform()) {
        let built = Built::new(&cluster);
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
