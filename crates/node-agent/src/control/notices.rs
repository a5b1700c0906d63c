//! Remarks about policies that work as written but probably say something else: said once each, a little
//! after the last change, so that a policy saved before its pods is not reproached for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_policy::{World, audit};

use super::plan::Planner;
use super::registry::AgentRegistry;
use super::transition::Applied;
use crate::cluster::index::Index;

/// Quiet time before remarks are made.
const AFTER: Duration = Duration::from_secs(3);

/// What was said, and when to look again.
#[derive(Debug, Default)]
pub struct Notices {
    changed: Option<Instant>,
    said: BTreeSet<String>,
}

impl Notices {
    /// Policies came, went or changed.
    pub fn policies_changed(&mut self) {
        self.changed = Some(Instant::now());
    }

    /// Looks, when it is time.
    pub fn tick(&mut self, index: &Index, planner: &Planner<Arc<AgentRegistry>>, applied: &Applied) {
        if self.changed.is_none_or(|changed| changed.elapsed() < AFTER) {
            return;
        }
        self.changed = None;
        let facts = applied.facts().iter().map(|(number, facts)| (*number, facts.clone()));
        let world = World::new(facts, planner.cidrs().iter());
        let policies = index.policies.iter();
        let notices = policies.flat_map(|policy| audit(&policy.meaning, &world, planner.filter()));
        let now: BTreeSet<String> = notices.map(|notice| notice.to_string()).collect();
        for notice in now.difference(&self.said) {
            tracing::info!("{notice}");
        }
        self.said = now;
    }
}
