//! Keys and entries of policy tables, in as few words as possible.

use fathom_bpf::abi::{PolicyEntry, PolicyKey, direction, policy_verdict};

/// Rule id of the default deny of every enforced direction here.
pub const DEFAULT_DENY: u32 = 900;

/// The meta entry of an enforced direction.
pub fn enforced(dir: u8, plens: &[u8], has_deny: bool) -> (PolicyKey, PolicyEntry) {
    let key =
        PolicyKey { identity: fathom_bpf::abi::POLICY_META_IDENTITY, direction: dir, ..PolicyKey::default() };
    let entry = PolicyEntry {
        rule_id: DEFAULT_DENY,
        plen_mask: plens.iter().fold(0, |mask, plen| mask | 1 << plen),
        verdict: policy_verdict::ENFORCED,
        flags: u8::from(has_deny),
        pad: 0,
    };
    (key, entry)
}

pub fn entry(
    dir: u8,
    identity: u32,
    proto: u8,
    port: u16,
    plen: u8,
    verdict: u8,
    rule_id: u32,
) -> (PolicyKey, PolicyEntry) {
    let key = PolicyKey {
        identity,
        direction: dir,
        proto,
        port_plen: plen,
        port_be: port.to_be_bytes(),
        ..PolicyKey::default()
    };
    (key, PolicyEntry { rule_id, verdict, ..PolicyEntry::default() })
}

/// Allows one port of one identity.
pub fn allow(dir: u8, identity: u32, proto: u8, port: u16, rule_id: u32) -> (PolicyKey, PolicyEntry) {
    entry(dir, identity, proto, port, 16, policy_verdict::ALLOW, rule_id)
}

pub const IN: u8 = direction::INGRESS;
pub const OUT: u8 = direction::EGRESS;
