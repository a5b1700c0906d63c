//! Data out: the store's flows as the Observer API tells them, and the agent's own questions.
//!
//! [`service`] answers; a GetFlows answer is [`plan`] → [`stream`] → [`view`].

pub mod agent;
pub mod facts;
pub mod history;
pub mod node;
pub mod peer;
pub mod plan;
pub mod service;
pub mod stream;
pub mod view;
