//! NetworkPolicies: applied, edited, removed, as with an editor on their file.

use std::path::PathBuf;

use anyhow::Result;

use super::Lab;
use crate::objects::{self, Head};

impl Lab {
    /// Applies a NetworkPolicy's YAML text.
    ///
    /// # Errors
    /// When the text names no object.
    pub fn apply_policy(&self, yaml: &str) -> Result<()> {
        self.objects.put_text(yaml)?;
        let name = Head::read(yaml)?.metadata.name;
        self.update(|state| {
            state.spec.policies.retain(|old| Head::read(old).is_ok_and(|head| head.metadata.name != name));
            state.spec.policies.push(yaml.to_owned());
        })
    }

    /// Removes a NetworkPolicy; absent is fine.
    ///
    /// # Errors
    /// When its file can't be removed.
    pub fn delete_policy(&self, namespace: &str, name: &str) -> Result<()> {
        self.objects.remove("NetworkPolicy", namespace, name)?;
        self.update(|state| {
            state.spec.policies.retain(|old| Head::read(old).is_ok_and(|head| head.metadata.name != name));
        })
    }

    /// The file a NetworkPolicy is kept in, where objects are files.
    pub fn policy_path(&self, namespace: &str, name: &str) -> PathBuf {
        self.layout.objects().join(objects::file_name("NetworkPolicy", namespace, name))
    }
}
