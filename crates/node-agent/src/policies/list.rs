//! The policies in force, and those that were refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fathom_api::fathom_v1::{self as wire, InstalledPolicy, ListPoliciesRequest, PolicyOnNode};
use fathom_api::time::{from_system_time, timestamp};
use fathom_policy::{Compiler, Direction, Edited, PolicyMeta};

use crate::cluster::source::Problem;
use crate::control::state::{Installed, LocalEndpoint, PolicyState};

/// Kind, namespace and name.
type Key = (String, String, String);

/// Every policy that was asked for, by kind, namespace and name.
pub fn policies(
    state: &PolicyState,
    problems: &[Problem],
    node_name: &str,
    request: &ListPoliciesRequest,
) -> Vec<InstalledPolicy> {
    let mut said = said(problems);
    let selected = selected(state);
    let mut policies: BTreeMap<Key, InstalledPolicy> = BTreeMap::new();
    for installed in &state.policies {
        let meta = &installed.policy.meaning.meta;
        let key = (meta.kind.to_string(), meta.namespace.to_string(), meta.name.to_string());
        let said = said.remove(&key);
        let endpoints = selected.get(meta).map_or(&[][..], Vec::as_slice);
        policies.insert(key, policy(installed, endpoints, said, state, node_name));
    }
    // What was refused as a whole is in force nowhere, which is the more reason to tell of it.
    for (key, problems) in said {
        let (kind, namespace, name) = key.clone();
        let nodes = vec![PolicyOnNode { node_name: node_name.to_owned(), ..PolicyOnNode::default() }];
        policies.insert(
            key,
            InstalledPolicy { kind, namespace, name, problems, nodes, ..InstalledPolicy::default() },
        );
    }
    let wanted = |policy: &InstalledPolicy| {
        let is = |wanted: &str, text: &str| wanted.is_empty() || wanted == text;
        is(&request.namespace, &policy.namespace) && is(&request.name, &policy.name)
    };
    policies.into_values().filter(wanted).collect()
}

/// Which endpoints each policy selects.
fn selected(state: &PolicyState) -> BTreeMap<&Arc<PolicyMeta>, Vec<&LocalEndpoint>> {
    let compiler = Compiler::new(state.meanings(), &state.world);
    let mut by_identity: BTreeMap<u32, BTreeSet<&Arc<PolicyMeta>>> = BTreeMap::new();
    let mut selected: BTreeMap<&Arc<PolicyMeta>, Vec<&LocalEndpoint>> = BTreeMap::new();
    for endpoint in &state.endpoints {
        let identity = endpoint.entry.identity;
        let policies = by_identity.entry(identity).or_insert_with(|| {
            let both =
                Direction::BOTH.into_iter().flat_map(|direction| compiler.selecting(identity, direction));
            both.map(|policy| &policy.meta).collect()
        });
        for policy in policies.iter() {
            selected.entry(policy).or_default().push(endpoint);
        }
    }
    selected
}

fn policy(
    installed: &Installed,
    endpoints: &[&LocalEndpoint],
    said: Option<Vec<String>>,
    state: &PolicyState,
    node_name: &str,
) -> InstalledPolicy {
    let policy = &installed.policy.meaning;
    let rules = |direction| policy.rules(direction).map(|rules| rules.len() as u32);
    let behind = endpoints.iter().filter(|endpoint| state.behind.contains(&endpoint.entry.identity));
    // The source says the same and more: the file, and which form is in force.
    let problems = said.unwrap_or_else(|| {
        policy.problems.iter().map(|p| format!("{}: {}; {}", p.place, p.fault, p.effect)).collect()
    });
    InstalledPolicy {
        kind: policy.meta.kind.to_string(),
        namespace: policy.meta.namespace.to_string(),
        name: policy.meta.name.to_string(),
        selector: policy.subject.to_string(),
        ingress_rules: rules(Direction::Ingress),
        egress_rules: rules(Direction::Egress),
        problems,
        edited: policy.meta.edited.as_ref().map(edited),
        nodes: vec![PolicyOnNode {
            node_name: node_name.to_owned(),
            endpoints: endpoints.len() as u32,
            endpoints_behind: behind.count() as u32,
            revision: installed.revision,
            since: Some(timestamp(from_system_time(installed.since))),
        }],
    }
}

/// An edit, as the API tells it.
pub fn edited(edited: &Edited) -> wire::Edited {
    wire::Edited { by: edited.by.to_string(), time: Some(timestamp(edited.unix_ns)) }
}

/// What the source says of policies, by policy.
fn said(problems: &[Problem]) -> BTreeMap<Key, Vec<String>> {
    let mut said: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for problem in problems {
        let Some((kind, name)) = problem.object.split_once(' ') else { continue };
        if !kind.ends_with("NetworkPolicy") {
            continue;
        }
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let line = if problem.line > 0 { format!(":{}", problem.line) } else { String::new() };
        said.entry(key).or_default().push(format!("{}{line}: {}", problem.origin, problem.message));
    }
    said
}
