/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* l7/udp.h: what a datagram is: a DNS message, QUIC, or nothing that is read here. */
#ifndef FATHOM_L7_UDP_H
#define FATHOM_L7_UDP_H

#include "uapi.h"
#include "config.h"
#include "l7/detect.h"
#include "l7/dns.h"
#include "l7/mark.h"
#include "l7/record.h"
#include "l7/state.h"
#include "l7/window.h"

/* One number for both directions of a pair of sockets: nothing else is remembered of them. */
static __always_inline __u64 udp_conn(const struct l7_work *w)
{
	const __u64 *word = (const __u64 *)&w->tuple;
	__u64 hash = 0xcbf29ce484222325ULL;

#pragma unroll
	for (__u32 i = 0; i < sizeof(struct tuple) / 8; i++)
		hash = (hash ^ word[i] ^ hash >> 29) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Long header, fixed bit, a version that is one. RFC 9000 section 17.2, RFC 9369 */
static __always_inline int quic_plausible(const struct l7_work *w)
{
	__u32 version;

	if (w->n < 1200 || (l7_byte(w, 0) & 0xc0) != 0xc0)
		return 0;
	version = l7_be32(w, 1);
	return (version == 1 || version == 0x6b3343cf || version >> 8 == 0xff0000) &&
	       l7_byte(w, 5) <= 20;
}

/* Fills the window with the datagram's beginning. 0 = can't be read. */
FATHOM_STEP udp_load(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();
	__u64 size;

	if (!w || !w->len)
		return 0;
	size = w->len > DNS_UDP_PART ? DNS_UDP_PART : w->len;
	/* Of one in fragments the first is here, which has the header of all of it. */
	if (w->off + size > skb->len)
		size = skb->len - w->off;
	w->at = 0;
	w->n = size;
	w->taken = size;
	L7_LENGTH(size, DNS_UDP_PART);
	return !bpf_skb_load_bytes(skb, w->off, w->b, size);
}

static __always_inline void udp_datagram(struct __sk_buff *skb, struct l7_work *w)
{
	__u32 flags;

	if (!udp_load(skb))
		return;
	w->conn = udp_conn(w);
	if (w->n >= DNS_HEADER + 5) {
		flags = l7_be16(w, 2);
		if (dns_plausible(flags, l7_be16(w, 4), l7_be16(w, 6), l7_be16(w, 8),
				  l7_be16(w, 10), flags >> 15)) {
			dns_message(skb, 0, w->n, w->n < w->len);
			return;
		}
	}
	if (cfg_l7 == L7_MODE_ALL && quic_plausible(w)) {
		l7_record_begin(w);
		w->split.record.head.proto = L7_QUIC;
		l7_emit(skb, L7_TYPE_UNKNOWN);
	} else {
		ledger_count(LEDGER_L7_NOT_OURS);
	}
	l7_mark_off(w);
}

#endif /* FATHOM_L7_UDP_H */
