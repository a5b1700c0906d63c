//! The books of a stretch of traffic on one node: what the stream told, and what the kernel counted.

use std::collections::BTreeMap;

use fathom_api::facts;
use fathom_api::flow::{EventTypeFilter, FlowFilter, L7FlowType, LostEvent};
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_lab::{Follow, Lab, Source, flow_of};

use crate::message::Message;
use crate::support::eventually_or_say;

/// The number of L7 flows among the public event types.
const L7_EVENT: i32 = 129;

/// Counters that stay 0 when every message is understood.
pub const TROUBLES: [&str; 6] = [
    "connections_evicted",
    "connections_malformed",
    "requests_evicted",
    "responses_unmatched",
    "gaps",
    "fields_unknown",
];

/// An open page.
pub struct Books<'a> {
    lab: &'a Lab,
    node: &'a str,
    follow: Follow,
    before: Counts,
    lost_before: u64,
}

/// The kernel's counters of application messages: what they grew by.
#[derive(Debug, Clone, Default)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn of(lab: &Lab, node: &str) -> Self {
        let (status, text) = lab.agent_http(node, "/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| line.starts_with("fathom_l7_"));
        let counter = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.strip_prefix("fathom_l7_")?.strip_suffix("_total")?;
            Some((name.to_owned(), value.parse::<f64>().ok()? as u64))
        };
        Self(lines.filter_map(counter).collect())
    }

    fn since(&self, before: &Self) -> Self {
        let grown = |(name, value): (&String, &u64)| (name.clone(), value - before.0.get(name).unwrap_or(&0));
        Self(self.0.iter().map(grown).collect())
    }

    /// A counter by its metric's name, without "fathom_l7_" and "_total".
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no fathom_l7_{name}_total in {:?}", self.0))
    }
}

/// A closed page.
#[derive(Debug)]
pub struct Page {
    pub node: String,
    pub messages: Vec<Message>,
    /// What the stream said is missing.
    pub lost: Vec<LostEvent>,
    /// Records of all kinds that the kernel counted as lost.
    pub records_lost: u64,
    pub counts: Counts,
}

impl<'a> Books<'a> {
    pub fn open(lab: &'a Lab, node: &'a str) -> Self {
        let l7 = EventTypeFilter { r#type: L7_EVENT, ..Default::default() };
        let filter = FlowFilter { event_type: vec![l7], ..Default::default() };
        let mut request = GetFlowsRequest { whitelist: vec![filter], ..Default::default() };
        facts::ask(&mut request);
        let follow = lab.follow(&Source::Node(node.to_owned()), request).unwrap();
        Self { lab, node, follow, before: Counts::of(lab, node), lost_before: lost(lab, node) }
    }

    pub fn node(&self) -> &'a str {
        self.node
    }

    fn grown(&self) -> Counts {
        Counts::of(self.lab, self.node).since(&self.before)
    }

    fn seen(&self) -> Vec<Message> {
        let flows = self.follow.responses().into_iter().filter_map(flow_of);
        flows.filter_map(|flow| Message::of(&flow)).collect()
    }

    fn said_lost(&self) -> Vec<LostEvent> {
        let lost = self.follow.responses().into_iter().filter_map(|response| match response.response_types {
            Some(ResponseTypes::LostEvents(lost)) => Some(lost),
            _ => None,
        });
        lost.collect()
    }

    /// Closes once `done` of the kernel's counts, every record that was not lost has come, and it was
    /// said how many were.
    #[track_caller]
    pub fn close(self, what: &str, done: impl Fn(&Counts) -> bool) -> Page {
        let mut counts = Counts::default();
        eventually_or_say(&format!("{what} to be counted on {}", self.node), || {
            counts = self.grown();
            done(&counts).then_some(()).ok_or_else(|| format!("{counts:?}"))
        });
        eventually_or_say(&format!("the flows of {what} on {}", self.node), || {
            counts = self.grown();
            let (due, seen) =
                (counts.get("records") - counts.get("records_lost"), self.follow.count() as u64);
            (seen == due).then_some(()).ok_or_else(|| format!("{seen} flows, {counts:?}"))
        });
        let (mut said, mut records_lost) = (Vec::new(), 0);
        eventually_or_say(&format!("what was lost of {what} on {} to be said", self.node), || {
            (said, records_lost) = (self.said_lost(), lost(self.lab, self.node) - self.lost_before);
            let sum: u64 = said.iter().map(|lost| lost.num_events_lost).sum();
            (sum >= records_lost).then_some(()).ok_or_else(|| format!("{sum} of {records_lost}"))
        });
        Page { node: self.node.to_owned(), lost: said, records_lost, messages: self.seen(), counts }
    }
}

/// Records of all kinds that found a ring full.
#[track_caller]
fn lost(lab: &Lab, node: &str) -> u64 {
    let sheet = lab.ledgers(&Source::Node(node.to_owned())).unwrap().remove(0);
    let lanes =
        sheet.stages.iter().filter(|stage| matches!(stage.name.as_str(), "kernel.events" | "kernel.drops"));
    lanes.map(|stage| stage.lost).sum()
}

impl Page {
    /// Nothing was lost, evicted, missed or misunderstood, and flows and kernel agree to the last one.
    #[track_caller]
    pub fn is_complete(&self) {
        self.is_complete_but("", 0);
    }

    /// The same, but one kind of trouble was there so many times.
    #[track_caller]
    pub fn is_complete_but(&self, but: &str, times: u64) {
        assert!(self.lost.is_empty(), "{}: {:?}", self.node, self.lost);
        for trouble in TROUBLES.into_iter().chain(["records_lost"]) {
            let due = if trouble == but { times } else { 0 };
            assert_eq!(self.counts.get(trouble), due, "{trouble} on {}: {:?}", self.node, self.counts);
        }
        for (kind, counter) in [(L7FlowType::Request, "requests"), (L7FlowType::Response, "responses")] {
            let seen = self.messages.iter().filter(|message| message.kind == kind).count() as u64;
            assert_eq!(seen, self.counts.get(counter), "{counter} on {}: {:?}", self.node, self.counts);
        }
        let unmatched = self.messages.iter().filter(|message| message.facts.unmatched).count() as u64;
        assert_eq!(unmatched, self.counts.get("responses_unmatched"), "{}: {:?}", self.node, self.counts);
        for message in &self.messages {
            let facts = &message.facts;
            assert!(!facts.unknown && !facts.joined && facts.problem.is_empty(), "{message:?}");
        }
    }
}
