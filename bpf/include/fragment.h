/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* fragment.h: packets in pieces. The first has the ports; the rest are known by it. */
#ifndef FATHOM_FRAGMENT_H
#define FATHOM_FRAGMENT_H

#include "uapi.h"
#include "addr.h"
#include "clock.h"
#include "config.h"
#include "maps.h"
#include "packet.h"
#include "wire.h"

static __always_inline struct frag_key frag_key_of(struct __sk_buff *skb, const struct packet *pkt)
{
	struct frag_key key = {
		.id = pkt->frag_id,
		.proto = pkt->proto,
		.family = pkt->family,
		.ifindex_lo = skb->ifindex,
	};

	addr_copy(key.saddr, pkt->saddr);
	addr_copy(key.daddr, pkt->daddr);
	return key;
}

/* The first fragment leaves its ports to those that follow. */
static __always_inline void fragment_remember(struct __sk_buff *skb, const struct packet *pkt)
{
	struct frag_key key = frag_key_of(skb, pkt);
	struct frag_ports ports = { .sport = pkt->sport, .dport = pkt->dport, .tick = pkt->now };

	/* Not stored = the rest is dropped as FRAG_NOT_FOUND, so it needs no count of its own. */
	bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
}

static __always_inline int fragment_recall(struct __sk_buff *skb, struct packet *pkt)
{
	struct frag_key key = frag_key_of(skb, pkt);
	struct frag_ports *ports = bpf_map_lookup_elem(&fragments, &key);

	if (!ports || ticks_since(pkt->now, ports->tick) > cfg_fragment_ticks)
		return DROP_FRAG_NOT_FOUND;
	pkt->sport = ports->sport;
	pkt->dport = ports->dport;
	pkt->flags &= ~EVENT_F_NO_L4;
	pkt->progress = TCP_ACK;
	pkt->class = CLASS_PORTS;
	if (pkt->proto == IPPROTO_ICMP || pkt->proto == IPPROTO_ICMPV6)
		pkt->class = pkt->dport ? CLASS_ECHO_REPLY : CLASS_ECHO;
	return STEP_OK;
}

/*
 * What both families say of a fragment. One that would end beyond the largest
 * packet is the old ping of death; a later one that would overwrite the TCP
 * header is how to slip flags past a filter (RFC 3128).
 */
static __always_inline int check_fragment(const struct packet *pkt, __u32 offset)
{
	if (offset + pkt->l4_len > IP_MAX_LEN)
		return DROP_INVALID_PACKET;
	if (offset && offset < sizeof(struct tcp_header) && pkt->proto == IPPROTO_TCP)
		return DROP_INVALID_PACKET;
	return STEP_OK;
}

#endif /* FATHOM_FRAGMENT_H */
