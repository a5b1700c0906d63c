//! Prometheus metrics: what dashboards know keeps its `hubble_` name, our own begin with `fathom_`.

mod l7;
mod scrape;

use fathom_api::filter::Transport;
use fathom_api::flow::{DropReason, LostEventSource, Verdict};
use fathom_api::names;
use fathom_bpf::abi::kind;
use hashbrown::HashMap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::events::Flow;
use crate::events::l7::{Content, Message, Sizes};

pub use scrape::Scrape;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Everything that is counted while the agent works.
#[derive(Debug, Default)]
pub struct Metrics {
    lost: Family<Labels<1>, Counter>,
    processed: Family<Labels<4>, Counter>,
    dropped: Family<Labels<2>, Counter>,
    l7: l7::Tables,
}

impl Metrics {
    /// Adds these metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "hubble_lost_events",
            "Events lost, each one counted, by the place that lost them",
            self.lost.clone(),
        );
        registry.register("hubble_flows_processed", "Flows taken into the store", self.processed.clone());
        registry.register("hubble_drop", "Dropped flows", self.dropped.clone());
        self.l7.register(registry);
        for source in [
            LostEventSource::PerfEventRingBuffer,
            LostEventSource::ObserverEventsQueue,
            LostEventSource::HubbleRingBuffer,
        ] {
            // A series that is there from the start shows its first increase.
            self.lost(source, 0);
        }
    }

    /// Counts lost events.
    pub fn lost(&self, source: LostEventSource, count: u64) {
        let name = match source {
            LostEventSource::PerfEventRingBuffer => "perf_event_ring_buffer",
            LostEventSource::ObserverEventsQueue => "observer_events_queue",
            LostEventSource::HubbleRingBuffer => "hubble_ring_buffer",
            LostEventSource::UnknownLostEventSource => "unknown",
        };
        self.lost.get_or_create(&[("source", name)]).inc_by(count);
    }

    /// Sets how full the tables are that join messages.
    pub fn set_l7(&self, sizes: Sizes) {
        self.l7.set(sizes);
    }

    /// A counter of flows for one thread, which remembers the series it met.
    pub fn flow_counters(&self) -> FlowCounters {
        FlowCounters {
            processed: self.processed.clone(),
            dropped: self.dropped.clone(),
            known: HashMap::default(),
        }
    }
}

/// What tells series apart, as one number, which is quick to hash: transport, kind, verdict, reason,
/// observation point, protocol of the message.
fn key(transport: Option<Transport>, flow: &Flow) -> u64 {
    let event = &flow.event;
    let transport = transport.map_or(u8::MAX, |transport| transport as u8);
    let protocol = flow.message().map_or(0, |message| message.head.proto);
    u64::from_le_bytes([transport, event.kind, event.verdict, event.reason, event.obs_point, protocol, 0, 0])
}

/// Protocols of messages, as labels.
fn application(message: &Message) -> &'static str {
    match message.content {
        Content::Http { .. } => "HTTP",
        Content::Dns(_) => "DNS",
        Content::Kafka(_) => "Kafka",
    }
}

/// Counts flows without looking up labels twice.
pub struct FlowCounters {
    processed: Family<Labels<4>, Counter>,
    dropped: Family<Labels<2>, Counter>,
    known: HashMap<u64, Series, foldhash::fast::RandomState>,
}

struct Series {
    processed: Counter,
    dropped: Option<Counter>,
}

impl Series {
    fn count(&self) {
        self.processed.inc();
        if let Some(dropped) = &self.dropped {
            dropped.inc();
        }
    }
}

impl FlowCounters {
    pub fn count(&mut self, flow: &Flow) {
        let transport = Transport::from_iana(flow.event.proto);
        let key = key(transport, flow);
        match self.known.get(&key) {
            Some(series) => series.count(),
            None => {
                let series = self.series(flow, transport);
                series.count();
                self.known.insert(key, series);
            }
        }
    }

    #[cold]
    fn series(&self, flow: &Flow, transport: Option<Transport>) -> Series {
        let event = &flow.event;
        let message = flow.message();
        let protocol = message.map_or_else(|| transport.map_or("Unknown L4", Transport::name), application);
        let (kind, subtype) = match (flow.is_drop(), event.kind) {
            _ if message.is_some() => ("L7", protocol),
            (true, _) => ("Drop", ""),
            (false, kind::SOCK) => {
                ("TraceSock", names::event::sock_point(event.obs_point.into()).unwrap_or("unknown"))
            }
            _ => ("Trace", names::trace_point::name(event.obs_point.into()).unwrap_or("unknown")),
        };
        let verdict = Verdict::try_from(i32::from(event.verdict)).unwrap_or_default().as_str_name();
        let labels = [("protocol", protocol), ("type", kind), ("subtype", subtype), ("verdict", verdict)];
        let dropped = flow.is_drop().then(|| {
            let labels = [("reason", drop_reason(event.reason)), ("protocol", protocol)];
            self.dropped.get_or_create_owned(&labels)
        });
        Series { processed: self.processed.get_or_create_owned(&labels), dropped }
    }
}

/// "POLICY_DENIED".
fn drop_reason(reason: u8) -> &'static str {
    DropReason::try_from(i32::from(reason)).unwrap_or_default().as_str_name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::l7::testing::get;
    use crate::events::l7::{Join, Redaction};
    use crate::events::testing::{denial, event, flow_at};
    use prometheus_client::encoding::text::encode;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        text
    }

    #[test]
    fn flows_and_drops_are_counted_under_the_names_dashboards_know() {
        let metrics = Metrics::default();
        let mut counters = metrics.flow_counters();
        for _ in 0..3 {
            counters.count(&flow_at(event(), 0));
        }
        counters.count(&flow_at(denial(), 0));
        let mut message = flow_at(event(), 0);
        Join::new(Redaction::default()).complete(&mut message, get(1).record().message, &Default::default());
        counters.count(&message);
        metrics.lost(LostEventSource::PerfEventRingBuffer, 41);
        let text = text(&metrics);
        for line in [
            r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"} 3"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="Drop",subtype="",verdict="DROPPED"} 1"#,
            r#"hubble_flows_processed_total{protocol="HTTP",type="L7",subtype="HTTP",verdict="FORWARDED"} 1"#,
            r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"} 1"#,
            r#"hubble_lost_events_total{source="perf_event_ring_buffer"} 41"#,
            r#"hubble_lost_events_total{source="hubble_ring_buffer"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
