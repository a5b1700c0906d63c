//! What a GetFlows request asks for, parsed once.

use fathom_api::filter::Filter;
use fathom_api::flow::{FlowFilter, Verdict};
use fathom_api::names::event;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::time::unix_ns;
use fathom_api::write::Mask;
use prost_types::Timestamp;
use tonic::Status;

/// A parsed request.
#[derive(Debug)]
pub struct Plan {
    pub filter: Filter,
    pub mask: Mask,
    pub span: Span,
    /// Only denials can match: the store's second ring is part of the history.
    pub only_drops: bool,
    /// The client asked for `fathom.v1.FlowFacts`.
    pub facts: bool,
}

/// How much of the history, and of the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// At most this many; `u64::MAX` = all. With `follow` it counts the history only.
    pub number: u64,
    /// Nothing of the history: with `follow` a number of 0 means that, where without it means all. A client that
    /// wants all of both says a large number.
    pub from_now: bool,
    /// From the oldest on, instead of the newest `number`.
    pub first: bool,
    pub follow: bool,
    /// Nanoseconds since the epoch; inclusive, like `until_ns`.
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
}

impl Span {
    /// Parses the fields that requests for flows and for agent events have in common.
    ///
    /// # Errors
    /// `InvalidArgument` for `first` with `follow`, and for times that are none.
    pub fn parse(
        number: u64,
        first: bool,
        follow: bool,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, Status> {
        if first && follow {
            return Err(Status::invalid_argument(
                "first and follow can't be combined: the first flows are history",
            ));
        }
        let time = |name: &str, time: Option<Timestamp>| match time {
            Some(time) if !(0..1_000_000_000).contains(&time.nanos) => Err(Status::invalid_argument(
                format!("{name}: {} nanoseconds are not from 0 to 999999999", time.nanos),
            )),
            time => Ok(time.map(|time| unix_ns(&time))),
        };
        Ok(Self {
            number: if number == 0 { u64::MAX } else { number },
            first,
            follow,
            from_now: follow && number == 0 && since.is_none(),
            since_ns: time("since", since)?,
            until_ns: time("until", until)?,
        })
    }

    /// Whether a time is within.
    pub fn covers(&self, time_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| time_ns >= since)
            && self.until_ns.is_none_or(|until| time_ns <= until)
    }
}

impl Plan {
    /// Parses a request.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field, for filters, masks and times that mean nothing.
    pub fn parse(request: &GetFlowsRequest) -> Result<Self, Status> {
        Ok(Self {
            filter: Filter::compile(&request.whitelist, &request.blacklist)?,
            mask: Mask::compile(request.field_mask.as_ref())?,
            span: Span::parse(request.number, request.first, request.follow, request.since, request.until)?,
            only_drops: only_drops(&request.whitelist),
            facts: fathom_api::facts::asked(request),
        })
    }
}

/// Whether no filter of the list can match a flow that was not dropped.
fn only_drops(whitelist: &[FlowFilter]) -> bool {
    let asks = |filter: &FlowFilter| {
        let by_verdict =
            !filter.verdict.is_empty() && filter.verdict.iter().all(|v| *v == Verdict::Dropped as i32);
        let by_type =
            !filter.event_type.is_empty() && filter.event_type.iter().all(|t| t.r#type == event::DROP);
        by_verdict || by_type || !filter.drop_reason_desc.is_empty()
    };
    !whitelist.is_empty() && whitelist.iter().all(asks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_api::flow::EventTypeFilter;

    #[test]
    fn a_request_is_for_drops_only_when_each_of_its_filters_is() {
        let dropped = FlowFilter { verdict: vec![Verdict::Dropped.into()], ..Default::default() };
        let reason = FlowFilter { drop_reason_desc: vec![133], ..Default::default() };
        let kind = EventTypeFilter { r#type: event::DROP, ..Default::default() };
        let by_type = FlowFilter { event_type: vec![kind], ..Default::default() };
        let both = FlowFilter {
            verdict: vec![Verdict::Dropped.into(), Verdict::Forwarded.into()],
            ..Default::default()
        };
        let pod = FlowFilter { source_pod: vec!["shop/web".into()], ..Default::default() };
        assert!(only_drops(&[dropped.clone(), reason, by_type]));
        assert!(!only_drops(&[dropped.clone(), pod]));
        assert!(!only_drops(&[both]));
        assert!(!only_drops(&[]));
    }

    #[test]
    fn following_begins_now_only_when_no_history_was_asked_for() {
        let span = |number, follow, since| Span::parse(number, false, follow, since, None).expect("valid");
        assert!(span(0, true, None).from_now);
        assert!(!span(u64::MAX, true, None).from_now, "all of the history, then what comes");
        assert!(!span(20, true, None).from_now);
        assert!(!span(0, true, Some(Timestamp::default())).from_now);
        assert!(!span(0, false, None).from_now);
        assert_eq!(span(0, false, None).number, u64::MAX);
    }

    #[test]
    fn impossible_requests_are_refused_with_the_field_named() {
        let refused = |request: GetFlowsRequest| {
            let status = Plan::parse(&request).expect_err("refused");
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            status.message().to_owned()
        };
        assert!(
            refused(GetFlowsRequest { first: true, follow: true, ..Default::default() }).contains("first")
        );
        let since = Some(Timestamp { seconds: 0, nanos: -1 });
        assert!(refused(GetFlowsRequest { since, ..Default::default() }).contains("since"));
    }
}
