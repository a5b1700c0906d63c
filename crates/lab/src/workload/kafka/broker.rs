//! A Kafka broker of one node: topics in memory, one thread per connection, and a line per request.
//! No groups, transactions or authentication; a request for those ends its connection.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use clap::Args;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::topics::{Topics, find, partitions};
use super::{read_frame, text, topic, write_frame};

/// What is spoken, oldest and newest version. From Produce 13, Fetch 13 and Metadata 10 on topics have
/// numbers of their own.
const SPOKEN: [(ApiKey, i16, i16); 7] = [
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 6),
    (ApiKey::InitProducerId, 0, 4),
];
const NODE: BrokerId = BrokerId(0);
/// "Latest" and "earliest" as timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

#[derive(Debug, Args)]
pub struct BrokerArgs {
    #[arg(long, default_value = "[::]:9092")]
    listen: SocketAddr,
    /// host:port that clients are sent to; the address they came to when not given
    #[arg(long)]
    advertise: Option<String>,
    /// a topic that is there from the beginning
    #[arg(long)]
    topic: Vec<String>,
    /// partitions of a topic
    #[arg(long, default_value_t = 1)]
    partitions: u16,
    /// have no other topics than those
    #[arg(long)]
    no_new_topics: bool,
    /// bytes a batch may have
    #[arg(long, default_value_t = 1_048_576)]
    largest: usize,
}

pub fn serve(args: BrokerArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    let topics = Topics::default();
    topics.lock().extend(args.topic.iter().map(|name| (name.clone(), partitions(args.partitions))));
    let broker = Arc::new(Broker { args, topics });
    println!("ready");
    for stream in listener.incoming().flatten() {
        let broker = broker.clone();
        std::thread::spawn(move || {
            if let Err(error) = broker.talk(stream) {
                println!("failed {error:#}");
            }
        });
    }
    Ok(())
}

struct Broker {
    args: BrokerArgs,
    topics: Topics,
}

/// What the log tells of a request beside its header.
#[derive(Default)]
struct Told {
    topics: Vec<String>,
    /// The first error of the answer.
    error: i16,
}

impl Told {
    fn of<'a>(topics: impl IntoIterator<Item = &'a TopicName>) -> Self {
        Self { topics: topics.into_iter().map(|name| name.to_string()).collect(), error: 0 }
    }

    fn error(&mut self, error: i16) -> i16 {
        if self.error == 0 {
            self.error = error;
        }
        error
    }
}

impl Broker {
    fn talk(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let local = stream.local_addr().context("learn the local address")?;
        let advertised = match &self.args.advertise {
            Some(name) => name.clone(),
            None => format!("{}:{}", local.ip().to_canonical(), local.port()),
        };
        let (host, port) = advertised.rsplit_once(':').with_context(|| format!("{advertised}: no port"))?;
        let me = MetadataResponseBroker::default()
            .with_node_id(NODE)
            .with_host(text(host))
            .with_port(port.parse().with_context(|| format!("{port}: not a port"))?);
        let mut writer = stream.try_clone().context("duplicate the connection")?;
        let mut reader = BufReader::new(stream);
        while let Some(frame) = read_frame(&mut reader)? {
            if let Some(answer) = self.answer(frame, &me)? {
                write_frame(&mut writer, &answer)?;
            }
        }
        Ok(())
    }

    /// A whole response, or none where none is wanted.
    fn answer(&self, mut frame: Bytes, me: &MetadataResponseBroker) -> Result<Option<BytesMut>> {
        let (Some(key), Some(version)) = (short(&frame, 0), short(&frame, 2)) else {
            bail!("a request of {} bytes", frame.len())
        };
        let spoken = SPOKEN.into_iter().find(|(spoken, ..)| *spoken as i16 == key);
        let Some((api, oldest, newest)) = spoken else { bail!("request {key} is not spoken here") };
        let fits = (oldest..=newest).contains(&version);
        if !fits && api != ApiKey::ApiVersions {
            bail!("{api:?} version {version} is not spoken here, {oldest} to {newest} are");
        }
        // Who asks for the versions in a version that is not known gets them in the oldest.
        let answered = if fits { version } else { 0 };
        let header = if fits {
            RequestHeader::decode(&mut frame, api.request_header_version(version))
        } else {
            RequestHeader::decode(&mut frame, 1)
        }
        .with_context(|| format!("read the header of {api:?} version {version}"))?;
        let (response, told) = if fits {
            let request = RequestKind::decode(api, &mut frame, version)
                .with_context(|| format!("read {api:?} version {version}"))?;
            self.handle(request, version, me)?
        } else {
            let error = ResponseError::UnsupportedVersion.code();
            (Some(versions(error)), Told { error, ..Told::default() })
        };
        println!(
            "{api:?} v{version} client={} correlation={} topics={} error={}",
            header.client_id.as_deref().unwrap_or(""),
            header.correlation_id,
            told.topics.join(","),
            told.error
        );
        let Some(response) = response else { return Ok(None) };
        let mut bytes = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(header.correlation_id)
            .encode(&mut bytes, api.response_header_version(answered))
            .and_then(|()| response.encode(&mut bytes, answered))
            .with_context(|| format!("write the answer to {api:?} version {version}"))?;
        Ok(Some(bytes))
    }

    fn handle(
        &self,
        request: RequestKind,
        version: i16,
        me: &MetadataResponseBroker,
    ) -> Result<(Option<ResponseKind>, Told)> {
        Ok(match request {
            RequestKind::ApiVersions(_) => (Some(versions(0)), Told::default()),
            RequestKind::Metadata(request) => self.metadata(&request, version, me),
            RequestKind::Produce(request) => self.produce(&request),
            RequestKind::Fetch(request) => self.fetch(&request),
            RequestKind::ListOffsets(request) => self.list_offsets(&request),
            RequestKind::CreateTopics(request) => self.create_topics(&request),
            RequestKind::InitProducerId(_) => {
                let response = InitProducerIdResponse::default().with_producer_id(ProducerId(1));
                (Some(ResponseKind::InitProducerId(response)), Told::default())
            }
            other => bail!("{other:?} is not spoken here"),
        })
    }

    fn metadata(
        &self,
        request: &MetadataRequest,
        version: i16,
        me: &MetadataResponseBroker,
    ) -> (Option<ResponseKind>, Told) {
        let asked: Vec<&TopicName> =
            request.topics.iter().flatten().filter_map(|topic| topic.name.as_ref()).collect();
        let mut told = Told::of(asked);
        let everything = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
        let create = !self.args.no_new_topics && (version < 4 || request.allow_auto_topic_creation);
        let mut named = self.topics.lock();
        let names = if everything { named.keys().cloned().collect() } else { told.topics.clone() };
        let topics = names.iter().map(|name| {
            if create && !named.contains_key(name) {
                named.insert(name.clone(), partitions(self.args.partitions));
            }
            let count = named.get(name).map_or(0, Vec::len);
            let unknown = if count == 0 { ResponseError::UnknownTopicOrPartition.code() } else { 0 };
            let partition = |index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(NODE)
                    .with_leader_epoch(0)
                    .with_replica_nodes(vec![NODE])
                    .with_isr_nodes(vec![NODE])
            };
            MetadataResponseTopic::default()
                .with_error_code(told.error(unknown))
                .with_name(Some(topic(name)))
                .with_partitions((0..count as i32).map(partition).collect())
        });
        let response = MetadataResponse::default()
            .with_topics(topics.collect())
            .with_brokers(vec![me.clone()])
            .with_cluster_id(Some(text("lab")))
            .with_controller_id(NODE);
        (Some(ResponseKind::Metadata(response)), told)
    }

    fn produce(&self, request: &ProduceRequest) -> (Option<ResponseKind>, Told) {
        let mut told = Told::of(request.topic_data.iter().map(|topic| &topic.name));
        let mut named = self.topics.lock();
        let responses = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let records = data.records.as_ref();
                let appended = match records {
                    Some(records) if records.len() > self.args.largest => Err(ResponseError::MessageTooLarge),
                    Some(records) => {
                        find(&mut named, &topic.name, data.index).and_then(|p| p.append(records))
                    }
                    None => Err(ResponseError::CorruptMessage),
                };
                PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_error_code(told.error(code(&appended)))
                    .with_base_offset(appended.unwrap_or(-1))
                    .with_log_append_time_ms(-1)
            });
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(partitions.collect())
        });
        let response = ProduceResponse::default().with_responses(responses.collect());
        self.topics.tell();
        ((request.acks != 0).then_some(ResponseKind::Produce(response)), told)
    }

    /// Answers when there is as much as the client wants, or when it has waited as long as it wants.
    fn fetch(&self, request: &FetchRequest) -> (Option<ResponseKind>, Told) {
        let patience = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let until = Instant::now() + patience;
        let mut named = self.topics.lock();
        loop {
            let mut told = Told::of(request.topics.iter().map(|topic| &topic.topic));
            let mut size = 0;
            let responses = request.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|wanted| {
                    let limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
                    let found = find(&mut named, &topic.topic, wanted.partition);
                    let (start, end) = found.as_ref().map_or((-1, -1), |p| (p.start(), p.next));
                    let read = found.and_then(|partition| partition.read(wanted.fetch_offset, limit));
                    size += read.as_ref().map_or(0, Bytes::len);
                    PartitionData::default()
                        .with_partition_index(wanted.partition)
                        .with_error_code(told.error(code(&read)))
                        .with_high_watermark(end)
                        .with_last_stable_offset(end)
                        .with_log_start_offset(start)
                        .with_preferred_read_replica(BrokerId(-1))
                        .with_records(Some(read.unwrap_or_default()))
                });
                FetchableTopicResponse::default()
                    .with_topic(topic.topic.clone())
                    .with_partitions(partitions.collect())
            });
            let response = FetchResponse::default().with_responses(responses.collect());
            let enough = size >= usize::try_from(request.min_bytes).unwrap_or(0);
            if enough || told.error != 0 || Instant::now() >= until {
                return (Some(ResponseKind::Fetch(response)), told);
            }
            named = self.topics.wait(named, until);
        }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> (Option<ResponseKind>, Told) {
        let mut told = Told::of(request.topics.iter().map(|topic| &topic.name));
        let mut named = self.topics.lock();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let found = find(&mut named, &topic.name, wanted.partition_index);
                // Times of records are not kept: whoever asks for one gets the end, as of a time to come.
                let offset = found.map(|partition| match wanted.timestamp {
                    EARLIEST => partition.start(),
                    LATEST => partition.next,
                    _ => -1,
                });
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index)
                    .with_error_code(told.error(code(&offset)))
                    .with_timestamp(-1)
                    .with_offset(offset.unwrap_or(-1))
                    .with_leader_epoch(0)
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let response = ListOffsetsResponse::default().with_topics(topics.collect());
        (Some(ResponseKind::ListOffsets(response)), told)
    }

    fn create_topics(&self, request: &CreateTopicsRequest) -> (Option<ResponseKind>, Told) {
        let mut told = Told::of(request.topics.iter().map(|topic| &topic.name));
        let mut named = self.topics.lock();
        let topics = request.topics.iter().map(|wanted| {
            let count = u16::try_from(wanted.num_partitions).unwrap_or(self.args.partitions);
            let created = match named.contains_key(&*wanted.name.0) {
                _ if self.args.no_new_topics => Err(ResponseError::PolicyViolation),
                true => Err(ResponseError::TopicAlreadyExists),
                false if request.validate_only => Ok(()),
                false => {
                    named.insert(wanted.name.to_string(), partitions(count));
                    Ok(())
                }
            };
            CreatableTopicResult::default()
                .with_name(wanted.name.clone())
                .with_error_code(told.error(code(&created)))
                .with_num_partitions(i32::from(count))
                .with_replication_factor(1)
        });
        let response = CreateTopicsResponse::default().with_topics(topics.collect());
        (Some(ResponseKind::CreateTopics(response)), told)
    }
}

fn versions(error: i16) -> ResponseKind {
    let spoken = |(api, oldest, newest): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(oldest).with_max_version(newest)
    };
    let response = ApiVersionsResponse::default()
        .with_error_code(error)
        .with_api_keys(SPOKEN.into_iter().map(spoken).collect());
    ResponseKind::ApiVersions(response)
}

fn code<T>(outcome: &Result<T, ResponseError>) -> i16 {
    outcome.as_ref().err().map_or(0, ResponseError::code)
}

fn short(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
