//! A whole object: what it is called, its specs, and what in it says nothing.

use std::collections::BTreeMap;

use super::written::Spec;
use crate::table::{Action, Direction};

/// A CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy as somebody wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Empty: cluster-wide.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// `spec`, then those of `specs`.
    pub specs: Vec<OneSpec>,
    /// Fields that this API does not have: most likely misspelt ones that it does have.
    pub unknown_fields: Box<[UnknownField]>,
}

/// One spec of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneSpec {
    /// "spec", or "specs[0]".
    pub place: String,
    pub spec: Spec,
    pub unread: Unread,
}

/// What of a spec does not have the form of one, so that it is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unread {
    #[default]
    Nothing,
    /// Anything but deny rules.
    Something,
    /// Deny rules may be among it.
    DenyRules,
}

/// A field that says nothing as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Path in the object: `spec.ingress[0].formEndpoints`.
    pub place: String,
    /// Its own name: `formEndpoints`.
    pub name: String,
    pub within: Part,
}

/// Which part of an object a field may have been meant to narrow. Specs are counted from 0, `spec` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object has no spec: it could be that.
    Object,
    /// A spec itself: it could be any of its fields.
    Spec(usize),
    /// The selector of a spec.
    Selector(usize),
    /// `enableDefaultDeny` of a spec.
    DefaultDeny(usize),
    /// A rule of a spec.
    Rule { spec: usize, list: List, rule: usize },
}

/// One of a spec's four lists of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Ingress,
    IngressDeny,
    Egress,
    EgressDeny,
}

impl List {
    pub const ALL: [Self; 4] = [Self::Ingress, Self::IngressDeny, Self::Egress, Self::EgressDeny];

    /// The field's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::IngressDeny => "ingressDeny",
            Self::Egress => "egress",
            Self::EgressDeny => "egressDeny",
        }
    }

    pub fn direction(self) -> Direction {
        match self {
            Self::Ingress | Self::IngressDeny => Direction::Ingress,
            Self::Egress | Self::EgressDeny => Direction::Egress,
        }
    }

    pub fn action(self) -> Action {
        match self {
            Self::Ingress | Self::Egress => Action::Allow,
            Self::IngressDeny | Self::EgressDeny => Action::Deny,
        }
    }
}

impl Object {
    /// "CiliumNetworkPolicy" or "CiliumClusterwideNetworkPolicy".
    pub fn kind(&self) -> &'static str {
        match self.namespace.is_empty() {
            true => "CiliumClusterwideNetworkPolicy",
            false => "CiliumNetworkPolicy",
        }
    }
}
