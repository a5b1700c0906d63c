//! The reconciler: objects and local endpoints in, table changes and snapshots out.
//!
//! Read in this order: [`plan`] (what should be) → [`transition`] (how to get there) → [`publish`] (what the
//! joiner sees) → [`reconcile`] (when). [`unfit`] is about tables the kernel has no room for.

pub mod describe;
pub mod devices;
pub mod fading;
pub mod metrics;
pub mod notices;
pub mod plan;
pub mod publish;
pub mod reconcile;
pub mod registry;
pub mod report;
pub mod routes;
pub mod services;
pub mod state;
pub mod topology;
pub mod transition;
pub mod unfit;
