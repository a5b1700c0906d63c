//! Policy rules in force.

use fathom_api::fathom_v1::{ListRulesResponse, Rule, RuleRef};

use crate::print::rule_place;
use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::grouped;

pub(super) fn table(response: &ListRulesResponse, wide: bool) -> Columns {
    let mut columns = Columns::default();
    columns.row(["ID", "RULE", "DENIED-PACKETS", "DENIED-BYTES"]);
    for rule in &response.rules {
        let denied = [grouped(rule.denied_packets), grouped(rule.denied_bytes)];
        let places: Vec<String> = rule.refs.iter().map(|place| reference(place, rule, wide)).collect();
        let first = match places.first() {
            Some(place) => place.clone(),
            None if rule.default_deny => "default deny".to_owned(),
            None => "(no policy)".to_owned(),
        };
        columns.row([rule.id.to_string(), first].into_iter().chain(denied));
        // Several rules may make the same table entry.
        for place in places.iter().skip(1) {
            columns.row([String::new(), place.clone()]);
        }
    }
    columns
}

/// `shop/allow-web ingress[0]`, `default deny by shop/allow-web ingress`.
fn reference(place: &RuleRef, rule: &Rule, wide: bool) -> String {
    let kind = if wide { format!("{} ", Escaped(&place.kind)) } else { String::new() };
    let by = if rule.default_deny { "default deny by " } else { "" };
    format!("{by}{kind}{}", rule_place(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_api::fathom_v1::Direction;

    #[test]
    fn rules_name_their_places_and_what_they_denied() {
        let place = |name: &str, index| RuleRef {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: name.into(),
            direction: Direction::Ingress as i32,
            index,
        };
        let response = ListRulesResponse {
            rules: vec![
                Rule {
                    id: 7,
                    refs: vec![place("web", Some(0)), place("all", Some(2))],
                    ..Default::default()
                },
                Rule {
                    id: 9,
                    refs: vec![place("web", None)],
                    default_deny: true,
                    denied_packets: 1_234,
                    denied_bytes: 5,
                },
            ],
        };
        let mut out = Vec::new();
        table(&response, false).write(&mut out, "").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
ID   RULE                               DENIED-PACKETS   DENIED-BYTES
7    shop/web ingress[0]                0                0
     shop/all ingress[2]
9    default deny by shop/web ingress   1,234            5
"
        );
    }
}
