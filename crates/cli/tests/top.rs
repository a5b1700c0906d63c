//! `fathom top` against a server on a unix socket.

mod common;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use common::flows::{flow_response, lost, node_status, response};
use common::messages::{self, Request, Response, dns, flow, grpc, http, kafka};
use common::{Script, Server, ended, golden, run};
use fathom_api::Raw;
use fathom_api::fathom_v1::L7Facts;
use fathom_api::flow::layer7::Record;
use fathom_api::flow::{Dns, Flow, TrafficDirection};
use fathom_api::observer::ServerStatusResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::relay::NodeState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

/// Ten seconds of a shop, with a loss and a missing node.
fn shop() -> Vec<Raw> {
    let mut flows = Vec::new();
    for n in 0..200i64 {
        let latency = 1_000_000 + n as u64 * 10_000;
        let code = if n % 50 == 0 { 503 } else { 200 };
        flows.push(flow(
            n * 50,
            Response,
            latency,
            http(code, "GET", &format!("http://api/users/{n}?q={n}")),
        ));
        flows.push(flow(n * 50 + 1, Request, 0, http(0, "GET", "/requests/are/not/counted")));
    }
    for n in 0..20 {
        let status = if n == 3 { 14 } else { 0 };
        flows.push(grpc(Response, "Add", Some(status), n * 100, 800_000));
        let dns = Dns { rcode: if n < 5 { 3 } else { 0 }, ..dns("api.shop.svc.", "A") };
        flows.push(flow(n * 100, Response, 90_000, Record::Dns(dns)));
        flows.push(flow(n * 100, Response, 2_500_000, kafka("produce", "orders", 0)));
        flows.push(flow(n * 100, Response, 70_000_000_000, http(404, "POST", "/slow\x1b[2J")));
    }
    let silent = L7Facts { ended: true, ..Default::default() };
    flows.push(messages::with(flow(7, Response, 0, http(0, "GET", "/gone")), silent));
    // The clients' nodes report these too.
    let twice = flow(9_000, Response, 5, http(200, "GET", "/twice"));
    flows.push(twice.clone());
    flows.push(Flow { traffic_direction: TrafficDirection::Egress.into(), ..twice });
    flows.sort_by_key(|flow| flow.time.map(|time| fathom_api::time::unix_ns(&time)));
    let gone = node_status(NodeState::NodeUnavailable, &["node-3"], "");
    let mut responses = vec![response(ResponseTypes::NodeStatus(gone), "relay", None)];
    responses.extend(flows.into_iter().map(flow_response));
    responses.push(response(ResponseTypes::LostEvents(lost()[1]), "node-2", None));
    responses
}

#[test]
fn once_shows_what_the_server_has_as_a_table() {
    let server = Server::start(Script { flows: shop(), ..Default::default() });
    let text = |line: &str| {
        let (code, out, err) = run(server.fathom(line));
        assert_eq!((code, err.as_str()), (0, ""), "{line}");
        out
    };
    let folded = text("top routes --once --fold-ids");
    compare("top-routes.txt", &folded);
    let by_service =
        text("top routes --once --by-service --limit 3 --max-routes 10 --sort p99 --color always");
    compare("top-routes-by-service.txt", &by_service);
    assert!(!folded.contains('\x1b'));
    let asked = server.asked();
    assert_eq!((asked.number, asked.follow), (u64::MAX, false));
    assert_eq!(asked.whitelist[0].reply, [true]);
}

fn compare(name: &str, got: &str) {
    if std::env::var_os("FATHOM_REGENERATE").is_some() {
        std::fs::write(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR")), got).unwrap();
    }
    let expected = golden(name);
    assert!(expected == got, "{name}: expected\n{expected}\ngot\n{got}");
}

#[test]
fn json_is_one_object_a_line() {
    let server = Server::start(Script { flows: shop(), ..Default::default() });
    for output in ["json", "jsonpb"] {
        let line = format!("top routes --once --fold-ids --sort count --by-service -o {output}");
        let (code, out, _) = run(server.fathom(&line));
        assert_eq!((code, out.lines().count()), (0, 1));
        let mut object: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(object.as_object_mut().unwrap().remove("time").unwrap().as_str().unwrap().ends_with('Z'));
        let got = format!("{}\n", serde_json::to_string_pretty(&object).unwrap());
        compare("top-routes.json", &got);
    }
}

#[test]
fn filters_speak_of_the_request() {
    let server = Server::start(Script { flows: shop(), ..Default::default() });
    let (code, out, _) = run(server.fathom("top routes --once --to-pod shop/api --protocol grpc"));
    assert_eq!((code, out.lines().nth(1).unwrap().split_whitespace().nth(1)), (0, Some("/shop.Cart/Add")));
    assert_eq!(out.lines().filter(|line| line.starts_with("GRPC") || line.starts_with("GET")).count(), 1);
    assert_eq!(server.asked().whitelist[0].source_pod, ["shop/api"]);
}

#[test]
fn numbers_are_shown_again_and_again_until_an_interrupt() {
    let (sender, receiver) = mpsc::channel(16);
    let server = Server::start(Script { live: Some(receiver).into(), ..Default::default() });
    let mut child = server.fathom("top routes --interval 100ms").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let get = || Ok(flow_response(flow(0, Response, 412_345, http(200, "GET", "/x"))));
    sender.blocking_send(get()).unwrap();
    // METHOD, ROUTE, COUNT
    let cells = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>();
    let row = lines.find(|line| line.starts_with("GET")).unwrap();
    assert_eq!(cells(&row), ["GET", "/x", "1"]);
    assert!(row.ends_with("412µs  412µs  412µs"), "{row}");
    sender.blocking_send(get()).unwrap();
    let frame: Vec<String> =
        lines.by_ref().skip_while(|line| cells(line) != ["GET", "/x", "2"]).take(3).collect();
    assert!(frame[1].starts_with("2 exchanges of 1 route, "), "{frame:?}");
    assert_eq!(frame[2], "", "a blank line between tables");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().all(|line| !line.contains('\x1b')), "{rest:?}");
    let (status, _, err) = ended(child.wait_with_output().unwrap());
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(server.asked().follow);
}

#[test]
fn json_lines_come_at_each_interval_also_when_nothing_happens() {
    let (_sender, receiver) = mpsc::channel(1);
    let server = Server::start(Script { live: Some(receiver).into(), ..Default::default() });
    let mut child = server.fathom("top routes --interval 100ms -o json").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..3 {
        let object: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        assert_eq!((&object["count"], &object["routes"]), (&0.into(), &serde_json::json!([])));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(ended(child.wait_with_output().unwrap()).0, 0);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_well() {
    let (_sender, receiver) = mpsc::channel(1);
    let server = Server::start(Script { live: Some(receiver).into(), ..Default::default() });
    let mut child = server.fathom("top routes --interval 100ms").spawn().unwrap();
    drop(child.stdout.take());
    let (status, _, err) = ended(child.wait_with_output().unwrap());
    assert_eq!((status, err.as_str()), (0, ""));
}

#[test]
fn an_empty_result_says_why_and_a_stream_that_ends_is_told() {
    let status = ServerStatusResponse { num_flows: 3210, ..Default::default() };
    let server = Server::start(Script { status, ..Default::default() });
    let (code, out, err) = run(server.fathom("top routes --once"));
    assert_eq!((code, out.lines().nth(1)), (0, Some("no exchange so far")));
    assert!(
        err.starts_with("no flow matched: the server holds 3,210 flows\nhint: routes are read from"),
        "{err}"
    );
    let (code, _, err) = run(server.fathom("top routes --last 3"));
    assert_eq!((code, err), (0, format!("{} ended the stream\n", server.address())));
}

#[test]
fn losses_before_an_error_are_still_told() {
    let (sender, receiver) = mpsc::channel(1);
    let flows = vec![response(ResponseTypes::LostEvents(lost()[1]), "node-2", None)];
    let server = Server::start(Script { flows, live: Some(receiver).into(), ..Default::default() });
    let child = server.fathom("top routes --interval 10s").spawn().unwrap();
    sender.blocking_send(Err(tonic::Status::internal("the store is on fire"))).unwrap();
    let (status, out, err) = ended(child.wait_with_output().unwrap());
    assert_eq!(status, 1);
    assert!(out.contains("incomplete: 5 events lost: 5 on node-2"), "{out}");
    assert!(err.contains("the store is on fire"), "{err}");
}

#[test]
fn mistakes_on_the_command_line_need_no_server() {
    for (line, expected) in [
        (
            "top routes --protocol tcp",
            "Error: --protocol tcp has no routes; one of http, grpc, dns, kafka has",
        ),
        (
            "top routes --http-status 7xx",
            "Error: invalid argument \"7xx\" for \"--http-status\" flag: not a status",
        ),
        (
            "top routes --interval 1ms",
            "error: invalid value '1ms' for '--interval <DURATION>': too short; 100ms",
        ),
        ("top routes --sort latency", "error: invalid value 'latency' for '--sort <COLUMN>'"),
        ("top routes --verdict DROPPED", "error: unexpected argument '--verdict' found"),
        ("top", "Show live what is asked for most"),
    ] {
        let (status, _, err) = run(common::fathom(line));
        assert_eq!(status, 2, "{line}");
        assert!(err.starts_with(expected), "{line}: {err}");
    }
}

#[test]
fn a_busy_stream_is_read_faster_than_it_comes() {
    // Not a benchmark: a debug build on a shared machine. It fails when work per flow explodes.
    let flows: Vec<Raw> = shop().into_iter().cycle().take(20_000).collect();
    let server = Server::start(Script { flows, ..Default::default() });
    let started = std::time::Instant::now();
    let (code, out, _) = run(server.fathom("top routes --once"));
    assert_eq!(code, 0);
    assert!(out.contains("exchanges of"), "{out}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
