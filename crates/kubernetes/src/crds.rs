//! The definitions of Fathom's own resources, as `manifests/crds` has them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::identity::FathomIdentity;

/// Every definition with the name of its file.
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("fathom.dev_fathomidentities.yaml", FathomIdentity::crd())]
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
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/crds");
        for (name, definition) in definitions() {
            let (path, wanted) = (folder.join(name), to_yaml(&definition).unwrap());
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
