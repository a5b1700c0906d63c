//! From what was written to what it means, one policy for each spec.

use std::sync::Arc;

use super::is_nearly;
use super::labels::Scope;
use super::object::{List, Object, Part, UnknownField, Unread};
use super::rule::{self, rules_of};
use super::written::Spec;
use crate::policy::{Both, Peers, Policy, PolicyMeta, Ports, Rule, Subject};
use crate::problem::{Effect, Fault, Problem};
use crate::selector::Selector;
use crate::table::{Action, Direction};

impl Policy {
    /// Reads an object; one policy for each of its specs. Nothing fails: what cannot be understood or enforced
    /// is in [`Policy::problems`], and no policy allows more than it says:
    ///
    /// * an allow rule with any fault allows nothing, and its direction is still denied by default;
    /// * a deny rule denies whatever the part with the fault might have named;
    /// * a requirement (`fromRequires`) with a fault is one that no endpoint fulfils;
    /// * a selector with a fault restricts every pod that its other requirements select, and then no rule
    ///   allows anything;
    /// * a field that does not exist counts as a fault of the part it is in. In a spec itself it may be any
    ///   field: both directions are denied by default and no rule allows anything; if it may have been one of
    ///   the deny lists, everything is denied.
    pub fn parse_cilium(object: &Object) -> Vec<Self> {
        let text = |text: &String| Arc::<str>::from(text.as_str());
        let meta = Arc::new(PolicyMeta {
            kind: object.kind().into(),
            namespace: text(&object.namespace),
            name: text(&object.name),
            uid: text(&object.uid),
            labels: object.labels.iter().map(|(key, value)| (text(key), text(value))).collect(),
            edited: None,
        });
        let mut policies: Vec<Self> = Vec::new();
        let mut numbered = Both { ingress: 0, egress: 0 };
        for (number, written) in object.specs.iter().enumerate() {
            let place = written.place.as_str();
            let mut reading = Reading { object, meta: &meta, place, number, problems: Vec::new() };
            let mut policy = reading.spec(&written.spec, written.unread);
            policy.first_rule = numbered;
            for direction in Direction::BOTH {
                *numbered.of_mut(direction) += policy.rules(direction).map_or(0, <[Rule]>::len) as u32;
            }
            policies.push(policy);
        }
        if policies.is_empty() {
            policies.push(without_spec(object, meta));
        }
        policies
    }
}

/// An object without any spec: nothing, unless something in it may have been one.
fn without_spec(object: &Object, meta: Arc<PolicyMeta>) -> Policy {
    let in_doubt = object.unknown_fields.iter().any(|field| field.within == Part::Object);
    let mut problems: Vec<Problem> = Vec::new();
    for field in &object.unknown_fields {
        problems.push(Problem {
            policy: meta.clone(),
            place: field.place.clone(),
            fault: Fault::UnknownField,
            effect: Effect::PolicyAllowsNothing,
        });
    }
    if problems.is_empty() {
        let (place, effect) = ("spec".to_owned(), Effect::RulesIgnored);
        problems.push(Problem { policy: meta.clone(), place, fault: Fault::NoSpec, effect });
    }
    let scope = Scope::new(&object.namespace);
    let subject = match in_doubt {
        true => Subject::Endpoints(scope.subject(&Default::default()).0),
        false => Subject::Nobody,
    };
    let closed = || in_doubt.then(Vec::new);
    Policy { subject, ingress: closed(), egress: closed(), problems, ..Policy::empty(meta) }
}

struct Reading<'a> {
    object: &'a Object,
    meta: &'a Arc<PolicyMeta>,
    /// "spec", or "specs[0]".
    place: &'a str,
    number: usize,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn report(&mut self, below: &str, fault: Fault, effect: Effect) {
        let place = format!("{}{below}", self.place);
        self.problems.push(Problem { policy: self.meta.clone(), place, fault, effect });
    }

    fn unknown(&self, within: Part) -> impl Iterator<Item = &UnknownField> + '_ {
        self.object.unknown_fields.iter().filter(move |field| field.within == within)
    }

    fn spec(&mut self, spec: &Spec, unread: Unread) -> Policy {
        let scope = Scope::new(&self.object.namespace);
        let number = self.number;
        let (subject, mut allows_nothing) = self.subject(spec, &scope);
        allows_nothing |= self.unknown(Part::Selector(number)).next().is_some();
        let in_spec: Vec<UnknownField> = self.unknown(Part::Spec(number)).cloned().collect();
        let closed = !in_spec.is_empty() || unread != Unread::Nothing;
        allows_nothing |= closed;
        let denies_all = unread == Unread::DenyRules
            || in_spec.iter().any(|field| is_nearly(&field.name, &["ingressDeny", "egressDeny"]));
        for field in self.object.unknown_fields.iter() {
            let effect = match field.within {
                Part::Spec(at) if at == number && denies_all => Effect::EverythingDenied,
                Part::Spec(at) | Part::Selector(at) if at == number => Effect::PolicyAllowsNothing,
                Part::DefaultDeny(at) if at == number => Effect::DeniedByDefault,
                Part::Rule { spec, list, .. } if spec == number => of_a_fault(list),
                _ => continue,
            };
            let (policy, place) = (self.meta.clone(), field.place.clone());
            self.problems.push(Problem { policy, place, fault: Fault::UnknownField, effect });
        }

        let mut policy = Policy { subject, ..Policy::empty(self.meta.clone()) };
        for list in List::ALL {
            self.list(spec, list, &scope, allows_nothing, &mut policy);
        }
        let switches = spec.enable_default_deny.clone().unwrap_or_default();
        let misspelt = self.unknown(Part::DefaultDeny(number)).next().is_some();
        for (direction, written) in
            [(Direction::Ingress, switches.ingress), (Direction::Egress, switches.egress)]
        {
            let rules = policy.rules_mut(direction);
            if denies_all {
                rules.get_or_insert_default().push(Rule::Deny { peers: Peers::Any, ports: Ports::Any });
            } else if closed || written == Some(true) {
                rules.get_or_insert_default();
            }
            *policy.open.of_mut(direction) = written == Some(false) && !closed && !misspelt;
        }
        if policy.ingress.is_none() && policy.egress.is_none() && policy.subject != Subject::Nobody {
            self.report("", Fault::NoRules, Effect::RulesIgnored);
        }
        policy.problems = std::mem::take(&mut self.problems);
        policy
    }

    /// Whom the spec is for, and whether that leaves doubts.
    fn subject(&mut self, spec: &Spec, scope: &Scope) -> (Subject, bool) {
        let nothing = Effect::PolicyAllowsNothing;
        let written = match (&spec.endpoint_selector, &spec.node_selector) {
            (Some(written), None) => written.clone(),
            (None, Some(_)) => {
                self.report(".nodeSelector", Fault::NotEnforced("nodeSelector"), Effect::NobodyRestricted);
                return (Subject::Nobody, true);
            }
            (written, both) => {
                let fault = if both.is_some() { Fault::BothSelectors } else { Fault::NoSelector };
                self.report("", fault, nothing);
                let subject = scope.subject(&written.clone().unwrap_or_default()).0;
                return (Subject::Endpoints(subject), true);
            }
        };
        let (selector, faults) = scope.subject(&written);
        let doubtful = !faults.is_empty();
        for (place, fault) in faults {
            self.report(&format!(".endpointSelector{place}"), fault, nothing);
        }
        (Subject::Endpoints(selector), doubtful)
    }

    fn list(&mut self, spec: &Spec, list: List, scope: &Scope, allows_nothing: bool, policy: &mut Policy) {
        let direction = list.direction();
        for (index, written) in rules_of(spec, list).into_iter().enumerate() {
            let read = rule::read(&written, scope);
            for (place, fault) in read.faults {
                self.report(&format!(".{}[{index}]{place}", list.name()), fault, of_a_fault(list));
            }
            let part = Part::Rule { spec: self.number, list, rule: index };
            let unknown: Vec<&UnknownField> = self.unknown(part).collect();
            let requires = policy.requires.of_mut(direction);
            let requires =
                if list.action() == Action::Allow { &mut requires.allow } else { &mut requires.deny };
            let lost = unknown.iter().any(|field| is_nearly(&field.name, &["fromRequires", "toRequires"]));
            match read.requires {
                Some(found) => requires.extend(found),
                None if list.action() == Action::Allow => requires.push(Selector::nothing()),
                None => {}
            }
            if lost && list.action() == Action::Allow {
                requires.push(Selector::nothing());
            }
            let rule = match (list.action(), read.peers, read.ports) {
                (Action::Deny, _, _) if !unknown.is_empty() => {
                    Rule::Deny { peers: Peers::Any, ports: Ports::Any }
                }
                (Action::Deny, peers, ports) => {
                    Rule::Deny { peers: peers.unwrap_or(Peers::Any), ports: ports.unwrap_or(Ports::Any) }
                }
                (Action::Allow, Some(peers), Some(ports)) if unknown.is_empty() && !allows_nothing => {
                    Rule::Allow { peers, ports }
                }
                (Action::Allow, ..) => Rule::Broken,
            };
            policy.rules_mut(direction).get_or_insert_default().push(rule);
        }
    }
}

/// What a fault in a rule of this list makes of the rule.
fn of_a_fault(list: List) -> Effect {
    match list.action() {
        Action::Allow => Effect::RuleAllowsNothing,
        Action::Deny => Effect::RuleDeniesMore,
    }
}
