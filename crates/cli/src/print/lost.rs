//! Events that are missing, shown where they are missing.

use std::io::{self, Write};

use fathom_api::flow::{LostEvent, LostEventSource};
use prost_types::Timestamp;

use super::flow_text::node_suffix;
use super::{SEPARATOR, Style};
use crate::terminal::colour::Ink;
use crate::terminal::escape::Escaped;

fn source(event: &LostEvent) -> String {
    match LostEventSource::try_from(event.source) {
        Ok(source) => source.as_str_name().to_owned(),
        Err(_) => event.source.to_string(),
    }
}

/// `CPU(3)`; `CPU(-)` when the loss is not one CPU's.
fn cpu(event: &LostEvent) -> String {
    event.cpu.map_or_else(|| "CPU(-)".to_owned(), |cpu| format!("CPU({cpu})"))
}

/// ` (first: T, last: T)`, or nothing.
fn span(event: &LostEvent, style: &Style) -> String {
    match (&event.first, &event.last) {
        (None, None) => String::new(),
        (first, last) => {
            let show = |time: &Option<Timestamp>| style.time.show(time.as_ref());
            format!(" (first: {}, last: {})", show(first), show(last))
        }
    }
}

pub(super) fn compact(
    out: &mut impl Write,
    style: &Style,
    event: &LostEvent,
    time: Option<&Timestamp>,
    node: &str,
) -> io::Result<()> {
    writeln!(
        out,
        "{}{} {} {} {} {}{}",
        style.time.show(time),
        node_suffix(node, style),
        style.palette.paint(Ink::Bad, "EVENTS LOST:"),
        source(event),
        cpu(event),
        event.num_events_lost,
        span(event, style),
    )
}

pub(super) fn dict(
    out: &mut impl Write,
    style: &Style,
    separate: bool,
    event: &LostEvent,
    time: Option<&Timestamp>,
    node: &str,
) -> io::Result<()> {
    if separate {
        out.write_all(SEPARATOR.as_bytes())?;
    }
    writeln!(out, "  TIMESTAMP: {}", style.time.show(time))?;
    if style.node_name {
        writeln!(out, "       NODE: {}", Escaped(node))?;
    }
    writeln!(out, "     SOURCE: {}", source(event))?;
    writeln!(out, "       TYPE: {}", style.palette.paint(Ink::Bad, "EVENTS LOST"))?;
    writeln!(out, "    VERDICT: ")?;
    writeln!(out, "    SUMMARY: {} - {}{}", cpu(event), event.num_events_lost, span(event, style))
}

/// A row of the flow table.
pub(super) fn row(style: &Style, event: &LostEvent, time: Option<&Timestamp>, node: &str) -> Vec<String> {
    let mut cells = vec![style.time.show(time).to_string()];
    cells.extend(style.node_name.then(|| Escaped(node).to_string()));
    let summary = format!("{} - {}{}", cpu(event), event.num_events_lost, span(event, style));
    cells.extend([source(event), String::new(), "EVENTS LOST".to_owned(), String::new(), summary]);
    cells
}
