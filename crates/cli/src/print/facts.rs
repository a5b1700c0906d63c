//! What Fathom knows about a flow beyond the public message, for `--facts`.

use std::time::Duration;

use fathom_api::fathom_v1::{ConntrackState, Direction, FlowFacts, RuleRef, Trigger};

use super::message;
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::{counted, grouped};

/// Each fact that is known, under its name, but for those that every summary tells.
pub(super) fn named(facts: &FlowFacts) -> Vec<(&'static str, String)> {
    let mut named = Vec::new();
    if facts.rule_id != 0 {
        let places: Vec<String> = facts.rules.iter().map(place).collect();
        let gap = if places.is_empty() { "" } else { " " };
        named.push(("rule", format!("{}{gap}{}", facts.rule_id, places.join(", "))));
    }
    if facts.packets != 0 {
        named.push((
            "traffic",
            format!("{}, {}", counted(facts.packets, "packet"), counted(facts.bytes, "byte")),
        ));
    }
    if facts.handshake_ns != 0 {
        named.push(("handshake", format!("{:.1?}", Duration::from_nanos(facts.handshake_ns))));
    }
    if !facts.frontend.is_empty() {
        named.push(("frontend", Escaped(&facts.frontend).to_string()));
    }
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
    match ConntrackState::try_from(facts.conntrack_state) {
        Ok(ConntrackState::Unspecified) => {}
        Ok(state) => named.push(("conntrack", word(state.as_str_name(), "CONNTRACK_STATE_"))),
        Err(_) => named.push(("conntrack", facts.conntrack_state.to_string())),
    }
    match Trigger::try_from(facts.trigger) {
        Ok(Trigger::Unspecified) => {}
        Ok(trigger) => named.push(("trigger", word(trigger.as_str_name(), "TRIGGER_"))),
        Err(_) => named.push(("trigger", facts.trigger.to_string())),
    }
    named.extend(facts.l7.iter().flat_map(message::facts));
    if facts.seq != 0 {
        named.push(("record", format!("{} of CPU {}", grouped(facts.seq.into()), facts.cpu)));
    }
    named
}

/// `shop/web ingress[0]`; without an index where no rule matched and the policy's selecting the pod decided.
pub fn place(rule: &RuleRef) -> String {
    let direction = match Direction::try_from(rule.direction) {
        Ok(Direction::Ingress) => " ingress",
        Ok(Direction::Egress) => " egress",
        Ok(Direction::Unspecified) | Err(_) => "",
    };
    let index = rule.index.map_or_else(String::new, |index| format!("[{index}]"));
    format!("{}/{}{direction}{index}", Escaped(&rule.namespace), Escaped(&rule.name))
}
