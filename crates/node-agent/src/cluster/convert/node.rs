//! Nodes and namespaces.

use k8s_openapi::api::core::v1 as core;

use super::{ConvertError, field};
use crate::cluster::model::{Namespace, Node};

/// A Node as the agent needs it.
///
/// # Errors
/// An InternalIP or pod prefix that cannot be read.
pub fn node(object: core::Node) -> Result<Node, ConvertError> {
    let name = super::name_of(&object.metadata)?;
    let status = object.status.unwrap_or_default();
    let mut internal_ips = Vec::new();
    for (i, address) in status.addresses.iter().flatten().enumerate() {
        if address.type_ == "InternalIP" {
            internal_ips.push(field::address(format!("status.addresses[{i}].address"), &address.address)?);
        }
    }
    let spec = object.spec.unwrap_or_default();
    let mut pod_cidrs = Vec::new();
    for cidr in spec.pod_cidrs.iter().flatten().chain(spec.pod_cidr.iter()) {
        let cidr = field::prefix("spec.podCIDRs", cidr)?;
        if !pod_cidrs.contains(&cidr) {
            pod_cidrs.push(cidr);
        }
    }
    Ok(Node { name, labels: object.metadata.labels.unwrap_or_default(), internal_ips, pod_cidrs })
}

/// A Namespace as the agent needs it.
///
/// # Errors
/// It has no name.
pub fn namespace(object: core::Namespace) -> Result<Namespace, ConvertError> {
    let name = super::name_of(&object.metadata)?;
    Ok(Namespace { name, labels: object.metadata.labels.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_internal_addresses_count_and_both_spellings_of_the_pod_prefix_are_read() {
        let node = node(
            serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" },
                "spec": { "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"] },
                "status": { "addresses": [
                    { "type": "Hostname", "address": "n1" },
                    { "type": "InternalIP", "address": "192.168.0.1" },
                    { "type": "ExternalIP", "address": "203.0.113.1" },
                ] },
            }))
            .unwrap(),
        )
        .unwrap();
        assert_eq!(node.internal_ips, ["192.168.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(node.pod_cidrs.len(), 2);
    }
}
