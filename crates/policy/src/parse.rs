//! From what was written to what it means.

use std::collections::BTreeSet;
use std::sync::Arc;

use fathom_identity::canonical_prefix;
use ipnet::IpNet;

use crate::policy::{IpBlock, Namespaces, Peer, Peers, Policy, PolicyMeta, PortMatch, Ports, Protocol, Rule};
use crate::problem::{Effect, Fault, Problem};
use crate::selector::{Requirement, Selector};
use crate::spec;

/// A fault and its place below the part being read.
type Faults = Vec<(String, Fault)>;

impl Policy {
    /// Reads a policy. Nothing fails: what cannot be understood is in [`Policy::problems`], and the
    /// policy never allows more than its intelligible part says:
    ///
    /// * a rule with any fault allows nothing, and the policy still restricts its pods;
    /// * a podSelector with a fault restricts every pod that its other requirements select, and then no
    ///   rule allows anything;
    /// * an unknown policy type restricts both directions;
    /// * a field that does not exist counts as a fault of the part it is in, because a misspelt `from` or
    ///   `ports` would otherwise read as everybody and everything. In the spec itself it may be any field:
    ///   both directions are restricted and no rule allows anything.
    pub fn parse(written: &spec::NetworkPolicy) -> Self {
        let text = |text: &String| Arc::<str>::from(text.as_str());
        let meta = Arc::new(PolicyMeta {
            kind: "NetworkPolicy".into(),
            namespace: text(&written.namespace),
            name: text(&written.name),
            uid: text(&written.uid),
            labels: written.labels.iter().map(|(key, value)| (text(key), text(value))).collect(),
            edited: None,
        });
        let mut problems = Vec::new();
        let mut report = |place: String, fault, effect| {
            problems.push(Problem { policy: meta.clone(), place, fault, effect });
        };

        let (subject, faults) = selector(&written.pod_selector);
        let in_spec = written.unknown_fields.iter().any(|field| field.within == spec::Part::Spec);
        let in_selector = written.unknown_fields.iter().any(|field| field.within == spec::Part::PodSelector);
        let subject_broken = !faults.is_empty() || in_selector || in_spec;
        for (place, fault) in faults {
            report(format!("spec.podSelector{place}"), fault, Effect::PolicyAllowsNothing);
        }
        for field in &written.unknown_fields {
            let effect = match field.within {
                spec::Part::Spec | spec::Part::PodSelector => Effect::PolicyAllowsNothing,
                spec::Part::Ingress(_) | spec::Part::Egress(_) => Effect::RuleAllowsNothing,
            };
            report(field.place.clone(), Fault::UnknownField, effect);
        }
        let (ingress, egress) = directions(written, &mut report);
        let (ingress, egress) = (ingress || in_spec, egress || in_spec);
        let unknown_in = |part| written.unknown_fields.iter().any(|field| field.within == part);
        let mut rules =
            |name: &'static str, part: fn(usize) -> spec::Part, written: &[spec::Rule], restricted: bool| {
                if !restricted {
                    if !written.is_empty() {
                        let fault = Fault::RulesWithoutType { direction: name };
                        report("spec.policyTypes".to_owned(), fault, Effect::RulesIgnored);
                    }
                    return None;
                }
                let read = written.iter().enumerate().map(|(index, written)| {
                    let (rule, faults) = rule(name, written);
                    for (place, fault) in faults {
                        report(format!("spec.{name}[{index}]{place}"), fault, Effect::RuleAllowsNothing);
                    }
                    if subject_broken || unknown_in(part(index)) { Rule::Broken } else { rule }
                });
                Some(read.collect())
            };
        let ingress = rules("ingress", spec::Part::Ingress, &written.ingress, ingress);
        let egress = rules("egress", spec::Part::Egress, &written.egress, egress);
        Self { meta, subject, ingress, egress, problems }
    }
}

/// Which directions a policy restricts.
fn directions(written: &spec::NetworkPolicy, report: &mut impl FnMut(String, Fault, Effect)) -> (bool, bool) {
    let types = &written.policy_types;
    if types.is_empty() {
        return (true, !written.egress.is_empty());
    }
    let mut understood = true;
    for (index, unknown) in
        types.iter().enumerate().filter(|(_, name)| *name != "Ingress" && *name != "Egress")
    {
        let fault = Fault::UnknownPolicyType(unknown.clone());
        report(format!("spec.policyTypes[{index}]"), fault, Effect::BothDirectionsRestricted);
        understood = false;
    }
    let has = |name: &str| types.iter().any(|written| written == name);
    (has("Ingress") || !understood, has("Egress") || !understood)
}

/// The understood part of a selector, and what is wrong with the rest.
fn selector(written: &spec::LabelSelector) -> (Selector, Faults) {
    let mut faults = Faults::new();
    let mut requirements = Vec::new();
    for (key, value) in &written.match_labels {
        if key.is_empty() {
            faults.push((".matchLabels".to_owned(), Fault::EmptyKey));
            continue;
        }
        requirements
            .push(Requirement::In { key: key.as_str().into(), values: [value.as_str().into()].into() });
    }
    for (index, expression) in written.match_expressions.iter().enumerate() {
        match requirement(expression) {
            Ok(requirement) => requirements.push(requirement),
            Err(fault) => faults.push((format!(".matchExpressions[{index}]"), fault)),
        }
    }
    requirements.sort_unstable();
    requirements.dedup();
    (Selector { requirements }, faults)
}

fn requirement(written: &spec::Expression) -> Result<Requirement, Fault> {
    let spec::Expression { key, operator, values } = written;
    if key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    let key: Arc<str> = key.as_str().into();
    let set: BTreeSet<Arc<str>> = values.iter().map(|value| value.as_str().into()).collect();
    match operator.as_str() {
        "In" | "NotIn" if set.is_empty() => Err(Fault::ValuesMissing(operator.clone())),
        "In" => Ok(Requirement::In { key, values: set }),
        "NotIn" => Ok(Requirement::NotIn { key, values: set }),
        "Exists" | "DoesNotExist" if !set.is_empty() => Err(Fault::ValuesUnexpected(operator.clone())),
        "Exists" => Ok(Requirement::Exists { key }),
        "DoesNotExist" => Ok(Requirement::DoesNotExist { key }),
        _ => Err(Fault::UnknownOperator(operator.clone())),
    }
}

fn rule(direction: &str, written: &spec::Rule) -> (Rule, Faults) {
    let list = if direction == "ingress" { "from" } else { "to" };
    let mut faults = Faults::new();
    let mut peers = Vec::new();
    for (index, written) in written.peers.iter().enumerate() {
        let (peer, found) = peer(written);
        faults.extend(found.into_iter().map(|(place, fault)| (format!(".{list}[{index}]{place}"), fault)));
        peers.extend(peer);
    }
    let mut ports = Vec::new();
    for (index, written) in written.ports.iter().enumerate() {
        match port(written) {
            Ok(port) => ports.push(port),
            Err((field, fault)) => faults.push((format!(".ports[{index}]{field}"), fault)),
        }
    }
    if !faults.is_empty() {
        return (Rule::Broken, faults);
    }
    let peers = if peers.is_empty() { Peers::Any } else { Peers::Of(peers) };
    let ports = if ports.is_empty() { Ports::Any } else { Ports::Of(ports) };
    (Rule::Allow { peers, ports }, faults)
}

fn peer(written: &spec::Peer) -> (Option<Peer>, Faults) {
    let fault = |fault| (None, vec![(String::new(), fault)]);
    match (&written.pod_selector, &written.namespace_selector, &written.ip_block) {
        (None, None, None) => fault(Fault::EmptyPeer),
        (None, None, Some(block)) => match ip_block(block) {
            Ok(block) => (Some(Peer::Block(block)), Faults::new()),
            Err((place, wrong)) => (None, vec![(place, wrong)]),
        },
        (_, _, Some(_)) => fault(Fault::BlockBesideSelector),
        (pods, namespaces, None) => {
            let mut faults = Faults::new();
            let mut read = |name: &str, written: &spec::LabelSelector| {
                let (selector, found) = selector(written);
                faults.extend(found.into_iter().map(|(place, fault)| (format!(".{name}{place}"), fault)));
                selector
            };
            let pods = pods.as_ref().map(|pods| read("podSelector", pods)).unwrap_or_default();
            let namespaces = namespaces.as_ref().map(|namespaces| read("namespaceSelector", namespaces));
            let namespaces = namespaces.map_or(Namespaces::Own, Namespaces::Matching);
            (Some(Peer::Pods { namespaces, pods }), faults)
        }
    }
}

fn ip_block(written: &spec::IpBlock) -> Result<IpBlock, (String, Fault)> {
    let read = |place: String, text: &String| match text.parse::<IpNet>() {
        Ok(prefix) => Ok(canonical_prefix(prefix)),
        Err(_) => Err((place, Fault::InvalidCidr(text.clone()))),
    };
    let cidr = read(".ipBlock.cidr".to_owned(), &written.cidr)?;
    let mut except = Vec::new();
    for (index, text) in written.except.iter().enumerate() {
        let place = format!(".ipBlock.except[{index}]");
        let prefix = read(place.clone(), text)?;
        // The API asks for a strict subset: an exception as large as the block would leave nothing.
        if prefix == cidr || !cidr.contains(&prefix) {
            return Err((place, Fault::ExceptOutside { except: text.clone(), cidr: written.cidr.clone() }));
        }
        except.push(prefix);
    }
    Ok(IpBlock { cidr, except })
}

fn port(written: &spec::Port) -> Result<PortMatch, (&'static str, Fault)> {
    let protocol = match &written.protocol {
        None => Protocol::Tcp,
        Some(name) => {
            Protocol::from_name(name).ok_or_else(|| (".protocol", Fault::UnknownProtocol(name.clone())))?
        }
    };
    match (&written.port, written.end_port) {
        (None, None) => Ok(PortMatch::All { protocol }),
        (None, Some(_)) => Err((".endPort", Fault::EndPortWithoutPort)),
        (Some(spec::PortValue::Name(name)), Some(_)) => {
            Err((".endPort", Fault::EndPortWithName(name.clone())))
        }
        (Some(spec::PortValue::Name(name)), None) if !is_port_name(name) => {
            Err((".port", Fault::InvalidPortName(name.clone())))
        }
        (Some(spec::PortValue::Name(name)), None) => {
            Ok(PortMatch::Named { protocol, name: name.as_str().into() })
        }
        (Some(spec::PortValue::Number(number)), end) => {
            let in_range = |number: i32| u16::try_from(number).ok().filter(|port| *port > 0);
            let first = in_range(*number).ok_or((".port", Fault::PortOutOfRange(*number)))?;
            let end = end.unwrap_or(*number);
            let last = in_range(end).filter(|last| *last >= first);
            let last = last.ok_or((".endPort", Fault::EndPortOutOfRange { first: *number, end }))?;
            Ok(PortMatch::Range { protocol, first, last })
        }
    }
}

/// IANA service name rules (RFC 6335 section 5.1), which Kubernetes applies to port names in lower case.
fn is_port_name(name: &str) -> bool {
    let allowed = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let letter = name.bytes().any(|byte| byte.is_ascii_lowercase());
    let dashes = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
    (1..=15).contains(&name.len()) && allowed && letter && dashes
}
