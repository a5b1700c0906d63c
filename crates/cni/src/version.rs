//! Versions of the specification this plugin speaks.

/// Oldest first. The shape of results differs only in details, see [`crate::output`].
pub const SUPPORTED: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// The answer to VERSION.
pub fn answer() -> String {
    serde_json::json!({ "cniVersion": SUPPORTED[SUPPORTED.len() - 1], "supportedVersions": SUPPORTED })
        .to_string()
}
