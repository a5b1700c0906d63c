//! ICMP message names (IANA registries "ICMP Type Numbers" and "ICMPv6 Parameters"), in the spelling
//! that flow summaries use.

use std::fmt;

/// A message type: its number, its name and the names of its codes from 0 up.
type Kind = (u8, &'static str, &'static [&'static str]);

/// RFC 792 and its successors.
const V4: &[Kind] = &[
    (0, "EchoReply", &[]),
    (
        3,
        "DestinationUnreachable",
        &[
            "Net",
            "Host",
            "Protocol",
            "Port",
            "FragmentationNeeded",
            "SourceRoutingFailed",
            "NetUnknown",
            "HostUnknown",
            "SourceIsolated",
            "NetAdminProhibited",
            "HostAdminProhibited",
            "NetTOS",
            "HostTOS",
            "CommAdminProhibited",
            "HostPrecedence",
            "PrecedenceCutoff",
        ],
    ),
    (4, "SourceQuench", &[]),
    (5, "Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
    (8, "EchoRequest", &[]),
    (9, "RouterAdvertisement", &[]),
    (10, "RouterSolicitation", &[]),
    (11, "TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
    (12, "ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
    (13, "TimestampRequest", &[]),
    (14, "TimestampReply", &[]),
    (15, "InfoRequest", &[]),
    (16, "InfoReply", &[]),
    (17, "AddressMaskRequest", &[]),
    (18, "AddressMaskReply", &[]),
];

/// RFC 4443, RFC 2710, RFC 4861.
const V6: &[Kind] = &[
    (
        1,
        "DestinationUnreachable",
        &[
            "NoRouteToDst",
            "AdminProhibited",
            "BeyondScopeOfSrc",
            "AddressUnreachable",
            "PortUnreachable",
            "SrcAddressFailedPolicy",
            "RejectRouteToDst",
        ],
    ),
    (2, "PacketTooBig", &[]),
    (3, "TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
    (4, "ParameterProblem", &["ErroneousHeaderField", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
    (128, "EchoRequest", &[]),
    (129, "EchoReply", &[]),
    (130, "MLDv1MulticastListenerQueryMessage", &[]),
    (131, "MLDv1MulticastListenerReportMessage", &[]),
    (132, "MLDv1MulticastListenerDoneMessage", &[]),
    (133, "RouterSolicitation", &[]),
    (134, "RouterAdvertisement", &[]),
    (135, "NeighborSolicitation", &[]),
    (136, "NeighborAdvertisement", &[]),
    (137, "Redirect", &[]),
    (143, "MLDv2MulticastListenerReportMessageV2", &[]),
];

/// Prints type and code: "EchoRequest", "DestinationUnreachable(Port)", "EchoReply(Code: 3)", "200(0)".
#[derive(Clone, Copy, Debug)]
pub struct Text {
    kind: u8,
    code: u8,
    known: Option<&'static Kind>,
}

/// Of an ICMP message.
pub fn v4(kind: u8, code: u8) -> Text {
    Text { kind, code, known: find(V4, kind) }
}

/// Of an ICMPv6 message.
pub fn v6(kind: u8, code: u8) -> Text {
    Text { kind, code, known: find(V6, kind) }
}

fn find(table: &'static [Kind], kind: u8) -> Option<&'static Kind> {
    table.binary_search_by_key(&kind, |(number, ..)| *number).ok().map(|at| &table[at])
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((_, name, codes)) = self.known else { return write!(f, "{}({})", self.kind, self.code) };
        f.write_str(name)?;
        match codes.get(usize::from(self.code)) {
            Some(code) => write!(f, "({code})"),
            None if codes.is_empty() && self.code == 0 => Ok(()),
            None => write!(f, "(Code: {})", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_where_the_type_has_codes() {
        assert_eq!(v4(8, 0).to_string(), "EchoRequest");
        assert_eq!(v4(3, 3).to_string(), "DestinationUnreachable(Port)");
        assert_eq!(v4(3, 99).to_string(), "DestinationUnreachable(Code: 99)");
        assert_eq!(v6(129, 7).to_string(), "EchoReply(Code: 7)");
        assert_eq!(v6(200, 1).to_string(), "200(1)");
    }

    #[test]
    fn tables_are_sorted_for_the_search() {
        assert!(V4.is_sorted_by_key(|kind| kind.0) && V6.is_sorted_by_key(|kind| kind.0));
    }
}
