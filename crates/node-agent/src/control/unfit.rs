//! Tables that could not be installed: what may stand in for them, and how that is told.

use std::collections::BTreeSet;

use fathom_policy::{Direction, DirectionState, Table};

/// The table in force, closed in the directions that it leaves open and `wanted` restricts; `None` when there
/// is no such direction.
pub fn closed(in_force: &Table, wanted: &Table) -> Option<Table> {
    let mut table = in_force.clone();
    for direction in Direction::BOTH {
        let new = wanted.direction(direction);
        if !new.enforced || in_force.direction(direction).enforced {
            continue;
        }
        let state = DirectionState { enforced: true, default_deny: new.default_deny, ..Default::default() };
        match direction {
            Direction::Ingress => table.ingress = state,
            Direction::Egress => table.egress = state,
        }
        table.entries.retain(|key, _| key.direction != direction);
    }
    (table != *in_force).then_some(table)
}

/// Whether a table says the same of two remote identities.
pub fn decides_alike(table: &Table, one: u32, other: u32) -> bool {
    let of = |identity| -> BTreeSet<_> {
        let entries = table.entries.iter().filter(move |(key, _)| key.identity == identity);
        entries.map(|(key, e)| (key.direction, key.proto, key.port, key.port_plen, e.action)).collect()
    };
    of(one) == of(other)
}

/// What is in force for an identity whose table could not be installed.
pub fn text(identity: u32, in_force: Option<&Table>, wanted: Option<&Table>, why: &str) -> String {
    let Some(in_force) = in_force else {
        return format!("its identity {identity} has no policy table: {why}");
    };
    let has = |table: &Table, direction| table.entries.keys().any(|key| key.direction == direction);
    let closed = Direction::BOTH.into_iter().filter(|direction| {
        in_force.direction(*direction).enforced
            && !has(in_force, *direction)
            && wanted.is_some_and(|wanted| has(wanted, *direction))
    });
    let closed: Vec<&str> = closed.map(Direction::name).collect();
    let closed = match closed.is_empty() {
        true => String::new(),
        false => format!(", {} closed", closed.join(" and ")),
    };
    format!("enforcing an older policy for identity {identity}{closed}: {why}")
}
