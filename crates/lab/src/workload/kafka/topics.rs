//! What a broker keeps: topics of partitions of record batches, as they came but for their offset.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use uuid::Uuid;

/// Batches a partition keeps, and their bytes; older ones go.
const KEPT: usize = 1000;
const KEPT_BYTES: usize = 16 << 20;
/// Topics of a broker, and partitions of a topic.
const TOPICS: usize = 1000;
const PARTITIONS: u16 = 1000;
/// Of a batch's fixed part, format 2 (<https://kafka.apache.org/documentation/#recordbatch>).
const HEADER: usize = 61;

#[derive(Debug, Default)]
pub struct Partition {
    batches: VecDeque<Batch>,
    /// Of all batches.
    bytes: usize,
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
        self.bytes += bytes.len();
        self.batches.push_back(Batch { end: self.next, bytes: bytes.freeze() });
        while self.batches.len() > KEPT || (self.batches.len() > 1 && self.bytes > KEPT_BYTES) {
            self.bytes -= self.batches.pop_front().map_or(0, |batch| batch.bytes.len());
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

#[derive(Debug)]
pub struct Topic {
    pub id: Uuid,
    pub partitions: Vec<Partition>,
}

/// Topics by name, and their names by id.
#[derive(Debug, Default)]
pub struct Named {
    topics: BTreeMap<String, Topic>,
    names: BTreeMap<Uuid, String>,
}

impl Named {
    /// A new topic's id.
    pub fn create(&mut self, name: &str, partitions: u16) -> Result<Uuid, ResponseError> {
        if name.is_empty() || name.len() > 249 {
            return Err(ResponseError::InvalidTopicException);
        }
        if self.topics.len() >= TOPICS {
            return Err(ResponseError::PolicyViolation);
        }
        if !(1..=PARTITIONS).contains(&partitions) {
            return Err(ResponseError::InvalidPartitions);
        }
        // Of version 8 (RFC 9562), with the topic's number in it.
        let number = self.topics.len() as u128 + 1;
        let id = Uuid::from_u128(number << 64 | 0x8000_0000_0000_0000 | 0x8000 << 64 | number);
        self.names.insert(id, name.to_owned());
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        self.topics.insert(name.to_owned(), Topic { id, partitions });
        Ok(id)
    }

    pub fn has(&self, name: &str) -> bool {
        self.topics.contains_key(name)
    }

    pub fn get(&self, name: &str) -> Result<&Topic, ResponseError> {
        self.topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// A partition by its topic's name, or the id where there is one.
    pub fn partition(&mut self, name: &str, id: Uuid, index: i32) -> Result<&mut Partition, ResponseError> {
        let name = match id.is_nil() {
            true => name,
            false => self.names.get(&id).ok_or(ResponseError::UnknownTopicId)?,
        };
        let topic = self.topics.get_mut(name);
        let partition = usize::try_from(index).ok().and_then(|index| topic?.partitions.get_mut(index));
        partition.ok_or(ResponseError::UnknownTopicOrPartition)
    }
}

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

    #[test]
    fn what_is_too_much_goes() {
        let mut partition = Partition::default();
        for _ in 0..4 {
            partition.append(&batch(1, KEPT_BYTES / 3)).unwrap();
        }
        assert_eq!((partition.start(), partition.next), (2, 4));
        partition.append(&batch(1, KEPT_BYTES)).unwrap();
        assert_eq!((partition.start(), partition.bytes), (4, KEPT_BYTES + HEADER));
    }

    #[test]
    fn topics_are_found_by_name_and_by_id() {
        let mut named = Named::default();
        let ids = ["orders", "users"].map(|name| named.create(name, 2).unwrap());
        assert_ne!(ids[0], ids[1]);
        named.partition("orders", Uuid::nil(), 1).unwrap().next = 7;
        assert_eq!(named.partition("", ids[0], 1).unwrap().next, 7);
        assert_eq!(named.name_of(ids[1]), Some("users"));
        let mut missing = |name, id, index| named.partition(name, id, index).map(|_| ()).unwrap_err();
        assert_eq!(missing("orders", Uuid::nil(), 2), ResponseError::UnknownTopicOrPartition);
        assert_eq!(missing("stock", Uuid::nil(), 0), ResponseError::UnknownTopicOrPartition);
        assert_eq!(missing("orders", Uuid::max(), 0), ResponseError::UnknownTopicId);
    }

    #[test]
    fn there_is_an_end_to_topics() {
        let mut named = Named::default();
        assert_eq!(named.create("", 1), Err(ResponseError::InvalidTopicException));
        assert_eq!(named.create("none", 0), Err(ResponseError::InvalidPartitions));
        (0..TOPICS).for_each(|n| _ = named.create(&format!("topic-{n}"), 1).unwrap());
        assert_eq!(named.create("more", 1), Err(ResponseError::PolicyViolation));
    }
}
