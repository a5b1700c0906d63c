use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use uuid::Uuid;

use super::super::{text, topic};
use super::*;

const ORDERS: &str = "orders";

fn broker(limits: &[&str]) -> (Broker, Uuid) {
    let args = BrokerArgs {
        listen: ([127, 0, 0, 1], 9092).into(),
        advertise: None,
        topic: Vec::new(),
        partitions: 1,
        no_new_topics: false,
        largest: 1000,
        newest: Vec::new(),
    };
    let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    let (topics, groups) = (Topics::default(), Groups::default());
    let id = topics.lock().create(ORDERS, 1).unwrap();
    (Broker { args, spoken: Spoken::new(&limits), topics, groups }, id)
}

/// One of each kind, about the topic where it is about topics.
fn request(api: ApiKey, version: i16, id: Uuid) -> RequestKind {
    let group = || GroupId(text("group"));
    // From some version on the id takes the name's place.
    let by = |from: i16| if version < from { (topic(ORDERS), Uuid::nil()) } else { (topic(""), id) };
    match api {
        ApiKey::Produce => {
            let (name, id) = by(13);
            let partition = PartitionProduceData::default().with_records(Some(Bytes::from_static(b"none")));
            let data = TopicProduceData::default().with_name(name).with_topic_id(id);
            let data = data.with_partition_data(vec![partition]);
            ProduceRequest::default().with_acks(1).with_topic_data(vec![data]).into()
        }
        ApiKey::Fetch => {
            let (name, id) = by(13);
            let wanted = FetchTopic::default().with_topic(name).with_topic_id(id);
            let wanted = wanted.with_partitions(vec![FetchPartition::default()]);
            FetchRequest::default().with_topics(vec![wanted]).into()
        }
        ApiKey::ListOffsets => {
            let wanted = vec![ListOffsetsPartition::default().with_timestamp(-1)];
            let wanted = ListOffsetsTopic::default().with_name(topic(ORDERS)).with_partitions(wanted);
            ListOffsetsRequest::default().with_topics(vec![wanted]).into()
        }
        ApiKey::Metadata => {
            let wanted = MetadataRequestTopic::default().with_name(Some(topic(ORDERS)));
            MetadataRequest::default().with_topics(Some(vec![wanted])).into()
        }
        ApiKey::OffsetCommit => {
            let to = vec![OffsetCommitRequestPartition::default().with_committed_offset(7)];
            let to = OffsetCommitRequestTopic::default().with_name(topic(ORDERS)).with_partitions(to);
            let request = OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![to]);
            request.with_generation_id_or_member_epoch(-1).into()
        }
        ApiKey::OffsetFetch if version < 8 => {
            let wanted = OffsetFetchRequestTopic::default().with_name(topic(ORDERS));
            let wanted = Some(vec![wanted.with_partition_indexes(vec![0, 1])]);
            OffsetFetchRequest::default().with_group_id(group()).with_topics(wanted).into()
        }
        ApiKey::OffsetFetch => {
            let wanted = OffsetFetchRequestTopics::default().with_name(topic(ORDERS));
            let wanted = Some(vec![wanted.with_partition_indexes(vec![0, 1])]);
            let wanted = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(wanted);
            OffsetFetchRequest::default().with_groups(vec![wanted]).into()
        }
        ApiKey::FindCoordinator if version < 4 => {
            FindCoordinatorRequest::default().with_key(text("group")).into()
        }
        ApiKey::FindCoordinator => {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("group")]).into()
        }
        ApiKey::JoinGroup => {
            let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
            let request = JoinGroupRequest::default().with_group_id(group()).with_session_timeout_ms(1);
            request.with_protocol_type(text("consumer")).with_protocols(vec![protocol]).into()
        }
        ApiKey::SyncGroup => SyncGroupRequest::default().with_group_id(group()).into(),
        ApiKey::Heartbeat => HeartbeatRequest::default().with_group_id(group()).into(),
        ApiKey::LeaveGroup if version < 3 => LeaveGroupRequest::default().with_group_id(group()).into(),
        ApiKey::LeaveGroup => {
            let members = vec![MemberIdentity::default().with_member_id(text("nobody"))];
            LeaveGroupRequest::default().with_group_id(group()).with_members(members).into()
        }
        ApiKey::ApiVersions => ApiVersionsRequest::default().into(),
        ApiKey::CreateTopics => {
            let wanted = CreatableTopic::default().with_name(topic(ORDERS)).with_num_partitions(2);
            CreateTopicsRequest::default().with_topics(vec![wanted]).into()
        }
        ApiKey::InitProducerId => InitProducerIdRequest::default().into(),
        other => panic!("{other:?} is not spoken"),
    }
}

/// A request's frame.
fn frame(api: ApiKey, version: i16, request: &RequestKind) -> Bytes {
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(text("app")))
        .encode(&mut bytes, api.request_header_version(version))
        .and_then(|()| request.encode(&mut bytes, version))
        .unwrap_or_else(|error| panic!("{api:?} version {version}: {error:#}"));
    bytes.freeze()
}

fn here() -> Here {
    Here { host: "10.0.0.1".to_owned(), port: 9092 }
}

#[test]
fn every_version_of_every_request_is_answered_and_told() {
    let (broker, id) = broker(&[]);
    let answered = |api: ApiKey, version| {
        let frame = frame(api, version, &request(api, version, id));
        let (answer, line) =
            broker.answer(frame, &here()).unwrap_or_else(|error| panic!("{api:?} {version}: {error:#}"));
        let mut answer = answer.expect("an answer").freeze();
        let header = ResponseHeader::decode(&mut answer, api.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 77, "{line}");
        let response = ResponseKind::decode(api, &mut answer, version)
            .unwrap_or_else(|error| panic!("{api:?} {version}: {error:#}"));
        assert!(answer.is_empty(), "{line}: {response:?} and {answer:?}");
        line
    };
    for key in 0..100 {
        let Some((api, oldest, newest)) = broker.spoken.of(key) else { continue };
        for version in oldest..=newest {
            let (topics, errors) = match (api, version) {
                (ApiKey::Produce, 13..) => ("id:AAAAAAAAgAGAAAAAAAAAAQ", "2"),
                (ApiKey::Produce, _) => (ORDERS, "2"),
                (ApiKey::Fetch, 13..) => ("id:AAAAAAAAgAGAAAAAAAAAAQ", "0"),
                (ApiKey::Fetch | ApiKey::ListOffsets | ApiKey::Metadata, _) => (ORDERS, "0"),
                (ApiKey::OffsetCommit | ApiKey::OffsetFetch, _) => (ORDERS, "0"),
                (ApiKey::CreateTopics, _) => (ORDERS, "36"),
                (ApiKey::JoinGroup, 4..) => ("", "79"),
                (ApiKey::SyncGroup | ApiKey::Heartbeat, _) => ("", "25"),
                (ApiKey::LeaveGroup, ..3) => ("", "25"),
                (ApiKey::LeaveGroup, _) => ("", "0,25"),
                _ => ("", "0"),
            };
            let told =
                format!("{api:?} v{version} client=app correlation=77 topics={topics} errors={errors}");
            assert_eq!(answered(api, version), told);
        }
    }
}

#[test]
fn versions_asked_for_in_one_that_is_not_known_come_in_the_oldest() {
    let (broker, _) = broker(&["ApiVersions=2"]);
    let request = frame(ApiKey::ApiVersions, 3, &ApiVersionsRequest::default().into());
    let (answer, line) = broker.answer(request, &here()).unwrap();
    assert_eq!(line, "ApiVersions v3 client=app correlation=77 topics= errors=35");
    let mut answer = answer.unwrap().freeze();
    ResponseHeader::decode(&mut answer, 0).unwrap();
    let response = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!((response.error_code, response.api_keys.len()), (35, 14));
}

#[test]
fn what_wants_no_answer_gets_none_and_what_is_not_spoken_is_refused() {
    let (broker, id) = broker(&["Fetch=4"]);
    let RequestKind::Produce(produce) = request(ApiKey::Produce, 9, id) else { panic!("Produce") };
    let silent = frame(ApiKey::Produce, 9, &produce.with_acks(0).into());
    let (answer, line) = broker.answer(silent, &here()).unwrap();
    assert_eq!((answer, line.contains("errors=2")), (None, true));
    for refused in [
        frame(ApiKey::Fetch, 5, &request(ApiKey::Fetch, 5, id)),
        frame(ApiKey::SaslHandshake, 1, &SaslHandshakeRequest::default().into()),
        Bytes::from_static(b"\0"),
    ] {
        assert!(broker.answer(refused, &here()).is_err());
    }
}
