//! EndpointSlices from services and pods: one slice per service and family.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::spec::{PodSpec, ServiceSpec};

/// The slices of every service over the pods that have addresses.
pub fn slices<'a>(
    services: &[ServiceSpec],
    pods: impl Iterator<Item = (&'a PodSpec, &'a [IpAddr])> + Clone,
) -> Vec<Value> {
    let both = services.iter().flat_map(|s| [(s, true), (s, false)]);
    both.map(|(service, v4)| slice(service, v4, pods.clone())).collect()
}

fn slice<'a>(
    service: &ServiceSpec,
    v4: bool,
    pods: impl Iterator<Item = (&'a PodSpec, &'a [IpAddr])>,
) -> Value {
    let family = if v4 { "IPv4" } else { "IPv6" };
    let endpoints: Vec<Value> = pods
        .filter(|(pod, _)| selects(service, pod))
        .filter_map(|(pod, addresses)| {
            let address = addresses.iter().find(|a| a.is_ipv4() == v4)?;
            Some(json!({
                "addresses": [address],
                "nodeName": pod.node,
                "conditions": { "ready": true, "serving": true, "terminating": false },
                "targetRef": { "kind": "Pod", "namespace": pod.namespace, "name": pod.name },
            }))
        })
        .collect();
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|p| json!({ "name": p.name.as_deref().unwrap_or(""), "port": p.target_port, "protocol": p.protocol.name() }))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{}", service.name, family.to_ascii_lowercase()),
            "namespace": service.namespace,
            "labels": { "kubernetes.io/service-name": service.name },
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    })
}

/// An empty selector selects nothing: such a service's endpoints are somebody else's business.
fn selects(service: &ServiceSpec, pod: &PodSpec) -> bool {
    service.namespace == pod.namespace
        && !service.selector.is_empty()
        && service.selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Protocol;

    #[test]
    fn a_slice_holds_the_selected_pods_of_its_family_and_namespace() {
        let service = ServiceSpec::new("web", &[("app", "web")]).port("http", 80, 8080, Protocol::Tcp);
        let web = PodSpec::new("web", "node-a").label("app", "web");
        let pods = [
            (web.clone(), vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()]),
            (
                PodSpec { name: "db".into(), ..PodSpec::new("db", "node-a").label("app", "db") },
                vec!["10.244.1.3".parse().unwrap()],
            ),
            (web.clone().namespace("other"), vec!["10.244.1.4".parse().unwrap()]),
            (PodSpec { name: "pending".into(), ..web }, vec![]),
        ];
        let made = slices(&[service], pods.iter().map(|(p, a)| (p, a.as_slice())));
        assert_eq!(made.len(), 2);
        assert_eq!(made[0]["metadata"]["name"], "web-ipv4");
        let addresses = |slice: &Value| -> Vec<String> {
            let list = slice["endpoints"].as_array().unwrap();
            list.iter().map(|e| e["addresses"][0].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(addresses(&made[0]), ["10.244.1.2"]);
        assert_eq!(addresses(&made[1]), ["fd00::2"]);
        assert_eq!(made[0]["ports"][0]["port"], 8080);
    }
}
