//! A CiliumNetworkPolicy as somebody wrote it: the fields of `cilium.io/v2`, nothing checked.
//!
//! A list that is missing and one that is empty mean different things in this API, so lists are optional.
//! What is read only to be refused by name is kept as it came. With the feature `schema` the types describe
//! themselves, for the definitions in `manifests/cilium-crds`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use super::schema;

/// One `spec`, or one of `specs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Which pods the rules are for. In a namespaced policy they are pods of its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_selector: Option<LabelSelector>,
    /// Which nodes the rules are for. Not enforced by Fathom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Who may connect to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub ingress: Option<Vec<IngressRule>>,
    /// Who may not connect to the pods, whatever other rules say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub ingress_deny: Option<Vec<IngressRule>>,
    /// Whom the pods may connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub egress: Option<Vec<EgressRule>>,
    /// Whom the pods may not connect to, whatever other rules say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub egress_deny: Option<Vec<EgressRule>>,
    /// Whether what no rule allows is denied. A direction with rules denies by default, unless this says no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_default_deny: Option<DefaultDeny>,
    /// Labels of the rules, for those who look them up. They select nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub labels: Option<Vec<RuleLabel>>,
    /// What the author wants said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 4096)))]
    pub description: Option<String>,
    /// What Cilium's proxy writes into its log. It allows and denies nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub log: Option<Value>,
}

/// `enableDefaultDeny`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DefaultDeny {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
}

/// A label of the rules themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleLabel {
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub value: Option<String>,
}

/// `LabelSelector`, whose keys may begin with a source: `k8s:app`, `any:app`, `reserved:host`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with their values. All must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on labels. All must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub match_expressions: Option<Vec<Expression>>,
}

/// `LabelSelectorRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Expression {
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 400)))]
    pub key: String,
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"])))]
    pub operator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000), inner(length(max = 63))))]
    pub values: Option<Vec<String>>,
}

/// A rule of `ingress` or `ingressDeny`. One without peers, ports and icmps says nothing about anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IngressRule {
    /// Endpoints by their labels; of the policy's namespace unless another is named. An empty list: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub from_endpoints: Option<Vec<LabelSelector>>,
    /// What endpoints must be besides, for every rule with fromEndpoints that is for the same pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub from_requires: Option<Vec<LabelSelector>>,
    /// Addresses outside of the cluster.
    #[serde(default, rename = "fromCIDR", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 5000), inner(length(min = 1, max = 64))))]
    pub from_cidr: Option<Vec<String>>,
    /// Addresses outside of the cluster, with exceptions.
    #[serde(default, rename = "fromCIDRSet", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 5000)))]
    pub from_cidr_set: Option<Vec<CidrRule>>,
    /// Who has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::entities"))]
    pub from_entities: Option<Vec<String>>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub from_groups: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub from_nodes: Option<Value>,
    /// Ports of the pods. Missing: every port and protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub to_ports: Option<Vec<PortRule>>,
    /// Kinds of ICMP messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub icmps: Option<Vec<IcmpRule>>,
    /// Not enforced by Fathom but in mode "disabled": the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub authentication: Option<Value>,
}

/// A rule of `egress` or `egressDeny`. One without peers, ports and icmps says nothing about anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// Endpoints by their labels; of the policy's namespace unless another is named. An empty list: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub to_endpoints: Option<Vec<LabelSelector>>,
    /// What endpoints must be besides, for every rule with toEndpoints that is for the same pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub to_requires: Option<Vec<LabelSelector>>,
    /// Addresses outside of the cluster.
    #[serde(default, rename = "toCIDR", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 5000), inner(length(min = 1, max = 64))))]
    pub to_cidr: Option<Vec<String>>,
    /// Addresses outside of the cluster, with exceptions.
    #[serde(default, rename = "toCIDRSet", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 5000)))]
    pub to_cidr_set: Option<Vec<CidrRule>>,
    /// Who has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::entities"))]
    pub to_entities: Option<Vec<String>>,
    /// Who stands behind Kubernetes services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub to_services: Option<Vec<ServiceRule>>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, rename = "toFQDNs", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub to_fqdns: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub to_groups: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub to_nodes: Option<Value>,
    /// Ports of the other side. Missing: every port and protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000)))]
    pub to_ports: Option<Vec<PortRule>>,
    /// Kinds of ICMP messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub icmps: Option<Vec<IcmpRule>>,
    /// Not enforced by Fathom but in mode "disabled": the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub authentication: Option<Value>,
}

/// A prefix without some of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CidrRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub cidr: Option<String>,
    /// Prefixes inside that are not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1000), inner(length(min = 1, max = 64))))]
    pub except: Option<Vec<String>>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub cidr_group_ref: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub cidr_group_selector: Option<Value>,
}

/// One service by its name, or services by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s_service: Option<NamedService>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s_service_selector: Option<ServiceSelector>,
}

/// `k8sService`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NamedService {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub service_name: Option<String>,
    /// The policy's own unless it says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub namespace: Option<String>,
}

/// `k8sServiceSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceSelector {
    pub selector: LabelSelector,
    /// The policy's own unless it says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub namespace: Option<String>,
}

/// One of `toPorts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PortRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub ports: Option<Vec<PortProtocol>>,
    /// What messages may say (http, kafka, dns, l7). Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub rules: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, rename = "terminatingTLS", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub terminating_tls: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, rename = "originatingTLS", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub originating_tls: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub server_names: Option<Value>,
    /// Not enforced by Fathom: the rule allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::anything"))]
    pub listener: Option<Value>,
}

/// One of `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PortProtocol {
    /// A number, a name, or "0" for every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::port"))]
    pub port: Option<Text>,
    /// The last port of a range that begins with port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 65535)))]
    pub end_port: Option<i64>,
    /// Any of TCP, UDP and SCTP when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["TCP", "UDP", "SCTP", "ANY"])))]
    pub protocol: Option<String>,
}

/// One of `icmps`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IcmpRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub fields: Option<Vec<IcmpField>>,
}

/// One of `fields`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IcmpField {
    /// IPv4 when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["IPv4", "IPv6"])))]
    pub family: Option<String>,
    /// A number from 0 to 255, or a name such as EchoRequest.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::icmp_type"))]
    pub kind: Text,
}

/// A text that may be written as a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
