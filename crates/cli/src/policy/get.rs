//! The policies in force.

use fathom_api::fathom_v1::{Edited, InstalledPolicy, ListPoliciesResponse};

use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;
use crate::terminal::time_format::TimeFormat;

pub(super) fn table(response: &ListPoliciesResponse, wide: bool) -> Columns {
    let mut columns = Columns::default();
    let head = ["NAMESPACE", "NAME", "ENDPOINTS", "INGRESS", "EGRESS", "EDITED", "STATE"];
    let more: &[&str] = if wide { &["KIND", "SELECTOR", "REVISIONS"] } else { &[] };
    columns.row(head.iter().chain(more).copied());
    for policy in &response.policies {
        let endpoints: u32 = policy.nodes.iter().map(|node| node.endpoints).sum();
        let mut cells = vec![
            or_dash(&policy.namespace),
            Escaped(&policy.name).to_string(),
            endpoints.to_string(),
            rules(policy.ingress_rules),
            rules(policy.egress_rules),
            policy.edited.as_ref().map_or_else(|| "-".to_owned(), edited),
            state(policy),
        ];
        if wide {
            let revisions = policy.nodes.iter().map(|node| format!("{}:{}", node.node_name, node.revision));
            let revisions = revisions.collect::<Vec<_>>().join(",");
            let selector = if policy.selector.is_empty() { "(all)" } else { &policy.selector };
            let cells_more = [&*policy.kind, selector, &*revisions];
            cells.extend(cells_more.map(|text| Escaped(text).to_string()));
        }
        columns.row(cells);
    }
    columns
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { Escaped(text).to_string() }
}

/// A direction that is not restricted is open; one with no rule allows nothing.
fn rules(rules: Option<u32>) -> String {
    match rules {
        None => "open".to_owned(),
        Some(0) => "no rule".to_owned(),
        Some(1) => "1 rule".to_owned(),
        Some(n) => format!("{n} rules"),
    }
}

fn state(policy: &InstalledPolicy) -> String {
    let behind: u32 = policy.nodes.iter().map(|node| node.endpoints_behind).sum();
    match (policy.problems.len(), behind) {
        (0, 0) => "ok".to_owned(),
        (0, behind) => format!("{behind} endpoints enforce an older one"),
        (1, _) => "1 problem".to_owned(),
        (n, _) => format!("{n} problems"),
    }
}

/// `kubectl-edit 2026-05-02T10:00:00Z`.
pub(super) fn edited(edited: &Edited) -> String {
    let by = if edited.by.is_empty() { "somebody" } else { &edited.by };
    format!("{} {}", Escaped(by), TimeFormat::Rfc3339.show(edited.time.as_ref()))
}

/// What is wrong, a line each.
pub(super) fn problems(response: &ListPoliciesResponse) -> impl Iterator<Item = String> + '_ {
    response.policies.iter().flat_map(|policy| {
        policy.problems.iter().map(|problem| {
            let InstalledPolicy { kind, namespace, name, .. } = policy;
            let slash = if namespace.is_empty() { "" } else { "/" };
            let place = format!("{kind} {namespace}{slash}{name}");
            format!("{}: {}", Escaped(&place), Escaped(problem))
        })
    })
}
