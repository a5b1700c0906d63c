//! Promises about flows, checked on the relay's stream.

use std::time::Duration;

use anyhow::Result;
use fathom_api::facts;
use fathom_api::flow::{Endpoint, Flow, Verdict};
use fathom_api::observer::GetFlowsRequest;

use crate::lab::{Follow, Lab, Source};

/// How long a promise may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The relay's stream from the beginning of the story on.
pub struct Watcher {
    follow: Follow,
}

impl Watcher {
    pub fn over(lab: &Lab) -> Result<Self> {
        let mut request = GetFlowsRequest::default();
        facts::ask(&mut request);
        Ok(Self { follow: lab.follow(&Source::Relay, request)? })
    }

    /// Waits for a flow that begins after now.
    pub fn expect(&self, what: &str, wanted: impl Fn(&Flow) -> bool) -> Result<Flow> {
        self.follow.wait_for(what, self.follow.mark(), PATIENCE, wanted)
    }

    /// Waits for a flow unless the story has seen one already.
    pub fn expect_by_now(&self, what: &str, wanted: impl Fn(&Flow) -> bool) -> Result<Flow> {
        self.follow.wait_for(what, 0, PATIENCE, wanted)
    }

    /// A place in the stream to look from later.
    pub fn mark(&self) -> usize {
        self.follow.mark()
    }

    /// Flows that came after `mark`.
    pub fn since(&self, mark: usize) -> Vec<Flow> {
        let responses = self.follow.responses();
        responses.into_iter().skip(mark).filter_map(crate::lab::flow_of).collect()
    }
}

/// Whether an endpoint is a pod of that Deployment.
fn is(endpoint: Option<&Endpoint>, namespace: &str, workload: &str) -> bool {
    endpoint.is_some_and(|e| e.namespace == namespace && e.pod_name.starts_with(&format!("{workload}-")))
}

/// A flow from one Deployment to another, as "namespace/name".
pub fn between(flow: &Flow, from: &str, to: &str) -> bool {
    let side = |endpoint, name: &str| name.split_once('/').is_some_and(|(ns, name)| is(endpoint, ns, name));
    side(flow.source.as_ref(), from) && side(flow.destination.as_ref(), to)
}

/// An opening packet that was let through.
pub fn forwarded(flow: &Flow) -> bool {
    flow.verdict() == Verdict::Forwarded && flow.is_reply != Some(true)
}

/// A packet that a policy stopped.
pub fn dropped(flow: &Flow) -> bool {
    flow.verdict() == Verdict::Dropped
}

/// Names of the policies that denied a flow.
pub fn denied_by(flow: &Flow) -> Vec<String> {
    flow.ingress_denied_by
        .iter()
        .chain(&flow.egress_denied_by)
        .map(|p| format!("{}/{}", p.namespace, p.name))
        .collect()
}
