//! The part of kustomize that these manifests use: resources, components, patches by file, one namespace, images.
//! Where `kubectl` is at hand a test compares.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::files;
use crate::merge::merge;
use crate::name;

/// A `kustomization.yaml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kustomization {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub resources: Vec<String>,
    #[serde(default)]
    pub components: Vec<String>,
    #[serde(default)]
    pub patches: Vec<Patch>,
    #[serde(default)]
    pub images: Vec<Image>,
}

/// A patch in a file of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    pub path: String,
}

/// Another image in the place of `name`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    pub name: String,
    pub new_name: String,
    #[serde(default)]
    pub new_tag: Option<String>,
}

/// The objects of the kustomization in `folder`.
pub fn build(folder: &str) -> anyhow::Result<Vec<Value>> {
    build_as(folder, &read(folder)?)
}

/// The objects of a kustomization as if it stood in `folder`.
pub fn build_as(folder: &str, kustomization: &Kustomization) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    apply(folder, kustomization, &mut objects)?;
    Ok(objects)
}

fn read(folder: &str) -> anyhow::Result<Kustomization> {
    let path = join(folder, "kustomization.yaml");
    let text = files::read(&path).with_context(|| format!("there is no manifests/{path}"))?;
    let read: Kustomization =
        serde_saphyr::from_str(text).with_context(|| format!("read manifests/{path}"))?;
    let known = match read.api_version.as_str() {
        "kustomize.config.k8s.io/v1beta1" => read.kind == "Kustomization",
        "kustomize.config.k8s.io/v1alpha1" => read.kind == "Component",
        _ => false,
    };
    ensure!(known, "manifests/{path} is no kustomization: {} {}", read.api_version, read.kind);
    Ok(read)
}

/// In kustomize's order: resources, components, patches, then what goes over everything.
fn apply(folder: &str, kustomization: &Kustomization, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    for resource in &kustomization.resources {
        let path = join(folder, resource);
        match files::read(&path) {
            Some(text) => objects.extend(documents(&path, text)?),
            None => objects.extend(build(&path)?),
        }
    }
    for component in &kustomization.components {
        let path = join(folder, component);
        apply(&path, &read(&path)?, objects)?;
    }
    for patch in &kustomization.patches {
        let path = join(folder, &patch.path);
        let text = files::read(&path).with_context(|| format!("there is no manifests/{path}"))?;
        for document in documents(&path, text)? {
            let target = objects.iter_mut().find(|object| name(object) == name(&document));
            let target =
                target.with_context(|| format!("manifests/{path}: there is no {}", name(&document)))?;
            merge(target, &document);
        }
    }
    for object in &mut *objects {
        if let Some(namespace) = &kustomization.namespace {
            set_namespace(object, namespace);
        }
        for image in &kustomization.images {
            set_image(object, image);
        }
    }
    Ok(())
}

fn documents(path: &str, text: &str) -> anyhow::Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).with_context(|| format!("read manifests/{path}"))
}

/// "overlays/kind" and "../../base" make "base".
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// Kinds that belong to the cluster as a whole.
pub fn is_cluster_wide(kind: &str) -> bool {
    matches!(kind, "CustomResourceDefinition" | "ClusterRole" | "ClusterRoleBinding" | "Namespace")
}

fn set_namespace(object: &mut Value, namespace: &str) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if !is_cluster_wide(&kind) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if subject["kind"] == "ServiceAccount" {
            subject["namespace"] = json!(namespace);
        }
    }
}

fn set_image(object: &mut Value, image: &Image) {
    let Some(pod) = object.pointer_mut("/spec/template/spec") else { return };
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(present) = container["image"].as_str() else { continue };
            let (name, tag) = split_tag(present);
            if name == image.name {
                let tag = image.new_tag.as_deref().or(tag);
                container["image"] =
                    json!(tag.map_or(image.new_name.clone(), |tag| format!("{}:{tag}", image.new_name)));
            }
        }
    }
}

/// Name and tag of an image; a registry's port is no tag.
fn split_tag(image: &str) -> (&str, Option<&str>) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

/// Sets an environment variable of a container; there must be such a container.
pub fn set_env(
    objects: &mut [Value],
    owner: &str,
    container: &str,
    key: &str,
    value: &str,
) -> anyhow::Result<()> {
    let Some(object) = objects.iter_mut().find(|object| name(object) == owner) else {
        bail!("there is no {owner}");
    };
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": container, "env": [{"name": key, "value": value}]}
    ]}}}});
    merge(object, &patch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        assert_eq!(join("overlays/kind", "../../base"), "base");
        assert_eq!(join("", "base"), "base");
        assert_eq!(join("base", "./agent.yaml"), "base/agent.yaml");
    }

    #[test]
    fn a_registrys_port_is_no_tag() {
        assert_eq!(split_tag("localhost:5000/fathom"), ("localhost:5000/fathom", None));
        assert_eq!(split_tag("localhost:5000/fathom:v1"), ("localhost:5000/fathom", Some("v1")));
    }
}
