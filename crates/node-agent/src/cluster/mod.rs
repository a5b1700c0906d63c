//! Objects in: sources, conversion at the edge, the index, and the snapshot the joiner reads.

pub mod convert;
pub mod index;
pub mod kube;
pub mod model;
pub mod snapshot;
pub mod source;
pub mod yaml;
