//! What the manifests are held to. To write `manifests/fathom.yaml` anew:
//! `FATHOM_REGENERATE=1 cargo test -p fathom-manifests`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use fathom_manifests::{DEFAULT_IMAGE, name, overlay, to_yaml};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Capabilities, Container, PodSpec, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

const FOLDERS: [&str; 5] = ["", "overlays/attach", "overlays/laptop", "overlays/kind", "overlays/k3s"];

fn manifests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")
}

#[test]
fn the_file_to_apply_is_made_of_the_others() {
    let head = "# Written by `FATHOM_REGENERATE=1 cargo test -p fathom-manifests`; do not edit.\n\
                # All of it: kubectl apply -f manifests/fathom.yaml. Why each line is as it is: manifests/base.\n";
    let wanted = format!("{head}{}", to_yaml(&overlay("").unwrap()).unwrap());
    let path = manifests().join("fathom.yaml");
    if std::env::var_os("FATHOM_REGENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, wanted, "out of date: FATHOM_REGENERATE=1 cargo test -p fathom-manifests");
    let back: Vec<Value> = serde_saphyr::from_multiple(&wanted).unwrap();
    assert_eq!(back, overlay("").unwrap());
}

/// Readers of YAML 1.1, which Kubernetes has, take these words for truth values.
#[test]
fn words_that_are_no_words_elsewhere_are_quoted() {
    let words = ["on", "off", "yes", "no", "y", "n", "true", "false", "null", "~"];
    for folder in FOLDERS {
        let objects = overlay(folder).unwrap();
        let mut texts = Vec::new();
        objects.iter().for_each(|object| strings(object, &mut texts));
        let text = to_yaml(&objects).unwrap();
        for word in words.iter().filter(|word| texts.iter().any(|text| text == *word)) {
            let bare = text.lines().any(|line| line.ends_with(&format!(": {word}")));
            assert!(!bare || *word == "true" || *word == "false", "{folder}: {word} is not quoted");
        }
    }
}

fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, into)),
        _ => {}
    }
}

#[test]
fn kustomize_makes_the_same_of_them() {
    if Command::new("kubectl").arg("kustomize").arg("--help").output().is_err() {
        eprintln!("no kubectl here: not compared");
        return;
    }
    let by_name = |objects: Vec<Value>| -> BTreeMap<String, Value> {
        objects.into_iter().map(|object| (name(&object), sorted(object))).collect()
    };
    for folder in FOLDERS {
        let output = Command::new("kubectl").arg("kustomize").arg(manifests().join(folder)).output().unwrap();
        assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
        let theirs = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
        let (theirs, ours) = (by_name(theirs), by_name(overlay(folder).unwrap()));
        assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
        for (name, object) in &theirs {
            assert_eq!(object, &ours[name], "{folder}: {name}");
        }
    }
}

/// kustomize puts what a patch adds to a named list before the rest; the order of these lists means nothing, but
/// for variables that refer to earlier ones, which patches do not add.
fn sorted(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        for (field, value) in fields {
            *value = sorted(value.take());
            if let (true, Some(items)) =
                (["env", "volumes", "volumeMounts"].contains(&field.as_str()), value.as_array_mut())
            {
                items.sort_by_key(Value::to_string);
            }
        }
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(|item| *item = sorted(item.take()));
    }
    value
}

/// Every object has only fields that its kind has in Kubernetes' published API (the types of k8s-openapi are made of
/// its OpenAPI document, here that of the version in the workspace's Cargo.toml), of the types it has there.
#[test]
fn every_field_exists_in_the_published_api() {
    for folder in FOLDERS {
        for object in overlay(folder).unwrap() {
            let name = name(&object);
            let kind = object["kind"].as_str().unwrap().to_owned();
            let unknown = match kind.as_str() {
                "DaemonSet" => unknown_fields::<DaemonSet>(object),
                "Deployment" => unknown_fields::<Deployment>(object),
                "Service" => unknown_fields::<Service>(object),
                "ServiceAccount" => unknown_fields::<ServiceAccount>(object),
                "Secret" => unknown_fields::<Secret>(object),
                "NetworkPolicy" => unknown_fields::<NetworkPolicy>(object),
                "PodDisruptionBudget" => unknown_fields::<PodDisruptionBudget>(object),
                "ClusterRole" => unknown_fields::<ClusterRole>(object),
                "ClusterRoleBinding" => unknown_fields::<ClusterRoleBinding>(object),
                "Role" => unknown_fields::<Role>(object),
                "RoleBinding" => unknown_fields::<RoleBinding>(object),
                "CustomResourceDefinition" => unknown_fields::<CustomResourceDefinition>(object),
                other => panic!("{name}: nobody checks a {other}"),
            };
            assert_eq!(
                unknown.unwrap_or_else(|error| panic!("{name}: {error}")),
                Vec::<String>::new(),
                "{name}"
            );
        }
    }
}

fn unknown_fields<T: serde::de::DeserializeOwned>(object: Value) -> Result<Vec<String>, serde_json::Error> {
    let mut unknown = Vec::new();
    let _: T = serde_ignored::deserialize(object, |path| unknown.push(path.to_string()))?;
    Ok(unknown)
}

fn pod_of(objects: &[Value], owner: &str) -> PodSpec {
    let object = objects.iter().find(|object| name(object) == owner).unwrap();
    serde_json::from_value(object.pointer("/spec/template/spec").unwrap().clone()).unwrap()
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

#[test]
fn the_agent_is_not_privileged_and_each_capability_has_its_reason() {
    let read = |path: &str| std::fs::read_to_string(manifests().join(path)).unwrap();
    let text = read("base/agent.yaml");
    each_has_its_reason(&text, &pod_of(&overlay("").unwrap(), "DaemonSet/fathom-agent"));
    let text = text + &read("components/attach/agent.yaml");
    each_has_its_reason(&text, &pod_of(&overlay("overlays/attach").unwrap(), "DaemonSet/fathom-agent"));
}

fn each_has_its_reason(text: &str, pod: &PodSpec) {
    for container in containers(pod) {
        let context = container.security_context.as_ref().unwrap();
        assert_eq!(context.privileged, None, "{}", container.name);
        assert_eq!(context.allow_privilege_escalation, Some(false), "{}", container.name);
        assert_eq!(context.read_only_root_filesystem, Some(true), "{}", container.name);
        let Some(Capabilities { drop: Some(drop), add: Some(add) }) = &context.capabilities else {
            panic!("{}: no capabilities", container.name)
        };
        assert_eq!(drop, &["ALL"]);
        for capability in add {
            let line = format!("- {capability} # ");
            assert!(text.contains(&line), "{}: {capability} without a reason", container.name);
        }
    }
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
#[test]
fn the_relay_is_restricted_as_pod_security_has_it() {
    let pod = pod_of(&overlay("").unwrap(), "Deployment/fathom-relay");
    let context = pod.security_context.as_ref().unwrap();
    assert_eq!(context.run_as_non_root, Some(true));
    assert_eq!(context.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
    assert!(
        !pod.host_network.unwrap_or(false)
            && !pod.host_pid.unwrap_or(false)
            && !pod.host_ipc.unwrap_or(false)
    );
    for container in containers(&pod) {
        let context = container.security_context.as_ref().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        let capabilities = context.capabilities.as_ref().unwrap();
        assert_eq!(
            (capabilities.drop.as_deref(), &capabilities.add),
            (Some(["ALL".to_owned()].as_slice()), &None)
        );
    }
    for volume in pod.volumes.iter().flatten() {
        assert!(volume.secret.is_some(), "{}: a restricted pod has no host paths", volume.name);
    }
}

#[test]
fn every_selector_finds_its_pods_and_every_port_its_name() {
    for folder in FOLDERS {
        let objects = overlay(folder).unwrap();
        let of =
            |kind: &str| -> Vec<&Value> { objects.iter().filter(|object| object["kind"] == kind).collect() };
        let pods: Vec<&Value> = of("DaemonSet")
            .into_iter()
            .chain(of("Deployment"))
            .map(|owner| &owner["spec"]["template"])
            .collect();
        let matches = |selector: &Value, template: &Value| {
            let labels = template["metadata"]["labels"].as_object().unwrap();
            selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        for service in of("Service") {
            let service_name = name(service);
            let template = pods.iter().find(|template| matches(&service["spec"]["selector"], template));
            let template = template.unwrap_or_else(|| panic!("{service_name} selects nothing"));
            let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
            for port in service["spec"]["ports"].as_array().unwrap() {
                assert!(
                    ports.iter().any(|there| there["name"] == port["targetPort"]),
                    "{service_name}: {port}"
                );
            }
        }
        for owner in of("DaemonSet").into_iter().chain(of("Deployment")) {
            assert!(
                matches(&owner["spec"]["selector"]["matchLabels"], &owner["spec"]["template"]),
                "{}",
                name(owner)
            );
        }
        for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
            for object in of(kind) {
                let selector = if kind == "NetworkPolicy" { "podSelector" } else { "selector" };
                let labels = &object["spec"][selector]["matchLabels"];
                assert!(pods.iter().any(|template| matches(labels, template)), "{}", name(object));
            }
        }
    }
}

#[test]
fn volumes_are_all_there_and_all_used_and_the_image_is_this_versions() {
    for folder in FOLDERS {
        let objects = overlay(folder).unwrap();
        for owner in ["DaemonSet/fathom-agent", "Deployment/fathom-relay"] {
            let pod = pod_of(&objects, owner);
            let volumes: std::collections::BTreeSet<_> =
                pod.volumes.iter().flatten().map(|v| v.name.clone()).collect();
            let mounts = containers(&pod).flat_map(|container| container.volume_mounts.iter().flatten());
            let mounted: std::collections::BTreeSet<_> = mounts.map(|mount| mount.name.clone()).collect();
            assert_eq!(volumes, mounted, "{folder}: {owner}");
            for container in containers(&pod) {
                assert_eq!(container.image.as_deref(), Some(DEFAULT_IMAGE), "{folder}: {owner}");
            }
        }
    }
}
