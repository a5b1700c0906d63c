//! The files, built in.

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        /// Path below `manifests/`, and content.
        pub const FILES: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../../manifests/", $path)))),*];
    };
}

files![
    "kustomization.yaml",
    "base/accounts.yaml",
    "base/agent.yaml",
    "base/certificates.yaml",
    "base/kustomization.yaml",
    "base/networkpolicy.yaml",
    "base/rbac.yaml",
    "base/relay.yaml",
    "base/services.yaml",
    "components/attach/agent.yaml",
    "components/attach/kustomization.yaml",
    "components/pod-monitor/kustomization.yaml",
    "components/pod-monitor/pod-monitor.yaml",
    "components/tls-off/agent.yaml",
    "components/tls-off/kustomization.yaml",
    "components/tls-off/relay.yaml",
    "crds/fathom.dev_fathomidentities.yaml",
    "crds/kustomization.yaml",
    "overlays/attach/kustomization.yaml",
    "overlays/k3s/kustomization.yaml",
    "overlays/k3s/relay.yaml",
    "overlays/kind/agent.yaml",
    "overlays/kind/kustomization.yaml",
    "overlays/laptop/kustomization.yaml",
];

/// The content of a file.
pub fn read(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_is_built_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        let (mut folders, mut there) = (vec![root.clone()], BTreeSet::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    there.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        // What is made of the others, and definitions that a cluster gets by hand.
        there.retain(|path| path != "fathom.yaml" && !path.starts_with("cilium-crds/"));
        let built_in: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there, built_in);
    }
}
