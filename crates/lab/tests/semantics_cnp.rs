//! What Cilium's policies mean, by real packets: sets of generated policies, each tried by every pod towards
//! every other, from and to outside, over both families, and compared with the oracle. Root only.
//!
//! `FATHOM_SEED=n` makes others, `FATHOM_CASES=n` more of them.

#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;

use fathom_lab::Source;
use fathom_lab::spec::{Protocol, ServiceSpec, Spec};
use fathom_policy::cilium::object::Object;
use fathom_policy::oracle::{Cluster, Service};
use fathom_policy::spec::NetworkPolicy;
use support::matrix::random::{Random, setting};
use support::matrix::{Attempt, Matrix, cnp, np};
use support::unique;

#[test]
fn generated_policies_of_cilium_mean_what_the_oracle_says() {
    let (seed, sets) = (setting("FATHOM_SEED", 20_261_128), setting("FATHOM_CASES", 40));
    let mut random = Random::new(seed);
    let mut matrix = Matrix::new(&unique("cnp"), with_services);
    let attempts = matrix.attempts();
    assert_eq!(matrix.differences(&attempts, |_| true), "", "without policies everything passes");

    let (mut denied, mut passed, mut policies) = (0, 0, 0);
    for set in 0..sets {
        let cilium: Vec<Object> =
            (0..=random.below(4)).map(|number| cnp::policy(&mut random, format!("c{number}"))).collect();
        // Policies of both kinds select the same pods at times.
        let plain: Vec<NetworkPolicy> = match random.one_in(3) {
            true => vec![np::policy(&mut random, "p".to_owned())],
            false => Vec::new(),
        };
        policies += cilium.len() + plain.len();
        let mut written: Vec<_> = cilium
            .iter()
            .map(|p| (p.kind().to_owned(), p.namespace.clone(), p.name.clone(), cnp::yaml(p)))
            .collect();
        written.extend(
            plain
                .iter()
                .map(|p| ("NetworkPolicy".to_owned(), p.namespace.clone(), p.name.clone(), np::yaml(p))),
        );
        matrix.enforce(&written);
        let cluster = Cluster { cilium, services: services(), ..matrix.cluster(plain) };
        let expected = |attempt: &Attempt| matrix.allowed(&cluster, attempt);
        let differences = matrix.differences(&attempts, expected);
        let texts: Vec<&str> = written.iter().map(|(.., yaml)| yaml.as_str()).collect();
        assert_eq!(differences, "", "FATHOM_SEED={seed}, set {set}:\n{}", texts.join("---\n"));
        let passing = attempts.iter().filter(|attempt| expected(attempt)).count();
        passed += passing;
        denied += attempts.len() - passing;
    }
    println!(
        "{policies} policies in {sets} sets: {passed} attempts passed and {denied} were denied, as they should"
    );
    assert!(denied > 100 && passed > 100, "the policies are of both kinds");

    rules_are_named(&mut matrix);
}

/// A verdict's rule leads back to the policy by kind, namespace, name and labels.
fn rules_are_named(matrix: &mut Matrix) {
    let own = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
               metadata: {name: own, namespace: red, labels: {team: net}}\n\
               spec: {endpointSelector: {}, ingress: [{fromEntities: [cluster]}]}\n";
    let all = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: all}\n\
               spec: {endpointSelector: {}, egressDeny: [{toCIDR: [198.51.100.0/24]}]}\n";
    let written =
        [("CiliumNetworkPolicy", "red", "own", own), ("CiliumClusterwideNetworkPolicy", "", "all", all)];
    let written = written.map(|(kind, namespace, name, yaml)| {
        (kind.to_owned(), namespace.to_owned(), name.to_owned(), yaml.to_owned())
    });
    matrix.enforce(&written);
    let rules = matrix.lab.rules(&Source::Node("node-a".to_owned())).unwrap();
    let refs: Vec<_> = rules.iter().flat_map(|rule| &rule.refs).collect();
    let cited = |kind: &str, namespace: &str, name: &str| {
        refs.iter().any(|r| r.kind == kind && r.namespace == namespace && r.name == name && r.index.is_some())
    };
    assert!(cited("CiliumNetworkPolicy", "red", "own"), "{refs:?}");
    assert!(cited("CiliumClusterwideNetworkPolicy", "", "all"), "{refs:?}");
}

const SERVICES: [(&str, &str, &str); 3] =
    [("red", "web", "web"), ("red", "db", "db"), ("blue", "web", "web")];

fn with_services(mut spec: Spec) -> Spec {
    for (namespace, name, app) in SERVICES {
        let service = ServiceSpec::new(name, &[("app", app)]).port("http", 80, 7001, Protocol::Tcp);
        spec = spec.service(ServiceSpec { namespace: namespace.to_owned(), ..service });
    }
    spec
}

/// The same as the oracle reads them.
fn services() -> Vec<Service> {
    let service = |(namespace, name, app): (&str, &str, &str)| Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        selector: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        ..Service::default()
    };
    SERVICES.into_iter().map(service).collect()
}
