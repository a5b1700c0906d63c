//! What NetworkPolicies mean, by real packets: sets of generated policies, each tried by every pod towards
//! every other, from and to outside, over both families, and compared with the oracle. Root only.
//!
//! `FATHOM_SEED=n` makes others, `FATHOM_CASES=n` more of them.

#![forbid(unsafe_code)]

mod support;

use fathom_policy::Direction;
use fathom_policy::oracle::{self, Cluster, Remote};
use fathom_policy::spec::NetworkPolicy;
use support::matrix::random::{Random, setting};
use support::matrix::{Attempt, End, Matrix, np};
use support::unique;

#[test]
fn generated_network_policies_mean_what_the_oracle_says() {
    let (seed, sets) = (setting("FATHOM_SEED", 20_261_128), setting("FATHOM_CASES", 24));
    let mut random = Random::new(seed);
    let mut matrix = Matrix::new(&unique("np"), |spec| spec);
    let attempts = matrix.attempts();
    let open = matrix.differences(&attempts, |_| true);
    assert_eq!(open, "", "without policies everything passes");

    let (mut denied, mut passed) = (0, 0);
    for set in 0..sets {
        let policies: Vec<NetworkPolicy> =
            (0..=random.below(4)).map(|number| np::policy(&mut random, format!("p{number}"))).collect();
        let written: Vec<_> =
            policies.iter().map(|p| (p.namespace.clone(), p.name.clone(), np::yaml(p))).collect();
        matrix.enforce(&written);
        let cluster = cluster(&matrix, policies);
        let expected = |attempt: &Attempt| allowed(&matrix, &cluster, attempt);
        let differences = matrix.differences(&attempts, expected);
        let texts: Vec<&str> = written.iter().map(|(_, _, yaml)| yaml.as_str()).collect();
        assert_eq!(differences, "", "FATHOM_SEED={seed}, set {set}:\n{}", texts.join("---\n"));
        let passing = attempts.iter().filter(|attempt| expected(attempt)).count();
        passed += passing;
        denied += attempts.len() - passing;
    }
    println!("{sets} sets of policies: {passed} attempts passed and {denied} were denied, as they should");
    assert!(denied > 100 && passed > 100, "the policies are of both kinds");
}

fn cluster(matrix: &Matrix, policies: Vec<NetworkPolicy>) -> Cluster {
    let pods = matrix.actors.iter().map(|actor| oracle::Pod {
        namespace: actor.namespace.clone(),
        labels: actor.labels.clone(),
        addresses: actor.addresses.clone(),
        named_ports: actor.named_ports.clone(),
    });
    Cluster { namespaces: matrix.namespaces.clone(), pods: pods.collect(), policies }
}

/// Both ends' policies must allow it.
fn allowed(matrix: &Matrix, cluster: &Cluster, attempt: &Attempt) -> bool {
    let (proto, port) = attempt.packet.facts(attempt.v6);
    let remote = |end: End| match end {
        End::Pod(at) => Remote::Pod(at, matrix.actor_address(at, attempt.v6)),
        End::Outside(address) => Remote::Address(address),
        End::Node => Remote::LocalHost(matrix.actor_address(0, attempt.v6)),
    };
    let one = |local: End, direction, other: End| match local {
        End::Pod(at) => oracle::allows(cluster, at, direction, remote(other), proto, port),
        _ => true,
    };
    one(attempt.from, Direction::Egress, attempt.to) && one(attempt.to, Direction::Ingress, attempt.from)
}
