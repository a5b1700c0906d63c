//! A variant by what is asked for rather than by folders.

use anyhow::ensure;
use serde_json::Value;

use crate::kustomize::{self, Kustomization, set_env};

/// Where manifests put everything unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "kube-system";
/// The image of this version.
pub const DEFAULT_IMAGE: &str = concat!("fathom.dev/fathom:v", env!("CARGO_PKG_VERSION"));

/// Who wires pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Fathom's own plugin.
    #[default]
    Cni,
    /// Another one.
    Attach,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Variant {
    pub mode: Mode,
    pub tls: bool,
    pub pod_monitor: bool,
    pub namespace: String,
    pub image: String,
    /// Where agents reach the API server, when its service does not lead there without them: "host:port".
    pub api_server: Option<(String, u16)>,
}

impl Default for Variant {
    fn default() -> Self {
        Variant {
            mode: Mode::Cni,
            tls: true,
            pod_monitor: false,
            namespace: DEFAULT_NAMESPACE.to_owned(),
            image: DEFAULT_IMAGE.to_owned(),
            api_server: None,
        }
    }
}

impl Variant {
    /// The objects, in the order in which they are applied.
    ///
    /// # Errors
    /// The namespace or the image is none.
    pub fn objects(&self) -> anyhow::Result<Vec<Value>> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !self.namespace.is_empty() && self.namespace.len() <= 63 && self.namespace.chars().all(label),
            "{:?} is no name of a namespace: lower-case letters, digits and dashes",
            self.namespace
        );
        ensure!(
            !self.image.is_empty() && !self.image.contains(char::is_whitespace),
            "{:?} is no name of an image",
            self.image
        );
        let mut components = Vec::new();
        let mut component = |wanted: bool, name: &str| {
            if wanted {
                components.push(format!("components/{name}"));
            }
        };
        component(self.mode == Mode::Attach, "attach");
        component(!self.tls, "tls-off");
        component(self.pod_monitor, "pod-monitor");
        let kustomization = Kustomization {
            resources: vec!["base".to_owned()],
            components,
            namespace: Some(self.namespace.clone()),
            ..Kustomization::default()
        };
        let mut objects = kustomize::build_as("", &kustomization)?;
        for object in &mut objects {
            let Some(pod) = object.pointer_mut("/spec/template/spec") else { continue };
            for list in ["initContainers", "containers"] {
                let containers = pod.get_mut(list).and_then(Value::as_array_mut);
                containers.into_iter().flatten().for_each(|container| {
                    container["image"] = Value::String(self.image.clone());
                });
            }
        }
        if let Some((host, port)) = &self.api_server {
            let mut set =
                |key, value: &str| set_env(&mut objects, "DaemonSet/fathom-agent", "agent", key, value);
            set("KUBERNETES_SERVICE_HOST", host)?;
            set("KUBERNETES_SERVICE_PORT", &port.to_string())?;
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    #[test]
    fn without_wishes_it_is_the_file() {
        assert_eq!(Variant::default().objects().unwrap(), crate::overlay("").unwrap());
    }

    #[test]
    fn each_wish_shows() {
        let variant = Variant {
            mode: Mode::Attach,
            tls: false,
            pod_monitor: true,
            namespace: "fathom".into(),
            image: "localhost:5000/f@sha256:00".into(),
            api_server: Some(("10.0.0.1".into(), 6443)),
        };
        let objects = variant.objects().unwrap();
        assert!(objects.iter().any(|object| name(object) == "PodMonitor/fathom"));
        let text = crate::to_yaml(&objects).unwrap();
        for word in ["kube-system", "fathom.dev/fathom:", "tls.crt", "opt/cni"] {
            assert!(!text.contains(word), "{word} is left");
        }
        let agent = objects.iter().find(|object| name(object) == "DaemonSet/fathom-agent").unwrap();
        let env = agent.pointer("/spec/template/spec/containers/0/env").unwrap().to_string();
        for word in [r#""attach""#, r#""off""#, r#""10.0.0.1""#, r#""6443""#] {
            assert!(env.contains(word), "{word} in {env}");
        }
        let wrong = Variant { namespace: "Fathom!".into(), ..Variant::default() };
        assert!(wrong.objects().unwrap_err().to_string().contains("Fathom!"));
    }
}
