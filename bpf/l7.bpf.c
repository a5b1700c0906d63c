// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * l7.bpf.c: what packets carry: messages of application protocols.
 *
 * Hooks: none of their own. pod.bpf.c comes here by tail call with packets that may
 * pass and whose connection is read; whatever happens here, the packet passes.
 * Kernel 5.10; on arm64 tail calls beside subprograms need 6.0.
 *
 * One program per protocol, because each is verified by itself; they share the
 * scratch memory that says how far the packet was read. A parser is a step that
 * takes one unit (a line, a frame, a field), run in a loop of bounded length, which
 * begins anew by a tail call to itself. l7_tcp begins HTTP/1 itself.
 *
 * Rejected: dynptrs and bpf_loop, which old kernels lack and which cost more per
 * byte; parsing in user space from copies, which a lost record would desynchronise.
 */
#include "uapi.h"
#include "l7/detect.h"
#include "l7/dns.h"
#include "l7/http1.h"
#include "l7/http2.h"
#include "l7/kafka.h"
#include "l7/order.h"
#include "l7/tcp.h"
#include "l7/tls.h"
#include "l7/udp.h"
#include "l7/websocket.h"

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";

/* All of a packet of the smallest frames of HTTP/2 that carry messages of gRPC: 64 KiB of 14 bytes. */
#define L7_STEPS  192 /* units per run */
#define L7_ROUNDS 24  /* runs per packet, after the first */

/*
 * Runs the steps of one parser. What it says about the packet's end: L7_MORE and
 * L7_DONE are the good ones.
 */
#define L7_RUN(skb, step, again) \
	({ \
		int _got = L7_NEXT; \
		for (__u32 _i = 0; _i < L7_STEPS; _i++) { \
			if (w->at == w->n && !l7_refill(skb)) { \
				_got = L7_DONE; \
				break; \
			} \
			_got = step(skb); \
			if (_got == L7_MORE && l7_refill(skb)) \
				_got = L7_NEXT; \
			if (_got != L7_NEXT) \
				break; \
		} \
		if (_got == L7_NEXT && w->rounds < L7_ROUNDS) { \
			w->rounds += 1; \
			bpf_tail_call(skb, &l7_programs, again); \
		} \
		_got; \
	})

/* Keeps what a parser was in the middle of, with `draft` the record too. 0 = nothing is read any more. */
static __noinline int l7_stopped(struct __sk_buff *skb, int got, __u32 draft)
{
	struct l7_work *w = l7_scratch();
	__u32 left;

	if (!w)
		return 0;
	switch (got) {
	case L7_MORE:
	case L7_DONE:
		left = l7_left(w);
		w->d.carry = left;
		w->d.flags &= ~L7D_DRAFT;
		if (draft)
			w->d.flags |= L7D_DRAFT;
		if (left || draft)
			l7_keep(w->ct_index, left, draft);
		else if (w->recalled)
			l7_forget(w);
		break;
	case L7_OVER:
		l7_drop(w);
		return 0;
	case L7_LOST:
		ledger_count(LEDGER_L7_MALFORMED);
		l7_drop(w);
		return 0;
	default:
		/* Out of rounds: more units in one packet than are read. */
		l7_look(&w->d);
	}
	return 1;
}

/* Goes on after a parser: to an early segment, or to the connection's end. */
static __always_inline int l7_after(struct __sk_buff *skb, struct l7_work *w, struct l7_conn *conn,
				    int got, __u32 draft)
{
	if (got == L7_GOTO) {
		w->rounds = 0;
		l7_parse(skb, w->conn_proto);
		got = L7_OVER;
	}
	if (l7_stopped(skb, got, draft) && l7_put_back(w, conn))
		l7_segment_end(skb, w, conn);
	return TC_ACT_UNSPEC;
}

/* The same in a program of its own, which has to find the connection again. */
static __always_inline int l7_go_on(struct __sk_buff *skb, struct l7_work *w, int got, __u32 draft)
{
	return l7_after(skb, w, l7_conn_of(w), got, draft);
}

SEC("tc")
int l7_tcp(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	if ((w->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		conn = l7_conn_of(w);
		if (w->index && !(conn && l7_opened_by(w, conn)))
			l7_open(0);
		return TC_ACT_UNSPEC;
	}
	conn = l7_conn_of(w);
	if (!conn) {
		if (!w->len || w->over)
			return TC_ACT_UNSPEC;
		if (w->opened)
			ledger_count(LEDGER_L7_EVICTED);
		l7_open(1);
		conn = l7_conn_of(w);
		if (!conn)
			return TC_ACT_UNSPEC;
	}
	if (w->source == L7_FROM_PACKET) {
		w->ct_index = (w->dir == DIR_EGRESS) ^ !!(conn->flags & L7C_EGRESS);
		w->index = w->ct_index ^ !!(conn->flags & L7C_TURNED);
		w->conn = conn->id;
		if (!w->len || l7_admit(skb, w, conn) != L7_READ) {
			if (w->over && !l7_awaited(w, conn))
				l7_close(skb, w, conn);
			return TC_ACT_UNSPEC;
		}
	}
	got = l7_segment(skb, w, conn, &conn->dir[w->index & 1]);
	/* Most segments of most connections: a tail call would cost them a tenth of all. */
	if (got == L7_HERE) {
		got = L7_RUN(skb, h1_step, L7_PROG_HTTP1);
		return l7_after(skb, w, conn, got, w->d.state == H1_HEADERS);
	}
	if (got != L7_OVER)
		l7_segment_end(skb, w, conn);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int l7_http1(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	if (w->over == L7_ENDING) {
		h1_ended(skb);
		l7_end();
		return TC_ACT_UNSPEC;
	}
	got = L7_RUN(skb, h1_step, L7_PROG_HTTP1);
	return l7_go_on(skb, w, got, w->d.state == H1_HEADERS);
}

SEC("tc")
int l7_http2(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	if (w->over == L7_ENDING) {
		h2_ended(skb);
		l7_end();
		return TC_ACT_UNSPEC;
	}
	got = L7_RUN(skb, h2_step, L7_PROG_HTTP2);
	return l7_go_on(skb, w, got, w->d.http2.block);
}

SEC("tc")
int l7_dns(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	got = L7_RUN(skb, dns_tcp_step, L7_PROG_DNS);
	return l7_go_on(skb, w, got, 0);
}

SEC("tc")
int l7_udp(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();

	if (w)
		udp_datagram(skb, w);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int l7_kafka(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	if (w->over == L7_ENDING) {
		kafka_ended(skb);
		l7_end();
		return TC_ACT_UNSPEC;
	}
	got = L7_RUN(skb, kafka_step, L7_PROG_KAFKA);
	return l7_go_on(skb, w, got, w->d.state == KAFKA_FIELDS);
}

SEC("tc")
int l7_tls(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	if (w->index)
		got = tls_interrupted(skb);
	else
		got = L7_RUN(skb, tls_step, L7_PROG_TLS);
	return l7_go_on(skb, w, got, w->d.state != TLS_START);
}

SEC("tc")
int l7_websocket(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return TC_ACT_UNSPEC;
	if (w->over == L7_ENDING) {
		ws_sample(skb, L7_F_ENDED);
		l7_end();
		return TC_ACT_UNSPEC;
	}
	got = L7_RUN(skb, ws_step, L7_PROG_WS);
	return l7_go_on(skb, w, got, 0);
}
