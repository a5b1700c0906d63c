/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/detect.h: what a connection speaks, by its first bytes; ports say nothing.
 *
 * A beginning must be whole to count: HTTP/2 its preface, Kafka a length, an API
 * and a version that go together, DNS a header that makes sense, HTTP/1 a method
 * and a target (and then a request line that ends in a version, in http1.h). Who
 * accepted the connection speaks first in HTTP/2 only, with SETTINGS.
 */
#ifndef FATHOM_L7_DETECT_H
#define FATHOM_L7_DETECT_H

#include "uapi.h"
#include "config.h"
#include "l7/exchange.h"
#include "l7/kafka_api.h"
#include "l7/state.h"
#include "l7/window.h"

/* Segments in which a beginning is looked for, once the first was missed. */
#define L7_TRIES 16

/* Whether a request of that number waits for its response. */
FATHOM_STEP l7_waited(__u32 id, __u32 proto)
{
	struct l7_work *w = l7_scratch();

	return w && (proto == L7_DNS ? l7_exchange_find(w->conn, id, L7_NEAR_DNS)
				     : l7_exchange_find(w->conn, id, L7_NEAR_KAFKA));
}

#define HTTP2_PREFACE_LEN 24
#define HTTP2_PREFACE_0   0x5448202a20495250ULL /* "PRI * HT" */
#define HTTP2_PREFACE_1   0x0a0d302e322f5054ULL /* "TP/2.0\r\n" */
#define HTTP2_PREFACE_2   0x0a0d0a0d4d530a0dULL /* "\r\nSM\r\n\r\n" */

/* RFC 9110 section 9.3, RFC 5789: eight bytes, the method and the space after it. */
#define HTTP1_GET     0x0000000020544547ULL
#define HTTP1_PUT     0x0000000020545550ULL
#define HTTP1_HEAD    0x0000002044414548ULL
#define HTTP1_POST    0x0000002054534f50ULL
#define HTTP1_TRACE   0x0000204543415254ULL
#define HTTP1_PATCH   0x0000204843544150ULL
#define HTTP1_DELETE  0x00204554454c4544ULL
#define HTTP1_CONNECT 0x205443454e4e4f43ULL
#define HTTP1_OPTIONS 0x20534e4f4954504fULL

/* The method's number, and its length with the space in w->value; 0 = none of these. */
static __always_inline __u32 http1_method(struct l7_work *w, __u32 at)
{
	__u64 word = l7_word(w, at);

	w->value = 4;
	if (L7_FIRST(word, 4) == HTTP1_GET)
		return METHOD_GET;
	if (L7_FIRST(word, 4) == HTTP1_PUT)
		return METHOD_PUT;
	w->value = 5;
	if (L7_FIRST(word, 5) == HTTP1_HEAD)
		return METHOD_HEAD;
	if (L7_FIRST(word, 5) == HTTP1_POST)
		return METHOD_POST;
	w->value = 6;
	if (L7_FIRST(word, 6) == HTTP1_TRACE)
		return METHOD_TRACE;
	if (L7_FIRST(word, 6) == HTTP1_PATCH)
		return METHOD_PATCH;
	w->value = 7;
	if (L7_FIRST(word, 7) == HTTP1_DELETE)
		return METHOD_DELETE;
	w->value = 8;
	if (word == HTTP1_CONNECT)
		return METHOD_CONNECT;
	if (word == HTTP1_OPTIONS)
		return METHOD_OPTIONS;
	return METHOD_OTHER;
}

#define HTTP1_METHOD_MAX 24

/*
 * A method of any name: capital letters, dash or underscore, a letter first, then a
 * space and what may begin a target. L7_MORE while it may still become one.
 */
static __always_inline int detect_http1(struct l7_work *w)
{
	__u32 left = l7_left(w), at = w->at, c, letters = 0;

	/* RFC 9112 section 2.2: an empty line before it is let pass. */
	if (l7_byte(w, at) == '\r' && left) {
		if (left < 3)
			return left == 1 || l7_byte(w, at + 1) == '\n' ? L7_MORE : L7_LOST;
		if (l7_byte(w, at + 1) == '\n') {
			at += 2;
			left -= 2;
		}
	}
	for (__u32 i = 0; i < HTTP1_METHOD_MAX; i++) {
		if (i >= left)
			return L7_MORE;
		c = l7_byte(w, at + i);
		if (c == ' ') {
			letters = i;
			break;
		}
		if (!((c >= 'A' && c <= 'Z') || (i && (c == '-' || c == '_'))))
			return L7_LOST;
	}
	if (letters < 3)
		return L7_LOST;
	if (letters + 1 >= left)
		return L7_MORE;
	c = l7_byte(w, at + letters + 1);
	if (c == '/' || c == '*')
		return L7_NEXT;
	/* "http:", and no method that follows a body ending like one. */
	if (c == 'h' || c == 'H') {
		if (letters + 2 >= left)
			return L7_MORE;
		if ((l7_byte(w, at + letters + 2) | 0x20) == 't')
			return L7_NEXT;
	}
	/* CONNECT has an authority. */
	return l7_word(w, at) == HTTP1_CONNECT && c > ' ' && c < 0x7f ? L7_NEXT : L7_LOST;
}

/* "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", as far as it is there. RFC 9113 section 3.4. */
static __always_inline int detect_preface(struct l7_work *w)
{
	__u32 left = l7_left(w);
	__u64 first = l7_word(w, w->at), mask;

	mask = left >= 8 ? ~0ULL : ~0ULL >> ((8 - (left & 7)) * 8);
	if ((first ^ HTTP2_PREFACE_0) & mask)
		return L7_LOST;
	if (left < HTTP2_PREFACE_LEN)
		return L7_MORE;
	if (l7_word(w, w->at + 8) != HTTP2_PREFACE_1 || l7_word(w, w->at + 16) != HTTP2_PREFACE_2)
		return L7_LOST;
	return L7_NEXT;
}

/* Flags that frames of each type have, by its number: a byte for each type (RFC 9113 section 6). */
#define HTTP2_FLAGS_0_7 0x00010c0100002d09ULL
#define HTTP2_FLAGS_8_9 0x0400U

/* RFC 9113 section 4.1: type, flags and length that go together, on a stream that may have them. */
static __always_inline int http2_frame_plausible(__u32 len, __u32 type, __u32 flags, __u32 stream)
{
	__u64 known = type & 8 ? HTTP2_FLAGS_8_9 : HTTP2_FLAGS_0_7;

	if (len > (1 << 20) || type > 9 || stream >> 31)
		return 0;
	/* Others mean nothing, and nobody sets them. */
	if (flags & ~(known >> ((type & 7) * 8)) & 0xff)
		return 0;
	switch (type) {
	case 0: /* DATA */
	case 1: /* HEADERS */
	case 9: /* CONTINUATION */
		return stream && (stream & 1);
	case 2: /* PRIORITY */
		return stream && len == 5;
	case 3: /* RST_STREAM */
		return stream && len == 4;
	case 4: /* SETTINGS */
		return !stream && len % 6 == 0 && len <= 6 * 64;
	case 6: /* PING */
		return !stream && len == 8;
	case 7: /* GOAWAY */
		return !stream && len >= 8;
	case 8: /* WINDOW_UPDATE */
		return len == 4;
	}
	return 0; /* PUSH_PROMISE: nobody pushes any more */
}

/* A chain of frames that ends with the segment, or at least two of them. */
static __always_inline int detect_frames(struct l7_work *w)
{
	__u32 left = l7_left(w), rest = left + (w->len - w->taken), at = w->at, off = 0, chain = 0;

	for (__u32 i = 0; i < 4; i++) {
		__u32 len;

		if (off == rest)
			break;
		if (off + 9 > left)
			break;
		len = l7_be32(w, at + off) >> 8;
		/* What continues a block begins none. */
		if (!chain && l7_byte(w, at + 3) == 9)
			return L7_LOST;
		if (!http2_frame_plausible(len, l7_byte(w, at + off + 3), l7_byte(w, at + off + 4),
					   l7_be32(w, at + off + 5)))
			return L7_LOST;
		off += 9 + len;
		chain += 1;
	}
	return chain && (off == rest || chain > 1) ? L7_NEXT : L7_LOST;
}

#define KAFKA_CLIENT_SEEN 24 /* characters of a client's id that must be such */

/* Kafka protocol, request header: size, API key, version, correlation id, client id. */
FATHOM_STEP detect_kafka(void)
{
	struct l7_work *w = l7_scratch();
	__u32 left, at;
	__s32 client;

	if (!w)
		return L7_LOST;
	left = l7_left(w);
	at = w->at;
	if (left >= 2 && l7_be16(w, at) >= 0x0640)
		return L7_LOST;
	if (left >= 6 && l7_be16(w, at + 4) >= KAFKA_APIS)
		return L7_LOST;
	if (left < 14)
		return L7_MORE;
	client = (__s16)l7_be16(w, at + 12);
	if (!kafka_plausible(l7_be32(w, at), l7_be16(w, at + 4), l7_be16(w, at + 6), client))
		return L7_LOST;
	/* In the middle of something else much looks like it: such a one must have a name and fill its segments. */
	if (!w->begins && (client < 1 || l7_be32(w, at) + 4 != l7_stream_left(w)))
		return L7_LOST;
	if (client > KAFKA_CLIENT_SEEN)
		client = KAFKA_CLIENT_SEEN;
	if (client > 0 && left < 14 + client)
		return L7_MORE;
	for (__u32 i = 0; i < KAFKA_CLIENT_SEEN; i++) {
		__u32 c;

		if ((__s32)i >= client)
			break;
		c = l7_byte(w, at + 14 + i);
		if (c < ' ' || c > '~')
			return L7_LOST;
	}
	return L7_NEXT;
}

/*
 * A question (RFC 1035 section 4.1.1): one of them, nothing that only answers have;
 * a response with `response`.
 */
static __always_inline int dns_plausible(__u32 flags, __u32 questions, __u32 answers,
					 __u32 authorities, __u32 additional, int response)
{
	__u32 opcode = (flags >> 11) & 15;

	if (!!(flags & 0x8000) != response || (flags & 0x0040))
		return 0;
	if (opcode) /* status, notify, update: nothing that names are learnt from */
		return 0;
	if (response)
		return questions <= 1 && answers < 4096 && authorities < 4096 && additional < 4096;
	return !(flags & 0x068f) && questions >= 1 && questions <= 16 && !answers && !authorities &&
	       additional <= 2;
}

#define DNS_QUESTION_SEEN \
	512              /* bytes of a question that is believed in the middle of a connection */
#define DNS_LABEL_MAX 63 /* RFC 1035 section 2.3.4 */

/* The same over TCP: a length before each message. RFC 1035 section 4.2.2. */
static __always_inline int detect_dns(struct l7_work *w, int response)
{
	__u32 left = l7_left(w), at = w->at, len = l7_be16(w, at);

	if (left >= 2 && len < 12 + 5)
		return L7_LOST;
	if (left >= 6 && !dns_plausible(l7_be16(w, at + 4), response ? 0 : 1, 0, 0, 0, response))
		return L7_LOST;
	if (left < 14)
		return L7_MORE;
	/* An answer has little to know it by: in the middle of a connection, who waits for it. */
	if (response && !w->begins && !l7_waited(l7_be16(w, at + 2), L7_DNS))
		return L7_LOST;
	if (!response && !w->begins) {
		/* A question must be short there, for one name, and that one must begin like one. */
		if (l7_be16(w, at + 6) != 1 || len > DNS_QUESTION_SEEN)
			return L7_LOST;
		if (left > 14 && l7_byte(w, at + 14) > DNS_LABEL_MAX)
			return L7_LOST;
		/* For the root, which a zero is, it has a type and a class, and what EDNS adds. */
		if (left > 14 && !l7_byte(w, at + 14) && !l7_be16(w, at + 12) && len > 12 + 5)
			return L7_LOST;
	}
	return dns_plausible(l7_be16(w, at + 4), l7_be16(w, at + 6), l7_be16(w, at + 8),
			     l7_be16(w, at + 10), l7_be16(w, at + 12), response)
		       ? L7_NEXT
		       : L7_LOST;
}

/* A TLS record with a ClientHello in it. RFC 8446 sections 5.1 and 4. */
static __always_inline int detect_tls(struct l7_work *w)
{
	__u32 left = l7_left(w), at = w->at;

	if (left >= 1 && l7_byte(w, at) != 22)
		return L7_LOST;
	if (left >= 2 && l7_byte(w, at + 1) != 3)
		return L7_LOST;
	if (left < 6)
		return L7_MORE;
	return l7_byte(w, at + 2) <= 4 && l7_be16(w, at + 3) >= 4 && l7_byte(w, at + 5) == 1
		       ? L7_NEXT
		       : L7_LOST;
}

/*
 * RFC 6455 section 5.2, a frame's first two bytes: no reserved opcode, control frames
 * short and whole, masked if it is from the client and only then. What RSV bits mean
 * was agreed on.
 */
static __always_inline int ws_plausible(__u32 first, __u32 len, __u32 masked, __u32 index)
{
	__u32 opcode = first & 15;

	if (!masked != !!index || opcode > 10 || (opcode > 2 && opcode < 8))
		return 0;
	return opcode < 8 || ((first & 0x80) && len <= 125);
}

/* Once the thread was lost: a frame, plausible, that ends with the segment. */
static __always_inline int detect_websocket(struct l7_work *w)
{
	__u32 left = l7_left(w), at = w->at, header = 2, second = l7_byte(w, at + 1);
	__u64 len = second & 0x7f;

	if (left < 2)
		return L7_LOST;
	if (!ws_plausible(l7_byte(w, at), len, second & 0x80, w->index))
		return L7_LOST;
	if (second & 0x80)
		header += 4;
	if (len == 126) {
		header += 2;
		len = l7_be16(w, at + 2);
	} else if (len == 127) {
		header += 8;
		len = (__u64)l7_be32(w, at + 2) << 32 | l7_be32(w, at + 6);
	}
	return header + len == left + (w->len - w->taken) ? L7_NEXT : L7_LOST;
}

/* "HTTP/1." */
static __always_inline int detect_status(struct l7_work *w)
{
	__u32 left = l7_left(w);
	__u64 word = l7_word(w, w->at), mask;

	mask = left >= 7 ? ~0ULL >> 8 : ~0ULL >> ((8 - (left & 7)) * 8);
	if ((word ^ 0x002e312f50545448ULL) & mask)
		return L7_LOST;
	return left < 7 ? L7_MORE : L7_NEXT;
}

/*
 * Looks for a beginning at the window's. L7_NEXT with the protocol in w->found;
 * L7_MORE: it may become one; L7_LOST: it is none; L7_DONE: wait for the other
 * direction. `proto`: what the connection is known to speak, 0 = not known.
 */
FATHOM_STEP l7_detect(__u32 proto)
{
	struct l7_work *w = l7_scratch();
	int got, more = 0;

	if (!w || !l7_left(w))
		return L7_DONE;
	w->found = L7_DNS;
	if ((!proto && !w->index) || proto == L7_DNS) {
		got = detect_dns(w, w->index);
		if (got == L7_NEXT)
			return L7_NEXT;
		more |= got == L7_MORE;
	}
	if (cfg_l7 != L7_MODE_ALL)
		return more ? L7_MORE : L7_LOST;
	w->found = L7_HTTP2;
	if ((!proto || proto == L7_HTTP2) && !w->index) {
		got = detect_preface(w);
		/* Also before "PRI *" counts as a method and its target. */
		if (got != L7_LOST)
			return got;
	}
	if (proto == L7_HTTP2 || (!proto && (w->index || !w->begins))) {
		if (l7_left(w) < 9 && (w->index || proto))
			more |= l7_byte(w, w->at) == 0;
		else if (detect_frames(w) == L7_NEXT &&
			 /* Where both would do: a name is more than numbers. */
			 (proto || w->begins || detect_kafka() != L7_NEXT))
			return L7_NEXT;
	}
	w->found = L7_HTTP1;
	if (!proto || proto == L7_HTTP1) {
		got = w->index ? detect_status(w) : detect_http1(w);
		if (got == L7_NEXT)
			return L7_NEXT;
		more |= got == L7_MORE;
	}
	w->found = L7_TLS;
	if (!proto && !w->index) {
		got = detect_tls(w);
		if (got == L7_NEXT)
			return L7_NEXT;
		more |= got == L7_MORE;
	}
	w->found = L7_WEBSOCKET;
	if (proto == L7_WEBSOCKET && detect_websocket(w) == L7_NEXT)
		return L7_NEXT;
	w->found = L7_KAFKA;
	if ((!proto || proto == L7_KAFKA) && !w->index) {
		got = detect_kafka();
		if (got == L7_NEXT)
			return L7_NEXT;
		more |= got == L7_MORE;
	}
	/* Responses have nothing to know them by but who waits for them. */
	if (proto == L7_KAFKA && w->index && l7_left(w) >= 8 &&
	    l7_be32(w, w->at) + 4 == l7_stream_left(w) &&
	    l7_waited(l7_be32(w, w->at + 4), L7_KAFKA))
		return L7_NEXT;
	return more ? L7_MORE : L7_LOST;
}

#endif /* FATHOM_L7_DETECT_H */
