//! Kafka as its clients begin and go on.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    RequestKind, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::dialogue::Dialogue;
use crate::generate::kafka::{answer, encoded, encoded_response, request};

fn tcp(name: &str) -> Dialogue {
    Dialogue::tcp(format!("Kafka: {name}"), 9092).with_decoys()
}

const CLIENT: Option<&str> = Some("rdkafka");

fn metadata(version: i16, topics: &[&str]) -> Vec<u8> {
    let topic = |name: &&str| {
        MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string((*name).to_owned()))))
    };
    let request = MetadataRequest::default().with_topics(Some(topics.iter().map(topic).collect()));
    encoded(&RequestKind::Metadata(request), version)
}

fn produce(version: i16, acks: i16, topics: &[(&'static str, usize)]) -> Vec<u8> {
    let topic = |(name, len): &(&'static str, usize)| {
        let data = PartitionProduceData::default().with_records(Some(vec![7; *len].into()));
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_partition_data(vec![data])
    };
    let request =
        ProduceRequest::default().with_acks(acks).with_topic_data(topics.iter().map(topic).collect());
    encoded(&RequestKind::Produce(request), version)
}

pub fn dialogues() -> Vec<Dialogue> {
    let versions = |v| encoded_response(&ResponseKind::ApiVersions(ApiVersionsResponse::default()), v);
    let brokers = |v| encoded_response(&ResponseKind::Metadata(MetadataResponse::default()), v);
    let produced = |v| encoded_response(&ResponseKind::Produce(ProduceResponse::default()), v);
    let hello = b"\x08librdkafka\x062.3.0\0";
    let mut all =
        vec![
            tcp("as librdkafka begins")
                .client(request(ApiKey::ApiVersions, 3, 1, CLIENT, hello))
                .server(answer(ApiKey::ApiVersions, 3, 1, &versions(3)))
                .client(request(ApiKey::Metadata, 12, 2, CLIENT, &metadata(12, &["orders"])))
                .server(answer(ApiKey::Metadata, 12, 2, &brokers(12))),
            tcp("a version the broker doesn't know")
                .client(request(ApiKey::ApiVersions, 4, 1, CLIENT, hello))
                .server(answer(ApiKey::ApiVersions, 0, 1, b"\0\x23\0\0\0\0"))
                .client(request(ApiKey::ApiVersions, 0, 2, CLIENT, b""))
                .server(answer(ApiKey::ApiVersions, 0, 2, &versions(0))),
            tcp("no client id").client(request(ApiKey::ApiVersions, 0, 1, None, b"")).server(answer(
                ApiKey::ApiVersions,
                0,
                1,
                &versions(0),
            )),
            tcp("an empty client id")
                .client(request(ApiKey::ApiVersions, 0, 1, Some(""), b""))
                .server(answer(ApiKey::ApiVersions, 0, 1, &versions(0))),
            tcp("requests before answers")
                .client(
                    [1, 2, 3]
                        .map(|n| request(ApiKey::Metadata, 9, n, CLIENT, &metadata(9, &["a", "b"])))
                        .concat(),
                )
                .server([1, 2, 3].map(|n| answer(ApiKey::Metadata, 9, n, &brokers(9))).concat()),
            tcp("four topics of one request")
                .client(request(ApiKey::Metadata, 1, 1, CLIENT, &metadata(1, &["a", "bb", "ccc", "dddd"])))
                .server(answer(ApiKey::Metadata, 1, 1, &brokers(1))),
            tcp("no answer asked for")
                .client(request(ApiKey::Produce, 7, 1, CLIENT, &produce(7, 0, &[("logs", 100)])))
                .client(request(ApiKey::Produce, 7, 2, CLIENT, &produce(7, 1, &[("logs", 100)])))
                .server(answer(ApiKey::Produce, 7, 2, &produced(7))),
            tcp("tokens after a handshake")
                .client(request(ApiKey::SaslHandshake, 0, 1, CLIENT, b"\0\x05PLAIN"))
                .server(answer(ApiKey::SaslHandshake, 0, 1, b"\0\0\0\0\0\x01\0\x05PLAIN"))
                .client(b"\0\0\0\x0b\0user\0secret")
                .server(b"\0\0\0\0")
                .client(request(ApiKey::ApiVersions, 0, 2, CLIENT, b"")),
            tcp("an answer to nothing")
                .client(request(ApiKey::ApiVersions, 0, 1, CLIENT, b""))
                .server(answer(ApiKey::ApiVersions, 0, 9, &versions(0))),
        ];
    for version in [3, 8, 9, 12] {
        for len in [0, 10, 2000, 50_000] {
            all.push(
                tcp(&format!("Produce v{version} of {len} bytes to three topics"))
                    .client(request(
                        ApiKey::Produce,
                        version,
                        1,
                        CLIENT,
                        &produce(version, -1, &[("first", len), ("second", len), ("third", 5)]),
                    ))
                    .server(answer(ApiKey::Produce, version, 1, &produced(version)))
                    .client(request(ApiKey::Metadata, 4, 2, CLIENT, &metadata(4, &["next"])))
                    .server(answer(ApiKey::Metadata, 4, 2, &brokers(4))),
            );
        }
    }
    all
}
