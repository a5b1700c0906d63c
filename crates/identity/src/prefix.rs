//! One spelling for each prefix.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The prefix with its host bits cleared; a v4-mapped IPv6 prefix becomes the IPv4 prefix it is in
/// the kernel's tables, where IPv4 lives under `::ffff:0:0/96`.
pub fn canonical_prefix(prefix: IpNet) -> IpNet {
    match prefix.trunc() {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::V4(Ipv4Net::new_assert(v4, v6.prefix_len() - 96)),
            None => IpNet::V6(v6),
        },
        prefix => prefix,
    }
}

/// The address; a v4-mapped IPv6 address becomes IPv4.
pub fn canonical_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_spellings_of_a_prefix_become_one() {
        for (written, canonical) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(canonical_prefix(written.parse().unwrap()).to_string(), canonical, "{written}");
        }
    }
}
