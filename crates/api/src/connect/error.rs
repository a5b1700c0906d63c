//! Why no channel came about.

use std::path::PathBuf;

use super::Target;

/// What failed on the way to a server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "{target:?} is not a server address (expected host:port, tls://host:port or unix:///path): {problem}"
    )]
    Target { target: String, problem: &'static str },
    #[error("cannot connect to {target}: {problem}")]
    Unreachable { target: String, problem: String },
    #[error("cannot read {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} holds no {what} in PEM form", path.display())]
    NotPem { what: &'static str, path: PathBuf },
    #[error("TLS options: {0}")]
    Options(String),
}

impl ConnectError {
    /// With every cause in the chain, which transport errors hide behind "transport error".
    pub(super) fn new(target: &Target, error: &dyn std::error::Error) -> Self {
        let mut problem = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !problem.contains(&text) {
                problem = format!("{problem}: {text}");
            }
            source = cause.source();
        }
        Self::Unreachable { target: target.to_string(), problem }
    }
}
