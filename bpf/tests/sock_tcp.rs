//! Services at connect(2): TCP over IPv4, IPv6 and IPv4 through IPv6 sockets.

mod support;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use fathom_bpf::abi::{self, LedgerStage, kind, obs_point, verdict};
use fathom_bpf::load::{Datapath, LoadConfig, PeerAddress, Sizes};
use fathom_bpf::named::{DropReason, Trigger};
use fathom_bpf::ring::Lane;
use fathom_bpf::testing::TempBpffs;
use support::{Stage, TCP, UDP, addr, mapped, on_stage, spec, with, with_affinity};

const ID: u32 = 7;

fn listen(at: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(at).expect("bind");
    let address = listener.local_addr().expect("local address");
    (listener, address)
}

/// Connects to `ask`, expects to end at `backend`, with a record that says so.
fn connects_to_the_backend(stage: &mut Stage, ask: SocketAddr, shown: SocketAddr) {
    stage.events();
    let before = stage.datapath.maps().ledger.read().expect("ledger");
    let stream = TcpStream::connect(ask).expect("connect through the service");
    assert_eq!(stream.peer_addr().expect("peer"), shown, "getpeername");

    let events = stage.events();
    assert_eq!(events.len(), 1, "one record per connect: {events:?}");
    let (lane, event) = events[0];
    assert_eq!(lane, Lane::Events);
    assert_eq!((event.kind, event.verdict), (kind::SOCK, verdict::TRANSLATED));
    assert_eq!(event.obs_point, obs_point::SOCK_POST_FWD);
    assert_eq!(event.named_trigger(), Trigger::New);
    assert_eq!((event.proto, event.service_id), (TCP, ID));
    let frontend_port = u16::from_be_bytes(event.frontend_port_be);
    assert_eq!((event.dport(), frontend_port), (shown.port(), ask.port()));
    assert_eq!(event.bytes, stage.cgroup_id(), "cgroup id");
    assert_ne!(event.cookie, 0, "socket cookie");
    let after = stage.datapath.maps().ledger.read().expect("ledger").since(&before);
    assert_eq!(after[LedgerStage::SockTranslated], 1);
    assert_eq!(after[LedgerStage::EventsEmitted], 1);
    assert_eq!(after[LedgerStage::SockEmitted], 1);
}

#[test]
fn connect_to_an_ipv4_service_ends_at_its_backend() {
    on_stage(|stage| {
        let (_listener, backend) = listen("127.0.0.1:0");
        let service = addr("10.96.0.10:80");
        stage.service(ID, service, TCP, &[backend]);
        connects_to_the_backend(stage, service, backend);
        let (_, event) = {
            TcpStream::connect(service).expect("connect");
            stage.events()[0]
        };
        assert_eq!((event.family, event.l3_proto_be), (4, [0x08, 0x00]));
        assert_eq!(event.destination(), backend.ip());
    });
}

#[test]
fn connect_to_an_ipv6_service_ends_at_its_backend() {
    on_stage(|stage| {
        let (_listener, backend) = listen("[::1]:0");
        let service = addr("[fd00:96::10]:80");
        stage.service(ID, service, TCP, &[backend]);
        connects_to_the_backend(stage, service, backend);
        TcpStream::connect(service).expect("connect");
        let (_, event) = stage.events()[0];
        assert_eq!((event.family, event.l3_proto_be), (6, [0x86, 0xdd]));
        assert_eq!(event.destination(), backend.ip());
    });
}

#[test]
fn an_ipv6_socket_reaches_an_ipv4_service() {
    on_stage(|stage| {
        let (_listener, backend) = listen("127.0.0.1:0");
        let service = addr("10.96.0.10:80");
        stage.service(ID, service, TCP, &[backend]);
        connects_to_the_backend(stage, mapped(service), mapped(backend));
    });
}

#[test]
fn what_is_no_service_is_left_alone() {
    on_stage(|stage| {
        let (_listener, there) = listen("127.0.0.1:0");
        stage.service(ID, addr("10.96.0.10:80"), TCP, &[there]);
        let stream = TcpStream::connect(there).expect("connect");
        assert_eq!(stream.peer_addr().expect("peer"), there);
        assert_eq!(stage.events(), [], "no record");
    });
}

#[test]
fn without_a_backend_connect_is_refused_at_once_with_a_named_drop() {
    on_stage(|stage| {
        let service = addr("10.96.0.10:80");
        stage.service(ID, service, TCP, &[]);
        let error = TcpStream::connect(service).expect_err("refused");
        assert_eq!(error.kind(), stage.refusal(), "{error}");

        let events = stage.events();
        assert_eq!(events.len(), 1, "{events:?}");
        let (lane, event) = events[0];
        assert_eq!(lane, Lane::Drops);
        assert_eq!((event.kind, event.verdict), (kind::SOCK, verdict::DROPPED));
        assert_eq!(event.named_reason(), DropReason::NoBackend);
        assert_eq!(event.named_trigger(), Trigger::Drop);
        assert_eq!(event.destination(), service.ip(), "the service: there is no backend to name");
        assert_eq!((event.dport(), event.service_id), (80, ID));
        let ledger = stage.datapath.maps().ledger.read().expect("ledger");
        assert_eq!(ledger[LedgerStage::SockNoBackend], 1);
        assert_eq!(ledger[LedgerStage::DropsEmitted], 1);
    });
}

#[test]
fn without_a_backend_an_older_kernel_says_eperm() {
    with(
        |_, features| features.set_retval = false,
        |stage| {
            let service = addr("[fd00:96::10]:80");
            stage.service(ID, service, TCP, &[]);
            let error = TcpStream::connect(service).expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(1), "EPERM, got {error}");
            assert_eq!(stage.events().len(), 1, "and a drop all the same");
        },
    );
}

#[test]
fn getpeername_shows_the_service_to_programs_that_insist() {
    with(
        |config, _| config.peer_address = PeerAddress::Service,
        |stage| {
            let (_l4, backend4) = listen("127.0.0.1:0");
            let (_l6, backend6) = listen("[::1]:0");
            let (service4, service6) = (addr("10.96.0.10:80"), addr("[fd00:96::10]:80"));
            stage.service(ID, service4, TCP, &[backend4]);
            stage.service(ID + 1, service6, TCP, &[backend6]);
            for ask in [service4, service6, mapped(service4)] {
                let stream = TcpStream::connect(ask).expect("connect");
                assert_eq!(stream.peer_addr().expect("peer"), ask);
            }
        },
    );
}

/// Connects `times` over and counts where it ended.
fn spread(service: SocketAddr, times: usize) -> HashMap<SocketAddr, usize> {
    let mut ends = HashMap::new();
    for _ in 0..times {
        let stream = TcpStream::connect(service).expect("connect");
        *ends.entry(stream.peer_addr().expect("peer")).or_default() += 1;
    }
    ends
}

#[test]
fn connections_spread_and_affinity_keeps_a_pod_at_one_backend() {
    on_stage(|stage| {
        let listeners: Vec<_> = (0..3).map(|_| listen("127.0.0.1:0")).collect();
        let backends: Vec<SocketAddr> = listeners.iter().map(|(_, address)| *address).collect();
        let service = addr("10.96.0.10:80");
        stage.service(ID, service, TCP, &backends);
        // All 60 at one of three by chance: 3^-59.
        assert!(spread(service, 60).len() > 1, "random pick");

        stage.install(&with_affinity(spec(ID, service, TCP, &backends)));
        let ends = spread(service, 60);
        assert_eq!(ends.len(), 1, "affinity: {ends:?}");
        let (home, _) = ends.into_iter().next().expect("one");

        // The set changes but the backend stays: so does the client.
        let others: Vec<_> = backends.iter().copied().filter(|b| *b != home).collect();
        stage.install(&with_affinity(spec(ID, service, TCP, &[home, others[0]])));
        assert_eq!(spread(service, 30), HashMap::from([(home, 30)]));

        // The backend goes: the client moves, and stays again.
        stage.install(&with_affinity(spec(ID, service, TCP, &others)));
        stage.datapath.maps().services.sweep().expect("sweep");
        let ends = spread(service, 60);
        assert_eq!(ends.len(), 1, "{ends:?}");
        assert!(!ends.contains_key(&home));
    });
}

#[test]
fn a_record_names_the_pod_by_its_network_namespace() {
    on_stage(|stage| {
        let (_listener, backend) = listen("127.0.0.1:0");
        let service = addr("10.96.0.10:80");
        stage.service(ID, service, TCP, &[backend]);
        let maps = stage.datapath.maps();
        let Ok(cookie) = fathom_bpf::netns_cookie() else {
            // Before 5.14 user space can't ask: the record then names no pod, rather than a wrong one.
            TcpStream::connect(service).expect("connect");
            let (_, event) = stage.events()[0];
            assert_eq!((event.ifindex, event.src_identity), (0, 0));
            return;
        };
        let endpoint = abi::Endpoint {
            identity: 4711,
            id: 1,
            flags: abi::ENDPOINT_READY,
            ipv4_be: [10, 0, 0, 5],
            ipv6: [0; 16],
        };
        maps.netns_endpoints.upsert(&cookie, &42).expect("netns");
        maps.endpoints.upsert(&42, &endpoint).expect("endpoint");
        maps.ipcache.upsert(backend.ip(), 4712).expect("ipcache");

        TcpStream::connect(service).expect("connect");
        let (_, event) = stage.events()[0];
        assert_eq!((event.ifindex, event.src_identity, event.dst_identity), (42, 4711, 4712));
        assert_eq!(event.source(), "10.0.0.5".parse::<IpAddr>().expect("address"));
    });
}

#[test]
fn no_connect_meets_a_half_changed_set() {
    on_stage(|stage| {
        let listeners: Vec<_> = (0..8).map(|_| listen("127.0.0.1:0")).collect();
        let backends: Vec<SocketAddr> = listeners.iter().map(|(_, address)| *address).collect();
        // A datagram socket: the hook is the same, and nothing is left in TIME_WAIT.
        let service = addr("10.96.0.10:81");
        stage.service(ID, service, UDP, &backends[2..]);
        let services = &stage.datapath.maps().services;
        let done = AtomicBool::new(false);
        let connects = std::thread::scope(|scope| {
            // A thread inherits the namespace of the thread that starts it.
            let client = scope.spawn(|| {
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
                    socket.connect(service).expect("never without a backend");
                    let peer = socket.peer_addr().expect("peer");
                    assert!(backends.contains(&peer), "{peer}");
                    count += 1;
                }
                count
            });
            for round in 0..60 {
                let set = if round % 2 == 0 { &backends[..2] } else { &backends[2..] };
                services.replace(&spec(ID, service, UDP, set)).expect("replace");
                services.sweep().expect("sweep");
                assert!(!client.is_finished(), "the client failed in round {round}");
            }
            done.store(true, Ordering::Relaxed);
            client.join().expect("client")
        });
        assert!(connects > 100, "only {connects} connects: no test");
    });
}

#[test]
fn hooks_are_replaced_while_sockets_connect_and_stay_when_the_process_goes() {
    let bpffs = TempBpffs::new().expect("bpffs (needs root)");
    let dir = bpffs.path().join("node");
    let pin_dir = Some(dir.clone());
    with(
        |config, _| config.pin_dir = pin_dir,
        |stage| {
            let (_listener, backend) = listen("127.0.0.1:0");
            let service = addr("10.96.0.10:81");
            stage.service(ID, service, UDP, &[backend]);
            let connect = || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
                socket.connect(service).expect("always translated");
                assert_eq!(socket.peer_addr().expect("peer"), backend);
            };
            let config = LoadConfig { pin_dir: Some(dir), sizes: Sizes::small(), ..LoadConfig::default() };
            let cgroup = stage.cgroup_path();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let client = scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        connect();
                    }
                });
                let other = Datapath::load(&config).expect("load");
                for _ in 0..30 {
                    other.attach_cgroup(&cgroup).expect("replace");
                    stage.datapath.attach_cgroup(&cgroup).expect("replace");
                    assert!(!client.is_finished(), "the client failed");
                }
                other.attach_cgroup(&cgroup).expect("replace");
                done.store(true, Ordering::Relaxed);
            });
            // The datapath that attached last is gone; its programs are not.
            connect();
            let sockets = Datapath::load(&config).expect("load");
            sockets.detach_cgroup().expect("detach");
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
            match socket.connect(service) {
                Ok(()) => assert_eq!(socket.peer_addr().expect("peer"), service, "untouched"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable),
            }
        },
    );
}
