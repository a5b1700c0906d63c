/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* l7/hpack_string.h: integers and strings of HPACK (RFC 7541 section 5). */
#ifndef FATHOM_L7_HPACK_STRING_H
#define FATHOM_L7_HPACK_STRING_H

#include "uapi.h"
#include "l7/huffman.h"
#include "l7/state.h"
#include "l7/window.h"

#define H2_PART 400 /* bytes of a value that are decoded */

/*
 * Decoded strings lie in the window's unused end, with room for a table entry's
 * head before them, so that both the record and the table can be made from there.
 */
#define H2_TEXT  3200
#define H2_FIELD (H2_TEXT - 8)

/* An integer that needs more than its prefix. */
FATHOM_STEP hpack_long_integer(__u32 at, __u32 avail, __u32 mask)
{
	struct l7_work *w = l7_scratch();
	__u32 value = mask, c;

	if (!w)
		return L7_LOST;
#pragma unroll
	for (__u32 i = 0; i < 4; i++) {
		if (i + 1 >= avail)
			return L7_MORE;
		c = l7_byte(w, at + 1 + i);
		value += (c & 127) << (7 * i);
		if (!(c & 128)) {
			w->value = value;
			w->found = at + 2 + i;
			return L7_NEXT;
		}
	}
	return L7_LOST;
}

/* An integer with its prefix at `at`: w->value, and w->found behind it. RFC 7541 section 5.1 */
static __always_inline int hpack_integer(struct l7_work *w, __u32 at, __u32 avail, __u32 mask)
{
	if (!avail)
		return L7_MORE;
	w->value = l7_byte(w, at) & mask;
	w->found = at + 1;
	return w->value < mask ? L7_NEXT : hpack_long_integer(at, avail, mask);
}

/* A Huffman string of `len` bytes to H2_TEXT: walk.out bytes; walk.label = there was more. */
FATHOM_STEP hpack_huffman(__u32 from, __u32 len, __u32 whole)
{
	struct l7_work *w = l7_scratch();
	volatile struct l7_walk *walk;

	if (!w)
		return L7_LOST;
	walk = &w->walk;
	walk->at = 0; /* the automaton's last entry */
	walk->out = 0;
	walk->label = 0;
	walk->octets = H2_HUFFMAN_ACCEPT;
	for (__u32 i = 0; i < H2_PART; i++) {
		__u32 c, entry;
		__u64 at, to;

		if (i >= len)
			break;
		if (walk->out >= L7_TEXT_MAX) {
			walk->label = 1;
			return L7_NEXT;
		}
		c = l7_byte(w, from + i);
		at = (walk->at & 255) * 16 + (c >> 4);
		L7_BOUND(at, 4095);
		entry = h2_huffman[at];
		if (entry & H2_HUFFMAN_FAIL)
			return L7_LOST;
		if (entry & H2_HUFFMAN_EMIT) {
			to = H2_TEXT + walk->out;
			L7_BOUND(to, L7_WINDOW - 1);
			w->b[to] = entry >> 8;
			walk->out += 1;
		}
		at = (entry & 255) * 16 + (c & 15);
		L7_BOUND(at, 4095);
		entry = h2_huffman[at];
		if (entry & H2_HUFFMAN_FAIL)
			return L7_LOST;
		if (entry & H2_HUFFMAN_EMIT) {
			to = H2_TEXT + walk->out;
			L7_BOUND(to, L7_WINDOW - 1);
			w->b[to] = entry >> 8;
			walk->out += 1;
		}
		walk->at = entry;
		walk->octets = entry;
	}
	if (!whole)
		walk->label = 1;
	else if (!(walk->octets & H2_HUFFMAN_ACCEPT))
		return L7_LOST;
	if (walk->out > L7_TEXT_MAX) {
		walk->out = L7_TEXT_MAX;
		walk->label = 1;
	}
	return L7_NEXT;
}

/* A plain string, likewise. */
FATHOM_STEP hpack_plain(__u32 from, __u32 len, __u32 whole)
{
	struct l7_work *w = l7_scratch();

	if (!w)
		return L7_LOST;
	w->walk.label = !whole;
	if (len > L7_TEXT_MAX) {
		len = L7_TEXT_MAX;
		w->walk.label = 1;
	}
	w->walk.out = len;
	for (__u32 i = 0; i < L7_TEXT_MAX / 8; i++) {
		__u64 to = H2_TEXT + i * 8;

		if (i * 8 >= len)
			break;
		L7_BOUND(to, L7_WINDOW - 1);
		*(__u64 *)&w->b[to] = l7_word(w, from + i * 8);
	}
	return L7_NEXT;
}

#endif /* FATHOM_L7_HPACK_STRING_H */
