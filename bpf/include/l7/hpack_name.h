/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* l7/hpack_name.h: names of header fields: which of them are asked for. */
#ifndef FATHOM_L7_HPACK_NAME_H
#define FATHOM_L7_HPACK_NAME_H

#include "uapi.h"
#include "config.h"
#include "l7/header.h"
#include "l7/hpack_string.h"
#include "l7/huffman.h"
#include "l7/state.h"
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

#endif /* FATHOM_L7_HPACK_NAME_H */
