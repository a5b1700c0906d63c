//! Listings: in pages of one state, or of what there is now.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::resources::Resource;
use crate::selector::Selector;
use crate::store::{Key, Store};

/// What a listing asks for, beside the selectors.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub limit: usize,
    pub go_on: String,
    pub version: String,
    pub version_match: String,
}

/// Where a listing goes on: hex of this as JSON, opaque to clients.
#[derive(Serialize, Deserialize)]
struct Token {
    /// `None`: in whatever state there is by then.
    version: Option<u64>,
    after: Key,
}

impl Token {
    fn write(&self) -> String {
        to_hex(&serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Option<Token> {
        serde_json::from_slice(&from_hex(text)?).ok()
    }
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// The list object.
///
/// # Errors
/// 400, 410, 504 for a version that is not reached yet.
pub fn list(
    store: &Store,
    resource: &Resource,
    namespace: Option<&str>,
    selector: &Selector,
    asked: &Listing,
) -> Result<Value, Refusal> {
    let (version, after) = begin(store, asked)?;
    let state = store.at(&resource.place(), version);
    let state = state.map_err(|refusal| match Token::read(&asked.go_on) {
        Some(token) => refusal.goes_on_with(Token { version: None, after: token.after }.write()),
        None => refusal,
    })?;
    let wanted = |key: &Key, object: &Value| {
        namespace.is_none_or(|namespace| namespace == key.namespace) && selector.matches(object)
    };
    let rest = state.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let mut rest = rest.filter(|(key, object)| wanted(key, object));
    // A server answers "any version" from its cache, whole.
    let limit = if asked.limit == 0 || asked.version == "0" { usize::MAX } else { asked.limit };
    let page: Vec<(&Key, &Arc<Value>)> = rest.by_ref().take(limit).collect();
    let remaining = rest.count();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let (Some((last, _)), 1..) = (page.last(), remaining) {
        let token = Token { version: Some(version), after: (*last).clone() };
        metadata["continue"] = json!(token.write());
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    let items: Vec<&Value> = page.iter().map(|(_, object)| object.as_ref()).collect();
    let kind = format!("{}List", resource.kind);
    Ok(json!({"kind": kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items}))
}

/// The state to list, and the object after which the page begins.
fn begin(store: &Store, asked: &Listing) -> Result<(u64, Option<Key>), Refusal> {
    if !asked.version_match.is_empty() && asked.version.is_empty() {
        let message = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(Refusal::new(422, "Invalid", message));
    }
    if !asked.go_on.is_empty() {
        if !["", "0"].contains(&asked.version.as_str()) {
            return Err(Refusal::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Token::read(&asked.go_on);
        let token = token.ok_or_else(|| Refusal::bad_request("continue key is not valid"))?;
        return Ok((token.version.unwrap_or(store.version()), Some(token.after)));
    }
    if ["", "0"].contains(&asked.version.as_str()) {
        if asked.version_match == "Exact" {
            let message = "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(Refusal::new(422, "Invalid", message));
        }
        return Ok((store.version(), None));
    }
    let version = version(&asked.version)?;
    reached(store, version)?;
    match asked.version_match.as_str() {
        "Exact" => Ok((version, None)),
        "" if asked.limit > 0 => Ok((version, None)),
        "" | "NotOlderThan" => Ok((store.version(), None)),
        other => {
            Err(Refusal::new(422, "Invalid", format!("resourceVersionMatch: Unsupported value: {other:?}")))
        }
    }
}

/// # Errors
/// 400 for what is no version.
pub fn version(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request(format!("Invalid value: {text:?}: is no resource version")))
}

/// # Errors
/// 504 for a version of a time to come.
pub fn reached(store: &Store, version: u64) -> Result<(), Refusal> {
    let now = store.version();
    if version <= now {
        return Ok(());
    }
    let message = format!("Too large resource version: {version}, current: {now}");
    Err(Refusal::new(504, "Timeout", message).retry_after(1))
}
