//! The programs by name.

use super::L7Mode;

/// A program of the object; the names are those of the C functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// tc: what a pod sends.
    FromPod,
    /// tc: what a pod receives.
    ToPod,
    /// tc: what comes to the node through a device that leads off it.
    FromUplink,
    /// tc: what leaves by one.
    ToUplink,
    SockConnect4,
    SockConnect6,
    SockSendmsg4,
    SockSendmsg6,
    SockRecvmsg4,
    SockRecvmsg6,
    SockGetpeername4,
    SockGetpeername6,
    /// Attached nowhere: what ended connections still had to say.
    Ended,
    /// Attached nowhere, as those that follow: `from_pod` and `to_pod` go on in them.
    L7Tcp,
    L7Udp,
    L7Http1,
    L7Http2,
    L7Dns,
    L7Kafka,
    L7Tls,
    L7Websocket,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::FromPod,
        Self::ToPod,
        Self::FromUplink,
        Self::ToUplink,
        Self::SockConnect4,
        Self::SockConnect6,
        Self::SockSendmsg4,
        Self::SockSendmsg6,
        Self::SockRecvmsg4,
        Self::SockRecvmsg6,
        Self::SockGetpeername4,
        Self::SockGetpeername6,
        Self::Ended,
        Self::L7Tcp,
        Self::L7Udp,
        Self::L7Http1,
        Self::L7Http2,
        Self::L7Dns,
        Self::L7Kafka,
        Self::L7Tls,
        Self::L7Websocket,
    ];

    /// The programs that read payloads, by their index in `l7_programs`.
    pub(super) const L7: [(u32, Self); 8] = [
        (0, Self::L7Tcp),
        (1, Self::L7Udp),
        (2, Self::L7Http1),
        (3, Self::L7Http2),
        (4, Self::L7Dns),
        (5, Self::L7Kafka),
        (6, Self::L7Tls),
        (7, Self::L7Websocket),
    ];

    /// Whether it has nothing to do where messages are read so: then it isn't loaded.
    pub(super) fn is_idle(self, l7: L7Mode) -> bool {
        match l7 {
            L7Mode::Off => Self::L7.iter().any(|(_, program)| *program == self),
            // Other parsers are called where their protocol was found, and there it is not looked for.
            L7Mode::Dns => {
                matches!(
                    self,
                    Self::L7Http1 | Self::L7Http2 | Self::L7Kafka | Self::L7Tls | Self::L7Websocket
                )
            }
            L7Mode::All => false,
        }
    }

    /// Name of the C function.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromUplink => "from_uplink",
            Self::ToUplink => "to_uplink",
            Self::SockConnect4 => "sock_connect4",
            Self::SockConnect6 => "sock_connect6",
            Self::SockSendmsg4 => "sock_sendmsg4",
            Self::SockSendmsg6 => "sock_sendmsg6",
            Self::SockRecvmsg4 => "sock_recvmsg4",
            Self::SockRecvmsg6 => "sock_recvmsg6",
            Self::SockGetpeername4 => "sock_getpeername4",
            Self::SockGetpeername6 => "sock_getpeername6",
            Self::Ended => "ended",
            Self::L7Tcp => "l7_tcp",
            Self::L7Udp => "l7_udp",
            Self::L7Http1 => "l7_http1",
            Self::L7Http2 => "l7_http2",
            Self::L7Dns => "l7_dns",
            Self::L7Kafka => "l7_kafka",
            Self::L7Tls => "l7_tls",
            Self::L7Websocket => "l7_websocket",
        }
    }
}
