//! The numbers of a record by name. A number this version has no name for becomes `Other`, never
//! a default: a newer kernel object may be running under an older agent.

use crate::abi::{Event, TRIGGER_LANE_DROPS};

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant,)* #[doc = "A number without a name."] Other(u8) }

        impl From<u8> for $name {
            fn from(number: u8) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
        }

        impl From<$name> for u8 {
            fn from(named: $name) -> Self {
                match named { $($name::$variant => $number,)* $name::Other(other) => other }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)*
                    Self::Other(other) => write!(f, "unknown {other}"),
                }
            }
        }
    };
}

named!(/** `event.kind`. */ Kind { Flow = 1 "flow", Sock = 2 "sock", Ended = 3 "ended", L7 = 4 "message" });
named!(/** `event.direction`, relative to the local endpoint. */ Direction {
    Unknown = 0 "unknown", Ingress = 1 "ingress", Egress = 2 "egress",
});
named!(/** `event.verdict`. */ Verdict {
    Unknown = 0 "unknown", Forwarded = 1 "forwarded", Dropped = 2 "dropped", Translated = 7 "translated",
});
named!(/** `event.ct_state`. */ CtState {
    Unknown = 0 "unknown", New = 1 "new", Established = 2 "established", Reply = 3 "reply",
    Related = 4 "related", Reopened = 5 "reopened",
});
named!(/** Why the event was written. */ Trigger {
    None = 0 "none", New = 1 "new", Flags = 2 "flags", Close = 3 "close", Timeout = 4 "timeout",
    Interval = 5 "interval", Packet = 6 "packet", Drop = 7 "drop", Rejudged = 8 "rejudged",
});
named!(/** `event.reason`; `None` on what was forwarded. */ DropReason {
    None = 0 "none",
    InvalidSourceIp = 132 "invalid source ip", PolicyDenied = 133 "policy denied",
    InvalidPacket = 134 "invalid packet", CtTruncated = 135 "truncated packet",
    CtUnknownL4 = 137 "unknown L4 protocol", UnsupportedL3 = 139 "unsupported L3 protocol",
    WriteError = 141 "error writing to packet", UnknownIcmp4Code = 143 "unknown ICMPv4 code",
    UnknownIcmp4Type = 144 "unknown ICMPv4 type", UnknownIcmp6Code = 145 "unknown ICMPv6 code",
    UnknownIcmp6Type = 146 "unknown ICMPv6 type", CsumL3 = 153 "error correcting L3 checksum",
    CsumL4 = 154 "error correcting L4 checksum", CtInsertFailed = 155 "conntrack insert failed",
    InvalidExtHeader = 156 "invalid IPv6 extension header",
    FragUnsupported = 157 "fragmentation not supported", NoBackend = 158 "no service backend",
    NatNoMapping = 167 "no mapping for NAT",
    NoPolicyConfig = 165 "no policy table", UnsupportedL2 = 166 "unsupported L2 protocol",
    NatUnsupportedProto = 168 "protocol not supported by translation",
    FragNotFound = 175 "first fragment not found", ForbiddenIcmp6 = 176 "forbidden ICMPv6 message",
    PolicyDeny = 181 "denied by a deny rule", VlanFiltered = 182 "VLAN traffic disallowed",
    EpNotReady = 203 "endpoint not ready",
});

impl Event {
    /// What the record describes.
    pub fn named_kind(&self) -> Kind {
        self.kind.into()
    }

    /// Way of the packet, seen from the local endpoint.
    pub fn named_direction(&self) -> Direction {
        self.direction.into()
    }

    /// What was decided.
    pub fn named_verdict(&self) -> Verdict {
        self.verdict.into()
    }

    /// What conntrack knew.
    pub fn named_ct_state(&self) -> CtState {
        self.ct_state.into()
    }

    /// Why the event was written, without the lane's bit.
    pub fn named_trigger(&self) -> Trigger {
        (self.trigger & !TRIGGER_LANE_DROPS).into()
    }

    /// Why the packet was dropped.
    pub fn named_reason(&self) -> DropReason {
        self.reason.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_its_name() {
        for number in 0..=u8::MAX {
            assert_eq!(u8::from(Kind::from(number)), number);
            assert_eq!(u8::from(Direction::from(number)), number);
            assert_eq!(u8::from(Verdict::from(number)), number);
            assert_eq!(u8::from(CtState::from(number)), number);
            assert_eq!(u8::from(Trigger::from(number)), number);
            assert_eq!(u8::from(DropReason::from(number)), number);
        }
    }

    #[test]
    fn a_number_without_a_name_says_so() {
        assert_eq!(Verdict::from(99).to_string(), "unknown 99");
    }
}
