//! Oracle, table look-up and kernel judge alike: for generated clusters, every packet that the policies
//! can tell apart goes through `from_pod` or `to_pod`, with the tables that the agent writes.
//!
//! The clusters are the same in each run; `FATHOM_SEED=n` makes others, `FATHOM_CASES=n` more of them.
//! Needs root.

#[allow(dead_code)]
#[path = "../../../bpf/tests/packet"]
mod packet {
    pub mod checksum;
    pub mod frame;

    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const SCTP: u8 = 132;
    pub const ICMP4: u8 = 1;
    pub const ICMP6: u8 = 58;
}

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use fathom_bpf::abi::{Event, drop_reason, flag, verdict};
use fathom_bpf::load::Program;
use fathom_bpf::ring::Reader;
use fathom_bpf::testing as bpf;
use fathom_node_agent::datapath::{Contents, Datapath, EndpointEntry, Kernel};
use fathom_policy::oracle::{self, Cluster, Remote};
use fathom_policy::testing::{Built, cases, cluster, uniform};
use fathom_policy::{Decision, Direction, Level, Probe, Table, lookup};
use packet::frame::{Frame, SYN};
use packet::{ICMP4, ICMP6, SCTP, TCP, UDP};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// Test runs take the loopback device.
const DEVICE: u32 = 1;
const PASS: i32 = -1;
const DROP: i32 = 2;
const INIT: u8 = 1;

/// Ports of the other side, or echo identifiers: each packet is the first of its connection.
const FIRST_PORT: u16 = 20_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A datapath that holds one cluster after another.
struct Rig {
    loaded: Arc<fathom_bpf::load::Datapath>,
    kernel: Kernel,
    reader: Reader,
    port: u16,
}

impl Rig {
    fn new() -> Self {
        let loaded = Arc::new(bpf::datapath().expect("the datapath loads (this test needs root)"));
        let reader = loaded.reader().expect("a reader");
        Self { kernel: Kernel::new(loaded.clone()), loaded, reader, port: FIRST_PORT }
    }

    /// Whether so many packets more have ports that none had before.
    fn lasts(&self, packets: usize) -> bool {
        packets < usize::from(u16::MAX - self.port)
    }

    /// Puts a cluster in place of the one before, the way the agent does.
    fn install(&mut self, built: &Built) -> anyhow::Result<()> {
        let before: Contents = self.kernel.contents()?;
        for address in before.addresses.into_keys() {
            self.kernel.remove_address(address)?;
        }
        for prefix in before.prefixes.into_keys() {
            self.kernel.remove_prefix(prefix)?;
        }
        for (address, entry) in built.ipcache.addresses() {
            self.kernel.set_address(address, entry.identity, false)?;
        }
        for (prefix, identity) in built.ipcache.prefixes() {
            self.kernel.set_prefix(prefix, identity)?;
        }
        let tables: Vec<_> =
            built.tables.iter().map(|(identity, table)| (*identity, table.clone())).collect();
        for swapped in self.kernel.swap_tables(&tables) {
            swapped?;
        }
        self.kernel.bump_revision()
    }

    /// The pod behind the device from now on.
    fn place(&mut self, cluster: &Cluster, built: &Built, pod: usize) -> anyhow::Result<()> {
        let addresses = &cluster.pods[pod].addresses;
        let entry = EndpointEntry {
            identity: built.identities[pod],
            id: 1 + pod as u32,
            ready: true,
            l7_off: false,
            ipv4: addresses.iter().find_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None }),
            ipv6: addresses.iter().find_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None }),
        };
        self.kernel.set_endpoint(DEVICE, entry)
    }

    /// Runs one packet; the one record it left.
    fn judge(&mut self, question: &Question) -> Result<Event, String> {
        self.port += 1;
        let program = if question.direction == Direction::Egress { Program::FromPod } else { Program::ToPod };
        let outcome = bpf::run(&self.loaded, program, &question.frame(self.port), DEVICE)
            .map_err(|error| error.to_string())?;
        let records = bpf::drain(&mut self.reader);
        let [(_, event)] = records[..] else { return Err(format!("{} records: {records:?}", records.len())) };
        let expected = if outcome.retval == PASS { verdict::FORWARDED } else { verdict::DROPPED };
        if ![PASS, DROP].contains(&outcome.retval) || event.verdict != expected {
            return Err(format!("return value {} with {event:?}", outcome.retval));
        }
        Ok(event)
    }
}

/// A packet to be judged.
#[derive(Clone, Copy, Debug)]
struct Question {
    local: IpAddr,
    remote: IpAddr,
    direction: Direction,
    proto: u8,
    port: Option<u16>,
}

impl Question {
    /// `None` when there is no such packet: the pod is not in the remote's family, or a protocol with ports
    /// shows none.
    fn new(
        local: &[IpAddr],
        remote: Remote,
        direction: Direction,
        proto: u8,
        port: Option<u16>,
    ) -> Option<Self> {
        let (Remote::Pod(_, remote) | Remote::Address(remote) | Remote::LocalHost(remote)) = remote;
        let local = *local.iter().find(|local| local.is_ipv4() == remote.is_ipv4())?;
        let proto = if proto == ICMP4 && remote.is_ipv6() { ICMP6 } else { proto };
        let echo = proto == ICMP4 || proto == ICMP6;
        (port.is_some() != echo).then_some(Self { local, remote, direction, proto, port })
    }

    fn frame(&self, other_port: u16) -> Vec<u8> {
        let (src, dst) = match self.direction {
            Direction::Egress => (self.local, self.remote),
            Direction::Ingress => (self.remote, self.local),
        };
        let Some(port) = self.port else { return Frame::echo(src, dst, false, other_port).build() };
        let (from, to) = (SocketAddr::new(src, other_port), SocketAddr::new(dst, port));
        match self.proto {
            TCP => Frame::tcp(from, to, SYN),
            UDP => Frame::udp(from, to),
            SCTP => Frame::sctp(from, to, INIT),
            other => unreachable!("protocol {other} has no ports"),
        }
        .build()
    }
}

/// What the record must say of a decision: verdict, reason, rule, match type, flags about policy.
fn told(decision: &Decision) -> (u8, u8, u32, u8, u16) {
    let flags = match decision.level {
        Level::LocalHost => flag::LOCAL_HOST,
        Level::NotEnforced => 0,
        _ => flag::POLICY,
    };
    let (verdict, reason) = match (decision.allowed(), decision.level) {
        (true, _) => (verdict::FORWARDED, 0),
        (false, Level::DefaultDeny) => (verdict::DROPPED, drop_reason::POLICY_DENIED),
        (false, _) => (verdict::DROPPED, drop_reason::POLICY_DENY),
    };
    (verdict, reason, decision.rule_id, decision.match_type as u8, flags)
}

fn recorded(event: &Event) -> (u8, u8, u32, u8, u16) {
    let flags = event.flags & (flag::POLICY | flag::LOCAL_HOST);
    (event.verdict, event.reason, event.rule_id, event.match_type, flags)
}

/// How often what was asked: so that a generator that has lost its variety is found.
#[derive(Default)]
struct Asked {
    packets: u32,
    /// Port prefixes of different rules, one within the other: here the longest must win.
    nested: u32,
    by_level: BTreeMap<Level, u32>,
    by_kind: BTreeMap<(u8, bool, &'static str), u32>,
}

impl Asked {
    fn count(&mut self, question: &Question, table: &Table, decision: &Decision) {
        self.packets += 1;
        self.nested += u32::from(is_nested(question, table, decision));
        *self.by_level.entry(decision.level).or_default() += 1;
        let kind = (question.proto, decision.allowed(), question.direction.name());
        *self.by_kind.entry(kind).or_default() += 1;
    }
}

/// Whether another prefix of the deciding key's peer and protocol holds the port for other rules.
fn is_nested(question: &Question, table: &Table, decision: &Decision) -> bool {
    let (Level::IdentityPort | Level::AnyPort | Level::CidrPort, Some(port)) =
        (decision.level, question.port)
    else {
        return false;
    };
    let matching = || {
        table.entries.iter().filter(|(key, _)| {
            let shift = 16 - u32::from(key.port_plen);
            (key.direction, key.proto) == (question.direction, question.proto)
                && key.port_plen > 0
                && u32::from(key.port) >> shift == u32::from(port) >> shift
        })
    };
    let deciding = matching().find(|(_, entry)| entry.rule_id == decision.rule_id);
    deciding.is_some_and(|(by, entry)| {
        matching().any(|(key, other)| key.identity == by.identity && other.rule_id != entry.rule_id)
    })
}

fn agree(rig: &mut Rig, cluster: &Cluster, exact: bool, asked: &mut Asked) -> Result<(), TestCaseError> {
    let fail = |text: String| TestCaseError::fail(text);
    let built = Built::new(cluster);
    if !rig.lasts(cases(cluster).count()) {
        *rig = Rig::new();
    }
    rig.install(&built).map_err(|error| fail(format!("{error:#}")))?;
    let mut placed = usize::MAX;
    for (pod, direction, remote, proto, port) in cases(cluster) {
        let Some(question) = Question::new(&cluster.pods[pod].addresses, remote, direction, proto, port)
        else {
            continue;
        };
        if placed != pod {
            rig.place(cluster, &built, pod).map_err(|error| fail(format!("{error:#}")))?;
            placed = pod;
        }
        let probe: Probe = built.probe(direction, remote, question.proto, port);
        let table = &built.tables[&built.identities[pod]];
        let decision = lookup(table, &probe);
        asked.count(&question, table, &decision);
        let event = rig.judge(&question).map_err(|error| fail(format!("pod {pod} {question:?}: {error}")))?;
        if recorded(&event) != told(&decision) {
            let (kernel, tables) = (recorded(&event), told(&decision));
            return Err(fail(format!(
                "pod {pod} {question:?}: (verdict, reason, rule, match, flags) is {kernel:?} in the kernel, \
                 {tables:?} by look-up ({decision:?})"
            )));
        }
        let allowed = oracle::allows(cluster, pod, direction, remote, question.proto, port);
        let forwarded = event.verdict == verdict::FORWARDED;
        // Pods that share an identity but not the meaning of a port name may reach more, never less.
        if forwarded != allowed && (exact || allowed) {
            return Err(fail(format!(
                "pod {pod} {question:?}: oracle {allowed}, kernel {forwarded} ({event:?})"
            )));
        }
    }
    Ok(())
}

/// Runs over clusters of a strategy, with the seed the caller chose.
fn run(clusters: impl proptest::strategy::Strategy<Value = Cluster>, cases: u64, exact: bool) -> Asked {
    let config = Config { cases: cases as u32, failure_persistence: None, ..Config::default() };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&setting("FATHOM_SEED", 2).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let state = RefCell::new((Rig::new(), Asked::default()));
    let judged = TestRunner::new_with_rng(config, rng).run(&clusters, |cluster| {
        let (rig, asked) = &mut *state.borrow_mut();
        agree(rig, &cluster, exact, asked)
    });
    judged.unwrap_or_else(|difference| panic!("{difference}"));
    state.into_inner().1
}

#[test]
fn oracle_look_up_and_kernel_agree_on_every_packet() {
    let clusters = setting("FATHOM_CASES", 100);
    let asked = run(uniform(), clusters, true);
    println!(
        "{clusters} clusters, {} packets; {} in nested prefixes; by level {:?}",
        asked.packets, asked.nested, asked.by_level
    );
    if clusters < 100 || std::env::var_os("FATHOM_SEED").is_some() {
        return; // what these clusters hold is chance
    }
    for level in [
        Level::LocalHost,
        Level::NotEnforced,
        Level::IdentityPort,
        Level::IdentityProto,
        Level::Identity,
        Level::AnyPort,
        Level::AnyProto,
        Level::Any,
        Level::CidrPort,
        Level::CidrProto,
        Level::Cidr,
        Level::DefaultDeny,
    ] {
        assert!(asked.by_level.contains_key(&level), "no packet was decided at {level:?}");
    }
    assert!(asked.nested > 0, "no port was within two prefixes");
    for proto in [TCP, UDP, SCTP, ICMP4, ICMP6] {
        for allowed in [true, false] {
            for direction in Direction::BOTH {
                let kind = (proto, allowed, direction.name());
                assert!(asked.by_kind.contains_key(&kind), "no packet was {kind:?}");
            }
        }
    }
}

#[test]
fn what_the_oracle_allows_passes_where_pods_disagree_about_a_port_name() {
    run(cluster(), setting("FATHOM_CASES", 100) / 4, false);
}

#[test]
fn addresses_of_both_families_are_asked_about() {
    let pod = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let v6 = Remote::Address("2001:db8::1".parse().expect("an address"));
    let echo = Question::new(&pod, v6, Direction::Egress, ICMP4, None).expect("an echo request");
    assert_eq!((echo.local, echo.proto), (pod[1], ICMP6));
    assert!(
        Question::new(&pod[..1], v6, Direction::Egress, TCP, Some(80)).is_none(),
        "no packet crosses families"
    );
}
