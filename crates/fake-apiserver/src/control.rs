//! What tests do to a server that runs as a process: under `/control/`, with the administrator's token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::Method;
use serde_json::json;

use crate::access::Subject;
use crate::handle::nothing;
use crate::refusal::Refusal;
use crate::server::Shared;

/// Carries a command out.
///
/// # Errors
/// 404 for what is no command.
pub fn answer(
    shared: &Arc<Shared>,
    method: &Method,
    command: &str,
    parameters: &HashMap<String, String>,
) -> Result<Response, Refusal> {
    let text = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    match (method.as_str(), command) {
        // Every watch ends with 410, and who begins one from an old version gets 410 too.
        ("POST", "expire") => shared.expire(),
        ("POST", "drop-connections") => shared.drop_connections(),
        ("POST", "delay") => {
            let milliseconds = text("milliseconds").parse();
            let milliseconds = milliseconds.map_err(|_| Refusal::bad_request("milliseconds: no number"))?;
            shared.settings().delay = Duration::from_millis(milliseconds);
        }
        ("GET", "log") => {
            let log = shared.log();
            return Ok(Json(json!({"allowed": log.allowed(), "denied": log.denied()})).into_response());
        }
        ("DELETE", "log") => shared.log().clear(),
        ("GET", "unused") => {
            let subject = Subject::service_account(text("namespace"), text("name"));
            let unused = shared.log().unused(&shared.store(), &subject);
            return Ok(Json(json!(unused)).into_response());
        }
        _ => return Err(Refusal::unknown_path()),
    }
    Ok(nothing())
}
