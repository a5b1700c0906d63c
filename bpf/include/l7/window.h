/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/window.h: the bytes of a stream as a parser sees them.
 *
 * A packet's payload is looked at through a window: what the packet before left
 * over, then as much of this one as a load takes. A parser takes whole units from
 * `at`; if one isn't all there it asks for more (L7_MORE): the window moves on
 * within the packet, or what is left is kept for the next packet. No unit that a
 * parser insists on is longer than L7_CARRY, and what it only counts it skips.
 */
#ifndef FATHOM_L7_WINDOW_H
#define FATHOM_L7_WINDOW_H

#include "uapi.h"
#include "l7/state.h"

/*
 * An index that the verifier of every kernel believes: a mask on a 64-bit copy
 * right before its use, out of clang's sight, which would drop it as redundant.
 */
#define L7_BOUND(x, mask) asm volatile("%0 &= %1" : "+r"(x) : "i"(mask))

/* A helper's length of 1..size, size a power of two. */
#define L7_LENGTH(x, size) asm volatile("%0 += -1; %0 &= %1; %0 += 1" : "+r"(x) : "i"((size) - 1))

/* Eight characters as l7_word reads them, and the first of them. */
#define L7_CHARS(a, b, c, d, e, f, g, h) \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define L7_FIRST(word, bytes) ((word) & (~0ULL >> (64 - (bytes) * 8)))

/* What a step of a parser says. */
#define L7_NEXT 0 /* a unit was taken */
#define L7_MORE 1 /* the next one isn't all in the window */
#define L7_DONE 2 /* nothing is left of the packet */
#define L7_LOST 3 /* this isn't the protocol, or not its valid form */
#define L7_OVER 4 /* from here on nothing is read */
#define L7_GOTO 5 /* another parser goes on: conn->proto has changed */
#define L7_HERE 6 /* HTTP/1 goes on in the same program */

static __always_inline __u8 l7_byte(const struct l7_work *w, __u32 at)
{
	__u64 i = at;

	L7_BOUND(i, L7_WINDOW - 1);
	return w->b[i];
}

/* Eight bytes from `at` on, the first one lowest. */
static __always_inline __u64 l7_word(const struct l7_work *w, __u32 at)
{
	__u64 i = at;

	L7_BOUND(i, L7_WINDOW - 1);
	return *(const __u64 *)&w->b[i];
}

static __always_inline __u32 l7_be16(const struct l7_work *w, __u32 at)
{
	__u64 i = at;

	L7_BOUND(i, L7_WINDOW - 1);
	return bpf_ntohs(*(const __be16 *)&w->b[i]);
}

static __always_inline __u32 l7_be32(const struct l7_work *w, __u32 at)
{
	__u64 i = at;

	L7_BOUND(i, L7_WINDOW - 1);
	return bpf_ntohl(*(const __be32 *)&w->b[i]);
}

static __always_inline __u32 l7_left(const struct l7_work *w)
{
	return w->n - w->at;
}

/* And those of the packet that are not in the window yet. */
static __always_inline __u32 l7_stream_left(const struct l7_work *w)
{
	return w->n - w->at + (w->len - w->taken);
}

/* Bytes from `from` on of the early segment at hand into the window. 0 = it is gone. */
FATHOM_STEP l7_bring_early(__u32 from, __u32 size)
{
	struct l7_work *w = l7_scratch();
	struct l7_early *early;
	__u32 slot;

	if (!w)
		return 0;
	slot = w->slot;
	early = bpf_map_lookup_elem(&l7_early, &slot);
	if (!early)
		return 0;
	for (__u32 i = 0; i < L7_LOAD / 8; i++) {
		__u64 at = from + i * 8, to = L7_CARRY + i * 8;

		if (i * 8 >= size)
			break;
		L7_BOUND(at, L7_EARLY - 1);
		L7_BOUND(to, L7_WINDOW - 1);
		*(__u64 *)&w->b[to] = *(__u64 *)&early->data[at];
	}
	return early->conn == w->conn && early->seq == w->seq - w->off;
}

/* Bytes from `pos` on of the payload into the window, behind the place for what is carried over. */
static __always_inline int l7_bring(struct __sk_buff *skb, struct l7_work *w, __u32 pos,
				    __u32 bytes)
{
	__u64 size = bytes;

	if (w->source == L7_FROM_EARLY)
		return l7_bring_early(w->off + pos, bytes);
	L7_LENGTH(size, 2048);
	return !bpf_skb_load_bytes(skb, w->off + pos, w->b + L7_CARRY, size);
}

/* What was begun is dropped, and a beginning is looked for. */
static __always_inline void l7_look(struct l7_dir *d)
{
	d->flags = L7D_LOST;
	d->carry = 0;
	d->skip = 0;
	d->state = 0;
	d->tries = 0;
	d->resumed = 1;
}

/* Loads the window from `at` on; what it holds before that is forgotten. 0 = nothing more came. */
FATHOM_STEP l7_refill(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u32 left, pos, rest, size;

	if (!w)
		return 0;
	left = w->n - w->at;
	if (left > w->taken)
		return 0;
	pos = w->taken - left;
	rest = w->len - pos;
	if (!rest || rest == left)
		return 0;
	size = rest > L7_LOAD ? L7_LOAD : rest;
	if (size <= left)
		return 0;
	w->at = L7_CARRY;
	w->n = L7_CARRY;
	if (!l7_bring(skb, w, pos, size)) {
		/* An early segment whose place is gone. */
		l7_look(&w->d);
		return 0;
	}
	w->taken += size - left;
	w->n += size;
	return 1;
}

/* Passes over `k` bytes; what goes beyond the packet is left to the next ones. */
static __always_inline void l7_skip(struct l7_work *w, __u64 k)
{
	struct l7_dir *d = &w->d;
	__u32 left = w->n - w->at, rest;

	if (k <= left) {
		w->at += k;
		return;
	}
	w->at = w->n;
	rest = w->len - w->taken;
	if (k == L7_SKIP_ALL) {
		w->taken = w->len;
		d->skip = L7_SKIP_ALL;
		return;
	}
	k -= left;
	if (k <= rest) {
		w->taken += k;
		return;
	}
	w->taken = w->len;
	/* Added: padding is passed over behind a body that goes on. */
	d->skip += k - rest;
}

#endif /* FATHOM_L7_WINDOW_H */
