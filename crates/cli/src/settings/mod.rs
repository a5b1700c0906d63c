//! What the global flags, the environment and the configuration file together mean.
//!
//! Precedence: flag, then FATHOM_NAME, then HUBBLE_NAME, then the configuration file, then the default.

pub mod file;
pub mod key;
mod source;
pub mod typed;

use std::path::PathBuf;
use std::time::Duration;

use fathom_api::connect::{Target, TlsOptions};

pub use file::ConfigFile;
pub use source::Sources;
use typed::GlobalArgs;

/// Everything a command needs to know that is not its own flags.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: Target,
    /// Limit for connecting.
    pub timeout: Duration,
    /// Limit for the answer to one question. Streams have none.
    pub request_timeout: Duration,
    pub tls: TlsOptions,
    pub basic_auth: Option<BasicAuth>,
    pub debug: bool,
    /// FlowFilters in JSON from the environment or the file, for when no flag gives any.
    pub allowlist: Vec<String>,
    pub denylist: Vec<String>,
    /// `HUBBLE_COMPAT=legacy-json-output`: JSON output is the bare flow, as old scripts expect.
    pub legacy_json: bool,
}

/// What is sent with every call, where the server asks for it.
#[derive(Clone)]
pub struct BasicAuth {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BasicAuth({}, …)", self.username)
    }
}

impl Settings {
    /// Resolves every setting; an error names where the bad value came from.
    pub fn resolve(flags: &GlobalArgs, sources: &Sources) -> anyhow::Result<Self> {
        let username = sources.text(key::BASIC_AUTH_USERNAME, flags.basic_auth_username.as_deref())?;
        let password = sources.text(key::BASIC_AUTH_PASSWORD, flags.basic_auth_password.as_deref())?;
        let path = |key, flag: &Option<PathBuf>| -> anyhow::Result<Option<PathBuf>> {
            let text = sources.text(key, flag.as_ref().and_then(|p| p.to_str()))?;
            Ok((!text.is_empty()).then(|| text.into()))
        };
        let server_name = sources.text(key::TLS_SERVER_NAME, flags.tls_server_name.as_deref())?;
        let ca_files = sources.list(key::TLS_CA_CERT_FILES)?.into_iter().map(PathBuf::from).collect();
        let compat = sources.env("COMPAT").unwrap_or_default();
        Ok(Self {
            server: sources.parsed(key::SERVER, flags.server.as_deref(), |text| {
                text.parse::<Target>().map_err(|e| e.to_string())
            })?,
            timeout: sources.parsed(key::TIMEOUT, flags.timeout.as_deref(), crate::duration::parse)?,
            request_timeout: sources.parsed(
                key::REQUEST_TIMEOUT,
                flags.request_timeout.as_deref(),
                crate::duration::parse,
            )?,
            tls: TlsOptions {
                enabled: sources.switch(key::TLS, flags.tls)?,
                ca_files: if flags.tls_ca_cert_files.is_empty() {
                    ca_files
                } else {
                    flags.tls_ca_cert_files.clone()
                },
                client_cert_file: path(key::TLS_CLIENT_CERT_FILE, &flags.tls_client_cert_file)?,
                client_key_file: path(key::TLS_CLIENT_KEY_FILE, &flags.tls_client_key_file)?,
                server_name: (!server_name.is_empty()).then_some(server_name),
                allow_insecure: sources.switch(key::TLS_ALLOW_INSECURE, flags.tls_allow_insecure)?,
            },
            basic_auth: (!username.is_empty()).then_some(BasicAuth { username, password }),
            debug: sources.switch(key::DEBUG, flags.debug)?,
            allowlist: sources.list(key::ALLOWLIST)?,
            denylist: sources.list(key::DENYLIST)?,
            legacy_json: compat.split(',').any(|word| word == "legacy-json-output"),
        })
    }
}
