//! The node's joiner: kernel records in, flows out; Kubernetes objects in, tables out.

#![forbid(unsafe_code)]

pub mod cluster;
