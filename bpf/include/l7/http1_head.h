/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/http1_head.h: what the lines of an HTTP/1 header section say: request and status
 * lines, the body's length, upgrades, texts of the record.
 */
#ifndef FATHOM_L7_HTTP1_HEAD_H
#define FATHOM_L7_HTTP1_HEAD_H

#include "uapi.h"
#include "config.h"
#include "l7/detect.h"
#include "l7/header.h"
#include "l7/http1_line.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/window.h"

#define H1_BODY_NONE    0
#define H1_BODY_LENGTH  1
#define H1_BODY_CHUNKED 2
#define H1_BODY_OTHER   3 /* a transfer coding that only the connection's end ends */
#define H1_BODY_BROKEN  4 /* a Content-Length that is no number, or two that differ */

#define H1_UPGRADE_NONE      0
#define H1_UPGRADE_OTHER     1
#define H1_UPGRADE_WEBSOCKET 2
#define H1_UPGRADE_H2C       3

/* A decimal number from `at` to `end`, as the length of the body; h->body says when it is none. */
FATHOM_STEP h1_length(__u32 at, __u32 end)
{
	struct l7_work *w = l7_scratch();
	struct l7_http1_dir *h;
	__u32 digits = 0, blank = 0, broken = 0;
	__u64 value = 0;

	if (!w)
		return 0;
	h = &w->d.http1;
	for (__u32 i = 0; i < 24; i++) {
		__u32 c;

		if (at + i >= end)
			break;
		c = l7_byte(w, at + i);
		if (c == ' ' || c == '\t') {
			blank = 1;
			continue;
		}
		if (c < '0' || c > '9' || blank || digits >= 18) {
			broken = 1;
			break;
		}
		value = value * 10 + (c - '0');
		digits += 1;
	}
	if (end - at > 24 || !digits)
		broken = 1;
	if (h->body == H1_BODY_LENGTH && h->length != value)
		broken = 1;
	/* Transfer-Encoding overrides it (RFC 9112 section 6.3). */
	if (h->body == H1_BODY_CHUNKED || h->body == H1_BODY_OTHER)
		return 0;
	h->body = broken ? H1_BODY_BROKEN : H1_BODY_LENGTH;
	h->length = value;
	return 0;
}

/* METHOD SP request-target SP HTTP/1.x; what is between `at` and `end`, which excludes the line end. */
FATHOM_STEP h1_request_line(__u32 at, __u32 end, __u32 cut)
{
	struct l7_work *w = l7_scratch();
	struct l7_http1_dir *h;
	__u32 method, skip, target, c;

	if (!w)
		return L7_LOST;
	h = &w->d.http1;
	l7_record_begin(w);
	method = http1_method(w, at);
	skip = w->value;
	if (!method) {
		w->found = 0;
		for (__u32 i = 0; i < HTTP1_METHOD_MAX; i++) {
			c = l7_byte(w, at + i);
			if (c == ' ') {
				w->found = i;
				break;
			}
			/* RFC 9110 section 5.6.2: a token */
			if (c < '!' || c > 'z')
				return L7_LOST;
		}
		skip = w->found;
		if (!skip)
			return L7_LOST;
		l7_text(TEXT_METHOD, at, skip, 0);
		skip += 1;
	}
	target = at + skip;
	h->version = 0; /* not seen */
	if (!cut) {
		__u64 version;

		if (end < target + 10)
			return L7_LOST;
		version = l7_word(w, end - 8);
		/* "HTTP/1." and the minor version */
		if (L7_FIRST(version, 7) != L7_CHARS('H', 'T', 'T', 'P', '/', '1', '.', 0) ||
		    l7_byte(w, end - 9) != ' ')
			return L7_LOST;
		c = version >> 56;
		if (c != '0' && c != '1')
			return L7_LOST;
		h->version = 10 + (c - '0');
		end -= 9;
	}
	if (end <= target)
		return L7_LOST;
	w->split.record.head.method = method;
	w->split.record.head.version = h->version;
	l7_text(TEXT_PATH | (cut ? TEXT_F_TRUNCATED << 8 : 0), target, end - target, 0);
	h->method = method;
	h->body = H1_BODY_NONE;
	h->length = 0;
	h->upgrade = H1_UPGRADE_NONE;
	return L7_NEXT;
}

/* HTTP/1.x SP status SP reason */
FATHOM_STEP h1_status_line(__u32 at, __u32 end)
{
	struct l7_work *w = l7_scratch();
	struct l7_http1_dir *h;
	__u32 a, b, c, minor;
	__u64 word;

	if (!w)
		return L7_LOST;
	h = &w->d.http1;
	if (end < at + 12)
		return L7_LOST;
	word = l7_word(w, at);
	if (L7_FIRST(word, 7) != L7_CHARS('H', 'T', 'T', 'P', '/', '1', '.', 0) ||
	    l7_byte(w, at + 8) != ' ')
		return L7_LOST;
	minor = word >> 56;
	a = l7_byte(w, at + 9) - '0';
	b = l7_byte(w, at + 10) - '0';
	c = l7_byte(w, at + 11) - '0';
	if ((minor != '0' && minor != '1') || a < 1 || a > 9 || b > 9 || c > 9)
		return L7_LOST;
	l7_record_begin(w);
	h->version = 10 + (minor - '0');
	h->status = a * 100 + b * 10 + c;
	h->body = H1_BODY_NONE;
	h->length = 0;
	h->upgrade = H1_UPGRADE_NONE;
	w->split.record.head.version = h->version;
	w->split.record.head.status = h->status;
	w->split.record.head.flags |= L7_F_STATUS;
	return L7_NEXT;
}

/* Which transfer coding is the last one: only that counts. */
static __always_inline void h1_transfer_encoding(struct l7_work *w, struct l7_http1_dir *h,
						 __u32 at, __u32 end)
{
	h->body = H1_BODY_OTHER;
	if (end >= at + 7 &&
	    H1_LOWER(l7_word(w, end - 8)) >> 8 == L7_CHARS('c', 'h', 'u', 'n', 'k', 'e', 'd', 0))
		h->body = H1_BODY_CHUNKED;
}

static __always_inline __u8 h1_upgrade(struct l7_work *w, __u32 at, __u32 end)
{
	__u64 word = H1_LOWER(l7_word(w, at));

	if (end == at + 9 && word == L7_CHARS('w', 'e', 'b', 's', 'o', 'c', 'k', 'e'))
		return H1_UPGRADE_WEBSOCKET;
	if (end == at + 3 &&
	    L7_FIRST(word, 3) == L7_FIRST(L7_CHARS('h', '2', 'c', 0, 0, 0, 0, 0), 3))
		return H1_UPGRADE_H2C;
	return H1_UPGRADE_OTHER;
}

/* A header line that is captured, as a whole. */
static __always_inline void h1_capture(struct l7_work *w, __u32 at, __u32 end, __u32 cut)
{
	if (l7_header_named(at) && at + w->value < end && l7_byte(w, at + w->value) == ':')
		l7_text(TEXT_HEADER | (cut ? TEXT_F_TRUNCATED << 8 : 0), at, end - at, 0);
}

/* A header line: what framing, names and traces need of it. */
FATHOM_STEP h1_header(__u32 at, __u32 end, __u32 cut)
{
	struct l7_work *w = l7_scratch();
	struct l7_http1_dir *h;
	__u64 first, second;
	__u32 value;

	if (!w)
		return 0;
	if (cfg_l7_headers)
		h1_capture(w, at, end, cut);
	first = H1_LOWER(l7_word(w, at));
	if (L7_FIRST(first, 5) == L7_FIRST(L7_CHARS('h', 'o', 's', 't', ':', 0, 0, 0), 5)) {
		value = h1_blanks(w, at + 5);
		if (!w->index && end > value)
			l7_text(TEXT_HOST | (cut ? TEXT_F_TRUNCATED << 8 : 0), value, end - value,
				0);
		return 0;
	}
	h = &w->d.http1;
	if (first == L7_CHARS('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		second = H1_LOWER(l7_word(w, at + 8));
		if (L7_FIRST(second, 7) ==
		    L7_FIRST(L7_CHARS('l', 'e', 'n', 'g', 't', 'h', ':', 0), 7))
			h1_length(h1_blanks(w, at + 15), end);
		return 0;
	}
	if (first == L7_CHARS('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		second = H1_LOWER(l7_word(w, at + 8));
		if (second == L7_CHARS('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
		    (l7_be16(w, at + 16) | 0x2020) == (('g' << 8) | ':'))
			h1_transfer_encoding(w, h, at + 18, end);
		return 0;
	}
	if (first == L7_CHARS('u', 'p', 'g', 'r', 'a', 'd', 'e', ':')) {
		value = h1_blanks(w, at + 8);
		h->upgrade = h1_upgrade(w, value, end);
		if (w->index && h->status == 101 && end > value)
			l7_text(TEXT_UPGRADE, value, end - value, 0);
		return 0;
	}
	if (first == L7_CHARS('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r')) {
		second = H1_LOWER(l7_word(w, at + 8));
		if (L7_FIRST(second, 4) == L7_FIRST(L7_CHARS('e', 'n', 't', ':', 0, 0, 0, 0), 4)) {
			value = h1_blanks(w, at + 12);
			if (end > value)
				l7_text(TEXT_TRACEPARENT, value, end - value, 0);
		}
	}
	return 0;
}

#endif /* FATHOM_L7_HTTP1_HEAD_H */
