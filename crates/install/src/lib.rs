//! Putting Fathom on a cluster, watching it come up, and taking it off again.
//!
//! * [`apply`]: the objects of `manifests/`, by server-side apply.
//! * [`state`]: which of its pods are ready, and what keeps the others.
//! * [`remove`]: nodes made clean, then objects in the reverse order.

#![forbid(unsafe_code)]

pub mod apply;
pub mod remove;
mod resource;
pub mod state;

/// Who applies, for server-side apply.
pub const FIELD_MANAGER: &str = "fathom";
