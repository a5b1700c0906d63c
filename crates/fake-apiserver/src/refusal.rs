//! A request that is refused, as the Status object that says why.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::resources::Resource;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    more: Box<More>,
}

#[derive(Clone, Debug, Default)]
struct More {
    /// Group, kind (the resource's plural, as the API has it) and name of what it is about.
    about: Option<(String, String, String)>,
    /// A field each, and what is wrong with it.
    causes: Vec<(String, String)>,
    /// Where a listing whose version is gone may go on, in a state that is newer than its first pages.
    go_on: Option<String>,
    retry_after: Option<u32>,
}

impl Refusal {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Refusal { code, reason, message: message.into(), more: Box::default() }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Refusal::new(400, "BadRequest", message)
    }

    pub fn unknown_path() -> Self {
        Refusal::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.full_name());
        Refusal::new(404, "NotFound", message).about(resource, name)
    }

    pub fn exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.full_name());
        Refusal::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.full_name());
        Refusal::new(409, "Conflict", message).about(resource, name)
    }

    /// The object was changed since it was read.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(resource, name, why)
    }

    /// Fields of another manager would be changed: a field and its manager each.
    pub fn owned_by_others(resource: &Resource, name: &str, fields: Vec<(String, String)>) -> Self {
        let list: Vec<String> =
            fields.iter().map(|(field, manager)| format!("conflict with \"{manager}\": {field}")).collect();
        let message = format!("Apply failed with {} conflict(s): {}", fields.len(), list.join(", "));
        let mut refusal = Refusal::new(409, "Conflict", message).about(resource, name);
        refusal.more.causes =
            fields.into_iter().map(|(f, m)| (f, format!("conflict with \"{m}\""))).collect();
        refusal
    }

    /// The object breaks rules: a field and what is wrong with it each.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<(String, String)>) -> Self {
        let list: Vec<String> = causes.iter().map(|(field, wrong)| format!("{field}: {wrong}")).collect();
        let list = if list.len() == 1 { list[0].clone() } else { format!("[{}]", list.join(", ")) };
        let kind = resource.kind_with_group();
        let mut refusal = Refusal::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {list}"))
            .about(resource, name);
        refusal.more.causes = causes;
        refusal
    }

    /// The version is older than what is remembered.
    pub fn expired(message: impl Into<String>) -> Self {
        Refusal::new(410, "Expired", message)
    }

    pub fn goes_on_with(mut self, token: String) -> Self {
        self.more.go_on = Some(token);
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.more.retry_after = Some(seconds);
        self
    }

    pub fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.more.about = Some((resource.group.clone(), resource.plural.clone(), name.to_owned()));
        self
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut metadata = json!({});
        if let Some(token) = &self.more.go_on {
            metadata["continue"] = json!(token);
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        let mut details = json!({});
        if let Some((group, kind, name)) = &self.more.about {
            details = json!({"kind": kind, "name": name});
            if !group.is_empty() {
                details["group"] = json!(group);
            }
        }
        if !self.more.causes.is_empty() {
            let causes = self.more.causes.iter().map(|(field, wrong)| {
                let reason = if self.code == 409 { "FieldManagerConflict" } else { "FieldValueInvalid" };
                json!({"reason": reason, "message": wrong, "field": field})
            });
            details["causes"] = causes.collect();
        }
        if let Some(seconds) = self.more.retry_after {
            details["retryAfterSeconds"] = json!(seconds);
        }
        if details.as_object().is_some_and(|details| !details.is_empty()) {
            status["details"] = details;
        }
        status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(self.status())).into_response();
        if let Some(seconds) = self.more.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
