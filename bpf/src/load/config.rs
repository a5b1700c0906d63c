//! What the loader is told: sizes, policies, times. Every field has a flag on the agent.

use std::path::PathBuf;
use std::time::Duration;

use crate::abi;
use crate::error::{Error, Result};

/// Everything a datapath is loaded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// Directory for pins, on a BPF file system; `None` = everything goes with the process.
    pub pin_dir: Option<PathBuf>,
    /// A pinned map that doesn't fit is replaced, and its entries lost, instead of an error.
    pub replace_incompatible: bool,
    pub sizes: Sizes,
    pub event_policy: EventPolicy,
    /// How often a long-lived connection is reported (whole milliseconds, 100 ms to 1 h).
    pub report_interval: Duration,
    pub peer_address: PeerAddress,
    /// Pods may share a link with others, as on a bridge: they may look for these by their addresses.
    pub shared_links: bool,
    pub timeouts: Timeouts,
    pub l7: L7Mode,
    /// Names of the HTTP headers whose values are captured: at most [`abi::L7_HEADERS`], of at most
    /// [`HEADER_NAME_MAX`] characters of a token (RFC 9110, section 5.6.2).
    pub l7_headers: Vec<String>,
}

/// Characters of a header name that can be captured.
pub const HEADER_NAME_MAX: usize = 32;

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            pin_dir: None,
            replace_incompatible: false,
            sizes: Sizes::default(),
            event_policy: EventPolicy::Connection,
            report_interval: Duration::from_secs(5),
            peer_address: PeerAddress::Backend,
            shared_links: false,
            timeouts: Timeouts::default(),
            l7: L7Mode::All,
            l7_headers: Vec::new(),
        }
    }
}

/// When the kernel writes an event; drops and denials always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventPolicy {
    /// New, established, closed, and every report interval.
    #[default]
    Connection,
    /// Every packet.
    Packet,
}

/// Which application protocols are looked at, on every pod that does not opt out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L7Mode {
    Off,
    /// DNS alone.
    Dns,
    /// HTTP/1, HTTP/2 with gRPC, DNS, Kafka; TLS and QUIC are recognised.
    #[default]
    All,
}

/// What getpeername(2) shows on a socket connected to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerAddress {
    /// The backend: what is on the wire.
    #[default]
    Backend,
    /// The service's own address, for programs that compare.
    Service,
}

/// Sizes of the maps, in entries unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Events ring, bytes; a power of two, at least a page.
    pub events_bytes: u32,
    /// Ring of drops and denials, bytes; likewise.
    pub drops_bytes: u32,
    /// Connections, per family.
    pub conntrack: u32,
    pub services: u32,
    /// Backends, and slots of backends in services.
    pub backends: u32,
    /// Client → backend memories of services with session affinity.
    pub affinity: u32,
    /// Sockets whose service address is remembered, and as many UDP sockets with their backend.
    pub sock_rev: u32,
    /// Whole addresses, and as many prefixes.
    pub ipcache: u32,
    /// Local identities that have a policy table.
    pub policies: u32,
    /// Entries in one policy table.
    pub policy_entries: u32,
    pub endpoints: u32,
    /// Directions of connections that are rewritten at uplinks: two or four of one.
    pub nat: u32,
    /// Fragmented packets whose ports are remembered.
    pub fragments: u32,
    /// Rules whose denials are counted.
    pub rule_denials: u32,
    /// Connections whose messages are read at once.
    pub l7_connections: u32,
    /// Requests that wait for their response, in buckets of four; a power of two.
    pub l7_exchanges: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            events_bytes: 16 << 20,
            drops_bytes: 256 << 10,
            conntrack: 512 << 10,
            services: 64 << 10,
            backends: 64 << 10,
            affinity: 64 << 10,
            sock_rev: 64 << 10,
            ipcache: 512 << 10,
            policies: 16 << 10,
            policy_entries: 16 << 10,
            endpoints: 4096,
            nat: 128 << 10,
            fragments: 8192,
            rule_denials: 16 << 10,
            l7_connections: 32 << 10,
            l7_exchanges: 64 << 10,
        }
    }
}

impl Sizes {
    /// A few megabytes in all: for tests and small labs.
    pub fn small() -> Self {
        Self {
            events_bytes: 1 << 20,
            drops_bytes: 256 << 10,
            conntrack: 8192,
            services: 1024,
            backends: 4096,
            affinity: 1024,
            sock_rev: 4096,
            ipcache: 4096,
            policies: 256,
            policy_entries: 4096,
            endpoints: 256,
            nat: 4096,
            fragments: 256,
            rule_denials: 1024,
            l7_connections: 1024,
            l7_exchanges: 4096,
        }
    }

    /// Segments that came before their turn and are kept, 64 KiB each: one for 512 connections.
    pub(super) fn l7_early(&self) -> u32 {
        (self.l7_connections / 512).clamp(16, 1024).next_power_of_two()
    }

    /// The size of a map by its name in the C; `None` = as declared there.
    pub(super) fn of(&self, map: &str) -> Option<u32> {
        Some(match map {
            "events" => self.events_bytes,
            "drops" => self.drops_bytes,
            "ct4" | "ct6" => self.conntrack,
            "services" | "frontends" => self.services,
            "backends" | "backend_slots" => self.backends,
            "affinity" => self.affinity,
            "sock_rev" | "udp_sticky" => self.sock_rev,
            "ipcache" | "ipcache_exact" => self.ipcache,
            "policy" => self.policies,
            "endpoints" | "netns_endpoints" => self.endpoints,
            "fragments" => self.fragments,
            "nat" => self.nat,
            "rule_denials" => self.rule_denials,
            "l7_conns" => self.l7_connections,
            "l7_splits" => (self.l7_connections / 16).max(64),
            "l7_fields" => (self.l7_connections / 2).max(1024),
            "l7_early" => self.l7_early(),
            "l7_exchanges" => self.l7_exchanges / 4,
            _ => return None,
        })
    }
}

/// How long a connection is remembered after its last packet (whole seconds, 1 s to 30 days).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP with a completed handshake.
    pub tcp: Duration,
    /// TCP before that.
    pub tcp_opening: Duration,
    /// TCP after FIN or RST.
    pub tcp_closing: Duration,
    /// UDP, SCTP and whatever else has no flags.
    pub any: Duration,
    /// ICMP.
    pub icmp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(8000),
            tcp_opening: Duration::from_secs(60),
            tcp_closing: Duration::from_secs(10),
            any: Duration::from_secs(60),
            icmp: Duration::from_secs(60),
        }
    }
}

impl LoadConfig {
    /// # Errors
    /// [`Error::Setting`] names the first value out of its range.
    pub(super) fn check(&self) -> Result<()> {
        let ring = |name, bytes: u32| {
            let valid = bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes);
            let range = "a power of two, 4096 to 1073741824 bytes";
            if valid { Ok(()) } else { Err(Error::Setting { name, value: bytes.into(), range }) }
        };
        ring("events_bytes", self.sizes.events_bytes)?;
        ring("drops_bytes", self.sizes.drops_bytes)?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let fits = |name: &String| (1..=HEADER_NAME_MAX).contains(&name.len()) && name.bytes().all(token);
        if self.l7_headers.len() > abi::L7_HEADERS || !self.l7_headers.iter().all(fits) {
            let range = "at most 8 header names of 1 to 32 characters";
            return Err(Error::Setting { name: "l7_headers", value: self.l7_headers.len() as u64, range });
        }
        let exchanges = self.sizes.l7_exchanges;
        if !exchanges.is_power_of_two() || !(4..=1 << 22).contains(&exchanges) {
            let range = "a power of two, 4 to 4194304";
            return Err(Error::Setting { name: "l7_exchanges", value: exchanges.into(), range });
        }
        let sizes = &self.sizes;
        for (name, entries) in [
            ("conntrack", sizes.conntrack),
            ("services", sizes.services),
            ("backends", sizes.backends),
            ("affinity", sizes.affinity),
            ("sock_rev", sizes.sock_rev),
            ("l7_connections", sizes.l7_connections),
            ("ipcache", sizes.ipcache),
            ("policies", sizes.policies),
            ("policy_entries", sizes.policy_entries),
            ("endpoints", sizes.endpoints),
            ("fragments", sizes.fragments),
            ("nat", sizes.nat),
            ("rule_denials", sizes.rule_denials),
        ] {
            if !(16..=1 << 24).contains(&entries) {
                let range = "16 to 16777216 entries";
                return Err(Error::Setting { name, value: entries.into(), range });
            }
        }
        for (name, time) in [
            ("timeouts.tcp", self.timeouts.tcp),
            ("timeouts.tcp_opening", self.timeouts.tcp_opening),
            ("timeouts.tcp_closing", self.timeouts.tcp_closing),
            ("timeouts.any", self.timeouts.any),
            ("timeouts.icmp", self.timeouts.icmp),
        ] {
            if !(1..=30 * 86_400).contains(&time.as_secs()) {
                let range = "1 to 2592000 seconds";
                return Err(Error::Setting { name, value: time.as_secs(), range });
            }
        }
        let millis = self.report_interval.as_millis();
        if !(100..=3_600_000).contains(&millis) {
            return Err(Error::Setting {
                name: "report_interval",
                value: u64::try_from(millis).unwrap_or(u64::MAX),
                range: "100 to 3600000 milliseconds",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_is_no_power_of_two_is_refused_by_name() {
        let mut config = LoadConfig::default();
        config.sizes.events_bytes = 5000;
        let error = config.check().expect_err("refused").to_string();
        assert!(error.contains("events_bytes is 5000"), "{error}");
    }

    #[test]
    fn the_defaults_and_the_small_sizes_are_in_range() {
        LoadConfig::default().check().expect("defaults");
        LoadConfig { sizes: Sizes::small(), ..LoadConfig::default() }.check().expect("small");
    }
}
