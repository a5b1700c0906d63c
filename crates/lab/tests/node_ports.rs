//! Services for clients outside the cluster, ports of a node that lead to its pods, and pods that talk to a
//! world that has no routes to them. Root only.

#![forbid(unsafe_code)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use fathom_api::flow::{DropReason, Flow, TraceObservationPoint, Verdict};
use fathom_lab::layout::{Place, node_addresses};
use fathom_lab::spec::{PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, Where, machine};
use support::want::Want;
use support::{Stream, answered, eventually, eventually_or_say, fails, tools, unique};

/// The client outside, in both families.
const CLIENT: [&str; 2] = ["198.51.100.10", "2001:db8:100::10"];
const EXTERNAL: [&str; 2] = ["203.0.113.80", "2001:db8:80::80"];

/// One lab for the whole file; its guardian takes it down when this process ends.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let echo = |name: &str, node: &str| {
            PodSpec::new(name, node)
                .label("app", name)
                .run(&["tcp-echo", "--listen", "[::]:7"])
                .run(&["udp-echo", "--listen", "[::]:7"])
        };
        let both =
            |name: &str, app: &str, node_port: u16| {
                ServiceSpec::new(name, &[("app", app)])
                    .node_port("tcp", node_port, 7, Protocol::Tcp)
                    .node_port("udp", node_port, 7, Protocol::Udp)
            };
        let mut balanced = both("balanced", "here", 30084).port("web", 80, 7, Protocol::Tcp);
        balanced.external_ips = EXTERNAL.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut sticky = both("sticky", "many", 30085);
        sticky.affinity_seconds = Some(600);
        let spec = Spec::new(&unique("ports"), 2)
            .isolated()
            .pod(echo("here", "node-a").host_port(8007, 7, Protocol::Tcp).host_port(8007, 7, Protocol::Udp))
            .pod(echo("there", "node-b"))
            .pod(echo("many-0", "node-a").label("app", "many"))
            .pod(echo("many-1", "node-b").label("app", "many"))
            .pod(echo("guarded", "node-a"))
            .pod(PodSpec::new("near", "node-a"))
            .service(both("guarded", "guarded", 30086))
            .service(both("web", "here", 30080))
            .service(both("far", "there", 30081))
            .service(both("local", "there", 30082).external_local(31082))
            .service(both("nobody", "nobody", 30083))
            .service(balanced)
            .service(sticky)
            .host(
                "outside.example.net",
                &CLIENT.map(|ip| ip.parse().unwrap()),
                &[
                    &["tcp-echo", "--listen", "[::]:7"],
                    // Each at its own address, else it would answer from the first of the host.
                    &["udp-echo", "--listen", "198.51.100.10:7"],
                    &["udp-echo", "--listen", "[2001:db8:100::10]:7"],
                ],
            );
        let lab = Lab::ephemeral(spec, tools()).unwrap();
        for (external, node) in EXTERNAL.iter().zip(node_addresses(0)) {
            let line = ["ip", "route", "add", external, "via", &node.to_string()];
            lab.exec("internet", Where::OutsideCgroup, &line).unwrap().ok().unwrap();
        }
        lab
    })
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// (v6, address of the node, address of the client).
fn families(node: usize) -> [(bool, IpAddr, &'static str); 2] {
    let [v4, v6] = node_addresses(node);
    [(false, v4, CLIENT[0]), (true, v6, CLIENT[1])]
}

fn source(flow: &Flow) -> IpAddr {
    ip(&flow.ip.as_ref().unwrap().source)
}

fn service(flow: &Flow) -> &str {
    flow.destination_service.as_ref().map_or("", |service| service.name.as_str())
}

/// Once the first answer came, everything of the lab is in place.
fn until_answered(place: &str, line: &[&str]) {
    eventually_or_say("an answer", || {
        let output = lab().probe(place, Where::Inside, line).unwrap();
        if output.success { Ok(()) } else { Err(output.stderr) }
    });
}

#[test]
fn a_client_outside_reaches_a_pod_behind_a_node_port_with_its_own_address() {
    let lab = lab();
    let stream = Stream::of_node(lab, "node-a");
    for (v6, node, client) in families(0) {
        for (wire, protocol) in [("TCP", "tcp"), ("UDP", "udp")] {
            until_answered("internet", &[protocol, &at(node, 30080), "--bind", client]);
            let mark = stream.mark();
            answered(lab, "internet", &[protocol, &at(node, 30080), "--bind", client]);
            let want = Want::forwarded("reserved:world", "here").protocol(wire).family(v6).port(7).ingress();
            let flow = stream.see(mark, &want);
            assert_eq!((source(&flow), service(&flow)), (ip(client), "web"), "{flow:?}");
        }
    }
}

#[test]
fn a_backend_on_another_node_is_reached_under_the_nodes_address_and_the_flow_names_the_client() {
    let lab = lab();
    let (near, far) = (Stream::of_node(lab, "node-a"), Stream::of_node(lab, "node-b"));
    for (v6, node, client) in families(0) {
        for (wire, protocol) in [("TCP", "tcp"), ("UDP", "udp")] {
            until_answered("internet", &[protocol, &at(node, 30081), "--bind", client]);
            let (out, into) = (near.mark(), far.mark());
            answered(lab, "internet", &[protocol, &at(node, 30081), "--bind", client]);
            let want = Want::forwarded("reserved:world", "there").protocol(wire).family(v6).port(7);
            let flow = near.see(out, &want.at("node-a"));
            assert_eq!(flow.trace_observation_point(), TraceObservationPoint::ToNetwork, "{flow:?}");
            assert_eq!((source(&flow), service(&flow)), (ip(client), "far"), "{flow:?}");
            let want = Want::forwarded("reserved:remote-node", "there").protocol(wire).family(v6).ingress();
            assert_eq!(source(&far.see(into, &want)), node);
        }
    }
}

#[test]
fn a_local_policy_keeps_the_client_and_is_silent_where_there_is_no_backend() {
    let lab = lab();
    let (with, without) = (Stream::of_node(lab, "node-b"), Stream::of_node(lab, "node-a"));
    for (v6, node, client) in families(1) {
        until_answered("internet", &["tcp", &at(node, 30082), "--bind", client]);
        let mark = with.mark();
        answered(lab, "internet", &["udp", &at(node, 30082), "--bind", client]);
        let want = Want::forwarded("reserved:world", "there").protocol("UDP").family(v6).ingress();
        let flow = with.see(mark, &want);
        assert_eq!((source(&flow), service(&flow)), (ip(client), "local"), "{flow:?}");
    }
    for (v6, node, client) in families(0) {
        let mark = without.mark();
        let target = at(node, 30082);
        fails(lab, "internet", &["connect", &target, "--bind", client, "--timeout", "400"], "timed out");
        let want = Want::dropped("reserved:world", "reserved:host").protocol("TCP").family(v6);
        let flow = without.see(mark, &want);
        assert_eq!(flow.drop_reason_desc(), DropReason::ServiceBackendNotFound);
        assert_eq!(service(&flow), "local", "{flow:?}");
        // Who is inside the cluster is served by every backend.
        answered(lab, "near", &["tcp", &target]);
        answered(lab, "node-a", &["tcp", &target]);
    }
}

#[test]
fn a_load_balancer_is_told_which_node_has_a_backend() {
    let lab = lab();
    let ask = |node: usize| -> String {
        let target = SocketAddr::new(node_addresses(node)[0], 31082);
        let path = lab.layout().netns(&Place::Internet);
        machine::netns::inside(&path, || {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .unwrap_or_default()
    };
    eventually("node-b has a backend", || ask(1).starts_with("HTTP/1.1 200"));
    eventually("node-a has none", || ask(0).starts_with("HTTP/1.1 503"));
    assert!(ask(1).contains("\"localEndpoints\":1"), "{}", ask(1));
}

#[test]
fn a_node_port_without_backends_is_refused_at_once_and_named() {
    let lab = lab();
    let stream = Stream::of_node(lab, "node-a");
    for (v6, node, client) in families(0) {
        // The service's entry is there when one of the same file is.
        until_answered("internet", &["tcp", &at(node, 30084), "--bind", client]);
        let mark = stream.mark();
        fails(
            lab,
            "internet",
            &["connect", &at(node, 30083), "--bind", client, "--timeout", "5000"],
            "refused",
        );
        let want = Want::dropped("reserved:world", "reserved:host").family(v6);
        let flow = stream.see(mark, &want);
        assert_eq!(flow.drop_reason_desc(), DropReason::ServiceBackendNotFound);
        assert_eq!(service(&flow), "nobody", "{flow:?}");
    }
}

#[test]
fn external_addresses_lead_to_the_service_from_outside_and_from_pods() {
    let lab = lab();
    for (external, client) in EXTERNAL.iter().zip(CLIENT) {
        let target = at(ip(external), 80);
        until_answered("internet", &["tcp", &target, "--bind", client]);
        answered(lab, "near", &["tcp", &target]);
        answered(lab, "node-a", &["tcp", &target]);
    }
}

#[test]
fn the_node_and_its_pods_reach_node_ports_too() {
    let lab = lab();
    for (_, node, _) in families(0) {
        for protocol in ["tcp", "udp"] {
            until_answered("near", &[protocol, &at(node, 30081)]);
            answered(lab, "node-a", &[protocol, &at(node, 30081)]);
        }
    }
    // Another node's: that one translates.
    for (_, node, _) in families(1) {
        for place in ["near", "node-a"] {
            answered(lab, place, &["tcp", &at(node, 30080)]);
        }
    }
}

#[test]
fn a_client_with_affinity_stays_with_its_backend() {
    let lab = lab();
    let streams = [Stream::of_node(lab, "node-a"), Stream::of_node(lab, "node-b")];
    for (v6, node, client) in families(0) {
        until_answered("internet", &["tcp", &at(node, 30085), "--bind", client]);
        let marks = [streams[0].mark(), streams[1].mark()];
        answered(lab, "internet", &["tcp", &at(node, 30085), "--bind", client, "--count", "20"]);
        let count = |pod: &str| {
            let want = Want::forwarded("reserved:world", pod).protocol("TCP").family(v6).port(7);
            let onward = Want::forwarded("reserved:remote-node", pod).protocol("TCP").family(v6).port(7);
            streams
                .iter()
                .zip(marks)
                .map(|(s, mark)| s.count(mark, &want) + s.count(mark, &onward))
                .sum::<usize>()
        };
        eventually("twenty connections are seen", || count("many-0") + count("many-1") >= 20);
        let counts = (count("many-0"), count("many-1"));
        assert!(counts.0 == 0 || counts.1 == 0, "one backend for the client: {counts:?}");
    }
}

#[test]
fn a_host_port_leads_to_its_pod() {
    let lab = lab();
    for (_, node, client) in families(0) {
        for protocol in ["tcp", "udp"] {
            until_answered("internet", &[protocol, &at(node, 8007), "--bind", client]);
            answered(lab, "node-a", &[protocol, &at(node, 8007)]);
            answered(lab, "there", &[protocol, &at(node, 8007)]);
        }
    }
}

#[test]
fn a_pod_reaches_a_world_that_has_no_route_to_it() {
    let lab = lab();
    let stream = Stream::of_node(lab, "node-a");
    for (v6, address) in [(false, CLIENT[0]), (true, CLIENT[1])] {
        let target = at(ip(address), 7);
        let icmp = if v6 { "ICMPv6" } else { "ICMPv4" };
        for (wire, probe) in [
            ("TCP", vec!["tcp", target.as_str(), "--count", "20"]),
            ("UDP", vec!["udp", target.as_str(), "--count", "20"]),
            (icmp, vec!["icmp", address]),
        ] {
            until_answered("near", &probe);
            let mark = stream.mark();
            answered(lab, "near", &probe);
            let want = Want::forwarded("near", "reserved:world").protocol(wire).family(v6).egress();
            let flow = stream.see(mark, &want);
            let pod = lab.pod("near").unwrap();
            assert_eq!(
                source(&flow),
                if v6 { pod.v6() } else { pod.v4() },
                "flows have the pod's own address"
            );
        }
        // Nobody answers there, and the pod is told so: errors find their way back.
        fails(lab, "near", &["connect", &at(ip(address), 9), "--timeout", "5000"], "refused");
        fails(lab, "near", &["udp", &at(ip(address), 9), "--timeout", "5000"], "refused");
    }
    // In the cluster the pod keeps its address.
    let mark = stream.mark();
    answered(lab, "there", &["tcp", &at(lab.pod("here").unwrap().v4(), 7)]);
    let flow = stream.see(mark, &Want::forwarded("there", "here").protocol("TCP").ingress());
    assert_eq!((source(&flow), flow.verdict()), (lab.pod("there").unwrap().v4(), Verdict::Forwarded));
}

#[test]
fn a_policy_of_the_pod_judges_clients_outside() {
    let lab = lab();
    let stream = Stream::of_node(lab, "node-a");
    let policy = |cidrs: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: guarded, namespace: default}}
spec:
  podSelector: {{matchLabels: {{app: guarded}}}}
  policyTypes: [Ingress]
  ingress: [{{from: [{cidrs}]}}]
"
        )
    };
    for (_, node, client) in families(0) {
        until_answered("internet", &["tcp", &at(node, 30086), "--bind", client]);
    }
    lab.apply_policy(&policy("{ipBlock: {cidr: 192.0.2.0/24}}")).unwrap();
    for (v6, node, client) in families(0) {
        let line = ["connect", &at(node, 30086), "--bind", client, "--timeout", "300"];
        eventually("the policy is in force", || {
            !lab.probe("internet", Where::Inside, &line).unwrap().success
        });
        let mark = stream.mark();
        denied_from(client, &at(node, 30086));
        let flow = stream.see(mark, &Want::dropped("reserved:world", "guarded").protocol("TCP").family(v6));
        assert_eq!(flow.drop_reason_desc(), DropReason::PolicyDenied);
        assert_eq!(service(&flow), "guarded", "{flow:?}");
    }
    lab.apply_policy(&policy("{ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: '2001:db8:100::/64'}}"))
        .unwrap();
    for (_, node, client) in families(0) {
        until_answered("internet", &["tcp", &at(node, 30086), "--bind", client]);
    }
}

/// Stopped in silence, three times: of one attempt the only packet may have been lost.
fn denied_from(client: &str, target: &str) {
    for _ in 0..3 {
        fails(lab(), "internet", &["connect", target, "--bind", client, "--timeout", "400"], "timed out");
    }
}
