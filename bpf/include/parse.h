/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * parse.h: headers into struct packet, each absurdity with its name.
 *
 * The rule for names: a header that breaks off is CT_TRUNCATED, one that
 * contradicts itself or the packet around it is INVALID_PACKET. Loads by helper
 * and not by pointer: this is the slow path, and the helper reads packets that
 * are not in one piece.
 */
#ifndef FATHOM_PARSE_H
#define FATHOM_PARSE_H

#include "uapi.h"
#include "addr.h"
#include "fragment.h"
#include "packet.h"
#include "parse_l4.h"
#include "wire.h"

/* Extension headers before we give up; RFC 8200 knows six, in this order, most once. */
#define IP6_MAX_EXT 6

static __always_inline int parse_ip4(struct __sk_buff *skb, struct packet *pkt)
{
	struct ip4_header ip;
	__u32 header, total, offset;
	int step;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return DROP_CT_TRUNCATED;
	if (ip.version_ihl >> 4 != 4)
		return DROP_INVALID_PACKET;
	pkt->family = 4;
	pkt->proto = ip.proto;
	pkt->hop_limit = ip.ttl;
	addr_from_v4(pkt->saddr, ip.src);
	addr_from_v4(pkt->daddr, ip.dst);
	pkt->flags &= ~EVENT_F_NO_IP;

	header = (ip.version_ihl & 0xf) * 4;
	if (header < sizeof(ip))
		return DROP_INVALID_PACKET;
	if (header > pkt->bytes)
		return DROP_CT_TRUNCATED;
	total = bpf_ntohs(ip.total_len);
	/* Segments larger than the field can say: BIG TCP, between local devices only. */
	if (!total && pkt->bytes > IP_MAX_LEN)
		total = pkt->bytes;
	if (total < header || total > pkt->bytes)
		return DROP_INVALID_PACKET;
	pkt->l4_off = ETH_HLEN + header;
	pkt->l4_len = total - header;

	offset = (bpf_ntohs(ip.frag) & IP4_OFFSET) * 8;
	if (offset || (ip.frag & bpf_htons(IP4_MF))) {
		pkt->frag = offset ? FRAG_LATER : FRAG_FIRST;
		pkt->frag_id = ip.id;
		step = check_fragment(pkt, offset);
		if (step)
			return step;
	}
	return parse_l4(skb, pkt);
}

/*
 * Walks to the L4 header; STEP_OK with walk.next = its protocol. The state stays
 * in map memory, so that all ways through one header are one for the verifier.
 */
FATHOM_STEP ip6_walk(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	struct ip6_walk *walk;
	struct ip6_ext ext;
	int i;

	if (!pkt)
		return DROP_INVALID_PACKET;
	walk = &pkt->walk;

	for (i = 0; i < IP6_MAX_EXT; i++) {
		__u32 off = *(volatile __u32 *)&walk->off;
		__u8 next = *(volatile __u8 *)&walk->next;
		__u32 len;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_AH:
		case IPPROTO_FRAGMENT:
			break;
		default:
			return STEP_OK;
		}
		/* Behind a first fragment's header, others would hide from those that follow. */
		if (walk->frag != FRAG_NONE)
			return DROP_FRAG_UNSUPPORTED;
		if (next == IPPROTO_HOPOPTS && i)
			return DROP_INVALID_EXT_HEADER;
		if (bpf_skb_load_bytes(skb, off, &ext, sizeof(ext)))
			return DROP_CT_TRUNCATED;
		len = ext.len * 8 + 8;
		if (next == IPPROTO_AH)
			len = ext.len * 4 + 8;
		/* With segments left the destination isn't what the packet says: RFC 5095. */
		if (next == IPPROTO_ROUTING && (ext.frag & bpf_htons(0xff)))
			return DROP_INVALID_EXT_HEADER;
		if (next == IPPROTO_FRAGMENT) {
			__u16 field = bpf_ntohs(ext.frag);

			len = 8;
			/* Neither more nor offset is a whole packet: RFC 6946. */
			if (field & 0xfff9) {
				walk->frag_id = ext.id;
				walk->frag_off = field & 0xfff8;
				walk->frag = walk->frag_off ? FRAG_LATER : FRAG_FIRST;
			}
		}
		*(volatile __u32 *)&walk->off = off + len;
		*(volatile __u8 *)&walk->next = ext.next;
		if (walk->frag == FRAG_LATER)
			break;
	}
	switch (walk->next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
	case IPPROTO_FRAGMENT:
		return walk->frag == FRAG_LATER ? DROP_FRAG_UNSUPPORTED : DROP_INVALID_EXT_HEADER;
	}
	return STEP_OK;
}

static __always_inline int parse_ip6(struct __sk_buff *skb, struct packet *pkt)
{
	struct ip6_header ip;
	__u32 total;
	int step;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return DROP_CT_TRUNCATED;
	if ((ip.version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return DROP_INVALID_PACKET;
	pkt->family = 6;
	/*
	 * A v4-mapped address is for sockets. On the wire it would pass for IPv4, in
	 * tables and in records: there it is no address.
	 */
	if (addr_is_v4(ip.src) || addr_is_v4(ip.dst))
		return DROP_INVALID_PACKET;
	pkt->proto = ip.next;
	pkt->hop_limit = ip.hop_limit;
	addr_copy(pkt->saddr, ip.src);
	addr_copy(pkt->daddr, ip.dst);
	pkt->flags &= ~EVENT_F_NO_IP;

	total = sizeof(ip) + bpf_ntohs(ip.payload_len);
	if (!ip.payload_len && pkt->bytes > sizeof(ip) + IP_MAX_LEN)
		total = pkt->bytes;
	if (total > pkt->bytes)
		return DROP_INVALID_PACKET;

	pkt->walk.off = ETH_HLEN + sizeof(ip);
	pkt->walk.next = ip.next;
	step = ip6_walk(skb);
	if (step)
		return step;
	pkt->proto = pkt->walk.next;
	pkt->l4_off = pkt->walk.off;
	if (pkt->l4_off > ETH_HLEN + total)
		return DROP_CT_TRUNCATED;
	pkt->l4_len = ETH_HLEN + total - pkt->l4_off;
	pkt->frag = pkt->walk.frag;
	if (pkt->frag != FRAG_NONE) {
		pkt->frag_id = pkt->walk.frag_id;
		step = check_fragment(pkt, pkt->walk.frag_off);
		if (step)
			return step;
	}
	return parse_l4(skb, pkt);
}

/* Everything up to the ports. */
FATHOM_STEP parse(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	struct eth_header eth;
	__u16 proto;

	if (!pkt)
		return DROP_INVALID_PACKET;
	pkt->flags = EVENT_F_NO_IP | EVENT_F_NO_L4;
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return DROP_INVALID_PACKET;
	__builtin_memcpy(pkt->smac, eth.src, 6);
	__builtin_memcpy(pkt->dmac, eth.dst, 6);
	pkt->l3_proto = eth.proto;
	pkt->bytes = skb->len - ETH_HLEN;
	if (skb->vlan_present) {
		pkt->l3_proto = skb->vlan_proto;
		return DROP_VLAN_FILTERED;
	}
	proto = bpf_ntohs(eth.proto);
	switch (proto) {
	case ETH_P_IP:
		return parse_ip4(skb, pkt);
	case ETH_P_IPV6:
		return parse_ip6(skb, pkt);
	case ETH_P_ARP:
		return STEP_UNTRACKED;
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return DROP_VLAN_FILTERED;
	}
	return proto < ETH_P_802_3_MIN ? DROP_UNSUPPORTED_L2 : DROP_UNSUPPORTED_L3;
}

#endif /* FATHOM_PARSE_H */
