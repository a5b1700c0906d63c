//! One flow as KEY: VALUE lines. Source and destination are those of the packet, also in replies.

use std::io::{self, Write};

use fathom_api::facts;
use fathom_api::flow::Flow;

use super::facts::named;
use super::flow_text::{Summary, event_type, hosts, identity, verdict};
use super::{SEPARATOR, Style};
use crate::terminal::escape::Escaped;

/// Writes a record, after a separator unless it is the first.
pub(super) fn flow(out: &mut impl Write, style: &Style, separate: bool, flow: &Flow) -> io::Result<()> {
    let facts = facts::of(flow);
    let facts = facts.as_ref();
    let (source, destination) = hosts(flow, style);
    if separate {
        out.write_all(SEPARATOR.as_bytes())?;
    }
    writeln!(out, "  TIMESTAMP: {}", style.time.show(flow.time.as_ref()))?;
    if style.node_name {
        writeln!(out, "       NODE: {}", Escaped(&flow.node_name))?;
    }
    // Hubble's dict output leaves identities out; they are what policy decides on.
    writeln!(out, "     SOURCE: {} {}", source.show(style), identity(flow.source.as_ref(), style))?;
    writeln!(out, "DESTINATION: {} {}", destination.show(style), identity(flow.destination.as_ref(), style))?;
    writeln!(out, "       TYPE: {}", event_type(flow, facts))?;
    writeln!(out, "    VERDICT: {}", verdict(flow, style))?;
    writeln!(out, "    SUMMARY: {}", Summary(flow, facts, style))?;
    for (name, fact) in facts.filter(|_| style.facts).map_or_else(Vec::new, named) {
        writeln!(out, "{:>11}: {fact}", name.to_ascii_uppercase())?;
    }
    Ok(())
}
