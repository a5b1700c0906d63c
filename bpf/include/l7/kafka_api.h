/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/kafka_api.h: what each of Kafka's APIs is made of, by version ("Kafka protocol
 * guide", kafka.apache.org/protocol): how far versions are known, and the plan by
 * which a request or response is read.
 */
#ifndef FATHOM_L7_KAFKA_API_H
#define FATHOM_L7_KAFKA_API_H

#include "uapi.h"
#include "l7/window.h"

/* Newest version of each API known here, by its key; 0x80 = no such API. */
#define KAFKA_APIS 93

static const __u8 kafka_newest[128] = {
	[0] = 13, [1] = 18, [2] = 11, [3] = 13, [4] = 7,  [5] = 4,  [6] = 8,  [7] = 3,  [8] = 10,
	[9] = 10, [10] = 6, [11] = 9, [12] = 4, [13] = 5, [14] = 5, [15] = 6, [16] = 5, [17] = 1,
	[18] = 5, [19] = 7, [20] = 6, [21] = 2, [22] = 6, [23] = 4, [24] = 5, [25] = 4, [26] = 5,
	[27] = 2, [28] = 5, [29] = 3, [30] = 3, [31] = 3, [32] = 4, [33] = 2, [34] = 2, [35] = 4,
	[36] = 2, [37] = 3, [38] = 3, [39] = 2, [40] = 2, [41] = 3, [42] = 2, [43] = 2, [44] = 1,
	[45] = 1, [46] = 1, [47] = 0, [48] = 1, [49] = 1, [50] = 0, [51] = 0, [52] = 2, [53] = 1,
	[54] = 1, [55] = 2, [56] = 3, [57] = 2, [58] = 0, [59] = 1, [60] = 2, [61] = 0, [62] = 4,
	[63] = 1, [64] = 0, [65] = 0, [66] = 2, [67] = 0, [68] = 1, [69] = 1, [70] = 0, [71] = 0,
	[72] = 0, [73] = 0, [74] = 1, [75] = 0, [76] = 1, [77] = 1, [78] = 2, [79] = 2, [80] = 1,
	[81] = 0, [82] = 0, [83] = 0, [84] = 1, [85] = 1, [86] = 0, [87] = 0, [88] = 1, [89] = 0,
	[90] = 0, [91] = 0, [92] = 0,
};

/* Size, API and version of a request go together; newer versions than are known get some room. */
static __always_inline int kafka_plausible(__u32 size, __u32 api, __u32 version, __s32 client)
{
	__u64 key = api;

	if (size < 10 || size > (100 << 20) || api >= KAFKA_APIS)
		return 0;
	L7_BOUND(key, 127);
	if (version > kafka_newest[key] + 2)
		return 0;
	return client >= -1 && client <= 1024 && client + 10 <= (__s64)size;
}

#define KAFKA_PRODUCE             0
#define KAFKA_FETCH               1
#define KAFKA_METADATA            3
#define KAFKA_CONTROLLED_SHUTDOWN 7
#define KAFKA_OFFSET_COMMIT       8
#define KAFKA_OFFSET_FETCH        9
#define KAFKA_FIND_COORDINATOR    10
#define KAFKA_SASL_HANDSHAKE      17
#define KAFKA_API_VERSIONS        18
#define KAFKA_CREATE_TOPICS       19
#define KAFKA_DELETE_TOPICS       20
#define KAFKA_ADD_PARTITIONS      24
#define KAFKA_DESCRIBE_LOG_DIRS   35
#define KAFKA_ELECT_LEADERS       43
#define KAFKA_REASSIGNMENTS       45

/* Steps of a plan; the lower bits of the wide ones are a number. */
#define K_CLIENT    0x01 /* client id: never compact (KIP-482) */
#define K_TAGS      0x02 /* tagged fields, of flexible versions */
#define K_HEAD_TAGS 0x03 /* the response header's: those of ApiVersions have none (KIP-511) */
#define K_THROTTLE  0x04 /* throttle_time_ms, from some version on */
#define K_STRING    0x05
#define K_ACKS      0x06
#define K_FETCH     0x07 /* what a fetch request says before its topics */
#define K_TOPICS    0x08 /* how many */
#define K_TOPIC     0x09 /* name or id, told */
#define K_TOPIC_END 0x0a
#define K_PART      0x0b /* of a produce or fetch request */
#define K_ERROR     0x0c
#define K_ARRAY(n)  (0x20 | (n)) /* how many; none: n steps on, to what follows, or 0: the end */
#define K_EACH(n)   (0x40 | (n)) /* the same, and the n steps that follow are for each of them */
#define K_AGAIN(n)  (0x60 | (n)) /* n steps back, while some are left */
#define K_SKIP(n)   (0x80 | (n)) /* bytes */

enum kafka_plan {
	PLAN_END,
	/* requests */
	PLAN_CLIENT,
	PLAN_PRODUCE_V0,
	PLAN_PRODUCE,
	PLAN_FETCH,
	PLAN_METADATA,
	/* responses, by where their first error code is */
	PLAN_TOP,
	PLAN_FIRST,
	PLAN_NAMED,
	PLAN_NAMED_ID,
	PLAN_PARTITION,
	PLAN_PARTITION_ID,
	PLAN_RECORDS,
	PLAN_EPOCHS,
	PLAN_COORDINATORS,
	PLAN_OFFSETS,
	PLAN_OFFSETS_V5,
	PLAN_OFFSETS_V8,
	PLAN_OFFSETS_V10,
	PLAN_METADATA_V0,
	PLAN_METADATA_V1,
	PLAN_METADATA_V2,
	PLAN_METADATA_V13,
	PLAN_REASSIGNMENTS,
	PLAN_MARKERS,
	PLAN_ENVELOPE,
	PLANS = 32,
};

#define KAFKA_STEPS 16

#define K_PARTITIONS K_EACH(3), K_PART, K_TAGS, K_AGAIN(2)
#define K_BROKERS    K_EACH(6), K_SKIP(4), K_STRING, K_SKIP(4), K_STRING, K_TAGS, K_AGAIN(5)

static const __u8 kafka_plans[PLANS][KAFKA_STEPS] = {
	[PLAN_CLIENT] = { K_CLIENT, K_TAGS },
	[PLAN_PRODUCE_V0] = { K_CLIENT, K_TAGS, K_ACKS, K_SKIP(4), K_TOPICS, K_TOPIC, K_PARTITIONS,
			      K_TAGS, K_TOPIC_END },
	[PLAN_PRODUCE] = { K_CLIENT, K_TAGS, K_STRING, K_ACKS, K_SKIP(4), K_TOPICS, K_TOPIC,
			   K_PARTITIONS, K_TAGS, K_TOPIC_END },
	[PLAN_FETCH] = { K_CLIENT, K_TAGS, K_FETCH, K_TOPICS, K_TOPIC, K_PARTITIONS, K_TAGS,
			 K_TOPIC_END },
	[PLAN_METADATA] = { K_CLIENT, K_TAGS, K_TOPICS, K_TOPIC, K_TAGS, K_TOPIC_END },

	[PLAN_TOP] = { K_HEAD_TAGS, K_THROTTLE, K_ERROR },
	[PLAN_FIRST] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_ERROR },
	[PLAN_NAMED] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_ERROR },
	[PLAN_NAMED_ID] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_SKIP(16), K_ERROR },
	[PLAN_PARTITION] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_ARRAY(0), K_SKIP(4),
			     K_ERROR },
	[PLAN_PARTITION_ID] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_SKIP(16), K_ARRAY(0),
				K_SKIP(4), K_ERROR },
	[PLAN_RECORDS] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_ARRAY(0), K_SKIP(12),
			   K_ERROR },
	[PLAN_EPOCHS] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_ARRAY(0), K_ERROR },
	[PLAN_COORDINATORS] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_SKIP(4), K_STRING,
				K_SKIP(4), K_ERROR },
	/* Without topics, the group's own error follows; it has one from version 2 on. */
	[PLAN_OFFSETS] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(5), K_STRING, K_ARRAY(0), K_SKIP(12),
			   K_STRING, K_ERROR },
	[PLAN_OFFSETS_V5] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(5), K_STRING, K_ARRAY(0), K_SKIP(16),
			      K_STRING, K_ERROR },
	[PLAN_OFFSETS_V8] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_ARRAY(5), K_STRING,
			      K_ARRAY(0), K_SKIP(16), K_STRING, K_ERROR },
	[PLAN_OFFSETS_V10] = { K_HEAD_TAGS, K_THROTTLE, K_ARRAY(0), K_STRING, K_ARRAY(5),
			       K_SKIP(16), K_ARRAY(0), K_SKIP(16), K_STRING, K_ERROR },
	[PLAN_METADATA_V0] = { K_HEAD_TAGS, K_THROTTLE, K_EACH(4), K_SKIP(4), K_STRING, K_SKIP(4),
			       K_AGAIN(3), K_ARRAY(0), K_ERROR },
	[PLAN_METADATA_V1] = { K_HEAD_TAGS, K_THROTTLE, K_BROKERS, K_SKIP(4), K_ARRAY(0), K_ERROR },
	[PLAN_METADATA_V2] = { K_HEAD_TAGS, K_THROTTLE, K_BROKERS, K_STRING, K_SKIP(4), K_ARRAY(0),
			       K_ERROR },
	/* Without topics, the response's own error follows. */
	[PLAN_METADATA_V13] = { K_HEAD_TAGS, K_THROTTLE, K_BROKERS, K_STRING, K_SKIP(4), K_ARRAY(1),
				K_ERROR },
	[PLAN_REASSIGNMENTS] = { K_HEAD_TAGS, K_THROTTLE, K_SKIP(1), K_ERROR },
	[PLAN_MARKERS] = { K_HEAD_TAGS, K_ARRAY(0), K_SKIP(8), K_ARRAY(0), K_STRING, K_ARRAY(0),
			   K_SKIP(4), K_ERROR },
	/* The answer inside comes as bytes, which look like a string's. */
	[PLAN_ENVELOPE] = { K_HEAD_TAGS, K_STRING, K_ERROR },
};

#define KAFKA_NEVER 0xff

struct kafka_api {
	__u8 flexible; /* first flexible version */
	__u8 throttle; /* first version whose response begins with throttle_time_ms */
	__u8 plan;     /* of the response */
};

#define NEVER KAFKA_NEVER

/* By API key; the protocol guide has what each version's messages begin with. */
static const struct kafka_api kafka_apis[128] = {
	[0] = { 9, NEVER, PLAN_PARTITION },     /* Produce */
	[1] = { 12, 1, PLAN_TOP },              /* Fetch */
	[2] = { 6, 2, PLAN_PARTITION },         /* ListOffsets */
	[3] = { 9, 3, PLAN_METADATA_V2 },       /* Metadata */
	[4] = { 4, NEVER, PLAN_TOP },           /* LeaderAndIsr */
	[5] = { 2, NEVER, PLAN_TOP },           /* StopReplica */
	[6] = { 6, NEVER, PLAN_TOP },           /* UpdateMetadata */
	[7] = { 3, NEVER, PLAN_TOP },           /* ControlledShutdown */
	[8] = { 8, 3, PLAN_PARTITION },         /* OffsetCommit */
	[9] = { 6, 3, PLAN_OFFSETS },           /* OffsetFetch */
	[10] = { 3, 1, PLAN_TOP },              /* FindCoordinator */
	[11] = { 6, 2, PLAN_TOP },              /* JoinGroup */
	[12] = { 4, 1, PLAN_TOP },              /* Heartbeat */
	[13] = { 4, 1, PLAN_TOP },              /* LeaveGroup */
	[14] = { 4, 1, PLAN_TOP },              /* SyncGroup */
	[15] = { 5, 1, PLAN_FIRST },            /* DescribeGroups */
	[16] = { 3, 1, PLAN_TOP },              /* ListGroups */
	[17] = { NEVER, NEVER, PLAN_TOP },      /* SaslHandshake */
	[18] = { 3, NEVER, PLAN_TOP },          /* ApiVersions */
	[19] = { 5, 2, PLAN_NAMED },            /* CreateTopics */
	[20] = { 4, 1, PLAN_NAMED },            /* DeleteTopics */
	[21] = { 2, 0, PLAN_RECORDS },          /* DeleteRecords */
	[22] = { 2, 0, PLAN_TOP },              /* InitProducerId */
	[23] = { 4, 2, PLAN_EPOCHS },           /* OffsetForLeaderEpoch */
	[24] = { 3, 0, PLAN_TOP },              /* AddPartitionsToTxn */
	[25] = { 3, 0, PLAN_TOP },              /* AddOffsetsToTxn */
	[26] = { 3, 0, PLAN_TOP },              /* EndTxn */
	[27] = { 1, NEVER, PLAN_MARKERS },      /* WriteTxnMarkers */
	[28] = { 3, 0, PLAN_PARTITION },        /* TxnOffsetCommit */
	[29] = { 2, 0, PLAN_TOP },              /* DescribeAcls */
	[30] = { 2, 0, PLAN_FIRST },            /* CreateAcls */
	[31] = { 2, 0, PLAN_FIRST },            /* DeleteAcls */
	[32] = { 4, 0, PLAN_FIRST },            /* DescribeConfigs */
	[33] = { 2, 0, PLAN_FIRST },            /* AlterConfigs */
	[34] = { 2, 0, PLAN_PARTITION },        /* AlterReplicaLogDirs */
	[35] = { 2, 0, PLAN_TOP },              /* DescribeLogDirs */
	[36] = { 2, NEVER, PLAN_TOP },          /* SaslAuthenticate */
	[37] = { 2, 0, PLAN_NAMED },            /* CreatePartitions */
	[38] = { 2, NEVER, PLAN_TOP },          /* CreateDelegationToken */
	[39] = { 2, NEVER, PLAN_TOP },          /* RenewDelegationToken */
	[40] = { 2, NEVER, PLAN_TOP },          /* ExpireDelegationToken */
	[41] = { 2, NEVER, PLAN_TOP },          /* DescribeDelegationToken */
	[42] = { 2, 0, PLAN_NAMED },            /* DeleteGroups */
	[43] = { 2, 0, PLAN_TOP },              /* ElectLeaders */
	[44] = { 1, 0, PLAN_FIRST },            /* IncrementalAlterConfigs */
	[45] = { 0, 0, PLAN_REASSIGNMENTS },    /* AlterPartitionReassignments */
	[46] = { 0, 0, PLAN_TOP },              /* ListPartitionReassignments */
	[47] = { NEVER, NEVER, PLAN_TOP },      /* OffsetDelete */
	[48] = { 1, 0, PLAN_TOP },              /* DescribeClientQuotas */
	[49] = { 1, 0, PLAN_FIRST },            /* AlterClientQuotas */
	[50] = { 0, 0, PLAN_TOP },              /* DescribeUserScramCredentials */
	[51] = { 0, 0, PLAN_NAMED },            /* AlterUserScramCredentials */
	[52] = { 0, NEVER, PLAN_TOP },          /* Vote */
	[53] = { 1, NEVER, PLAN_TOP },          /* BeginQuorumEpoch */
	[54] = { 1, NEVER, PLAN_TOP },          /* EndQuorumEpoch */
	[55] = { 0, NEVER, PLAN_TOP },          /* DescribeQuorum */
	[56] = { 0, 0, PLAN_TOP },              /* AlterPartition */
	[57] = { 0, 0, PLAN_TOP },              /* UpdateFeatures */
	[58] = { 0, NEVER, PLAN_ENVELOPE },     /* Envelope */
	[59] = { 0, 0, PLAN_TOP },              /* FetchSnapshot */
	[60] = { 0, 0, PLAN_TOP },              /* DescribeCluster */
	[61] = { 0, 0, PLAN_PARTITION },        /* DescribeProducers */
	[62] = { 0, 0, PLAN_TOP },              /* BrokerRegistration */
	[63] = { 0, 0, PLAN_TOP },              /* BrokerHeartbeat */
	[64] = { 0, 0, PLAN_TOP },              /* UnregisterBroker */
	[65] = { 0, 0, PLAN_FIRST },            /* DescribeTransactions */
	[66] = { 0, 0, PLAN_TOP },              /* ListTransactions */
	[67] = { 0, 0, PLAN_TOP },              /* AllocateProducerIds */
	[68] = { 0, 0, PLAN_TOP },              /* ConsumerGroupHeartbeat */
	[69] = { 0, 0, PLAN_FIRST },            /* ConsumerGroupDescribe */
	[70] = { 0, 0, PLAN_TOP },              /* ControllerRegistration */
	[71] = { 0, 0, PLAN_TOP },              /* GetTelemetrySubscriptions */
	[72] = { 0, 0, PLAN_TOP },              /* PushTelemetry */
	[73] = { 0, 0, PLAN_TOP },              /* AssignReplicasToDirs */
	[74] = { 0, 0, PLAN_TOP },              /* ListConfigResources */
	[75] = { 0, 0, PLAN_FIRST },            /* DescribeTopicPartitions */
	[76] = { 0, 0, PLAN_TOP },              /* ShareGroupHeartbeat */
	[77] = { 0, 0, PLAN_FIRST },            /* ShareGroupDescribe */
	[78] = { 0, 0, PLAN_TOP },              /* ShareFetch */
	[79] = { 0, 0, PLAN_TOP },              /* ShareAcknowledge */
	[80] = { 0, 0, PLAN_TOP },              /* AddRaftVoter */
	[81] = { 0, 0, PLAN_TOP },              /* RemoveRaftVoter */
	[82] = { 0, 0, PLAN_TOP },              /* UpdateRaftVoter */
	[83] = { 0, NEVER, PLAN_PARTITION_ID }, /* InitializeShareGroupState */
	[84] = { 0, NEVER, PLAN_PARTITION_ID }, /* ReadShareGroupState */
	[85] = { 0, NEVER, PLAN_PARTITION_ID }, /* WriteShareGroupState */
	[86] = { 0, NEVER, PLAN_PARTITION_ID }, /* DeleteShareGroupState */
	[87] = { 0, NEVER, PLAN_PARTITION_ID }, /* ReadShareGroupStateSummary */
	[88] = { 0, 0, PLAN_TOP },              /* StreamsGroupHeartbeat */
	[89] = { 0, 0, PLAN_FIRST },            /* StreamsGroupDescribe */
	[90] = { 0, 0, PLAN_END },              /* DescribeShareGroupOffsets: behind all offsets */
	[91] = { 0, 0, PLAN_TOP },              /* AlterShareGroupOffsets */
	[92] = { 0, 0, PLAN_TOP },              /* DeleteShareGroupOffsets */
};

#undef NEVER

static __always_inline const struct kafka_api *kafka_api(__u32 key)
{
	__u64 i = key;

	L7_BOUND(i, 127);
	return &kafka_apis[i];
}

/* A version whose fields are known. */
static __always_inline int kafka_known(__u32 api, __u32 version)
{
	__u64 i = api;

	L7_BOUND(i, 127);
	return version <= kafka_newest[i];
}

static __always_inline __u32 kafka_request_plan(__u32 api, __u32 version)
{
	if (api == KAFKA_CONTROLLED_SHUTDOWN && !version)
		return PLAN_END; /* header version 0 */
	if (!kafka_known(api, version))
		return PLAN_CLIENT;
	if (api == KAFKA_PRODUCE)
		return version < 3 ? PLAN_PRODUCE_V0 : PLAN_PRODUCE;
	if (api == KAFKA_FETCH)
		return PLAN_FETCH;
	if (api == KAFKA_METADATA)
		return PLAN_METADATA;
	return PLAN_CLIENT;
}

static __always_inline __u32 kafka_response_plan(__u32 api, __u32 version)
{
	if (!kafka_known(api, version))
		return PLAN_END;
	switch (api) {
	case KAFKA_PRODUCE:
		return version >= 13 ? PLAN_PARTITION_ID : PLAN_PARTITION;
	case KAFKA_FETCH:
		return version >= 7 ? PLAN_TOP : PLAN_PARTITION;
	case KAFKA_METADATA:
		if (version >= 13)
			return PLAN_METADATA_V13;
		return version >= 2 ? PLAN_METADATA_V2
		       : version    ? PLAN_METADATA_V1
				    : PLAN_METADATA_V0;
	case KAFKA_OFFSET_COMMIT:
		return version >= 10 ? PLAN_PARTITION_ID : PLAN_PARTITION;
	case KAFKA_OFFSET_FETCH:
		if (version >= 8)
			return version >= 10 ? PLAN_OFFSETS_V10 : PLAN_OFFSETS_V8;
		return version >= 5 ? PLAN_OFFSETS_V5 : PLAN_OFFSETS;
	case KAFKA_FIND_COORDINATOR:
		return version >= 4 ? PLAN_COORDINATORS : PLAN_TOP;
	case KAFKA_CREATE_TOPICS:
		return version >= 7 ? PLAN_NAMED_ID : PLAN_NAMED;
	case KAFKA_DELETE_TOPICS:
		return version >= 6 ? PLAN_NAMED_ID : PLAN_NAMED;
	case KAFKA_ADD_PARTITIONS:
		return version >= 4 ? PLAN_TOP : PLAN_PARTITION;
	case KAFKA_DESCRIBE_LOG_DIRS:
		return version >= 3 ? PLAN_TOP : PLAN_FIRST;
	case KAFKA_ELECT_LEADERS:
		return version ? PLAN_TOP : PLAN_PARTITION;
	case KAFKA_REASSIGNMENTS:
		return version ? PLAN_REASSIGNMENTS : PLAN_TOP;
	}
	return kafka_api(api)->plan;
}

#endif /* FATHOM_L7_KAFKA_API_H */
