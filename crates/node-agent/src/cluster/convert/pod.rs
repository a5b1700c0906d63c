//! Pods: addresses, labels, named ports, and the workload that runs them.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{ConvertError, field};
use crate::cluster::model::{HostPort, NamedPort, Pod, Workload};

/// Label a Deployment puts on the pods of each of its ReplicaSets.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The UID under which the kubelet runs a static pod.
const STATIC_POD: &str = "kubernetes.io/config.hash";

/// "off": the pod's application messages are not looked at; "on", or none: they are.
const L7: &str = "fathom.dev/l7";

/// A Pod as the agent needs it.
///
/// # Errors
/// An address, port or protocol that cannot be read.
pub fn pod(object: core::Pod) -> Result<Pod, ConvertError> {
    let metadata = object.metadata;
    let spec = object.spec.unwrap_or_default();
    let status = object.status.unwrap_or_default();
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let ips = if finished { Vec::new() } else { addresses(&status)? };
    let ready = status.conditions.as_ref().is_none_or(|conditions| {
        conditions.iter().find(|c| c.type_ == "Ready").is_none_or(|c| c.status == "True")
    });
    let (ports, host_ports) = ports(&spec)?;
    Ok(Pod {
        workload: workload(&metadata),
        l7_off: l7_off(&metadata).unwrap_or(false),
        namespace: super::namespace_of(&metadata),
        name: super::name_of(&metadata)?,
        uid: uid(&metadata),
        labels: metadata.labels.unwrap_or_default(),
        service_account: spec.service_account_name.unwrap_or_default(),
        node_name: spec.node_name.unwrap_or_default().into(),
        host_network: spec.host_network.unwrap_or(false),
        finished,
        ready: ready && !finished,
        ips,
        ports,
        host_ports,
    })
}

/// The object of a static pod is a mirror with a UID of its own.
fn uid(metadata: &ObjectMeta) -> Arc<str> {
    let hash = metadata.annotations.as_ref().and_then(|annotations| annotations.get(STATIC_POD));
    hash.or(metadata.uid.as_ref()).map_or_else(Arc::default, |uid| uid.as_str().into())
}

/// What an annotation says that means nothing: the pod counts as if it were not there.
pub fn annotation_fault(metadata: &ObjectMeta) -> Option<ConvertError> {
    l7_off(metadata).err()
}

fn l7_off(metadata: &ObjectMeta) -> Result<bool, ConvertError> {
    match metadata.annotations.as_ref().and_then(|annotations| annotations.get(L7)).map(String::as_str) {
        None | Some("on") => Ok(false),
        Some("off") => Ok(true),
        Some(other) => {
            Err(ConvertError::Annotation { name: L7, value: other.to_owned(), choices: "\"on\" or \"off\"" })
        }
    }
}

/// `podIPs`, or the older `podIP` where that is all there is.
fn addresses(status: &core::PodStatus) -> Result<Vec<IpAddr>, ConvertError> {
    let mut ips = Vec::new();
    for (i, entry) in status.pod_ips.iter().flatten().enumerate() {
        ips.push(field::address(format!("status.podIPs[{i}].ip"), &entry.ip)?);
    }
    if let Some(ip) = status.pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        let ip = field::address("status.podIP", ip)?;
        if !ips.contains(&ip) {
            ips.insert(0, ip);
        }
    }
    Ok(ips)
}

/// Ports of what runs as long as the pod does: containers, and init containers that always restart
/// (native sidecars). Those of other init containers are gone before anybody connects.
fn ports(spec: &core::PodSpec) -> Result<(Vec<NamedPort>, Vec<HostPort>), ConvertError> {
    let init = spec.init_containers.iter().flatten().enumerate();
    let sidecars = init.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().enumerate().map(|(at, container)| ("containers", at, container));
    let (mut named, mut of_host) = (Vec::new(), Vec::new());
    for (list, c, container) in
        containers.chain(sidecars.map(|(at, sidecar)| ("initContainers", at, sidecar)))
    {
        for (p, port) in container.ports.iter().flatten().enumerate() {
            let at = |name: &str| format!("spec.{list}[{c}].ports[{p}].{name}");
            let number = field::port(at("containerPort"), port.container_port)?;
            let protocol = field::protocol(at("protocol"), port.protocol.as_deref())?;
            if let Some(name) = &port.name {
                named.push(NamedPort { name: name.clone(), port: number, protocol });
            }
            if let Some(host_port @ 1..) = port.host_port {
                let ip = match port.host_ip.as_deref() {
                    None | Some("") => None,
                    Some(ip) => Some(field::address(at("hostIP"), ip)?).filter(|ip| !ip.is_unspecified()),
                };
                let host_port = field::port(at("hostPort"), host_port)?;
                of_host.push(HostPort { ip, number: host_port, port: number, protocol });
            }
        }
    }
    named.sort();
    of_host.sort();
    Ok((named, of_host))
}

/// The controller's name and kind. A ReplicaSet that a Deployment made carries the template hash at
/// the end of its name: what people know is the Deployment. Likewise a CronJob's Job.
fn workload(metadata: &ObjectMeta) -> Option<Workload> {
    let owners = metadata.owner_references.as_deref()?;
    let owner = owners.iter().find(|o| o.controller == Some(true)).or_else(|| owners.first())?;
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
    let (name, kind) = match (owner.kind.as_str(), hash) {
        ("ReplicaSet", Some(hash)) => {
            match owner.name.strip_suffix(hash.as_str()).and_then(|rest| rest.strip_suffix('-')) {
                Some(deployment) => (deployment, "Deployment"),
                None => (owner.name.as_str(), "ReplicaSet"),
            }
        }
        ("Job", _) => match scheduled_by(&owner.name) {
            Some(cron_job) => (cron_job, "CronJob"),
            None => (owner.name.as_str(), "Job"),
        },
        (kind, _) => (owner.name.as_str(), kind),
    };
    Some(Workload { name: name.into(), kind: kind.into() })
}

/// A CronJob names its Jobs `<name>-<minutes since 1970>`: eight digits at present.
fn scheduled_by(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    (!name.is_empty() && minutes.len() == 8 && minutes.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<Pod, ConvertError> {
        pod(serde_json::from_value(value).unwrap())
    }

    fn owned_by(kind: &str, name: &str, hash: Option<&str>) -> (String, String) {
        let labels = hash.map(|hash| json!({ "pod-template-hash": hash })).unwrap_or(json!({}));
        let pod = read(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "labels": labels, "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true } ] },
        }));
        let workload = pod.unwrap().workload.unwrap();
        (workload.name.to_string(), workload.kind.to_string())
    }

    #[test]
    fn the_workload_is_what_people_named() {
        let of = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        assert_eq!(owned_by("ReplicaSet", "chat-relay-7d9f", Some("7d9f")), of("chat-relay", "Deployment"));
        assert_eq!(owned_by("ReplicaSet", "bare", None), of("bare", "ReplicaSet"));
        assert_eq!(owned_by("ReplicaSet", "bare-7d9f", Some("other")), of("bare-7d9f", "ReplicaSet"));
        assert_eq!(owned_by("StatefulSet", "db", None), of("db", "StatefulSet"));
        assert_eq!(owned_by("Job", "nightly-29384756", None), of("nightly", "CronJob"));
        assert_eq!(owned_by("Job", "import-1", None), of("import-1", "Job"));
    }

    #[test]
    fn a_pod_opts_out_of_l7_by_a_word_and_another_word_is_a_warning() {
        let with = |value: Option<&str>| {
            let annotations = value.map(|value| json!({ "fathom.dev/l7": value }));
            let value = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "annotations": annotations },
            });
            let converted = crate::cluster::convert::object(crate::cluster::model::Kind::Pod, &value);
            let Some(crate::cluster::model::Object::Pod(pod)) = converted.object else { panic!("no pod") };
            (pod.l7_off, converted.error.map(|error| error.to_string()))
        };
        assert_eq!(
            [with(None), with(Some("on")), with(Some("off"))],
            [(false, None), (false, None), (true, None)]
        );
        let (off, warning) = with(Some("no"));
        assert!(!off, "as if it were not there");
        assert_eq!(
            warning.as_deref(),
            Some("metadata.annotations[\"fathom.dev/l7\"]: \"no\" means nothing: write \"on\" or \"off\"")
        );
        let misspelt = json!({
            "apiVersion": "v1", "kind": "Pod", "spek": {},
            "metadata": { "name": "p", "annotations": { "fathom.dev/l7": "no" } },
        });
        let converted = crate::cluster::convert::object(crate::cluster::model::Kind::Pod, &misspelt);
        let both = converted.error.map(|error| error.to_string()).unwrap_or_default();
        assert!(both.contains("spek") && both.contains("means nothing"), "{both}");
    }

    #[test]
    fn a_static_pods_uid_is_the_one_its_cgroup_has() {
        let uid = |annotations: serde_json::Value| {
            let pod = read(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": "p", "uid": "u-1", "annotations": annotations },
            }));
            pod.unwrap().uid.to_string()
        };
        assert_eq!(uid(json!({})), "u-1");
        assert_eq!(uid(json!({ "kubernetes.io/config.hash": "0123" })), "0123");
    }

    #[test]
    fn a_finished_pod_gives_up_its_addresses_and_a_running_one_keeps_both_families() {
        let with_phase = |phase: &str| {
            read(json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
                "status": { "phase": phase, "podIP": "10.0.0.1",
                            "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] },
            }))
            .unwrap()
        };
        assert_eq!(with_phase("Running").ips.len(), 2);
        for phase in ["Succeeded", "Failed"] {
            let pod = with_phase(phase);
            assert!(pod.ips.is_empty() && pod.finished && !pod.ready);
        }
    }

    #[test]
    fn a_sidecars_ports_have_names_too_and_those_of_a_container_that_ends_do_not() {
        let container = |name: &str, port: u16, restart: Option<&str>| json!({ "name": name, "ports": [{ "name": name, "containerPort": port }], "restartPolicy": restart });
        let pod = read(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "spec": {
                "containers": [container("web", 80, None)],
                "initContainers": [container("migrate", 81, None), container("mesh", 15001, Some("Always"))],
            },
        }));
        let names: Vec<_> = pod.unwrap().ports.into_iter().map(|port| (port.name, port.port.get())).collect();
        assert_eq!(names, [("mesh".to_owned(), 15001), ("web".to_owned(), 80)]);
    }

    #[test]
    fn a_wrong_address_or_port_is_named() {
        let bad = read(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "status": { "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "10.0.0" }] },
        }));
        assert_eq!(bad.unwrap_err().to_string(), "status.podIPs[1].ip: \"10.0.0\" is no IP address");
        let bad = read(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "c", "ports": [{ "name": "web", "containerPort": 70000 }] }] },
        }));
        assert!(bad.unwrap_err().to_string().starts_with("spec.containers[0].ports[0].containerPort: 70000"));
    }
}
