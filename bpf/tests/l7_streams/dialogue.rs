//! What two ends say to each other: two byte streams and the order in which their parts were written.

use std::fmt;
use std::ops::Range;

/// Who opened the connection, and who was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Writes are parts of a stream.
    Tcp,
    /// Each write is a datagram.
    Udp,
}

/// How a TCP connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    #[default]
    Fin,
    /// The server closes first: the end of a body without a length.
    ServerFin,
    Reset,
    /// It goes on when the test ends.
    Open,
}

/// Bytes that one end wrote after everything before them in the list had arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    pub side: Side,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} \"{}\"", self.side, self.bytes.escape_ascii())
    }
}

/// One connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Dialogue {
    /// What it is about, for those who read of a divergence.
    pub name: String,
    pub transport: Transport,
    pub server_port: u16,
    pub writes: Vec<Write>,
    pub ending: Ending,
    /// Requests and responses that whoever made it meant, if it is known.
    pub meant: Option<[usize; 2]>,
    /// Some bytes look like a message and are none: only who saw the beginning can tell.
    pub decoys: bool,
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, transport, server_port, writes, ending, .. } = self;
        writeln!(f, "{name}: {transport:?} port {server_port}, {ending:?}")?;
        writes.iter().try_for_each(|write| writeln!(f, "  {write:?}"))
    }
}

impl Dialogue {
    pub fn tcp(name: impl Into<String>, server_port: u16) -> Self {
        Self {
            name: name.into(),
            transport: Transport::Tcp,
            server_port,
            writes: Vec::new(),
            ending: Ending::Fin,
            meant: None,
            decoys: false,
        }
    }

    pub fn udp(name: impl Into<String>, server_port: u16) -> Self {
        Self { transport: Transport::Udp, ..Self::tcp(name, server_port) }
    }

    pub fn client(self, bytes: impl AsRef<[u8]>) -> Self {
        self.write(Side::Client, bytes.as_ref())
    }

    pub fn server(self, bytes: impl AsRef<[u8]>) -> Self {
        self.write(Side::Server, bytes.as_ref())
    }

    pub fn write(mut self, side: Side, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            self.writes.push(Write { side, bytes: bytes.to_vec() });
        }
        self
    }

    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    pub fn with_decoys(self) -> Self {
        Self { decoys: true, ..self }
    }

    /// Counts what was written, for a test of the reference.
    pub fn mean(&mut self, requests: usize, responses: usize) {
        let meant = self.meant.get_or_insert_default();
        *meant = [meant[0] + requests, meant[1] + responses];
    }

    /// Everything a side wrote.
    pub fn stream(&self, side: Side) -> Vec<u8> {
        let of_side = self.writes.iter().filter(|write| write.side == side);
        of_side.flat_map(|write| write.bytes.iter().copied()).collect()
    }

    pub fn len(&self, side: Side) -> usize {
        self.writes.iter().filter(|write| write.side == side).map(|write| write.bytes.len()).sum()
    }

    /// Number of the write that brings the byte before `end` of a side's stream: when a message that
    /// ends there is complete.
    pub fn moment(&self, side: Side, end: usize) -> usize {
        let mut reached = 0;
        for (number, write) in self.writes.iter().enumerate().filter(|(_, write)| write.side == side) {
            reached += write.bytes.len();
            if reached >= end {
                return number;
            }
        }
        self.writes.len()
    }

    /// Neighbouring writes of one side, as ranges of that side's stream: what may arrive in any order.
    pub fn bursts(&self) -> Vec<(Side, Vec<Range<usize>>)> {
        let mut at = [0; 2];
        let mut bursts: Vec<(Side, Vec<Range<usize>>)> = Vec::new();
        for Write { side, bytes } in &self.writes {
            let start = at[*side as usize];
            at[*side as usize] += bytes.len();
            let range = start..start + bytes.len();
            match bursts.last_mut() {
                Some((last, ranges)) if last == side => ranges.push(range),
                _ => bursts.push((*side, vec![range])),
            }
        }
        bursts
    }
}
