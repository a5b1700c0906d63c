//! Every way a packet can take between pods, nodes, services and the outside, and that it is seen. Root only.

#![forbid(unsafe_code)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use fathom_api::flow::{DropReason, TraceObservationPoint, Verdict};
use fathom_lab::spec::{PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, Where};
use support::want::Want;
use support::{Stream, answered, answered_from, fails, tools, unique};

/// One lab for the whole file; its guardian takes it down when this process ends.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let echo = |name: &str, node: &str| {
            PodSpec::new(name, node)
                .run(&["tcp-echo", "--listen", "[::]:7"])
                .run(&["udp-echo", "--listen", "[::]:7"])
        };
        let spec = Spec::new(&unique("paths"), 2)
            .pod(echo("web", "node-a").label("app", "web"))
            .pod(PodSpec::new("near", "node-a"))
            .pod(PodSpec::new("far", "node-b"))
            .pod(echo("only", "node-b").label("app", "only"))
            .service(ServiceSpec::new("only", &[("app", "only")]).port("tcp", 80, 7, Protocol::Tcp).port(
                "udp",
                80,
                7,
                Protocol::Udp,
            ))
            .service(ServiceSpec::new("nobody", &[("app", "nobody")]).port("tcp", 80, 7, Protocol::Tcp))
            .host(
                "outside.example.net",
                &["198.51.100.10".parse().unwrap(), "2001:db8:100::10".parse().unwrap()],
                &[],
            );
        Lab::ephemeral(spec, tools()).unwrap()
    })
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

#[test]
fn tcp_udp_and_icmp_are_seen_at_both_ends_on_one_node_and_across_two() {
    let lab = lab();
    let web = lab.pod("web").unwrap();
    for (client, node) in [("near", "node-a"), ("far", "node-b")] {
        let (theirs, webs) = (Stream::of_node(lab, node), Stream::of_node(lab, "node-a"));
        for v6 in [false, true] {
            let address = if v6 { web.v6() } else { web.v4() };
            let target = at(address, 7);
            let icmp = if v6 { "ICMPv6" } else { "ICMPv4" };
            for (protocol, probe) in [
                ("TCP", ["tcp", target.as_str()]),
                ("UDP", ["udp", target.as_str()]),
                (icmp, ["icmp", &address.to_string()]),
            ] {
                let (out, into) = (theirs.mark(), webs.mark());
                answered(lab, client, &probe);
                let want = Want::forwarded(client, "web").protocol(protocol).family(v6);
                let egress = theirs.see(out, &want.clone().egress().at(node));
                assert_eq!(egress.trace_observation_point(), TraceObservationPoint::ToStack);
                let ingress = webs.see(into, &want.ingress().at("node-a"));
                assert_eq!(ingress.trace_observation_point(), TraceObservationPoint::ToEndpoint);
                assert_eq!(egress.source.unwrap().identity, ingress.source.unwrap().identity);
            }
        }
    }
}

#[test]
fn the_outside_and_the_node_itself_have_names() {
    let lab = lab();
    let web = lab.pod("web").unwrap();
    let stream = Stream::of_node(lab, "node-a");
    let mark = stream.mark();
    answered(lab, "internet", &["tcp", &at(web.v4(), 7), "--bind", "198.51.100.10"]);
    answered(lab, "internet", &["tcp", &at(web.v6(), 7), "--bind", "2001:db8:100::10"]);
    for v6 in [false, true] {
        let flow =
            stream.see(mark, &Want::forwarded("reserved:world", "web").protocol("TCP").family(v6).ingress());
        assert_eq!(flow.source.unwrap().pod_name, "");
    }
    let mark = stream.mark();
    answered(lab, "near", &["icmp", "198.51.100.10"]);
    stream.see(mark, &Want::forwarded("near", "reserved:world").protocol("ICMPv4").egress());

    let mark = stream.mark();
    answered(lab, "node-a", &["tcp", &at(web.v4(), 7)]);
    stream.see(mark, &Want::forwarded("reserved:host", "web").protocol("TCP").ingress());
    let mark = stream.mark();
    answered(lab, "node-b", &["tcp", &at(web.v4(), 7)]);
    stream.see(mark, &Want::forwarded("reserved:remote-node", "web").protocol("TCP").ingress());
}

#[test]
fn a_service_is_translated_at_the_socket_and_the_peer_is_the_backend() {
    let lab = lab();
    let backend = lab.pod("only").unwrap();
    let addresses = lab.service("default/only").unwrap();
    let stream = Stream::of_node(lab, "node-a");
    for (frontend, backend) in [(addresses[0], backend.v4()), (addresses[1], backend.v6())] {
        let mark = stream.mark();
        let said = answered(lab, "near", &["tcp", &at(frontend, 80)]);
        assert!(said.contains(&format!("connected to {}", at(backend, 7))), "{said}");
        let want = Want::forwarded("near", "only").protocol("TCP").family(frontend.is_ipv6()).egress();
        stream.see(mark, &want.port(7));
        let translated =
            stream.follow().wait_for("the translation", mark, std::time::Duration::from_secs(10), |flow| {
                flow.verdict() == Verdict::Translated
                    && flow.source.as_ref().is_some_and(|e| e.pod_name == "near")
            });
        translated.unwrap();
        answered(lab, "near", &["udp", &at(frontend, 80)]);
    }
}

#[test]
fn a_client_outside_the_cgroup_reaches_the_service_through_tc() {
    let lab = lab();
    let backend = lab.pod("only").unwrap();
    let addresses = lab.service("default/only").unwrap();
    let stream = Stream::of_node(lab, "node-b");
    for frontend in addresses {
        for protocol in ["tcp", "udp"] {
            let mark = stream.mark();
            let said = answered_from(lab, "far", Where::OutsideCgroup, &[protocol, &at(frontend, 80)]);
            if protocol == "tcp" {
                assert!(
                    said.contains(&format!("connected to {}", at(frontend, 80))),
                    "the peer stays the service: {said}"
                );
            }
            let wire = if protocol == "tcp" { "TCP" } else { "UDP" };
            let want = Want::forwarded("far", "only").protocol(wire).family(frontend.is_ipv6()).port(7);
            let flow = stream.see(mark, &want.egress());
            let wanted = if frontend.is_ipv6() { backend.v6() } else { backend.v4() };
            assert_eq!(flow.ip.unwrap().destination, wanted.to_string());
        }
    }
}

#[test]
fn a_service_without_backends_is_refused_at_once_and_named() {
    let lab = lab();
    let frontend = lab.service("default/nobody").unwrap()[0];
    let stream = Stream::of_node(lab, "node-a");
    let mark = stream.mark();
    // Not a time-out: the program learns of it at once.
    fails(lab, "near", &["connect", &at(frontend, 80), "--timeout", "5000"], "connect");
    let dropped = stream.follow().wait_for("the drop", mark, std::time::Duration::from_secs(10), |flow| {
        flow.verdict() == Verdict::Dropped && flow.source.as_ref().is_some_and(|e| e.pod_name == "near")
    });
    assert_eq!(dropped.unwrap().drop_reason_desc(), DropReason::ServiceBackendNotFound);
}

#[test]
fn a_pod_has_the_mtu_of_its_nodes_way_out() {
    let spec = Spec::new(&unique("mtu"), 1).pod(PodSpec::new("before", "node-a"));
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let on_the_node = ["ip", "link", "set", "eth0", "mtu", "1400"];
    lab.exec("node-a", Where::OutsideCgroup, &on_the_node).unwrap().ok().unwrap();
    lab.add_pod(PodSpec::new("after", "node-a")).unwrap();
    for (pod, mtu) in [("before", "1500"), ("after", "1400")] {
        let link = lab.exec(pod, Where::Inside, &["ip", "link", "show", "eth0"]).unwrap().ok().unwrap();
        assert!(link.contains(&format!(" mtu {mtu} ")), "{pod}: {link}");
    }
}
