//! What the agent can be told: flags, and the same as FATHOM_ environment variables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fathom_bpf::abi;
use fathom_bpf::load::{EventPolicy, L7Mode, LoadConfig, PeerAddress, Sizes, Timeouts};
use ipnet::IpNet;

use crate::events::l7::{Redaction, header_name};
use crate::uplinks;

/// Puts Fathom's programs on this node's pods, enforces policy, and serves every decision as a flow.
#[derive(Clone, Debug, Parser)]
#[command(name = "fathom-agent", version, about, long_about = None, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: Config,
}

/// What to do instead of running.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Take every program, pin, route and record of an instance off this node; pods are then not enforced
    Cleanup(Place),
    /// Make a node ready for the agent in a pod: mount what it needs as the node sees it, put the plugin in place
    Prepare(Prepare),
    /// Say what this machine can do, and exit
    Check(Box<Config>),
}

/// What [`Command::Prepare`] does, and where.
#[derive(Clone, Debug, Args)]
pub struct Prepare {
    #[command(flatten)]
    pub place: Place,

    /// proc file system of the node, whose process 1 is in the namespaces that mounts are made in
    #[arg(long, env = "FATHOM_PROC", default_value = "/proc", value_name = "DIR")]
    pub proc: PathBuf,

    /// Directory to put the CNI plugin in; none = another plugin wires pods
    #[arg(long, env = "FATHOM_CNI_BIN_DIR", value_name = "DIR")]
    pub cni_bin_dir: Option<PathBuf>,

    /// The plugin to put there [default: fathom-cni beside this program]
    #[arg(long, env = "FATHOM_CNI_PLUGIN", value_name = "PATH")]
    pub cni_plugin: Option<PathBuf>,
}

/// Where an instance lives on the node.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Directory of sockets and of what outlives a restart
    #[arg(long, env = "FATHOM_RUN_DIR", default_value = "/run/fathom", value_name = "DIR")]
    pub run_dir: PathBuf,

    /// BPF file system that programs and maps are pinned in; mounted when it is not
    #[arg(long, env = "FATHOM_BPFFS", default_value = "/sys/fs/bpf", value_name = "DIR")]
    pub bpffs: PathBuf,

    /// Name of the directory for pins below BPFFS/fathom: one agent each
    #[arg(long, env = "FATHOM_INSTANCE", default_value = "node", value_name = "NAME")]
    pub instance: String,
}

impl Place {
    /// Where the whole cgroup v2 tree is mounted for agents in pods, which see only their own part of it elsewhere.
    pub fn cgroup_mount(&self) -> PathBuf {
        self.run_dir.join("cgroup")
    }

    /// The directory for pins.
    pub fn pin_dir(&self) -> PathBuf {
        self.bpffs.join("fathom").join(&self.instance)
    }
}

/// How the agent runs.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Name of this node, as in its Node object [default: the host's name]
    #[arg(long, env = "FATHOM_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// Name of the cluster; "default" is left out of node names
    #[arg(long, env = "FATHOM_CLUSTER_NAME", default_value = "default", value_name = "NAME")]
    pub cluster_name: String,

    /// Directory of manifests (YAML or JSON, any depth): saved files take effect at once
    /// [default: the API server in a pod, else /etc/fathom/objects]
    #[arg(long, env = "FATHOM_OBJECTS", conflicts_with = "kubeconfig", value_name = "DIR")]
    pub objects: Option<PathBuf>,

    /// Follow the API server that this kubeconfig's current context names
    #[arg(long, env = "FATHOM_KUBECONFIG", value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Directory in which agents agree on identity numbers, for a directory of manifests; with the API server
    /// they are FathomIdentity objects [default: RUN_DIR/identities]
    #[arg(long, env = "FATHOM_IDENTITIES", conflicts_with = "kubeconfig", value_name = "DIR")]
    pub identities: Option<PathBuf>,

    /// How often an agent says that an identity is in use; the relay gives up what nobody used for 3 times as long
    #[arg(long, env = "FATHOM_IDENTITY_REFRESH", default_value = "10m", value_parser = a_second_or_more, value_name = "DURATION")]
    pub identity_refresh: Duration,

    #[command(flatten)]
    pub place: Place,

    /// Who wires pods: Fathom's own CNI plugin, or another one, whose pods are then found and attached to
    #[arg(id = "wiring", long = "mode", env = "FATHOM_MODE", default_value = "cni", value_name = "MODE")]
    pub wiring: Wiring,

    /// proc file system of the node: in it --mode attach finds the network namespaces of pods, and the switches of
    /// forwarding are written
    #[arg(long, env = "FATHOM_PROC", default_value = "/proc", value_name = "DIR")]
    pub proc: PathBuf,

    /// Directory in which container runtimes name network namespaces, for --mode attach
    #[arg(long, env = "FATHOM_NETNS_DIR", default_value = "/run/netns", value_name = "DIR")]
    pub netns_dir: PathBuf,

    /// cgroup v2 directory whose processes have services translated at the socket; "none" = at tc only
    /// [default: the root of the mounted tree]
    #[arg(long, env = "FATHOM_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,

    /// Address to serve gRPC on; loopback unless TLS is set up or --tls off says it may be read by anyone.
    /// plain://127.0.0.1:PORT is served without TLS where there is a certificate
    #[arg(
        long,
        env = "FATHOM_LISTEN",
        default_value = "127.0.0.1:4244",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub listen: Vec<String>,

    /// Address of /metrics, /healthz and /readyz; empty = none
    #[arg(long, env = "FATHOM_METRICS_LISTEN", default_value = "127.0.0.1:9965", value_name = "HOST:PORT")]
    pub metrics_listen: String,

    #[command(flatten)]
    pub tls: Tls,

    /// When the kernel writes an event: per connection (and each report interval), or per packet
    #[arg(long, env = "FATHOM_EVENTS", default_value = "connection", value_name = "WHEN")]
    pub events: Events,

    /// How often a long-lived connection is reported
    #[arg(long, env = "FATHOM_REPORT_INTERVAL", default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub report_interval: Duration,

    /// How often connections that ended in silence are looked for, to tell what they still held
    #[arg(long, env = "FATHOM_ENDED_INTERVAL", default_value = "30s", value_parser = a_second_or_more, value_name = "DURATION")]
    pub ended_interval: Duration,

    /// Which application protocols are looked at, on every pod but those annotated fathom.dev/l7: "off"
    #[arg(long, env = "FATHOM_L7", default_value = "all", value_name = "WHICH")]
    pub l7: L7,

    /// What is taken out of messages before they are kept: url-query, user-info, headers:NAME,NAME
    #[arg(
        long,
        env = "FATHOM_L7_REDACT",
        default_value = "",
        hide_default_value = true,
        value_name = "WHAT"
    )]
    pub l7_redact: Redaction,

    /// HTTP headers to capture, at most 8, separated by commas
    #[arg(long, env = "FATHOM_L7_HEADERS", default_value = "", hide_default_value = true, value_parser = header_names, value_name = "NAMES")]
    pub l7_headers: HeaderNames,

    #[command(flatten)]
    pub timeouts: CtTimeouts,

    /// What getpeername(2) shows on a socket connected to a service
    #[arg(long, env = "FATHOM_PEER_ADDRESS", default_value = "backend", value_name = "WHICH")]
    pub peer_address: Peer,

    /// Flows kept for who asks later; a power of two
    #[arg(long, env = "FATHOM_STORE_SIZE", default_value_t = 4096, value_name = "FLOWS")]
    pub store_size: usize,

    /// Denials kept besides, so that a flood of other flows cannot push them out
    #[arg(long, env = "FATHOM_STORE_DENIALS", default_value_t = 4096, value_name = "FLOWS")]
    pub store_denials: usize,

    /// Clients are told of lost events at most this often
    #[arg(long, env = "FATHOM_LOST_INTERVAL", default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub lost_interval: Duration,

    /// Which labels make an identity: [!][source:]key-prefix, separated by commas or spaces
    #[arg(long, env = "FATHOM_LABELS", default_value = "", value_name = "RULES")]
    pub labels: String,

    /// Time before a released pod address is given out again
    #[arg(long, env = "FATHOM_ADDRESS_REST", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub address_rest: Duration,

    /// How long the CNI plugin's calls wait for objects they need; its own patience ends at 30 s
    #[arg(long, env = "FATHOM_CNI_WAIT", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub cni_wait: Duration,

    /// MTU of pods' interfaces [default: the smallest of the devices that default routes lead to]
    #[arg(long, env = "FATHOM_MTU", value_parser = clap::value_parser!(u32).range(1280..=65_535), value_name = "BYTES")]
    pub mtu: Option<u32>,

    /// Whether to keep routes to other nodes' pods and switch forwarding on
    /// [default: on with --mode cni, off with --mode attach]
    #[arg(long, env = "FATHOM_ROUTES", value_name = "SWITCH")]
    pub routes: Option<Switch>,

    /// Devices that lead off the node, on which services are reachable from outside: names, "auto" (those with
    /// a default route or the node's address) or "none" [default: auto with --mode cni, none with --mode attach]
    #[arg(long, env = "FATHOM_DEVICES", value_delimiter = ',', value_name = "NAMES")]
    pub devices: Vec<String>,

    /// Whether pods leave the cluster under the node's address
    /// [default: on with --mode cni, off with --mode attach]
    #[arg(long, env = "FATHOM_MASQUERADE", value_name = "SWITCH")]
    pub masquerade: Option<Switch>,

    /// Destinations outside the cluster towards which pods keep their own address
    #[arg(long, env = "FATHOM_MASQUERADE_EXCLUDE", value_delimiter = ',', value_name = "CIDRS")]
    pub masquerade_exclude: Vec<IpNet>,

    #[command(flatten)]
    pub sizes: MapSizes,

    /// Replace pinned maps that do not fit these flags; their entries are lost
    #[arg(long, env = "FATHOM_REPLACE_MAPS")]
    pub replace_maps: bool,

    /// How log lines look; what is logged is in FATHOM_LOG (info)
    #[arg(long, env = "FATHOM_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"], value_name = "FORMAT")]
    pub log_format: String,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectSource {
    Directory(PathBuf),
    /// With this kubeconfig, or as the pod's service account.
    Server(Option<PathBuf>),
}

/// Certificate towards clients.
#[derive(Clone, Debug, Args)]
pub struct Tls {
    /// "off" lets clients read without TLS on addresses that are not loopback; "wait" refuses connections until
    /// the certificate's files are there
    #[arg(long = "tls", env = "FATHOM_TLS", default_value = "auto", value_parser = ["auto", "wait", "off"], value_name = "MODE")]
    pub mode: String,

    /// Certificate shown to clients (PEM)
    #[arg(long, env = "FATHOM_TLS_CERT_FILE", requires = "tls_key_file", value_name = "PATH")]
    pub tls_cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long, env = "FATHOM_TLS_KEY_FILE", requires = "tls_cert_file", value_name = "PATH")]
    pub tls_key_file: Option<PathBuf>,

    /// Clients must show a certificate of one of these CAs (PEM)
    #[arg(long, env = "FATHOM_TLS_CLIENT_CA_FILE", requires = "tls_cert_file", value_name = "PATH")]
    pub tls_client_ca_file: Option<PathBuf>,
}

/// Sizes of the kernel's tables; a pinned table keeps the size it was made with.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Table sizes")]
pub struct MapSizes {
    /// Events ring, bytes; a power of two
    #[arg(long, env = "FATHOM_RING_EVENTS", default_value_t = Sizes::default().events_bytes, value_name = "BYTES")]
    pub ring_events: u32,
    /// Ring of drops and denials, bytes; a power of two
    #[arg(long, env = "FATHOM_RING_DROPS", default_value_t = Sizes::default().drops_bytes, value_name = "BYTES")]
    pub ring_drops: u32,
    /// Connections, per address family
    #[arg(long, env = "FATHOM_MAP_CONNTRACK", default_value_t = Sizes::default().conntrack, value_name = "ENTRIES")]
    pub map_conntrack: u32,
    #[arg(long, env = "FATHOM_MAP_SERVICES", default_value_t = Sizes::default().services, value_name = "ENTRIES")]
    pub map_services: u32,
    #[arg(long, env = "FATHOM_MAP_BACKENDS", default_value_t = Sizes::default().backends, value_name = "ENTRIES")]
    pub map_backends: u32,
    /// Clients of services with session affinity
    #[arg(long, env = "FATHOM_MAP_AFFINITY", default_value_t = Sizes::default().affinity, value_name = "ENTRIES")]
    pub map_affinity: u32,
    /// Sockets whose service address is remembered, and as many UDP sockets with their backend
    #[arg(long, env = "FATHOM_MAP_SOCK_REV", default_value_t = Sizes::default().sock_rev, value_name = "ENTRIES")]
    pub map_sock_rev: u32,
    /// Addresses, and as many prefixes
    #[arg(long, env = "FATHOM_MAP_IPCACHE", default_value_t = Sizes::default().ipcache, value_name = "ENTRIES")]
    pub map_ipcache: u32,
    /// Local identities
    #[arg(long, env = "FATHOM_MAP_POLICIES", default_value_t = Sizes::default().policies, value_name = "ENTRIES")]
    pub map_policies: u32,
    /// Entries in one identity's policy table
    #[arg(long, env = "FATHOM_MAP_POLICY_ENTRIES", default_value_t = Sizes::default().policy_entries, value_name = "ENTRIES")]
    pub map_policy_entries: u32,
    #[arg(long, env = "FATHOM_MAP_ENDPOINTS", default_value_t = Sizes::default().endpoints, value_name = "ENTRIES")]
    pub map_endpoints: u32,
    /// Connections that are rewritten at devices leading off the node, times two or four
    #[arg(long, env = "FATHOM_MAP_NAT", default_value_t = Sizes::default().nat, value_name = "ENTRIES")]
    pub map_nat: u32,
    /// Fragmented packets under way
    #[arg(long, env = "FATHOM_MAP_FRAGMENTS", default_value_t = Sizes::default().fragments, value_name = "ENTRIES")]
    pub map_fragments: u32,
    /// Rules whose denials are counted
    #[arg(long, env = "FATHOM_MAP_RULE_DENIALS", default_value_t = Sizes::default().rule_denials, value_name = "ENTRIES")]
    pub map_rule_denials: u32,
    /// Connections whose messages are read at once
    #[arg(long, env = "FATHOM_MAP_L7_CONNECTIONS", default_value_t = Sizes::default().l7_connections, value_name = "ENTRIES")]
    pub map_l7_connections: u32,
    /// Requests that wait for their response; a power of two
    #[arg(long, env = "FATHOM_MAP_L7_EXCHANGES", default_value_t = Sizes::default().l7_exchanges, value_name = "ENTRIES")]
    pub map_l7_exchanges: u32,
}

/// See [`Config::wiring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wiring {
    Cni,
    Attach,
}

/// See [`Config::events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Events {
    Connection,
    Packet,
}

/// See [`Config::l7`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum L7 {
    /// None; the programs that read messages aren't loaded
    Off,
    /// DNS
    Dns,
    /// HTTP/1, HTTP/2 with gRPC, DNS and Kafka; TLS and QUIC are recognised
    All,
}

/// Names of headers in lower case. A type of its own, because clap reads a `Vec` as a repeated flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames(Vec<Box<str>>);

/// See [`Config::peer_address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    Backend,
    Service,
}

/// How long a connection is remembered after its last packet.
#[derive(Clone, Debug, Args)]
pub struct CtTimeouts {
    /// Silence after which an established TCP connection is forgotten (1s to 30 days)
    #[arg(long, env = "FATHOM_CT_TIMEOUT_TCP", default_value = "8000s", value_parser = a_second_or_more, value_name = "DURATION")]
    pub ct_timeout_tcp: Duration,
    /// The same before the handshake is over
    #[arg(long, env = "FATHOM_CT_TIMEOUT_TCP_OPENING", default_value = "60s", value_parser = a_second_or_more, value_name = "DURATION")]
    pub ct_timeout_tcp_opening: Duration,
    /// The same after FIN or RST
    #[arg(long, env = "FATHOM_CT_TIMEOUT_TCP_CLOSING", default_value = "10s", value_parser = a_second_or_more, value_name = "DURATION")]
    pub ct_timeout_tcp_closing: Duration,
    /// The same for UDP, SCTP and whatever else has no flags
    #[arg(long, env = "FATHOM_CT_TIMEOUT_ANY", default_value = "60s", value_parser = a_second_or_more, value_name = "DURATION")]
    pub ct_timeout_any: Duration,
    /// The same for ICMP
    #[arg(long, env = "FATHOM_CT_TIMEOUT_ICMP", default_value = "60s", value_parser = a_second_or_more, value_name = "DURATION")]
    pub ct_timeout_icmp: Duration,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Config {
    /// What the loader needs to know.
    pub fn load(&self) -> LoadConfig {
        LoadConfig {
            pin_dir: Some(self.place.pin_dir()),
            replace_incompatible: self.replace_maps,
            sizes: self.sizes.sizes(),
            event_policy: match self.events {
                Events::Connection => EventPolicy::Connection,
                Events::Packet => EventPolicy::Packet,
            },
            report_interval: self.report_interval,
            peer_address: match self.peer_address {
                Peer::Backend => PeerAddress::Backend,
                Peer::Service => PeerAddress::Service,
            },
            shared_links: self.wiring == Wiring::Attach,
            timeouts: self.timeouts.timeouts(),
            l7: match self.l7 {
                L7::Off => L7Mode::Off,
                L7::Dns => L7Mode::Dns,
                L7::All => L7Mode::All,
            },
            l7_headers: self.l7_headers().iter().map(|name| name.to_string()).collect(),
        }
    }

    /// HTTP headers to capture, in lower case: at most [`abi::L7_HEADERS`], each at most 32 bytes.
    pub fn l7_headers(&self) -> &[Box<str>] {
        &self.l7_headers.0
    }

    /// Whether routes to other nodes' pods are ours to keep: with another plugin they are that one's.
    pub fn keeps_routes(&self) -> bool {
        match self.routes {
            Some(switch) => switch == Switch::On,
            None => self.wiring == Wiring::Cni,
        }
    }

    /// Which devices lead off the node, and whose packets leave there under the node's address.
    pub fn uplinks(&self) -> uplinks::Settings {
        let ours = self.wiring == Wiring::Cni;
        let names: Vec<&str> = self.devices.iter().map(String::as_str).collect();
        uplinks::Settings {
            devices: match names[..] {
                ["auto"] => None,
                [] if ours => None,
                [] | ["none"] => Some(Vec::new()),
                _ => Some(self.devices.clone()),
            },
            masquerade: self.masquerade.map_or(ours, |switch| switch == Switch::On),
            exclude: self.masquerade_exclude.clone(),
        }
    }

    /// Where objects come from.
    pub fn source(&self, in_a_pod: bool) -> ObjectSource {
        match (&self.objects, &self.kubeconfig) {
            (Some(directory), _) => ObjectSource::Directory(directory.clone()),
            (None, Some(kubeconfig)) => ObjectSource::Server(Some(kubeconfig.clone())),
            (None, None) if in_a_pod => ObjectSource::Server(None),
            (None, None) => ObjectSource::Directory("/etc/fathom/objects".into()),
        }
    }

    /// The directory of identity numbers.
    pub fn identities(&self) -> PathBuf {
        self.identities.clone().unwrap_or_else(|| self.place.run_dir.join("identities"))
    }

    /// Whether the socket hooks are wanted, and where if told.
    pub fn cgroup(&self) -> Option<Option<&Path>> {
        match self.cgroup.as_deref() {
            Some(path) if path == Path::new("none") => None,
            path => Some(path),
        }
    }

    /// Port of the first TCP listener: where peers are told to look.
    pub fn port(&self) -> u16 {
        let port = |listen: &String| listen.rsplit_once(':')?.1.parse().ok();
        self.listen.iter().find_map(port).filter(|port| *port != 0).unwrap_or(4244)
    }
}

impl CtTimeouts {
    fn timeouts(&self) -> Timeouts {
        Timeouts {
            tcp: self.ct_timeout_tcp,
            tcp_opening: self.ct_timeout_tcp_opening,
            tcp_closing: self.ct_timeout_tcp_closing,
            any: self.ct_timeout_any,
            icmp: self.ct_timeout_icmp,
        }
    }
}

impl MapSizes {
    fn sizes(&self) -> Sizes {
        Sizes {
            events_bytes: self.ring_events,
            drops_bytes: self.ring_drops,
            conntrack: self.map_conntrack,
            services: self.map_services,
            backends: self.map_backends,
            affinity: self.map_affinity,
            sock_rev: self.map_sock_rev,
            ipcache: self.map_ipcache,
            policies: self.map_policies,
            policy_entries: self.map_policy_entries,
            endpoints: self.map_endpoints,
            nat: self.map_nat,
            fragments: self.map_fragments,
            rule_denials: self.map_rule_denials,
            l7_connections: self.map_l7_connections,
            l7_exchanges: self.map_l7_exchanges,
        }
    }
}

/// "x-request-id,x-team".
fn header_names(text: &str) -> Result<HeaderNames, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut list: Vec<Box<str>> = Vec::new();
    for name in names {
        let name = header_name(name)?;
        if !list.contains(&name) {
            list.push(name);
        }
    }
    match list.len() {
        0..=abi::L7_HEADERS => Ok(HeaderNames(list)),
        many => Err(format!("{many} headers, and at most {} can be captured", abi::L7_HEADERS)),
    }
}

/// "5s", "1m30s", "250ms".
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write for example 5s, 1m30s or 250ms");
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// The same, at least a second.
fn a_second_or_more(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) { Err(format!("{text:?} is less than a second")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"fathom-agent").chain(arguments))
    }

    #[test]
    fn the_flags_are_consistent_and_the_defaults_are_the_loaders() {
        Cli::command().debug_assert();
        let config = parse(&[]).unwrap().run;
        let wanted = LoadConfig { pin_dir: Some("/sys/fs/bpf/fathom/node".into()), ..LoadConfig::default() };
        assert_eq!(config.load(), wanted);
        assert_eq!(config.identities(), Path::new("/run/fathom/identities"));
        assert_eq!((config.port(), config.cgroup()), (4244, Some(None)));
    }

    #[test]
    fn objects_come_from_where_it_is_said_and_in_a_pod_from_the_api_server() {
        let of = |arguments: &[&str], in_a_pod| parse(arguments).unwrap().run.source(in_a_pod);
        assert_eq!(of(&[], false), ObjectSource::Directory("/etc/fathom/objects".into()));
        assert_eq!(of(&[], true), ObjectSource::Server(None));
        assert_eq!(of(&["--objects", "/o"], true), ObjectSource::Directory("/o".into()));
        assert_eq!(of(&["--kubeconfig", "/k"], false), ObjectSource::Server(Some("/k".into())));
        let error = parse(&["--objects", "/o", "--kubeconfig", "/k"]).unwrap_err().to_string();
        assert!(error.contains("--kubeconfig"), "{error}");
    }

    #[test]
    fn another_plugins_pods_share_links_and_its_routes_are_its_own() {
        let of = |arguments: &[&str]| {
            let config = parse(arguments).unwrap().run;
            (config.keeps_routes(), config.load().shared_links)
        };
        assert_eq!(of(&[]), (true, false));
        assert_eq!(of(&["--mode", "attach"]), (false, true));
        assert_eq!(of(&["--mode", "attach", "--routes", "on"]), (true, true));
        assert_eq!(of(&["--routes", "off"]), (false, false));
    }

    #[test]
    fn devices_that_lead_off_the_node_are_ours_to_find_where_its_wiring_is() {
        let of = |arguments: &[&str]| parse(arguments).unwrap().run.uplinks();
        assert_eq!((of(&[]).devices, of(&[]).masquerade), (None, true));
        let attach = of(&["--mode", "attach"]);
        assert_eq!((attach.devices, attach.masquerade), (Some(vec![]), false));
        assert_eq!(of(&["--mode", "attach", "--devices", "auto"]).devices, None);
        assert_eq!(of(&["--devices", "none"]).devices, Some(vec![]));
        assert_eq!(of(&["--devices", "eth0,eth1"]).devices, Some(vec!["eth0".into(), "eth1".into()]));
        let exclude = of(&["--masquerade", "off", "--masquerade-exclude", "10.0.0.0/8,fd00::/8"]);
        assert_eq!((exclude.masquerade, exclude.exclude.len()), (false, 2));
        assert!(parse(&["--masquerade-exclude", "10.0.0.0"]).is_err());
    }

    #[test]
    fn several_listeners_a_cgroup_and_sizes_are_understood() {
        let config = parse(&[
            "--listen",
            "10.0.0.1:4000",
            "--listen",
            "127.0.0.1:4244",
            "--cgroup",
            "none",
            "--ring-events",
            "65536",
            "--events",
            "packet",
            "--report-interval",
            "1m30s",
        ])
        .unwrap()
        .run;
        assert_eq!((config.port(), config.listen.len(), config.cgroup()), (4000, 2, None));
        let load = config.load();
        assert_eq!(load.sizes.events_bytes, 65_536);
        assert_eq!((load.event_policy, load.report_interval), (EventPolicy::Packet, Duration::from_secs(90)));
    }

    #[test]
    fn slips_are_named() {
        for (arguments, text) in [
            (["--report-interval", "5 parsecs"], "5s"),
            (["--events", "all"], "connection"),
            (["--mtu", "576"], "1280"),
            (["--mode", "chained"], "attach"),
            (["--l7", "http"], "dns"),
            (["--l7-redact", "query"], "url-query"),
            (["--l7-headers", "a b"], "\"a b\""),
            (["--l7-headers", "a,b,c,d,e,f,g,h,i"], "at most 8"),
            (["--tls-cert-file", "x"], "--tls-key-file"),
        ] {
            let error = parse(&arguments).unwrap_err().to_string();
            assert!(error.contains(text), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn what_is_looked_at_captured_and_taken_out_is_understood() {
        let config = parse(&[]).unwrap().run;
        assert_eq!((config.l7_headers().len(), config.l7_redact), (0, Redaction::default()));
        let config = parse(&[
            "--l7",
            "dns",
            "--l7-redact",
            "user-info,headers:Cookie",
            "--l7-headers",
            "X-Request-Id,cookie,x-request-id",
        ])
        .unwrap()
        .run;
        assert_eq!(config.load().l7, L7Mode::Dns);
        assert!(config.l7_redact.user_info && config.l7_redact.hides("cookie"));
        assert_eq!(config.l7_headers(), ["x-request-id".into(), "cookie".into()]);
    }

    #[test]
    fn cleanup_takes_only_the_place() {
        let cli = parse(&["cleanup", "--instance", "x"]).unwrap();
        let Some(Command::Cleanup(place)) = cli.command else { panic!("cleanup") };
        assert_eq!(place.pin_dir(), Path::new("/sys/fs/bpf/fathom/x"));
        assert!(parse(&["cleanup", "--events", "packet"]).is_err());
    }
}
