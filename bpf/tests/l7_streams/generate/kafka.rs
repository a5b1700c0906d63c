//! Valid Kafka: every version of the calls that are looked into, and others by their headers.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, MetadataRequest, ProduceRequest, RequestHeader, RequestKind, ResponseKind,
    TopicName,
};
use kafka_protocol::protocol::{Encodable as _, StrBytes};

use super::kafka_responses::response;
use super::{exact_word, length, noise, word};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::packet::random::Random;

/// Calls whose bodies are read.
const READ: [ApiKey; 11] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::Metadata,
    ApiKey::ApiVersions,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::LeaveGroup,
    ApiKey::Heartbeat,
    ApiKey::InitProducerId,
    ApiKey::SaslHandshake,
];

pub const ERRORS: [i16; 8] = [0, 0, 0, 0, 1, 3, 35, -1];

pub fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

pub fn topic_name(random: &mut Random) -> TopicName {
    let len = if random.one_in(10) { 249 } else { 1 + random.below(40) };
    TopicName(text(exact_word(random, len)))
}

/// A version, the newest and the oldest more often than the rest.
fn version(random: &mut Random, api: ApiKey) -> i16 {
    let mut range = api.valid_versions();
    if api == ApiKey::SaslHandshake {
        // After version 0 something else is spoken.
        range.min = 1;
    }
    match random.below(4) {
        0 => range.max,
        1 => range.min,
        _ => range.min + random.below((range.max - range.min + 1) as usize) as i16,
    }
}

/// How many topics: most often one, now and then more than are told.
pub fn count(random: &mut Random) -> usize {
    *random.pick(&[0, 1, 1, 1, 1, 2, 3, 4, 9])
}

/// A topic's id, as text.
pub fn id(random: &mut Random) -> String {
    noise(random, 16).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn records(random: &mut Random) -> Option<Bytes> {
    let len = length(random, 4000);
    (!random.one_in(10)).then(|| Bytes::from(noise(random, len)))
}

fn produce(random: &mut Random, version: i16) -> (RequestKind, bool) {
    let mut request = ProduceRequest::default().with_acks(*random.pick(&[-1, 1, 0])).with_timeout_ms(30_000);
    if random.one_in(4) {
        request.transactional_id = Some(text(word(random, 30)).into());
    }
    for _ in 0..count(random) {
        let mut topic = TopicProduceData::default();
        if version >= 13 {
            topic.topic_id = id(random).parse().expect("an id");
        } else {
            topic.name = topic_name(random);
        }
        for index in 0..1 + random.below(3) {
            let data = PartitionProduceData::default().with_index(index as i32).with_records(records(random));
            topic.partition_data.push(data);
        }
        request.topic_data.push(topic);
    }
    let silent = request.acks == 0;
    (RequestKind::Produce(request), silent)
}

fn fetch(random: &mut Random, version: i16) -> RequestKind {
    let mut request = FetchRequest::default().with_max_wait_ms(500).with_min_bytes(1);
    if version <= 14 {
        request.replica_id = (-1).into();
    }
    if version >= 11 {
        request.rack_id = text(if random.one_in(2) { String::new() } else { word(random, 10) });
    }
    for _ in 0..count(random) {
        let mut topic = FetchTopic::default();
        if version >= 13 {
            topic.topic_id = id(random).parse().expect("an id");
        } else {
            topic.topic = topic_name(random);
        }
        for partition in 0..1 + random.below(6) {
            topic.partitions.push(
                FetchPartition::default().with_partition(partition as i32).with_partition_max_bytes(1 << 20),
            );
        }
        request.topics.push(topic);
    }
    RequestKind::Fetch(request)
}

fn metadata(random: &mut Random, version: i16) -> RequestKind {
    let mut request = MetadataRequest::default();
    let mut topics = Vec::new();
    for _ in 0..count(random) {
        let mut topic = MetadataRequestTopic::default().with_name(Some(topic_name(random)));
        if version >= 12 && random.one_in(2) {
            topic.name = None;
            topic.topic_id = id(random).parse().expect("an id");
        }
        topics.push(topic);
    }
    request.topics = if version >= 1 && random.one_in(4) { None } else { Some(topics) };
    RequestKind::Metadata(request)
}

pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// A request's header and what follows it.
pub fn request(api: ApiKey, version: i16, correlation: i32, client: Option<&str>, body: &[u8]) -> Vec<u8> {
    tagged_request(api, version, correlation, client, body, &[])
}

fn tagged_request(
    api: ApiKey,
    version: i16,
    correlation: i32,
    client: Option<&str>,
    body: &[u8],
    tags: &[Vec<u8>],
) -> Vec<u8> {
    let mut header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(client.map(|client| text(client.to_owned())));
    if api.request_header_version(version) >= 2 {
        for (tag, value) in tags.iter().enumerate() {
            header.unknown_tagged_fields.insert(tag as i32, Bytes::from(value.clone()));
        }
    }
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, api.request_header_version(version)).expect("a header");
    bytes.extend_from_slice(body);
    framed(&bytes)
}

/// A response's header and what follows it.
pub fn answer(api: ApiKey, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = correlation.to_be_bytes().to_vec();
    if api.response_header_version(version) == 1 {
        bytes.push(0);
    }
    bytes.extend(body);
    framed(&bytes)
}

pub fn encoded(request: &RequestKind, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap_or_else(|e| panic!("{request:?} v{version}: {e}"));
    bytes.to_vec()
}

pub fn encoded_response(response: &ResponseKind, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap_or_else(|e| panic!("{response:?} v{version}: {e}"));
    bytes.to_vec()
}

/// A request, and its response if it gets one.
fn exchange(random: &mut Random, correlation: i32, client: Option<&str>) -> (Vec<u8>, Option<Vec<u8>>) {
    let all: Vec<ApiKey> = ApiKey::iter().collect();
    let api = if random.one_in(4) { *random.pick(&all) } else { *random.pick(&READ) };
    let version = version(random, api);
    let (body, silent) = match api {
        ApiKey::Produce => {
            let (produce, silent) = produce(random, version);
            (encoded(&produce, version), silent)
        }
        ApiKey::Fetch => (encoded(&fetch(random, version), version), false),
        ApiKey::Metadata => (encoded(&metadata(random, version), version), false),
        _ => {
            let len = length(random, 300);
            (noise(random, len), false)
        }
    };
    let tags: Vec<Vec<u8>> = if random.one_in(10) {
        (0..1 + random.below(3)).map(|_| noise(random, 9)).collect()
    } else {
        Vec::new()
    };
    let asked = tagged_request(api, version, correlation, client, &body, &tags);
    if silent {
        return (asked, None);
    }
    let body = encoded_response(&response(random, api, version), version);
    (asked, Some(answer(api, version, correlation, &body)))
}

/// 1 to 8 exchanges, some at once; answers come in the requests' order, the last ones perhaps not.
pub fn dialogue(random: &mut Random) -> Dialogue {
    let mut dialogue = Dialogue::tcp("generated Kafka", 9092);
    let client = match random.below(5) {
        0 => None,
        1 => Some(exact_word(random, 300)),
        _ => Some(word(random, 30)),
    };
    let mut correlation = if random.one_in(2) { random.next() as i32 } else { 0 };
    // Who sees no request before it takes a response with such a number for one.
    dialogue.decoys = correlation == 0;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    for _ in 0..1 + random.below(8) {
        let (asked, answer) = exchange(random, correlation, client.as_deref());
        correlation = correlation.wrapping_add(1);
        dialogue = dialogue.write(Side::Client, &asked);
        dialogue.mean(1, usize::from(answer.is_some()));
        waiting.extend(answer);
        if !random.one_in(3) {
            dialogue =
                waiting.drain(..).fold(dialogue, |dialogue, answer| dialogue.write(Side::Server, &answer));
        }
    }
    // Some are never answered, and some in part.
    let answered = if random.one_in(3) { random.below(waiting.len() + 1) } else { waiting.len() };
    dialogue.meant = dialogue.meant.map(|[asked, meant]| [asked, meant - (waiting.len() - answered)]);
    let mut dialogue =
        waiting[..answered].iter().fold(dialogue, |dialogue, answer| dialogue.write(Side::Server, answer));
    // Before any other answer nobody can tell what it is who did not see the beginning.
    let known = dialogue.writes.iter().any(|write| write.side == Side::Server);
    if let Some(answer) = waiting.get(answered).filter(|_| known && random.one_in(3)) {
        dialogue = dialogue.write(Side::Server, &answer[..1 + random.below(7)]);
    }
    dialogue.ending(*random.pick(&[Ending::Fin, Ending::ServerFin, Ending::Reset, Ending::Open]))
}
