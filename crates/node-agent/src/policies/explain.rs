//! Whether two may talk, by the tables in the kernel; and why, by the policies those were made of.

use std::net::IpAddr;
use std::sync::Arc;

use fathom_api::fathom_v1::{
    self as wire, Decision, ExplainRequest, ExplainResponse, ExplainedEndpoint, ExplainedPath, ExplainedRule,
    ExplainedSide, SelectingPolicy,
};
use fathom_policy::{
    Direction, Explanation, Level, Miss, Policy, Probe, RuleRef, Verdict, explain, lookup, rule_text,
};
use tonic::Status;

use super::list;
use super::parties::{self, Meant, Party, PortText};
use crate::cluster::model::Service;
use crate::cluster::snapshot::Snapshot;
use crate::control::state::PolicyState;
use crate::datapath::Running;

/// Paths that one answer explains.
const PATHS: usize = 64;
/// Rules told that are equally near.
const NEAREST: usize = 3;

/// What a question is answered from.
pub struct Explainer<'a> {
    pub state: &'a PolicyState,
    /// Names of rules.
    pub snapshot: &'a Snapshot,
    pub running: &'a dyn Running,
    /// This node, as in flows.
    pub node_name: &'a str,
}

/// What the kernel thinks of the other end.
struct Remote {
    identity: u32,
    cidr: Option<u32>,
}

impl Explainer<'_> {
    /// Every path the request means, as far as this node knows.
    ///
    /// # Errors
    /// The request says too little, or the tables cannot be read.
    pub fn explain(&self, request: &ExplainRequest) -> Result<ExplainResponse, Status> {
        let port = parties::port(&request.port)?;
        let from = match parties::find(self.state, &request.from, &request.namespace)? {
            Meant::Parties(parties) => parties,
            Meant::Service(service) => {
                let (namespace, name) = (&service.namespace, &service.name);
                return Err(Status::invalid_argument(format!(
                    "service {namespace}/{name} opens no connections: name a pod behind it as from"
                )));
            }
        };
        let to = parties::find(self.state, &request.to, &request.namespace)?;
        let mut response = ExplainResponse::default();
        for from in &from {
            match &to {
                Meant::Parties(parties) => {
                    for to in parties {
                        let (protocol, port) = parties::port_of(&port, to)?;
                        self.add(&mut response, from, to, String::new(), protocol, port)?;
                    }
                }
                Meant::Service(service) => self.service(&mut response, from, service, &port)?,
            }
        }
        Ok(response)
    }

    /// The paths to each backend: the kernel judges those, and never the service's own address.
    fn service(
        &self,
        response: &mut ExplainResponse,
        from: &Party,
        service: &Service,
        port: &PortText,
    ) -> Result<(), Status> {
        let (number, protocol) = parties::service_port(port, service)?;
        let name = format!("{}/{}:{number}", service.namespace, service.name);
        let mut backends: Vec<(IpAddr, u16)> = Vec::new();
        for address in &service.cluster_ips {
            backends.extend(self.state.backends(*address, number, protocol.number()));
        }
        // A pod has one address of each family; one path to it is enough.
        let family = |v4: bool| from.addresses.iter().any(|ip| ip.is_ipv4() == v4);
        let v4 = from.addresses.is_empty() || family(true);
        let usable = |(ip, _): &(IpAddr, u16)| ip.is_ipv4() == v4;
        if !backends.iter().any(usable) {
            let why = if service.cluster_ips.is_empty() { "no address" } else { "no backend" };
            return Err(Status::failed_precondition(format!("service {name} has {why}: ask about its pods")));
        }
        for (address, port) in backends.into_iter().filter(usable) {
            let to = parties::backend(self.state, address);
            self.add(response, from, &to, name.clone(), protocol.number(), Some(port))?;
        }
        Ok(())
    }

    fn add(
        &self,
        response: &mut ExplainResponse,
        from: &Party,
        to: &Party,
        service: String,
        protocol: u8,
        port: Option<u16>,
    ) -> Result<(), Status> {
        if response.paths.len() >= PATHS {
            response.more += 1;
            return Ok(());
        }
        let (from_address, to_address) = parties::addresses(from, to)?;
        let itself = from.pod.is_some() && from.pod == to.pod;
        let side = |direction, local: &Party, remote: &Party, remote_address| {
            if itself {
                return Ok(not_judged("", "what a pod sends to itself passes no policy"));
            }
            self.side(direction, local, (remote, remote_address), protocol, port)
        };
        response.paths.push(ExplainedPath {
            egress: Some(side(Direction::Egress, from, to, to_address)?),
            ingress: Some(side(Direction::Ingress, to, from, from_address)?),
            from: Some(self.endpoint(from, from_address)),
            to: Some(self.endpoint(to, to_address)),
            service,
            protocol: protocol.into(),
            port: port.map(u32::from),
        });
        Ok(())
    }

    fn endpoint(&self, party: &Party, address: Option<IpAddr>) -> ExplainedEndpoint {
        ExplainedEndpoint {
            name: party.name.clone(),
            address: address.map(|ip| ip.to_string()).unwrap_or_default(),
            identity: party.identity,
            labels: party.labels.iter().map(ToString::to_string).collect(),
            node_name: self.state.node_as_told(&party.node),
        }
    }

    fn side(
        &self,
        direction: Direction,
        local: &Party,
        (remote, address): (&Party, Option<IpAddr>),
        protocol: u8,
        port: Option<u16>,
    ) -> Result<ExplainedSide, Status> {
        let Some((namespace, name)) = &local.pod else {
            let what = if local.node.is_empty() { "no pod of this cluster" } else { "in its node's network" };
            return Ok(not_judged("", &format!("{} is {what}: no table decides for it", local.name)));
        };
        let wired = |e: &&crate::control::state::LocalEndpoint| e.namespace == *namespace && e.name == *name;
        let Some(endpoint) = self.state.endpoints.iter().find(wired) else {
            let here = self.state.node == local.node;
            if here || local.node.is_empty() {
                let why = format!("{} is not wired to a node that runs an agent", local.name);
                return Ok(not_judged("", &why));
            }
            return Ok(ExplainedSide {
                node_name: self.state.node_as_told(&local.node),
                reason: "only the node it runs on knows".to_owned(),
                ..ExplainedSide::default()
            });
        };
        let remote = match address {
            Some(address) => self.who(address)?,
            None => Remote { identity: remote.identity, cidr: None },
        };
        let identity = endpoint.entry.identity;
        let side = ExplainedSide {
            node_name: self.node_name.to_owned(),
            local_identity: identity,
            remote_identity: remote.identity,
            cidr_identity: remote.cidr.unwrap_or(0),
            ..ExplainedSide::default()
        };
        let table = self.running.table(identity).map_err(|error| internal(&error))?;
        let Some(table) = table.filter(|_| endpoint.entry.ready) else {
            return Ok(ExplainedSide {
                decision: Decision::Denied.into(),
                reason: "the endpoint is not ready, and until it is every packet is dropped".to_owned(),
                ..side
            });
        };
        let port = port.or_else(|| parties::echo(protocol));
        let probe = Probe { remote: remote.identity, cidr: remote.cidr, direction, proto: protocol, port };
        let decision = lookup(&table, &probe);
        let told = explain(identity, self.state.meanings(), &self.state.world, &probe);
        Ok(ExplainedSide {
            decision: if decision.allowed() { Decision::Allowed } else { Decision::Denied }.into(),
            reason: reason(decision.level, decision.verdict, direction),
            rule_id: decision.rule_id,
            rules: self.deciding(decision.rule_id),
            nearest: match &told {
                Some(told) if !decision.allowed() => self.nearest(told),
                _ => Vec::new(),
            },
            selecting: told.iter().flat_map(|told| self.selecting(told)).collect(),
            differs: self.differs(told.as_ref(), decision.verdict, identity),
            step: decision.level.number().into(),
            ..side
        })
    }

    fn who(&self, address: IpAddr) -> Result<Remote, Status> {
        let who = self.running.who(address).map_err(|error| internal(&error))?;
        Ok(Remote { identity: who.identity(), cidr: who.cidr() })
    }

    /// The rules behind an id; what a default deny stands for is told by the policies that select the pod.
    fn deciding(&self, id: u32) -> Vec<ExplainedRule> {
        let Some(info) = self.snapshot.rules.get(&id) else { return Vec::new() };
        let rules = info.refs.iter().filter(|rule| rule.index.is_some());
        rules
            .map(|rule| {
                let direction = Direction::BOTH.into_iter().find(|d| d.number() == rule.direction);
                let text = direction.zip(rule.index).and_then(|(direction, index)| {
                    self.written((&rule.kind, &rule.namespace, &rule.name), direction, index)
                });
                ExplainedRule {
                    rule: Some(wire::RuleRef {
                        kind: rule.kind.to_string(),
                        namespace: rule.namespace.to_string(),
                        name: rule.name.to_string(),
                        direction: rule.direction.into(),
                        index: rule.index,
                    }),
                    text: text.unwrap_or_else(|| "a rule that is not among the policies any more".to_owned()),
                    misses: Vec::new(),
                }
            })
            .collect()
    }

    /// The policies of an object, of which some have several.
    fn policies(&self, name: (&str, &str, &str)) -> impl Iterator<Item = &Policy> {
        self.state.meanings().filter(move |policy| {
            let meta = &policy.meta;
            (&*meta.kind, &*meta.namespace, &*meta.name) == name
        })
    }

    /// What the rule with this number matches, in words.
    fn written(&self, name: (&str, &str, &str), direction: Direction, index: u32) -> Option<String> {
        self.policies(name).find_map(|policy| {
            let place = index.checked_sub(*policy.first_rule.of(direction))?;
            let rule = policy.rules(direction)?.get(place as usize)?;
            Some(rule_text(policy, direction, rule))
        })
    }

    fn nearest(&self, told: &Explanation) -> Vec<ExplainedRule> {
        let least = told.missed.first().map_or(0, |missed| missed.distance());
        let near = told.missed.iter().take_while(|missed| missed.distance() == least).take(NEAREST);
        near.map(|missed| {
            let RuleRef { policy: meta, direction, index } = &missed.rule;
            let name = (&*meta.kind, &*meta.namespace, &*meta.name);
            let text = index.and_then(|index| self.written(name, *direction, index));
            ExplainedRule {
                rule: Some(wire::RuleRef {
                    kind: meta.kind.to_string(),
                    namespace: meta.namespace.to_string(),
                    name: meta.name.to_string(),
                    direction: direction.number().into(),
                    index: *index,
                }),
                text: text.unwrap_or_default(),
                misses: missed.fields.iter().map(miss).collect(),
            }
        })
        .collect()
    }

    fn selecting(&self, told: &Explanation) -> Vec<SelectingPolicy> {
        let policy = |meta: &Arc<fathom_policy::PolicyMeta>| {
            let known = self.policies((&meta.kind, &meta.namespace, &meta.name));
            let problems = known.flat_map(|policy| &policy.problems);
            SelectingPolicy {
                kind: meta.kind.to_string(),
                namespace: meta.namespace.to_string(),
                name: meta.name.to_string(),
                edited: meta.edited.as_ref().map(list::edited),
                problems: problems.map(|p| format!("{}: {}; {}", p.place, p.fault, p.effect)).collect(),
            }
        };
        told.selecting.iter().map(policy).collect()
    }

    fn differs(&self, told: Option<&Explanation>, verdict: Verdict, identity: u32) -> String {
        let Some(told) = told else {
            return format!("the policies in force know nothing of identity {identity}: its table is older");
        };
        if told.verdict == verdict {
            return String::new();
        }
        let now = if told.verdict == Verdict::Allow { "allow" } else { "deny" };
        let why = if self.state.behind.contains(&identity) {
            "their table could not be installed, see fathom list endpoints"
        } else {
            "the table in the kernel is not the one they make"
        };
        format!("the policies as they are now {now} it: {why}")
    }
}

fn internal(error: &anyhow::Error) -> Status {
    Status::internal(format!("the kernel's tables cannot be read: {error:#}"))
}

fn not_judged(node_name: &str, reason: &str) -> ExplainedSide {
    ExplainedSide {
        node_name: node_name.to_owned(),
        decision: Decision::NotJudged.into(),
        reason: reason.to_owned(),
        ..ExplainedSide::default()
    }
}

fn reason(level: Level, verdict: Verdict, direction: Direction) -> String {
    match (level, verdict) {
        (Level::LocalHost, _) => "a node always reaches its own pods".to_owned(),
        (Level::NotEnforced, _) => format!("no policy restricts its {}", direction.name()),
        (Level::DefaultAllow, _) => "no rule of the policies that select it denies this".to_owned(),
        (Level::DefaultDeny, _) => "no rule of the policies that select it allows this".to_owned(),
        (_, Verdict::Allow) => "a rule allows it".to_owned(),
        (_, Verdict::Deny) => "a rule denies it".to_owned(),
    }
}

/// A field that does not fit, in words.
fn miss(miss: &Miss) -> wire::Miss {
    let label = |key: &str, found: &Option<Arc<str>>| match found {
        Some(value) => format!("{key}={value}"),
        None => format!("no {key}"),
    };
    let port = |found: &Option<u16>| found.map_or_else(|| "none".to_owned(), |port| port.to_string());
    let (field, wanted, found) = match miss {
        Miss::Label { wanted, found } => ("label", wanted.to_string(), label(wanted.key(), found)),
        Miss::NamespaceLabel { wanted, found } => {
            ("namespace label", wanted.to_string(), label(wanted.key(), found))
        }
        Miss::Namespace { wanted, found } => ("namespace", wanted.to_string(), found.to_string()),
        Miss::Entity(entity) => ("entity", entity.name().to_owned(), "somebody else".to_owned()),
        Miss::Nobody => ("peer", "somebody".to_owned(), "a rule that is for nobody now".to_owned()),
        Miss::Inside => {
            ("CIDR", "an address outside of the cluster".to_owned(), "one of a pod or a node".to_owned())
        }
        Miss::NoPod => ("pod", "a pod".to_owned(), "an address or identity of no pod".to_owned()),
        Miss::Block { wanted, found, .. } => {
            let found = found.map_or_else(
                || "an address outside of it".to_owned(),
                |prefix| format!("an address outside of it, in {prefix}"),
            );
            ("CIDR", wanted.to_string(), found)
        }
        Miss::Protocol { wanted, found } => ("protocol", wanted.to_string(), protocol(*found)),
        Miss::Port { wanted, found } => ("port", wanted.to_string(), port(found)),
        Miss::PortName { name, means, found } => {
            let means: Vec<String> = means.iter().map(ToString::to_string).collect();
            let wanted = match means.is_empty() {
                true => format!("{name}, which no port there is called"),
                false => format!("{name}, which is {}", means.join(" or ")),
            };
            ("port", wanted, port(found))
        }
        Miss::Broken => ("rule", "a rule that can be understood".to_owned(), "one with a fault".to_owned()),
    };
    wire::Miss { field: field.to_owned(), wanted, found }
}

/// A protocol's name.
pub fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}
