//! CNI errors: a number the runtime understands, a sentence, and details.

use std::fmt;

/// Error codes of the specification (section "Error"), and ours from 100 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    IncompatibleVersion,
    UnsupportedField,
    InvalidEnvironment,
    Io,
    Decoding,
    InvalidConfig,
    /// The runtime should try again; the cause is expected to pass.
    TryAgainLater,
    /// STATUS: no ADD can succeed at present.
    NotAvailable,
    /// The agent answered and refused.
    Agent,
    /// The node's address range is used up.
    NoAddress,
    /// The kernel refused a device, address, route or neighbour.
    Netlink,
    /// The interface name is taken inside the container.
    InterfaceExists,
    /// CHECK found differences.
    Differs,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decoding => 6,
            Self::InvalidConfig => 7,
            Self::TryAgainLater => 11,
            Self::NotAvailable => 50,
            Self::Agent => 100,
            Self::NoAddress => 101,
            Self::Netlink => 102,
            Self::InterfaceExists => 103,
            Self::Differs => 104,
        }
    }
}

/// What went wrong, as the runtime gets to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
    pub details: String,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// Adds a cause to the details; several are separated by "; ".
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        if !self.details.is_empty() {
            self.details.push_str("; ");
        }
        self.details.push_str(&cause.to_string());
        self
    }

    /// The JSON object the specification asks for; `version` is repeated from the configuration.
    pub fn to_json(&self, version: &str) -> String {
        serde_json::json!({
            "cniVersion": version,
            "code": self.code.number(),
            "msg": self.message,
            "details": self.details,
        })
        .to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code.number())?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

impl std::error::Error for Error {}
