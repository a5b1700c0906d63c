//! A spec that contradicts itself is refused before anything is made.

use std::collections::BTreeSet;

use super::{Datapath, Spec, Wiring};
use crate::layout::LabName;

/// Why a spec can't become a lab.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    #[error("not a lab spec: {0}")]
    Unreadable(String),
    #[error(
        "{what} name {name:?}: lower-case letters, digits and '-' only, 1 to {longest} of them, starting with a letter or digit"
    )]
    Name { what: &'static str, name: String, longest: usize },
    #[error("{0:?} is a place of the lab itself and can't be a node's name")]
    Reserved(String),
    #[error("{what} {name} appears twice")]
    Twice { what: &'static str, name: String },
    #[error("pod {pod} is on node {node}, which does not exist")]
    NoSuchNode { pod: String, node: String },
    #[error("datapath none wires pods by fathom-cni: leave wiring out")]
    NobodyAttaches,
    #[error("a lab has 1 to 100 nodes, not {0}")]
    NodeCount(usize),
}

/// Places that are no nodes.
pub const RESERVED: [&str; 3] = ["underlay", "internet", "control"];

impl Spec {
    /// Checks names and references.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), SpecError> {
        LabName::new(&self.name)?;
        if !(1..=100).contains(&self.nodes.len()) {
            return Err(SpecError::NodeCount(self.nodes.len()));
        }
        if self.datapath == Datapath::None && self.wiring != Wiring::Fathom {
            return Err(SpecError::NobodyAttaches);
        }
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            name("node", &node.name, 24)?;
            if RESERVED.contains(&node.name.as_str()) {
                return Err(SpecError::Reserved(node.name.clone()));
            }
            once(&mut seen, "node", node.name.clone())?;
        }
        for namespace in &self.namespaces {
            name("namespace", &namespace.name, 63)?;
            once(&mut seen, "namespace", namespace.name.clone())?;
        }
        for pod in &self.pods {
            name("pod", &pod.name, 63)?;
            name("namespace", &pod.namespace, 63)?;
            once(&mut seen, "pod", pod.key())?;
            if self.node(&pod.node).is_none() {
                return Err(SpecError::NoSuchNode { pod: pod.key(), node: pod.node.clone() });
            }
        }
        for service in &self.services {
            name("service", &service.name, 63)?;
            once(&mut seen, "service", format!("{}/{}", service.namespace, service.name))?;
        }
        Ok(())
    }
}

pub(crate) fn name(what: &'static str, name: &str, longest: usize) -> Result<(), SpecError> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = name.bytes();
    let fine = name.len() <= longest && bytes.next().is_some_and(good) && bytes.all(|b| good(b) || b == b'-');
    if fine { Ok(()) } else { Err(SpecError::Name { what, name: name.to_owned(), longest }) }
}

fn once(
    seen: &mut BTreeSet<(&'static str, String)>,
    what: &'static str,
    name: String,
) -> Result<(), SpecError> {
    if seen.insert((what, name.clone())) { Ok(()) } else { Err(SpecError::Twice { what, name }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PodSpec;

    #[test]
    fn contradictions_are_named() {
        let good = Spec::new("x", 2).pod(PodSpec::new("web", "node-a"));
        assert_eq!(good.check(), Ok(()));
        let cases = [
            (Spec::new("a/b", 1), "lab name \"a/b\""),
            (Spec::new("x", 0), "not 0"),
            (good.clone().datapath(Datapath::None).wiring(Wiring::Ptp), "leave wiring out"),
            (good.clone().pod(PodSpec::new("web", "node-b")), "default/web appears twice"),
            (good.clone().pod(PodSpec::new("db", "node-c")), "node node-c, which does not exist"),
        ];
        for (spec, word) in cases {
            let text = spec.check().unwrap_err().to_string();
            assert!(text.contains(word), "expected {word:?} in {text:?}");
        }
    }

    #[test]
    fn a_spec_is_the_same_after_a_trip_through_yaml() {
        let spec = Spec::new("x", 2).namespace("stream", &[("team", "chat")]).with_relay().pod(
            PodSpec::new("web", "node-a")
                .namespace("stream")
                .label("app", "web")
                .run(&["tcp-echo", "--listen", "[::]:7"]),
        );
        let text = serde_saphyr::to_string(&spec).unwrap();
        assert_eq!(Spec::from_yaml(&text).unwrap(), spec, "{text}");
        assert!(
            Spec::from_yaml("name: x\nnodes: [{name: a}]\npodz: []")
                .unwrap_err()
                .to_string()
                .contains("podz")
        );
    }
}
