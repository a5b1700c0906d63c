/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/dns.h: questions and answers (RFC 1035, EDNS of RFC 6891), over UDP and TCP.
 *
 * Names are told as people write them: lower case, dots between labels, the root
 * as "."; a dot or backslash within a label gets a backslash before it. One
 * question per message, as every resolver has it; others are told as refused.
 */
#ifndef FATHOM_L7_DNS_H
#define FATHOM_L7_DNS_H

#include "uapi.h"
#include "l7/detect.h"
#include "l7/exchange.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/tcp.h"
#include "l7/window.h"

#define DNS_HEADER   12
#define DNS_RECORDS  40   /* resource records looked at */
#define DNS_TCP_PART 1000 /* bytes of a message over TCP that are looked at */
#define DNS_UDP_PART 2048 /* and over UDP */

#define DNS_TYPE_A     1
#define DNS_TYPE_CNAME 5
#define DNS_TYPE_AAAA  28
#define DNS_TYPE_OPT   41

#define DNS_NAME_MAX 255 /* octets on the wire, RFC 1035 section 2.3.4 */

/*
 * Writes the name at `at` as a text's bytes, and its length to walk.out; walk.behind
 * is the octet behind the name. The message is [base, end) of the window. 0 = fine.
 */
FATHOM_STEP dns_name(__u32 at, __u32 base, __u32 end)
{
	struct l7_work *w = l7_scratch();
	volatile struct l7_walk *walk;

	if (!w)
		return L7_DNS_NAME;
	walk = &w->walk;
	walk->at = at;
	walk->label = 0;
	walk->octets = 0;
	walk->out = 0;
	walk->behind = 0;
	for (__u32 i = 0; i < DNS_NAME_MAX + 24; i++) {
		__u32 p = walk->at, c;
		__u8 *to;

		if (p >= end)
			return L7_DNS_SHORT;
		c = l7_byte(w, p);
		if (walk->label) {
			if (walk->out >= L7_TEXT_MAX - 2)
				return L7_DNS_NAME;
			if (c - 'A' < 26)
				c |= 0x20;
			to = l7_record_byte(w, L7_TEXTS_AT + w->text + sizeof(struct l7_text) +
						       walk->out);
			if (c == '.' || c == '\\') {
				*to = '\\';
				walk->out += 1;
				to = l7_record_byte(w, L7_TEXTS_AT + w->text +
							       sizeof(struct l7_text) + walk->out);
			}
			*to = c;
			walk->out += 1;
			walk->label -= 1;
			walk->at = p + 1;
			continue;
		}
		if (!c) {
			if (!walk->behind)
				walk->behind = p + 1;
			if (!walk->out) {
				to = l7_record_byte(w,
						    L7_TEXTS_AT + w->text + sizeof(struct l7_text));
				*to = '.';
				walk->out = 1;
			}
			return 0;
		}
		if (c >= 0xc0) {
			__u32 target;

			if (p + 1 >= end)
				return L7_DNS_SHORT;
			if (!walk->behind)
				walk->behind = p + 2;
			target = base + ((c & 0x3f) << 8 | l7_byte(w, p + 1));
			/* To what was there before; so it ends. */
			if (target >= p || target < base + DNS_HEADER)
				return L7_DNS_NAME;
			walk->at = target;
			continue;
		}
		if (c & 0xc0)
			return L7_DNS_NAME;
		walk->octets += c + 1;
		if (walk->octets >= DNS_NAME_MAX)
			return L7_DNS_NAME;
		if (walk->out) {
			to = l7_record_byte(w, L7_TEXTS_AT + w->text + sizeof(struct l7_text) +
						       walk->out);
			*to = '.';
			walk->out += 1;
		}
		walk->label = c;
		walk->at = p + 1;
	}
	return L7_DNS_NAME;
}

/* Past a name without reading it: walk.behind. 0 = fine. */
FATHOM_STEP dns_skip_name(__u32 at, __u32 end)
{
	struct l7_work *w = l7_scratch();
	volatile struct l7_walk *walk;

	if (!w)
		return L7_DNS_NAME;
	walk = &w->walk;
	walk->at = at;
	for (__u32 i = 0; i < 128; i++) {
		__u32 p = walk->at, c;

		if (p >= end)
			return L7_DNS_SHORT;
		c = l7_byte(w, p);
		if (!c) {
			walk->behind = p + 1;
			return 0;
		}
		if (c >= 0xc0) {
			walk->behind = p + 2;
			return 0;
		}
		if (c & 0xc0)
			return L7_DNS_NAME;
		walk->at = p + 1 + c;
	}
	return L7_DNS_NAME;
}

/* A text for a name that dns_name wrote. */
static __always_inline void dns_name_text(struct l7_work *w, __u32 kind, __u32 ttl)
{
	l7_text_close(w, kind, 0, w->walk.out, ttl);
}

/*
 * One resource record, at walk.behind, which moves behind it. Those of the answer
 * section are told. 0 = fine.
 */
FATHOM_STEP dns_record(__u32 base, __u32 end, __u32 answer)
{
	struct l7_work *w = l7_scratch();
	__u32 at, type, ttl, len, fault;

	if (!w)
		return L7_DNS_SHORT;
	fault = dns_skip_name(w->walk.behind, end);
	if (fault)
		return fault;
	at = w->walk.behind;
	if (at + 10 > end)
		return L7_DNS_SHORT;
	type = l7_be16(w, at);
	ttl = l7_be32(w, at + 4);
	len = l7_be16(w, at + 8);
	at += 10;
	if (type == DNS_TYPE_OPT) {
		w->split.record.head.flags |= L7_F_EDNS;
		/* The upper eight bits of an extended RCODE. RFC 6891 section 6.1.3 */
		w->split.record.head.status |= (ttl >> 24) << 4;
	}
	if (at + len > end)
		return L7_DNS_SHORT;
	w->walk.behind = at + len;
	if (!answer)
		return 0;
	if (answer > L7_ANSWERS) {
		w->split.record.head.flags |= L7_F_TRUNCATED;
		return 0;
	}
	if (type == DNS_TYPE_A && len == 4) {
		l7_text(TEXT_DNS_A, at, 4, ttl);
	} else if (type == DNS_TYPE_AAAA && len == 16) {
		l7_text(TEXT_DNS_AAAA, at, 16, ttl);
	} else if (type == DNS_TYPE_CNAME) {
		if (!l7_text_fits(w, L7_TEXT_MAX))
			return 0;
		fault = dns_name(at, base, end);
		if (fault)
			return fault;
		dns_name_text(w, TEXT_DNS_CNAME, ttl);
		w->walk.behind = at + len;
	} else {
		l7_text(TEXT_DNS_OTHER, at - 10, 2, ttl);
	}
	return 0;
}

/* All that follows the header. 0 = fine. */
FATHOM_STEP dns_sections(__u32 base, __u32 end)
{
	struct l7_work *w = l7_scratch();
	__u32 questions, answers, records, fault;

	if (!w)
		return L7_DNS_SHORT;
	questions = l7_be16(w, base + 4);
	answers = l7_be16(w, base + 6);
	records = answers + l7_be16(w, base + 8) + l7_be16(w, base + 10);
	w->split.record.head.detail = answers;
	w->walk.behind = base + DNS_HEADER;
	/* Some servers leave it out of an error's answer. */
	if (questions) {
		fault = dns_name(base + DNS_HEADER, base, end);
		if (fault)
			return fault;
		if (w->walk.behind + 4 > end)
			return L7_DNS_SHORT;
		dns_name_text(w, TEXT_DNS_NAME, 0);
		w->split.record.head.code = l7_be16(w, w->walk.behind);
		w->split.record.head.flags |= L7_F_CODE;
		w->walk.behind += 4;
	}
	for (__u32 i = 0; i < DNS_RECORDS; i++) {
		if (i >= records)
			return 0;
		fault = dns_record(base, end, i < answers ? i + 1 : 0);
		if (fault)
			return fault;
	}
	if (answers > L7_ANSWERS)
		w->split.record.head.flags |= L7_F_TRUNCATED;
	return 0;
}

/* A whole message, or its beginning where `cut` is set, in [base, end) of the window. */
FATHOM_STEP dns_message(struct __sk_buff *skb, __u32 base, __u32 end, __u32 cut)
{
	struct l7_work *w = l7_scratch();
	__u32 flags, questions, fault, response, egress;
	struct l7_exchange *x;
	__u16 id;

	if (!w)
		return 0;
	l7_record_begin(w);
	id = l7_be16(w, base);
	flags = l7_be16(w, base + 2);
	questions = l7_be16(w, base + 4);
	response = flags >> 15;
	/* Whoever was seen first: it is the server that answers. */
	if (w->proto == IPPROTO_UDP)
		w->index = response;
	w->split.record.head.proto = L7_DNS;
	w->split.record.head.exchange = id;
	w->split.record.head.version = flags;
	if (response) {
		w->split.record.head.status = flags & 15;
		w->split.record.head.flags |= L7_F_STATUS;
	}
	if (questions > 1 || (!questions && !response)) {
		fault = L7_DNS_QUESTIONS;
		w->split.record.head.code = questions;
	} else {
		fault = dns_sections(base, end);
	}
	if (cut || (flags & 0x0200))
		w->split.record.head.flags |= L7_F_TRUNCATED;
	if (fault && !(fault == L7_DNS_SHORT && cut)) {
		w->split.record.head.flags |= L7_F_MALFORMED;
		w->split.record.head.detail = fault;
	}
	if (w->proto == IPPROTO_TCP)
		l7_record_joined(w);
	egress = w->dir == DIR_EGRESS ? L7X_EGRESS : 0;
	if (!response) {
		x = l7_exchange_add(w->conn, id, L7_NEAR_DNS, w->now);
		if (x)
			x->flags = egress;
		l7_emit(skb, L7_TYPE_REQUEST);
		return 0;
	}
	x = l7_exchange_find(w->conn, id, L7_NEAR_DNS);
	/* Who asks doesn't answer: names are learned from this. */
	if (x && (x->flags & L7X_EGRESS) != egress) {
		w->split.record.head.latency_ns = l7_since(w->now, x->request_ns);
		w->split.record.head.duration_ns = w->split.record.head.latency_ns;
		l7_exchange_drop(x);
	} else {
		w->split.record.head.flags |= L7_F_UNMATCHED;
		ledger_count(LEDGER_L7_UNMATCHED);
	}
	if (w->proto == IPPROTO_TCP)
		l7_first_response(w);
	l7_emit(skb, L7_TYPE_RESPONSE);
	return 0;
}

/* One message over TCP: its length, then it. RFC 7766: many of them, answered in any order. */
FATHOM_STEP dns_tcp_step(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u32 left, len, part;

	if (!w)
		return L7_LOST;
	left = l7_left(w);
	if (left < 2)
		return L7_MORE;
	len = l7_be16(w, w->at);
	if (len < DNS_HEADER)
		return L7_LOST;
	part = len > DNS_TCP_PART ? DNS_TCP_PART : len;
	if (left < 2 + part)
		return L7_MORE;
	if ((l7_be16(w, w->at + 4) >> 15) != w->index)
		return L7_LOST;
	dns_message(skb, w->at + 2, w->at + 2 + part, part < len);
	l7_skip(w, 2 + len);
	return L7_NEXT;
}

#endif /* FATHOM_L7_DNS_H */
