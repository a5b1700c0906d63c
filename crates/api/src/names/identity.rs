//! Reserved identities: numbers below those that a cluster hands out.

use super::{NameError, choices};

/// First number that belongs to a cluster's own endpoints.
pub const FIRST_CLUSTER_IDENTITY: u32 = 256;
/// First number that stands for an address range on this node only.
pub const FIRST_CIDR_IDENTITY: u32 = 0x0100_0001;

const RESERVED: [&str; 11] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
];

/// Name of a reserved identity: "world" for 2.
pub fn reserved_name(identity: u32) -> Option<&'static str> {
    RESERVED.get(usize::try_from(identity).ok()?).copied()
}

/// Number of a reserved identity, from "world" or "reserved:world".
pub fn reserved(name: &str) -> Option<u32> {
    let name = name.strip_prefix("reserved:").unwrap_or(name);
    RESERVED.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number)
}

/// An identity from its number or its reserved name.
///
/// # Errors
/// When it is neither; the text lists the names.
pub fn parse(text: &str) -> Result<u32, NameError> {
    reserved(text)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| NameError::new("identity", text, format!("a number, {}", choices(RESERVED))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_and_numbers_lead_to_each_other() {
        for number in 0..11 {
            assert_eq!(reserved(reserved_name(number).unwrap()), Some(number));
        }
        assert_eq!(reserved_name(11), None);
        assert_eq!(parse("reserved:kube-apiserver"), Ok(7));
        assert_eq!(parse("54321"), Ok(54321));
        assert!(parse("wrold").is_err());
    }
}
