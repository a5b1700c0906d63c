//! `Flow.Summary`: the text that clients print at the end of a line.

use std::fmt;

use super::{icmp, tcp_flag};
use crate::write::L4;

/// Prints the summary of a packet's transport header.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub l4: L4,
    /// Of a packet without a transport header known here; 0 = not known.
    pub ethertype: u16,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.l4 {
            L4::Tcp { flags: Some(flags), .. } => {
                f.write_str("TCP Flags: ")?;
                tcp_flag::Text(flags).fmt(f)
            }
            L4::Tcp { flags: None, .. } => f.write_str("TCP"),
            L4::Udp { .. } => f.write_str("UDP"),
            L4::Sctp { .. } => f.write_str("SCTP"),
            L4::Icmpv4 { kind, code } => {
                f.write_str("ICMPv4 ")?;
                icmp::v4(kind, code).fmt(f)
            }
            L4::Icmpv6 { kind, code } => {
                f.write_str("ICMPv6 ")?;
                icmp::v6(kind, code).fmt(f)
            }
            L4::None => match self.ethertype {
                0 => Ok(()),
                0x0800 => f.write_str("IPv4"),
                0x0806 => f.write_str("ARP"),
                0x8100 => f.write_str("Dot1Q"),
                0x86dd => f.write_str("IPv6"),
                0x88cc => f.write_str("LinkLayerDiscovery"),
                other => write!(f, "0x{other:04x}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(l4: L4) -> String {
        Summary { l4, ethertype: 0x0800 }.to_string()
    }

    #[test]
    fn every_transport_has_its_text() {
        let (source_port, destination_port) = (1, 2);
        let tcp = |flags| summary(L4::Tcp { source_port, destination_port, flags });
        assert_eq!(tcp(Some(tcp_flag::SYN | tcp_flag::ACK)), "TCP Flags: SYN, ACK");
        assert_eq!(tcp(None), "TCP");
        assert_eq!(summary(L4::Udp { source_port, destination_port }), "UDP");
        assert_eq!(summary(L4::Sctp { source_port, destination_port, chunk_type: 1 }), "SCTP");
        assert_eq!(summary(L4::Icmpv4 { kind: 8, code: 0 }), "ICMPv4 EchoRequest");
        assert_eq!(
            summary(L4::Icmpv6 { kind: 1, code: 4 }),
            "ICMPv6 DestinationUnreachable(PortUnreachable)"
        );
        assert_eq!(summary(L4::None), "IPv4");
        assert_eq!(Summary { l4: L4::None, ethertype: 0x88b5 }.to_string(), "0x88b5");
    }
}
