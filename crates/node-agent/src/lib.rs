//! The node's joiner: kernel records in, flows out; Kubernetes objects in, tables out.

#![forbid(unsafe_code)]

pub mod attach;
pub mod checks;
pub mod cleanup;
pub mod cluster;
pub mod cni;
pub mod config;
pub mod control;
pub mod datapath;
pub mod events;
pub mod health_ports;
pub mod host_pods;
pub mod http;
pub mod metrics;
pub mod observer;
pub mod pipeline;
pub mod policies;
pub mod prepare;
pub mod run;
pub mod tasks;
pub mod uplinks;
