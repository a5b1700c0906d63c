//! What a broker keeps: topics of partitions of record batches, as they came but for their offset.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

/// Batches a partition keeps; older ones go.
const KEPT: usize = 1000;
/// Of a batch's fixed part, format 2 (<https://kafka.apache.org/documentation/#recordbatch>).
const HEADER: usize = 61;

#[derive(Debug, Default)]
pub struct Partition {
    batches: VecDeque<Batch>,
    /// Offset of the next record.
    pub next: i64,
}

#[derive(Debug)]
struct Batch {
    /// One more than its last record's offset.
    end: i64,
    bytes: Bytes,
}

impl Partition {
    /// Offset of the oldest record kept.
    pub fn start(&self) -> i64 {
        self.batches.front().map_or(self.next, |batch| base_offset(&batch.bytes))
    }

    /// Appends one batch; its first record's offset.
    pub fn append(&mut self, records: &Bytes) -> Result<i64, ResponseError> {
        let field = |at: usize| records.get(at..at + 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        if records.get(16).is_some_and(|format| *format != 2) {
            return Err(ResponseError::UnsupportedForMessageFormat);
        }
        let (Some(length), Some(last)) = (field(8), field(23)) else {
            return Err(ResponseError::CorruptMessage);
        };
        if records.len() < HEADER || length as usize != records.len() - 12 || last < 0 {
            return Err(ResponseError::CorruptMessage);
        }
        let base = self.next;
        // Neither the offset nor the leader's epoch behind the length is under the checksum.
        let mut bytes = BytesMut::from(&records[..]);
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[12..16].copy_from_slice(&0_i32.to_be_bytes());
        self.next = base + i64::from(last) + 1;
        self.batches.push_back(Batch { end: self.next, bytes: bytes.freeze() });
        if self.batches.len() > KEPT {
            self.batches.pop_front();
        }
        Ok(base)
    }

    /// Whole batches from the one that holds `offset` on: as many as fit, and at least one.
    pub fn read(&self, offset: i64, limit: usize) -> Result<Bytes, ResponseError> {
        if offset < self.start() || offset > self.next {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let mut read = BytesMut::new();
        for batch in self.batches.iter().skip_while(|batch| batch.end <= offset) {
            if !read.is_empty() && read.len() + batch.bytes.len() > limit {
                break;
            }
            read.extend_from_slice(&batch.bytes);
        }
        Ok(read.freeze())
    }
}

fn base_offset(batch: &[u8]) -> i64 {
    batch.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

pub type Named = BTreeMap<String, Vec<Partition>>;

/// Every topic of a broker, and who waits for more of them.
#[derive(Debug, Default)]
pub struct Topics {
    named: Mutex<Named>,
    appended: Condvar,
}

impl Topics {
    pub fn lock(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits that there is more.
    pub fn tell(&self) {
        self.appended.notify_all();
    }

    /// Waits until something was appended, or the time has come.
    pub fn wait<'a>(&self, named: MutexGuard<'a, Named>, until: Instant) -> MutexGuard<'a, Named> {
        let left = until.saturating_duration_since(Instant::now());
        self.appended.wait_timeout(named, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

pub fn partitions(count: u16) -> Vec<Partition> {
    (0..count.max(1)).map(|_| Partition::default()).collect()
}

/// A partition by its number.
pub fn find<'a>(named: &'a mut Named, topic: &str, index: i32) -> Result<&'a mut Partition, ResponseError> {
    let partitions = named.get_mut(topic);
    let partition = usize::try_from(index).ok().and_then(|index| partitions?.get_mut(index));
    partition.ok_or(ResponseError::UnknownTopicOrPartition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: i32, body: usize) -> Bytes {
        let mut bytes = vec![0; HEADER + body];
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes.into()
    }

    #[test]
    fn a_batch_is_read_from_any_of_its_offsets_and_whole() {
        let mut partition = Partition::default();
        assert_eq!(partition.append(&batch(3, 10)), Ok(0));
        assert_eq!(partition.append(&batch(1, 20)), Ok(3));
        let size = |offset, limit| partition.read(offset, limit).map(|bytes| bytes.len());
        assert_eq!(size(0, 1), Ok(HEADER + 10));
        assert_eq!(size(2, 1000), Ok(2 * HEADER + 30));
        assert_eq!(size(3, 1000), Ok(HEADER + 20));
        assert_eq!(size(4, 1000), Ok(0));
        assert_eq!(size(5, 1000), Err(ResponseError::OffsetOutOfRange));
        assert_eq!(base_offset(&partition.read(3, 1000).unwrap()), 3);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let mut partition = Partition::default();
        assert_eq!(partition.append(&Bytes::new()), Err(ResponseError::CorruptMessage));
        assert_eq!(partition.append(&batch(1, 5).slice(..60)), Err(ResponseError::CorruptMessage));
        let mut old = BytesMut::from(&batch(1, 5)[..]);
        old[16] = 1;
        assert_eq!(partition.append(&old.freeze()), Err(ResponseError::UnsupportedForMessageFormat));
        assert_eq!(partition.next, 0);
    }

    #[test]
    fn what_is_too_old_goes() {
        let mut partition = Partition::default();
        for _ in 0..KEPT + 5 {
            partition.append(&batch(2, 0)).unwrap();
        }
        assert_eq!((partition.start(), partition.next), (10, 2 * (KEPT as i64 + 5)));
        assert_eq!(partition.read(9, 1), Err(ResponseError::OffsetOutOfRange));
    }
}
