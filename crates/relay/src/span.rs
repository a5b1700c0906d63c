//! Which part of a stream a request asks for: the fields that all of the Observer's streams share.

use fathom_api::observer::{GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest};
use fathom_api::time::{now, unix_ns};
use prost_types::Timestamp;
use tokio::time::{Duration, Instant};
use tonic::Status;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    pub number: u64,
    pub first: bool,
    pub follow: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Span {
    /// The agents would refuse the same; saying it here spares fifty nodes the question, and the
    /// client fifty answers.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field.
    pub fn check(&self) -> Result<(), Status> {
        if self.first && self.follow {
            return Err(Status::invalid_argument(
                "first and follow can't be combined: the first ones are history",
            ));
        }
        for (name, time) in [("since", &self.since), ("until", &self.until)] {
            if let Some(time) = time.as_ref().filter(|time| !(0..1_000_000_000).contains(&time.nanos)) {
                let nanos = time.nanos;
                return Err(Status::invalid_argument(format!(
                    "{name}: {nanos} nanoseconds are not from 0 to 999999999"
                )));
            }
        }
        Ok(())
    }

    /// When a followed stream is over; `None` = never, or it does not follow.
    pub fn end(&self) -> Option<Instant> {
        let until = self.until.as_ref().filter(|_| self.follow)?;
        let ahead = u64::try_from(unix_ns(until).saturating_sub(now())).unwrap_or(0);
        // A year at most, so that no clock overflows.
        Some(Instant::now() + Duration::from_nanos(ahead).min(Duration::from_secs(365 * 86_400)))
    }
}

macro_rules! span_of {
    ($($request:ty),*) => {$(
        impl From<&$request> for Span {
            fn from(request: &$request) -> Self {
                Span {
                    number: request.number,
                    first: request.first,
                    follow: request.follow,
                    since: request.since,
                    until: request.until,
                }
            }
        }
    )*};
}
span_of!(GetFlowsRequest, GetAgentEventsRequest, GetDebugEventsRequest);

impl From<Span> for GetAgentEventsRequest {
    fn from(Span { number, first, follow, since, until }: Span) -> Self {
        Self { number, first, follow, since, until }
    }
}

impl From<Span> for GetDebugEventsRequest {
    fn from(Span { number, first, follow, since, until }: Span) -> Self {
        Self { number, first, follow, since, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_agent_would_take_is_refused_by_name() {
        let refused = |span: Span| span.check().unwrap_err().message().to_owned();
        assert!(refused(Span { first: true, follow: true, ..Default::default() }).contains("first"));
        let bad = Some(Timestamp { seconds: 1, nanos: -1 });
        assert!(refused(Span { since: bad, ..Default::default() }).starts_with("since: -1"));
        assert!(refused(Span { until: bad, ..Default::default() }).starts_with("until: -1"));
        assert!(Span { first: true, number: 3, ..Default::default() }.check().is_ok());
    }
}
