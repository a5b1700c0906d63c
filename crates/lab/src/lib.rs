//! A cluster on one machine: nodes and pods as network namespaces, wired by the product's own CNI
//! plugin, running its own agents; real clients and servers in the pods.
//!
//! [`spec::Spec`] says what a lab consists of, [`Lab`] is one that runs. Nothing is made in the
//! machine's own network namespace.

#![forbid(unsafe_code)]

pub mod cli;
mod connect;
mod demo;
mod lab;
pub mod layout;
pub mod machine;
mod measure;
mod names;
pub mod objects;
mod plain_agent;
mod probe;
pub mod spec;
mod workload;

pub use lab::{
    Account, Asked, Follow, Lab, Output, Pod, Source, Status, Tools, Where, down, flow_of, leftovers,
    names as lab_names,
};
