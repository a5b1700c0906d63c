//! The reconciler: objects and local endpoints in, table changes and snapshots out.

pub mod plan;
pub mod registry;
pub mod services;
pub mod transition;
