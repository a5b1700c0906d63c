//! A datapath with one pod on the loopback device, its tables, and what came out of a packet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fathom_bpf::abi::{
    self, CtEntry, Event, LedgerStage, PolicyEntry, PolicyKey, direction, trigger, verdict,
};
use fathom_bpf::load::{Datapath, L7Mode, LoadConfig, Program, Sizes};
use fathom_bpf::maps::{LedgerSnapshot, Scope, ServiceSpec, UplinkAddresses};
use fathom_bpf::ring::{Lane, Reader};
use fathom_bpf::testing::{self, TempBpffs};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{Frame, HOST_IDENTITY, HOST4, PEER_IDENTITY, PEER4, PEER6, POD_IDENTITY, POD4, POD6, ip};

/// Where packets run: test_run takes loopback unless told otherwise.
pub const LOOPBACK: u32 = 1;

const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;

/// (direction, reason) → (packets, bytes); reason 0 = forwarded.
type Traffic = BTreeMap<(u8, u8), (u64, u64)>;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passed,
    /// With its reason.
    Dropped(u8),
    /// Goes on, to be refused by the node; with the reason that is told.
    Refused(u8),
}

/// Everything a packet left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub fate: Fate,
    /// As the program left it.
    pub packet: Vec<u8>,
    pub records: Vec<Event>,
    pub ledger: LedgerSnapshot,
}

impl Outcome {
    /// The one record; `what` says which packet is meant.
    pub fn record(&self, what: &str) -> Event {
        assert_eq!(self.records.len(), 1, "records of {what}: {:#?}", self.records);
        self.records[0]
    }

    /// The triggers of the records, in their order.
    pub fn triggers(&self) -> Vec<u8> {
        self.records.iter().map(|event| event.trigger & !abi::TRIGGER_LANE_DROPS).collect()
    }
}

/// The datapath and its reader.
pub struct Rig {
    pub datapath: Datapath,
    pub reader: Reader,
    ifindex: u32,
    last: LedgerSnapshot,
    counted: Traffic,
    bpffs: TempBpffs,
}

impl Rig {
    /// A ready pod ([`POD4`], [`POD6`]) that no policy selects, its peer and its node. Messages aren't read:
    /// the programs for it take most of the time to load.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same, and messages are read.
    pub fn reading() -> Self {
        Self::with(|config| config.l7 = L7Mode::All)
    }

    pub fn with(adjust: impl FnOnce(&mut LoadConfig)) -> Self {
        let bpffs = TempBpffs::new().expect("a BPF file system (packet tables need root)");
        let mut config = LoadConfig {
            sizes: Sizes::small(),
            pin_dir: Some(bpffs.path().join("rig")),
            l7: L7Mode::Off,
            ..LoadConfig::default()
        };
        adjust(&mut config);
        let datapath = Datapath::load(&config).expect("the datapath loads");
        let reader = datapath.reader().expect("a reader");
        let rig = Self {
            datapath,
            reader,
            ifindex: LOOPBACK,
            last: LedgerSnapshot::default(),
            counted: Traffic::new(),
            bpffs,
        };
        rig.endpoint(LOOPBACK, abi::ENDPOINT_READY);
        for (address, identity) in [
            (POD4, POD_IDENTITY),
            (POD6, POD_IDENTITY),
            (PEER4, PEER_IDENTITY),
            (PEER6, PEER_IDENTITY),
            (HOST4, HOST_IDENTITY),
        ] {
            rig.identity(address, identity);
        }
        rig.policy(&[]);
        rig
    }

    /// The device that the packets which follow come through.
    pub fn on_device(&mut self, ifindex: u32) -> &mut Self {
        self.ifindex = ifindex;
        self
    }

    pub fn endpoint(&self, ifindex: u32, flags: u32) {
        let IpAddr::V4(v4) = ip(POD4) else { unreachable!() };
        let IpAddr::V6(v6) = ip(POD6) else { unreachable!() };
        let endpoint =
            abi::Endpoint { identity: POD_IDENTITY, id: 7, flags, ipv4_be: v4.octets(), ipv6: v6.octets() };
        self.datapath.maps().endpoints.upsert(&ifindex, &endpoint).expect("endpoint");
    }

    pub fn identity(&self, address: &str, identity: u32) {
        self.datapath.maps().ipcache.upsert(ip(address), identity).expect("ipcache");
    }

    pub fn prefix(&self, prefix: &str, identity: u32) {
        let net = prefix.parse().unwrap_or_else(|e| panic!("prefix {prefix}: {e}"));
        self.datapath.maps().ipcache.upsert_prefix(net, identity).expect("ipcache");
    }

    /// The pod's table, in force at once.
    pub fn policy(&self, entries: &[(PolicyKey, PolicyEntry)]) {
        let maps = self.datapath.maps();
        maps.policy.swap(POD_IDENTITY, entries).expect("policy table");
        maps.runtime.bump_revision().expect("revision");
    }

    pub fn service(&self, id: u32, frontend: &str, port: u16, proto: u8, backends: &[(&str, u16)]) {
        self.install(Scope::Inside, id, frontend, port, proto, backends);
    }

    /// A frontend for clients outside the cluster.
    pub fn outside(&self, id: u32, frontend: &str, port: u16, proto: u8, backends: &[(&str, u16)]) {
        self.install(Scope::Outside, id, frontend, port, proto, backends);
    }

    fn install(&self, scope: Scope, id: u32, frontend: &str, port: u16, proto: u8, backends: &[(&str, u16)]) {
        let spec = ServiceSpec {
            id,
            address: ip(frontend),
            port,
            proto,
            scope,
            local: false,
            backends: backends.iter().map(|(address, port)| (ip(address), *port)).collect(),
            affinity: None,
        };
        self.datapath.maps().services.replace(&spec).expect("service");
    }

    pub fn pod_sends(&mut self, frame: &Frame) -> Outcome {
        self.run(Program::FromPod, &frame.build())
    }

    /// Makes the device one that leads off the node, whose addresses there are these.
    pub fn uplink(&self, ipv4: &str, ipv6: &str) {
        let v4 = if let IpAddr::V4(ip) = ip(ipv4) { Some(ip) } else { None };
        let v6 = if let IpAddr::V6(ip) = ip(ipv6) { Some(ip) } else { None };
        let addresses = UplinkAddresses { ipv4: v4, ipv6: v6 };
        self.datapath.maps().uplinks.set_device(self.ifindex, addresses).expect("uplink");
    }

    /// What comes to the node.
    pub fn node_receives(&mut self, frame: &Frame) -> Outcome {
        self.run(Program::FromUplink, &frame.build())
    }

    /// What leaves the node.
    pub fn node_sends(&mut self, frame: &Frame) -> Outcome {
        self.run(Program::ToUplink, &frame.build())
    }

    pub fn pod_receives(&mut self, frame: &Frame) -> Outcome {
        self.run(Program::ToPod, &frame.build())
    }

    /// Runs one packet and checks what must hold for each: the return value is one of two, records
    /// agree with it, counters count it once, the ledger balances.
    pub fn run(&mut self, program: Program, bytes: &[u8]) -> Outcome {
        let outcome = testing::run(&self.datapath, program, bytes, self.ifindex)
            .unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"));
        let records = testing::drain(&mut self.reader);
        let ledger = self.datapath.maps().ledger.read().expect("ledger");
        let step = ledger.since(&self.last);
        self.last = ledger;
        assert_balanced(&step, &records);
        let pods = matches!(program, Program::FromPod | Program::ToPod);
        assert_eq!(step[LedgerStage::PacketsSeen], u64::from(pods), "packets of pods seen");

        for (lane, event) in &records {
            let lane_bit = event.trigger & abi::TRIGGER_LANE_DROPS != 0;
            assert_eq!(lane_bit, *lane == Lane::Drops, "lane of {event:?}");
            let dropped = event.verdict == verdict::DROPPED;
            assert_eq!(dropped, *lane == Lane::Drops, "verdict of {event:?}");
            assert_eq!(dropped, event.reason != 0, "reason of {event:?}");
        }
        let own: Vec<&Event> = records
            .iter()
            .map(|(_, event)| event)
            .filter(|event| event.trigger != trigger::TIMEOUT)
            .collect();
        let fate = match outcome.retval {
            TC_ACT_UNSPEC if !pods && own.iter().any(|event| event.reason != 0) => {
                Fate::Refused(own[0].reason)
            }
            TC_ACT_UNSPEC => {
                assert!(own.iter().all(|event| event.verdict == verdict::FORWARDED), "{own:?}");
                Fate::Passed
            }
            TC_ACT_SHOT => {
                assert_eq!(own.len(), 1, "a drop is reported once: {own:?}");
                Fate::Dropped(own[0].reason)
            }
            other => panic!("return value {other} of {bytes:02x?}"),
        };
        let out = matches!(program, Program::FromPod | Program::ToUplink);
        let direction = if out { direction::EGRESS } else { direction::INGRESS };
        let reason = if let Fate::Dropped(reason) | Fate::Refused(reason) = fate { reason } else { 0 };
        // Of what goes by at uplinks only what is dropped there is counted.
        if pods || reason != 0 {
            let slot = self.counted.entry((direction, reason)).or_default();
            *slot = (slot.0 + 1, slot.1 + bytes.len() as u64 - 14);
        }
        assert_eq!(self.traffic(), self.counted, "counters after {bytes:02x?}");

        let records = records.into_iter().map(|(_, event)| event).collect();
        Outcome { fate, packet: outcome.packet, records, ledger: step }
    }

    /// Looks for connections that ended in silence; what they told.
    pub fn told(&mut self) -> Vec<Event> {
        let looked = self.datapath.tell_ended().expect("a look");
        let records = testing::drain(&mut self.reader);
        let ledger = self.datapath.maps().ledger.read().expect("ledger");
        let step = ledger.since(&self.last);
        self.last = ledger;
        assert_balanced(&step, &records);
        assert_eq!(looked.records, step[LedgerStage::EventsTimeout], "{looked:?}");
        records.into_iter().map(|(_, event)| event).collect()
    }

    fn traffic(&self) -> Traffic {
        let traffic = self.datapath.maps().counters.traffic().expect("counters");
        traffic.iter().map(|t| ((t.direction, t.reason), (t.packets, t.bytes))).collect()
    }

    /// The conntrack entries, by key bytes.
    pub fn connections(&self, family: u8) -> Vec<(Vec<u8>, CtEntry)> {
        let map = self.ct(family);
        let mut found = Vec::new();
        for key in map.keys() {
            if let Some(value) = map.lookup(&key, MapFlags::ANY).expect("conntrack") {
                found.push((key, CtEntry::read_from_bytes(&value).expect("an entry")));
            }
        }
        found
    }

    /// Changes every entry of a family, as if time had passed or another CPU had been at it.
    pub fn age(&self, family: u8, change: impl Fn(&mut CtEntry)) {
        let map = self.ct(family);
        for (key, mut entry) in self.connections(family) {
            change(&mut entry);
            match map.update(&key, entry.as_bytes(), MapFlags::EXIST) {
                // A full LRU made room by evicting this very entry.
                Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => {}
                result => result.expect("conntrack"),
            }
        }
    }

    fn ct(&self, family: u8) -> MapHandle {
        self.pinned(if family == 4 { "ct4" } else { "ct6" })
    }

    pub fn pinned(&self, map: &str) -> MapHandle {
        let path = self.bpffs.path().join("rig/maps").join(map);
        MapHandle::from_pinned_path(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

/// The three equations of abi.h.
pub fn assert_balanced(step: &LedgerSnapshot, records: &[(Lane, Event)]) {
    use LedgerStage::{
        DropsEmitted, DropsLost, EventsEmitted, EventsLost, EventsTimeout, L7Emitted, PacketsAggregated,
        PacketsPassedUntracked, PacketsReported, PacketsSeen, SockEmitted, UplinkEmitted,
    };
    let on = |lane| records.iter().filter(|(of, _)| *of == lane).count() as u64;
    assert_eq!(
        step[PacketsSeen],
        step[PacketsAggregated] + step[PacketsPassedUntracked] + step[PacketsReported],
        "packets: seen = aggregated + untracked + reported, of {step:?}"
    );
    assert_eq!(
        step[EventsEmitted] + step[DropsEmitted],
        step[PacketsReported]
            + step[EventsTimeout]
            + step[SockEmitted]
            + step[L7Emitted]
            + step[UplinkEmitted],
        "records: emitted = reported + time-outs + sockets + messages + uplinks, of {step:?}"
    );
    assert_eq!(step[EventsEmitted], on(Lane::Events) + step[EventsLost], "events of {step:?}");
    assert_eq!(step[DropsEmitted], on(Lane::Drops) + step[DropsLost], "drops of {step:?}");
}

/// Shorthand for what tables expect.
pub fn dropped(reason: u8) -> Fate {
    Fate::Dropped(reason)
}
