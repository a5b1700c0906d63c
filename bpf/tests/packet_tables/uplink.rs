//! Devices that lead off the node: frontends for clients outside, pods that talk to the world.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use fathom_bpf::abi::{self, LedgerStage, NatEntry, drop_reason as reason, obs_point, trigger};
use fathom_bpf::maps::{Scope, ServiceSpec};
use libbpf_rs::{MapCore as _, MapFlags};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::packet::frame::addresses;
use crate::packet::rig::dropped;
use crate::packet::table::{IN, OUT, allow, enforced};
use crate::packet::{
    ACK, FIN, Fate, Frame, HOST_IDENTITY, HOST4, Outcome, PEER4, PEER6, POD4, POD6, PSH, RST, Rig, SYN, TCP,
    UDP, WORLD_IDENTITY, WORLD4, WORLD6, at, checksum, ip,
};

const SERVICE: u32 = 3;
const NODE6: &str = "fd00:1::1";

/// Addresses of one family: the node, a pod of it, a pod elsewhere, a client outside.
const PLACES: [[&str; 4]; 2] = [[HOST4, POD4, PEER4, WORLD4], [NODE6, POD6, PEER6, WORLD6]];

fn rig() -> Rig {
    let rig = Rig::new();
    rig.uplink(HOST4, NODE6);
    rig.identity(NODE6, HOST_IDENTITY);
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect::<Vec<_>>();
    let inside = nets(&["10.1.0.0/16", "fd00:1::/64"]);
    let masquerade = nets(&["10.1.0.5/32", "fd00:1::5/128"]);
    rig.datapath.maps().uplinks.set_nets(&inside, &masquerade).expect("nets");
    rig
}

fn ends(outcome: &Outcome) -> (SocketAddr, SocketAddr) {
    assert_eq!(outcome.fate, Fate::Passed);
    checksum::verify(&outcome.packet);
    addresses(&outcome.packet)
}

fn packet(proto: u8, from: SocketAddr, to: SocketAddr, flags: u8) -> Frame {
    let payload: &[u8] = if flags & SYN == 0 { b"some bytes" } else { b"" };
    match proto {
        TCP => Frame::tcp(from, to, flags).payload(payload),
        _ => Frame::udp(from, to).payload(payload),
    }
}

/// Changes every entry of the uplinks, as if time had passed.
fn age(rig: &Rig, change: impl Fn(&mut NatEntry)) {
    let map = rig.pinned("nat");
    for key in map.keys().collect::<Vec<_>>() {
        let value = map.lookup(&key, MapFlags::ANY).expect("nat").expect("an entry");
        let mut entry = NatEntry::read_from_bytes(&value).expect("an entry");
        change(&mut entry);
        map.update(&key, entry.as_bytes(), MapFlags::EXIST).expect("nat");
    }
}

#[test]
fn a_client_outside_reaches_a_pod_of_this_node_with_its_own_address() {
    for [node, pod, _, world] in PLACES {
        for proto in [TCP, UDP] {
            let (client, frontend, backend) = (at(world, 40000), at(node, 30080), at(pod, 8080));
            let mut rig = rig();
            rig.outside(SERVICE, node, 30080, proto, &[(pod, 8080)]);
            let first = rig.node_receives(&packet(proto, client, frontend, SYN));
            assert_eq!(ends(&first), (client, backend));
            assert_eq!(first.ledger[LedgerStage::UplinkTranslated], 1);
            assert!(first.records.is_empty(), "the pod's device tells of it: {:?}", first.records);

            let at_pod = rig.pod_receives(&packet(proto, client, backend, SYN));
            let event = at_pod.record("at the pod");
            assert_eq!((event.source(), event.service_id), (client.ip(), SERVICE));
            assert_eq!(event.frontend_port_be, 30080u16.to_be_bytes());
            assert_eq!(event.src_identity, WORLD_IDENTITY);

            let answer = rig.pod_sends(&packet(proto, backend, client, SYN | ACK));
            assert_eq!(ends(&answer), (backend, client));
            assert_eq!(answer.record("the answer").service_id, SERVICE);
            assert_eq!(ends(&rig.node_sends(&packet(proto, backend, client, SYN | ACK))), (frontend, client));
            for flags in [ACK, ACK | PSH, FIN | ACK] {
                assert_eq!(
                    ends(&rig.node_receives(&packet(proto, client, frontend, flags))),
                    (client, backend)
                );
                assert_eq!(ends(&rig.node_sends(&packet(proto, backend, client, flags))), (frontend, client));
            }
        }
    }
}

#[test]
fn policy_of_the_pod_sees_the_client_and_is_not_passed_over() {
    for [node, pod, _, world] in PLACES {
        let (client, frontend, backend) = (at(world, 40000), at(node, 30080), at(pod, 8080));
        let mut rig = rig();
        rig.outside(SERVICE, node, 30080, TCP, &[(pod, 8080)]);
        rig.policy(&[enforced(IN, &[16], false), allow(IN, WORLD_IDENTITY, TCP, 30080, 1)]);
        assert_eq!(ends(&rig.node_receives(&packet(TCP, client, frontend, SYN))), (client, backend));
        let outcome = rig.pod_receives(&packet(TCP, client, backend, SYN));
        assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED), "30080 is the frontend's port");
        assert_eq!(outcome.record("SYN").service_id, SERVICE);
        rig.policy(&[enforced(IN, &[16], false), allow(IN, WORLD_IDENTITY, TCP, 8080, 1)]);
        assert_eq!(rig.pod_receives(&packet(TCP, client, backend, SYN)).fate, Fate::Passed);
    }
}

#[test]
fn a_backend_on_another_node_is_reached_under_this_nodes_address() {
    for [node, _, peer, world] in PLACES {
        for proto in [TCP, UDP] {
            let (client, frontend, backend) = (at(world, 40000), at(node, 30080), at(peer, 8080));
            let mut rig = rig();
            rig.outside(SERVICE, node, 30080, proto, &[(peer, 8080)]);
            assert_eq!(ends(&rig.node_receives(&packet(proto, client, frontend, SYN))), (client, backend));
            let onward = rig.node_sends(&packet(proto, client, backend, SYN));
            let (ours, to) = ends(&onward);
            assert_eq!((ours.ip(), to), (ip(node), backend));
            assert!(abi::NAT_PORTS.contains(&ours.port()), "{ours}");
            let event = onward.record("onward");
            assert_eq!((event.obs_point, event.trigger), (obs_point::TO_NETWORK, trigger::NEW));
            assert_eq!((event.source(), event.destination()), (client.ip(), backend.ip()));
            assert_eq!(event.service_id, SERVICE);
            assert_eq!(event.frontend_port_be, 30080u16.to_be_bytes());

            let back = ends(&rig.node_receives(&packet(proto, backend, ours, SYN | ACK)));
            assert_eq!(back, (backend, client));
            assert_eq!(ends(&rig.node_sends(&packet(proto, backend, client, SYN | ACK))), (frontend, client));
            for flags in [ACK, ACK | PSH] {
                assert_eq!(
                    ends(&rig.node_receives(&packet(proto, client, frontend, flags))),
                    (client, backend)
                );
                let again = rig.node_sends(&packet(proto, client, backend, flags));
                assert_eq!(ends(&again), (ours, backend), "the same port for as long as it lasts");
                assert!(again.records.is_empty(), "{:?}", again.records);
            }
        }
    }
}

#[test]
fn connections_to_one_backend_get_ports_of_their_own() {
    for [node, _, peer, world] in PLACES {
        let mut rig = rig();
        rig.outside(SERVICE, node, 30080, TCP, &[(peer, 8080)]);
        let mut ports = HashSet::new();
        for port in 40000..40200 {
            rig.node_receives(&packet(TCP, at(world, port), at(node, 30080), SYN));
            let (ours, _) = ends(&rig.node_sends(&packet(TCP, at(world, port), at(peer, 8080), SYN)));
            assert!(ports.insert(ours.port()), "port {} twice", ours.port());
            let back = rig.node_receives(&packet(TCP, at(peer, 8080), ours, SYN | ACK));
            assert_eq!(ends(&back).1, at(world, port));
        }
    }
}

#[test]
fn without_a_backend_the_node_refuses_and_a_local_policy_says_nothing() {
    for [node, _, _, world] in PLACES {
        let mut rig = rig();
        let (client, frontend) = (at(world, 40000), at(node, 30080));
        rig.outside(SERVICE, node, 30080, TCP, &[]);
        let outcome = rig.node_receives(&packet(TCP, client, frontend, SYN));
        assert_eq!(outcome.fate, Fate::Refused(reason::NO_BACKEND));
        assert_eq!(addresses(&outcome.packet), (client, frontend), "the node's own stack answers it");
        let event = outcome.record("SYN");
        assert_eq!((event.service_id, event.obs_point), (SERVICE, obs_point::FROM_NETWORK));
        assert_eq!((event.src_identity, event.dst_identity), (WORLD_IDENTITY, HOST_IDENTITY));

        let elsewhere = if ip(node).is_ipv4() { "203.0.113.9" } else { "2001:db8:9::9" };
        rig.outside(SERVICE + 1, elsewhere, 80, TCP, &[]);
        let outcome = rig.node_receives(&packet(TCP, client, at(elsewhere, 80), SYN));
        assert_eq!(outcome.fate, dropped(reason::NO_BACKEND), "an address that isn't the node's");

        let spec = ServiceSpec {
            id: SERVICE,
            address: ip(node),
            port: 30080,
            proto: TCP,
            scope: Scope::Outside,
            local: true,
            backends: vec![],
            affinity: None,
        };
        rig.datapath.maps().services.replace(&spec).expect("service");
        let outcome = rig.node_receives(&packet(TCP, client, frontend, SYN));
        assert_eq!(outcome.fate, dropped(reason::NO_BACKEND));
    }
}

#[test]
fn what_is_no_frontend_outside_passes_as_it_is() {
    for [node, pod, peer, world] in PLACES {
        let mut rig = rig();
        // Pods and sockets have this frontend, clients outside don't.
        rig.service(SERVICE, node, 30080, TCP, &[(pod, 8080)]);
        for (from, to) in
            [(at(world, 40000), at(node, 30080)), (at(world, 40000), at(pod, 80)), (at(peer, 1), at(pod, 2))]
        {
            for frame in [packet(TCP, from, to, SYN), packet(UDP, from, to, 0)] {
                let outcome = rig.node_receives(&frame);
                assert_eq!((outcome.fate, outcome.packet), (Fate::Passed, frame.build()));
                let outcome = rig.node_sends(&frame);
                assert_eq!((outcome.fate, outcome.packet), (Fate::Passed, frame.build()));
            }
        }
    }
}

#[test]
fn a_client_with_affinity_meets_the_same_backend_again() {
    for [node, _, peer, world] in PLACES {
        let mut rig = rig();
        let backends = (20..28).map(|n| (ip(&format!("{}{n}", &peer[..peer.len() - 1])), 80)).collect();
        let spec = ServiceSpec {
            id: SERVICE,
            address: ip(node),
            port: 30080,
            proto: TCP,
            scope: Scope::Outside,
            local: false,
            backends,
            affinity: Some(Duration::from_secs(600)),
        };
        rig.datapath.maps().services.replace(&spec).expect("service");
        let mut used = HashSet::new();
        for port in 41000..41030 {
            used.insert(ends(&rig.node_receives(&packet(TCP, at(world, port), at(node, 30080), SYN))).1);
        }
        assert_eq!(used.len(), 1, "{used:?}");
    }
}

#[test]
fn datagrams_and_new_connections_leave_a_backend_that_is_gone_and_live_ones_stay() {
    for [node, pod, peer, world] in PLACES {
        for proto in [TCP, UDP] {
            let (client, frontend) = (at(world, 40000), at(node, 30080));
            let mut rig = rig();
            rig.outside(SERVICE, node, 30080, proto, &[(pod, 8080)]);
            assert_eq!(ends(&rig.node_receives(&packet(proto, client, frontend, SYN))).1, at(pod, 8080));
            rig.node_receives(&packet(proto, client, frontend, ACK));
            rig.outside(SERVICE, node, 30080, proto, &[(peer, 8080)]);
            rig.datapath.maps().services.sweep().expect("sweep");
            let next = ends(&rig.node_receives(&packet(proto, client, frontend, ACK))).1;
            assert_eq!(next, if proto == TCP { at(pod, 8080) } else { at(peer, 8080) });
            let again = ends(&rig.node_receives(&packet(proto, client, frontend, SYN))).1;
            assert_eq!(again, at(peer, 8080));
        }
    }
}

#[test]
fn a_flow_that_one_side_alone_keeps_alive_keeps_its_ways() {
    for [node, pod, _, world] in PLACES {
        let (client, frontend, backend) = (at(world, 40000), at(node, 30080), at(pod, 8080));
        let mut rig = rig();
        rig.outside(SERVICE, node, 30080, UDP, &[(pod, 8080)]);
        rig.node_receives(&packet(UDP, client, frontend, 0));
        for _ in 0..30 {
            age(&rig, |entry| entry.last_seen = entry.last_seen.wrapping_sub(100));
            rig.node_receives(&packet(UDP, client, frontend, 0));
        }
        assert_eq!(ends(&rig.node_sends(&packet(UDP, backend, client, 0))), (frontend, client));
    }
}

#[test]
fn a_client_at_one_backend_through_two_frontends_is_refused_the_second() {
    for [node, pod, _, world] in PLACES {
        let client = at(world, 40000);
        let mut rig = rig();
        rig.outside(SERVICE, node, 30080, TCP, &[(pod, 8080)]);
        rig.outside(SERVICE + 1, node, 30081, TCP, &[(pod, 8080)]);
        rig.node_receives(&packet(TCP, client, at(node, 30080), SYN));
        let outcome = rig.node_receives(&packet(TCP, client, at(node, 30081), SYN));
        assert_eq!(outcome.fate, dropped(reason::NAT_NO_MAPPING));
        // Once the first has ended there is no doubt about answers.
        rig.node_sends(&packet(TCP, at(pod, 8080), client, RST | ACK));
        let outcome = rig.node_receives(&packet(TCP, client, at(node, 30081), SYN));
        assert_eq!(ends(&outcome).1, at(pod, 8080));
    }
}

#[test]
fn a_pod_reaches_the_world_under_the_nodes_address() {
    for [node, pod, _, world] in PLACES {
        for proto in [TCP, UDP] {
            let (from, to) = (at(pod, 50000), at(world, 443));
            let mut rig = rig();
            rig.pod_sends(&packet(proto, from, to, SYN));
            let (ours, there) = ends(&rig.node_sends(&packet(proto, from, to, SYN)));
            assert_eq!((ours.ip(), there), (ip(node), to));
            assert!(abi::NAT_PORTS.contains(&ours.port()), "{ours}");
            assert_eq!(ends(&rig.node_receives(&packet(proto, to, ours, SYN | ACK))), (to, from));
            assert_eq!(ends(&rig.node_sends(&packet(proto, from, to, ACK))), (ours, to));
            // Nothing but the answer comes in by that port.
            let other = packet(proto, at(world, 444), ours, SYN);
            assert_eq!(ends(&rig.node_receives(&other)), (at(world, 444), ours));
            if proto == TCP {
                assert_eq!(
                    ends(&rig.node_receives(&packet(TCP, to, ours, SYN))),
                    (to, ours),
                    "no SYN is an answer"
                );
            }
        }
    }
}

#[test]
fn a_pods_address_stays_towards_the_cluster_and_towards_who_reached_it_by_that() {
    for [_, pod, peer, world] in PLACES {
        let mut rig = rig();
        rig.pod_sends(&packet(TCP, at(pod, 50000), at(peer, 80), SYN));
        assert_eq!(ends(&rig.node_sends(&packet(TCP, at(pod, 50000), at(peer, 80), SYN))).0, at(pod, 50000));
        for proto in [TCP, UDP] {
            rig.pod_receives(&packet(proto, at(world, 40000), at(pod, 8080), SYN));
            rig.pod_sends(&packet(proto, at(pod, 8080), at(world, 40000), SYN | ACK));
            let outcome = rig.node_sends(&packet(proto, at(pod, 8080), at(world, 40000), SYN | ACK));
            assert_eq!(ends(&outcome).0, at(pod, 8080));
        }
        // Nor does somebody else's pod become the node.
        assert_eq!(
            ends(&rig.node_sends(&packet(TCP, at(peer, 50000), at(world, 80), SYN))).0,
            at(peer, 50000)
        );
    }
}

#[test]
fn a_pods_echo_goes_out_and_its_reply_comes_back() {
    for [node, pod, _, world] in PLACES {
        let mut rig = rig();
        let echo = Frame::echo(ip(pod), ip(world), false, 77);
        rig.pod_sends(&echo);
        let sent = rig.node_sends(&echo);
        assert_eq!(sent.fate, Fate::Passed);
        checksum::verify(&sent.packet);
        assert_eq!(addresses(&sent.packet).0.ip(), ip(node));
        let l4 = if ip(node).is_ipv4() { 34 } else { 54 };
        let id = u16::from_be_bytes([sent.packet[l4 + 4], sent.packet[l4 + 5]]);
        assert!(abi::NAT_PORTS.contains(&id), "{id}");
        let back = rig.node_receives(&Frame::echo(ip(world), ip(node), true, id));
        checksum::verify(&back.packet);
        assert_eq!(addresses(&back.packet).1.ip(), ip(pod));
        assert_eq!(back.packet[l4 + 4..l4 + 6], [0, 77]);
        assert_eq!(rig.pod_receives(&Frame::echo(ip(world), ip(pod), true, 77)).fate, Fate::Passed);
    }
}

/// The packet inside an ICMP error, behind an Ethernet header of its own.
fn inside(packet: &[u8]) -> Vec<u8> {
    let l4 = if packet[14] >> 4 == 4 { 34 } else { 54 };
    [&packet[..14], &packet[l4 + 8..]].concat()
}

#[test]
fn an_error_about_what_left_under_the_nodes_address_reaches_the_pod() {
    for [node, pod, _, world] in PLACES {
        let router = if ip(node).is_ipv4() { "192.0.2.1" } else { "2001:db8:1::1" };
        for proto in [TCP, UDP] {
            let (from, to) = (at(pod, 50000), at(world, 443));
            let mut rig = rig();
            rig.pod_sends(&packet(proto, from, to, SYN));
            let sent = rig.node_sends(&packet(proto, from, to, SYN)).packet;
            let outcome = rig.node_receives(&Frame::unreachable(ip(router), &sent));
            checksum::verify(&outcome.packet);
            assert_eq!(addresses(&outcome.packet).1.ip(), ip(pod));
            let shown = inside(&outcome.packet);
            checksum::verify(&shown);
            assert_eq!(addresses(&shown), (from, to));
        }
        let mut rig = rig();
        let echo = Frame::echo(ip(pod), ip(world), false, 77);
        rig.pod_sends(&echo);
        let sent = rig.node_sends(&echo).packet;
        let outcome = rig.node_receives(&Frame::unreachable(ip(router), &sent));
        checksum::verify(&outcome.packet);
        let shown = inside(&outcome.packet);
        checksum::verify(&shown);
        assert_eq!(shown, echo.build(), "the echo that the pod sent");
    }
}

#[test]
fn an_error_of_a_pod_tells_the_client_of_its_frontend() {
    for [node, pod, _, world] in PLACES {
        for proto in [TCP, UDP] {
            let (client, frontend, backend) = (at(world, 40000), at(node, 30080), at(pod, 8080));
            let mut rig = rig();
            rig.outside(SERVICE, node, 30080, proto, &[(pod, 8080)]);
            let received = rig.node_receives(&packet(proto, client, frontend, SYN)).packet;
            assert_eq!(addresses(&received).1, backend);
            let outcome = rig.node_sends(&Frame::unreachable(ip(pod), &received));
            checksum::verify(&outcome.packet);
            assert_eq!(addresses(&outcome.packet).0.ip(), ip(node));
            let shown = inside(&outcome.packet);
            checksum::verify(&shown);
            assert_eq!(addresses(&shown), (client, frontend));
        }
    }
}

#[test]
fn the_pieces_of_a_datagram_leave_under_one_address() {
    for [node, pod, _, world] in PLACES {
        let (from, to) = (at(pod, 50000), at(world, 443));
        let mut rig = rig();
        let first = Frame::udp(from, to).payload(&[1; 592]).fragment(9, 0, true);
        let rest = Frame::raw(ip(pod), ip(world), UDP, &[2; 400]).fragment(9, 600, false);
        for frame in [first, rest] {
            rig.pod_sends(&frame);
            let outcome = rig.node_sends(&frame);
            assert_eq!(outcome.fate, Fate::Passed);
            assert_eq!(addresses(&outcome.packet).0.ip(), ip(node));
        }
    }
}

#[test]
fn a_pod_that_may_not_send_is_not_sent_for() {
    for [_, pod, _, world] in PLACES {
        let mut rig = rig();
        rig.policy(&[enforced(OUT, &[], false)]);
        let frame = packet(TCP, at(pod, 50000), at(world, 443), SYN);
        assert_eq!(rig.pod_sends(&frame).fate, dropped(reason::POLICY_DENIED));
        // Were it to come out elsewhere, nobody would lend it an address.
        assert_eq!(ends(&rig.node_sends(&frame)).0, at(pod, 50000));
    }
}
