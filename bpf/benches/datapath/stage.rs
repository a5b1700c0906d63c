//! A pod behind the loopback device of a new network namespace, tables as a busy node has them.

use std::net::Ipv4Addr;

use fathom_bpf::abi::{
    self, ENDPOINT_READY, LedgerStage, POLICY_META_IDENTITY, PolicyEntry, PolicyKey, direction,
    policy_verdict,
};
use fathom_bpf::load::{Datapath, L7Mode, LoadConfig, Program};
use fathom_bpf::maps::LedgerSnapshot;
use fathom_bpf::ring::Reader;
use fathom_bpf::testing::{Stepper, Target};

use crate::packets::{Family, Flow, SERVER_PORT, SYN};

/// The loopback device.
pub const DEVICE: u32 = 1;
const POD_IDENTITY: u32 = 1000;
const PEER_IDENTITY: u32 = 2000;
/// Addresses of others in the cluster.
const NEIGHBOURS: u32 = 10_000;
/// Rules per direction beside the one that matches.
const RULES: u32 = 64;
/// Numbers of flows, apart from each other: 4,096 old ones from 0, new ones while the table has
/// room, new ones in a full table, and those that fill it.
pub const FIRST_NEW: u32 = 1 << 16;
pub const FIRST_IN_FULL: u32 = 1 << 20;
const FILLER: u32 = 12 << 20;
/// Flows per call of the kernel's harness: their events fit the ring.
pub const BATCH: u32 = 25_000;

pub struct Stage {
    pub datapath: Datapath,
    reader: Reader,
}

impl Stage {
    /// Everything at the product's own sizes.
    pub fn new() -> Self {
        Self::reading(L7Mode::All)
    }

    /// The same, with these messages read.
    pub fn reading(l7: L7Mode) -> Self {
        let config = LoadConfig { l7, ..LoadConfig::default() };
        let datapath = Datapath::load(&config).expect("load (needs root)");
        let maps = datapath.maps();
        let peers = (0..=255).flat_map(|n| [Family::V4.peer(n), Family::V6.peer(n)]);
        let neighbours = (0..NEIGHBOURS).map(|n| Ipv4Addr::from(0x0a80_0000 + n).into());
        maps.ipcache
            .upsert_all(
                peers
                    .map(|ip| (ip, PEER_IDENTITY))
                    .chain(neighbours.map(|ip| (ip, 3000)))
                    .chain([Family::V4, Family::V6].map(|family| (family.pod(), POD_IDENTITY))),
            )
            .expect("ipcache");
        let mut table = Vec::new();
        for dir in [direction::INGRESS, direction::EGRESS] {
            let meta = PolicyEntry {
                rule_id: 900,
                plen_mask: 1 << 16,
                verdict: policy_verdict::ENFORCED,
                ..PolicyEntry::default()
            };
            table.push((key(dir, POLICY_META_IDENTITY, 0), meta));
            let allow =
                PolicyEntry { rule_id: 800, verdict: policy_verdict::ALLOW, ..PolicyEntry::default() };
            table.push((PolicyKey { proto: 17, ..key(dir, PEER_IDENTITY, SERVER_PORT) }, allow));
            for n in 0..=RULES {
                let allow =
                    PolicyEntry { rule_id: n + 1, verdict: policy_verdict::ALLOW, ..PolicyEntry::default() };
                table.push((key(dir, PEER_IDENTITY + n, SERVER_PORT), allow));
            }
        }
        maps.policy.swap(POD_IDENTITY, &table).expect("policy");
        let (std::net::IpAddr::V4(v4), std::net::IpAddr::V6(v6)) = (Family::V4.pod(), Family::V6.pod())
        else {
            unreachable!("addresses of their families")
        };
        let endpoint = abi::Endpoint {
            identity: POD_IDENTITY,
            id: 1,
            flags: ENDPOINT_READY,
            ipv4_be: v4.octets(),
            ipv6: v6.octets(),
        };
        maps.endpoints.upsert(&DEVICE, &endpoint).expect("endpoint");
        maps.runtime.bump_revision().expect("revision");
        let reader = datapath.reader().expect("reader");
        Self { datapath, reader }
    }

    pub fn ledger(&self) -> LedgerSnapshot {
        self.datapath.maps().ledger.read().expect("ledger")
    }

    /// Reads the rings empty: as the agent would, but not at the same time.
    pub fn drain(&mut self) {
        while self.reader.consume(|_, _| {}).more {}
    }

    /// Opens flows until the connection table has to make room for each.
    pub fn fill_conntrack(&mut self, family: Family) {
        let flow = Flow::through(Program::FromPod, family);
        let stepper = Stepper::new(flow.fields_opener_sends(), 1 << 24).expect("stepper");
        stepper.seek(FILLER).expect("stepper");
        let target = Target::Program(&self.datapath, Program::FromPod);
        let packet = flow.opener_sends(SYN, 0);
        for _ in 0..(LoadConfig::default().sizes.conntrack / BATCH + 1) {
            stepper.time(target, &packet, DEVICE, BATCH).expect("run");
            while self.reader.consume(|_, _| {}).more {}
        }
        let failed = self.ledger()[LedgerStage::CtInsertFailed];
        assert_eq!(failed, 0, "a full table makes room");
    }
}

fn key(direction: u8, identity: u32, port: u16) -> PolicyKey {
    let (proto, port_plen) = if port == 0 { (0, 0) } else { (6, 16) };
    PolicyKey { identity, direction, proto, port_plen, port_be: port.to_be_bytes(), ..PolicyKey::default() }
}
