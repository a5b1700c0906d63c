//! The forms of a patch.

use serde_json::Value;

use crate::merge::{self, Shape};
use crate::refusal::Refusal;
use crate::resources::Resource;

/// What a patch's content type says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Form {
    /// # Errors
    /// 415 for what cannot be read, and for strategic patches of custom resources.
    pub fn read(content_type: &str, resource: &Resource) -> Result<Form, Refusal> {
        let form = match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Form::Json,
            "application/merge-patch+json" => Form::Merge,
            "application/strategic-merge-patch+json" => Form::Strategic,
            "application/apply-patch+yaml" | "application/apply-patch+json" => Form::Apply,
            other => return Err(unsupported(other)),
        };
        if form == Form::Strategic && resource.custom.is_some() {
            return Err(unsupported("application/strategic-merge-patch+json"));
        }
        Ok(form)
    }
}

fn unsupported(content_type: &str) -> Refusal {
    let message = format!(
        "the body of the request was in an unknown format ({content_type}) - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    );
    Refusal::new(415, "UnsupportedMediaType", message)
}

/// A patched object, for all forms but apply.
///
/// # Errors
/// 422 for operations that cannot be done, 400 for what is no patch.
pub fn patched(resource: &Resource, form: Form, there: &Value, patch: &Value) -> Result<Value, Refusal> {
    let mut object = there.clone();
    match form {
        Form::Json => {
            let patch: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|e| Refusal::bad_request(e.to_string()))?;
            json_patch::patch(&mut object, &patch).map_err(|error| {
                Refusal::new(422, "Invalid", format!("the server rejected our request: {error}"))
            })?;
        }
        Form::Merge => merge::merge_patch(&mut object, patch),
        Form::Strategic => merge::strategic_patch(&mut object, patch, &Shape::of(resource)),
        Form::Apply => return Err(Refusal::bad_request("an apply is no such patch")),
    }
    Ok(object)
}
