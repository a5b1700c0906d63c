/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/tcp.h: a connection whose messages are read, from its beginning to its end, and
 * a segment of it, from the first look to what its end cuts through.
 */
#ifndef FATHOM_L7_TCP_H
#define FATHOM_L7_TCP_H

#include "uapi.h"
#include "ledger.h"
#include "l7/detect.h"
#include "l7/mark.h"
#include "l7/order.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/window.h"

/* Makes the connection's state; on an answer to a SYN with both streams' beginnings. */
FATHOM_STEP l7_open(__u32 joined)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *fresh;

	if (!w)
		return 0;
	fresh = &w->fresh;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	/* Never a number that was used before, also where this memory is new. */
	if (!w->serial)
		w->serial = w->now >> 8;
	w->serial += 1;
	fresh->id = w->serial << 16 | (bpf_get_smp_processor_id() & 0xffff);
	fresh->flags = L7C_FIRST;
	/* Conntrack may forget it and take the other side for its opener: here that stays. */
	if ((w->dir == DIR_EGRESS) ^ (w->ct_index & 1))
		fresh->flags |= L7C_EGRESS;
	if (joined) {
		fresh->flags |= L7C_JOINED;
		/* Each direction is somewhere within a message. */
		fresh->dir[0].flags = L7D_LOST;
		fresh->dir[1].flags = L7D_LOST;
	} else {
		fresh->handshake_us = w->handshake_us;
		fresh->order[0].flags = L7O_STARTED;
		fresh->order[0].next = w->ack;
		fresh->order[1].flags = L7O_STARTED;
		fresh->order[1].next = w->seq + 1;
	}
	ledger_count(LEDGER_L7_OPENED);
	bpf_map_update_elem(&l7_conns, &w->tuple, fresh, BPF_ANY);
	return 0;
}

/*
 * Whether an answer to a SYN is the one that the connection was opened by, again. The
 * stack may not have taken what the client sent since: that is repeated, and was read.
 */
static __always_inline int l7_opened_by(const struct l7_work *w, const struct l7_conn *conn)
{
	return !(conn->flags & L7C_JOINED) && conn->order[1].next == w->seq + 1;
}

/*
 * Whether bytes before the last FIN are still on their way: the packet at hand came before
 * them, or others did. After a RST nothing comes.
 */
static __always_inline int l7_awaited(const struct l7_work *w, const struct l7_conn *conn)
{
	const struct l7_order *o = &conn->order[w->ct_index & 1];

	if (w->tcp_flags & TCP_RST)
		return 0;
	if ((o->flags & (L7O_STARTED | L7O_REST)) == L7O_STARTED &&
	    (__s32)(w->seq + w->len - o->next) > 0)
		return 1;
#pragma unroll
	for (__u32 i = 0; i < L7_HELD; i++) {
		if (conn->order[0].early[i].len || conn->order[1].early[i].len)
			return 1;
	}
	return 0;
}

/* Brings back what the end of a packet cut through: its bytes before the window, its record. */
static __always_inline int l7_recall(struct l7_work *w)
{
	struct l7_split_key key = { .conn = w->conn, .index = w->ct_index };
	struct l7_split *split;

	split = bpf_map_lookup_elem(&l7_splits, &key);
	if (!split)
		return 0;
	if (w->d.carry)
		__builtin_memcpy(w->b, split->carry, L7_CARRY);
	w->recalled = 1;
	if (w->d.flags & L7D_DRAFT) {
		__builtin_memcpy(&w->split.record.head, &split->record.head,
				 sizeof(split->record.head));
		__builtin_memcpy(w->split.record.texts, split->record.texts, 1024);
		__builtin_memcpy(w->split.record.texts + 1024, split->record.texts + 1024,
				 sizeof(split->record.texts) - 1024);
		w->text = split->record.event.len;
	}
	return 1;
}

/* The window's first load: what is carried over, then the payload. */
FATHOM_STEP l7_load(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u32 size;

	if (!w)
		return 0;
	if ((w->d.carry || (w->d.flags & L7D_DRAFT)) && !l7_recall(w)) {
		/* Evicted: what was cut can't be put together again. */
		return 0;
	}
	/* Of a response of HTTP/1 what its header section needs: the body is passed over unread. */
	size = L7_LOAD;
	if (w->index && w->conn_proto == L7_HTTP1 && !w->d.carry)
		size = L7_LOAD_HEAD;
	if (size > w->len)
		size = w->len;
	w->at = L7_CARRY - w->d.carry;
	w->n = L7_CARRY + size;
	w->taken = size;
	return size ? l7_bring(skb, w, 0, size) : 1;
}

/*
 * What the packet's end cut through is kept, right-aligned: all from w->at on, and
 * with `draft` the record. `index`: the direction, or with 2 added its stash.
 */
FATHOM_STEP l7_keep(__u32 index, __u32 left, __u32 draft)
{
	struct l7_work *w = l7_scratch();
	struct l7_split_key key = {};
	__u64 to;

	if (!w)
		return 0;
	/* Parsers ask for no more than that: only the verifier comes here. */
	if (left > L7_CARRY)
		left = L7_CARRY;
	for (__u32 i = 0; i < L7_CARRY / 8; i++) {
		if (i * 8 >= left)
			break;
		to = L7_CARRY - left + i * 8;
		L7_BOUND(to, L7_CARRY - 1);
		*(__u64 *)&w->split.carry[to] = l7_word(w, w->at + i * 8);
	}
	w->split.record.event.len = draft ? w->text : 0;
	key.conn = w->conn;
	key.index = index;
	bpf_map_update_elem(&l7_splits, &key, &w->split, BPF_ANY);
	return 0;
}

/* What was kept is used up. */
static __always_inline void l7_forget(struct l7_work *w)
{
	struct l7_split_key key = { .conn = w->conn, .index = w->ct_index };

	bpf_map_delete_elem(&l7_splits, &key);
}

/* The parser of a protocol; comes back only if there is none. */
static __always_inline void l7_parse(struct __sk_buff *skb, __u8 proto)
{
	switch (proto) {
	case L7_HTTP1:
		bpf_tail_call(skb, &l7_programs, L7_PROG_HTTP1);
		return;
	case L7_HTTP2:
		bpf_tail_call(skb, &l7_programs, L7_PROG_HTTP2);
		return;
	case L7_DNS:
		bpf_tail_call(skb, &l7_programs, L7_PROG_DNS);
		return;
	case L7_KAFKA:
		bpf_tail_call(skb, &l7_programs, L7_PROG_KAFKA);
		return;
	case L7_TLS:
		bpf_tail_call(skb, &l7_programs, L7_PROG_TLS);
		return;
	case L7_WEBSOCKET:
		bpf_tail_call(skb, &l7_programs, L7_PROG_WS);
		return;
	}
}

/* What is kept of a connection goes with it, so that the maps hold what is live. */
FATHOM_STEP l7_end(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_split_key key = {};
	struct l7_conn *conn;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	key.conn = conn->id;
	for (__u32 i = 0; i < 2 * L7_HELD; i++) {
		struct l7_early_at *at = &conn->order[i / L7_HELD].early[i % L7_HELD];

		if (at->len)
			l7_unstow(at->slot, conn->id);
	}
	for (__u32 i = 0; i < 2; i++) {
		/* Kept by conntrack's notion of directions, which doesn't change. */
		key.index = i ^ !!(conn->flags & L7C_TURNED);
		if (conn->dir[i].carry || (conn->dir[i].flags & L7D_DRAFT))
			bpf_map_delete_elem(&l7_splits, &key);
		key.index |= 2;
		if (conn->proto == L7_HTTP2 && conn->dir[i].http2.stash)
			bpf_map_delete_elem(&l7_splits, &key);
	}
	/* Whoever still holds it sees that it is over. */
	conn->id = 0;
	bpf_map_delete_elem(&l7_conns, &w->tuple);
	return 0;
}

/* Nothing of this connection is read any more. */
static __always_inline void l7_drop(struct l7_work *w)
{
	l7_mark_off(w);
	l7_end();
	if (w->source == L7_FROM_EARLY)
		l7_unstow(w->slot, w->conn);
}

/* As much as the protocol has: of HTTP/2 it is much. */
static __always_inline void l7_copy_dir(struct l7_dir *to, const struct l7_dir *from, __u8 proto)
{
	if (proto == L7_HTTP1)
		__builtin_memcpy(to, from,
				 offsetof(struct l7_dir, http1) + sizeof(struct l7_http1_dir));
	else
		*to = *from;
}

/*
 * Takes the direction's state into scratch memory: parsers work on that, because
 * finding the connection again at each step would cost more than the step.
 */
static __always_inline void l7_take(struct l7_work *w, const struct l7_conn *conn,
				    const struct l7_dir *d)
{
	w->conn = conn->id;
	w->conn_flags = conn->flags;
	w->conn_proto = conn->proto;
	w->conn_grpc = conn->grpc;
	w->recalled = 0;
	w->leap = 0;
	l7_copy_dir(&w->d, d, w->conn_proto);
	w->asked = conn->asked;
	w->asked.changed = 0;
	w->local = conn->local;
	w->local_changed = 0;
}

/*
 * Of a connection that was seen from its middle on, conntrack calls the first
 * sender its opener. What is said tells better: the directions change places.
 */
static __always_inline void l7_turn_conn(struct l7_work *w, struct l7_conn *conn)
{
	w->d = conn->dir[0];
	conn->dir[0] = conn->dir[1];
	conn->dir[1] = w->d;
	conn->flags ^= L7C_TURNED;
	w->conn_flags = conn->flags;
	w->d = conn->dir[w->index & 1];
}

/* Whether the bytes are a beginning of the other direction's. */
static __always_inline int l7_detect_turned(struct l7_work *w, struct l7_conn *conn)
{
	int got;

	w->index ^= 1;
	got = l7_detect(0);
	if (got == L7_NEXT &&
	    (w->found == L7_HTTP1 || w->found == L7_DNS || w->found == L7_KAFKA)) {
		l7_turn_conn(w, conn);
		return L7_NEXT;
	}
	w->index ^= 1;
	return got == L7_MORE ? L7_MORE : L7_LOST;
}

/*
 * Parses the segment whose turn it is. Comes back when there is no parser to go on,
 * or with L7_HERE when the caller has it.
 */
static __always_inline int l7_segment(struct __sk_buff *skb, struct l7_work *w,
				      struct l7_conn *conn, struct l7_dir *d)
{
	int got;

	l7_take(w, conn, d);
	if (!l7_load(skb)) {
		l7_lose(conn, d);
		return L7_DONE;
	}
	if (!conn->proto || (d->flags & L7D_LOST)) {
		w->begins = !(conn->flags & L7C_JOINED) && !(d->flags & L7D_LOST);
		got = l7_detect(conn->proto);
		if (got == L7_LOST && !conn->proto && (conn->flags & L7C_JOINED)) {
			got = l7_detect_turned(w, conn);
			if (got == L7_NEXT)
				d = &conn->dir[w->index & 1];
		}
		if (got == L7_MORE) {
			d->carry = l7_left(w);
			if (d->carry > 64)
				d->carry = 0; /* no beginning is that long */
			else
				l7_keep(w->ct_index, d->carry, 0);
			return L7_DONE;
		}
		if (got == L7_DONE)
			return L7_DONE;
		if (got == L7_LOST) {
			d->carry = 0;
			d->tries += 1;
			if (((conn->flags & L7C_JOINED) || (d->flags & L7D_LOST)) &&
			    d->tries < L7_TRIES) {
				/* Of a joined one: what is said here may be an answer. */
				if (conn->proto)
					conn->gap = 1;
				return L7_DONE;
			}
			ledger_count(LEDGER_L7_NOT_OURS);
			l7_drop(w);
			return L7_OVER;
		}
		if ((d->flags & L7D_LOST) && w->found == L7_HTTP2) {
			/* What was inserted meanwhile shifts every index. */
			w->d.http2.blind = 1;
			w->d.http2.floor = w->d.count;
			w->d.http2.block = 0;
			w->d.http2.stage = 0;
		}
		w->d.flags &= ~L7D_LOST;
		w->d.tries = 0;
		conn->proto = w->found;
		w->conn_proto = w->found;
	}
	w->d.carry = 0;
	if (w->conn_proto == L7_HTTP1)
		return L7_HERE;
	l7_parse(skb, w->conn_proto);
	/* More tail calls than the kernel makes. */
	l7_lose(conn, d);
	return L7_DONE;
}

/* After a parser: what it knows of the direction goes back. 0 = the connection is gone, or its turn is. */
static __always_inline int l7_put_back(struct l7_work *w, struct l7_conn *conn)
{
	__u32 index;

	/* Another's by now: the ports were used again. */
	if (!conn || conn->id != w->conn) {
		if (w->source == L7_FROM_EARLY)
			l7_unstow(w->slot, w->conn);
		return 0;
	}
	/* It took so long that another CPU went on without what was read here. */
	if (conn->order[w->ct_index & 1].since != w->turn)
		return 0;
	if (w->d.flags & L7D_LOST)
		l7_gap(conn);
	/* Not if it was put back before, in the middle of a segment. */
	if (w->d.skip) {
		w->leap = w->d.skip;
		w->d.skip = 0;
	}
	/* Not if the other direction changed what is spoken meanwhile. */
	index = w->ct_index ^ !!(conn->flags & L7C_TURNED); /* as it is now */
	if (conn->proto == w->conn_proto)
		l7_copy_dir(&conn->dir[index & 1], &w->d, w->conn_proto);
	/* Each by itself: the other direction may be doing the same. */
	if (w->asked.changed)
		conn->asked = w->asked;
	if (w->local_changed)
		conn->local = w->local;
	return 1;
}

/* The connection ends with this packet: what it still has to tell, then its state goes. */
static __always_inline void l7_close(struct __sk_buff *skb, struct l7_work *w, struct l7_conn *conn)
{
	w->local = conn->local;
	if (conn->proto == L7_WEBSOCKET) {
		w->over = L7_ENDING;
		bpf_tail_call(skb, &l7_programs, L7_PROG_WS);
	}
	/* Streams that nobody ended. */
	if (conn->proto == L7_HTTP2 && !conn->gap) {
		w->over = L7_ENDING;
		bpf_tail_call(skb, &l7_programs, L7_PROG_HTTP2);
	}
	/* Requests that will never be answered. */
	if (conn->proto == L7_KAFKA && !conn->gap) {
		w->over = L7_ENDING;
		bpf_tail_call(skb, &l7_programs, L7_PROG_KAFKA);
	}
	if (conn->proto == L7_HTTP1 && !conn->gap && conn->dir[0].count != conn->dir[1].count) {
		w->over = L7_ENDING;
		bpf_tail_call(skb, &l7_programs, L7_PROG_HTTP1);
	}
	l7_end();
}

/* When a segment is done with: on to the early one whose turn has come, or to the connection's end. */
static __always_inline void l7_segment_end(struct __sk_buff *skb, struct l7_work *w,
					   struct l7_conn *conn)
{
	if (l7_turn_over(w, conn) == L7_READ) {
		bpf_tail_call(skb, &l7_programs, L7_PROG_TCP);
		/* More tail calls than the kernel makes: the early segment is lost. */
		l7_lose(conn, &conn->dir[w->index & 1]);
		conn->order[w->ct_index & 1].busy = 0;
	}
	if (w->over && !l7_awaited(w, conn))
		l7_close(skb, w, conn);
}

#endif /* FATHOM_L7_TCP_H */
