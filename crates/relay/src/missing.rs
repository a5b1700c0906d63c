//! Nodes that an answer is without, for clients of calls that have no room for it in their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Key of the metadata; one value a node, `name: why`.
pub const KEY: &str = "fathom-nodes-missing";
/// Nodes named, at most: headers have a limit of 16 KiB with most clients.
const NAMED: usize = 40;
/// Characters of each value, at most.
const LENGTH: usize = 200;

/// Which nodes did not answer, and why.
#[derive(Debug, Default)]
pub struct Missing(BTreeMap<Arc<str>, Status>);

impl Missing {
    /// A node did not answer.
    pub fn add(&mut self, node: &Arc<str>, why: Status) {
        self.0.insert(node.clone(), why);
    }

    /// A node answers after all.
    pub fn remove(&mut self, node: &str) {
        self.0.remove(node);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names the nodes.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let named = self.0.iter().take(NAMED).map(|(name, why)| format!("{name}: {}", why.message()));
        let more = self.0.len().saturating_sub(NAMED);
        for text in named.chain((more > 0).then(|| format!("and {more} more: see the list of nodes"))) {
            // What headers can't hold is no part of a name, and of little use in a reason.
            let plain = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
            let text: String = text.chars().take(LENGTH).map(plain).collect();
            if let Ok(value) = MetadataValue::try_from(text) {
                metadata.append(KEY, value);
            }
        }
    }

    /// The answer of a cluster in which nobody answered.
    pub fn status(&self) -> Status {
        let mut codes = self.0.values().map(Status::code);
        let first = codes.next().unwrap_or(Code::Unavailable);
        let code = if codes.all(|code| code == first) { first } else { Code::Unavailable };
        let mut status = match self.0.iter().next() {
            None => Status::unavailable("the relay has no nodes"),
            Some((name, why)) => {
                let others = match self.0.len() - 1 {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                Status::new(code, format!("no node answered: {name}: {}{others}", why.message()))
            }
        };
        self.write(status.metadata_mut());
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_named_with_its_reason_in_what_a_header_can_hold() {
        let mut missing = Missing::default();
        missing.add(&"b".into(), Status::unavailable("refused\n\u{1b}[2J"));
        missing.add(&"a".into(), Status::unavailable("x".repeat(500)));
        let mut metadata = MetadataMap::new();
        missing.write(&mut metadata);
        let values: Vec<_> = metadata.get_all(KEY).iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(values.len(), 2);
        assert_eq!((values[0].len(), values[1]), (LENGTH, "b: refused??[2J"));
    }

    #[test]
    fn when_nobody_answered_the_common_reason_is_the_answer() {
        assert_eq!(Missing::default().status().message(), "the relay has no nodes");
        let mut missing = Missing::default();
        missing.add(&"a".into(), Status::unimplemented("no such thing"));
        missing.add(&"b".into(), Status::unimplemented("no such thing"));
        assert_eq!(missing.status().code(), Code::Unimplemented);
        assert_eq!(missing.status().message(), "no node answered: a: no such thing (and 1 more)");
        missing.add(&"c".into(), Status::deadline_exceeded("late"));
        assert_eq!(missing.status().code(), Code::Unavailable);
    }
}
