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
#include "clock.h"
#include "config.h"
#include "maps.h"
#include "packet.h"
#include "wire.h"

/* Extension headers before we give up; RFC 8200 knows six, in this order, most once. */
#define IP6_MAX_EXT 6

/*
 * Flags a sender can mean: one of SYN, FIN, RST or none of them, and ACK with all
 * but a first SYN and a RST. Anything else is a scan or a broken stack.
 */
static __always_inline int tcp_flags_valid(__u8 flags)
{
	switch (flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) {
	case TCP_SYN:
	case TCP_SYN | TCP_ACK:
	case TCP_RST:
	case TCP_RST | TCP_ACK:
	case TCP_FIN | TCP_ACK:
	case TCP_ACK:
		return 1;
	}
	return 0;
}

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

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *pkt)
{
	struct tcp_header tcp;
	__u32 header;

	if (pkt->l4_len < sizeof(tcp) || bpf_skb_load_bytes(skb, pkt->l4_off, &tcp, sizeof(tcp)))
		return DROP_CT_TRUNCATED;
	pkt->sport = tcp.sport;
	pkt->dport = tcp.dport;
	pkt->tcp_flags = tcp.flags;
	pkt->progress = tcp.flags;
	pkt->flags &= ~EVENT_F_NO_L4;
	header = (tcp.doff >> 4) * 4;
	if (header < sizeof(tcp))
		return DROP_INVALID_PACKET;
	if (header > pkt->l4_len)
		return DROP_CT_TRUNCATED;
	if (!tcp_flags_valid(tcp.flags))
		return DROP_INVALID_PACKET;
	return STEP_OK;
}

static __always_inline int parse_udp(struct __sk_buff *skb, struct packet *pkt)
{
	struct udp_header udp;
	__u32 len;

	if (pkt->l4_len < sizeof(udp) || bpf_skb_load_bytes(skb, pkt->l4_off, &udp, sizeof(udp)))
		return DROP_CT_TRUNCATED;
	pkt->sport = udp.sport;
	pkt->dport = udp.dport;
	pkt->flags &= ~EVENT_F_NO_L4;
	len = bpf_ntohs(udp.len);
	/* A first fragment's length is that of the whole datagram. */
	if (len < sizeof(udp) || (len > pkt->l4_len && pkt->frag == FRAG_NONE))
		return DROP_INVALID_PACKET;
	return STEP_OK;
}

static __always_inline int parse_sctp(struct __sk_buff *skb, struct packet *pkt)
{
	struct sctp_header sctp;

	if (pkt->l4_len < sizeof(sctp) || bpf_skb_load_bytes(skb, pkt->l4_off, &sctp, sizeof(sctp)))
		return DROP_CT_TRUNCATED;
	pkt->sport = sctp.sport;
	pkt->dport = sctp.dport;
	pkt->icmp_type = sctp.chunk;
	pkt->flags &= ~EVENT_F_NO_L4;
	if (bpf_ntohs(sctp.chunk_len) < 4)
		return DROP_INVALID_PACKET;
	if (sctp.chunk == SCTP_INIT)
		pkt->progress = TCP_SYN;
	else if (sctp.chunk == SCTP_ABORT || sctp.chunk == SCTP_SHUTDOWN_COMPLETE)
		pkt->progress = TCP_RST;
	return STEP_OK;
}

/* The identifier is the asking side's port: a reply finds the entry of its request. */
static __always_inline void echo_ports(struct packet *pkt, int reply, __be16 id)
{
	pkt->class = reply ? CLASS_ECHO_REPLY : CLASS_ECHO;
	pkt->sport = reply ? 0 : id;
	pkt->dport = reply ? id : 0;
	pkt->flags &= ~EVENT_F_NO_L4;
}

/* RFC 792, RFC 1122: what a pod has a use for; Redirect (5) and the clocks are not among it. */
static __always_inline int parse_icmp4(struct __sk_buff *skb, struct packet *pkt)
{
	struct icmp_header icmp;
	__u8 codes;

	if (pkt->l4_len < sizeof(icmp) || bpf_skb_load_bytes(skb, pkt->l4_off, &icmp, sizeof(icmp)))
		return DROP_CT_TRUNCATED;
	pkt->icmp_type = icmp.type;
	pkt->icmp_code = icmp.code;
	pkt->class = CLASS_ERROR;
	switch (icmp.type) {
	case ICMP4_ECHO:
	case ICMP4_ECHO_REPLY:
		echo_ports(pkt, icmp.type == ICMP4_ECHO_REPLY, icmp.id);
		codes = 1;
		break;
	case ICMP4_UNREACHABLE:
		codes = 16;
		break;
	case ICMP4_TIME_EXCEEDED:
		codes = 2;
		break;
	case ICMP4_PARAMETER:
		codes = 3;
		break;
	default:
		return DROP_UNKNOWN_ICMP4_TYPE;
	}
	return icmp.code < codes ? STEP_OK : DROP_UNKNOWN_ICMP4_CODE;
}

/* RFC 4443, 4861, 2710, 3810, 8883. */
static __always_inline int parse_icmp6(struct __sk_buff *skb, struct packet *pkt)
{
	struct icmp_header icmp;
	__u8 codes, hops = 255;

	if (pkt->l4_len < sizeof(icmp) || bpf_skb_load_bytes(skb, pkt->l4_off, &icmp, sizeof(icmp)))
		return DROP_CT_TRUNCATED;
	pkt->icmp_type = icmp.type;
	pkt->icmp_code = icmp.code;
	pkt->class = CLASS_ERROR;
	switch (icmp.type) {
	case ICMP6_ECHO:
	case ICMP6_ECHO_REPLY:
		echo_ports(pkt, icmp.type == ICMP6_ECHO_REPLY, icmp.id);
		codes = 1;
		break;
	case ICMP6_UNREACHABLE:
		codes = 9;
		break;
	case ICMP6_TOO_BIG:
		codes = 1;
		break;
	case ICMP6_TIME_EXCEEDED:
		codes = 2;
		break;
	case ICMP6_PARAMETER:
		codes = 11;
		break;
	case ICMP6_ROUTER_ADVERT:
	case ICMP6_REDIRECT:
		/* The node is the pod's only router; a pod is nobody's. */
		if (pkt->dir == DIR_EGRESS)
			return DROP_FORBIDDEN_ICMP6;
		goto discovery;
	case ICMP6_MLD_QUERY:
	case ICMP6_MLD_REPORT:
	case ICMP6_MLD_DONE:
	case ICMP6_MLD2_REPORT:
		hops = 1;
		goto discovery;
	case ICMP6_ROUTER_SOLICIT:
	case ICMP6_NEIGHBOUR_SOLICIT:
	case ICMP6_NEIGHBOUR_ADVERT:
discovery:
		/* From this link and no further: that is what the hop limit is for. */
		if (icmp.code || pkt->hop_limit != hops || pkt->frag != FRAG_NONE)
			return DROP_INVALID_PACKET;
		pkt->class = CLASS_DISCOVERY;
		return STEP_OK;
	default:
		return DROP_UNKNOWN_ICMP6_TYPE;
	}
	return icmp.code < codes ? STEP_OK : DROP_UNKNOWN_ICMP6_CODE;
}

static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *pkt)
{
	int step;

	pkt->progress = TCP_ACK;
	if (pkt->frag != FRAG_NONE)
		pkt->flags |= EVENT_F_FRAGMENT;
	if (pkt->frag == FRAG_LATER)
		return fragment_recall(skb, pkt);

	if (pkt->proto == IPPROTO_TCP)
		step = parse_tcp(skb, pkt);
	else if (pkt->proto == IPPROTO_UDP)
		step = parse_udp(skb, pkt);
	else if (pkt->proto == IPPROTO_SCTP)
		step = parse_sctp(skb, pkt);
	else if (pkt->proto == IPPROTO_ICMP && pkt->family == 4)
		step = parse_icmp4(skb, pkt);
	else if (pkt->proto == IPPROTO_ICMPV6 && pkt->family == 6)
		step = parse_icmp6(skb, pkt);
	else
		step = DROP_CT_UNKNOWN_L4;

	if (step == STEP_OK && pkt->frag == FRAG_FIRST && pkt->class != CLASS_ERROR)
		fragment_remember(skb, pkt);
	return step;
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
	/* A v4-mapped address is for sockets; on the wire it would pass for IPv4. */
	if (addr_is_v4(pkt->saddr) || addr_is_v4(pkt->daddr))
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
