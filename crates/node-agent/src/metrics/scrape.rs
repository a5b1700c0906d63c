//! Values that are read when somebody asks: the kernel's counters, the ledger, sizes.

use std::fmt;
use std::sync::Arc;

use fathom_bpf::abi::direction;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::drop_reason;
use crate::events::intake::Shared;
use crate::events::source::Traffic;

/// Reads the agent's state at scrape time.
pub struct Scrape {
    shared: Arc<Shared>,
    version: Arc<str>,
}

impl Scrape {
    pub fn new(shared: Arc<Shared>, version: Arc<str>) -> Self {
        Self { shared, version }
    }

    fn traffic(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Unreadable maps leave these series out: a zero would be a lie.
        let Ok(list) = self.shared.ledger.kernel().traffic() else { return Ok(()) };
        let mut family = |name, help, value: fn(&Traffic) -> u64| {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for traffic in &list {
                let labels =
                    [("direction", direction_name(traffic.direction)), ("reason", reason(traffic.reason))];
                ConstCounter::new(value(traffic)).encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        family("fathom_datapath_packets", "Packets the programs decided about", |t| t.packets)?;
        family("fathom_datapath_bytes", "Bytes of those packets, from the IP header up", |t| t.bytes)
    }

    fn ledger(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sheet = self.shared.ledger.sheet();
        let help = "Records by stage of their way, since the kernel's tables exist or this agent runs";
        let mut metric =
            encoder.encode_descriptor("fathom_ledger_events", help, None, MetricType::Counter)?;
        for stage in &sheet.stages {
            let results = [
                ("in", stage.r#in),
                ("out", stage.out),
                ("aggregated", stage.aggregated),
                ("lost", stage.lost),
            ];
            for (result, value) in results {
                let labels = [("stage", stage.name.as_str()), ("result", result)];
                ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Records a stage holds now";
        let mut metric =
            encoder.encode_descriptor("fathom_ledger_held_events", help, None, MetricType::Gauge)?;
        for stage in &sheet.stages {
            let labels = [("stage", stage.name.as_str())];
            ConstGauge::new(stage.held).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn l7(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(counts) = self.shared.ledger.kernel().counts() else { return Ok(()) };
        let l7 = counts.l7;
        let mut counter = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)
        };
        counter(
            "fathom_l7_records",
            "Messages that the programs wrote records of, lost ones too",
            l7.emitted,
        )?;
        counter("fathom_l7_records_lost", "Records of messages that found the ring full", l7.lost)?;
        counter("fathom_l7_requests", "Requests among the records", l7.requests)?;
        counter("fathom_l7_responses", "Responses among the records", l7.responses)?;
        counter("fathom_l7_connections", "Connections whose bytes were looked at", l7.opened)?;
        counter(
            "fathom_l7_connections_evicted",
            "Connections whose state made room for another's",
            l7.evicted,
        )?;
        counter("fathom_l7_connections_unknown", "Connections of no protocol known", l7.not_ours)?;
        counter("fathom_l7_connections_malformed", "Connections that broke their protocol", l7.malformed)?;
        counter(
            "fathom_l7_requests_evicted",
            "Requests whose place in the kernel's table another's took",
            l7.untracked,
        )?;
        counter("fathom_l7_responses_unmatched", "Responses whose request was not seen", l7.unmatched)?;
        counter("fathom_l7_gaps", "Times bytes were missed and a connection's thread was lost", l7.gaps)?;
        counter("fathom_l7_segments_held", "Segments that came early and waited", l7.held)?;
        counter("fathom_l7_segments_repeated", "Segments, or parts of one, seen before", l7.repeated)?;
        counter(
            "fathom_l7_fields_unknown",
            "Header fields whose value only a lost part of the connection told",
            l7.unknown,
        )
    }

    fn sizes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let store = &self.shared.store;
        let mut gauge = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge("fathom_store_flows", "Flows in the store", store.len())?;
        gauge("fathom_store_capacity_flows", "Flows the store can hold", store.capacity())?;
        gauge("fathom_store_denials", "Denials in the store of their own", store.denials())?;
        let mut metric =
            encoder.encode_descriptor("fathom_build_info", "What runs here", None, MetricType::Gauge)?;
        let labels = [("version", &*self.version)];
        ConstGauge::new(1u64).encode(metric.encode_family(&labels)?)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.traffic(&mut encoder)?;
        self.ledger(&mut encoder)?;
        self.l7(&mut encoder)?;
        self.sizes(&mut encoder)
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

fn direction_name(number: u8) -> &'static str {
    match number {
        direction::INGRESS => "INGRESS",
        direction::EGRESS => "EGRESS",
        _ => "UNKNOWN",
    }
}

fn reason(number: u8) -> &'static str {
    if number == 0 { "FORWARDED" } else { drop_reason(number) }
}
