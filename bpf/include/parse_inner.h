/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* parse_inner.h: the packet that an ICMP error is about. */
#ifndef FATHOM_PARSE_INNER_H
#define FATHOM_PARSE_INNER_H

#include "uapi.h"
#include "addr.h"
#include "leftover.h"
#include "packet.h"
#include "parse.h"
#include "wire.h"

/*
 * The packet within an ICMP error: its connection into the tuple. Its sender is
 * the error's receiver. STEP_UNTRACKED when it shows no ports.
 */
static __noinline int parse_inner(struct __sk_buff *skb, struct packet *pkt)
{
	struct tuple *tuple = &pkt->tuple;
	int local_sent = pkt->dir == DIR_INGRESS;
	struct icmp_header l4;
	int step;

	pkt->inner_l3 = pkt->l4_off + sizeof(struct icmp_header);
	if (pkt->family == 4) {
		struct ip4_header ip;

		if (bpf_skb_load_bytes(skb, pkt->inner_l3, &ip, sizeof(ip)))
			return DROP_CT_TRUNCATED;
		if (ip.version_ihl >> 4 != 4 || (ip.version_ihl & 0xf) < 5)
			return DROP_INVALID_PACKET;
		addr_from_v4(local_sent ? tuple->local : tuple->remote, ip.src);
		addr_from_v4(local_sent ? tuple->remote : tuple->local, ip.dst);
		tuple->proto = ip.proto;
		pkt->inner_l4 = pkt->inner_l3 + (ip.version_ihl & 0xf) * 4;
		if (ip.frag & bpf_htons(IP4_OFFSET))
			return STEP_UNTRACKED;
	} else {
		struct ip6_header ip;

		if (bpf_skb_load_bytes(skb, pkt->inner_l3, &ip, sizeof(ip)))
			return DROP_CT_TRUNCATED;
		if ((ip.version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return DROP_INVALID_PACKET;
		addr_copy(local_sent ? tuple->local : tuple->remote, ip.src);
		addr_copy(local_sent ? tuple->remote : tuple->local, ip.dst);
		pkt->walk.off = pkt->inner_l3 + sizeof(ip);
		pkt->walk.next = ip.next;
		pkt->walk.frag = FRAG_NONE;
		step = ip6_walk(skb);
		if (step)
			return step;
		tuple->proto = pkt->walk.next;
		pkt->inner_l4 = pkt->walk.off;
		if (pkt->walk.frag == FRAG_LATER)
			return STEP_UNTRACKED;
	}
	/* Eight bytes of L4 are all that RFC 792 promises. */
	if (bpf_skb_load_bytes(skb, pkt->inner_l4, &l4, sizeof(l4)))
		return DROP_CT_TRUNCATED;
	if (has_ports(tuple->proto)) {
		__be16 sport = (__be16)(l4.type | l4.code << 8), dport = l4.csum;

		tuple->lport = local_sent ? sport : dport;
		tuple->rport = local_sent ? dport : sport;
		return STEP_OK;
	}
	if (tuple->proto != (pkt->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return STEP_UNTRACKED;
	if (l4.type == (pkt->family == 4 ? ICMP4_ECHO : ICMP6_ECHO)) {
		tuple->lport = local_sent ? l4.id : 0;
		tuple->rport = local_sent ? 0 : l4.id;
		return STEP_OK;
	}
	if (l4.type == (pkt->family == 4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY)) {
		tuple->lport = local_sent ? 0 : l4.id;
		tuple->rport = local_sent ? l4.id : 0;
		return STEP_OK;
	}
	return STEP_UNTRACKED;
}

#endif /* FATHOM_PARSE_INNER_H */
