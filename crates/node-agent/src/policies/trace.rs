//! How the tables in the kernel decide about two numbers, look-up by look-up.

use fathom_api::fathom_v1::{self as wire, Decision, TraceRequest, TraceStep, TracedTable};
use fathom_policy::{Action, Direction, PolicyKey, Probe, Step, lookup, steps};
use tonic::Status;

use crate::cluster::snapshot::Snapshot;
use crate::datapath::Running;

/// Egress by the table of the one, ingress by that of the other, where this node has such tables.
///
/// # Errors
/// A number is out of range, or the tables cannot be read.
pub fn trace(
    request: &TraceRequest,
    running: &dyn Running,
    snapshot: &Snapshot,
    node_name: &str,
) -> Result<Vec<TracedTable>, Status> {
    let TraceRequest { from_identity: from, to_identity: to, .. } = *request;
    let proto = u8::try_from(request.protocol)
        .map_err(|_| Status::invalid_argument(format!("protocol {} is above 255", request.protocol)))?;
    let port = request.port.map(|port| {
        u16::try_from(port).map_err(|_| Status::invalid_argument(format!("port {port} is above 65535")))
    });
    let port = port.transpose()?.or_else(|| super::parties::echo(proto));
    let cidr = |number: u32, exact: u32| (number > 0 && number != exact).then_some(number);
    let sides = [
        (Direction::Egress, from, to, cidr(request.to_cidr_identity, to)),
        (Direction::Ingress, to, from, cidr(request.from_cidr_identity, from)),
    ];
    let mut traced = Vec::new();
    for (direction, local, remote, cidr) in sides {
        let table = running.table(local);
        let table = table
            .map_err(|error| Status::internal(format!("the kernel's tables cannot be read: {error:#}")))?;
        let Some(table) = table else { continue };
        let probe = Probe { remote, cidr, direction, proto, port };
        let decision = lookup(&table, &probe);
        let rules = snapshot.rules.get(&decision.rule_id).into_iter().flat_map(|info| &info.refs);
        let rules = rules.map(|rule| wire::RuleRef {
            kind: rule.kind.to_string(),
            namespace: rule.namespace.to_string(),
            name: rule.name.to_string(),
            direction: rule.direction.into(),
            index: rule.index,
        });
        traced.push(TracedTable {
            node_name: node_name.to_owned(),
            direction: direction.number().into(),
            local_identity: local,
            remote_identity: remote,
            cidr_identity: cidr.unwrap_or(0),
            decision: if decision.allowed() { Decision::Allowed } else { Decision::Denied }.into(),
            rule_id: decision.rule_id,
            rules: rules.collect(),
            steps: steps(&table, &probe).iter().map(step).collect(),
        });
    }
    Ok(traced)
}

fn step(step: &Step) -> TraceStep {
    let told = |number: u8, question: String, answer: &str, rule_id| TraceStep {
        number: number.into(),
        question,
        answer: answer.to_owned(),
        rule_id,
    };
    match step {
        Step::LocalHost(host) => {
            told(1, "is it the node itself?".to_owned(), if *host { "yes: allowed" } else { "no" }, 0)
        }
        Step::Enforced(enforced) => {
            let answer = if *enforced { "yes" } else { "no: allowed" };
            told(2, "is the direction enforced?".to_owned(), answer, 0)
        }
        Step::Key { level, key, entry } => {
            let answer = match entry.map(|entry| entry.action) {
                None => "nothing",
                Some(Action::Allow) => "allows",
                Some(Action::Deny) => "denies",
            };
            told(level.number(), words(key), answer, entry.map_or(0, |entry| entry.rule_id))
        }
        Step::DefaultDeny(rule_id) => told(13, "nothing matched".to_owned(), "denied by default", *rule_id),
        Step::DefaultAllow => told(13, "nothing matched".to_owned(), "allowed by default", 0),
    }
}

/// A key in words: `identity 300, TCP, port 80`.
fn words(key: &PolicyKey) -> String {
    let identity = match key.identity {
        fathom_policy::ANY_IDENTITY => "any identity".to_owned(),
        number if key.owned => format!("prefix's identity {number}"),
        number => format!("identity {number}"),
    };
    let proto = match key.proto {
        0 => return identity,
        number => super::explain::protocol(number),
    };
    match key.port_plen {
        0 => format!("{identity}, {proto}"),
        16 => format!("{identity}, {proto}, port {}", key.port),
        plen => format!("{identity}, {proto}, ports {}/{plen}", key.port),
    }
}
