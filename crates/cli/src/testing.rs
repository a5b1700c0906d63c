//! Flows that tests of several modules, and those of the binary, are about.
#![allow(dead_code)]

#[path = "../tests/common/flows.rs"]
pub mod flows;
#[path = "../tests/common/messages.rs"]
pub mod messages;
