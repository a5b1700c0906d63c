//! Which topics there are, and new ones.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::broker::{Answer, Broker, Here, NODE, code};
use super::told::Told;
use super::{text, topic};

impl Broker {
    pub(super) fn metadata(&self, request: &MetadataRequest, version: i16, here: &Here) -> Answer {
        let asked = request.topics.iter().flatten();
        let mut told = Told::of(asked.clone().map(|topic| (topic.name.as_ref(), topic.topic_id)));
        let everything = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
        let create = !self.args.no_new_topics && (version < 4 || request.allow_auto_topic_creation);
        let mut named = self.topics.lock();
        let names: Vec<Result<String, Uuid>> = if everything {
            named.names().map(|name| Ok(name.to_owned())).collect()
        } else {
            let name = |topic: &metadata_request::MetadataRequestTopic| match &topic.name {
                Some(name) => Ok(name.to_string()),
                None => named.name_of(topic.topic_id).map(str::to_owned).ok_or(topic.topic_id),
            };
            asked.map(name).collect()
        };
        let topics = names.into_iter().map(|name| {
            let name = match name {
                Ok(name) => name,
                Err(id) => {
                    let error = told.note(ResponseError::UnknownTopicId.code());
                    return MetadataResponseTopic::default()
                        .with_error_code(error)
                        .with_topic_id(id)
                        .with_name((version < 12).then(TopicName::default));
                }
            };
            if create && !named.has(&name) {
                // Where it can't be, it is unknown.
                _ = named.create(&name, self.args.partitions);
            }
            let found = named.get(&name);
            let partition = |index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(NODE)
                    .with_leader_epoch(0)
                    .with_replica_nodes(vec![NODE])
                    .with_isr_nodes(vec![NODE])
            };
            let count = found.as_ref().map_or(0, |topic| topic.partitions.len()) as i32;
            MetadataResponseTopic::default()
                .with_error_code(told.note(code(&found)))
                .with_name(Some(topic(&name)))
                .with_topic_id(found.map_or(Uuid::nil(), |topic| topic.id))
                .with_partitions((0..count).map(partition).collect())
        });
        let broker = MetadataResponseBroker::default()
            .with_node_id(NODE)
            .with_host(text(&here.host))
            .with_port(here.port);
        let response = MetadataResponse::default()
            .with_topics(topics.collect())
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text("lab")))
            .with_controller_id(NODE);
        (Some(ResponseKind::Metadata(response)), told)
    }

    pub(super) fn create_topics(&self, request: &CreateTopicsRequest) -> Answer {
        let mut told = Told::of(request.topics.iter().map(|topic| (Some(&topic.name), Uuid::nil())));
        let mut named = self.topics.lock();
        let topics = request.topics.iter().map(|wanted| {
            let count = u16::try_from(wanted.num_partitions).unwrap_or(self.args.partitions);
            let created = match named.has(&wanted.name) {
                _ if self.args.no_new_topics => Err(ResponseError::PolicyViolation),
                true => Err(ResponseError::TopicAlreadyExists),
                false if request.validate_only => Ok(Uuid::nil()),
                false => named.create(&wanted.name, count),
            };
            CreatableTopicResult::default()
                .with_name(wanted.name.clone())
                .with_error_code(told.note(code(&created)))
                .with_topic_id(created.unwrap_or_default())
                .with_num_partitions(i32::from(count))
                .with_replication_factor(1)
        });
        let response = CreateTopicsResponse::default().with_topics(topics.collect());
        (Some(ResponseKind::CreateTopics(response)), told)
    }
}
