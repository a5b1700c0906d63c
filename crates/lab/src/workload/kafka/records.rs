//! Records: taken in, handed out, and where they begin and end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::broker::{Answer, Broker, code};
use super::told::Told;

/// "Latest" and "earliest" as timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

impl Broker {
    pub(super) fn produce(&self, request: &ProduceRequest) -> Answer {
        let mut told = Told::of(request.topic_data.iter().map(|topic| (Some(&topic.name), topic.topic_id)));
        let mut named = self.topics.lock();
        let responses = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let appended = match data.records.as_ref() {
                    Some(records) if records.len() > self.args.largest => Err(ResponseError::MessageTooLarge),
                    Some(records) => named
                        .partition(&topic.name, topic.topic_id, data.index)
                        .and_then(|partition| partition.append(records)),
                    None => Err(ResponseError::CorruptMessage),
                };
                PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_error_code(told.note(code(&appended)))
                    .with_base_offset(appended.unwrap_or(-1))
                    .with_log_append_time_ms(-1)
            });
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partition_responses(partitions.collect())
        });
        let response = ProduceResponse::default().with_responses(responses.collect());
        self.topics.tell();
        ((request.acks != 0).then_some(ResponseKind::Produce(response)), told)
    }

    /// Answers when there is as much as the client wants, or when it has waited as long as it wants.
    pub(super) fn fetch(&self, request: &FetchRequest, version: i16) -> Answer {
        let patience = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let until = Instant::now() + patience;
        let mut named = self.topics.lock();
        loop {
            let mut told = Told::of(request.topics.iter().map(|topic| (Some(&topic.topic), topic.topic_id)));
            if version >= 7 {
                told.note(0); // the response's own
            }
            let mut size = 0;
            let responses = request.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|wanted| {
                    let limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
                    let found = named.partition(&topic.topic, topic.topic_id, wanted.partition);
                    let (start, end) = found.as_ref().map_or((-1, -1), |p| (p.start(), p.next));
                    let read = found.and_then(|partition| partition.read(wanted.fetch_offset, limit));
                    size += read.as_ref().map_or(0, Bytes::len);
                    PartitionData::default()
                        .with_partition_index(wanted.partition)
                        .with_error_code(told.note(code(&read)))
                        .with_high_watermark(end)
                        .with_last_stable_offset(end)
                        .with_log_start_offset(start)
                        .with_preferred_read_replica(BrokerId(-1))
                        .with_records(Some(read.unwrap_or_default()))
                });
                FetchableTopicResponse::default()
                    .with_topic(topic.topic.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(partitions.collect())
            });
            let response = FetchResponse::default().with_responses(responses.collect());
            let enough = size >= usize::try_from(request.min_bytes).unwrap_or(0);
            if enough || told.failed() || Instant::now() >= until {
                return (Some(ResponseKind::Fetch(response)), told);
            }
            named = self.topics.wait(named, until);
        }
    }

    pub(super) fn list_offsets(&self, request: &ListOffsetsRequest, version: i16) -> Answer {
        let mut told = Told::of(request.topics.iter().map(|topic| (Some(&topic.name), Uuid::nil())));
        let mut named = self.topics.lock();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let found = named.partition(&topic.name, Uuid::nil(), wanted.partition_index);
                // Times of records are not kept: whoever asks for one gets the end, as of a time to come.
                let offset = found.map(|partition| match wanted.timestamp {
                    EARLIEST => partition.start(),
                    LATEST => partition.next,
                    _ => -1,
                });
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index)
                    .with_error_code(told.note(code(&offset)))
                    .with_timestamp(-1)
                    .with_offset(offset.unwrap_or(-1))
                    .with_leader_epoch(if version < 4 { -1 } else { 0 })
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let response = ListOffsetsResponse::default().with_topics(topics.collect());
        (Some(ResponseKind::ListOffsets(response)), told)
    }

    /// One number for all: sequences of batches are not looked at.
    pub(super) fn init_producer_id(&self) -> Answer {
        let response = InitProducerIdResponse::default().with_producer_id(ProducerId(1));
        (Some(ResponseKind::InitProducerId(response)), Told::error(0))
    }
}
