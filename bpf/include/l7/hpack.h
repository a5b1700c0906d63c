/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/hpack.h: header fields of HTTP/2 (RFC 7541), one at a time.
 *
 * A field is read in stages, each of which needs a few bytes in one piece: its
 * kind and index, its name, the length of its value, the value. Names and values
 * nobody asks for are passed over by their length, and so not checked.
 *
 * The dynamic table: an index counts back from the newest entry, and nobody refers
 * to one that was evicted; so entries are kept by the number of their insertion and
 * sizes needn't be known. Of fields nobody asks for only the newest L7_OTHERS are
 * known as such; older ones of a large table are unknown. A table emptied by a size
 * update moves `floor`. What was
 * inserted before anybody looked is unknown, is counted, and is never guessed.
 */
#ifndef FATHOM_L7_HPACK_H
#define FATHOM_L7_HPACK_H

#include "uapi.h"
#include "l7/detect.h"
#include "l7/header.h"
#include "l7/huffman.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define H2_NAME_OTHER        0
#define H2_NAME_METHOD       1
#define H2_NAME_PATH         2
#define H2_NAME_AUTHORITY    3
#define H2_NAME_STATUS       4
#define H2_NAME_CONTENT_TYPE 5
#define H2_NAME_GRPC_STATUS  6
#define H2_NAME_TRACEPARENT  7
#define H2_NAME_HOST         8
#define H2_NAME_OTHER_TYPE   9  /* a content type that nobody asks for */
#define H2_NAME_CAPTURED     16 /* and up: by their index in l7_headers */
#define H2_NAME_UNKNOWN      255

/* l7_http2_dir.seen */
#define H2_SEEN_METHOD      (1 << 0)
#define H2_SEEN_PATH        (1 << 1)
#define H2_SEEN_HOST        (1 << 2)
#define H2_SEEN_STATUS      (1 << 3)
#define H2_SEEN_GRPC_STATUS (1 << 4)
#define H2_SEEN_UNKNOWN     (1 << 5)

/* l7_http2_dir.stage */
#define H2_STAGE_START      0
#define H2_STAGE_NAME       1 /* a literal name comes */
#define H2_STAGE_VALUE      2
#define H2_STAGE_PASS_NAME  3 /* the rest of a name nobody asks for */
#define H2_STAGE_PASS_VALUE 4

#define H2_STATIC 61 /* entries of the static table */

#define H2_NAME_MAX 40  /* bytes of a literal name that are looked at */
#define H2_PART     400 /* bytes of a value that are decoded */

/*
 * Decoded strings lie in the window's unused end, with room for a table entry's
 * head before them, so that both the record and the table can be made from there.
 */
#define H2_TEXT  3200
#define H2_FIELD (H2_TEXT - 8)

/* Bytes of the fragment that are in the window. */
static __always_inline __u32 h2_avail(const struct l7_work *w)
{
	__u32 left = l7_left(w);

	return left < w->d.http2.frame ? left : w->d.http2.frame;
}

static __always_inline void h2_use(struct l7_work *w, __u32 bytes)
{
	w->at += bytes;
	w->d.http2.frame -= bytes;
}

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

static __always_inline __u32 hpack_captured(__u32 header)
{
	return header ? H2_NAME_CAPTURED + header - 1 : H2_NAME_OTHER;
}

/* Names by index, RFC 7541 appendix A: those that are asked for. */
static __always_inline __u32 hpack_static_name(__u32 index)
{
	if (index == 1)
		return H2_NAME_AUTHORITY;
	if (index <= 3)
		return H2_NAME_METHOD;
	if (index <= 5)
		return H2_NAME_PATH;
	if (index >= 8 && index <= 14)
		return H2_NAME_STATUS;
	if (index == 31)
		return H2_NAME_CONTENT_TYPE;
	if (index == 38)
		return H2_NAME_HOST;
	return hpack_captured(cfg_l7_headers ? cfg_l7_static[index & 63] : 0);
}

/* The name decoded at H2_TEXT, if it is one that is read whatever the list says. */
static __always_inline __u32 hpack_own_name(struct l7_work *w)
{
	__u32 len = w->walk.out;
	__u64 a = *(__u64 *)&w->b[H2_TEXT], b = *(__u64 *)&w->b[H2_TEXT + 8];

	switch (len) {
	case 4:
		return L7_FIRST(a, 4) == L7_FIRST(L7_CHARS('h', 'o', 's', 't', 0, 0, 0, 0), 4)
			       ? H2_NAME_HOST
			       : H2_NAME_OTHER;
	case 5:
		return L7_FIRST(a, 5) == L7_FIRST(L7_CHARS(':', 'p', 'a', 't', 'h', 0, 0, 0), 5)
			       ? H2_NAME_PATH
			       : H2_NAME_OTHER;
	case 7:
		if (L7_FIRST(a, 7) == L7_FIRST(L7_CHARS(':', 'm', 'e', 't', 'h', 'o', 'd', 0), 7))
			return H2_NAME_METHOD;
		if (L7_FIRST(a, 7) == L7_FIRST(L7_CHARS(':', 's', 't', 'a', 't', 'u', 's', 0), 7))
			return H2_NAME_STATUS;
		return H2_NAME_OTHER;
	case 10:
		return a == L7_CHARS(':', 'a', 'u', 't', 'h', 'o', 'r', 'i') &&
				       L7_FIRST(b, 2) == ('t' | 'y' << 8)
			       ? H2_NAME_AUTHORITY
			       : H2_NAME_OTHER;
	case 11:
		if (a == L7_CHARS('g', 'r', 'p', 'c', '-', 's', 't', 'a') &&
		    L7_FIRST(b, 3) == ('t' | 'u' << 8 | 's' << 16))
			return H2_NAME_GRPC_STATUS;
		if (a == L7_CHARS('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r') &&
		    L7_FIRST(b, 3) == ('e' | 'n' << 8 | 't' << 16))
			return H2_NAME_TRACEPARENT;
		return H2_NAME_OTHER;
	case 12:
		return a == L7_CHARS('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
				       L7_FIRST(b, 4) == ('t' | 'y' << 8 | 'p' << 16 | 'e' << 24)
			       ? H2_NAME_CONTENT_TYPE
			       : H2_NAME_OTHER;
	}
	return H2_NAME_OTHER;
}

/* The name whose `len` bytes in Huffman's code are at `at`, if it is one of those. */
static __always_inline __u32 hpack_coded_name(const struct l7_work *w, __u32 at, __u32 len)
{
	__u64 word = l7_word(w, at);

	switch (len) {
	case H2_CODED_HOST_LEN:
		return L7_FIRST(word, 3) == H2_CODED_HOST ? H2_NAME_HOST : H2_NAME_OTHER;
	case H2_CODED_PATH_LEN:
		return L7_FIRST(word, 4) == H2_CODED_PATH ? H2_NAME_PATH : H2_NAME_OTHER;
	case H2_CODED_METHOD_LEN: /* and :status */
		if (L7_FIRST(word, 5) == H2_CODED_METHOD)
			return H2_NAME_METHOD;
		return L7_FIRST(word, 5) == H2_CODED_STATUS ? H2_NAME_STATUS : H2_NAME_OTHER;
	case H2_CODED_AUTHORITY_LEN: /* and two more */
		if (word == H2_CODED_AUTHORITY)
			return H2_NAME_AUTHORITY;
		if (word == H2_CODED_GRPC_STATUS)
			return H2_NAME_GRPC_STATUS;
		return word == H2_CODED_TRACEPARENT ? H2_NAME_TRACEPARENT : H2_NAME_OTHER;
	case H2_CODED_CONTENT_TYPE_LEN:
		return word == H2_CODED_CONTENT_TYPE &&
				       l7_byte(w, at + 8) == H2_CODED_CONTENT_TYPE_END
			       ? H2_NAME_CONTENT_TYPE
			       : H2_NAME_OTHER;
	}
	return H2_NAME_OTHER;
}

/* The name decoded at H2_TEXT. */
static __always_inline __u32 hpack_name_of(struct l7_work *w)
{
	__u32 name = hpack_own_name(w), header;

	if (name != H2_NAME_OTHER || !cfg_l7_headers)
		return name;
	header = l7_header_named(H2_TEXT);
	return hpack_captured(header && w->value == w->walk.out ? header : 0);
}

/* The value decoded at H2_TEXT as a captured header: its name goes before it. */
FATHOM_STEP hpack_capture(__u32 index)
{
	struct l7_work *w = l7_scratch();
	struct l7_header *header;
	__u32 name;

	if (!w)
		return 0;
	header = bpf_map_lookup_elem(&l7_headers, &index);
	if (!header)
		return 0;
	__builtin_memcpy(&w->b[H2_TEXT - 40], header->label, 40);
	name = (header->len & 63) + 2;
	l7_text(TEXT_HEADER | (w->walk.label ? TEXT_F_TRUNCATED << 8 : 0), H2_TEXT - name,
		name + w->walk.out, 0);
	return 0;
}

static __always_inline __u32 hpack_digit(const struct l7_work *w, __u32 at)
{
	return w->b[H2_TEXT + at] - '0';
}

/* What a field says of the message; its value is decoded. */
FATHOM_STEP hpack_tell(__u32 name)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 len, cut, a, b, c;

	if (!w)
		return 0;
	h = &w->d.http2;
	if (cfg_l7_headers) {
		__u32 header = name >= H2_NAME_CAPTURED ? name - H2_NAME_CAPTURED + 1
							: cfg_l7_named[name & 15];

		if (header)
			hpack_capture(header - 1);
	}
	len = w->walk.out;
	cut = w->walk.label ? TEXT_F_TRUNCATED << 8 : 0;
	switch (name) {
	case H2_NAME_METHOD: {
		__u64 end = H2_TEXT + len;

		L7_BOUND(end, L7_WINDOW - 1);
		w->b[end] = ' ';
		h->seen |= H2_SEEN_METHOD;
		h->method = http1_method(w, H2_TEXT);
		if (w->value != len + 1)
			h->method = METHOD_OTHER;
		if (h->method == METHOD_OTHER)
			l7_text(TEXT_METHOD | cut, H2_TEXT, len, 0);
		return 0;
	}
	case H2_NAME_PATH:
		h->seen |= H2_SEEN_PATH;
		l7_text(TEXT_PATH | cut, H2_TEXT, len, 0);
		return 0;
	case H2_NAME_AUTHORITY:
	case H2_NAME_HOST:
		if (!(h->seen & H2_SEEN_HOST))
			l7_text(TEXT_HOST | cut, H2_TEXT, len, 0);
		h->seen |= H2_SEEN_HOST;
		return 0;
	case H2_NAME_STATUS:
		a = hpack_digit(w, 0);
		b = hpack_digit(w, 1);
		c = hpack_digit(w, 2);
		if (len != 3 || a > 9 || b > 9 || c > 9)
			return 0;
		h->status = a * 100 + b * 10 + c;
		h->seen |= H2_SEEN_STATUS;
		return 0;
	case H2_NAME_CONTENT_TYPE:
		/* "application/grpc", alone or with a format or parameters behind it. */
		c = w->b[H2_TEXT + 16];
		if (len >= 16 &&
		    *(__u64 *)&w->b[H2_TEXT] == L7_CHARS('a', 'p', 'p', 'l', 'i', 'c', 'a', 't') &&
		    *(__u64 *)&w->b[H2_TEXT + 8] ==
			    L7_CHARS('i', 'o', 'n', '/', 'g', 'r', 'p', 'c') &&
		    (len == 16 || c == '+' || c == ';'))
			h->grpc = 1;
		return 0;
	case H2_NAME_GRPC_STATUS:
		a = hpack_digit(w, 0);
		b = hpack_digit(w, 1);
		if (len < 1 || len > 2 || a > 9 || (len == 2 && b > 9))
			return 0;
		h->code = len == 2 ? a * 10 + b : a;
		h->seen |= H2_SEEN_GRPC_STATUS;
		return 0;
	case H2_NAME_TRACEPARENT:
		l7_text(TEXT_TRACEPARENT | cut, H2_TEXT, len, 0);
		return 0;
	}
	return 0;
}

/* The word of a bitmap in which the insertion's bit is. */
static __always_inline __u64 *hpack_bits(__u64 *map, __u32 number)
{
	__u64 word = (number / 64) % (L7_OTHERS / 64);

	L7_BOUND(word, L7_OTHERS / 64 - 1);
	return &map[word];
}

/*
 * The field becomes the newest entry of the dynamic table. What nobody asks for is
 * a bit; servers that insert all they say would fill a map with it.
 */
FATHOM_STEP hpack_insert(__u32 name)
{
	struct l7_work *w = l7_scratch();
	struct l7_field_key key = {};
	__u64 len, flags, bit, *other, *typed;

	if (!w)
		return 0;
	key.conn = w->conn;
	key.index = w->ct_index;
	key.number = w->d.count;
	w->d.count += 1;
	bit = 1ULL << (key.number % 64);
	other = hpack_bits(w->d.http2.other, key.number);
	typed = hpack_bits(w->d.http2.typed, key.number);
	*typed &= ~bit;
	if (name == H2_NAME_OTHER || name == H2_NAME_OTHER_TYPE) {
		*other |= bit;
		if (name == H2_NAME_OTHER_TYPE)
			*typed |= bit;
		return 0;
	}
	*other &= ~bit;
	/* An entry that isn't there is unknown: so is this one. */
	if (name == H2_NAME_UNKNOWN)
		return 0;
	len = w->walk.out;
	flags = w->walk.label ? TEXT_F_TRUNCATED : 0;
	*(__u64 *)&w->b[H2_FIELD] = (name & 0xff) | flags << 8 | (len & 0xffff) << 16 |
				    (__u64)cfg_l7_headers_list << 32;
	bpf_map_update_elem(&l7_fields, &key, &w->b[H2_FIELD], BPF_ANY);
	return 0;
}

static __always_inline void hpack_unknown(struct l7_work *w)
{
	w->d.http2.seen |= H2_SEEN_UNKNOWN;
	ledger_count(LEDGER_L7_UNKNOWN);
}

/*
 * The entry of the dynamic table with this index: its name, and with `value` its
 * value at H2_TEXT. w->found says whether the index can be one at all.
 */
FATHOM_STEP hpack_dynamic(__u32 index, __u32 value)
{
	struct l7_work *w = l7_scratch();
	struct l7_field_key key = {};
	struct l7_http2_dir *h;
	struct l7_field *field;
	__u32 back = index - H2_STATIC, live;
	__u64 bit;

	if (!w)
		return H2_NAME_UNKNOWN;
	h = &w->d.http2;
	live = w->d.count - h->floor;
	w->found = 1;
	if (back > live) {
		w->found = h->blind;
		return H2_NAME_UNKNOWN;
	}
	key.conn = w->conn;
	key.index = w->ct_index;
	key.number = w->d.count - back;
	bit = 1ULL << (key.number % 64);
	if (back <= L7_OTHERS && (*hpack_bits(h->other, key.number) & bit)) {
		if (!value && (*hpack_bits(h->typed, key.number) & bit))
			return H2_NAME_CONTENT_TYPE;
		return H2_NAME_OTHER;
	}
	field = bpf_map_lookup_elem(&l7_fields, &key);
	if (!field)
		return H2_NAME_UNKNOWN;
	/* Captured by a list that is no more. */
	if (field->name >= H2_NAME_CAPTURED && field->list != cfg_l7_headers_list)
		return H2_NAME_OTHER;
	if (value) {
		__builtin_memcpy(&w->b[H2_TEXT], field->value, L7_TEXT_MAX);
		w->walk.out = field->len;
		w->walk.label = field->flags;
	}
	return field->name;
}

/* Values of :status in the static table, from index 8 on. */
static const __u16 hpack_statuses[8] = { 200, 204, 206, 304, 400, 404, 500 };

/* An indexed field. RFC 7541 section 6.1 */
FATHOM_STEP hpack_indexed(__u32 index)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 name;

	if (!w || !index)
		return L7_LOST;
	h = &w->d.http2;
	if (index > H2_STATIC) {
		name = hpack_dynamic(index, 1);
		if (name == H2_NAME_UNKNOWN) {
			if (!w->found)
				return L7_LOST;
			hpack_unknown(w);
		} else if (name != H2_NAME_OTHER) {
			hpack_tell(name);
		}
		return L7_NEXT;
	}
	switch (index) {
	case 1: /* :authority, empty */
		return L7_NEXT;
	case 2:
		h->method = METHOD_GET;
		h->seen |= H2_SEEN_METHOD;
		return L7_NEXT;
	case 3:
		h->method = METHOD_POST;
		h->seen |= H2_SEEN_METHOD;
		return L7_NEXT;
	case 4:
		*(__u64 *)&w->b[H2_TEXT] = '/';
		h->seen |= H2_SEEN_PATH;
		l7_text(TEXT_PATH, H2_TEXT, 1, 0);
		return L7_NEXT;
	case 5:
		*(__u64 *)&w->b[H2_TEXT] = L7_CHARS('/', 'i', 'n', 'd', 'e', 'x', '.', 'h');
		*(__u64 *)&w->b[H2_TEXT + 8] = L7_CHARS('t', 'm', 'l', 0, 0, 0, 0, 0);
		h->seen |= H2_SEEN_PATH;
		l7_text(TEXT_PATH, H2_TEXT, 11, 0);
		return L7_NEXT;
	}
	if (index < 8 || index > 14)
		return L7_NEXT;
	h->status = hpack_statuses[(index - 8) & 7];
	h->seen |= H2_SEEN_STATUS;
	return L7_NEXT;
}

/* A field's first bytes. RFC 7541 section 6 */
FATHOM_STEP hpack_start(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 avail, c, mask, index, name = H2_NAME_OTHER;
	int got;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	avail = h2_avail(w);
	c = l7_byte(w, w->at);
	mask = c & 0x80 ? 0x7f : c & 0x40 ? 0x3f : c & 0x20 ? 0x1f : 0x0f;
	got = hpack_integer(w, w->at, avail, mask);
	if (got)
		return got;
	index = w->value;
	h2_use(w, w->found - w->at);
	if (mask == 0x7f)
		return hpack_indexed(index);
	if (mask == 0x1f) {
		/* The table's new size: without room nothing stays in it. */
		if (!index) {
			h->floor = w->d.count;
			h->blind = 0;
		}
		return L7_NEXT;
	}
	h->insert = mask == 0x3f;
	if (!index) {
		h->stage = H2_STAGE_NAME;
		return L7_NEXT;
	}
	if (index <= H2_STATIC) {
		name = hpack_static_name(index);
	} else {
		name = hpack_dynamic(index, 0);
		if (name == H2_NAME_UNKNOWN) {
			if (!w->found)
				return L7_LOST;
			hpack_unknown(w);
		}
	}
	h->name = name;
	h->stage = H2_STAGE_VALUE;
	return L7_NEXT;
}

/* A literal name. */
FATHOM_STEP hpack_name(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 avail, huffman, len, head;
	int got;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	avail = h2_avail(w);
	huffman = l7_byte(w, w->at) & 0x80;
	got = hpack_integer(w, w->at, avail, 0x7f);
	if (got)
		return got;
	len = w->value;
	head = w->found - w->at;
	if (len > H2_NAME_MAX) {
		h2_use(w, head);
		h->name = H2_NAME_OTHER;
		h->value = len;
		h->stage = H2_STAGE_PASS_NAME;
		return L7_NEXT;
	}
	if (avail < head + len)
		return L7_MORE;
	if (huffman && !cfg_l7_headers) {
		h->name = hpack_coded_name(w, w->at + head, len);
	} else {
		if (huffman)
			got = hpack_huffman(w->at + head, len, 1);
		else
			got = hpack_plain(w->at + head, len, 1);
		if (got)
			return got;
		h->name = hpack_name_of(w);
	}
	h2_use(w, head + len);
	h->stage = H2_STAGE_VALUE;
	return L7_NEXT;
}

#define H2_GRPC_LEN 16 /* "application/grpc"; in Huffman's code what follows it begins at a byte */

/* Whether the content type whose bytes are at `at` is gRPC's. All others are of no interest. */
static __always_inline int hpack_is_grpc(const struct l7_work *w, __u32 at, __u32 huffman,
					 __u32 len)
{
	if (huffman)
		return len >= H2_CODED_GRPC_LEN && l7_word(w, at) == H2_CODED_GRPC &&
		       L7_FIRST(l7_word(w, at + 8), 3) == H2_CODED_GRPC_END;
	return len >= H2_GRPC_LEN &&
	       l7_word(w, at) == L7_CHARS('a', 'p', 'p', 'l', 'i', 'c', 'a', 't') &&
	       l7_word(w, at + 8) == L7_CHARS('i', 'o', 'n', '/', 'g', 'r', 'p', 'c');
}

/* The value. */
FATHOM_STEP hpack_value(void)
{
	struct l7_work *w = l7_scratch();
	struct l7_http2_dir *h;
	__u32 avail, huffman, len, head, part;
	int got;

	if (!w)
		return L7_LOST;
	h = &w->d.http2;
	avail = h2_avail(w);
	huffman = l7_byte(w, w->at) & 0x80;
	got = hpack_integer(w, w->at, avail, 0x7f);
	if (got)
		return got;
	len = w->value;
	head = w->found - w->at;
	part = len;
	if (h->name == H2_NAME_CONTENT_TYPE && !cfg_l7_named[H2_NAME_CONTENT_TYPE]) {
		if (avail < head + (len < H2_GRPC_LEN ? len : H2_GRPC_LEN))
			return L7_MORE;
		if (!hpack_is_grpc(w, w->at + head, huffman, len))
			h->name = H2_NAME_OTHER_TYPE;
	}
	if (h->name == H2_NAME_OTHER || h->name == H2_NAME_OTHER_TYPE ||
	    h->name == H2_NAME_UNKNOWN) {
		part = 0;
	} else {
		if (part > H2_PART)
			part = H2_PART;
		if (avail < head + part)
			return L7_MORE;
		if (huffman)
			got = hpack_huffman(w->at + head, part, part == len);
		else
			got = hpack_plain(w->at + head, part, part == len);
		if (got)
			return got;
		hpack_tell(h->name);
	}
	if (h->insert)
		hpack_insert(h->name);
	if (len <= avail - head) {
		h2_use(w, head + len);
		h->stage = H2_STAGE_START;
		return L7_NEXT;
	}
	h2_use(w, head + part);
	h->value = len - part;
	h->stage = H2_STAGE_PASS_VALUE;
	return L7_NEXT;
}

/* Passes over what nobody asks for, within the fragment. */
static __always_inline int hpack_pass(struct l7_work *w)
{
	struct l7_http2_dir *h = &w->d.http2;
	__u32 bytes = h->value < h->frame ? h->value : h->frame;

	h->value -= bytes;
	h->frame -= bytes;
	if (!h->value)
		h->stage = h->stage == H2_STAGE_PASS_NAME ? H2_STAGE_VALUE : H2_STAGE_START;
	l7_skip(w, bytes);
	return L7_NEXT;
}

#endif /* FATHOM_L7_HPACK_H */
