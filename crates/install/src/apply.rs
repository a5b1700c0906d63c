//! Objects by server-side apply: what others set besides is left alone, what is ours is set right.

use anyhow::bail;
use fathom_kubernetes::connect::explain;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use crate::FIELD_MANAGER;
use crate::resource::place;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
}

impl Outcome {
    /// As kubectl says it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Changed => "configured",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// Applies an object; with `dry` the server says what would become of it.
///
/// # Errors
/// Names the object, and what the server has against it.
pub async fn apply(client: &Client, object: &Value, dry: bool) -> anyhow::Result<Outcome> {
    let name = fathom_manifests::name(object);
    let (api, at) = place(client, object)?;
    let before = match api.get_metadata_opt(&at).await {
        Ok(before) => before,
        Err(error) => bail!("{name} can't be read: {}", explain(&error)),
    };
    let mut params = PatchParams::apply(FIELD_MANAGER).force();
    params.dry_run = dry;
    let after = match api.patch(&at, &params, &Patch::Apply(object)).await {
        Ok(after) => after,
        Err(error) => bail!("{name} can't be applied: {}", explain(&error)),
    };
    Ok(match before {
        None => Outcome::Created,
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => {
            Outcome::Unchanged
        }
        Some(_) => Outcome::Changed,
    })
}
