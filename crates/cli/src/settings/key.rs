//! Names of settings: the flag's name is the file's key and, in capitals, the environment's.

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// In the form it is typed.
    pub default: &'static str,
}

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Duration,
    Switch,
    /// A list in the file, comma-separated elsewhere.
    Files,
    /// A list in the file; elsewhere one text, which may hold several JSON objects.
    Json,
}

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default }
}

pub const SERVER: Key = key("server", Kind::Text, "localhost:4245");
pub const TIMEOUT: Key = key("timeout", Kind::Duration, "5s");
pub const REQUEST_TIMEOUT: Key = key("request-timeout", Kind::Duration, "12s");
pub const TLS: Key = key("tls", Kind::Switch, "false");
pub const TLS_ALLOW_INSECURE: Key = key("tls-allow-insecure", Kind::Switch, "false");
pub const TLS_CA_CERT_FILES: Key = key("tls-ca-cert-files", Kind::Files, "");
pub const TLS_CLIENT_CERT_FILE: Key = key("tls-client-cert-file", Kind::Text, "");
pub const TLS_CLIENT_KEY_FILE: Key = key("tls-client-key-file", Kind::Text, "");
pub const TLS_SERVER_NAME: Key = key("tls-server-name", Kind::Text, "");
pub const BASIC_AUTH_USERNAME: Key = key("basic-auth-username", Kind::Text, "");
pub const BASIC_AUTH_PASSWORD: Key = key("basic-auth-password", Kind::Text, "");
pub const DEBUG: Key = key("debug", Kind::Switch, "false");
pub const ALLOWLIST: Key = key("allowlist", Kind::Json, "");
pub const DENYLIST: Key = key("denylist", Kind::Json, "");

/// Every setting that a configuration file may hold.
pub const ALL: [Key; 14] = [
    SERVER,
    TIMEOUT,
    REQUEST_TIMEOUT,
    TLS,
    TLS_ALLOW_INSECURE,
    TLS_CA_CERT_FILES,
    TLS_CLIENT_CERT_FILE,
    TLS_CLIENT_KEY_FILE,
    TLS_SERVER_NAME,
    BASIC_AUTH_USERNAME,
    BASIC_AUTH_PASSWORD,
    DEBUG,
    ALLOWLIST,
    DENYLIST,
];

/// The setting of this name.
pub fn find(name: &str) -> Option<Key> {
    ALL.into_iter().find(|key| key.name == name)
}
