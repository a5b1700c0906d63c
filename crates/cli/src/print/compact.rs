//! One flow, one line: `<time>[ [node]]: <source> (id) -> <destination> (id) <type> <verdict> (<summary>)`.

use std::io::{self, Write};

use fathom_api::facts;
use fathom_api::flow::Flow;

use super::Style;
use super::flow_text::{Summary, event_type, hosts, identity, node_suffix, verdict};

/// Replies are turned round, so that who opened the connection always stands on the left: `<-`. The
/// arrow is `<>` where that isn't known.
pub(super) fn flow(out: &mut impl Write, style: &Style, flow: &Flow) -> io::Result<()> {
    let facts = facts::of(flow);
    let facts = facts.as_ref();
    let (mut left, mut right) = hosts(flow, style);
    let mut left_id = identity(flow.source.as_ref(), style);
    let mut right_id = identity(flow.destination.as_ref(), style);
    let arrow = match flow.is_reply {
        None => "<>",
        Some(false) => "->",
        Some(true) => {
            std::mem::swap(&mut left, &mut right);
            std::mem::swap(&mut left_id, &mut right_id);
            "<-"
        }
    };
    writeln!(
        out,
        "{}{}: {} {left_id} {arrow} {} {right_id} {} {} ({})",
        style.time.show(flow.time.as_ref()),
        node_suffix(&flow.node_name, style),
        left.show(style),
        right.show(style),
        event_type(flow, facts),
        verdict(flow, style),
        Summary(flow, facts, style),
    )
}
