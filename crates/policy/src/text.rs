//! Selectors and rules in words: `app=web,tier in (a,b),!canary`; `from pods app=web in live, port 8080/TCP`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::policy::{IpBlock, Namespaces, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule};
use crate::selector::{Requirement, Selector};
use crate::table::Direction;

/// Peers or ports of a rule that are spelled out; the others are counted.
const SPELLED_OUT: usize = 8;

/// As `kubectl get -l` takes it; a selector of everything is empty.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, ",", &self.requirements)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In { key, values } if values.len() == 1 => write!(f, "{key}={}", Values(values)),
            Self::In { key, values } => write!(f, "{key} in ({})", Values(values)),
            Self::NotIn { key, values } if values.len() == 1 => write!(f, "{key}!={}", Values(values)),
            Self::NotIn { key, values } => write!(f, "{key} notin ({})", Values(values)),
            Self::Exists { key } => f.write_str(key),
            Self::DoesNotExist { key } => write!(f, "!{key}"),
        }
    }
}

struct Values<'a>(&'a BTreeSet<Arc<str>>);

impl fmt::Display for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, ",", self.0)
    }
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    separator: &str,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no label selector: write for example app=web,tier in (a,b),env!=test,!canary")]
pub struct NoSelector(String);

/// Reads what `kubectl get -l` takes: `key=value`, `key==value`, `key!=value`, `key in (a,b)`,
/// `key notin (a,b)`, `key` and `!key`, with commas between them.
impl FromStr for Selector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            // Commas inside of brackets separate values.
            let mut inside = false;
            let end = rest.find(|c| {
                inside = (inside || c == '(') && c != ')';
                c == ',' && !inside
            });
            let (part, after) = end.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
            requirements.push(requirement(part.trim()).ok_or_else(|| NoSelector(text.to_owned()))?);
            if end.is_some() && after.trim().is_empty() {
                return Err(NoSelector(text.to_owned()));
            }
            rest = after.trim();
        }
        requirements.sort_unstable();
        requirements.dedup();
        Ok(Self { requirements })
    }
}

fn requirement(text: &str) -> Option<Requirement> {
    let word = |word: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        word.chars().all(allowed).then(|| Arc::<str>::from(word))
    };
    let key = |text: &str| word(text.trim()).filter(|key| !key.is_empty());
    let one = |value: &str| Some([word(value.trim())?].into());
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn { key: key(name)?, values: one(value)? });
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In { key: key(name)?, values: one(value)? });
    }
    if let Some(name) = text.strip_prefix('!') {
        return Some(Requirement::DoesNotExist { key: key(name)? });
    }
    let Some((head, values)) = text.split_once('(') else {
        return Some(Requirement::Exists { key: key(text)? });
    };
    let values = values.strip_suffix(')')?.split(',').map(|value| word(value.trim()));
    let values = values.collect::<Option<BTreeSet<Arc<str>>>>()?;
    let (name, operator) = head.trim().rsplit_once(char::is_whitespace)?;
    match operator {
        "in" => Some(Requirement::In { key: key(name)?, values }),
        "notin" => Some(Requirement::NotIn { key: key(name)?, values }),
        _ => None,
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// `8080/TCP`, `8000-8100/UDP`, `http/TCP`, `any/TCP`.
impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { protocol } => write!(f, "any/{protocol}"),
            Self::Range { protocol, first, last } if first == last => write!(f, "{first}/{protocol}"),
            Self::Range { protocol, first, last } => write!(f, "{first}-{last}/{protocol}"),
            Self::Named { protocol, name } => write!(f, "{name}/{protocol}"),
        }
    }
}

/// `10.0.0.0/8`, `10.0.0.0/8 except 10.1.0.0/16`.
impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cidr)?;
        if !self.except.is_empty() {
            f.write_str(" except ")?;
            list(f, ",", &self.except)?;
        }
        Ok(())
    }
}

/// A peer, as its policy means it.
pub(crate) fn peer(policy: &Policy, peer: &Peer) -> String {
    match peer {
        Peer::Block(block) => block.to_string(),
        Peer::Pods { namespaces, pods } => {
            let who =
                if pods.requirements.is_empty() { "all pods".to_owned() } else { format!("pods {pods}") };
            match namespaces {
                Namespaces::Own => format!("{who} in {}", policy.meta.namespace),
                Namespaces::Matching(all) if all.requirements.is_empty() => {
                    format!("{who} in all namespaces")
                }
                Namespaces::Matching(selector) => format!("{who} in namespaces {selector}"),
            }
        }
    }
}

/// What a rule matches, in words.
pub fn rule(policy: &Policy, direction: Direction, rule: &Rule) -> String {
    let Rule::Allow { peers, ports } = rule else {
        return "could not be understood, and matches nothing".to_owned();
    };
    let side = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peers = match peers {
        Peers::Any => "anybody".to_owned(),
        Peers::Of(peers) => some(peers.iter().map(|each| peer(policy, each)), " or "),
    };
    let ports = match ports {
        Ports::Any => "any port".to_owned(),
        Ports::Of(ports) => format!("port {}", some(ports.iter().map(ToString::to_string), " or ")),
    };
    format!("{side} {peers}, {ports}")
}

fn some(texts: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let more = texts.len().saturating_sub(SPELLED_OUT);
    let mut parts: Vec<String> = texts.take(SPELLED_OUT).collect();
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    parts.join(separator)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn selectors_read_as_kubectl_takes_them() {
        let values = |values: &[&str]| values.iter().map(|value| Arc::from(*value)).collect();
        let key = || Arc::from("app");
        let requirements = vec![
            Requirement::In { key: key(), values: values(&["web"]) },
            Requirement::In { key: key(), values: values(&["web", "db"]) },
            Requirement::NotIn { key: key(), values: values(&["web"]) },
            Requirement::NotIn { key: key(), values: values(&["web", "db"]) },
            Requirement::Exists { key: key() },
            Requirement::DoesNotExist { key: key() },
        ];
        let text = Selector { requirements }.to_string();
        assert_eq!(text, "app=web,app in (db,web),app!=web,app notin (db,web),app,!app");
        assert_eq!(Selector::default().to_string(), "");
        assert_eq!(" app == web , tier  in ( a , b )".parse(), "tier in (a,b),app=web".parse::<Selector>());
        for nonsense in
            ["=web", "app=web,", "app in a", "app within (a)", "app in (a", "a b", "!", "app=web\n="]
        {
            assert!(nonsense.parse::<Selector>().is_err(), "{nonsense}");
        }
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        let word = || "[a-z0-9][-_./a-z0-9]{0,6}".prop_map(Arc::<str>::from);
        (word(), proptest::collection::btree_set(word(), 1..3), 0..4).prop_map(|(key, values, kind)| {
            match kind {
                0 => Requirement::In { key, values },
                1 => Requirement::NotIn { key, values },
                2 => Requirement::Exists { key },
                _ => Requirement::DoesNotExist { key },
            }
        })
    }

    proptest! {
        #[test]
        fn a_selector_survives_the_way_through_its_text(
            requirements in proptest::collection::btree_set(requirement(), 0..4)
        ) {
            let selector = Selector { requirements: requirements.into_iter().collect() };
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }

        #[test]
        fn any_text_is_a_selector_or_an_error(text in "\\PC{0,40}") {
            let _ = text.parse::<Selector>();
        }
    }
}
