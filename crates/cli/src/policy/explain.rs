//! Why two may or may not talk.

use std::fmt::Write as _;

use fathom_api::fathom_v1::{
    Decision, ExplainResponse, ExplainedEndpoint, ExplainedPath, ExplainedRule, ExplainedSide,
    SelectingPolicy,
};

use super::get;
use crate::print::rule_place;
use crate::terminal::escape::Escaped;

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Allowed,
    Denied,
    /// Some node that would know did not answer, and none that did denies it.
    Unknown,
}

/// Of a path: it is allowed when neither side denies it.
fn of_path(path: &ExplainedPath) -> Outcome {
    let decisions = [&path.egress, &path.ingress].map(|side| side.as_ref().map_or(0, |side| side.decision));
    let is = |wanted: Decision| decisions.contains(&(wanted as i32));
    match (is(Decision::Denied), is(Decision::Unspecified)) {
        (true, _) => Outcome::Denied,
        (false, true) => Outcome::Unknown,
        (false, false) => Outcome::Allowed,
    }
}

/// Of all paths: one denial is a denial.
pub(super) fn outcome(response: &ExplainResponse) -> Outcome {
    let paths = || response.paths.iter().map(of_path);
    match (paths().any(|path| path == Outcome::Denied), paths().max()) {
        (true, _) => Outcome::Denied,
        (false, Some(worst)) => worst,
        (false, None) => Outcome::Unknown,
    }
}

/// The whole answer in words.
pub(super) fn text(response: &ExplainResponse) -> String {
    let mut out = String::new();
    for (at, path) in response.paths.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        one(&mut out, path);
    }
    if response.more > 0 {
        _ = writeln!(out, "\n{} more paths are not shown: ask about fewer at once", response.more);
    }
    out
}

fn one(out: &mut String, path: &ExplainedPath) {
    let (from, to) = (path.from.clone().unwrap_or_default(), path.to.clone().unwrap_or_default());
    let protocol = protocol(path.protocol);
    let port = path.port.map_or(protocol.clone(), |port| format!("{port}/{protocol}"));
    let service = match &*path.service {
        "" => String::new(),
        service => format!(" by service {}", Escaped(service)),
    };
    let verdict = match of_path(path) {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "DENIED",
        Outcome::Unknown => "not known",
    };
    _ = writeln!(out, "{} -> {} {port}{service}: {verdict}", end(&from), end(&to));
    side(out, "egress", path.egress.as_ref(), &from);
    side(out, "ingress", path.ingress.as_ref(), &to);
}

/// `shop/web (10.244.1.7, ID:300)`.
fn end(endpoint: &ExplainedEndpoint) -> String {
    let mut more: Vec<String> = Vec::new();
    if !endpoint.address.is_empty() && endpoint.address != endpoint.name {
        more.push(Escaped(&endpoint.address).to_string());
    }
    if endpoint.identity > 0 {
        more.push(format!("ID:{}", endpoint.identity));
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    format!("{}{more}", Escaped(&endpoint.name))
}

fn side(out: &mut String, name: &str, side: Option<&ExplainedSide>, pod: &ExplainedEndpoint) {
    let Some(side) = side else { return };
    let node = match &*side.node_name {
        "" => String::new(),
        node => format!(" at {}", Escaped(node)),
    };
    let decision = match Decision::try_from(side.decision) {
        Ok(Decision::Allowed) => "allowed",
        Ok(Decision::Denied) => "DENIED",
        Ok(Decision::NotJudged) => "not judged",
        Ok(Decision::Unspecified) | Err(_) => "not known",
    };
    _ = writeln!(out, "  {name}{node}: {decision}, {}", Escaped(&side.reason));
    for ExplainedRule { rule, text, .. } in &side.rules {
        let place = rule.as_ref().map(rule_of).unwrap_or_default();
        _ = writeln!(out, "    by {place}: {}", Escaped(text));
    }
    for rule in &side.nearest {
        nearest(out, rule);
    }
    for policy in &side.selecting {
        _ = writeln!(out, "    {} is selected by {}", Escaped(&pod.name), selecting(policy));
        for problem in &policy.problems {
            _ = writeln!(out, "      problem: {}", Escaped(problem));
        }
    }
    if !side.differs.is_empty() {
        _ = writeln!(out, "    BUT {}", Escaped(&side.differs));
    }
}

fn nearest(out: &mut String, rule: &ExplainedRule) {
    let place = rule.rule.as_ref().map(rule_of).unwrap_or_default();
    _ = writeln!(out, "    nearest is {place}: {}", Escaped(&rule.text));
    for miss in &rule.misses {
        let (field, wanted, found) = (Escaped(&miss.field), Escaped(&miss.wanted), Escaped(&miss.found));
        _ = writeln!(out, "      misses by {field}: wants {wanted}, found {found}");
    }
}

/// `NetworkPolicy shop/web ingress[0]`.
fn rule_of(rule: &fathom_api::fathom_v1::RuleRef) -> String {
    format!("{} {}", Escaped(&rule.kind), rule_place(rule))
}

fn selecting(policy: &SelectingPolicy) -> String {
    let SelectingPolicy { kind, namespace, name, edited, .. } = policy;
    let slash = if namespace.is_empty() { "" } else { "/" };
    let text = format!("{kind} {namespace}{slash}{name}");
    let edited = edited.as_ref().map(|edited| format!(", edited by {}", get::edited(edited)));
    format!("{}{}", Escaped(&text), edited.unwrap_or_default())
}

fn protocol(number: u32) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}
