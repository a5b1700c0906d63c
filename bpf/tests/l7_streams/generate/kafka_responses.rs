//! Kafka's responses, each with an error code in its first place.

use kafka_protocol::messages::*;

use super::kafka::{ERRORS, count, id, records, text, topic_name};
use super::word;
use crate::packet::random::Random;

/// Messages whose own error code comes first.
macro_rules! top {
    ($api:expr, $error:expr, $($kind:ident => $message:ident),+ $(,)?) => {
        match $api {
            $(ApiKey::$kind => return ResponseKind::$kind($message::default().with_error_code($error)),)+
            _ => {}
        }
    };
}

/// Messages of things that have an error code each.
macro_rules! each {
    ($random:expr, $api:expr, $($kind:ident => $message:ident, $module:ident::$one:ident in $list:ident),+ $(,)?) => {
        match $api {
            $(ApiKey::$kind => {
                let mut response = $message::default();
                for _ in 0..$random.below(3) {
                    let error = *$random.pick(&ERRORS);
                    response.$list.push($module::$one::default().with_error_code(error));
                }
                return ResponseKind::$kind(response);
            })+
            _ => {}
        }
    };
}

/// Messages of topics whose partitions have an error code each.
macro_rules! partitions {
    ($random:expr, $api:expr, $($kind:ident => $message:ident, $module:ident::$topic:ident in $topics:ident,
     $part:ident in $parts:ident, $error:ident, $named:ident),+ $(,)?) => {
        match $api {
            $(ApiKey::$kind => {
                let mut response = $message::default();
                for _ in 0..count($random) {
                    let mut topic = $module::$topic::default();
                    $named!(topic, $random);
                    for _ in 0..1 + $random.below(3) {
                        let mut one = $module::$part::default();
                        one.$error = *$random.pick(&ERRORS);
                        topic.$parts.push(one);
                    }
                    response.$topics.push(topic);
                }
                return ResponseKind::$kind(response);
            })+
            _ => {}
        }
    };
}

macro_rules! name {
    ($topic:expr, $random:expr) => {
        $topic.name = topic_name($random)
    };
}

macro_rules! topic {
    ($topic:expr, $random:expr) => {
        $topic.topic = topic_name($random)
    };
}

macro_rules! topic_name {
    ($topic:expr, $random:expr) => {
        $topic.topic_name = topic_name($random)
    };
}

macro_rules! topic_id {
    ($topic:expr, $random:expr) => {
        $topic.topic_id = id($random).parse().expect("an id")
    };
}

/// A response that its request's version has.
pub fn response(random: &mut Random, api: ApiKey, version: i16) -> ResponseKind {
    let error = *random.pick(&ERRORS);
    match api {
        ApiKey::Produce => return produce(random, version),
        ApiKey::Fetch => return fetch(random, version),
        ApiKey::Metadata => return metadata(random, version),
        ApiKey::FindCoordinator if version >= 4 => return coordinators(random),
        ApiKey::OffsetCommit if version >= 10 => return committed(random),
        ApiKey::OffsetFetch => return offsets(random, version),
        ApiKey::CreateTopics => return created(random, version),
        ApiKey::DeleteTopics => return deleted(random, version),
        ApiKey::AddPartitionsToTxn if version < 4 => return added(random),
        ApiKey::DescribeLogDirs if version < 3 => return log_dirs(random),
        ApiKey::ElectLeaders if version < 1 => return elected(random),
        ApiKey::WriteTxnMarkers => return markers(random),
        _ => {}
    }
    some(api, error).or_else(|| listed(random, api)).unwrap_or_else(|| {
        ResponseKind::DescribeShareGroupOffsets(DescribeShareGroupOffsetsResponse::default())
    })
}

fn some(api: ApiKey, error: i16) -> Option<ResponseKind> {
    let find = || -> ResponseKind {
        top!(api, error,
            FindCoordinator => FindCoordinatorResponse,
            JoinGroup => JoinGroupResponse,
            Heartbeat => HeartbeatResponse,
            LeaveGroup => LeaveGroupResponse,
            SyncGroup => SyncGroupResponse,
            ListGroups => ListGroupsResponse,
            SaslHandshake => SaslHandshakeResponse,
            ApiVersions => ApiVersionsResponse,
            InitProducerId => InitProducerIdResponse,
            AddPartitionsToTxn => AddPartitionsToTxnResponse,
            AddOffsetsToTxn => AddOffsetsToTxnResponse,
            EndTxn => EndTxnResponse,
            DescribeAcls => DescribeAclsResponse,
            DescribeLogDirs => DescribeLogDirsResponse,
            SaslAuthenticate => SaslAuthenticateResponse,
            CreateDelegationToken => CreateDelegationTokenResponse,
            RenewDelegationToken => RenewDelegationTokenResponse,
            ExpireDelegationToken => ExpireDelegationTokenResponse,
            DescribeDelegationToken => DescribeDelegationTokenResponse,
            ElectLeaders => ElectLeadersResponse,
            AlterPartitionReassignments => AlterPartitionReassignmentsResponse,
            ListPartitionReassignments => ListPartitionReassignmentsResponse,
            OffsetDelete => OffsetDeleteResponse,
            DescribeClientQuotas => DescribeClientQuotasResponse,
            DescribeUserScramCredentials => DescribeUserScramCredentialsResponse,
            Vote => VoteResponse,
            BeginQuorumEpoch => BeginQuorumEpochResponse,
            EndQuorumEpoch => EndQuorumEpochResponse,
            DescribeQuorum => DescribeQuorumResponse,
            AlterPartition => AlterPartitionResponse,
            UpdateFeatures => UpdateFeaturesResponse,
            Envelope => EnvelopeResponse,
            FetchSnapshot => FetchSnapshotResponse,
            DescribeCluster => DescribeClusterResponse,
            BrokerRegistration => BrokerRegistrationResponse,
            BrokerHeartbeat => BrokerHeartbeatResponse,
            UnregisterBroker => UnregisterBrokerResponse,
            ListTransactions => ListTransactionsResponse,
            AllocateProducerIds => AllocateProducerIdsResponse,
            ConsumerGroupHeartbeat => ConsumerGroupHeartbeatResponse,
            ControllerRegistration => ControllerRegistrationResponse,
            GetTelemetrySubscriptions => GetTelemetrySubscriptionsResponse,
            PushTelemetry => PushTelemetryResponse,
            AssignReplicasToDirs => AssignReplicasToDirsResponse,
            ListConfigResources => ListConfigResourcesResponse,
            ShareGroupHeartbeat => ShareGroupHeartbeatResponse,
            ShareFetch => ShareFetchResponse,
            ShareAcknowledge => ShareAcknowledgeResponse,
            AddRaftVoter => AddRaftVoterResponse,
            RemoveRaftVoter => RemoveRaftVoterResponse,
            UpdateRaftVoter => UpdateRaftVoterResponse,
            AlterShareGroupOffsets => AlterShareGroupOffsetsResponse,
            DeleteShareGroupOffsets => DeleteShareGroupOffsetsResponse,
        );
        ResponseKind::DescribeShareGroupOffsets(DescribeShareGroupOffsetsResponse::default())
    };
    Some(find()).filter(|found| !matches!(found, ResponseKind::DescribeShareGroupOffsets(_)))
}

fn listed(random: &mut Random, api: ApiKey) -> Option<ResponseKind> {
    let mut find = || -> ResponseKind {
        each!(random, api,
            DescribeGroups => DescribeGroupsResponse, describe_groups_response::DescribedGroup in groups,
            CreateAcls => CreateAclsResponse, create_acls_response::AclCreationResult in results,
            DeleteAcls => DeleteAclsResponse, delete_acls_response::DeleteAclsFilterResult in filter_results,
            DescribeConfigs => DescribeConfigsResponse, describe_configs_response::DescribeConfigsResult in results,
            AlterConfigs => AlterConfigsResponse, alter_configs_response::AlterConfigsResourceResponse in responses,
            IncrementalAlterConfigs => IncrementalAlterConfigsResponse,
                incremental_alter_configs_response::AlterConfigsResourceResponse in responses,
            AlterClientQuotas => AlterClientQuotasResponse, alter_client_quotas_response::EntryData in entries,
            DescribeTransactions => DescribeTransactionsResponse,
                describe_transactions_response::TransactionState in transaction_states,
            ConsumerGroupDescribe => ConsumerGroupDescribeResponse,
                consumer_group_describe_response::DescribedGroup in groups,
            DescribeTopicPartitions => DescribeTopicPartitionsResponse,
                describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic in topics,
            ShareGroupDescribe => ShareGroupDescribeResponse, share_group_describe_response::DescribedGroup in groups,
            CreatePartitions => CreatePartitionsResponse,
                create_partitions_response::CreatePartitionsTopicResult in results,
            DeleteGroups => DeleteGroupsResponse, delete_groups_response::DeletableGroupResult in results,
            AlterUserScramCredentials => AlterUserScramCredentialsResponse,
                alter_user_scram_credentials_response::AlterUserScramCredentialsResult in results,
        );
        partitions!(random, api,
            ListOffsets => ListOffsetsResponse, list_offsets_response::ListOffsetsTopicResponse in topics,
                ListOffsetsPartitionResponse in partitions, error_code, name,
            OffsetCommit => OffsetCommitResponse, offset_commit_response::OffsetCommitResponseTopic in topics,
                OffsetCommitResponsePartition in partitions, error_code, name,
            DeleteRecords => DeleteRecordsResponse, delete_records_response::DeleteRecordsTopicResult in topics,
                DeleteRecordsPartitionResult in partitions, error_code, name,
            OffsetForLeaderEpoch => OffsetForLeaderEpochResponse,
                offset_for_leader_epoch_response::OffsetForLeaderTopicResult in topics,
                EpochEndOffset in partitions, error_code, topic,
            TxnOffsetCommit => TxnOffsetCommitResponse,
                txn_offset_commit_response::TxnOffsetCommitResponseTopic in topics,
                TxnOffsetCommitResponsePartition in partitions, error_code, name,
            AlterReplicaLogDirs => AlterReplicaLogDirsResponse,
                alter_replica_log_dirs_response::AlterReplicaLogDirTopicResult in results,
                AlterReplicaLogDirPartitionResult in partitions, error_code, topic_name,
            DescribeProducers => DescribeProducersResponse, describe_producers_response::TopicResponse in topics,
                PartitionResponse in partitions, error_code, name,
            InitializeShareGroupState => InitializeShareGroupStateResponse,
                initialize_share_group_state_response::InitializeStateResult in results,
                PartitionResult in partitions, error_code, topic_id,
            ReadShareGroupState => ReadShareGroupStateResponse,
                read_share_group_state_response::ReadStateResult in results,
                PartitionResult in partitions, error_code, topic_id,
            WriteShareGroupState => WriteShareGroupStateResponse,
                write_share_group_state_response::WriteStateResult in results,
                PartitionResult in partitions, error_code, topic_id,
            DeleteShareGroupState => DeleteShareGroupStateResponse,
                delete_share_group_state_response::DeleteStateResult in results,
                PartitionResult in partitions, error_code, topic_id,
            ReadShareGroupStateSummary => ReadShareGroupStateSummaryResponse,
                read_share_group_state_summary_response::ReadStateSummaryResult in results,
                PartitionResult in partitions, error_code, topic_id,
        );
        ResponseKind::DescribeShareGroupOffsets(DescribeShareGroupOffsetsResponse::default())
    };
    Some(find()).filter(|found| !matches!(found, ResponseKind::DescribeShareGroupOffsets(_)))
}

fn produce(random: &mut Random, version: i16) -> ResponseKind {
    use produce_response::{PartitionProduceResponse, TopicProduceResponse};
    let mut response = ProduceResponse::default();
    for _ in 0..count(random) {
        let mut topic = TopicProduceResponse::default();
        if version >= 13 {
            topic.topic_id = id(random).parse().expect("an id");
        } else {
            topic.name = topic_name(random);
        }
        for index in 0..random.below(4) {
            let partition = PartitionProduceResponse::default().with_index(index as i32);
            topic.partition_responses.push(partition.with_error_code(*random.pick(&ERRORS)));
        }
        response.responses.push(topic);
    }
    ResponseKind::Produce(response)
}

fn fetch(random: &mut Random, version: i16) -> ResponseKind {
    use fetch_response::{FetchableTopicResponse, PartitionData};
    let mut response = FetchResponse::default();
    if version >= 7 {
        response.error_code = *random.pick(&ERRORS);
    }
    for _ in 0..count(random) {
        let mut topic = FetchableTopicResponse::default();
        if version >= 13 {
            topic.topic_id = id(random).parse().expect("an id");
        } else {
            topic.topic = topic_name(random);
        }
        for index in 0..random.below(4) {
            let data = PartitionData::default().with_partition_index(index as i32);
            topic.partitions.push(data.with_error_code(*random.pick(&ERRORS)).with_records(records(random)));
        }
        response.responses.push(topic);
    }
    ResponseKind::Fetch(response)
}

fn metadata(random: &mut Random, version: i16) -> ResponseKind {
    use metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
    let mut response = MetadataResponse::default();
    for node in 0..random.below(6) {
        let mut broker = MetadataResponseBroker::default().with_node_id((node as i32).into()).with_port(9092);
        broker.host = text(word(random, 60));
        if version >= 1 && random.one_in(2) {
            broker.rack = Some(text(word(random, 20)));
        }
        response.brokers.push(broker);
    }
    if version >= 2 && !random.one_in(4) {
        response.cluster_id = Some(text(word(random, 22)));
    }
    for _ in 0..count(random) {
        let topic = MetadataResponseTopic::default().with_error_code(*random.pick(&ERRORS));
        response.topics.push(topic.with_name(Some(topic_name(random))));
    }
    if version >= 13 {
        response.error_code = *random.pick(&ERRORS);
    }
    ResponseKind::Metadata(response)
}

fn coordinators(random: &mut Random) -> ResponseKind {
    use find_coordinator_response::Coordinator;
    let mut response = FindCoordinatorResponse::default();
    for _ in 0..random.below(3) {
        let one = Coordinator::default().with_key(text(word(random, 30))).with_host(text(word(random, 30)));
        response.coordinators.push(one.with_error_code(*random.pick(&ERRORS)));
    }
    ResponseKind::FindCoordinator(response)
}

fn committed(random: &mut Random) -> ResponseKind {
    use offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
    let mut response = OffsetCommitResponse::default();
    for _ in 0..random.below(3) {
        let mut topic = OffsetCommitResponseTopic::default();
        topic.topic_id = id(random).parse().expect("an id");
        let partition = OffsetCommitResponsePartition::default().with_error_code(*random.pick(&ERRORS));
        topic.partitions.push(partition);
        response.topics.push(topic);
    }
    ResponseKind::OffsetCommit(response)
}

fn offsets(random: &mut Random, version: i16) -> ResponseKind {
    use offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };
    let mut response = OffsetFetchResponse::default();
    let metadata = |random: &mut Random| Some(text(word(random, 10))).filter(|_| random.one_in(2));
    if version < 8 {
        for _ in 0..count(random) {
            let mut topic = OffsetFetchResponseTopic::default().with_name(topic_name(random));
            for _ in 0..1 + random.below(3) {
                let one = OffsetFetchResponsePartition::default().with_error_code(*random.pick(&ERRORS));
                topic.partitions.push(one.with_metadata(metadata(random)));
            }
            response.topics.push(topic);
        }
        if version >= 2 {
            response.error_code = *random.pick(&ERRORS);
        }
        return ResponseKind::OffsetFetch(response);
    }
    for _ in 0..random.below(3) {
        let mut group = OffsetFetchResponseGroup::default().with_error_code(*random.pick(&ERRORS));
        group.group_id = text(word(random, 20)).into();
        for _ in 0..random.below(3) {
            let mut topic = OffsetFetchResponseTopics::default();
            if version >= 10 {
                topic.topic_id = id(random).parse().expect("an id");
            } else {
                topic.name = topic_name(random);
            }
            for _ in 0..1 + random.below(3) {
                let one = OffsetFetchResponsePartitions::default().with_error_code(*random.pick(&ERRORS));
                topic.partitions.push(one.with_metadata(metadata(random)));
            }
            group.topics.push(topic);
        }
        response.groups.push(group);
    }
    ResponseKind::OffsetFetch(response)
}

fn created(random: &mut Random, version: i16) -> ResponseKind {
    use create_topics_response::CreatableTopicResult;
    let mut response = CreateTopicsResponse::default();
    for _ in 0..random.below(3) {
        let mut topic = CreatableTopicResult::default().with_name(topic_name(random));
        topic.error_code = *random.pick(&ERRORS);
        if version >= 7 {
            topic.topic_id = id(random).parse().expect("an id");
        }
        response.topics.push(topic);
    }
    ResponseKind::CreateTopics(response)
}

fn deleted(random: &mut Random, version: i16) -> ResponseKind {
    use delete_topics_response::DeletableTopicResult;
    let mut response = DeleteTopicsResponse::default();
    for _ in 0..random.below(3) {
        let mut topic = DeletableTopicResult::default().with_name(Some(topic_name(random)));
        topic.error_code = *random.pick(&ERRORS);
        if version >= 6 {
            topic.topic_id = id(random).parse().expect("an id");
            topic.name = topic.name.filter(|_| random.one_in(2));
        }
        response.responses.push(topic);
    }
    ResponseKind::DeleteTopics(response)
}

fn added(random: &mut Random) -> ResponseKind {
    use add_partitions_to_txn_response::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult};
    let mut response = AddPartitionsToTxnResponse::default();
    for _ in 0..random.below(3) {
        let mut topic = AddPartitionsToTxnTopicResult::default().with_name(topic_name(random));
        let one = AddPartitionsToTxnPartitionResult::default();
        topic.results_by_partition.push(one.with_partition_error_code(*random.pick(&ERRORS)));
        response.results_by_topic_v3_and_below.push(topic);
    }
    ResponseKind::AddPartitionsToTxn(response)
}

fn log_dirs(random: &mut Random) -> ResponseKind {
    let mut response = DescribeLogDirsResponse::default();
    for _ in 0..random.below(3) {
        let one = describe_log_dirs_response::DescribeLogDirsResult::default();
        response.results.push(one.with_error_code(*random.pick(&ERRORS)));
    }
    ResponseKind::DescribeLogDirs(response)
}

fn elected(random: &mut Random) -> ResponseKind {
    use elect_leaders_response::{PartitionResult, ReplicaElectionResult};
    let mut response = ElectLeadersResponse::default();
    for _ in 0..random.below(3) {
        let mut topic = ReplicaElectionResult::default().with_topic(topic_name(random));
        topic.partition_result.push(PartitionResult::default().with_error_code(*random.pick(&ERRORS)));
        response.replica_election_results.push(topic);
    }
    ResponseKind::ElectLeaders(response)
}

fn markers(random: &mut Random) -> ResponseKind {
    use write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };
    let mut response = WriteTxnMarkersResponse::default();
    for _ in 0..random.below(3) {
        let partition = WritableTxnMarkerPartitionResult::default().with_error_code(*random.pick(&ERRORS));
        let topic = WritableTxnMarkerTopicResult::default()
            .with_name(topic_name(random))
            .with_partitions(vec![partition]);
        response.markers.push(WritableTxnMarkerResult::default().with_topics(vec![topic]));
    }
    ResponseKind::WriteTxnMarkers(response)
}
