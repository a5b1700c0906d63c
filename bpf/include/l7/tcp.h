/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/tcp.h: from segments to streams: each byte is read once, in its order.
 *
 *	seen before   passed over, or as much of it as was
 *	in its turn   read
 *	too early     inside a body: what is missing is body as well, go on behind it;
 *	              else kept, L7_HELD segments per direction, until its turn comes
 *
 * More early segments than are kept mean that bytes were missed: the thread is lost,
 * counted, and taken up at the next segment that begins a message.
 */
#ifndef FATHOM_L7_TCP_H
#define FATHOM_L7_TCP_H

#include "uapi.h"
#include "ledger.h"
#include "l7/detect.h"
#include "l7/mark.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/window.h"

static __always_inline struct l7_conn *l7_conn_of(struct l7_work *w)
{
	return bpf_map_lookup_elem(&l7_conns, &w->tuple);
}

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
	if (joined) {
		fresh->flags |= L7C_JOINED;
	} else {
		fresh->handshake_us = w->handshake_us;
		fresh->dir[0].flags = L7D_STARTED;
		fresh->dir[0].next = w->ack;
		fresh->dir[1].flags = L7D_STARTED;
		fresh->dir[1].next = w->seq + 1;
	}
	ledger_count(LEDGER_L7_OPENED);
	bpf_map_update_elem(&l7_conns, &w->tuple, fresh, BPF_ANY);
	return 0;
}

/* Puts an early segment aside; 0 = there was no room. */
FATHOM_STEP l7_hold(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_early_key key = {};
	struct l7_conn *conn;
	struct l7_dir *d;
	__u8 *kept;
	__u64 size;
	__u32 slot = L7_HELD;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	d = &conn->dir[w->index & 1];
#pragma unroll
	for (__u32 i = 0; i < L7_HELD; i++) {
		if (!d->held_len[i])
			slot = i;
		else if (d->held_seq[i] == w->seq && d->held_len[i] >= w->len)
			return 1;
	}
	if (slot == L7_HELD)
		return 0;
	key.conn = conn->id;
	key.index = w->index;
	key.slot = slot;
	/* The window is free: it serves to make the entry. */
	bpf_map_update_elem(&l7_held, &key, w->b, BPF_ANY);
	kept = bpf_map_lookup_elem(&l7_held, &key);
	if (!kept)
		return 0;
	size = w->len > L7_EARLY ? L7_EARLY : w->len;
	L7_LENGTH(size, L7_EARLY);
	if (bpf_skb_load_bytes(skb, w->off, kept, size))
		return 0;
	slot &= L7_HELD - 1;
	d->held_seq[slot] = w->seq;
	d->held_len[slot] = size;
	d->held += 1;
	ledger_count(LEDGER_L7_HELD);
	return 1;
}

/*
 * The held segment whose turn it is into the window, as if it were the packet; 0 =
 * none. With `any`, the earliest one, whatever is missing before it.
 */
FATHOM_STEP l7_unhold(__u32 any)
{
	struct l7_work *w = l7_scratch();
	struct l7_early_key key = {};
	struct l7_conn *conn;
	struct l7_dir *d;
	__u8 *kept;
	__u32 slot = L7_HELD;
	__s32 ahead = 0;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	d = &conn->dir[w->index & 1];
#pragma unroll
	for (__u32 i = 0; i < L7_HELD; i++) {
		__s32 from = d->held_seq[i] - d->next;

		if (!d->held_len[i])
			continue;
		/* Overtaken by a repeated segment that was longer. */
		if (from + (__s32)d->held_len[i] <= 0) {
			d->held_len[i] = 0;
			d->held -= 1;
			continue;
		}
		if (slot == L7_HELD || from < ahead) {
			slot = i;
			ahead = from;
		}
	}
	if (slot == L7_HELD || (ahead > 0 && !any))
		return 0;
	slot &= L7_HELD - 1;
	key.conn = conn->id;
	key.index = w->index;
	key.slot = slot;
	w->seq = d->held_seq[slot];
	w->len = d->held_len[slot];
	d->held_len[slot] = 0;
	d->held -= 1;
	kept = bpf_map_lookup_elem(&l7_held, &key);
	if (!kept)
		return 0;
	/* Behind the place that what is carried over takes. */
	__builtin_memcpy(w->b + L7_CARRY, kept, 1024);
	__builtin_memcpy(w->b + L7_CARRY + 1024, kept + 1024, L7_EARLY - 1024);
	bpf_map_delete_elem(&l7_held, &key);
	w->source = L7_FROM_HELD;
	w->off = 0;
	w->rounds = 0;
	return 1;
}

/* Brings back what the end of a packet cut through: its bytes before the window, its record. */
static __always_inline int l7_recall(struct l7_work *w, struct l7_conn *conn, struct l7_dir *d)
{
	struct l7_split_key key = { .conn = conn->id, .index = w->index };
	struct l7_split *split;

	split = bpf_map_lookup_elem(&l7_splits, &key);
	if (!split)
		return 0;
	__builtin_memcpy(w->split.carry, split->carry, sizeof(split->carry));
	if (d->flags & L7D_DRAFT) {
		__builtin_memcpy(&w->split.record.head, &split->record.head,
				 sizeof(split->record.head));
		__builtin_memcpy(w->split.record.texts, split->record.texts, 1024);
		__builtin_memcpy(w->split.record.texts + 1024, split->record.texts + 1024,
				 sizeof(split->record.texts) - 1024);
		w->text = split->record.event.len;
	}
	return 1;
}

/*
 * The window's first load. What is carried over goes before the payload; a held
 * segment's bytes are in the window already, behind the place for it.
 */
FATHOM_STEP l7_load(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;
	struct l7_dir *d;
	__u32 carry;
	__u64 size, at, to;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	w->conn = conn->id;
	d = &conn->dir[w->index & 1];
	carry = d->carry;
	if (carry > L7_CARRY)
		carry = L7_CARRY;
	if ((carry || (d->flags & L7D_DRAFT)) && !l7_recall(w, conn, d)) {
		/* Evicted: what was cut can't be put together again. */
		return -1;
	}
	if (w->source == L7_FROM_HELD) {
		/* b[L7_CARRY + …] is the segment; the carry goes right before it. */
		w->at = L7_CARRY + w->off - carry;
		w->n = L7_CARRY + w->off + w->len;
		w->taken = w->len;
		for (__u32 i = 0; i < L7_CARRY / 8; i++) {
			__u32 from = i * 8;
			__u64 word;

			if (from >= carry)
				break;
			word = *(__u64 *)&w->split.carry[from & (L7_CARRY - 8)];
			at = w->at + from;
			L7_BOUND(at, L7_WINDOW - 1);
			if (from + 8 <= carry) {
				*(__u64 *)&w->b[at] = word;
				continue;
			}
			/* Not over the segment's first bytes. */
			for (__u32 k = 0; k < 8; k++) {
				if (from + k >= carry)
					break;
				at = w->at + from + k;
				L7_BOUND(at, L7_WINDOW - 1);
				w->b[at] = word >> (k * 8);
			}
		}
		return 1;
	}
	w->at = 0;
	if (carry)
		__builtin_memcpy(w->b, w->split.carry, L7_CARRY);
	size = w->len > L7_LOAD ? L7_LOAD : w->len;
	w->n = carry + size;
	w->taken = size;
	if (!size)
		return 1;
	L7_LENGTH(size, 2048);
	to = carry;
	L7_BOUND(to, 2047);
	if (bpf_skb_load_bytes(skb, w->off, w->b + to, size))
		return -1;
	return 1;
}

/* What the packet's end cut through is kept: `carry` bytes from `at` on, and with `draft` the record. */
FATHOM_STEP l7_keep(__u32 draft)
{
	struct l7_work *w = l7_scratch();
	struct l7_split_key key = {};
	struct l7_conn *conn;
	struct l7_dir *d;
	__u32 left;

	if (!w)
		return 0;
	conn = l7_conn_of(w);
	if (!conn)
		return 0;
	d = &conn->dir[w->index & 1];
	left = w->n - w->at;
	if (left > L7_CARRY)
		left = L7_CARRY; /* parsers ask for no more than that: only the verifier comes here */
	d->carry = left;
	d->flags = draft ? d->flags | L7D_DRAFT : d->flags & ~L7D_DRAFT;
	if (!left && !draft)
		return 0;
	for (__u32 i = 0; i < L7_CARRY / 8; i++) {
		if (i * 8 >= left)
			break;
		*(__u64 *)&w->split.carry[i * 8] = l7_word(w, w->at + i * 8);
	}
	w->split.record.event.len = w->text;
	key.conn = conn->id;
	key.index = w->index;
	bpf_map_update_elem(&l7_splits, &key, &w->split, BPF_ANY);
	return 0;
}

/* The thread is lost: what was begun is dropped, and a beginning is looked for. */
static __always_inline void l7_lose(struct l7_dir *d)
{
	d->flags = (d->flags & (L7D_STARTED | L7D_FIN)) | L7D_LOST;
	d->carry = 0;
	d->skip = 0;
	d->state = 0;
	d->tries = 0;
	ledger_count(LEDGER_L7_GAPS);
}

#define L7_READ 1 /* there is something to read */
#define L7_PASS 0

/* Which part of the segment is to be read; trims what was seen, holds what is early. */
static __noinline int l7_sequence(struct __sk_buff *skb, struct l7_work *w, struct l7_dir *d)
{
	__s32 ahead;

	if (!(d->flags & L7D_STARTED)) {
		d->flags |= L7D_STARTED;
		d->next = w->seq;
	}
	ahead = w->seq - d->next;
	if (ahead < 0) {
		__u32 seen = -ahead;

		ledger_count(LEDGER_L7_REPEATED);
		if (seen >= w->len)
			return L7_PASS;
		w->off += seen;
		w->len -= seen;
		w->seq += seen;
	} else if (ahead > 0) {
		if (d->skip == L7_SKIP_ALL) {
			d->next = w->seq;
		} else if (d->skip >= (__u32)ahead) {
			d->skip -= (__u32)ahead;
			d->next = w->seq;
		} else {
			if (l7_hold(skb))
				return L7_PASS;
			l7_lose(d);
			d->next = w->seq;
		}
	}
	return L7_READ;
}

/* Passes over what belongs to a body; says whether anything is left. */
static __always_inline int l7_pass_body(struct l7_work *w, struct l7_dir *d)
{
	__u64 skip = d->skip;

	if (!skip)
		return 1;
	if (skip == L7_SKIP_ALL)
		return 0;
	if (skip >= w->len) {
		d->skip = skip - w->len;
		return 0;
	}
	d->skip = 0;
	w->off += (__u32)skip;
	w->len -= (__u32)skip;
	return 1;
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

/* Nothing of this connection is read any more. */
static __always_inline void l7_drop(struct l7_work *w)
{
	l7_mark_off(w);
	bpf_map_delete_elem(&l7_conns, &w->tuple);
}

/* Parses one segment whose turn it is: the packet, or a held one. Comes back when it is done with. */
static __always_inline int l7_segment(struct __sk_buff *skb, struct l7_work *w,
				      struct l7_conn *conn, struct l7_dir *d)
{
	__u8 proto;
	int got;

	/* Parsers rely on it: after them the whole segment counts as taken. */
	d->next = w->seq + w->len;
	if (!l7_pass_body(w, d))
		return L7_PASS;
	got = l7_load(skb);
	if (got < 0) {
		l7_lose(d);
		return L7_PASS;
	}
	if (!got)
		return L7_PASS;
	if (!conn->proto || (d->flags & L7D_LOST)) {
		got = l7_detect(conn->proto);
		if (got == L7_MORE) {
			l7_keep(0);
			return L7_PASS;
		}
		if (got == L7_LOST) {
			d->carry = 0;
			d->tries += 1;
			if (conn->flags & L7C_JOINED || (d->flags & L7D_LOST))
				if (d->tries < L7_TRIES)
					return L7_PASS;
			ledger_count(LEDGER_L7_NOT_OURS);
			l7_drop(w);
			return L7_OVER;
		}
		if (got == L7_DONE)
			return L7_PASS;
		d->flags &= ~L7D_LOST;
		conn->proto = w->found;
	}
	proto = conn->proto;
	l7_parse(skb, proto);
	return L7_PASS;
}

/*
 * When a segment is done with: on to the held one whose turn has come, and to the
 * end of a connection that ends with this packet.
 */
static __always_inline void l7_segment_end(struct __sk_buff *skb, struct l7_work *w,
					   struct l7_dir *d)
{
	if (d->held && l7_unhold(0))
		bpf_tail_call(skb, &l7_programs, L7_PROG_TCP);
	if (w->over)
		bpf_map_delete_elem(&l7_conns, &w->tuple);
}

#endif /* FATHOM_L7_TCP_H */
