//! The routes that are told apart, each with its numbers.

use std::collections::{HashMap, HashSet};

use fathom_api::flow::Flow;

use super::exchange::{Exchange, Protocol, Seen, append_server};
use super::numbers::Windowed;
use super::path;
use super::typed::{GroupingArgs, Sort};

/// Pods known to report for themselves; as many as there may be in a large cluster.
const SERVERS: usize = 200_000;
/// Parts that a window is made of: so much of it goes at once.
pub const PARTS: u64 = 4;

/// What a row stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Who was asked; empty unless told apart by it.
    pub service: Box<str>,
    pub protocol: Protocol,
    pub method: Box<str>,
    pub path: Box<str>,
}

/// All of them.
pub struct Routes {
    grouping: GroupingArgs,
    protocols: Vec<Protocol>,
    rows: HashMap<Box<str>, (Route, Windowed)>,
    /// Exchanges of routes that there was no room for.
    other: Windowed,
    /// Everything.
    all: Windowed,
    /// Pods whose own node reports what they answer.
    servers: HashSet<Box<str>>,
    /// Exchanges that were reported by the client's node too.
    pub twice: u64,
    /// The part of the window that now is in.
    part: u64,
    key: String,
}

impl Routes {
    pub fn new(grouping: GroupingArgs, protocols: Vec<Protocol>) -> Self {
        Self {
            grouping,
            protocols,
            rows: HashMap::new(),
            other: Windowed::default(),
            all: Windowed::default(),
            servers: HashSet::new(),
            twice: 0,
            part: 0,
            key: String::new(),
        }
    }

    /// Counts a flow; whether it was an exchange of those asked for.
    pub fn count(&mut self, flow: &Flow) -> bool {
        let Some(exchange) = Exchange::of(flow).filter(|one| self.protocols.contains(&one.protocol)) else {
            return false;
        };
        if self.was_counted(flow, exchange.seen) {
            self.twice += 1;
            return false;
        }
        let (outcome, latency) = (exchange.outcome, exchange.latency_ns);
        self.all.record(self.part, outcome, latency);
        let ends = self.make_key(flow, &exchange);
        let room = self.rows.len() < self.grouping.max_routes as usize;
        let numbers = match self.rows.get_mut(self.key.as_str()) {
            Some((_, numbers)) => numbers,
            None if room => {
                let [service, method] = ends;
                let route = Route {
                    service: self.key[..service].into(),
                    protocol: exchange.protocol,
                    method: self.key[service + 1..method].into(),
                    path: self.key[method + 1..].into(),
                };
                let key = self.key.as_str().into();
                &mut self.rows.entry(key).or_insert((route, Windowed::default())).1
            }
            None => &mut self.other,
        };
        numbers.record(self.part, outcome, latency);
        true
    }

    /// Writes service, method and path to the key, with one byte between them that also tells the
    /// protocol; where the first two end.
    fn make_key(&mut self, flow: &Flow, exchange: &Exchange<'_>) -> [usize; 2] {
        let key = &mut self.key;
        key.clear();
        if self.grouping.by_service {
            append_server(flow, key);
        }
        let service = key.len();
        key.push(char::from(exchange.protocol as u8));
        if exchange.protocol != Protocol::Dns || !self.grouping.dns_by_name {
            key.push_str(&exchange.method);
        }
        let method = key.len();
        key.push('\0');
        match exchange.protocol {
            Protocol::Http => path::append(&exchange.target, self.grouping.fold_ids, key),
            _ => key.push_str(&exchange.target),
        }
        [service, method]
    }

    /// Both nodes report an exchange between pods of two nodes. The client's report counts only as
    /// long as the server's pod was not seen to report by itself: that of another node may not be
    /// among those asked, or have its reports turned off.
    fn was_counted(&mut self, flow: &Flow, seen: Seen) -> bool {
        let Some(server) = flow.source.as_ref().filter(|end| !end.pod_name.is_empty()) else { return false };
        self.key.clear();
        self.key.push_str(&server.namespace);
        self.key.push('/');
        self.key.push_str(&server.pod_name);
        let known = self.servers.contains(self.key.as_str());
        if seen == Seen::AtServer && !known && self.servers.len() < SERVERS {
            self.servers.insert(self.key.as_str().into());
        }
        seen == Seen::AtClient && known
    }

    /// A node is missing: the servers there are seen by their clients' nodes only.
    pub fn forget_servers(&mut self) {
        self.servers.clear();
    }

    /// Enters the part of the window that now is in, and forgets what has left it.
    pub fn enter(&mut self, part: u64) {
        self.part = part;
        let from = (part + 1).saturating_sub(PARTS);
        self.all.keep_from(from);
        self.other.keep_from(from);
        self.rows.retain(|_, (_, numbers)| numbers.keep_from(from));
    }

    /// Begins a new interval.
    pub fn begin_interval(&mut self) {
        let rows = self.rows.values_mut().map(|(_, numbers)| numbers);
        rows.chain([&mut self.other, &mut self.all]).for_each(|numbers| numbers.lately = 0);
    }

    /// Every route, in this order.
    pub fn sorted(&self, sort: Sort) -> Vec<(&Route, &Windowed)> {
        let mut rows: Vec<_> = self
            .rows
            .values()
            .map(|(route, numbers)| {
                let count = numbers.total(|part| part.count);
                let first = match sort {
                    Sort::Count => count,
                    Sort::Rate => numbers.lately,
                    Sort::Errors => numbers.total(|part| part.errors),
                    Sort::P50 => numbers.quantile(0.5).unwrap_or(0),
                    Sort::P99 => numbers.quantile(0.99).unwrap_or(0),
                };
                ((first, count), route, numbers)
            })
            .collect();
        rows.sort_unstable_by(|(a, route_a, _), (b, route_b, _)| b.cmp(a).then_with(|| route_a.cmp(route_b)));
        rows.into_iter().map(|(_, route, numbers)| (route, numbers)).collect()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn other(&self) -> &Windowed {
        &self.other
    }

    pub fn all(&self) -> &Windowed {
        &self.all
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
