/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/http1.h: HTTP/1.0 and 1.1 (RFC 9112), a line at a time.
 *
 *	START    a request or status line; an empty line before it is let pass
 *	HEADERS  the lines that follow, to the empty one: there the record is written
 *	CHUNK    the size of a chunk, which is then skipped with the line end behind it
 *	TRAILERS after the last chunk
 *
 * How long a body is follows from RFC 9112 section 6.3: from the request's method
 * and the status, then Transfer-Encoding, then Content-Length, else to the end.
 */
#ifndef FATHOM_L7_HTTP1_H
#define FATHOM_L7_HTTP1_H

#include "uapi.h"
#include "l7/detect.h"
#include "l7/exchange.h"
#include "l7/http1_head.h"
#include "l7/http1_line.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define H1_START    0
#define H1_HEADERS  1
#define H1_CHUNK    2
#define H1_TRAILERS 3

/* A request that waits: with its connection, or in the table when another one does already. */
static __always_inline void h1_wait(struct l7_work *w, __u32 id, __u8 method)
{
	struct l7_exchange *x;

	if (!w->asked.request_ns) {
		w->asked.request_ns = w->now;
		w->asked.id = id;
		w->asked.method = method;
		w->asked.changed = 1;
		return;
	}
	x = l7_exchange_add(w->conn, id, L7_NEAR_HTTP1, w->now);
	if (x)
		x->method = method;
}

/* When the request came, and its method; it waits no longer. 0 = there is none. */
static __always_inline __u64 h1_waited(struct l7_work *w, __u32 id, __u32 *method)
{
	struct l7_exchange *x;
	__u64 then = w->asked.request_ns;

	if (then && w->asked.id == id) {
		*method = w->asked.method;
		w->asked.request_ns = 0;
		w->asked.changed = 1;
		return then;
	}
	x = l7_exchange_find(w->conn, id, L7_NEAR_HTTP1);
	if (!x)
		return 0;
	*method = x->method;
	then = x->request_ns;
	l7_exchange_drop(x);
	return then;
}

/* The end of a request's header section. */
FATHOM_STEP h1_request(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_dir *d;

	if (!w)
		return L7_LOST;
	d = &w->d;
	w->split.record.head.proto = L7_HTTP1;
	w->split.record.head.exchange = d->count;
	l7_record_joined(w);
	h1_wait(w, d->count, d->http1.method);
	d->count += 1;
	l7_emit(skb, L7_TYPE_REQUEST);
	d->state = H1_START;
	if (d->http1.body == H1_BODY_CHUNKED) {
		d->state = H1_CHUNK;
	} else if (d->http1.body == H1_BODY_LENGTH) {
		l7_skip(w, d->http1.length);
	} else if (d->http1.body != H1_BODY_NONE) {
		/* Where the next request begins can't be known: such a request is to be refused. */
		return L7_LOST;
	}
	return L7_NEXT;
}

/* From here on the connection speaks something else, in both directions. */
static __always_inline int h1_switch(struct l7_work *w, __u8 proto)
{
	struct l7_conn *conn = l7_conn_of(w);

	if (!conn)
		return L7_OVER;
	conn->proto = proto;
	w->conn_proto = proto;
	__builtin_memset(&conn->dir[0].http1, 0, sizeof(conn->dir[0].http1));
	conn->dir[0].state = 0;
	conn->dir[0].count = 0;
	/* All of it: no more than HTTP/1's part was taken along. */
	__builtin_memset(&w->d.http2, 0, sizeof(w->d.http2));
	w->d.state = 0;
	w->d.count = 0;
	if (proto == L7_WEBSOCKET) {
		w->d.ws.sampled_ns = w->now;
		conn->dir[0].ws.sampled_ns = w->now;
		conn->dir[0].ws.exchange = w->split.record.head.exchange;
		if (w->split.record.head.duration_ns)
			conn->dir[0].ws.began_ns = w->now - w->split.record.head.duration_ns;
	}
	return L7_GOTO;
}

/* The request goes on as a stream's. */
static __always_inline void h1_to_stream(struct l7_work *w, __u64 then, __u32 method)
{
	__u32 shown = w->split.record.head.exchange;
	struct l7_exchange *stream;

	stream = l7_exchange_add(w->conn, 1, L7_NEAR_HTTP2, then);
	if (!stream)
		return;
	stream->shown = shown;
	stream->method = method;
	stream->flags = L7X_UPGRADED;
}

/*
 * The first response after bytes were missed, with which responses may have gone. With
 * several requests waiting nobody can say whose it is: none of them waits any longer.
 */
static __always_inline void h1_resume(struct l7_work *w, struct l7_dir *d)
{
	struct l7_conn *conn = l7_conn_of(w);

	d->resumed = 0;
	if (!conn || conn->dir[0].count - d->count < 2)
		return;
	d->count = conn->dir[0].count;
	w->asked.request_ns = 0;
	w->asked.changed = 1;
}

/* The end of a response's header section. */
FATHOM_STEP h1_response(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u32 method = METHOD_OTHER, status, upgrade, tunnel;
	struct l7_dir *d;
	__u64 then;

	if (!w)
		return L7_LOST;
	d = &w->d;
	status = d->http1.status;
	d->state = H1_START;
	if (status < 200 && status != 101)
		return L7_NEXT;

	w->split.record.head.proto = L7_HTTP1;
	w->split.record.head.exchange = d->count;
	if (d->resumed)
		h1_resume(w, d);
	then = h1_waited(w, d->count, &method);
	if (then) {
		d->count += 1;
		w->split.record.head.latency_ns = l7_since(d->http1.began_ns, then);
		w->split.record.head.duration_ns = l7_since(w->now, then);
	} else {
		/* Its request's place was taken; or none was seen, and none is counted for it. */
		struct l7_conn *conn = l7_conn_of(w);

		if (conn && conn->dir[0].count > d->count)
			d->count += 1;
		w->split.record.head.flags |= L7_F_UNMATCHED;
		ledger_count(LEDGER_L7_UNMATCHED);
	}
	if (then && status == 101 && d->http1.upgrade == H1_UPGRADE_H2C) {
		/* Answered on stream 1 (RFC 7540 section 3.2): that is the response. */
		h1_to_stream(w, then, method);
		return h1_switch(w, L7_HTTP2);
	}
	l7_record_joined(w);
	l7_first_response(w);
	tunnel = method == METHOD_CONNECT && status < 300;
	if (status == 101 || tunnel)
		w->split.record.head.flags |= L7_F_UPGRADED;
	upgrade = d->http1.upgrade;
	l7_emit(skb, L7_TYPE_RESPONSE);
	if (tunnel)
		return L7_OVER;
	if (status == 101) {
		if (upgrade == H1_UPGRADE_WEBSOCKET)
			return h1_switch(w, L7_WEBSOCKET);
		return L7_OVER;
	}
	if (method == METHOD_HEAD || status == 204 || status == 304)
		return L7_NEXT;
	if (d->http1.body == H1_BODY_CHUNKED) {
		d->state = H1_CHUNK;
	} else if (d->http1.body == H1_BODY_LENGTH) {
		l7_skip(w, d->http1.length);
	} else {
		/* Nothing said how long it is, or what said so was broken: to the end. */
		l7_skip(w, L7_SKIP_ALL);
	}
	return L7_NEXT;
}

/* chunk-size [ chunk-ext ]; what follows of it is skipped. RFC 9112 section 7.1 */
FATHOM_STEP h1_chunk(__u32 at, __u32 end)
{
	struct l7_work *w = l7_scratch();
	struct l7_dir *d;
	__u32 digits = 0;
	__u64 size = 0;

	if (!w)
		return L7_LOST;
	d = &w->d;
	for (__u32 i = 0; i < 16; i++) {
		__u32 c = l7_byte(w, at + i), value;

		if (at + i >= end)
			break;
		if (c >= '0' && c <= '9')
			value = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = (c | 0x20) - 'a' + 10;
		else if (c == ';' || c == ' ' || c == '\t')
			break;
		else
			return L7_LOST;
		size = size << 4 | value;
		digits += 1;
	}
	if (!digits || digits > 15)
		return L7_LOST;
	if (!size) {
		d->state = H1_TRAILERS;
		return L7_NEXT;
	}
	/* The line end behind it is passed with it: two bytes, for nobody sends one. */
	l7_skip(w, size + 2);
	return L7_NEXT;
}

#define H1_ENDED 8 /* requests told of that their connection left without a response */

/* The connection ended: what was asked and not answered is told, the oldest first. */
FATHOM_STEP h1_ended(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;
	__u32 first, behind, method;
	__u64 then;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	w->conn = conn->id;
	w->conn_flags = conn->flags;
	w->asked = conn->asked;
	/* Another CPU may see the connection end, too. */
	conn->asked.request_ns = 0;
	first = conn->dir[1].count;
	behind = conn->dir[0].count;
	for (__u32 i = 0; i < H1_ENDED; i++) {
		if (first + i >= behind)
			break;
		then = h1_waited(w, first + i, &method);
		if (!then)
			continue;
		l7_record_begin(w);
		w->split.record.head.proto = L7_HTTP1;
		w->split.record.head.exchange = first + i;
		w->split.record.head.flags = L7_F_ENDED;
		w->split.record.head.duration_ns = l7_since(w->now, then);
		l7_record_joined(w);
		l7_emit(skb, L7_TYPE_RESPONSE);
	}
	return 0;
}

/* One line. */
FATHOM_STEP h1_step(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_dir *d;
	__u32 at, end, next, left, cut = 0;
	int got;

	if (!w)
		return L7_LOST;
	d = &w->d;
	if (d->state == H1_HEADERS && !cfg_l7_headers && !(d->flags & L7D_LONG))
		h1_skim();
	at = w->at;
	left = l7_left(w);
	if (!left)
		return L7_NEXT;
	if (d->state == H1_START && w->index && !d->http1.began_ns)
		d->http1.began_ns = w->now;
	next = h1_line_end(at, at + (left > L7_CARRY ? L7_CARRY : left));
	if (!next) {
		if (left < L7_CARRY)
			return L7_MORE;
		if (d->flags & L7D_LONG) {
			w->at = at + L7_CARRY - 8;
			return L7_NEXT;
		}
		/* Longer than is looked at: its beginning counts, the rest is passed over. */
		next = at + L7_CARRY - 8;
		end = next;
		cut = 1;
	} else {
		end = next - 1;
		if (end > at && l7_byte(w, end - 1) == '\r')
			end -= 1;
	}
	w->at = next;
	if (d->flags & L7D_LONG) {
		if (!cut)
			d->flags &= ~L7D_LONG;
		return L7_NEXT;
	}
	if (cut)
		d->flags |= L7D_LONG;

	switch (d->state) {
	case H1_START:
		if (end == at)
			return L7_NEXT;
		if (w->index) {
			got = h1_status_line(at, end);
			/* The time of an empty line before it doesn't count, nor that of an interim response. */
		} else {
			got = h1_request_line(at, end, cut);
		}
		if (got)
			return got;
		d->state = H1_HEADERS;
		return L7_NEXT;
	case H1_HEADERS:
		if (end > at) {
			h1_header(at, cut ? end : h1_trimmed(w, at, end), cut);
			return L7_NEXT;
		}
		got = w->index ? h1_response(skb) : h1_request(skb);
		if (w->index)
			d->http1.began_ns = 0;
		return got;
	case H1_CHUNK:
		/* No chunk extension is as long as that. */
		return cut ? L7_LOST : h1_chunk(at, end);
	case H1_TRAILERS:
		if (end == at)
			d->state = H1_START;
		return L7_NEXT;
	}
	return L7_LOST;
}

#endif /* FATHOM_L7_HTTP1_H */
