//! ServerStatus in words.

use std::io::{self, Write};

use fathom_api::observer::ServerStatusResponse;

use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::{age, grouped};

const NOT_KNOWN: &str = "N/A";

fn nodes(count: Option<u32>) -> String {
    count.map_or_else(|| NOT_KNOWN.to_owned(), |count| count.to_string())
}

/// The server's rate; one that reports none has its flows divided by its age.
fn rate(status: &ServerStatusResponse) -> String {
    let seconds = status.uptime_ns as f64 / 1e9;
    if status.flows_rate > 0.0 {
        format!("{:.2}", status.flows_rate)
    } else if seconds > 0.0 {
        format!("{:.2}", status.seen_flows as f64 / seconds)
    } else {
        NOT_KNOWN.to_owned()
    }
}

pub(super) fn compact(out: &mut impl Write, status: &ServerStatusResponse) -> io::Result<()> {
    let ratio = match status.max_flows {
        0 => String::new(),
        max => format!(" ({:.2}%)", status.num_flows as f64 / max as f64 * 100.0),
    };
    writeln!(out, "Current/Max Flows: {}/{}{ratio}", grouped(status.num_flows), grouped(status.max_flows))?;
    writeln!(out, "Flows/s: {}", rate(status))?;
    if let Some(connected) = status.num_connected_nodes {
        let total = status
            .num_unavailable_nodes
            .map_or_else(String::new, |missing| format!("/{}", connected + missing));
        writeln!(out, "Connected Nodes: {connected}{total}")?;
    }
    let missing = status.num_unavailable_nodes.unwrap_or(0);
    if missing > 0 {
        writeln!(out, "Unavailable Nodes: {missing}")?;
        let mut names = status.unavailable_nodes.clone();
        names.sort();
        for name in &names {
            writeln!(out, "  - {}", Escaped(name))?;
        }
        let more = missing as usize - names.len().min(missing as usize);
        if more > 0 && !names.is_empty() {
            writeln!(out, "  - and {more} more...")?;
        }
    }
    Ok(())
}

pub(super) fn dict(out: &mut impl Write, status: &ServerStatusResponse) -> io::Result<()> {
    writeln!(out, "          NUM FLOWS: {}", grouped(status.num_flows))?;
    writeln!(out, "          MAX FLOWS: {}", grouped(status.max_flows))?;
    writeln!(out, "         SEEN FLOWS: {}", grouped(status.seen_flows))?;
    writeln!(out, "   FLOWS PER SECOND: {}", rate(status))?;
    writeln!(out, "             UPTIME: {}", age(status.uptime_ns))?;
    writeln!(out, "NUM CONNECTED NODES: {}", nodes(status.num_connected_nodes))?;
    writeln!(out, " NUM UNAVAIL. NODES: {}", nodes(status.num_unavailable_nodes))?;
    writeln!(out, "            VERSION: {}", Escaped(&status.version))
}

pub(super) fn table(out: &mut impl Write, status: &ServerStatusResponse) -> io::Result<()> {
    let mut columns = Columns::default();
    columns.row([
        "NUM FLOWS",
        "MAX FLOWS",
        "SEEN FLOWS",
        "FLOWS PER SECOND",
        "UPTIME",
        "NUM CONNECTED NODES",
        "NUM UNAVAILABLE NODES",
        "VERSION",
    ]);
    columns.row([
        grouped(status.num_flows),
        grouped(status.max_flows),
        grouped(status.seen_flows),
        rate(status),
        age(status.uptime_ns),
        nodes(status.num_connected_nodes),
        nodes(status.num_unavailable_nodes),
        Escaped(&status.version).to_string(),
    ]);
    columns.write(out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ServerStatusResponse {
        ServerStatusResponse {
            num_flows: 2031,
            max_flows: 4095,
            seen_flows: 120_000,
            uptime_ns: 60_000_000_000,
            num_connected_nodes: Some(2),
            num_unavailable_nodes: Some(3),
            unavailable_nodes: vec!["z".into(), "a".into()],
            version: "0.1.0".into(),
            flows_rate: 23.456,
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn compact_has_the_lines_people_know() {
        assert_eq!(
            text(|out| compact(out, &status())),
            "Current/Max Flows: 2,031/4,095 (49.60%)\nFlows/s: 23.46\nConnected Nodes: 2/5\n\
             Unavailable Nodes: 3\n  - a\n  - z\n  - and 1 more...\n"
        );
    }

    #[test]
    fn an_agent_without_a_rate_has_it_from_its_age() {
        let agent = ServerStatusResponse {
            flows_rate: 0.0,
            num_connected_nodes: None,
            num_unavailable_nodes: None,
            ..status()
        };
        assert_eq!(
            text(|out| compact(out, &agent)),
            "Current/Max Flows: 2,031/4,095 (49.60%)\nFlows/s: 2000.00\n"
        );
    }
}
