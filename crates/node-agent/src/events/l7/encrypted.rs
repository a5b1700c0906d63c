//! Connections whose payload is encrypted, so that every flow of one says so and names its server.

use std::sync::Arc;

use fathom_bpf::abi::{Event, kind, trigger};

use super::bounded::Bounded;
use super::message::Payload;
use crate::events::flow::proto;

/// A connection that begins where one was known this long ago is another one.
const REOPENED_NS: u64 = 1_000_000_000;

/// After its end a connection is known this long: the last packets of both directions are reported by both
/// ends.
const LINGER_NS: u64 = 5_000_000_000;

const RST: u8 = 4;

/// Both ends, the lower one first, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Connection {
    ends: [([u8; 16], [u8; 2]); 2],
    proto: u8,
}

struct Known {
    payload: Arc<Payload>,
    /// Which of the ends is the server.
    server: usize,
    since_ns: u64,
    /// Bit n: the end n has closed its direction.
    closed: u8,
    closed_ns: u64,
}

/// Encrypted connections by their addresses.
pub struct Connections(Bounded<Connection, Known>);

/// Which end of a flow is the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Source,
    Destination,
}

impl Connections {
    pub fn new(limit: usize) -> Self {
        Self(Bounded::new(limit))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Connections that made room for others so far.
    pub fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    /// The client at the event's source was heard to begin an encrypted conversation.
    pub fn begin(&mut self, event: &Event, payload: Arc<Payload>) {
        let (connection, source) = connection(event);
        let known = Known { payload, server: 1 - source, since_ns: event.time_ns, closed: 0, closed_ns: 0 };
        self.0.insert(connection, known);
    }

    /// What is known of the connection that a packet's flow belongs to.
    pub fn of(&mut self, event: &Event) -> Option<(Arc<Payload>, Server)> {
        if !matches!(event.proto, proto::TCP | proto::UDP) {
            return None;
        }
        let (connection, source) = connection(event);
        let known = self.0.get_mut(&connection)?;
        let now = event.time_ns;
        let begins = event.trigger == trigger::NEW
            && (known.closed == 3 || now.saturating_sub(known.since_ns) > REOPENED_NS);
        let over = known.closed == 3 && now.saturating_sub(known.closed_ns) > LINGER_NS;
        if begins || over {
            self.0.remove(&connection);
            return None;
        }
        let server = if known.server == source { Server::Source } else { Server::Destination };
        let found = (Arc::clone(&known.payload), server);
        if event.trigger == trigger::CLOSE && known.closed != 3 {
            known.closed |= if event.tcp_flags & RST != 0 { 3 } else { 1 << source };
            known.closed_ns = now;
        } else if event.kind == kind::ENDED {
            self.0.remove(&connection);
        }
        Some(found)
    }
}

/// The connection of a packet, and which of its ends sent it.
fn connection(event: &Event) -> (Connection, usize) {
    let (source, destination) = ((event.saddr, event.sport_be), (event.daddr, event.dport_be));
    let swapped = destination < source;
    let ends = if swapped { [destination, source] } else { [source, destination] };
    (Connection { ends, proto: event.proto }, usize::from(swapped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::l7::message::Encrypted;
    use crate::events::testing::event;

    const S: u64 = 1_000_000_000;

    fn back(event: Event) -> Event {
        Event {
            saddr: event.daddr,
            daddr: event.saddr,
            sport_be: event.dport_be,
            dport_be: event.sport_be,
            ..event
        }
    }

    fn known() -> Connections {
        let mut connections = Connections::new(8);
        let payload = Arc::new(Payload::Encrypted(Encrypted::default()));
        connections.begin(&Event { time_ns: 10 * S, ..event() }, payload);
        connections
    }

    fn server(connections: &mut Connections, event: Event) -> Option<Server> {
        connections.of(&event).map(|(_, server)| server)
    }

    fn at(seconds: u64, trigger: u8, tcp_flags: u8) -> Event {
        Event { time_ns: seconds * S, trigger, tcp_flags, ..event() }
    }

    #[test]
    fn packets_of_both_directions_know_their_server() {
        let mut connections = known();
        let later = at(11, trigger::INTERVAL, 0x10);
        assert_eq!(server(&mut connections, later), Some(Server::Destination));
        assert_eq!(server(&mut connections, back(later)), Some(Server::Source));
        assert_eq!(server(&mut connections, Event { sport_be: [1, 1], ..later }), None);
        assert_eq!(server(&mut connections, Event { proto: proto::UDP, ..later }), None);
    }

    #[test]
    fn a_connection_is_known_until_both_directions_are_closed_and_a_moment_longer() {
        let mut connections = known();
        assert!(server(&mut connections, at(20, trigger::CLOSE, 0x11)).is_some());
        assert!(server(&mut connections, back(at(40, trigger::INTERVAL, 0x10))).is_some(), "half closed");
        assert!(server(&mut connections, back(at(50, trigger::CLOSE, 0x11))).is_some());
        assert!(server(&mut connections, back(at(51, trigger::CLOSE, 0x11))).is_some(), "at the other end");
        assert!(server(&mut connections, at(56, trigger::TIMEOUT, 0x10)).is_none());
        assert!(connections.is_empty());
    }

    #[test]
    fn a_new_connection_of_the_same_ports_is_another_one() {
        let mut connections = known();
        let also_quic = at(10, trigger::NEW, 2);
        assert!(server(&mut connections, also_quic).is_some(), "the first packet of the same one");
        assert!(server(&mut connections, at(12, trigger::NEW, 2)).is_none());
        let mut reset = known();
        assert!(server(&mut reset, back(at(10, trigger::CLOSE, 0x14))).is_some());
        assert!(server(&mut reset, at(10, trigger::NEW, 2)).is_none());
    }
}
