//! Every format over one fixed set of responses, compared with `tests/golden/`.
//! `FATHOM_REGENERATE=1 cargo test -p fathom-cli golden` writes the files; read the difference.

use std::path::PathBuf;

use super::*;
use crate::testing::flows::{self, at, pod};
use crate::testing::messages;
use fathom_api::flow::{DebugEvent, DebugEventType};

fn style(output: Output) -> Style {
    Style {
        output,
        time: TimeFormat::StampMilli,
        palette: Palette { on: false },
        node_name: false,
        policy_names: false,
        facts: false,
        translate: true,
        debug: false,
        silent: false,
        legacy_json: false,
    }
}

fn print(style: Style, fill: impl FnOnce(&mut Printer<&mut Vec<u8>, &mut Vec<u8>>)) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut printer = Printer::new(style, &mut out, &mut err);
    fill(&mut printer);
    printer.finish().unwrap();
    let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
    format!("{out}==== standard error ====\n{err}")
}

fn all_flows(style: Style) -> String {
    print(style, |printer| flows::everything().iter().for_each(|raw| drop(printer.response(raw).unwrap())))
}

fn compare(name: &str, got: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("FATHOM_REGENERATE").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == got, "{}: expected\n{expected}\ngot\n{got}", path.display());
}

#[test]
fn compact_is_golden() {
    compare("compact.txt", &all_flows(style(Output::Compact)));
}

#[test]
fn compact_with_nodes_and_policies_is_golden() {
    let style = Style {
        node_name: true,
        policy_names: true,
        debug: true,
        time: TimeFormat::Rfc3339Nano,
        ..style(Output::Compact)
    };
    compare("compact-nodes-policies.txt", &all_flows(style));
}

#[test]
fn compact_in_numbers_is_golden() {
    compare("compact-numeric.txt", &all_flows(Style { translate: false, ..style(Output::Compact) }));
}

#[test]
fn compact_in_colour_is_golden() {
    compare(
        "compact-colour.txt",
        &all_flows(Style { palette: Palette { on: true }, ..style(Output::Compact) }),
    );
}

#[test]
fn dict_is_golden() {
    compare("dict.txt", &all_flows(Style { node_name: true, ..style(Output::Dict) }));
}

#[test]
fn table_is_golden_and_never_coloured() {
    let plain = all_flows(style(Output::Table));
    compare("table.txt", &plain);
    assert_eq!(all_flows(Style { palette: Palette { on: true }, ..style(Output::Table) }), plain);
}

#[test]
fn json_is_golden() {
    compare("jsonpb.txt", &all_flows(style(Output::Jsonpb)));
}

#[test]
fn json_for_old_scripts_is_the_bare_flow() {
    let style = Style { legacy_json: true, ..style(Output::Json) };
    compare("json-legacy.txt", &all_flows(style));
}

#[test]
fn facts_are_golden() {
    let text: String = [Output::Compact, Output::Dict, Output::Table]
        .map(|output| {
            let style = Style { facts: true, ..style(output) };
            print(style, |printer| {
                for raw in [flows::flow_response(flows::with_facts()), flows::flow_response(flows::reply())] {
                    printer.response(&raw).unwrap();
                }
            })
        })
        .concat();
    compare("facts.txt", &text);
}

fn all_messages(style: Style) -> String {
    print(style, |printer| {
        for flow in messages::all() {
            printer.response(&flows::flow_response(flow)).unwrap();
        }
    })
}

#[test]
fn messages_are_golden() {
    compare("messages-compact.txt", &all_messages(style(Output::Compact)));
    let coloured = Style { palette: Palette { on: true }, ..style(Output::Compact) };
    compare("messages-colour.txt", &all_messages(coloured));
    compare("messages-dict.txt", &all_messages(Style { facts: true, ..style(Output::Dict) }));
    compare("messages-table.txt", &all_messages(style(Output::Table)));
    compare("messages-jsonpb.txt", &all_messages(style(Output::Jsonpb)));
}

#[test]
fn silence_leaves_standard_output_as_it_is() {
    let loud = all_flows(style(Output::Compact));
    let silent = all_flows(Style { silent: true, ..style(Output::Compact) });
    let (out, err) = silent.split_once("==== standard error ====\n").unwrap();
    assert_eq!(err, "");
    assert!(loud.starts_with(out));
}

fn agent_events() -> Vec<GetAgentEventsResponse> {
    use fathom_api::flow::agent_event::Notification::*;
    use fathom_api::flow::*;
    let of = |kind: AgentEventType, notification| GetAgentEventsResponse {
        agent_event: Some(AgentEvent { r#type: kind.into(), notification }),
        node_name: "node-1".into(),
        time: Some(at(5)),
    };
    vec![
        of(AgentEventType::AgentStarted, Some(AgentStart(TimeNotification { time: Some(at(1)) }))),
        of(
            AgentEventType::PolicyUpdated,
            Some(PolicyUpdate(PolicyUpdateNotification {
                labels: vec!["k8s:name=web".into(), "k8s:kind=NetworkPolicy".into()],
                revision: 4,
                rule_count: 2,
            })),
        ),
        of(
            AgentEventType::EndpointRegenerateFailure,
            Some(EndpointRegenerate(EndpointRegenNotification {
                id: 7,
                labels: vec!["k8s:app=a".into()],
                error: "no\nroom".into(),
            })),
        ),
        of(
            AgentEventType::EndpointCreated,
            Some(EndpointUpdate(EndpointUpdateNotification {
                id: 7,
                namespace: "default".into(),
                pod_name: "xwing".into(),
                ..Default::default()
            })),
        ),
        of(
            AgentEventType::IpcacheUpserted,
            Some(IpcacheUpdate(IpCacheNotification {
                cidr: "10.244.1.5/32".into(),
                identity: 1001,
                old_identity: Some(1000),
                host_ip: "192.0.2.1".into(),
                ..Default::default()
            })),
        ),
        of(AgentEventType::AgentEventUnknown, None),
    ]
}

fn debug_events() -> Vec<GetDebugEventsResponse> {
    let of = |event| GetDebugEventsResponse {
        debug_event: Some(event),
        node_name: "node-1".into(),
        time: Some(at(6)),
    };
    vec![
        of(DebugEvent {
            r#type: DebugEventType::DbgCtLookup.into(),
            source: pod("default", "xwing", 1001),
            hash: Some(0xbeef),
            cpu: Some(3),
            message: "CT lookup: new".into(),
            ..Default::default()
        }),
        of(DebugEvent::default()),
    ]
}

#[test]
fn agent_events_are_golden() {
    let text: String = [Output::Compact, Output::Dict, Output::Table, Output::Jsonpb]
        .map(|output| print(style(output), |p| agent_events().iter().for_each(|e| p.agent_event(e).unwrap())))
        .concat();
    compare("agent-events.txt", &text);
}

#[test]
fn debug_events_are_golden() {
    let text: String = [Output::Compact, Output::Dict, Output::Table, Output::Jsonpb]
        .map(|output| print(style(output), |p| debug_events().iter().for_each(|e| p.debug_event(e).unwrap())))
        .concat();
    compare("debug-events.txt", &text);
}
