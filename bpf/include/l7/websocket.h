/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/websocket.h: what goes over a connection after HTTP/1's upgrade (RFC 6455): how
 * many frames with data (opcodes 0 to 2; control frames don't count) and how many
 * bytes in them, from either side. Nothing of what they say.
 *
 * A frame counts with all its bytes when its header is there. Counts are told as a
 * sample of the upgrade's exchange: every few seconds while frames go by, when both
 * sides have said close, with the status code of who did first, and at the latest
 * when the connection ends.
 */
#ifndef FATHOM_L7_WEBSOCKET_H
#define FATHOM_L7_WEBSOCKET_H

#include "uapi.h"
#include "config.h"
#include "l7/detect.h"
#include "l7/exchange.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define WS_CLOSE        8
#define WS_NO_STATUS    1005 /* RFC 6455 section 7.4.1: a close frame that had none */
#define WS_HEADER_SHORT 2

/* What both directions have counted; `flags` go with it. */
FATHOM_STEP ws_sample(struct __sk_buff *skb, __u32 flags)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;
	struct l7_head *head;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	l7_record_begin(w);
	w->conn = conn->id;
	w->conn_flags = conn->flags;
	head = &w->split.record.head;
	head->proto = L7_WEBSOCKET;
	head->exchange = conn->dir[0].ws.exchange;
	head->messages[0] = conn->dir[0].ws.frames;
	head->messages[1] = conn->dir[1].ws.frames;
	head->bytes[0] = conn->dir[0].ws.bytes;
	head->bytes[1] = conn->dir[1].ws.bytes;
	if (conn->dir[0].ws.began_ns)
		head->duration_ns = l7_since(w->now, conn->dir[0].ws.began_ns);
	head->flags = flags;
	if (conn->dir[0].ws.code || conn->dir[1].ws.code) {
		head->status = conn->dir[0].ws.code ? conn->dir[0].ws.code : conn->dir[1].ws.code;
		head->flags |= L7_F_STATUS;
	}
	l7_record_joined(w);
	l7_emit(skb, L7_TYPE_SAMPLE);
	return 0;
}

/* Whether it is time: neither direction has told for long. */
static __always_inline int ws_due(struct l7_work *w)
{
	struct l7_conn *conn;
	__u64 other;

	if (w->now - w->d.ws.sampled_ns < cfg_l7_sample_ns)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	other = conn->dir[!w->index].ws.sampled_ns;
	if (w->now - other < cfg_l7_sample_ns) {
		w->d.ws.sampled_ns = other;
		return 0;
	}
	w->d.ws.sampled_ns = w->now;
	return 1;
}

/* A close frame's header and status code are there. Who says it second is answering: RFC 6455 section 5.5.1. */
FATHOM_STEP ws_close(struct __sk_buff *skb, __u32 header, __u32 len)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;
	__u32 code = WS_NO_STATUS;

	if (!w)
		return L7_OVER;
	conn = l7_conn_of(w);
	if (!conn)
		return L7_OVER;
	if (len >= 2) {
		code = l7_be16(w, w->at + header);
		if (!w->index)
			code ^= l7_be16(w, w->at + header - 4);
	}
	if (!conn->dir[!w->index].ws.closed)
		w->d.ws.code = code;
	w->d.ws.closed = 1;
	l7_skip(w, header + len);
	if (!conn->dir[!w->index].ws.closed)
		return L7_NEXT;
	l7_put_back(w, l7_conn_of(w));
	ws_sample(skb, 0);
	return L7_OVER;
}

/* This is no frame: what was counted before it is told. */
FATHOM_STEP ws_malformed(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();

	if (!w)
		return 0;
	l7_put_back(w, l7_conn_of(w));
	return ws_sample(skb, L7_F_MALFORMED);
}

/* One frame: FIN, RSV and opcode; MASK and length, up to eight bytes more of it; the masking key. */
FATHOM_STEP ws_step(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u32 left, first, opcode, masked, header = WS_HEADER_SHORT;
	__u64 len;

	if (!w)
		return L7_LOST;
	left = l7_left(w);
	if (left < WS_HEADER_SHORT)
		return L7_MORE;
	first = l7_byte(w, w->at);
	opcode = first & 15;
	len = l7_byte(w, w->at + 1);
	masked = len & 0x80;
	len &= 0x7f;
	if (!ws_plausible(first, len, masked, w->index)) {
		ws_malformed(skb);
		return L7_LOST;
	}
	if (len == 126)
		header += 2;
	else if (len == 127)
		header += 8;
	if (masked)
		header += 4;
	if (opcode == WS_CLOSE && len >= 2 ? left < header + 2 : left < header)
		return L7_MORE;
	if (len == 126)
		len = l7_be16(w, w->at + 2);
	else if (len == 127)
		len = (__u64)l7_be32(w, w->at + 2) << 32 | l7_be32(w, w->at + 6);
	if (opcode == WS_CLOSE)
		return ws_close(skb, header, len);
	if (len >> 62) {
		/* Its top bit must be 0, and so much never comes. */
		ws_malformed(skb);
		return L7_LOST;
	}
	l7_skip(w, header + len);
	if (opcode >= WS_CLOSE)
		return L7_NEXT;
	w->d.ws.frames += 1;
	w->d.ws.bytes += len;
	if (ws_due(w)) {
		l7_put_back(w, l7_conn_of(w));
		ws_sample(skb, 0);
	}
	return L7_NEXT;
}

#endif /* FATHOM_L7_WEBSOCKET_H */
