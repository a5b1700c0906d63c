//! Bearer tokens: of the administrator, and of service accounts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::Subject;
use crate::list::{from_hex, to_hex};
use crate::store::{Key, Store};

/// What a service account's token says. It is not signed: who can reach a server for tests may have one.
#[derive(Serialize, Deserialize)]
struct Claims {
    namespace: String,
    name: String,
    /// Of the account: one made anew under the same name does not take it.
    uid: String,
    /// Seconds since 1970.
    expires: i64,
}

const PREFIX: &str = "service-account-";

/// A token for an account that exists.
pub fn issue(store: &Store, namespace: &str, name: &str, seconds: i64) -> Option<(String, Timestamp)> {
    let account = store.get("serviceaccounts", &Key::new(namespace, name))?;
    let uid = account["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let expires = Timestamp::now().as_second() + seconds;
    let claims = Claims { namespace: namespace.to_owned(), name: name.to_owned(), uid, expires };
    let token = format!("{PREFIX}{}", to_hex(&serde_json::to_vec(&claims).unwrap_or_default()));
    Some((token, Timestamp::from_second(expires).unwrap_or_default()))
}

/// Whose token it is; `None` when it is nobody's, or no longer.
pub fn subject(store: &Store, admin: Option<&str>, token: &str) -> Option<Subject> {
    if admin == Some(token) {
        return Some(Subject::admin());
    }
    let claims: Claims = serde_json::from_slice(&from_hex(token.strip_prefix(PREFIX)?)?).ok()?;
    let account = store.get("serviceaccounts", &Key::new(&claims.namespace, &claims.name))?;
    let good = account["metadata"]["uid"] == claims.uid && claims.expires > Timestamp::now().as_second();
    good.then(|| Subject::service_account(&claims.namespace, &claims.name))
}
