//! The requests of groups' members, and of whoever looks for their coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::broker::{Answer, Broker, Here, NODE, code};
use super::groups::{Committed, Wish};
use super::told::Told;
use super::{text, topic};

impl Broker {
    pub(super) fn find_coordinator(
        &self,
        request: &FindCoordinatorRequest,
        version: i16,
        here: &Here,
    ) -> Answer {
        // From version 4 on, of several groups at once.
        let told = if version < 4 { Told::error(0) } else { told_of(request.coordinator_keys.len()) };
        let coordinator = |key: &_| {
            Coordinator::default()
                .with_key(Clone::clone(key))
                .with_node_id(NODE)
                .with_host(text(&here.host))
                .with_port(here.port)
        };
        let response = match version {
            ..4 => FindCoordinatorResponse::default()
                .with_node_id(NODE)
                .with_host(text(&here.host))
                .with_port(here.port),
            _ => FindCoordinatorResponse::default()
                .with_coordinators(request.coordinator_keys.iter().map(coordinator).collect()),
        };
        (Some(ResponseKind::FindCoordinator(response)), told)
    }

    pub(super) fn join_group(&self, request: &JoinGroupRequest, version: i16, client: &str) -> Answer {
        let milliseconds = |count: i32| Duration::from_millis(u64::try_from(count).unwrap_or(0));
        let session = milliseconds(request.session_timeout_ms);
        let wish = Wish {
            session,
            // Version 0 has no time of its own for it.
            patience: milliseconds(request.rebalance_timeout_ms).max(session),
            kind: request.protocol_type.to_string(),
            protocols: request.protocols.iter().map(|p| (p.name.to_string(), p.metadata.clone())).collect(),
        };
        let joined = self.groups.join(&request.group_id, &request.member_id, client, version >= 4, wish);
        let response = JoinGroupResponse::default();
        let (response, error) = match joined {
            Ok(joined) => {
                let member = |(id, said): (String, _)| {
                    JoinGroupResponseMember::default().with_member_id(text(&id)).with_metadata(said)
                };
                let response = response
                    .with_generation_id(joined.generation)
                    .with_protocol_type(Some(text(&joined.kind)))
                    .with_protocol_name(Some(text(&joined.protocol)))
                    .with_leader(text(&joined.leader))
                    .with_member_id(text(&joined.member))
                    .with_members(joined.members.into_iter().map(member).collect());
                (response, 0)
            }
            Err((error, member)) => {
                // Only the newest have null for no protocol.
                let none = (version < 7).then(Default::default);
                let response =
                    response.with_generation_id(-1).with_member_id(text(&member)).with_protocol_name(none);
                (response, error.code())
            }
        };
        (Some(ResponseKind::JoinGroup(response.with_error_code(error))), Told::error(error))
    }

    pub(super) fn sync_group(&self, request: &SyncGroupRequest) -> Answer {
        let brought = request.assignments.iter();
        let brought: BTreeMap<_, _> =
            brought.map(|part| (part.member_id.to_string(), part.assignment.clone())).collect();
        let synced = self.groups.sync(&request.group_id, &request.member_id, request.generation_id, brought);
        let error = code(&synced);
        let mut response = SyncGroupResponse::default().with_error_code(error);
        if let Ok((kind, protocol, part)) = synced {
            response = response
                .with_protocol_type(Some(text(&kind)))
                .with_protocol_name(Some(text(&protocol)))
                .with_assignment(part);
        }
        (Some(ResponseKind::SyncGroup(response)), Told::error(error))
    }

    pub(super) fn heartbeat(&self, request: &HeartbeatRequest) -> Answer {
        let lives = self.groups.heartbeat(&request.group_id, &request.member_id, request.generation_id);
        let error = code(&lives);
        let response = HeartbeatResponse::default().with_error_code(error);
        (Some(ResponseKind::Heartbeat(response)), Told::error(error))
    }

    pub(super) fn leave_group(&self, request: &LeaveGroupRequest, version: i16) -> Answer {
        if version < 3 {
            let error = code(&self.groups.leave(&request.group_id, &request.member_id));
            let response = LeaveGroupResponse::default().with_error_code(error);
            return (Some(ResponseKind::LeaveGroup(response)), Told::error(error));
        }
        let mut told = Told::error(0);
        let members = request.members.iter().map(|member| {
            let left = self.groups.leave(&request.group_id, &member.member_id);
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(told.note(code(&left)))
        });
        let response = LeaveGroupResponse::default().with_members(members.collect());
        (Some(ResponseKind::LeaveGroup(response)), told)
    }

    pub(super) fn offset_commit(&self, request: &OffsetCommitRequest) -> Answer {
        let mut told = Told::of(request.topics.iter().map(|topic| (Some(&topic.name), topic.topic_id)));
        let group = &*request.group_id;
        let may = self.groups.may_commit(group, &request.member_id, request.generation_id_or_member_epoch);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let mut named = self.topics.lock();
                let known = named.partition(&topic.name, Uuid::nil(), partition.partition_index).map(|_| ());
                let metadata = partition.committed_metadata.as_deref().unwrap_or("").to_owned();
                let to = Committed {
                    offset: partition.committed_offset,
                    epoch: partition.committed_leader_epoch,
                    metadata,
                };
                let committed = may
                    .and(known)
                    .and_then(|()| self.groups.commit(group, &topic.name, partition.partition_index, to));
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(told.note(code(&committed)))
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let response = OffsetCommitResponse::default().with_topics(topics.collect());
        (Some(ResponseKind::OffsetCommit(response)), told)
    }

    pub(super) fn offset_fetch(&self, request: &OffsetFetchRequest, version: i16) -> Answer {
        if version < 8 {
            return self.offset_fetch_of_one(request, version);
        }
        let mut told = Told::default();
        let groups = request.groups.iter().map(|group| {
            let asked = group.topics.as_ref().map(|topics| {
                topics.iter().map(|topic| (topic.name.to_string(), topic.partition_indexes.clone())).collect()
            });
            let topics = self.committed(&group.group_id, asked).into_iter().map(|(name, partitions)| {
                told.topics.push(name.clone());
                let partitions = partitions.into_iter().map(|(index, committed)| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_committed_offset(committed.offset)
                        .with_committed_leader_epoch(committed.epoch)
                        .with_metadata(Some(text(&committed.metadata)))
                        .with_error_code(told.note(0))
                });
                let partitions = partitions.collect();
                OffsetFetchResponseTopics::default().with_name(topic(&name)).with_partitions(partitions)
            });
            let topics = topics.collect();
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id.clone())
                .with_topics(topics)
                .with_error_code(told.note(0))
        });
        let response = OffsetFetchResponse::default().with_groups(groups.collect());
        (Some(ResponseKind::OffsetFetch(response)), told)
    }

    fn offset_fetch_of_one(&self, request: &OffsetFetchRequest, version: i16) -> Answer {
        let mut told = Told::default();
        let asked = request.topics.as_ref().map(|topics| {
            topics.iter().map(|topic| (topic.name.to_string(), topic.partition_indexes.clone())).collect()
        });
        let topics = self.committed(&request.group_id, asked).into_iter().map(|(name, partitions)| {
            told.topics.push(name.clone());
            let partitions = partitions.into_iter().map(|(index, committed)| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(committed.offset)
                    .with_committed_leader_epoch(if version < 5 { -1 } else { committed.epoch })
                    .with_metadata(Some(text(&committed.metadata)))
                    .with_error_code(told.note(0))
            });
            let partitions = partitions.collect();
            OffsetFetchResponseTopic::default().with_name(topic(&name)).with_partitions(partitions)
        });
        let response = OffsetFetchResponse::default().with_topics(topics.collect());
        if version >= 2 {
            told.note(response.error_code);
        }
        (Some(ResponseKind::OffsetFetch(response)), told)
    }

    /// Offsets of what was asked for, -1 where none was committed; all there are if it was everything.
    fn committed(
        &self,
        group: &str,
        asked: Option<BTreeMap<String, Vec<i32>>>,
    ) -> BTreeMap<String, Vec<(i32, Committed)>> {
        let known = self.groups.committed(group);
        let Some(asked) = asked else {
            let mut all = BTreeMap::<_, Vec<_>>::new();
            for ((name, index), committed) in known {
                all.entry(name).or_default().push((index, committed));
            }
            return all;
        };
        let none = Committed { offset: -1, epoch: -1, metadata: String::new() };
        let of = |name: &String, index| {
            (index, known.get(&(name.clone(), index)).cloned().unwrap_or_else(|| none.clone()))
        };
        let found = asked.into_iter().map(|(name, indexes)| {
            let partitions = indexes.into_iter().map(|index| of(&name, index)).collect();
            (name, partitions)
        });
        found.collect()
    }
}

/// So many codes that are 0.
fn told_of(count: usize) -> Told {
    let mut told = Told::default();
    (0..count).for_each(|_| _ = told.note(0));
    told
}
