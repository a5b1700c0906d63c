//! A producer and a consumer, each with one connection to one broker.

use std::io::Write;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use clap::Args;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::super::{Asking, repeat};
use super::{read_frame, text, topic, write_frame};
use crate::connect;

#[derive(Debug, Args)]
pub struct ProducerArgs {
    #[command(flatten)]
    whom: Whom,
    /// bytes of a message
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// of so many messages, one has 20 times that; 0 = none
    #[arg(long, default_value_t = 0)]
    large_every: u64,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub struct ConsumerArgs {
    #[command(flatten)]
    whom: Whom,
    /// milliseconds the broker may wait for messages
    #[arg(long, default_value_t = 500)]
    wait: u32,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Whom {
    /// host:port of the broker
    #[arg(long)]
    to: String,
    /// partition 0 of it is what counts
    #[arg(long)]
    topic: String,
    /// what the client calls itself
    #[arg(long, default_value = "fathom-lab")]
    client: String,
}

pub fn produce(args: ProducerArgs) -> Result<()> {
    let mut open: Option<Connection> = None;
    repeat(args.asking.every(), |number| {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => Connection::open(&args.whom, &args.asking)?,
        };
        let large = args.large_every > 0 && number % args.large_every == 0;
        let size = if large { 20 * args.size } else { args.size };
        let outcome = connection.produce(&args.whom.topic, &batch(number, size)?)?;
        // Of use as before, even if the broker said no.
        open = Some(connection);
        outcome.map(|offset| format!("message at offset {offset}"))
    })
}

/// Messages from now on.
pub fn consume(args: ConsumerArgs) -> Result<()> {
    let mut open: Option<(Connection, i64)> = None;
    repeat(args.asking.every(), |_| {
        let (mut connection, offset) = match open.take() {
            Some(open) => open,
            None => {
                let mut connection = Connection::open(&args.whom, &args.asking)?;
                let end = connection.end(&args.whom.topic)?;
                (connection, end)
            }
        };
        let (count, next) = connection.fetch(&args.whom.topic, offset, args.wait)?;
        open = Some((connection, next));
        Ok(format!("{count} messages before offset {next}"))
    })
}

/// One record, uncompressed.
fn batch(number: u64, size: usize) -> Result<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: i64::try_from(now.as_millis()).context("tell the time")?,
        key: Some(Bytes::from(format!("viewer-{}", number % 100))),
        value: Some(Bytes::from(vec![b'.'; size])),
        headers: Default::default(),
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).context("write a batch")?;
    Ok(bytes.freeze())
}

struct Connection {
    stream: TcpStream,
    client: String,
    correlation: i32,
}

impl Connection {
    /// Connects and learns what any client asks first: the versions, and the topic's leader.
    fn open(whom: &Whom, asking: &Asking) -> Result<Self> {
        let address = asking.resolver().resolve(&whom.to)?;
        let stream = connect::tcp(address, asking.bind, asking.timeout())?;
        let mut connection = Self { stream, client: whom.client.clone(), correlation: 0 };
        let versions = ApiVersionsRequest::default()
            .with_client_software_name(text("fathom-lab"))
            .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
        let spoken = connection.call(3, &versions)?;
        well(spoken.error_code).context("ask for versions")?;
        let wanted = MetadataRequestTopic::default().with_name(Some(topic(&whom.topic)));
        let known = connection.call(9, &MetadataRequest::default().with_topics(Some(vec![wanted])))?;
        let found = known.topics.first().context("no answer about the topic")?;
        well(found.error_code).with_context(|| format!("ask about {}", whom.topic))?;
        Ok(connection)
    }

    /// The offset, or the broker's refusal; an error when the connection is of no use any more.
    fn produce(&mut self, name: &str, batch: &Bytes) -> Result<Result<i64>> {
        let data = PartitionProduceData::default().with_records(Some(batch.clone()));
        let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]);
        let response = self.call(9, &request)?;
        let partition = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let partition = partition.context("no answer about the partition")?;
        Ok(well(partition.error_code).map(|()| partition.base_offset))
    }

    /// Offset of the next message.
    fn end(&mut self, name: &str) -> Result<i64> {
        let latest = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![latest]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let response = self.call(6, &request)?;
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.context("no answer about the partition")?;
        well(partition.error_code).context("ask for the end")?;
        Ok(partition.offset)
    }

    /// How many messages there were, and the offset of the next.
    fn fetch(&mut self, name: &str, offset: i64, wait: u32) -> Result<(usize, i64)> {
        let wanted = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_wait_ms(i32::try_from(wait).context("wait so long")?)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic]);
        let response = self.call(12, &request)?;
        let partition = response.responses.first().and_then(|topic| topic.partitions.first());
        let partition = partition.context("no answer about the partition")?;
        well(partition.error_code).context("fetch")?;
        let mut records = partition.records.clone().unwrap_or_default();
        let sets = RecordBatchDecoder::decode_all(&mut records).context("read batches")?;
        let fresh = || sets.iter().flat_map(|set| &set.records).filter(|record| record.offset >= offset);
        Ok((fresh().count(), fresh().map(|record| record.offset + 1).max().unwrap_or(offset)))
    }

    fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.correlation += 1;
        let mut bytes = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(text(&self.client)))
            .encode(&mut bytes, R::header_version(version))
            .and_then(|()| request.encode(&mut bytes, version))
            .context("write a request")?;
        write_frame(&mut self.stream, &bytes)?;
        self.stream.flush().context("write a request")?;
        let mut frame = read_frame(&mut self.stream)?.context("closed without an answer")?;
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .context("read a response's header")?;
        if header.correlation_id != self.correlation {
            bail!("asked {}, was answered {}", self.correlation, header.correlation_id);
        }
        R::Response::decode(&mut frame, version).context("read a response")
    }
}

fn well(code: i16) -> Result<()> {
    match code.err() {
        None => Ok(()),
        Some(error) => bail!("the broker says {error:?}"),
    }
}
