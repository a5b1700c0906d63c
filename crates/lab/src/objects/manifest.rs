//! Namespace, Node, Pod and Service as the API server would show them.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::spec::{NamespaceSpec, NodeSpec, PodSpec, ServiceSpec};

/// A Namespace; the name is a label too, as admission makes it.
pub fn namespace(spec: &NamespaceSpec) -> Value {
    let mut labels = spec.labels.clone();
    labels.insert("kubernetes.io/metadata.name".into(), spec.name.clone());
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": spec.name, "labels": labels } })
}

/// A Node with its pod prefixes and addresses.
pub fn node(spec: &NodeSpec, pod_cidrs: &[String], addresses: &[IpAddr]) -> Value {
    let mut labels = spec.labels.clone();
    labels.insert("kubernetes.io/hostname".into(), spec.name.clone());
    labels.insert("kubernetes.io/os".into(), "linux".into());
    let internal = addresses.iter().map(|a| json!({ "type": "InternalIP", "address": a }));
    let hostname = json!({ "type": "Hostname", "address": spec.name });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": spec.name, "labels": labels },
        "spec": { "podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs },
        "status": { "addresses": internal.chain([hostname]).collect::<Vec<_>>() },
    })
}

/// A Pod: pending while it has no address, running and ready once it has.
pub fn pod(spec: &PodSpec, uid: &str, addresses: &[IpAddr], host: IpAddr) -> Value {
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|p| {
            let mut port = json!({ "containerPort": p.port, "protocol": p.protocol.name() });
            if let Some(name) = &p.name {
                port["name"] = json!(name);
            }
            if let Some(host_port) = p.host_port {
                port["hostPort"] = json!(host_port);
            }
            port
        })
        .collect();
    let mut labels = spec.labels.clone();
    let mut metadata = json!({ "name": spec.name, "namespace": spec.namespace, "uid": uid });
    if let Some(deployment) = &spec.deployment {
        let hash = template_hash(deployment);
        metadata["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-{hash}"),
            "uid": format!("lab-{deployment}"), "controller": true,
        }]);
        labels.insert("pod-template-hash".into(), hash);
    }
    metadata["labels"] = json!(labels);
    let mut status = json!({ "phase": "Pending", "hostIP": host });
    if let Some(first) = addresses.first() {
        status = json!({
            "phase": "Running",
            "hostIP": host,
            "podIP": first,
            "podIPs": addresses.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
            "conditions": [{ "type": "Ready", "status": "True" }],
        });
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "nodeName": spec.node,
            "hostNetwork": spec.host_network,
            "serviceAccountName": "default",
            "containers": [{ "name": "main", "image": "lab", "ports": ports }],
        },
        "status": status,
    })
}

/// Ten characters like those of a ReplicaSet's name, the same for the same Deployment.
fn template_hash(deployment: &str) -> String {
    let hash = deployment
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")[..10].to_owned()
}

/// A Service: of type NodePort once one of its ports has one, LoadBalancer with a health check port.
pub fn service(spec: &ServiceSpec, cluster_ips: &[IpAddr]) -> Value {
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|p| {
            let mut port =
                json!({ "port": p.port, "targetPort": p.target_port, "protocol": p.protocol.name() });
            if let Some(name) = &p.name {
                port["name"] = json!(name);
            }
            if let Some(node_port) = p.node_port {
                port["nodePort"] = json!(node_port);
            }
            port
        })
        .collect();
    let families: Vec<&str> =
        cluster_ips.iter().map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
    let kind = if spec.health_check_port.is_some() {
        "LoadBalancer"
    } else if spec.ports.iter().any(|port| port.node_port.is_some()) {
        "NodePort"
    } else {
        "ClusterIP"
    };
    let mut body = json!({
        "type": kind,
        "clusterIP": cluster_ips.first(),
        "clusterIPs": cluster_ips,
        "ipFamilies": families,
        "selector": spec.selector,
        "ports": ports,
    });
    if let Some(seconds) = spec.affinity_seconds {
        body["sessionAffinity"] = json!("ClientIP");
        body["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
    }
    if !spec.external_ips.is_empty() {
        body["externalIPs"] = json!(spec.external_ips);
    }
    if spec.external_local {
        body["externalTrafficPolicy"] = json!("Local");
    }
    if spec.internal_local {
        body["internalTrafficPolicy"] = json!("Local");
    }
    if let Some(port) = spec.health_check_port {
        body["healthCheckNodePort"] = json!(port);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": spec.name, "namespace": spec.namespace },
        "spec": body,
    })
}
