//! Numbers of the wire contract and the texts people know them by.

pub mod dns;
pub mod drop_reason;
pub mod event;
pub mod grpc;
pub mod icmp;
pub mod identity;
pub mod kafka;
pub mod l7_summary;
pub mod policy_match;
pub mod protocol;
pub mod summary;
pub mod tcp_flag;
pub mod trace_point;
pub mod verdict;

/// A name that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?} (expected {expected})")]
pub struct NameError {
    what: &'static str,
    text: String,
    expected: String,
}

impl NameError {
    fn new(what: &'static str, text: &str, expected: impl Into<String>) -> Self {
        Self { what, text: text.to_owned(), expected: expected.into() }
    }
}

/// "a, b or c", for messages that name the choices.
fn choices<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last.to_owned() } else { format!("{} or {last}", names.join(", ")) }
}
