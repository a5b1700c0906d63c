/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/http2.h: frames and streams of HTTP/2 (RFC 9113), and the gRPC in them.
 *
 *	PREFACE  what a client begins with
 *	FRAME    a frame's header
 *	HEAD     what stands before a frame's payload: pad length, priority
 *	FIELDS   a header block's fragment, field by field (hpack.h)
 *	DATA     of a gRPC stream: messages are counted by their prefixes
 *	RESET    the error code of RST_STREAM
 *
 * A request is told when its header block ends, a response likewise; that of a
 * gRPC call when the call ends, with the status of its trailers and how many
 * messages went either way; a call that goes on tells its counts now and then.
 */
#ifndef FATHOM_L7_HTTP2_H
#define FATHOM_L7_HTTP2_H

#include "uapi.h"
#include "config.h"
#include "l7/detect.h"
#include "l7/exchange.h"
#include "l7/hpack.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define H2_PREFACE 0
#define H2_FRAME   1
#define H2_HEAD    2
#define H2_FIELDS  3
#define H2_DATA    4
#define H2_RESET   5

/* Frame types, RFC 9113 section 6 */
#define H2_TYPE_DATA         0
#define H2_TYPE_HEADERS      1
#define H2_TYPE_RST_STREAM   3
#define H2_TYPE_PUSH_PROMISE 5
#define H2_TYPE_CONTINUATION 9

#define H2_FLAG_END_STREAM  0x01
#define H2_FLAG_END_HEADERS 0x04
#define H2_FLAG_PADDED      0x08
#define H2_FLAG_PRIORITY    0x20

#define H2_BLOCK_HEADERS 1
#define H2_BLOCK_PUSH    2

#define H2_FRAME_HEADER 9

#define GRPC_PREFIX  5  /* compressed flag and length of a message */
#define GRPC_AT_ONCE 16 /* messages per step */

/* The exchange as the record has it. */
static __always_inline void h2_describe(struct l7_work *w, const struct l7_exchange *x)
{
	struct l7_head *head = &w->split.record.head;

	head->proto = L7_HTTP2;
	head->version = 20;
	l7_record_joined(w);
	if (!x) {
		head->exchange = w->d.http2.stream;
		return;
	}
	head->exchange = x->shown;
	head->duration_ns = l7_since(w->now, x->request_ns);
	head->latency_ns = x->latency_ns;
	if (x->flags & L7X_UPGRADED)
		head->flags |= L7_F_UPGRADED;
	if (x->flags & L7X_GRPC) {
		head->flags |= L7_F_GRPC;
		head->messages[0] = x->messages[0];
		head->messages[1] = x->messages[1];
		head->bytes[0] = x->bytes[0];
		head->bytes[1] = x->bytes[1];
	}
}

static __always_inline void h2_unknown(struct l7_work *w)
{
	if (w->d.http2.seen & H2_SEEN_UNKNOWN)
		w->split.record.head.flags |= L7_F_UNKNOWN;
}

/* From here on DATA frames of this connection are looked at. */
static __always_inline void h2_is_grpc(struct l7_work *w, struct l7_exchange *x)
{
	struct l7_conn *conn;

	x->flags |= L7X_GRPC;
	if (w->conn_grpc)
		return;
	conn = l7_conn_of(w);
	if (conn)
		conn->grpc = 1;
	w->conn_grpc = 1;
}

/* A request's header block ended. */
FATHOM_STEP h2_request(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	struct l7_exchange *x;

	if (!w)
		return 0;
	h = &w->d.http2;
	if (!(h->seen & (H2_SEEN_METHOD | H2_SEEN_PATH))) {
		/* Trailers; or all that made it a request is unknown. */
		if (!(h->seen & H2_SEEN_UNKNOWN) || ((w->conn_flags & L7C_JOINED) && !h->sided) ||
		    l7_exchange_find(w->conn, h->stream, L7_NEAR_HTTP2))
			return 0;
	}
	if (h->stream > h->newest)
		h->newest = h->stream;
	x = l7_exchange_add(w->conn, h->stream, L7_NEAR_HTTP2, w->now);
	if (x) {
		x->method = h->method;
		if (h->grpc)
			h2_is_grpc(w, x);
	}
	h2_describe(w, NULL);
	h2_unknown(w);
	w->split.record.head.method = h->method;
	if (h->grpc)
		w->split.record.head.flags |= L7_F_GRPC;
	l7_emit(skb, L7_TYPE_REQUEST);
	return 0;
}

/* The end of an exchange, by what the direction and the exchange know; `x` may be NULL. */
static __always_inline void h2_answer(struct __sk_buff *skb, struct l7_work *w,
				      struct l7_exchange *x, __u32 flags)
{
	struct l7_http2_dir *h = &w->d.http2;
	struct l7_head *head = &w->split.record.head;

	h2_describe(w, x);
	h2_unknown(w);
	head->flags |= flags;
	if (flags & L7_F_RESET) {
		head->status = w->value > 0xffff ? 0xffff : w->value;
	} else if (h->status) {
		head->status = h->status;
		head->flags |= L7_F_STATUS;
	} else if (x && x->status) {
		head->status = x->status;
		head->flags |= L7_F_STATUS;
	}
	if (h->seen & H2_SEEN_GRPC_STATUS) {
		head->code = h->code;
		head->flags |= L7_F_CODE;
	}
	if (x && (x->flags & L7X_UPGRADED)) {
		*(__u64 *)&w->b[H2_TEXT] = L7_CHARS('h', '2', 'c', 0, 0, 0, 0, 0);
		l7_text(TEXT_UPGRADE, H2_TEXT, 3, 0);
	}
	l7_first_response(w);
	if (x && (flags & L7_F_RESET) && !w->index) {
		l7_exchange_give_up(x, w->conn, h->stream);
	} else if (x) {
		l7_exchange_drop(x);
	} else {
		head->flags |= L7_F_UNMATCHED;
		ledger_count(LEDGER_L7_UNMATCHED);
	}
	l7_emit(skb, L7_TYPE_RESPONSE);
}

/* A header block of the server's ended. */
FATHOM_STEP h2_response(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	struct l7_exchange *x;
	__u32 flags = 0;

	if (!w)
		return 0;
	h = &w->d.http2;
	if ((h->seen & H2_SEEN_STATUS) && h->status < 200)
		return 0;
	x = l7_exchange_find(w->conn, h->stream, L7_NEAR_HTTP2);
	/* Sent before the server heard of it. */
	if (x && (x->flags & L7X_GIVEN_UP))
		return 0;
	if (!(h->seen & H2_SEEN_STATUS)) {
		/* Trailers of a gRPC call; of others nothing is asked. */
		if (!x || !((x->flags & L7X_GRPC) || (h->seen & H2_SEEN_UNKNOWN)))
			return 0;
		if (x->flags & L7X_ANSWERED)
			flags = L7_F_STREAMED;
	} else if (!x) {
		if (h->grpc)
			flags = L7_F_GRPC;
	} else {
		if (!x->latency_ns)
			x->latency_ns = l7_since(h->began_ns, x->request_ns);
		x->status = h->status;
		x->flags |= L7X_ANSWERED;
		if (h->grpc)
			h2_is_grpc(w, x);
		if (x->flags & L7X_GRPC) {
			/* The call's end is told. */
			if (!h->end)
				return 0;
			flags = L7_F_STREAMED;
		}
	}
	h2_answer(skb, w, x, flags);
	return 0;
}

/* Whose block it is, where the connection was seen from its middle on: see l7_turn_conn. */
static __always_inline void h2_sides(struct l7_work *w)
{
	struct l7_http2_dir *h = &w->d.http2;
	struct l7_conn *conn;
	__u32 request = h->seen & (H2_SEEN_METHOD | H2_SEEN_PATH);

	if (!(h->seen & (H2_SEEN_METHOD | H2_SEEN_PATH | H2_SEEN_STATUS)))
		return;
	h->sided = 1;
	if (w->index ? !request : !!request)
		return;
	conn = l7_conn_of(w);
	if (!conn)
		return;
	/* This direction's state is in w->d, and goes back to its new place. */
	conn->dir[w->index & 1] = conn->dir[(w->index & 1) ^ 1];
	conn->flags ^= L7C_TURNED;
	w->conn_flags = conn->flags;
	w->index ^= 1;
}

/* A header block ended. */
static __always_inline void h2_block_end(struct __sk_buff *skb, struct l7_work *w)
{
	struct l7_http2_dir *h = &w->d.http2;
	__u8 block = h->block;

	h->block = 0;
	/* A promise announces a request that nobody made. */
	if (block != H2_BLOCK_HEADERS)
		return;
	if (w->conn_flags & L7C_JOINED)
		h2_sides(w);
	if (w->index)
		h2_response(skb);
	else
		h2_request(skb);
}

/* The fragment ended within a field: its beginning waits for the next frame. */
FATHOM_STEP h2_cut(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 left;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	left = h->frame;
	if ((h->flags & H2_FLAG_END_HEADERS) || left > L7_CARRY - 64)
		return L7_LOST;
	l7_keep(w->ct_index | 2, left, 0);
	h->stash = left;
	h2_use(w, left);
	return L7_NEXT;
}

/* All of a fragment was read; END_HEADERS says that the block ends with it. */
FATHOM_STEP h2_fragment_end(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	w->d.state = H2_FRAME;
	if (h->flags & H2_FLAG_END_HEADERS) {
		if (h->stage || h->stash)
			return L7_LOST;
		h2_block_end(skb, w);
	}
	l7_skip(w, h->pad_len);
	return L7_NEXT;
}

#define H2_FIELDS_AT_ONCE 8

/* Stages of fields. */
FATHOM_STEP h2_fields(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	int got = L7_NEXT;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	for (__u32 i = 0; i < H2_FIELDS_AT_ONCE; i++) {
		switch (h->stage) {
		case H2_STAGE_START:
			got = hpack_start();
			break;
		case H2_STAGE_NAME:
			got = hpack_name();
			break;
		case H2_STAGE_VALUE:
			got = hpack_value();
			break;
		default:
			got = hpack_pass(w);
		}
		if (got != L7_NEXT || !h->frame || w->at == w->n)
			break;
	}
	if (got == L7_MORE && l7_left(w) >= h->frame)
		got = h2_cut();
	/* At once, not at the next byte: there may be none. */
	if (got == L7_NEXT && !h->frame)
		return h2_fragment_end(skb);
	return got;
}

/* Counts of a call that goes on. */
FATHOM_STEP h2_sample(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_exchange *x;

	if (!w)
		return 0;
	x = l7_exchange_find(w->conn, w->d.http2.stream, L7_NEAR_HTTP2);
	if (!x)
		return 0;
	x->sampled_ns = w->now;
	l7_record_begin(w);
	h2_describe(w, x);
	l7_emit(skb, L7_TYPE_SAMPLE);
	return 0;
}

/* All of a DATA frame of a call was read. */
FATHOM_STEP h2_data_end(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	struct l7_exchange *x;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	w->d.state = H2_FRAME;
	x = l7_exchange_find(w->conn, h->stream, L7_NEAR_HTTP2);
	/* A call that ends without trailers has no status; no server should do it. */
	if (x && w->index && (h->flags & H2_FLAG_END_STREAM)) {
		h->seen = 0;
		h->status = 0;
		l7_record_begin(w);
		h2_answer(skb, w, x, L7_F_STREAMED);
	} else if (x && w->now - x->sampled_ns > cfg_l7_sample_ns) {
		h2_sample(skb);
	}
	l7_skip(w, h->pad_len);
	return L7_NEXT;
}

/*
 * Bytes of a DATA frame: all of it at once, or of a call as many messages as are
 * counted in one step: thousands of them go into one packet.
 */
FATHOM_STEP h2_data(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	struct l7_exchange *x;
	__u32 i, bytes, got;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	i = w->index & 1;
	/* Most connections carry no gRPC, and exchanges there are over before their data comes. */
	x = NULL;
	if (w->conn_grpc)
		x = l7_exchange_find(w->conn, h->stream, L7_NEAR_HTTP2);
	if (!x || !(x->flags & L7X_GRPC)) {
		bytes = h->frame;
		h->frame = 0;
		w->d.state = H2_FRAME;
		l7_skip(w, bytes + h->pad_len);
		return L7_NEXT;
	}
	if (!h->frame)
		return h2_data_end(skb);
	for (__u32 n = 0; n < GRPC_AT_ONCE; n++) {
		bytes = x->left[i] < h->frame ? x->left[i] : h->frame;
		if (bytes) {
			x->left[i] -= bytes;
			x->bytes[i] += bytes;
			h->frame -= bytes;
			l7_skip(w, bytes);
		}
		if (x->left[i] || x->got[i] || h2_avail(w) < GRPC_PREFIX)
			break;
		x->left[i] = l7_be32(w, w->at + 1);
		x->messages[i] += 1;
		x->bytes[i] += GRPC_PREFIX;
		h2_use(w, GRPC_PREFIX);
	}
	if (!h->frame)
		return h2_data_end(skb);
	if (!l7_left(w))
		return L7_MORE;
	got = x->got[i];
	if (x->left[i] || (!got && h2_avail(w) >= GRPC_PREFIX))
		return L7_NEXT;
	/* A prefix in pieces. */
	x->part[i] = got ? x->part[i] << 8 | l7_byte(w, w->at) : 0;
	got += 1;
	x->bytes[i] += 1;
	if (got == GRPC_PREFIX) {
		got = 0;
		x->left[i] = x->part[i];
		x->messages[i] += 1;
	}
	x->got[i] = got;
	h2_use(w, 1);
	return h->frame ? L7_NEXT : h2_data_end(skb);
}

/* The end of a field that the end of a fragment cut through comes back before what follows. */
FATHOM_STEP h2_unstash(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_split_key key = {};
	struct l7_split *split;
	__u32 stash;

	if (!w)
		return L7_LOST;
	/* First: a load after it would not know that these bytes are of no packet. */
	l7_refill(skb);
	stash = w->d.http2.stash;
	key.conn = w->conn;
	key.index = w->ct_index | 2;
	split = bpf_map_lookup_elem(&l7_splits, &key);
	if (!split || stash > L7_CARRY - 64)
		return L7_LOST;
	/* Backwards in eights; what reaches over lies before it and is nothing. */
	for (__u32 i = 1; i <= L7_CARRY / 8; i++) {
		__u64 from = L7_CARRY - i * 8, to = w->at - i * 8;

		if ((i - 1) * 8 >= stash)
			break;
		L7_BOUND(from, L7_CARRY - 8);
		L7_BOUND(to, L7_WINDOW - 1);
		*(__u64 *)&w->b[to] = *(__u64 *)&split->carry[from];
	}
	w->at -= stash;
	w->d.http2.frame += stash;
	w->d.http2.stash = 0;
	bpf_map_delete_elem(&l7_splits, &key);
	return L7_NEXT;
}

/* What comes before the payload. */
FATHOM_STEP h2_head(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 need = 0;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	if (h->flags & H2_FLAG_PADDED)
		need += 1;
	if (h->type == H2_TYPE_HEADERS && (h->flags & H2_FLAG_PRIORITY))
		need += 5;
	if (h->type == H2_TYPE_PUSH_PROMISE)
		need += 4;
	if (l7_left(w) < need)
		return L7_MORE;
	if (h->flags & H2_FLAG_PADDED)
		h->pad_len = l7_byte(w, w->at);
	if (need + h->pad_len > h->frame)
		return L7_LOST;
	h->frame -= need + h->pad_len;
	w->at += need;
	if (h->type == H2_TYPE_DATA) {
		w->d.state = H2_DATA;
		return h->frame ? L7_NEXT : h2_data(skb);
	}
	w->d.state = H2_FIELDS;
	if (h->stash && h2_unstash(skb))
		return L7_LOST;
	return h->frame ? L7_NEXT : h2_fragment_end(skb);
}

/* A frame's header. */
FATHOM_STEP h2_frame(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 len, type, flags, stream;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	if (l7_left(w) < H2_FRAME_HEADER)
		return L7_MORE;
	len = l7_be32(w, w->at) >> 8;
	type = l7_byte(w, w->at + 3);
	flags = l7_byte(w, w->at + 4);
	stream = l7_be32(w, w->at + 5) & 0x7fffffff;
	/* Nothing may come between the frames of a header block. RFC 9113 section 6.10 */
	if (h->block ? type != H2_TYPE_CONTINUATION || stream != h->stream
		     : type == H2_TYPE_CONTINUATION)
		return L7_LOST;
	w->at += H2_FRAME_HEADER;
	switch (type) {
	case H2_TYPE_HEADERS:
	case H2_TYPE_PUSH_PROMISE:
		h->block = type == H2_TYPE_HEADERS ? H2_BLOCK_HEADERS : H2_BLOCK_PUSH;
		h->end = flags & H2_FLAG_END_STREAM;
		h->seen = 0;
		h->status = 0;
		h->code = 0;
		h->grpc = 0;
		h->method = METHOD_OTHER;
		h->stage = H2_STAGE_START;
		h->stash = 0;
		h->began_ns = w->now;
		l7_record_begin(w);
		break;
	case H2_TYPE_CONTINUATION:
		flags &= H2_FLAG_END_HEADERS;
		break;
	case H2_TYPE_DATA:
		break;
	case H2_TYPE_RST_STREAM:
		if (len != 4)
			return L7_LOST;
		h->stream = stream;
		w->d.state = H2_RESET;
		return L7_NEXT;
	default:
		l7_skip(w, len);
		return L7_NEXT;
	}
	if (!stream)
		return L7_LOST;
	h->stream = stream;
	h->type = type;
	h->flags = flags;
	h->frame = len;
	h->pad_len = 0;
	if (type == H2_TYPE_DATA && !(flags & H2_FLAG_PADDED)) {
		/* At once: small ones are many. */
		w->d.state = H2_DATA;
		return h2_data(skb);
	}
	w->d.state = H2_HEAD;
	return len ? L7_NEXT : h2_head(skb);
}

/* RST_STREAM ends an exchange, whoever sends it. */
FATHOM_STEP h2_reset(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	struct l7_exchange *x;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	if (l7_left(w) < 4)
		return L7_MORE;
	w->d.state = H2_FRAME;
	w->value = l7_be32(w, w->at);
	w->at += 4;
	x = l7_exchange_find(w->conn, h->stream, L7_NEAR_HTTP2);
	if (x && !(x->flags & L7X_GIVEN_UP)) {
		h->seen = 0;
		h->status = 0;
		l7_record_begin(w);
		h2_answer(skb, w, x, L7_F_RESET);
	}
	return L7_NEXT;
}

#define H2_ENDED 128 /* newest streams that are looked at when their connection ends */

/* A stream whose connection ended, if it waits. */
FATHOM_STEP h2_unended(struct __sk_buff *skb, __u32 id)
{
	struct l7_work *w = l7_scratch();
	struct l7_exchange *x;

	if (!w)
		return 0;
	x = l7_exchange_find(w->conn, id, L7_NEAR_HTTP2);
	if (!x || (x->flags & L7X_GIVEN_UP))
		return 0;
	l7_record_begin(w);
	h2_answer(skb, w, x, L7_F_ENDED);
	return 0;
}

/* The connection ended: streams that nobody ended are told, the oldest first. */
FATHOM_STEP h2_ended(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;
	__u32 newest, first;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	w->conn = conn->id;
	w->conn_flags = conn->flags & ~L7C_FIRST;
	w->d.http2.seen = 0;
	w->d.http2.status = 0;
	/* Streams of a client have odd numbers. The first is also that of a request that changed to HTTP/2. */
	newest = conn->dir[0].http2.newest | 1;
	first = newest > 2 * H2_ENDED ? newest - 2 * (H2_ENDED - 1) : 1;
	for (__u32 i = 0; i < H2_ENDED; i++) {
		if (first + 2 * i > newest)
			break;
		h2_unended(skb, first + 2 * i);
	}
	return 0;
}

/* One unit. */
FATHOM_STEP h2_step(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return L7_LOST;
	switch (w->d.state) {
	case H2_PREFACE:
		if (!w->index) {
			got = detect_preface(w);
			if (got == L7_MORE)
				return got;
			if (got == L7_NEXT)
				w->at += HTTP2_PREFACE_LEN;
			else if (!(w->conn_flags & L7C_JOINED) && !w->d.http2.blind)
				return L7_LOST;
		}
		w->d.state = H2_FRAME;
		if (w->conn_flags & L7C_JOINED)
			w->d.http2.blind = 1;
		return L7_NEXT;
	case H2_FRAME:
		return h2_frame(skb);
	case H2_HEAD:
		return h2_head(skb);
	case H2_FIELDS:
		return h2_fields(skb);
	case H2_DATA:
		return h2_data(skb);
	case H2_RESET:
		return h2_reset(skb);
	}
	return L7_LOST;
}

#endif /* FATHOM_L7_HTTP2_H */
