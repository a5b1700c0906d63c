//! Requests that wait for their response.

use std::sync::Arc;

use super::bounded::Bounded;
use super::message::{HttpRequest, KafkaRequest};

/// A request as its response needs it.
#[derive(Clone, Debug)]
pub enum Asked {
    Http(Arc<HttpRequest>),
    Kafka(Arc<KafkaRequest>),
}

/// By connection and exchange. DNS responses repeat their question and need no entry.
pub type Pairs = Bounded<(u64, u32), Asked>;
