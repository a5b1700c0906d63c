//! The completeness of the stream, node by node: seen = delivered + aggregated + lost + held.

use std::io::{self, Write};

use fathom_api::fathom_v1::{LedgerStage, NodeLedger};

use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::{counted, grouped};

fn lost(node: &NodeLedger) -> u64 {
    node.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.lost))
}

fn held(node: &NodeLedger) -> u64 {
    node.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.held))
}

/// A node's state in a few words, and what it rests on.
fn judgement(node: &NodeLedger) -> (&'static str, String) {
    if !node.balanced {
        let problem = if node.problem.is_empty() { "no reason given" } else { &node.problem };
        let word = if node.stages.is_empty() { "not known" } else { "DOES NOT BALANCE" };
        return (word, Escaped(problem).to_string());
    }
    let losses: Vec<String> = node
        .stages
        .iter()
        .filter(|stage| stage.lost > 0)
        .map(|stage| format!("{} in {}", grouped(stage.lost), Escaped(&stage.name)))
        .collect();
    match losses.is_empty() {
        false => ("INCOMPLETE", format!("{} lost: {}", counted(lost(node), "event"), losses.join(", "))),
        true => {
            // A relay aggregates nothing: it keeps back what is beyond the number that was asked for.
            let aggregated = |relay: bool| {
                let stages = node.stages.iter().filter(|stage| (stage.name == "relay") == relay);
                stages.fold(0u64, |sum, stage| sum.saturating_add(stage.aggregated))
            };
            let mut notes = vec!["nothing lost".to_owned()];
            if aggregated(false) > 0 {
                notes.push(format!("{} aggregated", grouped(aggregated(false))));
            }
            if aggregated(true) > 0 {
                notes.push(format!("{} not asked for", grouped(aggregated(true))));
            }
            if held(node) > 0 {
                notes.push(format!("{} on the way", grouped(held(node))));
            }
            ("complete", notes.join(", "))
        }
    }
}

/// The section of `status` in compact form: one line per node, the stages where something is off.
pub(super) fn summary(out: &mut impl Write, nodes: &[NodeLedger]) -> io::Result<()> {
    if nodes.is_empty() {
        return writeln!(out, "Stream: no node reported its ledger");
    }
    let complete = nodes.iter().filter(|node| judgement(node).0 == "complete").count();
    writeln!(out, "Complete Streams: {complete}/{}", nodes.len())?;
    let mut columns = Columns::default();
    for node in nodes {
        let (word, why) = judgement(node);
        columns.row([Escaped(&node.node_name).to_string(), word.to_owned(), why]);
    }
    columns.write(out, "  ")?;
    let off: Vec<NodeLedger> = nodes
        .iter()
        .filter(|node| !node.balanced || lost(node) > 0)
        .filter(|node| !node.stages.is_empty())
        .cloned()
        .collect();
    if off.is_empty() {
        Ok(())
    } else {
        writeln!(out)?;
        stages(out, &off)
    }
}

/// The same in `dict` form.
pub(super) fn dict(out: &mut impl Write, nodes: &[NodeLedger]) -> io::Result<()> {
    for node in nodes {
        let (word, why) = judgement(node);
        writeln!(out, "             STREAM: {}: {word} ({why})", Escaped(&node.node_name))?;
    }
    Ok(())
}

/// Every stage of every node.
pub(super) fn stages(out: &mut impl Write, nodes: &[NodeLedger]) -> io::Result<()> {
    let mut columns = Columns::default();
    columns.row(["NODE", "STAGE", "IN", "OUT", "AGGREGATED", "HELD", "LOST", "BALANCE"]);
    for node in nodes {
        for stage in &node.stages {
            columns.row([
                Escaped(&node.node_name).to_string(),
                Escaped(&stage.name).to_string(),
                grouped(stage.r#in),
                grouped(stage.out),
                grouped(stage.aggregated),
                grouped(stage.held),
                grouped(stage.lost),
                balance(stage),
            ]);
        }
        if !node.problem.is_empty() {
            columns.row([Escaped(&node.node_name).to_string(), Escaped(&node.problem).to_string()]);
        }
    }
    columns.write(out, "")
}

/// `ok`, or how many events the stage cannot account for.
fn balance(stage: &LedgerStage) -> String {
    let accounted = [stage.out, stage.aggregated, stage.held, stage.lost]
        .iter()
        .fold(0i128, |sum, n| sum + i128::from(*n));
    match i128::from(stage.r#in) - accounted {
        0 => "ok".to_owned(),
        off if off > 0 => format!("{off} unaccounted for"),
        off => format!("{} too many", -off),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, r#in: u64, out: u64, lost: u64) -> LedgerStage {
        LedgerStage { name: name.into(), r#in, out, lost, ..Default::default() }
    }

    fn node(name: &str, stages: Vec<LedgerStage>, problem: &str) -> NodeLedger {
        NodeLedger {
            node_name: name.into(),
            stages,
            balanced: problem.is_empty(),
            problem: problem.into(),
            time: None,
        }
    }

    #[test]
    fn each_node_is_judged_and_the_stages_of_bad_ones_are_listed() {
        let nodes = [
            node("a", vec![stage("kernel.events", 10, 10, 0)], ""),
            node("b", vec![stage("kernel.events", 1_010, 1_000, 10), stage("reader", 1_000, 1_000, 0)], ""),
            node("c", vec![stage("store", 9, 7, 0)], "2 events unaccounted for in store"),
            node("d", vec![], "did not answer"),
            node("r", vec![LedgerStage { aggregated: 20, ..stage("relay", 40, 20, 0) }], ""),
        ];
        let mut out = Vec::new();
        summary(&mut out, &nodes).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
Complete Streams: 2/5
  a   complete           nothing lost
  b   INCOMPLETE         10 events lost: 10 in kernel.events
  c   DOES NOT BALANCE   2 events unaccounted for in store
  d   not known          did not answer
  r   complete           nothing lost, 20 not asked for

NODE   STAGE                               IN      OUT     AGGREGATED   HELD   LOST   BALANCE
b      kernel.events                       1,010   1,000   0            0      10     ok
b      reader                              1,000   1,000   0            0      0      ok
c      store                               9       7       0            0      0      2 unaccounted for
c      2 events unaccounted for in store
"
        );
    }
}
