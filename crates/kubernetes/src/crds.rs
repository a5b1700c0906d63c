//! The definitions of resources: Fathom's own, as `manifests/crds` has them, and in `manifests/cilium-crds`
//! those of Cilium's policies, which a cluster may have already.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::cilium;
use crate::identity::FathomIdentity;

/// Every definition of Fathom's own with the name of its file.
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("fathom.dev_fathomidentities.yaml", FathomIdentity::crd())]
}

/// Definitions of Cilium's policies with the names of their files, for clusters without them.
pub fn cilium_definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("cilium.io_ciliumnetworkpolicies.yaml", cilium::network_policy()),
        ("cilium.io_ciliumclusterwidenetworkpolicies.yaml", cilium::clusterwide_network_policy()),
    ]
}

/// A definition as a file.
///
/// # Errors
/// It cannot be written as YAML.
pub fn to_yaml(definition: &CustomResourceDefinition) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(definition)?;
    Ok(format!(
        "# Written by `FATHOM_REGENERATE=1 cargo test -p fathom-kubernetes crds`; do not edit.\n{text}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_files_are_those_of_the_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        let own = definitions().into_iter().map(|(name, definition)| (format!("crds/{name}"), definition));
        let cilium = cilium_definitions().into_iter();
        let cilium = cilium.map(|(name, definition)| (format!("cilium-crds/{name}"), definition));
        for (name, definition) in own.chain(cilium) {
            let (path, wanted) = (folder.join(&name), to_yaml(&definition).unwrap());
            if std::env::var_os("FATHOM_REGENERATE").is_some() {
                std::fs::write(&path, &wanted).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                there, wanted,
                "{name} is out of date: FATHOM_REGENERATE=1 cargo test -p fathom-kubernetes crds"
            );
            let back: CustomResourceDefinition = serde_saphyr::from_str(&wanted).unwrap();
            assert_eq!(back, definition, "what is written is read back");
        }
    }
}
