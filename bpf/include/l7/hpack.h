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
#include "l7/hpack_name.h"
#include "l7/hpack_string.h"
#include "l7/huffman.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

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

#define H2_NAME_MAX 40 /* bytes of a literal name that are looked at */
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
