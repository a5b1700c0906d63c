/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/record.h: the record of a message, from its first text to the ring.
 *
 *	l7_record_begin(w);
 *	l7_text(TEXT_PATH, from, len, 0);     bytes of the window
 *	w->split.record.head.status = …;
 *	l7_emit(skb, L7_TYPE_REQUEST);
 */
#ifndef FATHOM_L7_RECORD_H
#define FATHOM_L7_RECORD_H

#include "uapi.h"
#include "addr.h"
#include "emit.h"
#include "identity.h"
#include "ledger.h"
#include "wire.h"
#include "l7/state.h"
#include "l7/window.h"

#define L7_TEXTS_AT  (sizeof(struct event) + sizeof(struct l7_head))
#define L7_TEXTS_MAX (L7_RECORD_MAX - L7_TEXTS_AT)

static __always_inline void l7_record_begin(struct l7_work *w)
{
	__builtin_memset(&w->split.record.head, 0, sizeof(w->split.record.head));
	w->text = 0;
}

static __always_inline void l7_record_joined(struct l7_work *w)
{
	if (w->conn_flags & L7C_JOINED)
		w->split.record.head.flags |= L7_F_JOINED;
}

/* Where the record's byte `at` is; masked, because older kernels forget what a comparison said. */
static __always_inline __u8 *l7_record_byte(struct l7_work *w, __u32 at)
{
	__u64 i = at;

	L7_BOUND(i, 2047);
	return (__u8 *)&w->split.record + i;
}

/* Whether a text of `len` bytes still fits; says so in the record if it doesn't. */
static __always_inline int l7_text_fits(struct l7_work *w, __u32 len)
{
	if (w->text + sizeof(struct l7_text) + ((len + 7) & ~7U) <= L7_TEXTS_MAX)
		return 1;
	w->split.record.head.flags |= L7_F_TRUNCATED;
	return 0;
}

/* The head of a text whose `len` bytes are in their place behind it. */
static __always_inline void l7_text_close(struct l7_work *w, __u32 kind, __u32 flags, __u32 len,
					  __u32 number)
{
	__u8 *at = l7_record_byte(w, L7_TEXTS_AT + w->text);

	*(__u64 *)at =
		(__u64)number << 32 | (len & 0xffff) << 16 | (flags & 0xff) << 8 | (kind & 0xff);
	w->text += sizeof(struct l7_text) + ((len + 7) & ~7U);
	w->split.record.head.texts += 1;
	if (flags & TEXT_F_TRUNCATED)
		w->split.record.head.flags |= L7_F_TRUNCATED;
}

/* Bytes from `from` on of the window, as many as a text may have; `kind` with TEXT_F_* << 8. */
FATHOM_STEP l7_text(__u32 kind, __u32 from, __u32 len, __u32 number)
{
	struct l7_work *w = l7_scratch();
	__u32 flags = kind >> 8;

	if (!w)
		return 0;
	if (len > L7_TEXT_MAX) {
		len = L7_TEXT_MAX;
		flags |= TEXT_F_TRUNCATED;
	}
	if (!l7_text_fits(w, len))
		return 0;
	for (__u32 i = 0; i < L7_TEXT_MAX / 8; i++) {
		__u8 *to;

		if (i * 8 >= len)
			break;
		to = l7_record_byte(w, L7_TEXTS_AT + w->text + sizeof(struct l7_text) + i * 8);
		*(__u64 *)to = l7_word(w, from + i * 8);
	}
	l7_text_close(w, kind, flags, len, number);
	return 0;
}

static __always_inline __u64 l7_wake(void)
{
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - cfg_events_wake_bytes <
	    EVENTS_WAKE_WINDOW)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* The first response of a connection tells how long its handshake took. */
static __always_inline void l7_first_response(struct l7_work *w)
{
	struct l7_conn *conn;

	if (!(w->conn_flags & L7C_FIRST))
		return;
	w->conn_flags &= ~L7C_FIRST;
	conn = bpf_map_lookup_elem(&l7_conns, &w->tuple);
	if (!conn)
		return;
	conn->flags &= ~L7C_FIRST;
	if (conn->handshake_us)
		w->split.record.head.flags |= L7_F_FIRST;
}

/* Looked up when it is told: the response may have begun some packets ago. */
static __always_inline __u32 l7_handshake(struct l7_work *w)
{
	struct l7_conn *conn = bpf_map_lookup_elem(&l7_conns, &w->tuple);

	return conn ? conn->handshake_us : 0;
}

/* The same event from the other end. */
static __always_inline void l7_turn(struct event *e)
{
	__u32 identity = e->src_identity;
	__be16 port = e->sport;
	__u8 address[16];

	addr_copy(address, e->saddr);
	addr_copy(e->saddr, e->daddr);
	addr_copy(e->daddr, address);
	e->sport = e->dport;
	e->dport = port;
	e->src_identity = e->dst_identity;
	e->dst_identity = identity;
	e->direction = e->direction == DIR_EGRESS ? DIR_INGRESS : DIR_EGRESS;
	e->obs_point = e->direction == DIR_EGRESS ? OBS_TO_STACK : OBS_TO_ENDPOINT;
	e->flags ^= EVENT_F_REPLY;
	e->ct_state = e->flags & EVENT_F_REPLY ? CT_REPLY : CT_ESTABLISHED;
}

/* Of the pod whose device this is. A connection keeps it while the tables stay as they are. */
static __always_inline __u32 l7_local_identity(struct l7_work *w)
{
	struct endpoint *endpoint;
	__u32 ifindex = w->ifindex;

	if (w->proto == IPPROTO_TCP && w->local.identity && w->local.revision == w->revision)
		return w->local.identity;
	endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (!endpoint)
		return 0;
	w->local.identity = endpoint->identity;
	w->local.revision = w->revision;
	w->local_changed = 1;
	return endpoint->identity;
}

/* The record as it stands into the ring, as a message of the packet at hand. */
FATHOM_STEP l7_emit(struct __sk_buff *skb, __u32 type)
{
	struct l7_work *w = l7_scratch();
	struct event *e;
	__u32 local;
	__u64 len;

	if (!w)
		return 0;
	e = &w->split.record.event;
	local = l7_local_identity(w);
	len = L7_TEXTS_AT + w->text;

	__builtin_memset(e, 0, sizeof(*e));
	e->version = FATHOM_ABI_VERSION;
	e->kind = EVENT_KIND_L7;
	e->len = len;
	e->seq = tc_next_seq(SEQ_L7);
	e->time_ns = w->now;
	addr_copy(e->saddr, w->saddr);
	addr_copy(e->daddr, w->daddr);
	e->sport = w->sport;
	e->dport = w->dport;
	if (w->dir == DIR_EGRESS) {
		e->src_identity = local;
		e->dst_identity = w->remote_identity;
		e->obs_point = OBS_TO_STACK;
		e->cookie = bpf_get_socket_cookie(skb);
	} else {
		e->src_identity = w->remote_identity;
		e->dst_identity = local;
		e->obs_point = OBS_TO_ENDPOINT;
		e->cookie = sender_cgroup(skb, w->remote_identity);
	}
	e->ifindex = w->ifindex;
	e->rule_id = w->rule_id;
	e->cpu = bpf_get_smp_processor_id();
	e->proto = w->proto;
	e->family = w->family;
	e->l3_proto = w->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	e->direction = w->dir;
	e->verdict = VERDICT_FORWARDED;
	e->ct_state = w->index ? CT_REPLY : CT_ESTABLISHED;
	e->tcp_flags = w->tcp_flags;
	e->flags = w->flags | EVENT_F_REPLY_KNOWN | (w->index ? EVENT_F_REPLY : 0);
	if (w->dir == DIR_INGRESS && e->cookie)
		e->flags |= EVENT_F_SENDER;
	e->match = w->match;
	e->trigger = TRIGGER_PACKET;
	e->service_id = w->service_id;
	if (w->split.record.head.flags & L7_F_FIRST)
		e->handshake_us = l7_handshake(w);
	/*
	 * A stream that its client resets: the record is of the response that doesn't come.
	 * A hello that its server interrupts: it is of the hello.
	 */
	if (w->proto == IPPROTO_TCP &&
	    ((type == L7_TYPE_RESPONSE && !w->index) || (type == L7_TYPE_UNKNOWN && w->index)))
		l7_turn(e);
	w->split.record.head.conn = w->conn;
	w->split.record.head.kind = type;

	ledger_count_shared(LEDGER_EVENTS_EMITTED);
	ledger_count(LEDGER_L7_EMITTED);
	if (type == L7_TYPE_REQUEST)
		ledger_count(LEDGER_L7_REQUESTS);
	else if (type == L7_TYPE_RESPONSE)
		ledger_count(LEDGER_L7_RESPONSES);
	L7_LENGTH(len, 2048);
	if (bpf_ringbuf_output(&events, e, len, l7_wake())) {
		ledger_count_shared(LEDGER_EVENTS_LOST);
		ledger_count(LEDGER_L7_LOST);
	}
	return 0;
}

#endif /* FATHOM_L7_RECORD_H */
