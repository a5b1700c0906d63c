//! `fathom observe` against a server on a unix socket.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use common::flows::{self, flow_response, forwarded, lost, response};
use common::{Script, Server, ended, fathom, golden, run};
use fathom_api::observer::ServerStatusResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::relay::NodeState;
use fathom_api::time;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tonic::Status;

fn everything() -> Server {
    Server::start(Script { flows: flows::everything(), ..Default::default() })
}

#[test]
fn flows_go_to_standard_output_and_words_about_nodes_to_standard_error() {
    let server = everything();
    let (status, out, err) = run(server.fathom("observe"));
    let text = golden("compact.txt");
    let (golden_out, golden_err) = text.split_once("==== standard error ====\n").unwrap();
    assert_eq!((status, out.as_str()), (0, golden_out));
    assert_eq!(
        err,
        format!(
            "{golden_err}incomplete: 1,239 events lost\n\
             \x20 1,234 on node-2 in the kernel, whose ring was full (PERF_EVENT_RING_BUFFER)\n\
             \x20 5 on node-2 in the agent's store, overwritten before they were read (HUBBLE_RING_BUFFER)\n"
        )
    );
}

#[test]
fn flags_arrive_at_the_server_as_a_request() {
    let server = everything();
    run(server.fathom("observe"));
    let asked = server.asked();
    assert_eq!((asked.number, asked.follow, asked.first), (20, false, false));
    assert!(asked.field_mask.unwrap().paths.contains(&"Summary".to_owned()));

    run(server.fathom("observe flows --not --from-pod a --to-pod b/c --first 3 --since 5m -o json"));
    let asked = server.asked();
    assert_eq!((asked.number, asked.first, asked.field_mask), (3, true, None));
    assert_eq!(asked.blacklist[0].source_pod, ["a"]);
    assert_eq!(asked.whitelist[0].destination_pod, ["b/c"]);
    let since = time::now() - time::unix_ns(&asked.since.unwrap());
    assert!((299..330).contains(&(since / 1_000_000_000)), "{since}");
}

#[test]
fn json_is_what_the_wire_held() {
    let server = everything();
    let (status, out, _) = run(server.fathom("observe -o jsonpb"));
    let mut expected = Vec::new();
    for raw in flows::everything() {
        let peek = fathom_api::peek::peek(&raw.0).unwrap();
        if peek.kind != fathom_api::peek::Kind::NodeStatus {
            fathom_api::json::append("observer.GetFlowsResponse", &raw.0, &mut expected).unwrap();
            expected.push(b'\n');
        }
    }
    assert_eq!((status, out), (0, String::from_utf8(expected).unwrap()));
}

#[test]
fn a_followed_flow_is_printed_at_once_and_an_interrupt_ends_well() {
    let (sender, receiver) = mpsc::channel(1);
    let server = Server::start(Script { live: Some(receiver).into(), ..Default::default() });
    let mut child = server.fathom("observe -f").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let sent = Instant::now();
        sender.blocking_send(Ok(flow_response(forwarded()))).unwrap();
        assert!(lines.next().unwrap().unwrap().ends_with("FORWARDED (TCP Flags: SYN)"));
        fastest = fastest.min(sent.elapsed());
    }
    assert!(fastest < Duration::from_millis(50), "the fastest of ten flows took {fastest:?}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let (status, rest, err) = ended(child.wait_with_output().unwrap());
    assert_eq!((status, rest.as_str(), err.as_str()), (0, "", ""));
}

#[test]
fn a_followed_stream_that_the_server_ends_is_told_of() {
    let server = Server::start(Script { flows: vec![flow_response(forwarded())], ..Default::default() });
    let (status, out, err) = run(server.fathom("observe -f"));
    assert_eq!((status, out.lines().count()), (0, 1));
    assert_eq!(err, format!("{} ended the stream\n", server.address()));
}

#[test]
fn until_ends_following_even_when_nothing_comes() {
    let (_sender, receiver) = mpsc::channel(1);
    let server = Server::start(Script { live: Some(receiver).into(), ..Default::default() });
    let (status, out, _) = run(server.fathom("observe -f --until +100ms"));
    assert_eq!((status, out.as_str()), (0, ""));
    assert!(server.asked().follow && server.asked().until.is_some());
}

#[test]
fn an_empty_result_says_why_but_not_on_standard_output() {
    let status = ServerStatusResponse {
        num_flows: 3210,
        num_connected_nodes: Some(2),
        num_unavailable_nodes: Some(1),
        unavailable_nodes: vec!["node-3".into()],
        ..Default::default()
    };
    let server = Server::start(Script { status, ..Default::default() });
    let why = "no flow matched: the server holds 3,210 flows on 2 nodes\nnot connected: node-3\n\
               hint: a pod or service named without a namespace is looked for in \"default\"; add -n NAMESPACE, or -A for any\n";
    for line in ["observe --pod web", "observe --pod web -o json", "observe --pod web -o table"] {
        assert_eq!(run(server.fathom(line)), (0, String::new(), why.to_owned()), "{line}");
    }
    assert_eq!(run(server.fathom("observe --pod web -s")), (0, String::new(), String::new()));
}

#[test]
fn losses_before_an_error_are_still_told() {
    let (sender, receiver) = mpsc::channel(1);
    let flows = vec![response(ResponseTypes::LostEvents(lost()[1]), "node-2", None)];
    let server = Server::start(Script { flows, live: Some(receiver).into(), ..Default::default() });
    let child = server.fathom("observe -f").spawn().unwrap();
    sender.blocking_send(Err(Status::internal("the store is on fire\x1b[2J"))).unwrap();
    let (status, out, err) = ended(child.wait_with_output().unwrap());
    assert_eq!(status, 1);
    assert_eq!(out, "N/A EVENTS LOST: HUBBLE_RING_BUFFER CPU(-) 5\n");
    assert!(err.starts_with("incomplete: 5 events lost: 5 on node-2 in the agent's store"), "{err}");
    assert!(
        err.ends_with("failed to answer a question for flows: Internal: the store is on fire^[[2J\n"),
        "{err}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let flows = vec![flow_response(forwarded()); 20_000];
    let server = Server::start(Script { flows, ..Default::default() });
    let mut child = server.fathom("observe --all").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("default/xwing"));
    let (status, _, err) = ended(child.wait_with_output().unwrap());
    assert_eq!((status, err.as_str()), (0, ""));
}

#[test]
fn standard_error_that_went_away_is_no_error_either() {
    let server = everything();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = server.fathom("observe --verdict DROPPED");
    command.stderr(writer.try_clone().unwrap()).stdout(writer);
    assert_eq!(run(command).0, 0);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = fathom("observe --verdict NONSENSE");
    command.stderr(writer);
    assert_eq!(run(command).0, 2);
}

#[test]
fn what_the_server_refuses_is_a_usage_error_in_its_words() {
    let refuse = Some(Status::invalid_argument("invalid filter: whitelist[0].source_label: no selector"));
    let server = Server::start(Script { refuse, ..Default::default() });
    let (status, out, err) = run(server.fathom("observe --label ="));
    assert_eq!((status, out.as_str()), (2, ""));
    let expected = format!("Error: {} refused the request: invalid filter: ", server.address());
    assert!(err.starts_with(&expected), "{err}");
}

#[test]
fn mistakes_on_the_command_line_need_no_server() {
    for (line, expected) in [
        (
            "observe --http-path (",
            "Error: invalid argument \"(\" for \"--http-path\" flag: not a regular expression: unclosed group",
        ),
        (
            "observe --ip 1.1.1.1 --pod a",
            "Error: invalid argument \"a\" for \"--pod\" flag: filters --ip and --pod cannot be combined\n",
        ),
        (
            "observe --verdict OK",
            "Error: invalid argument \"OK\" for \"--verdict\" flag: unknown verdict \"OK\"",
        ),
        ("observe --pod a --not", "Error: trailing --not found in the arguments"),
        ("observe --first 1 --last 2", "Error: cannot set both --first and --last\n"),
        ("observe --sauce a", "error: unexpected argument '--sauce' found"),
        ("observe --server nowhere", "Error: invalid argument \"nowhere\" for \"--server\" flag: "),
        ("observe --timeout 5", "Error: invalid argument \"5\" for \"--timeout\" flag: not a duration"),
    ] {
        let (status, out, err) = run(fathom(line));
        assert_eq!((status, out.as_str()), (2, ""), "{line}");
        assert!(err.starts_with(expected), "{line}: {err}");
    }
}

#[test]
fn raw_filters_are_printed_in_the_form_the_configuration_takes() {
    let (status, out, err) = run(fathom("observe --pod shop/cart --not --protocol dns --print-raw-filters"));
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (
            0,
            "allowlist:\n    - '{\"source_pod\":[\"shop/cart\"]}'\n    - '{\"destination_pod\":[\"shop/cart\"]}'\n\
             denylist:\n    - '{\"protocol\":[\"dns\"]}'\n",
            ""
        )
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("filters.yaml");
    std::fs::write(&file, &out).unwrap();
    let mut again = fathom("observe --print-raw-filters --config");
    again.arg(&file);
    assert_eq!(run(again), (0, out, String::new()));
    assert_eq!(run(fathom("observe --print-raw-filters")).1, "{}\n");
}

#[test]
fn the_table_comes_when_all_of_it_is_known() {
    let server = everything();
    let (status, out, _) = run(server.fathom("observe -o table"));
    let text = golden("table.txt");
    assert_eq!((status, out.as_str()), (0, text.split_once("==== ").unwrap().0));
}

#[test]
fn colour_is_for_terminals_unless_chosen() {
    let server = everything();
    let escapes = |out: &str| out.contains("\x1b[");
    assert!(!escapes(&run(server.fathom("observe")).1));
    assert!(escapes(&run(server.fathom("observe --color always")).1));
    assert!(!escapes(&run(server.fathom("observe --color never -o dict")).1));
}

#[test]
fn nodes_that_connect_are_told_of_when_debugging() {
    let flows = vec![response(
        ResponseTypes::NodeStatus(flows::node_status(NodeState::NodeConnected, &["a", "b"], "")),
        "relay",
        Some(flows::at(0)),
    )];
    let server = Server::start(Script { flows, ..Default::default() });
    assert!(!run(server.fathom("observe")).2.contains("Receiving"));
    assert!(run(server.fathom("observe -D")).2.contains("[relay]: Receiving flows from 2 nodes: a, b\n"));
}

#[test]
fn credentials_go_along() {
    let server = everything();
    run(server.fathom("observe --basic-auth-username me --basic-auth-password secret"));
    assert_eq!(server.script.authorization.lock().unwrap().as_deref(), Some("Basic bWU6c2VjcmV0"));
}

#[test]
fn a_file_is_filtered_as_a_server_would() {
    let server = everything();
    let (_, jsonl, _) = run(server.fathom("observe -o jsonpb"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.jsonl");
    std::fs::write(&path, format!("{jsonl}\n")).unwrap();
    let read = |line: &str| {
        let mut command = fathom(line);
        command.arg("--input-file").arg(&path);
        run(command)
    };
    let all = golden("compact.txt");
    let all = all.split_once("====").unwrap().0;
    let (status, out, err) = read("observe");
    assert_eq!((status, out.as_str()), (0, all));
    assert!(err.starts_with("incomplete: 1,239 events lost"), "{err}");

    let flows = |line: &str| {
        let (status, out, _) = read(line);
        assert_eq!(status, 0, "{line}");
        out.lines().filter(|l| !l.contains("EVENTS LOST")).map(str::to_owned).collect::<Vec<_>>()
    };
    let dropped = flows("observe --verdict DROPPED --protocol udp");
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert!(dropped[0].ends_with("Policy denied DROPPED (UDP)"));
    assert_eq!(flows("observe --first 1"), [all.lines().next().unwrap()]);
    assert_eq!(flows("observe --last 1"), [all.lines().rfind(|l| !l.contains("EVENTS LOST")).unwrap()]);
    assert_eq!(flows("observe --since 2006-01-02T03:04:06.3Z --until 2006-01-02T03:04:06.35Z").len(), 2);
    let (status, out, _) = read("observe -o jsonpb");
    assert_eq!((status, out), (0, jsonl));

    let (status, out, err) = read("observe --pod default/nobody -s");
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.lines().all(|line| line.contains("EVENTS LOST")));
}

#[test]
fn lines_that_are_no_flows_are_named_and_the_rest_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.jsonl");
    let flow =
        r#"{"flow":{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"new_field":1}}"#;
    std::fs::write(&path, format!("{flow}\nnot json\n{flow}\n{{\"flow\":\n")).unwrap();
    let mut command = fathom("observe --input-file");
    command.arg(&path);
    let (status, out, err) = run(command);
    assert_eq!((status, out.lines().count()), (1, 2), "{out}{err}");
    assert!(err.contains("warning: 2 lines of "), "{err}");
    assert!(
        err.contains("Error: 2 lines of ") && err.contains("could not be read; the first: line 2: "),
        "{err}"
    );

    let mut missing = fathom("observe --input-file");
    missing.arg(directory.path().join("none"));
    let (status, _, err) = run(missing);
    assert_eq!(status, 1);
    assert!(err.starts_with("Error: open the input file ") && err.contains("No such file"), "{err}");
}

#[test]
fn a_pipe_is_read_as_it_comes() {
    let mut child = fathom("observe --input-file - --verdict DROPPED")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let flow = r#"{"flow":{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"}}}"#;
    use std::io::Write;
    writeln!(input, "{flow}").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "N/A: 10.0.0.1 (unknown) <> 10.0.0.2 (unknown) UNKNOWN DROPPED ()\n");
    drop(input);
    line.clear();
    output.read_to_string(&mut line).unwrap();
    assert_eq!((child.wait().unwrap().code(), line.as_str()), (Some(0), ""));
}

#[test]
fn agent_events_are_shown_and_debug_events_need_an_agent_that_has_them() {
    use fathom_api::flow::{AgentEvent, AgentEventType};
    let event = AgentEvent { r#type: AgentEventType::AgentStarted.into(), notification: None };
    let agent_events = vec![fathom_api::observer::GetAgentEventsResponse {
        agent_event: Some(event),
        node_name: "node-1".into(),
        time: Some(flows::at(0)),
    }];
    let server = Server::start(Script { agent_events, ..Default::default() });
    let (status, out, _) = run(server.fathom("observe agent-events --print-node-name"));
    assert_eq!((status, out.as_str()), (0, "Jan  2 03:04:05.000 [node-1]: AGENT_STARTED (UNKNOWN)\n"));
    let (status, _, err) = run(server.fathom("observe debug-events"));
    assert_eq!(status, 1);
    assert!(err.contains("no answer to a question for debug events: "), "{err}");
}

#[test]
fn an_empty_answer_says_how_much_the_servers_looked_at() {
    // Not what they hold: a request may begin in the middle.
    let status = ServerStatusResponse { num_flows: 4096, seen_flows: 5000, ..Default::default() };
    let script = Script { examined: Some(800), status, ..Default::default() };
    let (code, out, err) = run(Server::start(script).fathom("observe --pod shop/nobody"));
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no flow matched: 800 flows looked at"), "{err}");
}
