/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/tls.h: what a ClientHello says in the clear (RFC 8446 section 4.1.2): the
 * server's name (RFC 6066 section 3) and the protocols offered (RFC 7301 section 3.1).
 *
 * One record, then nothing more is read: what follows is secret. The hello is read
 * a part at a time and may come in any number of segments; key shares and the like
 * are passed over by length. One that goes on in a second TLS record is told as far
 * as the first one has it.
 */
#ifndef FATHOM_L7_TLS_H
#define FATHOM_L7_TLS_H

#include "uapi.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define TLS_START      0
#define TLS_SESSION    1 /* legacy_version, random, legacy_session_id */
#define TLS_CIPHERS    2
#define TLS_METHODS    3 /* legacy_compression_methods */
#define TLS_EXTENSIONS 4 /* their length */
#define TLS_EXTENSION  5

#define TLS_EXTENSIONS_MAX 64
#define TLS_NAMES          16 /* of protocols */

#define TLS_SERVER_NAME 0
#define TLS_ALPN        16

/* Beside L7_NEXT and L7_MORE: the hello has ended, or what is here of it. */
#define TLS_END 8
#define TLS_CUT 9

static __always_inline int tls_need(const struct l7_work *w, __u32 n)
{
	if (n > w->d.tls.left)
		return TLS_CUT;
	return n > l7_left(w) ? L7_MORE : L7_NEXT;
}

/* Past `n` bytes of the hello, to its next part. */
static __always_inline int tls_pass(struct l7_work *w, __u32 n, __u8 next)
{
	if (n > w->d.tls.left)
		return TLS_CUT;
	w->d.tls.left -= n;
	w->d.state = next;
	l7_skip(w, n);
	return L7_NEXT;
}

/* server_name: a list, of which the first host_name counts; as it was sent. */
FATHOM_STEP tls_server_name(__u32 at, __u32 len)
{
	struct l7_work *w = l7_scratch();
	__u32 name;

	/* list length, name_type, length */
	if (!w || len < 5)
		return 0;
	name = l7_be16(w, at + 3);
	if (l7_byte(w, at + 2) || !name || name + 5 > len)
		return 0;
	l7_text(TEXT_SNI, at + 5, name, 0);
	return 0;
}

/* Protocol names, each with its length before it: with commas in place of the lengths they are the text. */
FATHOM_STEP tls_alpn(__u32 at, __u32 len, __u32 there)
{
	struct l7_work *w = l7_scratch();
	__u32 size, cut = 0;

	if (!w || len < 4)
		return 0;
	size = l7_be16(w, at);
	if (size + 2 > len)
		return 0;
	if (size + 2 > there) {
		size = there - 2;
		cut = 1;
	}
	w->state = 0;
	for (__u32 i = 0; i < TLS_NAMES; i++) {
		__u32 from = w->state;
		__u64 place;

		if (from >= size)
			break;
		place = at + 2 + from;
		w->state = from + 1 + l7_byte(w, place);
		L7_BOUND(place, L7_WINDOW - 1);
		w->b[place] = ',';
	}
	if (w->state < size) {
		size = w->state;
		cut = 1;
	}
	if (size < 2)
		return 0;
	l7_text(TEXT_ALPN | (cut ? TEXT_F_TRUNCATED << 8 : 0), at + 3, size - 1, 0);
	return 0;
}

/* extension_type, length, and what it says if it is of interest. */
FATHOM_STEP tls_extension(void)
{
	struct l7_work *w = l7_scratch();
	__u32 type, len, there;
	int got;

	if (!w)
		return TLS_CUT;
	got = tls_need(w, 4);
	if (got)
		return got;
	type = l7_be16(w, w->at);
	len = l7_be16(w, w->at + 2);
	if (type == TLS_SERVER_NAME || type == TLS_ALPN) {
		/* What goes before the names, and a name and a byte to see that there is more. */
		there = len > 5 + L7_TEXT_MAX + 1 ? 5 + L7_TEXT_MAX + 1 : len;
		got = tls_need(w, 4 + there);
		if (got)
			return got;
		if (type == TLS_SERVER_NAME)
			tls_server_name(w->at + 4, len);
		else
			tls_alpn(w->at + 4, len, there);
	}
	w->d.tls.extensions += 1;
	if (w->d.tls.extensions > TLS_EXTENSIONS_MAX)
		return TLS_CUT;
	got = tls_pass(w, 4 + len, TLS_EXTENSION);
	return got == L7_NEXT && !w->d.tls.left ? TLS_END : got;
}

/* TLS record header, handshake header: how long the hello is, and how much of it is in this record. */
FATHOM_STEP tls_begin(void)
{
	struct l7_work *w = l7_scratch();
	__u32 record, hello;

	if (!w)
		return L7_LOST;
	if (l7_left(w) < 9)
		return L7_MORE;
	record = l7_be16(w, w->at + 3);
	hello = l7_be32(w, w->at + 5);
	if (l7_byte(w, w->at) != 22 || record < 4 || hello >> 24 != 1)
		return L7_LOST;
	hello &= 0xffffff;
	l7_record_begin(w);
	w->split.record.head.proto = L7_TLS;
	l7_record_joined(w);
	record -= 4;
	if (hello > record) {
		w->split.record.head.flags |= L7_F_TRUNCATED;
		hello = record;
	}
	w->d.tls.left = hello;
	w->d.tls.extensions = 0;
	w->d.state = TLS_SESSION;
	l7_skip(w, 9);
	return L7_NEXT;
}

/* One part of the hello. */
FATHOM_STEP tls_part(void)
{
	struct l7_work *w = l7_scratch();
	__u32 len;
	int got;

	if (!w)
		return TLS_CUT;
	switch (w->d.state) {
	case TLS_SESSION:
		got = tls_need(w, 35);
		if (got)
			return got;
		return tls_pass(w, 35 + l7_byte(w, w->at + 34), TLS_CIPHERS);
	case TLS_CIPHERS:
		got = tls_need(w, 2);
		if (got)
			return got;
		return tls_pass(w, 2 + l7_be16(w, w->at), TLS_METHODS);
	case TLS_METHODS:
		got = tls_need(w, 1);
		if (got)
			return got;
		got = tls_pass(w, 1 + l7_byte(w, w->at), TLS_EXTENSIONS);
		/* Before TLS 1.3 there may be none. */
		return got == L7_NEXT && !w->d.tls.left ? TLS_END : got;
	case TLS_EXTENSIONS:
		got = tls_need(w, 2);
		if (got)
			return got;
		len = l7_be16(w, w->at);
		got = tls_pass(w, 2, TLS_EXTENSION);
		if (got)
			return got;
		if (len > w->d.tls.left)
			w->split.record.head.flags |= L7_F_TRUNCATED;
		else
			w->d.tls.left = len;
		return w->d.tls.left ? L7_NEXT : TLS_END;
	}
	return tls_extension();
}

FATHOM_STEP tls_step(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	int got;

	if (!w)
		return L7_LOST;
	got = w->d.state == TLS_START ? tls_begin() : tls_part();
	if (got == TLS_CUT)
		w->split.record.head.flags |= L7_F_TRUNCATED;
	if (got != TLS_CUT && got != TLS_END)
		return got;
	l7_emit(skb, L7_TYPE_UNKNOWN);
	return L7_OVER;
}

/* The server speaks before the hello has ended: told is what there is of it. */
FATHOM_STEP tls_interrupted(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	struct l7_conn *conn;

	if (!w)
		return L7_OVER;
	conn = l7_conn_of(w);
	if (!conn)
		return L7_OVER;
	l7_record_begin(w);
	w->d = conn->dir[0];
	w->d.carry = 0;
	/* What was kept is of the other direction. */
	w->ct_index ^= 1;
	if (w->d.flags & L7D_DRAFT)
		l7_recall(w);
	w->ct_index ^= 1;
	w->split.record.head.proto = L7_TLS;
	w->split.record.head.flags |= L7_F_TRUNCATED;
	l7_emit(skb, L7_TYPE_UNKNOWN);
	return L7_OVER;
}

#endif /* FATHOM_L7_TLS_H */
