//! Manifests with anything done to them: reading them, what they mean, and what tables they make.
//!
//! Deterministic by FATHOM_FUZZ_SEED; runs FATHOM_FUZZ_SECONDS (two unless told otherwise).

mod mutate;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fathom_node_agent::cluster::convert::InForce;
use fathom_node_agent::cluster::index::Index;
use fathom_node_agent::cluster::model::Object;
use fathom_node_agent::cluster::source::Delta;
use fathom_node_agent::cluster::yaml::{self, Content};
use fathom_node_agent::control::services::{OwnNode, frontends};
use fathom_policy::{Compiler, Rule, RuleRegistry, World, required_prefixes};
use mutate::Random;

/// A manifest that takes longer than this to read would hold up every other.
const PATIENCE: Duration = Duration::from_secs(5);

const SEEDS: &str = include_str!("seeds.yaml");

#[derive(Debug, Default)]
struct Tally {
    manifests: u64,
    objects: u64,
    broken: u64,
    faults: BTreeMap<String, u64>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_manifest_panics_hangs_or_opens_what_it_does_not_name() {
    let seed = setting("FATHOM_FUZZ_SEED", 1);
    let end = Instant::now() + Duration::from_secs(setting("FATHOM_FUZZ_SECONDS", 2));
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    let seeds: Vec<&str> = SEEDS.split("---\n").collect();
    while Instant::now() < end || tally.manifests < 200 {
        let text = mutate::manifest(&seeds, &mut random);
        judge(&text, &mut tally);
    }
    println!(
        "seed {seed}: {} manifests, {} objects, {} broken",
        tally.manifests, tally.objects, tally.broken
    );
    println!("{:?}", tally.faults);
    assert!(
        tally.objects > 0 && tally.broken > 0 && tally.faults.len() > 3,
        "the corpus reaches nothing: {tally:?}"
    );
}

/// Whoever misspells a field's name gets no more than is written: in each direction the policy still
/// restricts at least the pods it did, and no rule allows that did not; nothing is lost in silence.
#[test]
fn a_typo_in_a_policy_never_allows_more() {
    let mut random = Random::new(setting("FATHOM_FUZZ_SEED", 1));
    let end = Instant::now() + Duration::from_secs(setting("FATHOM_FUZZ_SECONDS", 2));
    let policies: Vec<&str> =
        SEEDS.split("---\n").filter(|seed| seed.contains("\nkind: NetworkPolicy")).collect();
    let mut typos = 0;
    while Instant::now() < end || typos < 500 {
        let text = *random.pick(&policies.iter().collect::<Vec<_>>());
        let Some(typo) = mutate::misspelt(text, &mut random) else { continue };
        typos += 1;
        let (before, after) = (yaml::read(text), yaml::read(&typo));
        if after.broken {
            continue; // The file keeps what it said.
        }
        assert!(!after.faults.is_empty(), "nobody is told:\n{typo}");
        let policy = |content: &Content| match content.objects.first().map(|entry| entry.object.clone()) {
            Some(Object::NetworkPolicy(policy)) => policy,
            other => panic!("{other:?}\n{typo}"),
        };
        let (before, after) = (policy(&before).meaning.clone(), policy(&after).meaning.clone());
        for (before, after) in [(&before.ingress, &after.ingress), (&before.egress, &after.egress)] {
            assert!(before.is_none() || after.is_some(), "restricts no more:\n{typo}");
            for rule in after.iter().flatten().filter(|rule| **rule != Rule::Broken) {
                assert!(before.iter().flatten().any(|written| written == rule), "{rule:?}:\n{typo}");
            }
        }
        // Of two requirements one may be gone: it selects more pods, and allows them nothing.
        let nothing = |rules: &Option<Vec<Rule>>| rules.iter().flatten().all(|rule| *rule == Rule::Broken);
        if before.subject != after.subject {
            let lost = after.subject.requirements.iter().all(|r| before.subject.requirements.contains(r));
            assert!(lost && nothing(&after.ingress) && nothing(&after.egress), "{after:?}\n{typo}");
        }
    }
    println!("{typos} typos");
}

fn judge(text: &str, tally: &mut Tally) {
    let begun = Instant::now();
    let content = yaml::read(text);
    let took = begun.elapsed();
    assert!(took < PATIENCE, "{took:?} for {} bytes:\n{text}", text.len());
    assert_eq!(content, yaml::read(text), "read twice, it says two things:\n{text}");
    tally.manifests += 1;
    tally.objects += content.objects.len() as u64;
    tally.broken += u64::from(content.broken);
    let lines = text.lines().count().max(1);
    for fault in &content.faults {
        assert!(fault.line >= 1 && fault.line <= lines + 1, "line {} of {lines}:\n{text}", fault.line);
        assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{fault:?}");
        // What comes from the manifest would make each a kind of its own.
        let kind = fault.message.split([':', '"', '`']).next().unwrap_or_default();
        let kind = kind.split(" in apiVersion").next().unwrap_or_default();
        *tally.faults.entry(kind.into()).or_default() += 1;
    }
    policies_restrict(&content, text);
    tables(content);
}

/// A policy that could not be read as it is written must be stricter, never absent.
fn policies_restrict(content: &Content, text: &str) {
    for fault in &content.faults {
        let Some(key) = fault.key.as_ref().filter(|key| key.kind.name() == "NetworkPolicy") else { continue };
        // The same object may be in the file twice; this one is at its place.
        let found = content.objects.iter().find(|entry| entry.key == *key && entry.line == fault.line);
        let entry = found.unwrap_or_else(|| panic!("{key} is gone: {fault:?}\n{text}"));
        let Object::NetworkPolicy(policy) = &entry.object else { panic!("{key} is {:?}", entry.object) };
        if fault.in_force == InForce::AsWritten {
            // A field beside the spec, which says nothing about what is allowed.
            assert!(policy.meaning.problems.is_empty(), "{policy:?}\n{text}");
        } else if fault.in_force == InForce::OlderOrRestricted {
            let closed = |rules: &Option<Vec<_>>| rules.as_ref().is_some_and(Vec::is_empty);
            assert!(closed(&policy.meaning.ingress) && closed(&policy.meaning.egress), "{policy:?}\n{text}");
        }
    }
}

/// What follows from the objects can be computed, too.
fn tables(content: Content) {
    let mut index = Index::default();
    for entry in content.objects {
        index.apply(Delta::Upsert(entry.key, entry.object));
    }
    let policies: Vec<_> = index.policies.iter().map(|policy| &policy.meaning).collect();
    let prefixes = required_prefixes(policies.iter().copied());
    let numbered = prefixes.into_iter().zip(0x0100_0001u32..);
    let scope = fathom_identity::PodScope { namespace: "default".into(), ..Default::default() };
    let pod = fathom_policy::PodFacts { scope, ..Default::default() };
    let world = World::new([(300, pod)], numbered);
    let mut rules = RuleRegistry::default();
    Compiler::new(policies, &world).compile(300, &mut rules).expect("the identity is known");
    let addresses = ["192.168.0.1".parse().unwrap()].into();
    frontends(&index, OwnNode { name: "n1", addresses: &addresses, pods: &[] });
}
