/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/kafka.h: Kafka's requests and responses ("Kafka protocol guide", kafka.apache.org/protocol).
 *
 * A message is a size, a header and fields whose places depend on API and version.
 * What is wanted of them lies behind others of any length, so each kind of message
 * has a plan (kafka_api.h): a row of steps, one per field, of which the last is what was wanted.
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
#include "l7/kafka_api.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define KAFKA_START  0
#define KAFKA_FIELDS 1 /* in a message whose plan isn't done */

#define KAFKA_TOPICS_TOLD 3
#define KAFKA_WALKED      64         /* partitions and brokers passed one by one */
#define KAFKA_RESPONSE    (1U << 30) /* bytes of the largest response that is believed */

/* What a field said, beside L7_NEXT and L7_MORE. */
#define KAFKA_END    8 /* nothing more is wanted of the message */
#define KAFKA_BROKEN 9 /* it goes beyond the message's end */

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
	x = l7_exchange_find(w->conn, id, L7_NEAR_KAFKA);
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
		k->id = id;
		k->began_ns = x->request_ns; /* until it is told */
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
		x = l7_exchange_add(w->conn, k->id, L7_NEAR_KAFKA, k->began_ns);
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

#define KAFKA_ENDED 64 /* newest correlation ids that are looked at when their connection ends */

/* `then`: when the request was there. */
static __always_inline void kafka_tell_ended(struct __sk_buff *skb, struct l7_work *w, __u32 id,
					     __u32 api, __u32 version, __u64 then)
{
	struct l7_head *head = &w->split.record.head;

	l7_record_begin(w);
	head->proto = L7_KAFKA;
	head->exchange = id;
	head->code = api;
	head->version = version;
	head->flags = L7_F_ENDED | L7_F_CODE;
	head->duration_ns = l7_since(w->now, then);
	l7_record_joined(w);
	l7_emit(skb, L7_TYPE_RESPONSE);
}

/* A request whose connection ended, if it waits. */
FATHOM_STEP kafka_unanswered(struct __sk_buff *skb, __u32 id)
{
	struct l7_work *w = l7_scratch();
	struct l7_exchange *x;

	if (!w)
		return 0;
	x = l7_exchange_find(w->conn, id, L7_NEAR_KAFKA);
	if (!x)
		return 0;
	kafka_tell_ended(skb, w, id, x->code, x->version, x->request_ns);
	l7_exchange_drop(x);
	return 0;
}

/*
 * The connection ended: the response that did not come to its error, and requests that
 * nobody answered, the oldest first. Clients count their requests, some those to all of
 * their brokers together.
 */
FATHOM_STEP kafka_ended(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	const struct l7_kafka_dir *k;
	struct l7_conn *conn;
	__u32 first;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	w->conn = conn->id;
	w->conn_flags = conn->flags & ~L7C_FIRST;
	k = &conn->dir[1].kafka;
	if (conn->dir[1].state == KAFKA_FIELDS && k->api < KAFKA_APIS)
		kafka_tell_ended(skb, w, k->id, k->api, k->version, k->began_ns);
	first = conn->dir[0].kafka.id - (KAFKA_ENDED - 1);
	for (__u32 i = 0; i < KAFKA_ENDED; i++)
		kafka_unanswered(skb, first + i);
	return 0;
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
