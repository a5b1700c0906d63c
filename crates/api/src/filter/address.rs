//! `source_ip`, `destination_ip`, `source_ip_xlated`: an address or a CIDR.

use std::net::IpAddr;

use ipnet::IpNet;

/// One address, or a range of them. IPv6 is compared as a number, so that every spelling of an
/// address is the same address, and an IPv4-mapped one is its IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    One(IpAddr),
    Range(IpNet),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            text.parse().map(Self::Range).map_err(|_| format!("{text:?} is not a CIDR such as 10.0.0.0/8"))
        } else {
            let one = text
                .parse::<IpAddr>()
                .map_err(|_| format!("{text:?} is neither an IP address nor a CIDR"))?;
            Ok(Self::One(one.to_canonical()))
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::One(one) => *one == address,
            Self::Range(range) => range.contains(&address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &str, address: &str) -> bool {
        Address::parse(range).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn spellings_of_an_ipv6_address_are_the_same_address() {
        assert!(contains("FD00:0:0::1", "fd00::1"));
        assert!(contains("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!contains("fd00::1", "fd00::2"));
    }

    #[test]
    fn ranges_hold_their_family_only_and_ignore_host_bits() {
        assert!(contains("10.1.2.3/8", "10.255.0.1"));
        assert!(contains("fd00::/8", "fd12::1"));
        assert!(!contains("0.0.0.0/0", "fd12::1"));
    }

    #[test]
    fn nonsense_is_refused_by_value() {
        for text in ["", "10.0.0", "10.0.0.0/33", "fe80::1%eth0", "pod-1", "1.2.3.4/"] {
            assert!(Address::parse(text).unwrap_err().contains(&format!("{text:?}")), "{text}");
        }
    }
}
