//! Policies against traffic: what real packets say, beside what an oracle says.
//!
//! One lab for many sets of policies. A set is applied as objects, with a marker behind it: when every node
//! cites the marker's rule, what was written before it is in the kernel too, and when none cites the marker of the
//! set before, what was removed before it is gone as well. Then every attempt is made at once.

pub mod np;
pub mod random;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Stdio;

use fathom_lab::spec::{NamespaceSpec, PodSpec, Protocol, Spec};
use fathom_lab::{Lab, Source, Where};

use super::eventually_or_say;

/// Ports that every pod and every host outside answers on.
pub const TCP_PORTS: [u16; 3] = [7001, 7002, 7010];
pub const UDP_PORTS: [u16; 2] = [7001, 7005];

/// Hosts outside the cluster, one per family and side of the prefixes that policies name.
pub const OUTSIDE: [&str; 4] = ["198.51.100.10", "198.51.100.200", "2001:db8:100::10", "2001:db8:100::1:10"];

const MARKER: &str = "marker";

/// A pod as policies see it.
#[derive(Clone, Debug)]
pub struct Actor {
    pub key: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// (name, protocol, number).
    pub named_ports: Vec<(String, String, u16)>,
    pub addresses: Vec<IpAddr>,
    pub node: String,
}

/// One end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An actor, by its place in the list.
    Pod(usize),
    /// Outside the cluster.
    Outside(IpAddr),
    /// The node itself that the other end is on.
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    Tcp(u16),
    Udp(u16),
    Icmp,
}

impl Packet {
    /// IANA number and destination port.
    pub fn facts(self, v6: bool) -> (u8, Option<u16>) {
        match self {
            Packet::Tcp(port) => (6, Some(port)),
            Packet::Udp(port) => (17, Some(port)),
            Packet::Icmp => (if v6 { 58 } else { 1 }, None),
        }
    }
}

/// Somebody tries to reach somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub from: End,
    pub to: End,
    pub packet: Packet,
    pub v6: bool,
}

/// A lab, and who is in it.
pub struct Matrix {
    pub lab: Lab,
    pub actors: Vec<Actor>,
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    applied: Vec<(String, String)>,
    rounds: usize,
}

impl Matrix {
    /// Brings up pods of several namespaces on two nodes; `prepare` adds to the spec.
    pub fn new(name: &str, prepare: impl FnOnce(Spec) -> Spec) -> Self {
        let mut spec = Spec::new(name, 2);
        for (namespace, labels) in [
            ("red", &[("team", "red"), ("env", "prod")][..]),
            ("blue", &[("team", "blue"), ("env", "prod")]),
            ("plain", &[]),
            (MARKER, &[]),
        ] {
            spec = spec.namespace(namespace, labels);
        }
        for (name, namespace, node, labels, web) in [
            ("red-web", "red", "node-a", &[("app", "web"), ("tier", "front")][..], 7001),
            ("red-db", "red", "node-b", &[("app", "db"), ("tier", "back")], 7002),
            ("blue-web", "blue", "node-b", &[("app", "web"), ("tier", "front")], 7010),
            ("blue-db", "blue", "node-a", &[("app", "db")], 7001),
            ("plain-web", "plain", "node-a", &[("app", "web")], 7002),
            ("plain-none", "plain", "node-b", &[], 7001),
        ] {
            let mut pod = PodSpec::new(name, node).namespace(namespace).port("web", web, Protocol::Tcp).port(
                "dns",
                7005,
                Protocol::Udp,
            );
            for (key, value) in labels {
                pod = pod.label(key, value);
            }
            spec = spec.pod(with_servers(pod));
        }
        for node in ["node-a", "node-b"] {
            spec = spec.pod(PodSpec::new(&format!("{MARKER}-{node}"), node).namespace(MARKER));
        }
        let addresses: Vec<IpAddr> = OUTSIDE.iter().map(|text| text.parse().unwrap()).collect();
        // A datagram to one of several addresses is answered from that address only where a socket is bound to it.
        let lines: Vec<Vec<String>> = addresses.iter().flat_map(|address| servers(*address)).collect();
        let lines: Vec<Vec<&str>> =
            lines.iter().map(|line| line.iter().map(String::as_str).collect()).collect();
        let servers: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
        spec = prepare(spec.host("outside.example.net", &addresses, &servers));

        let namespaces =
            spec.namespaces.iter().map(|NamespaceSpec { name, labels }| (name.clone(), labels.clone()));
        let namespaces = namespaces.collect();
        let lab = Lab::ephemeral(spec.clone(), super::tools()).unwrap();
        let actors = spec.pods.iter().filter(|pod| pod.namespace != MARKER).map(|pod| Actor {
            key: pod.key(),
            namespace: pod.namespace.clone(),
            labels: pod.labels.clone(),
            named_ports: pod
                .ports
                .iter()
                .filter_map(|port| Some((port.name.clone()?, port.protocol.name().to_owned(), port.port)))
                .collect(),
            addresses: lab.pod(&pod.key()).unwrap().addresses,
            node: pod.node.clone(),
        });
        Self { actors: actors.collect(), namespaces, applied: Vec::new(), rounds: 0, lab }
    }

    /// Every attempt between pods, from and to outside, and from each pod's node.
    pub fn attempts(&self) -> Vec<Attempt> {
        let tcp = TCP_PORTS.into_iter().map(Packet::Tcp);
        let packets: Vec<Packet> =
            tcp.chain(UDP_PORTS.into_iter().map(Packet::Udp)).chain([Packet::Icmp]).collect();
        let mut attempts = Vec::new();
        for one in 0..self.actors.len() {
            for packet in &packets {
                for v6 in [false, true] {
                    let others = (0..self.actors.len()).filter(|other| *other != one);
                    let to = others.map(|other| (End::Pod(one), End::Pod(other)));
                    let to = to.chain([(End::Node, End::Pod(one))]);
                    attempts.extend(to.map(|(from, to)| Attempt { from, to, packet: *packet, v6 }));
                }
                if *packet == Packet::Icmp {
                    continue;
                }
                for address in OUTSIDE.map(|text| text.parse::<IpAddr>().unwrap()) {
                    for (from, to) in
                        [(End::Pod(one), End::Outside(address)), (End::Outside(address), End::Pod(one))]
                    {
                        attempts.push(Attempt { from, to, packet: *packet, v6: address.is_ipv6() });
                    }
                }
            }
        }
        attempts
    }

    /// Replaces the policies of the round before, and waits until these are enforced on every node.
    ///
    /// Each is (kind, namespace, name, YAML).
    #[track_caller]
    pub fn enforce(&mut self, policies: &[(String, String, String)]) {
        for (namespace, name) in std::mem::take(&mut self.applied) {
            self.lab.delete_policy(&namespace, &name).unwrap();
        }
        for (namespace, name, yaml) in policies {
            self.lab.apply_policy(yaml).unwrap();
            self.applied.push((namespace.clone(), name.clone()));
        }
        self.rounds += 1;
        let (marker, before) = (format!("{MARKER}-{}", self.rounds), format!("{MARKER}-{}", self.rounds - 1));
        self.lab
            .apply_policy(&format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                 metadata: {{name: {marker}, namespace: {MARKER}}}\n\
                 spec: {{podSelector: {{}}, policyTypes: [Ingress]}}\n"
            ))
            .unwrap();
        self.applied.push((MARKER.to_owned(), marker.clone()));
        for node in ["node-a", "node-b"] {
            eventually_or_say(&format!("{node} to enforce {marker}"), || {
                let rules = self.lab.rules(&Source::Node(node.to_owned())).map_err(|e| format!("{e:#}"))?;
                let cited = |name: &str| rules.iter().flat_map(|rule| &rule.refs).any(|r| r.name == name);
                (cited(&marker) && !cited(&before))
                    .then_some(())
                    .ok_or_else(|| format!("{marker}: {}, {before}: {}", cited(&marker), cited(&before)))
            });
        }
    }

    /// Makes all attempts at once; whether each was answered.
    pub fn reach(&self, attempts: &[Attempt], timeout: u64) -> Vec<bool> {
        let mut by_place: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, attempt) in attempts.iter().enumerate() {
            by_place.entry(self.place(attempt)).or_default().push(place);
        }
        let mut answers = vec![false; attempts.len()];
        let told: Vec<(Vec<usize>, Vec<bool>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = by_place
                .into_iter()
                .map(|(place, which)| {
                    scope.spawn(move || {
                        let lines: Vec<String> = which.iter().map(|at| self.line(&attempts[*at])).collect();
                        let answers = ask(&self.lab, &place, &lines, timeout);
                        (which, answers)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (which, those) in told {
            assert_eq!(which.len(), those.len());
            for (at, answered) in which.into_iter().zip(those) {
                answers[at] = answered;
            }
        }
        answers
    }

    /// Compares packets with `expected`; what differs, in words.
    ///
    /// What should have been answered and was not is tried again with more patience: the machine may be busy.
    pub fn differences(&self, attempts: &[Attempt], expected: impl Fn(&Attempt) -> bool) -> String {
        let answers = self.reach(attempts, 500);
        let wanted: Vec<bool> = attempts.iter().map(&expected).collect();
        let late: Vec<Attempt> =
            (0..attempts.len()).filter(|at| wanted[*at] && !answers[*at]).map(|at| attempts[at]).collect();
        let again = self.reach(&late, 4000);
        let mut again = again.into_iter();
        let mut text = String::new();
        for ((attempt, wanted), answered) in attempts.iter().zip(wanted).zip(answers) {
            let answered = answered || (wanted && again.next().unwrap_or(false));
            if answered != wanted {
                let (is, should) = if answered { ("passes", "be denied") } else { ("is denied", "pass") };
                let _ = writeln!(
                    text,
                    "{} from {} {is} and should {should}",
                    self.line(attempt),
                    self.place(attempt)
                );
            }
        }
        text
    }

    fn place(&self, attempt: &Attempt) -> String {
        match (attempt.from, attempt.to) {
            (End::Pod(from), _) => self.actors[from].key.clone(),
            (End::Outside(_), _) => "internet".to_owned(),
            (End::Node, End::Pod(to)) => self.actors[to].node.clone(),
            (End::Node, _) => unreachable!("a node is tried only towards its pods"),
        }
    }

    /// As `fathom-lab probe list` reads it.
    fn line(&self, attempt: &Attempt) -> String {
        let to = self.address(attempt.to, attempt.v6);
        let (protocol, port) = match attempt.packet {
            Packet::Tcp(port) => ("tcp", port),
            Packet::Udp(port) => ("udp", port),
            Packet::Icmp => return format!("icmp {to}"),
        };
        let source = match attempt.from {
            End::Outside(address) => format!(" {address}"),
            _ => String::new(),
        };
        format!("{protocol} {}{source}", SocketAddr::new(to, port))
    }

    fn address(&self, end: End, v6: bool) -> IpAddr {
        match end {
            End::Pod(at) => self.actor_address(at, v6),
            End::Outside(address) => address,
            End::Node => unreachable!("nobody is tried towards a node"),
        }
    }

    pub fn actor_address(&self, at: usize, v6: bool) -> IpAddr {
        *self.actors[at].addresses.iter().find(|address| address.is_ipv6() == v6).unwrap()
    }
}

fn servers(on: IpAddr) -> Vec<Vec<String>> {
    let line = |kind: &str, port: &u16| {
        vec![kind.to_owned(), "--listen".to_owned(), SocketAddr::new(on, *port).to_string()]
    };
    let tcp = TCP_PORTS.iter().map(|port| line("tcp-echo", port));
    tcp.chain(UDP_PORTS.iter().map(|port| line("udp-echo", port))).collect()
}

fn with_servers(mut pod: PodSpec) -> PodSpec {
    pod.run = servers(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    pod
}

fn ask(lab: &Lab, place: &str, lines: &[String], timeout: u64) -> Vec<bool> {
    let this = lab.tools().lab.to_string_lossy().into_owned();
    let mut child = lab
        .command(place, Where::Inside, &this)
        .unwrap()
        .args(["probe", "list", "--timeout", &timeout.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "probe list in {place} failed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            // Every port is served: whoever is refused met something that no policy does.
            assert!(!line.contains("refused"), "{place}: {line}");
            line == "answered"
        })
        .collect()
}
