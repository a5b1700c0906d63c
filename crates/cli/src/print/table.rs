//! Flows in aligned columns.

use fathom_api::facts;
use fathom_api::flow::Flow;

use super::Style;
use super::flow_text::{Summary, event_type, hosts, verdict};
use crate::terminal::colour::Palette;
use crate::terminal::escape::Escaped;

pub(super) fn header(style: &Style) -> Vec<String> {
    let node = style.node_name.then_some("NODE");
    let rest = ["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];
    std::iter::once("TIMESTAMP").chain(node).chain(rest).map(str::to_owned).collect()
}

/// A row without colours: their invisible characters would count as width.
pub(super) fn row(style: &Style, flow: &Flow) -> Vec<String> {
    let style = &Style { palette: Palette { on: false }, ..*style };
    let facts = facts::of(flow);
    let facts = facts.as_ref();
    let (source, destination) = hosts(flow, style);
    let mut cells = vec![style.time.show(flow.time.as_ref()).to_string()];
    cells.extend(style.node_name.then(|| Escaped(&flow.node_name).to_string()));
    cells.extend([
        source.show(style),
        destination.show(style),
        event_type(flow, facts),
        verdict(flow, style),
        Summary(flow, facts, style).to_string(),
    ]);
    cells
}
