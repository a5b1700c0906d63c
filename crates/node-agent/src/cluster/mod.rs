//! Objects in: Kubernetes objects from a directory of YAML files, and what they amount to.

pub mod snapshot;
