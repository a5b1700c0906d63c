//! Flow filters, compiled once and run on flows in whatever form they are held.
//!
//! A request has two lists of filters: a flow passes when any of the whitelist matches (or there is
//! none) and none of the blacklist does. Within one filter the fields must all match; within one
//! field any value may. A filter without fields matches every flow.
//!
//! What each field takes is said where it is compiled (`build.rs`); where that differs from Hubble,
//! it takes more: IPv6 addresses in any spelling, globs for clusters as well as for nodes and names,
//! header names in any case, `protocol` for gRPC (which is HTTP as well) and Kafka, and in a whitelist
//! `event_type: policy-verdict` for every flow that an enforced policy judged.

mod address;
mod build;
mod decoded;
mod error;
mod glob;
mod http;
mod namespaced;
mod selector;
mod test;
mod view;

use crate::flow::FlowFilter;
use test::Test;

pub use error::FilterError;
pub use view::{Application, FlowView, HttpView, Side, Transport};

/// The filters of one request.
#[derive(Debug, Default)]
pub struct Filter {
    whitelist: Vec<AllOf>,
    blacklist: Vec<AllOf>,
}

/// One `FlowFilter`: its fields' tests, cheap ones first.
#[derive(Debug)]
struct AllOf(Vec<Test>);

impl Filter {
    /// Compiles a request's lists.
    ///
    /// # Errors
    /// The first value that means nothing, by list, index, field and value.
    pub fn compile(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Result<Self, FilterError> {
        let list = |name, filters: &[FlowFilter]| -> Result<Vec<AllOf>, FilterError> {
            filters
                .iter()
                .enumerate()
                .map(|(index, filter)| build::tests(name, index, filter).map(AllOf))
                .collect()
        };
        Ok(Self { whitelist: list("whitelist", whitelist)?, blacklist: list(build::BLACKLIST, blacklist)? })
    }

    /// Whether every flow passes without being looked at.
    pub fn passes_all(&self) -> bool {
        self.blacklist.is_empty()
            && (self.whitelist.is_empty() || self.whitelist.iter().any(|all| all.0.is_empty()))
    }

    /// Whether the flow passes. Allocates nothing.
    pub fn matches<F: FlowView>(&self, flow: &F) -> bool {
        (self.whitelist.is_empty() || self.whitelist.iter().any(|all| all.matches(flow)))
            && !self.blacklist.iter().any(|all| all.matches(flow))
    }
}

impl AllOf {
    fn matches<F: FlowView>(&self, flow: &F) -> bool {
        self.0.iter().all(|test| test.matches(flow))
    }
}
