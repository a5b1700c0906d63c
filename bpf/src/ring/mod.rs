//! The two lanes out of the kernel: events, written without wake-ups and read by the clock, and
//! drops, which wake the reader at once.

mod former;
mod mapped;
mod pace;

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use former::{Former, FormerRings};
pub(crate) use mapped::MappedRing;

use crate::abi::Event;
use crate::decode::{DecodeError, Record, decode};
use crate::error::{IoContext as _, Result};

/// Which ring a record came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Forwarded packets, translations, reports.
    Events,
    /// Drops and denials: a ring of their own, so that a flood can't displace them.
    Drops,
}

/// What one poll delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Records from the events lane.
    pub events: usize,
    /// Records from the drop lane.
    pub drops: usize,
    /// Of both: records this version can't read, counted and left out.
    pub malformed: usize,
    /// The batch was full: more may be waiting.
    pub more: bool,
}

/// Ring bytes one [`Event`] takes.
pub const EVENT_SPAN: u64 = (size_of::<Event>() as u64 + mapped::HEADER).next_multiple_of(8);

/// What a lane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Committed records nobody has taken yet.
    pub records: u64,
    /// Ring bytes in use, unfinished records included.
    pub bytes: u64,
    /// Ring bytes given back since the ring exists, by every reader it had; read together with `bytes`.
    pub taken_bytes: u64,
    /// Ring bytes in all.
    pub capacity: u64,
    /// Bytes that readers took out of rings which this one replaced: the kernel's ledger counts them too.
    pub former_taken_bytes: u64,
    /// Bytes written into those rings that nobody took and nobody will.
    pub abandoned_bytes: u64,
}

/// Reads how full the lanes are, from any thread, while a [`Reader`] drains them.
#[derive(Clone, Debug)]
pub struct Gauge {
    events: Arc<MappedRing>,
    drops: Arc<MappedRing>,
    former_events: FormerRings,
    former_drops: FormerRings,
}

impl Gauge {
    /// What the lane holds now.
    pub fn pending(&self, lane: Lane) -> Pending {
        let (ring, former) = match lane {
            Lane::Events => (&self.events, &self.former_events),
            Lane::Drops => (&self.drops, &self.former_drops),
        };
        let former = former.counts();
        let (taken_bytes, end) = ring.positions();
        Pending {
            records: ring.pending_records(),
            bytes: end - taken_bytes,
            taken_bytes,
            capacity: ring.size(),
            former_taken_bytes: former.taken,
            abandoned_bytes: former.abandoned,
        }
    }
}

/// The reader of both lanes. There must be one per datapath: two would take each other's records.
#[derive(Debug)]
pub struct Reader {
    gauge: Gauge,
    epoll: OwnedFd,
    /// Records taken from each lane per poll.
    batch: usize,
    last_drain: Instant,
    pause: Duration,
    malformed: u64,
}

/// Records one poll takes from a lane at most: some ten milliseconds of work.
const DEFAULT_BATCH: usize = 65_536;

const DROPS_TOKEN: u64 = 1;
const EVENTS_TOKEN: u64 = 0;

impl Reader {
    /// Of the two rings, and of what went through those they replaced.
    pub(crate) fn new(
        events: OwnedFd,
        drops: OwnedFd,
        (former_events, former_drops): (FormerRings, FormerRings),
    ) -> Result<Self> {
        let map = |fd, name| MappedRing::new(fd).context(|| format!("map ring {name}"));
        let events = Arc::new(map(events, "events")?);
        let drops = Arc::new(map(drops, "drops")?);
        let epoll = epoll(&events, &drops).context(|| "watch the rings".into())?;
        Ok(Self {
            gauge: Gauge { events, drops, former_events, former_drops },
            epoll,
            batch: DEFAULT_BATCH,
            last_drain: Instant::now(),
            pause: pace::SHORTEST,
            malformed: 0,
        })
    }

    /// Bounds the records taken from each lane per poll (1 and up).
    pub fn set_batch(&mut self, records: usize) {
        self.batch = records.max(1);
    }

    /// A handle that says how full the lanes are.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// Records that could not be read since this reader exists.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Waits, then drains both lanes once, drops first.
    ///
    /// Waits until a drop arrives, the kernel calls (events lane past its high-water mark), the
    /// events lane is due (1 to 10 ms, by its rate), or `timeout` is over; not at all when the last
    /// poll left something behind. A record is only borrowed: copy what must stay.
    ///
    /// # Errors
    /// When epoll fails, which it doesn't on a machine in its right mind.
    pub fn poll(&mut self, timeout: Duration, take: impl FnMut(Record<'_>, Lane)) -> Result<Polled> {
        let due = (self.last_drain + self.pause).saturating_duration_since(Instant::now());
        self.wait(due.min(timeout)).context(|| "wait for events".into())?;
        Ok(self.consume(take))
    }

    /// Drains both lanes once without waiting, at most a batch each.
    pub fn consume(&mut self, mut take: impl FnMut(Record<'_>, Lane)) -> Polled {
        let mut polled = Polled::default();
        let mut drain = |ring: &MappedRing, lane, malformed: &mut usize| {
            ring.consume(self.batch, |record| match decode(record) {
                Ok(record) => take(record, lane),
                Err(error) => {
                    if *malformed == 0 && self.malformed == 0 {
                        report(&error);
                    }
                    *malformed += 1;
                }
            })
        };
        let drops = drain(&self.gauge.drops, Lane::Drops, &mut polled.malformed);
        let events = drain(&self.gauge.events, Lane::Events, &mut polled.malformed);
        polled.drops = drops.records;
        polled.events = events.records;
        polled.more = drops.records == self.batch || events.records == self.batch;
        self.malformed += polled.malformed as u64;

        let now = Instant::now();
        self.pause = if polled.more {
            Duration::ZERO
        } else {
            let elapsed = now.saturating_duration_since(self.last_drain);
            pace::next_pause(events.bytes, elapsed, self.gauge.events.size())
        };
        self.last_drain = now;
        polled
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        if timeout.is_zero() {
            return Ok(());
        }
        let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 2];
        let millis = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
        // SAFETY: `ready` is writable for two entries.
        let n = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), ready.as_mut_ptr(), 2, millis) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Drops by level: anything waiting wakes. Events by edge: only a wake-up the kernel asked for.
fn epoll(events: &MappedRing, drops: &MappedRing) -> io::Result<OwnedFd> {
    // SAFETY: takes a number.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    let level = libc::EPOLLIN as u32;
    let edge = level | libc::EPOLLET as u32;
    for (ring, flags, token) in [(drops, level, DROPS_TOKEN), (events, edge, EVENTS_TOKEN)] {
        let mut event = libc::epoll_event { events: flags, u64: token };
        // SAFETY: both descriptors are open, `event` lives through the call.
        let ret = unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, ring.fd().as_raw_fd(), &raw mut event)
        };
        if ret != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(epoll)
}

fn report(error: &DecodeError) {
    tracing::warn!(%error, "a kernel record can't be read; it and others like it are only counted");
}
