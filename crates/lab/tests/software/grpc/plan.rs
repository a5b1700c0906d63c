//! The calls that clients are told to make.

use serde::Serialize;

use super::ends::Kind;
use crate::program::times;

/// A call, as `talk.py` and `fathom-lab workload talk-client` read it.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub path: String,
    /// Tells it from all others: the trace id in its traceparent.
    pub trace: String,
    pub asks: u32,
    pub ask_size: u32,
    pub answers: u32,
    pub size: u32,
    pub pace_us: u32,
    pub code: u32,
    /// The server does not end it.
    pub wait: bool,
    /// The client ends it after the last answer.
    pub cancel: bool,
    /// The client's deadline, which the server is told of; 0 = none.
    pub deadline_ms: u64,
    pub gzip: bool,
    /// Bytes of binary metadata, which the server returns.
    pub note: u32,
}

impl Plan {
    /// A call whose trace is `client` and, below it, `number`.
    pub fn new(method: &str, client: u32, number: usize) -> Self {
        Self {
            path: format!("/software.v1.Talk/{method}"),
            trace: format!("{client:08x}{number:024x}"),
            asks: 1,
            ask_size: 3,
            answers: 1,
            size: 3,
            pace_us: 0,
            code: 0,
            wait: false,
            cancel: false,
            deadline_ms: 0,
            gzip: false,
            note: 0,
        }
    }

    /// Nobody serves the method: its server may answer before it has heard what is asked.
    pub fn is_unserved(&self) -> bool {
        !["One", "Collect", "Spread", "Converse"].iter().any(|served| {
            self.path.strip_prefix("/software.v1.Talk/").is_some_and(|method| method == *served)
        })
    }
}

/// Calls of every kind from a kind of client to a kind of server. `client` tells clients apart.
pub fn every_kind(from: Kind, to: Kind, client: u32) -> Vec<Plan> {
    // grpcio puts each message into a frame of its own, and tonic bears no more of these at once.
    let many = |from, to| if (from, to) == (Kind::Grpcio, Kind::Tonic) { 1_000 } else { 10_000 };
    let mut plans = Vec::new();
    let mut add = |method: &str, change: &dyn Fn(&mut Plan)| {
        let mut plan = Plan::new(method, client, plans.len() + 1);
        change(&mut plan);
        plans.push(plan);
    };
    for _ in 0..times(1) {
        for note in [0, 1, 100, 3000] {
            add("One", &|plan| plan.note = note);
            add("Collect", &|plan| (plan.asks, plan.note) = (7, note));
            add("Spread", &|plan| (plan.answers, plan.note) = (9, note));
            add("Converse", &|plan| (plan.asks, plan.answers, plan.note) = (5, 3, note));
        }
        // Alone, or behind answers; with metadata or without.
        for code in 1..=16 {
            let note = code % 3 * 20;
            add("One", &|plan| (plan.code, plan.note) = (code, note));
            add("Collect", &|plan| (plan.code, plan.asks, plan.note) = (code, 3, note));
            add("Spread", &|plan| (plan.code, plan.answers, plan.note) = (code, 0, note));
            add("Spread", &|plan| (plan.code, plan.answers, plan.note) = (code, 2, note));
            add("Converse", &|plan| (plan.code, plan.asks, plan.answers) = (code, 2, 2));
        }
        add("Missing", &|_| {});
        add("One", &|plan| plan.path = "/software.v1.Nobody/One".to_owned());
        for _ in 0..3 {
            add("Spread", &|plan| (plan.answers, plan.wait, plan.cancel) = (4, true, true));
            add("Converse", &|plan| {
                (plan.asks, plan.answers, plan.wait, plan.cancel) = (3, 2, true, true);
            });
            add("One", &|plan| (plan.wait, plan.deadline_ms) = (true, 600));
            add("Spread", &|plan| (plan.answers, plan.wait, plan.deadline_ms) = (2, true, 600));
        }
        // Messages over many frames, and many messages in one.
        add("One", &|plan| (plan.ask_size, plan.size) = (300_000, 1_000_000));
        add("Collect", &|plan| (plan.asks, plan.ask_size) = (5, 100_000));
        add("Spread", &|plan| (plan.answers, plan.size) = (5, 100_000));
        add("Converse", &|plan| {
            (plan.asks, plan.ask_size, plan.answers, plan.size) = (10, 20_000, 2, 17_000);
        });
        for _ in 0..2 {
            add("Spread", &|plan| (plan.answers, plan.size) = (many(to, from), 0));
        }
        add("Collect", &|plan| (plan.asks, plan.ask_size) = (many(from, to), 0));
        add("Converse", &|plan| (plan.asks, plan.answers) = (100, 20));
        for method in ["One", "Collect", "Spread", "Converse"] {
            add(method, &|plan| {
                (plan.gzip, plan.asks, plan.answers) = (true, 1, 3);
                (plan.ask_size, plan.size) = (50_000, 50_000);
            });
        }
        add("Converse", &|plan| {
            (plan.gzip, plan.asks, plan.ask_size, plan.size, plan.code) = (true, 4, 2_000, 2_000, 9);
        });
    }
    plans
}
