/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/order.h: from segments to a stream: each byte is read once, in its order, by
 * one CPU at a time.
 *
 *	seen before   passed over, or as much of it as was
 *	in its turn   read: until it is, other CPUs' segments of this direction are early
 *	too early     kept whole, L7_HELD segments per direction, until its turn comes
 *	a body        counts as seen from its first byte on
 *
 * Two CPUs do send segments of one direction at once: a thread that writes, and the
 * one where acknowledgements arrive. More early segments than are kept mean that
 * bytes were missed: the thread is lost, counted, and taken up at the next segment
 * that begins a message.
 */
#ifndef FATHOM_L7_ORDER_H
#define FATHOM_L7_ORDER_H

#include "uapi.h"
#include "clock.h"
#include "config.h"
#include "ledger.h"
#include "l7/state.h"
#include "l7/window.h"

#define L7_LEAP (1U << 30) /* sequence numbers can tell no more than twice as much apart */

#define L7_STOW_TRIES 8 /* places that an early segment may have */

static __always_inline struct l7_conn *l7_conn_of(struct l7_work *w)
{
	return bpf_map_lookup_elem(&l7_conns, &w->tuple);
}

static __always_inline struct l7_turn *l7_turn_of(const struct l7_conn *conn)
{
	__u32 index = (conn->id >> 16) & (L7_TURNS - 1);

	return bpf_map_lookup_elem(&l7_turns, &index);
}

static __always_inline int l7_busy(const struct l7_order *o, __u32 now)
{
	return o->busy && ticks_since(now, o->since) <= cfg_l7_turn_ticks;
}

/* Bytes were missed; who waits for an answer may have got it there. */
static __always_inline void l7_gap(struct l7_conn *conn)
{
	conn->gap = 1;
	ledger_count(LEDGER_L7_GAPS);
}

/* The thread is lost. */
static __always_inline void l7_lose(struct l7_conn *conn, struct l7_dir *d)
{
	l7_look(d);
	l7_gap(conn);
}

/* What an attempt to read says. */
#define L7_PASS      0
#define L7_READ      1 /* this CPU's turn */
#define L7_EARLY_ONE 2

/*
 * Goes on behind a body, as far as sequence numbers reach: what lies before counts
 * as seen. So packets of a body change nothing, in whatever order they come and on
 * whatever CPU; and one that is missed there isn't missed.
 */
static __always_inline void l7_leap(struct l7_order *o)
{
	__u32 step = o->far > L7_LEAP ? L7_LEAP : o->far;

	if (!step)
		return;
	o->next += step;
	o->far -= step;
	o->flags |= L7O_BODY;
}

/*
 * Whether the segment's turn has come; under the lock. `*seen` = bytes of it that were
 * read before; `*lost`: whoever had the turn before didn't give it back, nor what it read.
 */
static __always_inline int l7_ask(struct l7_order *o, __u32 seq, __u32 len, __u32 now, __u32 *seen,
				  __u32 *lost)
{
	__s32 ahead;

	*seen = 0;
	if (l7_busy(o, now))
		return L7_EARLY_ONE;
	if (!(o->flags & L7O_STARTED)) {
		o->flags |= L7O_STARTED;
		o->next = seq;
	}
	if (o->flags & L7O_REST)
		return L7_PASS;
	ahead = seq - o->next;
	if (ahead > 0)
		return L7_EARLY_ONE;
	if ((__u32)-ahead < len) {
		o->flags &= ~L7O_BODY;
		/* A body so long that one leap didn't take it. */
		l7_leap(o);
		ahead = seq - o->next;
	}
	*seen = -ahead;
	if (*seen >= len)
		return L7_PASS;
	*lost = o->busy;
	o->flags &= ~L7O_BODY;
	o->next = seq + len;
	o->busy = 1;
	o->since = now;
	return L7_READ;
}

static __always_inline void l7_trim(struct l7_work *w, __u32 seen)
{
	w->off += seen;
	w->len -= seen;
	w->seq += seen;
}

/* A place for the early segment, with its bytes in it: 1 + its index, or 0. */
FATHOM_STEP l7_stow(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u32 index, now = now_ticks(), mine;
	struct l7_early *early;
	__u64 size, conn;

	if (!w || !w->len || w->len > L7_EARLY)
		return 0;
	conn = w->conn;
	index = ((conn * 0x9e3779b97f4a7c15ULL >> 32) + w->seq * 0x9e3779b9U) >> 16;
	/* The one that its name says, or one after it. */
	for (__u32 i = 0; i < L7_STOW_TRIES; i++) {
		index = (index + 1) & cfg_l7_early_mask;
		early = bpf_map_lookup_elem(&l7_early, &index);
		if (!early)
			return 0;
		bpf_spin_lock(&early->lock);
		mine = !early->conn || ticks_since(now, early->tick) > cfg_l7_early_ticks;
		if (mine) {
			early->conn = conn;
			early->tick = now;
			early->seq = w->seq;
		}
		bpf_spin_unlock(&early->lock);
		if (!mine)
			continue;
		size = w->len;
		L7_LENGTH(size, L7_EARLY);
		if (bpf_skb_load_bytes(skb, w->off, early->data, size))
			return 0;
		return index + 1;
	}
	return 0;
}

/* Gives the place back, unless another connection has it by now. */
static __always_inline void l7_unstow(__u32 slot, __u64 conn)
{
	struct l7_early *early = bpf_map_lookup_elem(&l7_early, &slot);

	if (early && early->conn == conn)
		*(volatile __u64 *)&early->conn = 0;
}

/*
 * The early segment whose turn has come; under the lock. 1 + its place in `early`, or 0.
 * Where the rest isn't read, no turn comes.
 */
static __always_inline __u32 l7_next_early(struct l7_work *w, struct l7_order *o)
{
	__u32 found = 0;

#pragma unroll
	for (__u32 i = 0; i < L7_HELD; i++) {
		__s32 from = o->early[i].seq - o->next;

		w->passed[i] = 0;
		if (!o->early[i].len)
			continue;
		/* Overtaken by what was repeated in other pieces. */
		if (from + (__s32)o->early[i].len <= 0 || (o->flags & L7O_REST)) {
			o->early[i].len = 0;
			w->passed[i] = o->early[i].slot + 1;
			continue;
		}
		if (from <= 0)
			found = i + 1;
	}
	return found;
}

/* Gives back the places of those that were overtaken; not under the lock. */
static __always_inline void l7_sweep(struct l7_work *w)
{
#pragma unroll
	for (__u32 i = 0; i < L7_HELD; i++) {
		if (w->passed[i])
			l7_unstow(w->passed[i] - 1, w->conn);
		w->passed[i] = 0;
	}
}

/* Whether all of the segment is kept already. */
static __always_inline int l7_kept(const struct l7_work *w, const struct l7_order *o)
{
#pragma unroll
	for (__u32 i = 0; i < L7_HELD; i++) {
		__s32 from = w->seq - o->early[i].seq;

		if (from >= 0 && from + w->len <= o->early[i].len)
			return 1;
	}
	return 0;
}

/* Takes it: what is asked for is this CPU's to read. Under the lock. */
static __always_inline void l7_take_early(struct l7_work *w, struct l7_order *o, __u32 i, __u32 now)
{
	__u32 seq = o->early[i].seq, len = o->early[i].len, seen = o->next - seq;

	w->slot = o->early[i].slot;
	o->early[i].len = 0;
	o->flags &= ~L7O_BODY;
	o->next = seq + len;
	o->busy = 1;
	o->since = now;
	w->turn = now;
	w->source = L7_FROM_EARLY;
	w->rounds = 0;
	w->off = seen;
	w->len = len - seen;
	w->seq = o->next - w->len;
}

/* Keeps an early segment; when its turn has come meanwhile, that is said. */
static __noinline int l7_hold(struct __sk_buff *skb, struct l7_work *w, struct l7_conn *conn)
{
	struct l7_order *o = &conn->order[w->ct_index & 1];
	struct l7_turn *turn = l7_turn_of(conn);
	__u32 now = now_ticks(), slot, kept = 0, take = 0, lost = 0, stale = 0, i;

	if (!turn)
		return L7_PASS;
	if (l7_kept(w, o)) {
		ledger_count(LEDGER_L7_REPEATED);
		return L7_PASS;
	}
	slot = l7_stow(skb);
	bpf_spin_lock(&turn->lock);
	if (slot) {
#pragma unroll
		for (i = 0; i < L7_HELD; i++) {
			if (!kept && !o->early[i].len) {
				o->early[i].seq = w->seq;
				o->early[i].len = w->len;
				o->early[i].slot = slot - 1;
				kept = 1;
			}
		}
	}
	w->passed[0] = w->passed[1] = w->passed[2] = w->passed[3] = 0;
	if (!l7_busy(o, now)) {
		stale = o->busy;
		/* Who was reading may have ended before this one was there to be found. */
		take = l7_next_early(w, o);
		if (take) {
			take &= 7;
			l7_take_early(w, o, (take - 1) & (L7_HELD - 1), now);
		} else if (!kept && !(o->flags & L7O_REST)) {
			o->next = w->seq + w->len;
			o->flags &= ~L7O_BODY;
			o->busy = 1;
			o->since = now;
			w->turn = now;
			lost = 1;
		}
	}
	bpf_spin_unlock(&turn->lock);
	l7_sweep(w);
	if (kept)
		ledger_count(LEDGER_L7_HELD);
	else if (slot)
		l7_unstow(slot - 1, w->conn);
	if (take) {
		/* Another's place is in use: what came early here is a gap. */
		if (stale)
			l7_lose(conn, &conn->dir[w->index & 1]);
		else if (!kept)
			l7_gap(conn);
		return L7_READ;
	}
	if (lost) {
		l7_lose(conn, &conn->dir[w->index & 1]);
		return L7_READ;
	}
	if (!kept && !(o->flags & L7O_REST))
		l7_gap(conn);
	return L7_PASS;
}

/* Whether the packet is read, and from where on. */
static __noinline int l7_admit(struct __sk_buff *skb, struct l7_work *w, struct l7_conn *conn)
{
	struct l7_order *o = &conn->order[w->ct_index & 1];
	__u32 now = now_ticks(), seen = 0, lost = 0, body;
	struct l7_turn *turn;
	int act;

	/* Of a body, or seen before: nothing to decide. */
	body = o->flags & (L7O_BODY | L7O_REST);
	if ((o->flags & L7O_STARTED) && (__s32)(w->seq + w->len - o->next) <= 0) {
		if (!body)
			ledger_count(LEDGER_L7_REPEATED);
		return L7_PASS;
	}
	turn = l7_turn_of(conn);
	if (!turn)
		return L7_PASS;
	bpf_spin_lock(&turn->lock);
	act = l7_ask(o, w->seq, w->len, now, &seen, &lost);
	bpf_spin_unlock(&turn->lock);
	if (act == L7_EARLY_ONE)
		return l7_hold(skb, w, conn);
	if (seen && !body)
		ledger_count(LEDGER_L7_REPEATED);
	if (act == L7_READ) {
		w->turn = now;
		l7_trim(w, seen);
		if (lost)
			l7_lose(conn, &conn->dir[w->index & 1]);
	}
	return act;
}

/*
 * The turn is over. What the parser passes over beyond the segment counts as seen
 * from here on. L7_READ: the next early segment's turn has come, and it is this CPU's.
 */
static __noinline int l7_turn_over(struct l7_work *w, struct l7_conn *conn)
{
	struct l7_order *o = &conn->order[w->ct_index & 1];
	struct l7_turn *turn = l7_turn_of(conn);
	__u32 now = now_ticks(), take, was = w->slot, early = w->source == L7_FROM_EARLY;
	__u64 leap = w->leap;

	if (!turn)
		return L7_PASS;
	w->leap = 0;
	bpf_spin_lock(&turn->lock);
	if (leap == L7_SKIP_ALL) {
		o->flags |= L7O_REST;
	} else if (leap) {
		o->far = leap;
		l7_leap(o);
	}
	take = l7_next_early(w, o);
	if (take) {
		take &= 7;
		l7_take_early(w, o, (take - 1) & (L7_HELD - 1), now);
	} else {
		o->busy = 0;
	}
	bpf_spin_unlock(&turn->lock);
	l7_sweep(w);
	if (early)
		l7_unstow(was, w->conn);
	return take ? L7_READ : L7_PASS;
}

#endif /* FATHOM_L7_ORDER_H */
