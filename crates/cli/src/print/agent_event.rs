//! What happened to an agent, in words.

use std::fmt::Write as _;
use std::io::{self, Write};

use fathom_api::flow::agent_event::Notification;
use fathom_api::flow::{AgentEvent, AgentEventType, ServiceUpsertNotificationAddr};
use fathom_api::observer::GetAgentEventsResponse;

use super::flow_text::node_suffix;
use super::{SEPARATOR, Style};
use crate::terminal::escape::{Escaped, join};

fn kind(event: &AgentEvent) -> String {
    AgentEventType::try_from(event.r#type)
        .map_or_else(|_| event.r#type.to_string(), |kind| kind.as_str_name().to_owned())
}

#[allow(deprecated)]
fn details(event: &AgentEvent, style: &Style) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut add = |name: &str, value: &dyn std::fmt::Display| {
        let gap = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{gap}{name}: {value}");
    };
    match &event.notification {
        None => return "UNKNOWN".to_owned(),
        Some(Notification::Unknown(unknown)) => {
            add("type", &Escaped(&unknown.r#type));
            add("notification", &Escaped(&unknown.notification));
        }
        Some(Notification::AgentStart(start)) => add("start time", &style.time.show(start.time.as_ref())),
        Some(Notification::PolicyUpdate(policy)) => {
            add("labels", &format!("[{}]", join(&policy.labels, ",")));
            add("revision", &policy.revision);
            add("count", &policy.rule_count);
        }
        Some(Notification::EndpointRegenerate(regenerated)) => {
            add("id", &regenerated.id);
            add("labels", &format!("[{}]", join(&regenerated.labels, ",")));
            if !regenerated.error.is_empty() {
                add("error", &Escaped(&regenerated.error));
            }
        }
        Some(Notification::EndpointUpdate(endpoint)) => {
            add("id", &endpoint.id);
            if !endpoint.namespace.is_empty() {
                add("namespace", &Escaped(&endpoint.namespace));
            }
            if !endpoint.pod_name.is_empty() {
                add("pod name", &Escaped(&endpoint.pod_name));
            }
        }
        Some(Notification::IpcacheUpdate(entry)) => {
            add("cidr", &Escaped(&entry.cidr));
            add("identity", &entry.identity);
            if let Some(old) = &entry.old_identity {
                add("old identity", old);
            }
            if !entry.host_ip.is_empty() {
                add("host ip", &Escaped(&entry.host_ip));
            }
            if !entry.old_host_ip.is_empty() {
                add("old host ip", &Escaped(&entry.old_host_ip));
            }
            add("encrypt key", &entry.encrypt_key);
        }
        Some(Notification::ServiceUpsert(service)) => {
            add("id", &service.id);
            if let Some(frontend) = &service.frontend_address {
                add("frontend", &address(frontend));
            }
            if !service.backend_addresses.is_empty() {
                let backends: Vec<_> = service.backend_addresses.iter().map(address).collect();
                add("backends", &format!("[{}]", backends.join(",")));
            }
            for (name, value) in
                [("type", &service.r#type), ("namespace", &service.namespace), ("name", &service.name)]
            {
                if !value.is_empty() {
                    add(name, &Escaped(value));
                }
            }
        }
        Some(Notification::ServiceDelete(service)) => add("id", &service.id),
    }
    text
}

fn address(address: &ServiceUpsertNotificationAddr) -> String {
    match address.ip.contains(':') {
        true => format!("[{}]:{}", Escaped(&address.ip), address.port),
        false => format!("{}:{}", Escaped(&address.ip), address.port),
    }
}

pub(super) fn compact(
    out: &mut impl Write,
    style: &Style,
    response: &GetAgentEventsResponse,
    event: &AgentEvent,
) -> io::Result<()> {
    writeln!(
        out,
        "{}{}: {} ({})",
        style.time.show(response.time.as_ref()),
        node_suffix(&response.node_name, style),
        kind(event),
        details(event, style),
    )
}

pub(super) fn dict(
    out: &mut impl Write,
    style: &Style,
    separate: bool,
    response: &GetAgentEventsResponse,
    event: &AgentEvent,
) -> io::Result<()> {
    if separate {
        out.write_all(SEPARATOR.as_bytes())?;
    }
    writeln!(out, "  TIMESTAMP: {}", style.time.show(response.time.as_ref()))?;
    if style.node_name {
        writeln!(out, "       NODE: {}", Escaped(&response.node_name))?;
    }
    writeln!(out, "       TYPE: {}", kind(event))?;
    writeln!(out, "    DETAILS: {}", details(event, style))
}

pub(super) fn header(style: &Style) -> Vec<String> {
    let node = style.node_name.then_some("NODE");
    std::iter::once("TIMESTAMP").chain(node).chain(["TYPE", "DETAILS"]).map(str::to_owned).collect()
}

pub(super) fn row(style: &Style, response: &GetAgentEventsResponse, event: &AgentEvent) -> Vec<String> {
    let mut cells = vec![style.time.show(response.time.as_ref()).to_string()];
    cells.extend(style.node_name.then(|| Escaped(&response.node_name).to_string()));
    cells.extend([kind(event), details(event, style)]);
    cells
}
