//! The flows of the recent past: a bounded ring with one writer and many readers.
//!
//! Flows are numbered from 0 without gaps. The ring keeps the newest `capacity` of them, a second and
//! smaller one keeps the newest denials, so that a flood of forwarded flows cannot push those out.
//! A reader that was overtaken is told exactly how many flows it missed, after the denials among them
//! have been taken from the second ring: see [`super::cursor`].
//!
//! The writer swaps reference-counted flows into slots, under the lock of the segment they are in, and
//! never waits for a reader for longer than that reader needs to copy 64 references. What it takes
//! out it fills anew: in the steady state nothing is allocated. (A lock per slot costs the writer more
//! than it saves the readers; lock-free slots need `unsafe`.)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::flow::Flow;

/// Slots that share a lock.
const SEGMENT: u64 = 64;

/// Flow that can be filled again are kept up to this many; more than a batch never comes back at once.
const SPARE_LIMIT: usize = 1024;

/// Sizes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSize {
    /// Flows kept; a power of two.
    pub flows: usize,
    /// Denials kept in the ring of their own; 0 = none.
    pub denials: usize,
}

impl Default for StoreSize {
    fn default() -> Self {
        Self { flows: 4096, denials: 4096 }
    }
}

/// A size that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store size {0} is not a power of two from 1 to 2^30")]
pub struct StoreSizeError(pub usize);

/// The readers' side, shared by everybody.
#[derive(Debug)]
pub struct Store {
    segments: Box<[Mutex<Segment>]>,
    capacity: u64,
    /// Slots per segment: [`SEGMENT`], or the capacity when that is smaller.
    per_segment: u64,
    denials: Mutex<VecDeque<Arc<Flow>>>,
    denials_capacity: usize,
    /// Number the next flow gets. Stored after the slots and the denials are in place.
    head: AtomicU64,
    /// The same number, for who wants to sleep until it grows.
    grown: watch::Sender<u64>,
}

#[derive(Debug)]
struct Segment {
    slots: Box<[Option<Arc<Flow>>]>,
    /// One past the newest flow written here.
    end: u64,
}

/// What a read of the ring found.
pub(super) enum Found {
    /// The reader is at the end.
    Nothing,
    /// Flows from the position on were appended to the reader's buffer.
    Flows,
    /// The position was overwritten; the ring now begins here.
    Overtaken(u64),
}

impl Store {
    /// An empty store and the only handle that writes to it.
    ///
    /// # Errors
    /// When `size.flows` is not a power of two.
    pub fn new(size: StoreSize) -> Result<(Arc<Self>, Writer), StoreSizeError> {
        if !size.flows.is_power_of_two() || size.flows > 1 << 30 {
            return Err(StoreSizeError(size.flows));
        }
        let capacity = size.flows as u64;
        let per_segment = SEGMENT.min(capacity);
        let segment = |_| Mutex::new(Segment { slots: (0..per_segment).map(|_| None).collect(), end: 0 });
        let store = Arc::new(Self {
            segments: (0..capacity / per_segment).map(segment).collect(),
            capacity,
            per_segment,
            denials: Mutex::new(VecDeque::with_capacity(size.denials)),
            denials_capacity: size.denials,
            head: AtomicU64::new(0),
            grown: watch::Sender::new(0),
        });
        Ok((Arc::clone(&store), Writer::new(store)))
    }

    /// One past the number of the newest flow: also how many flows there ever were.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Number of the oldest flow still in the ring.
    pub fn oldest(&self) -> u64 {
        self.head().saturating_sub(self.capacity)
    }

    /// Flows the ring can hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Flows in the ring now.
    pub fn len(&self) -> u64 {
        self.head().min(self.capacity)
    }

    /// Denials in the ring of their own now.
    pub fn denials(&self) -> u64 {
        lock(&self.denials).len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.head() == 0
    }

    /// Tells when the head has grown: once per batch, not per flow.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Wakes who waits for flows although there are none: a loss was found.
    pub(super) fn wake(&self) {
        self.grown.send_modify(|_| ());
    }

    /// Appends flows from `position` on, at most to the end of its segment or `limit` of them.
    pub(super) fn read(&self, position: u64, limit: usize, out: &mut Vec<Arc<Flow>>) -> Found {
        let head = self.head();
        if position >= head {
            return Found::Nothing;
        }
        let segment = lock(&self.segments[self.segment_of(position)]);
        let oldest = segment.end.saturating_sub(self.capacity);
        if position < oldest {
            return Found::Overtaken(oldest);
        }
        let first = (position % self.per_segment) as usize;
        let run = (head - position).min(self.per_segment - first as u64).min(limit as u64) as usize;
        out.extend(segment.slots[first..first + run].iter().flatten().cloned());
        Found::Flows
    }

    /// Appends flows from `position` down to the begin of its segment, newest first.
    pub(super) fn read_back(&self, position: u64, out: &mut Vec<Arc<Flow>>) -> Found {
        let segment = lock(&self.segments[self.segment_of(position)]);
        let oldest = segment.end.saturating_sub(self.capacity);
        if position < oldest {
            return Found::Overtaken(oldest);
        }
        let last = (position % self.per_segment) as usize;
        let run = (position - oldest).min(last as u64) as usize;
        out.extend(segment.slots[last - run..=last].iter().rev().flatten().cloned());
        Found::Flows
    }

    /// Number of the oldest denial kept, if there is one.
    pub(super) fn oldest_denial(&self) -> Option<u64> {
        lock(&self.denials).front().map(|flow| flow.seq)
    }

    /// How many denials there are with numbers from `from` up to but not including `until`.
    pub(super) fn count_denials(&self, from: u64, until: u64) -> u64 {
        let denials = lock(&self.denials);
        let below = |number| denials.partition_point(|flow: &Arc<Flow>| flow.seq < number) as u64;
        below(until) - below(from)
    }

    /// Appends at most `limit` denials with numbers from `from` up to but not including `until`.
    pub(super) fn read_denials(&self, from: u64, until: u64, limit: usize, out: &mut Vec<Arc<Flow>>) {
        let denials = lock(&self.denials);
        let first = denials.partition_point(|flow| flow.seq < from);
        out.extend(denials.range(first..).take_while(|flow| flow.seq < until).take(limit).cloned());
    }

    fn segment_of(&self, position: u64) -> usize {
        (position % self.capacity / self.per_segment) as usize
    }
}

/// The writing side: collects a batch, then publishes it.
pub struct Writer {
    store: Arc<Store>,
    batch: Vec<Arc<Flow>>,
    spare: Vec<Arc<Flow>>,
    allocated: u64,
}

impl Writer {
    fn new(store: Arc<Store>) -> Self {
        Self { store, batch: Vec::new(), spare: Vec::new(), allocated: 0 }
    }

    /// Adds a flow to the batch. It is in no order yet and nobody sees it.
    pub fn push(&mut self, flow: Flow) {
        let mut flow = flow;
        while let Some(mut spare) = self.spare.pop() {
            // A reader may still hold what was overwritten: then it is that reader's to free.
            if let Some(place) = Arc::get_mut(&mut spare) {
                std::mem::swap(place, &mut flow);
                self.batch.push(spare);
                return;
            }
        }
        self.allocated += 1;
        self.batch.push(Arc::new(flow));
    }

    /// Flows in the batch.
    pub fn pending(&self) -> usize {
        self.batch.len()
    }

    /// Flows that had to be allocated so far: the ring's own size, and those that slow readers held.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Sorts the batch by time (the kernel's lanes are drained one after the other), numbers its
    /// flows, and makes them readable at once. Returns the new head.
    pub fn publish(&mut self) -> u64 {
        let store = &*self.store;
        let first = store.head();
        if self.batch.is_empty() {
            return first;
        }
        if !self.batch.is_sorted_by_key(|flow| flow.time_ns) {
            self.batch.sort_unstable_by_key(|flow| flow.time_ns);
        }
        for (flow, seq) in self.batch.iter_mut().zip(first..) {
            if let Some(flow) = Arc::get_mut(flow) {
                flow.seq = seq;
            }
        }
        self.keep_denials();
        let head = self.swap_in(first);
        self.store.head.store(head, Ordering::Release);
        self.store.grown.send_replace(head);
        self.spare.truncate(SPARE_LIMIT);
        head
    }

    fn keep_denials(&mut self) {
        if self.store.denials_capacity == 0 || !self.batch.iter().any(|flow| flow.is_drop()) {
            return;
        }
        let mut denials = lock(&self.store.denials);
        for flow in self.batch.iter().filter(|flow| flow.is_drop()) {
            if denials.len() >= self.store.denials_capacity {
                self.spare.extend(denials.pop_front());
            }
            denials.push_back(Arc::clone(flow));
        }
    }

    fn swap_in(&mut self, first: u64) -> u64 {
        let store = &*self.store;
        let mut seq = first;
        let mut flows = self.batch.drain(..).peekable();
        while flows.peek().is_some() {
            let mut segment = lock(&store.segments[store.segment_of(seq)]);
            let slot = (seq % store.per_segment) as usize;
            for (slot, flow) in segment.slots[slot..].iter_mut().zip(&mut flows) {
                self.spare.extend(slot.replace(flow));
                seq += 1;
            }
            segment.end = seq;
        }
        seq
    }
}

/// A reader that panics while it holds a lock has only copied references: the ring is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
