/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/kafka.h: Kafka's requests and responses ("Kafka protocol guide", kafka.apache.org/protocol).
 *
 * A message is a size, a header and fields whose places depend on API and version.
 * What is wanted of them lies behind others of any length, so each kind of message
 * has a plan: a row of steps, one per field, of which the last is what was wanted.
 * The rest is skipped by length, as are the records between one topic and the next:
 * nothing but a field's own bytes must be there at once.
 *
 * After SaslHandshake v0 come tokens without any header, so nothing more is read.
 */
#ifndef FATHOM_L7_KAFKA_H
#define FATHOM_L7_KAFKA_H

#include "uapi.h"
#include "l7/detect.h"
#include "l7/exchange.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define KAFKA_START  0
#define KAFKA_FIELDS 1 /* in a message whose plan isn't done */

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

#define KAFKA_TOPICS_TOLD 3
#define KAFKA_WALKED      64         /* partitions and brokers passed one by one */
#define KAFKA_RESPONSE    (1U << 30) /* bytes of the largest response that is believed */

/* What a field said, beside L7_NEXT and L7_MORE. */
#define KAFKA_END    8 /* nothing more is wanted of the message */
#define KAFKA_BROKEN 9 /* it goes beyond the message's end */

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

/* Whether `n` bytes of the message are in the window. */
static __always_inline int kafka_need(const struct l7_work *w, __u32 n)
{
	if (n > w->d.kafka.left)
		return KAFKA_BROKEN;
	return n > l7_left(w) ? L7_MORE : L7_NEXT;
}

/* Past `n` bytes of the message, wherever they are, to the plan's next step. */
static __always_inline int kafka_pass(struct l7_work *w, __u64 n)
{
	struct l7_kafka_dir *k = &w->d.kafka;

	if (n > k->left)
		return KAFKA_BROKEN;
	k->left -= n;
	k->step += 1;
	l7_skip(w, n);
	return L7_NEXT;
}

#define KAFKA_NULL   0xffffffffU
#define KAFKA_VARINT 0

/*
 * A length or count `off` bytes on into w->value, KAFKA_NULL if it is none: of
 * `width` bytes, or as KAFKA_VARINT of compact types one more than it means. Returns
 * the bytes it takes, 0 if they aren't all there, or -1 if it is broken.
 */
FATHOM_STEP kafka_length(__u32 off, __u32 width)
{
	struct l7_work *w = l7_scratch();
	__u32 have, value = 0, at;

	if (!w)
		return -1;
	at = w->at + off;
	have = l7_left(w);
	if (have > w->d.kafka.left)
		have = w->d.kafka.left;
	if (width) {
		if (off + width > have)
			return off + width > w->d.kafka.left ? -1 : 0;
		value = l7_be32(w, at);
		if (width == 2)
			value = (__s32)(__s16)(value >> 16);
		w->value = value;
		return (__s32)value < -1 ? -1 : (int)width;
	}
	for (__u32 i = 0; i < 5; i++) {
		__u32 c;

		if (off + i >= have)
			return off + i >= w->d.kafka.left ? -1 : 0;
		c = l7_byte(w, at + i);
		value |= (c & 0x7f) << (i * 7);
		if (c & 0x80)
			continue;
		w->value = value - 1;
		return i + 1;
	}
	return -1;
}

/* How lengths are written: two bytes those of strings, four those of the others. */
static __always_inline __u32 kafka_width(const struct l7_work *w, __u32 width)
{
	return w->d.kafka.flexible ? KAFKA_VARINT : width;
}

#define KAFKA_LENGTH(took, off, width) \
	do { \
		took = kafka_length(off, width); \
		if (took <= 0) \
			return took ? KAFKA_BROKEN : L7_MORE; \
	} while (0)

/* Bytes that must be there of a text that is `len` long. */
static __always_inline __u32 kafka_wanted(__u32 len)
{
	return len > L7_TEXT_MAX ? L7_TEXT_MAX : len;
}

FATHOM_STEP kafka_client(void)
{
	struct l7_work *w = l7_scratch();
	int took, got;
	__u32 len;

	if (!w)
		return KAFKA_BROKEN;
	KAFKA_LENGTH(took, 0, 2);
	len = w->value == KAFKA_NULL ? 0 : w->value;
	got = kafka_need(w, took + kafka_wanted(len));
	if (got)
		return got;
	if (took + len > w->d.kafka.left)
		return KAFKA_BROKEN;
	if (len)
		l7_text(TEXT_KAFKA_CLIENT, w->at + took, len, 0);
	return kafka_pass(w, took + len);
}

/* A string, or whatever has its length before it and is nullable. */
FATHOM_STEP kafka_string(void)
{
	struct l7_work *w = l7_scratch();
	int took;

	if (!w)
		return KAFKA_BROKEN;
	KAFKA_LENGTH(took, 0, kafka_width(w, 2));
	return kafka_pass(w, (__u64)took + (w->value == KAFKA_NULL ? 0 : w->value));
}

/* How many there are, then for each of them tag, size and as many bytes: one of them at a time. */
FATHOM_STEP kafka_tags(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_kafka_dir *k;
	int took, more, got;

	if (!w)
		return KAFKA_BROKEN;
	k = &w->d.kafka;
	KAFKA_LENGTH(took, 0, KAFKA_VARINT);
	if (!k->tags) {
		k->tags = w->value + 1;
		got = kafka_pass(w, took);
	} else {
		KAFKA_LENGTH(more, took, KAFKA_VARINT);
		got = kafka_pass(w, (__u64)took + more + (__u32)(w->value + 1));
		k->tags -= 1;
	}
	if (k->tags)
		k->step -= 1;
	return got;
}

FATHOM_STEP kafka_topics(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_kafka_dir *k;
	int took, got;

	if (!w)
		return KAFKA_BROKEN;
	k = &w->d.kafka;
	KAFKA_LENGTH(took, 0, kafka_width(w, 4));
	k->topics = w->value == KAFKA_NULL ? 0 : w->value;
	got = kafka_pass(w, took);
	if (got)
		return got;
	if (k->topics > k->left) {
		k->topics = 0;
		return KAFKA_BROKEN;
	}
	w->split.record.head.detail = k->topics;
	k->again = k->step;
	return k->topics ? L7_NEXT : KAFKA_END;
}

/* Topic ids, for names: KIP-516. */
FATHOM_STEP kafka_topic(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_kafka_dir *k;
	__u32 id = 0, name = 1, len = 0;
	int took = 0, got;

	if (!w)
		return KAFKA_BROKEN;
	k = &w->d.kafka;
	if (k->api == KAFKA_METADATA) {
		id = k->version >= 10;
	} else if (k->version >= 13) {
		id = 1;
		name = 0;
	}
	if (id) {
		got = kafka_need(w, 16);
		if (got)
			return got;
	}
	if (name) {
		KAFKA_LENGTH(took, id * 16, kafka_width(w, 2));
		len = w->value == KAFKA_NULL ? 0 : w->value;
	}
	got = kafka_need(w, id * 16 + took + kafka_wanted(len));
	if (got)
		return got;
	if (len > k->left)
		return KAFKA_BROKEN;
	if (len)
		l7_text(TEXT_KAFKA_TOPIC, w->at + id * 16 + took, len, 0);
	else if (id)
		l7_text(TEXT_KAFKA_TOPIC | TEXT_F_ID << 8, w->at, 16, 0);
	got = kafka_pass(w, (__u64)(id * 16) + took + len);
	if (got)
		return got;
	k->told += 1;
	k->topics -= 1;
	return k->topics && k->told < KAFKA_TOPICS_TOLD ? L7_NEXT : KAFKA_END;
}

/* A partition's part of a request: what is between one topic and the next. */
FATHOM_STEP kafka_part(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_kafka_dir *k;
	__u64 size;
	int took;

	if (!w)
		return KAFKA_BROKEN;
	k = &w->d.kafka;
	if (k->api == KAFKA_PRODUCE) {
		KAFKA_LENGTH(took, 4, kafka_width(w, 4));
		return kafka_pass(w, 4ULL + took + (w->value == KAFKA_NULL ? 0 : w->value));
	}
	/* partition, fetch_offset, partition_max_bytes */
	size = 4 + 8 + 4;
	if (k->version >= 5)
		size += 8; /* log_start_offset */
	if (k->version >= 9)
		size += 4; /* current_leader_epoch */
	if (k->version >= 12)
		size += 4; /* last_fetched_epoch */
	if (!k->flexible) {
		/* They are all of the same length. */
		size *= k->parts;
		k->parts = 1;
	}
	return kafka_pass(w, size);
}

/* An array's length; `n` as K_ARRAY and K_EACH have it. */
FATHOM_STEP kafka_array(__u32 each, __u32 n)
{
	struct l7_work *w = l7_scratch();
	struct l7_kafka_dir *k;
	__u32 count;
	int took, got;

	if (!w)
		return KAFKA_BROKEN;
	k = &w->d.kafka;
	KAFKA_LENGTH(took, 0, kafka_width(w, 4));
	count = w->value == KAFKA_NULL ? 0 : w->value;
	got = kafka_pass(w, took);
	if (got)
		return got;
	if (count > k->left)
		return KAFKA_BROKEN;
	if (each)
		k->parts = count;
	if (count)
		return L7_NEXT;
	if (!n)
		return KAFKA_END;
	k->step += each ? n : n - 1;
	return L7_NEXT;
}

/* The next step of the message's plan. */
FATHOM_STEP kafka_field(void)
{
	struct l7_work *w = l7_scratch();
	const struct kafka_api *api;
	struct l7_kafka_dir *k;
	__u64 place;
	__u32 step, n;
	int got;

	if (!w)
		return KAFKA_BROKEN;
	k = &w->d.kafka;
	place = k->plan * KAFKA_STEPS + (k->step & (KAFKA_STEPS - 1));
	L7_BOUND(place, PLANS * KAFKA_STEPS - 1);
	step = ((const __u8 *)kafka_plans)[place];
	n = step & 0x1f;
	if (step & 0x80)
		return kafka_pass(w, step & 0x7f);
	switch (step >> 5) {
	case 1:
		return kafka_array(0, n);
	case 2:
		return kafka_array(1, n);
	case 3:
		k->parts -= 1;
		k->step += 1;
		if (!k->parts)
			return L7_NEXT;
		k->walked += 1;
		if (k->walked >= KAFKA_WALKED)
			return KAFKA_END;
		k->step -= n + 1;
		return L7_NEXT;
	}
	switch (step) {
	case K_CLIENT:
		return kafka_client();
	case K_HEAD_TAGS:
		if (!k->flexible || k->api == KAFKA_API_VERSIONS)
			return kafka_pass(w, 0);
		return kafka_tags();
	case K_TAGS:
		return k->flexible ? kafka_tags() : kafka_pass(w, 0);
	case K_THROTTLE:
		api = kafka_api(k->api);
		return kafka_pass(w, api->throttle <= k->version ? 4 : 0);
	case K_STRING:
		return kafka_string();
	case K_ACKS:
		got = kafka_need(w, 2);
		if (got)
			return got;
		k->no_reply = !l7_be16(w, w->at);
		return kafka_pass(w, 2);
	case K_FETCH:
		/* replica_id, max_wait_ms, min_bytes; max_bytes, isolation_level, session */
		n = 8;
		if (k->version <= 14)
			n += 4;
		if (k->version >= 3)
			n += 4;
		if (k->version >= 4)
			n += 1;
		if (k->version >= 7)
			n += 8;
		return kafka_pass(w, n);
	case K_TOPICS:
		return kafka_topics();
	case K_TOPIC:
		return kafka_topic();
	case K_TOPIC_END:
		k->step = k->again;
		return L7_NEXT;
	case K_PART:
		return kafka_part();
	case K_ERROR:
		got = kafka_need(w, 2);
		if (got)
			return got;
		w->split.record.head.status = l7_be16(w, w->at);
		w->split.record.head.flags |= L7_F_STATUS;
		kafka_pass(w, 2);
		return KAFKA_END;
	}
	return KAFKA_END;
}

/* The beginning of a message: `api` and `version` are those of the request, also for a response. */
static __always_inline void kafka_begin(struct l7_work *w, __u32 size, __u32 api, __u32 version)
{
	struct l7_kafka_dir *k = &w->d.kafka;
	struct l7_head *head = &w->split.record.head;

	l7_record_begin(w);
	head->proto = L7_KAFKA;
	head->bytes[w->index & 1] = (__u64)size + 4;
	l7_record_joined(w);
	k->left = size;
	k->api = api;
	k->version = version;
	k->flexible = version >= kafka_api(api)->flexible;
	k->topics = 0;
	k->parts = 0;
	k->tags = 0;
	k->step = 0;
	k->told = 0;
	k->walked = 0;
	k->no_reply = 0;
	w->d.state = KAFKA_FIELDS;
}

/* size, request_api_key, request_api_version, correlation_id */
FATHOM_STEP kafka_request(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_kafka_dir *k;
	__u32 size, api, version;

	if (!w)
		return L7_LOST;
	if (l7_left(w) < 12)
		return L7_MORE;
	k = &w->d.kafka;
	size = l7_be32(w, w->at);
	api = l7_be16(w, w->at + 4);
	version = l7_be16(w, w->at + 6);
	/* The client id is looked at in its turn: the first request was found by it. */
	if (!kafka_plausible(size, api, version, -1))
		return L7_LOST;
	kafka_begin(w, size, api, version);
	k->plan = kafka_request_plan(api, version);
	k->began_ns = w->now;
	k->id = l7_be32(w, w->at + 8);
	w->split.record.head.exchange = k->id;
	w->split.record.head.code = api;
	w->split.record.head.version = version;
	w->split.record.head.flags |= L7_F_CODE;
	if (!kafka_known(api, version) &&
	    (api == KAFKA_PRODUCE || api == KAFKA_FETCH || api == KAFKA_METADATA))
		w->split.record.head.flags |= L7_F_UNKNOWN;
	l7_skip(w, 12);
	k->left -= 8;
	return L7_NEXT;
}

/* size, correlation_id */
FATHOM_STEP kafka_response(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_exchange *x;
	struct l7_kafka_dir *k;
	__u64 began;
	__u32 size, id;

	if (!w)
		return L7_LOST;
	k = &w->d.kafka;
	if (!k->began_ns)
		k->began_ns = w->now;
	if (l7_left(w) < 8)
		return L7_MORE;
	began = k->began_ns;
	k->began_ns = 0;
	size = l7_be32(w, w->at);
	id = l7_be32(w, w->at + 4);
	if (size < 4 || size > KAFKA_RESPONSE)
		return L7_LOST;
	x = l7_exchange_find(w->conn, id);
	if (x) {
		kafka_begin(w, size, x->code, x->version);
		k->plan = kafka_response_plan(k->api, k->version);
		w->split.record.head.code = k->api;
		w->split.record.head.version = k->version;
		w->split.record.head.flags |= L7_F_CODE;
		/* Of a message that was lost before this one. */
		if (began < x->request_ns)
			began = w->now;
		w->split.record.head.latency_ns = l7_since(began, x->request_ns);
		w->split.record.head.duration_ns = l7_since(w->now, x->request_ns);
		l7_exchange_drop(x);
	} else {
		kafka_begin(w, size, KAFKA_NEVER, 0);
		k->plan = PLAN_END;
		w->split.record.head.flags |= L7_F_UNMATCHED;
		ledger_count(LEDGER_L7_UNMATCHED);
	}
	w->split.record.head.exchange = id;
	l7_first_response(w);
	l7_skip(w, 8);
	k->left -= 4;
	return L7_NEXT;
}

/* All that is wanted of a message is there: tells it, and passes over the rest. */
FATHOM_STEP kafka_tell(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_exchange *x;
	struct l7_kafka_dir *k;

	if (!w)
		return L7_LOST;
	k = &w->d.kafka;
	w->d.state = KAFKA_START;
	if (k->topics)
		w->split.record.head.flags |= L7_F_TRUNCATED;
	if (!w->index && k->no_reply) {
		w->split.record.head.flags |= L7_F_NO_REPLY;
	} else if (!w->index) {
		x = l7_exchange_add(w->conn, k->id, k->began_ns);
		if (x) {
			x->code = k->api;
			x->version = k->version;
		}
	}
	k->began_ns = 0;
	l7_skip(w, k->left);
	k->left = 0;
	l7_emit(skb, w->index ? L7_TYPE_RESPONSE : L7_TYPE_REQUEST);
	if (w->index && k->api == KAFKA_SASL_HANDSHAKE && !k->version)
		return L7_OVER;
	return L7_NEXT;
}

/* One field. */
FATHOM_STEP kafka_step(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return L7_LOST;
	if (w->d.state == KAFKA_FIELDS)
		got = kafka_field();
	else
		got = w->index ? kafka_response() : kafka_request();
	if (got == L7_NEXT && !w->d.kafka.left)
		got = w->d.kafka.topics ? KAFKA_BROKEN : KAFKA_END;
	if (got == KAFKA_BROKEN) {
		/* Its size holds all the same; what it says there is can't be. */
		if (!w->index)
			w->split.record.head.flags |= L7_F_UNKNOWN;
		got = KAFKA_END;
	}
	return got == KAFKA_END ? kafka_tell(skb) : got;
}

#endif /* FATHOM_L7_KAFKA_H */
