//! Writing flow responses straight to wire bytes: what prost would write for the same message, in a
//! fraction of its time and without building it.

mod address;
mod flow;
mod l7;
mod mask;
mod parts;

pub use flow::flow_response;
pub use l7::{Dns, EncryptedFacts, Grpc, Http, Kafka, KafkaFacts, L7, L7Facts, L7Record};
pub use mask::{Mask, MaskError};
pub use parts::{Facts, FlowParts, L4, NodeFields, Policies};
