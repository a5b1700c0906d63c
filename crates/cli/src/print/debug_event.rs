//! Debug messages of the datapath.

use std::io::{self, Write};

use fathom_api::flow::{DebugEvent, DebugEventType, Endpoint};
use fathom_api::observer::GetDebugEventsResponse;

use super::flow_text::node_suffix;
use super::{SEPARATOR, Style};
use crate::terminal::escape::Escaped;

fn kind(event: &DebugEvent) -> String {
    DebugEventType::try_from(event.r#type)
        .map_or_else(|_| event.r#type.to_string(), |kind| kind.as_str_name().to_owned())
}

fn mark(event: &DebugEvent) -> String {
    event.hash.map_or_else(|| "N/A".to_owned(), |hash| format!("{hash:#x}"))
}

fn cpu(event: &DebugEvent) -> String {
    event.cpu.map_or_else(|| "N/A".to_owned(), |cpu| format!("{cpu:02}"))
}

/// `ns/pod (ID: 5)`, `reserved:host (ID: 1)`, `ID: 7`, `N/A`.
fn endpoint(endpoint: Option<&Endpoint>) -> String {
    let Some(endpoint) = endpoint else { return "N/A".to_owned() };
    match endpoint.labels.as_slice() {
        _ if !endpoint.namespace.is_empty() && !endpoint.pod_name.is_empty() => {
            format!("{}/{} (ID: {})", Escaped(&endpoint.namespace), Escaped(&endpoint.pod_name), endpoint.id)
        }
        [label] if label.starts_with("reserved:") => format!("{} (ID: {})", Escaped(label), endpoint.id),
        _ => format!("ID: {}", endpoint.id),
    }
}

pub(super) fn compact(
    out: &mut impl Write,
    style: &Style,
    response: &GetDebugEventsResponse,
    event: &DebugEvent,
) -> io::Result<()> {
    writeln!(
        out,
        "{}{}: {} {} MARK: {} CPU: {} ({})",
        style.time.show(response.time.as_ref()),
        node_suffix(&response.node_name, style),
        endpoint(event.source.as_ref()),
        kind(event),
        mark(event),
        cpu(event),
        Escaped(&event.message),
    )
}

pub(super) fn dict(
    out: &mut impl Write,
    style: &Style,
    separate: bool,
    response: &GetDebugEventsResponse,
    event: &DebugEvent,
) -> io::Result<()> {
    if separate {
        out.write_all(SEPARATOR.as_bytes())?;
    }
    writeln!(out, "  TIMESTAMP: {}", style.time.show(response.time.as_ref()))?;
    if style.node_name {
        writeln!(out, "       NODE: {}", Escaped(&response.node_name))?;
    }
    writeln!(out, "       TYPE: {}", kind(event))?;
    writeln!(out, "       FROM: {}", endpoint(event.source.as_ref()))?;
    writeln!(out, "       MARK: {}", mark(event))?;
    writeln!(out, "        CPU: {}", cpu(event))?;
    writeln!(out, "    MESSAGE: {}", Escaped(&event.message))
}

pub(super) fn header(style: &Style) -> Vec<String> {
    let node = style.node_name.then_some("NODE");
    let rest = ["FROM", "TYPE", "CPU/MARK", "MESSAGE"];
    std::iter::once("TIMESTAMP").chain(node).chain(rest).map(str::to_owned).collect()
}

pub(super) fn row(style: &Style, response: &GetDebugEventsResponse, event: &DebugEvent) -> Vec<String> {
    let mut cells = vec![style.time.show(response.time.as_ref()).to_string()];
    cells.extend(style.node_name.then(|| Escaped(&response.node_name).to_string()));
    cells.extend([
        endpoint(event.source.as_ref()),
        kind(event),
        format!("{} {}", cpu(event), mark(event)),
        Escaped(&event.message).to_string(),
    ]);
    cells
}
