//! Backends that leave a service while clients talk to them. Root only.

#![forbid(unsafe_code)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fathom_api::flow::Flow;
use fathom_lab::spec::{PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, machine};
use support::want::Want;
use support::{Stream, eventually, tools, unique};

fn lab(kind: &str) -> Lab {
    let echo = |name: &str, node: &str| {
        PodSpec::new(name, node)
            .label("app", "echo")
            .run(&["tcp-echo", "--listen", "[::]:7"])
            .run(&["udp-echo", "--listen", "[::]:7"])
    };
    let spec = Spec::new(&unique(kind), 2)
        .pod(echo("one", "node-a"))
        .pod(echo("two", "node-b"))
        .pod(PodSpec::new("client", "node-a"))
        .service(ServiceSpec::new("echo", &[("app", "echo")]).port("tcp", 70, 7, Protocol::Tcp).port(
            "udp",
            70,
            7,
            Protocol::Udp,
        ));
    Lab::ephemeral(spec, tools()).unwrap()
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn other(pod: &str) -> &'static str {
    if pod == "one" { "two" } else { "one" }
}

/// Starts a client of the service and says which pod it got.
fn client(lab: &Lab, stream: &Stream, name: &str, v6: bool) -> (machine::process::Process, &'static str) {
    let frontend = lab.service("default/echo").unwrap()[usize::from(v6)];
    let (kind, wire) = if name.starts_with("udp") { ("udp-client", "UDP") } else { ("tcp-client", "TCP") };
    let line = [kind, "--to", &at(frontend, 70), "--every", "10", "--timeout", "500"];
    let mark = stream.mark();
    let client = lab.start_workload("client", name, &line).unwrap();
    let to = |pod: &str| Want::forwarded("client", pod).protocol(wire).family(v6).port(7).egress();
    let mut got = None;
    eventually("the client to be served", || {
        got = ["one", "two"].into_iter().find(|pod| stream.count(mark, &to(pod)) > 0);
        got.is_some() && client.output().contains(" ok ")
    });
    (client, got.unwrap())
}

/// Lines of a client's log since it had `from` of them.
fn since(client: &machine::process::Process, from: usize) -> Vec<String> {
    client.output().lines().skip(from).map(str::to_owned).collect()
}

#[test]
fn a_connected_udp_socket_goes_to_another_backend_at_once_and_a_tcp_connection_stays() {
    let lab = lab("leaving");
    let stream = Stream::of_node(&lab, "node-a");
    for v6 in [false, true] {
        let family = if v6 { 6 } else { 4 };
        let (udp, home) = client(&lab, &stream, &format!("udp{family}"), v6);
        let (tcp, tcp_home) = client(&lab, &stream, &format!("tcp{family}"), v6);
        for leaving in [home, other(home)] {
            // It leaves the service and goes on running: it would answer whoever still asked it.
            let mark = stream.mark();
            let (udp_lines, tcp_lines) = (udp.output().lines().count(), tcp.output().lines().count());
            lab.set_labels(leaving, &[("app", "retired")]).unwrap();
            let to = Want::forwarded("client", other(leaving)).protocol("UDP").family(v6).port(7).egress();
            let through = |flow: &Flow| flow.destination_service.as_ref().is_some_and(|s| s.name == "echo");
            let moved = |flow: &Flow| to.matches(flow) && through(flow);
            stream.follow().wait_for("it to be moved", mark, Duration::from_secs(20), moved).unwrap();
            eventually("answers from the other", || since(&udp, udp_lines).len() > 50);
            let failed: Vec<_> =
                since(&udp, udp_lines).into_iter().filter(|l| l.contains("failed")).collect();
            assert!(failed.len() <= 1, "at most the datagram under way is lost: {failed:?}");
            eventually("the connection to go on", || since(&tcp, tcp_lines).len() > 20);
            assert!(!tcp.output().contains("failed"), "{tcp_home} still serves it: {}", tcp.tail(5));
            lab.set_labels(leaving, &[("app", "echo")]).unwrap();
        }
        lab.stop_workload(&format!("udp{family}")).unwrap();
        lab.stop_workload(&format!("tcp{family}")).unwrap();
    }
}

#[test]
fn a_pod_that_left_its_service_is_deleted_without_its_clients_noticing() {
    let lab = lab("deleted");
    let stream = Stream::of_node(&lab, "node-a");
    let (udp, home) = client(&lab, &stream, "udp4", false);
    let mark = stream.mark();
    lab.set_labels(home, &[("app", "retired")]).unwrap();
    stream.see(mark, &Want::forwarded("client", other(home)).protocol("UDP").port(7).egress());
    let answered = |from: usize| since(&udp, from).iter().filter(|line| line.contains(" ok ")).count();
    let lines = udp.output().lines().count();
    eventually("answers from the other", || answered(lines) > 5);
    let lines = udp.output().lines().count();
    lab.remove_pod(home).unwrap();
    eventually("answers after the end of the first", || answered(lines) > 100);
    let failed: Vec<_> = since(&udp, lines).into_iter().filter(|line| line.contains("failed")).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
