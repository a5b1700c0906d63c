//! Services and the EndpointSlices behind them.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{ConvertError, field};
use crate::cluster::model::{
    EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort, TargetPort, TrafficDistribution,
};

/// Label that names the Service an EndpointSlice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Affinity of a Service that asks for ClientIP and gives no time: three hours.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;

/// A Service as the agent needs it. Headless and ExternalName services have no frontend.
///
/// # Errors
/// An address, port, protocol or affinity time that cannot be read.
pub fn service(object: core::Service) -> Result<Service, ConvertError> {
    let metadata = object.metadata;
    let spec = object.spec.unwrap_or_default();
    let external_name = spec.type_.as_deref() == Some("ExternalName");
    let mut cluster_ips = Vec::new();
    let written = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter());
    for ip in written.filter(|ip| !external_name && !ip.is_empty() && *ip != "None") {
        let ip = field::address("spec.clusterIPs", ip)?;
        if !cluster_ips.contains(&ip) {
            cluster_ips.push(ip);
        }
    }
    let mut external_ips = Vec::new();
    for (i, ip) in spec.external_ips.iter().flatten().enumerate() {
        external_ips.push(field::address(format!("spec.externalIPs[{i}]"), ip)?);
    }
    let ingress = object.status.unwrap_or_default().load_balancer.unwrap_or_default().ingress;
    let ingress = ingress.unwrap_or_default().into_iter().enumerate();
    // Of ipMode Proxy: who asks there comes back by a node port.
    let taken = ingress.filter(|(_, at)| at.ip_mode.as_deref() != Some("Proxy"));
    for (i, at) in taken.filter(|_| spec.type_.as_deref() == Some("LoadBalancer")) {
        if let Some(ip) = at.ip.as_deref().filter(|ip| !ip.is_empty()) {
            let ip = field::address(format!("status.loadBalancer.ingress[{i}].ip"), ip)?;
            if !external_ips.contains(&ip) {
                external_ips.push(ip);
            }
        }
    }
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let health_check_port = match spec.health_check_node_port {
        Some(port @ 1..) if external_local => Some(field::port("spec.healthCheckNodePort", port)?),
        _ => None,
    };
    let affinity_seconds = match spec.session_affinity.as_deref() {
        Some("ClientIP") => {
            let config = spec.session_affinity_config.unwrap_or_default().client_ip.unwrap_or_default();
            Some(affinity(config.timeout_seconds.unwrap_or(DEFAULT_AFFINITY_SECONDS))?)
        }
        _ => None,
    };
    let ports = spec.ports.unwrap_or_default().into_iter().enumerate();
    Ok(Service {
        namespace: super::namespace_of(&metadata),
        name: super::name_of(&metadata)?,
        cluster_ips,
        ports: ports.map(|(i, port)| service_port(i, port)).collect::<Result<_, _>>()?,
        selector: spec.selector.unwrap_or_default(),
        affinity_seconds,
        local_only: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_ips: if external_name { Vec::new() } else { external_ips },
        external_local,
        health_check_port,
        distribution: distribution(spec.traffic_distribution.as_deref()),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
    })
}

/// A preference this version does not know is no preference, as the API says of it.
fn distribution(value: Option<&str>) -> Option<TrafficDistribution> {
    match value? {
        "PreferClose" | "PreferSameZone" => Some(TrafficDistribution::SameZone),
        "PreferSameNode" => Some(TrafficDistribution::SameNode),
        _ => None,
    }
}

fn affinity(seconds: i32) -> Result<u32, ConvertError> {
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err(ConvertError::Range {
            field: "spec.sessionAffinityConfig.clientIP.timeoutSeconds".into(),
            value: seconds.into(),
            range: "1 to 86400",
        }),
    }
}

fn service_port(i: usize, port: core::ServicePort) -> Result<ServicePort, ConvertError> {
    let at = |name: &str| format!("spec.ports[{i}].{name}");
    let number = field::port(at("port"), port.port)?;
    let target = match port.target_port {
        None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(IntOrString::Int(target)) => TargetPort::Number(field::port(at("targetPort"), target)?),
        Some(IntOrString::String(name)) => match name.parse::<i32>() {
            Ok(target) => TargetPort::Number(field::port(at("targetPort"), target)?),
            Err(_) => TargetPort::Named(name),
        },
    };
    Ok(ServicePort {
        name: port.name.unwrap_or_default(),
        port: number,
        protocol: field::protocol(at("protocol"), port.protocol.as_deref())?,
        target,
        node_port: match port.node_port {
            None | Some(0) => None,
            Some(number) => Some(field::port(at("nodePort"), number)?),
        },
    })
}

/// An EndpointSlice as the agent needs it; FQDN slices have no addresses to offer.
///
/// # Errors
/// An address, port or protocol that cannot be read.
pub fn endpoint_slice(object: discovery::EndpointSlice) -> Result<EndpointSlice, ConvertError> {
    let metadata = object.metadata;
    let service = metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
    let mut ports = Vec::new();
    for (i, port) in object.ports.unwrap_or_default().into_iter().enumerate() {
        let Some(number) = port.port else { continue };
        ports.push(SlicePort {
            name: port.name.unwrap_or_default(),
            port: field::port(format!("ports[{i}].port"), number)?,
            protocol: field::protocol(format!("ports[{i}].protocol"), port.protocol.as_deref())?,
        });
    }
    let mut endpoints = Vec::new();
    if object.address_type != "FQDN" {
        for (i, endpoint) in object.endpoints.into_iter().enumerate() {
            endpoints.push(slice_endpoint(i, endpoint)?);
        }
    }
    Ok(EndpointSlice {
        namespace: super::namespace_of(&metadata),
        service: service.map(|name| name.as_str().into()),
        name: super::name_of(&metadata)?,
        ports,
        endpoints,
    })
}

/// The API's defaults: unknown readiness counts as ready, serving follows ready, terminating is no.
fn slice_endpoint(i: usize, endpoint: discovery::Endpoint) -> Result<SliceEndpoint, ConvertError> {
    let conditions = endpoint.conditions.unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let addresses = endpoint.addresses.iter().enumerate();
    let hints = endpoint.hints.unwrap_or_default();
    Ok(SliceEndpoint {
        addresses: addresses
            .map(|(a, ip)| field::address(format!("endpoints[{i}].addresses[{a}]"), ip))
            .collect::<Result<_, _>>()?,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node_name: endpoint.node_name.map(Into::into),
        for_zones: hints.for_zones.into_iter().flatten().map(|zone| zone.name.into()).collect(),
        for_nodes: hints.for_nodes.into_iter().flatten().map(|node| node.name.into()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: serde_json::Value) -> Result<Service, ConvertError> {
        let object =
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": spec });
        service(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn headless_and_external_services_have_no_frontend() {
        assert!(read(json!({ "clusterIP": "None" })).unwrap().cluster_ips.is_empty());
        let external = json!({ "type": "ExternalName", "externalName": "example.org", "clusterIP": "" });
        assert!(read(external).unwrap().cluster_ips.is_empty());
    }

    #[test]
    fn dual_stack_addresses_come_once_each() {
        let spec = json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::a"] });
        assert_eq!(read(spec).unwrap().cluster_ips.len(), 2);
    }

    #[test]
    fn affinity_has_the_apis_default_and_range() {
        let with = |config| read(json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": config }));
        assert_eq!(with(json!({})).unwrap().affinity_seconds, Some(10_800));
        assert_eq!(with(json!({ "clientIP": { "timeoutSeconds": 60 } })).unwrap().affinity_seconds, Some(60));
        assert!(with(json!({ "clientIP": { "timeoutSeconds": 0 } })).is_err());
        assert_eq!(read(json!({})).unwrap().affinity_seconds, None);
    }

    #[test]
    fn targets_are_numbers_or_names() {
        let target = |port| read(json!({ "ports": [port] })).map(|s| s.ports[0].target.clone());
        let number = |n| TargetPort::Number(std::num::NonZeroU16::new(n).unwrap());
        assert_eq!(target(json!({ "port": 80 })).unwrap(), number(80));
        assert_eq!(target(json!({ "port": 80, "targetPort": 8080 })).unwrap(), number(8080));
        assert_eq!(target(json!({ "port": 80, "targetPort": "8080" })).unwrap(), number(8080));
        assert_eq!(
            target(json!({ "port": 80, "targetPort": "web" })).unwrap(),
            TargetPort::Named("web".into())
        );
        assert!(target(json!({ "port": 80, "targetPort": 99999 })).is_err());
        assert!(target(json!({ "port": 80, "protocol": "QUIC" })).is_err());
    }

    #[test]
    fn what_clients_outside_need_is_read() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 31000, "externalIPs": ["203.0.113.1"],
                "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 81, "nodePort": 0 }],
            },
            "status": { "loadBalancer": { "ingress": [
                { "ip": "203.0.113.2" }, { "ip": "203.0.113.3", "ipMode": "Proxy" }, { "hostname": "lb.example.org" },
            ] } },
        });
        let service = service(serde_json::from_value(object.clone()).unwrap()).unwrap();
        let texts: Vec<String> = service.external_ips.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["203.0.113.1", "203.0.113.2"]);
        assert!(service.external_local);
        assert_eq!(service.health_check_port.map(u16::from), Some(31000));
        let node_ports: Vec<_> = service.ports.iter().map(|port| port.node_port.map(u16::from)).collect();
        assert_eq!(node_ports, [Some(30080), None]);

        let mut cluster_ip = object;
        cluster_ip["spec"]["type"] = json!("ClusterIP");
        cluster_ip["spec"]["externalTrafficPolicy"] = json!("Cluster");
        let service = super::service(serde_json::from_value(cluster_ip).unwrap()).unwrap();
        assert_eq!(service.external_ips.len(), 1, "a load balancer's addresses are those of its type");
        assert_eq!((service.external_local, service.health_check_port), (false, None));
    }

    #[test]
    fn a_preference_for_near_endpoints_is_read_and_an_unknown_one_is_none() {
        let of = |value| read(json!({ "trafficDistribution": value })).unwrap().distribution;
        assert_eq!(of("PreferClose"), Some(TrafficDistribution::SameZone));
        assert_eq!(of("PreferSameZone"), Some(TrafficDistribution::SameZone));
        assert_eq!(of("PreferSameNode"), Some(TrafficDistribution::SameNode));
        assert_eq!(of("PreferFar"), None);
    }

    #[test]
    fn conditions_default_as_the_api_says() {
        let slice = endpoint_slice(
            serde_json::from_value(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": { "name": "s-1", "labels": { SERVICE_NAME: "s" } },
                "ports": [{ "name": "web", "port": 8080 }, { "name": "open" }],
                "endpoints": [
                    { "addresses": ["10.0.0.1"],
                      "hints": { "forZones": [{ "name": "z1" }], "forNodes": [{ "name": "n1" }] } },
                    { "addresses": ["10.0.0.2"], "conditions": { "ready": false, "serving": true, "terminating": true } },
                ],
            }))
            .unwrap(),
        )
        .unwrap();
        assert_eq!(slice.service.as_deref(), Some("s"));
        assert_eq!(slice.ports.len(), 1, "a port without number matches no Service port");
        let states: Vec<_> = slice.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
        assert_eq!(states, [(true, true, false), (false, true, true)]);
        let hints = &slice.endpoints[0];
        assert!(hints.for_zones.contains("z1") && hints.for_nodes.contains("n1"), "{hints:?}");
        assert!(slice.endpoints[1].for_zones.is_empty(), "{:?}", slice.endpoints[1]);
    }
}
