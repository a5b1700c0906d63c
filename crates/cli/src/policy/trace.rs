//! Look-ups, a line each.

use std::io::{self, Write};

use fathom_api::fathom_v1::{Decision, Direction, TraceResponse, TracedTable};

use crate::print::rule_place;
use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;

pub(super) fn denies(table: &TracedTable) -> bool {
    table.decision == Decision::Denied as i32
}

pub(super) fn write(out: &mut impl Write, response: &TraceResponse) -> io::Result<()> {
    for (at, table) in response.tables.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let (name, towards) = match Direction::try_from(table.direction) {
            Ok(Direction::Egress) => ("egress", "to"),
            _ => ("ingress", "from"),
        };
        let cidr = match table.cidr_identity {
            0 => String::new(),
            number => format!(" (by prefix {number})"),
        };
        let verdict = if denies(table) { "DENIED" } else { "allowed" };
        writeln!(
            out,
            "{name} at {}: identity {} {towards} {}{cidr}: {verdict}",
            Escaped(&table.node_name),
            table.local_identity,
            table.remote_identity
        )?;
        let mut columns = Columns::default();
        for step in &table.steps {
            let rule = if step.rule_id > 0 { format!("rule {}", step.rule_id) } else { String::new() };
            let (question, answer) = (Escaped(&step.question), Escaped(&step.answer));
            columns.row([step.number.to_string(), question.to_string(), answer.to_string(), rule]);
        }
        columns.write(out, "  ")?;
        for rule in &table.rules {
            writeln!(out, "  rule {} is {} {}", table.rule_id, Escaped(&rule.kind), rule_place(rule))?;
        }
    }
    Ok(())
}
