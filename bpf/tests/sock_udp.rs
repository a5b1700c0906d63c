//! Services at connect(2), sendmsg(2) and recvmsg(2): UDP, connected and not.

mod support;

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use fathom_bpf::abi::{LedgerStage, kind, verdict};
use fathom_bpf::load::PeerAddress;
use fathom_bpf::ring::Lane;
use support::{Stage, UDP, addr, mapped, on_stage, spec, with, with_affinity};

const ID: u32 = 9;

fn bind(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    socket
}

fn local(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("local address")
}

/// Takes a datagram at the server and sends it back.
fn echo(server: &UdpSocket) {
    let mut buffer = [0; 64];
    let (len, from) = server.recv_from(&mut buffer).expect("a datagram");
    server.send_to(&buffer[..len], from).expect("the reply");
}

/// What the client receives: text and sender.
fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 64];
    let (len, from) = client.recv_from(&mut buffer).expect("the reply");
    (buffer[..len].to_vec(), from)
}

/// Three questions without connect(2): each is answered by "the service", and recorded once in all.
fn asks_without_connecting(stage: &mut Stage, client: &UdpSocket, server: &UdpSocket, ask: SocketAddr) {
    stage.events();
    for text in [b"one", b"two", b"tre"] {
        client.send_to(text, ask).expect("send");
        echo(server);
        assert_eq!(receive(client), (text.to_vec(), ask), "the reply comes from the service");
    }
    let events = stage.events();
    assert_eq!(events.len(), 1, "the first datagram alone is news: {events:?}");
    let (lane, event) = events[0];
    assert_eq!(lane, Lane::Events);
    assert_eq!((event.kind, event.verdict), (kind::SOCK, verdict::TRANSLATED));
    assert_eq!((event.proto, event.service_id), (UDP, ID));
    assert_eq!(event.destination(), local(server).ip());
    assert_eq!(
        (event.dport(), u16::from_be_bytes(event.frontend_port_be)),
        (local(server).port(), ask.port())
    );
}

#[test]
fn an_unconnected_ipv4_socket_sees_the_service_answer() {
    on_stage(|stage| {
        let (server, service) = (bind("127.0.0.1:0"), addr("10.96.0.53:53"));
        stage.service(ID, service, UDP, &[local(&server)]);
        asks_without_connecting(stage, &bind("127.0.0.1:0"), &server, service);
    });
}

#[test]
fn an_unconnected_ipv6_socket_sees_the_service_answer() {
    on_stage(|stage| {
        let (server, service) = (bind("[::1]:0"), addr("[fd00:96::53]:53"));
        stage.service(ID, service, UDP, &[local(&server)]);
        asks_without_connecting(stage, &bind("[::1]:0"), &server, service);
    });
}

#[test]
fn an_ipv6_socket_sees_an_ipv4_service_answer() {
    on_stage(|stage| {
        let (server, service) = (bind("127.0.0.1:0"), addr("10.96.0.53:53"));
        stage.service(ID, service, UDP, &[local(&server)]);
        asks_without_connecting(stage, &bind("[::]:0"), &server, mapped(service));
    });
}

#[test]
fn a_connected_socket_shows_the_backend_as_peer_and_the_service_as_sender() {
    on_stage(|stage| {
        for (server, service) in
            [(bind("127.0.0.1:0"), addr("10.96.0.53:53")), (bind("[::1]:0"), addr("[fd00:96::53]:53"))]
        {
            stage.service(ID + u32::from(service.is_ipv6()), service, UDP, &[local(&server)]);
            let client = bind(if service.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
            client.connect(service).expect("connect");
            assert_eq!(client.peer_addr().expect("peer"), local(&server));
            client.send(b"hi").expect("send");
            echo(&server);
            assert_eq!(receive(&client), (b"hi".to_vec(), service));
            assert_eq!(stage.events().len(), 1);
        }
    });
}

#[test]
fn a_connected_socket_shows_the_service_as_peer_when_told_to() {
    with(
        |config, _| config.peer_address = PeerAddress::Service,
        |stage| {
            let (server, service) = (bind("127.0.0.1:0"), addr("10.96.0.53:53"));
            stage.service(ID, service, UDP, &[local(&server)]);
            let client = bind("127.0.0.1:0");
            client.connect(service).expect("connect");
            assert_eq!(client.peer_addr().expect("peer"), service);
        },
    );
}

#[test]
fn datagrams_without_a_backend_fail_with_a_named_drop() {
    on_stage(|stage| {
        let service = addr("10.96.0.53:53");
        stage.service(ID, service, UDP, &[]);
        let error = bind("127.0.0.1:0").send_to(b"hi", service).expect_err("refused");
        assert_eq!(error.kind(), stage.refusal(), "{error}");
        let error = bind("127.0.0.1:0").connect(service).expect_err("refused");
        assert_eq!(error.kind(), stage.refusal(), "{error}");
        let lanes: Vec<Lane> = stage.events().into_iter().map(|(lane, _)| lane).collect();
        assert_eq!(lanes, [Lane::Drops, Lane::Drops]);
    });
}

#[test]
fn a_socket_keeps_its_backend_from_datagram_to_datagram() {
    on_stage(|stage| {
        let servers: Vec<UdpSocket> = (0..4).map(|_| bind("127.0.0.1:0")).collect();
        let backends: Vec<SocketAddr> = servers.iter().map(local).collect();
        let service = addr("10.96.0.53:53");
        stage.service(ID, service, UDP, &backends);

        // By the records: each socket's first datagram names its backend, no other one is news.
        let mut homes = HashSet::new();
        for _ in 0..40 {
            let client = bind("127.0.0.1:0");
            for _ in 0..10 {
                client.send_to(b"x", service).expect("send");
            }
            let events = stage.events();
            assert_eq!(events.len(), 1, "one backend per socket");
            homes.insert(events[0].1.dport());
        }
        assert!(homes.len() > 1, "sockets spread: {homes:?}");

        stage.install(&with_affinity(spec(ID, service, UDP, &backends)));
        let homes: HashSet<u16> = (0..40)
            .map(|_| {
                bind("127.0.0.1:0").send_to(b"x", service).expect("send");
                stage.events()[0].1.dport()
            })
            .collect();
        assert_eq!(homes.len(), 1, "with affinity all sockets of a pod agree");
    });
}

#[test]
fn a_connected_socket_that_names_the_service_again_stays_with_its_backend() {
    on_stage(|stage| {
        let servers: Vec<UdpSocket> = (0..8).map(|_| bind("127.0.0.1:0")).collect();
        let service = addr("10.96.0.53:53");
        stage.service(ID, service, UDP, &servers.iter().map(local).collect::<Vec<_>>());
        for _ in 0..20 {
            let client = bind("127.0.0.1:0");
            client.connect(service).expect("connect");
            let home = client.peer_addr().expect("peer");
            client.send_to(b"hi", service).expect("send");
            let server = servers.iter().find(|server| local(server) == home).expect("a backend");
            echo(server);
            assert_eq!(receive(&client), (b"hi".to_vec(), service));
        }
    });
}

#[test]
fn replies_from_elsewhere_keep_their_sender() {
    on_stage(|stage| {
        let (server, other, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let service = addr("10.96.0.53:53");
        stage.service(ID, service, UDP, &[local(&server)]);
        client.send_to(b"hi", service).expect("send");
        other.send_to(b"me", local(&client)).expect("send");
        assert_eq!(receive(&client), (b"me".to_vec(), local(&other)));
        let ledger = stage.datapath.maps().ledger.read().expect("ledger");
        assert_eq!(ledger[LedgerStage::SockRevFailed], 0);
    });
}
