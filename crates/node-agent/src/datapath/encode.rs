//! Policy tables to the kernel's keys and entries, and back.

use fathom_bpf::abi::{self, PolicyEntry, PolicyKey};
use fathom_policy::{Action, Direction, DirectionState, Entry, Table};

/// Every entry of the kernel's table, one meta entry per direction included.
pub fn table_to_kernel(table: &Table) -> Vec<(PolicyKey, PolicyEntry)> {
    let metas = Direction::BOTH.map(|direction| meta(direction, table.direction(direction)));
    let entries = table.entries.iter().map(|(key, entry)| {
        let verdict = match entry.action {
            Action::Allow => abi::policy_verdict::ALLOW,
            Action::Deny => abi::policy_verdict::DENY,
        };
        let key = PolicyKey {
            identity: key.identity,
            direction: key.direction.number(),
            proto: key.proto,
            port_plen: key.port_plen,
            port_be: key.port.to_be_bytes(),
            ..PolicyKey::default()
        };
        (key, PolicyEntry { rule_id: entry.rule_id, verdict, ..PolicyEntry::default() })
    });
    metas.into_iter().chain(entries).collect()
}

fn meta(direction: Direction, state: &DirectionState) -> (PolicyKey, PolicyEntry) {
    let key = PolicyKey {
        identity: abi::POLICY_META_IDENTITY,
        direction: direction.number(),
        ..PolicyKey::default()
    };
    let entry = PolicyEntry {
        rule_id: state.default_deny,
        plen_mask: state.plen_mask,
        verdict: if state.enforced { abi::policy_verdict::ENFORCED } else { 0 },
        flags: if state.has_deny { abi::POLICY_F_HAS_DENY } else { 0 },
        pad: 0,
    };
    (key, entry)
}

/// The table behind the kernel's entries. Entries of no meaning to this version are left out: they
/// cannot allow anything.
pub fn table_from_kernel(entries: &[(PolicyKey, PolicyEntry)]) -> Table {
    let mut table = Table::default();
    for (key, entry) in entries {
        let direction = Direction::BOTH.into_iter().find(|d| d.number() == key.direction);
        let Some(direction) = direction else { continue };
        if key.identity == abi::POLICY_META_IDENTITY {
            let state = match direction {
                Direction::Ingress => &mut table.ingress,
                Direction::Egress => &mut table.egress,
            };
            *state = DirectionState {
                enforced: entry.verdict == abi::policy_verdict::ENFORCED,
                default_deny: entry.rule_id,
                plen_mask: entry.plen_mask,
                has_deny: entry.flags & abi::POLICY_F_HAS_DENY != 0,
            };
            continue;
        }
        let action = match entry.verdict {
            abi::policy_verdict::ALLOW => Action::Allow,
            abi::policy_verdict::DENY => Action::Deny,
            _ => continue,
        };
        let key = fathom_policy::PolicyKey {
            identity: key.identity,
            direction,
            proto: key.proto,
            port: u16::from_be_bytes(key.port_be),
            port_plen: key.port_plen,
        };
        table.entries.insert(key, Entry { action, rule_id: entry.rule_id });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_the_way_to_the_kernel_and_back() {
        let mut table = Table {
            ingress: DirectionState { enforced: true, default_deny: 9, ..Default::default() },
            ..Table::default()
        };
        let key = |identity, proto, port, port_plen| fathom_policy::PolicyKey {
            identity,
            direction: Direction::Ingress,
            proto,
            port,
            port_plen,
        };
        table.insert(key(0, 6, 80, 16), Entry { action: Action::Allow, rule_id: 1 });
        table.insert(key(300, 17, 0x1000, 4), Entry { action: Action::Deny, rule_id: 2 });
        let kernel = table_to_kernel(&table);
        assert_eq!(kernel.len(), 4, "two entries and a meta entry per direction");
        let allow = kernel.iter().find(|(key, _)| key.identity == 0).unwrap();
        assert_eq!((allow.0.port_be, allow.1.verdict), ([0, 80], abi::policy_verdict::ALLOW));
        let meta =
            kernel.iter().find(|(k, _)| k.identity == abi::POLICY_META_IDENTITY && k.direction == 1).unwrap();
        assert_eq!((meta.1.rule_id, meta.1.plen_mask), (9, 1 << 16 | 1 << 4));
        assert_eq!(table_from_kernel(&kernel), table);
    }
}
