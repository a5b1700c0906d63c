/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* parse_l4.h: TCP, UDP, SCTP, ICMP and ICMPv6 headers; the rule for names of faults is in parse.h. */
#ifndef FATHOM_PARSE_L4_H
#define FATHOM_PARSE_L4_H

#include "uapi.h"
#include "fragment.h"
#include "packet.h"
#include "wire.h"

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

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *pkt)
{
	struct tcp_header tcp;
	__u32 header;

	if (pkt->l4_len < sizeof(tcp) || bpf_skb_load_bytes(skb, pkt->l4_off, &tcp, sizeof(tcp)))
		return DROP_CT_TRUNCATED;
	pkt->sport = tcp.sport;
	pkt->dport = tcp.dport;
	pkt->tcp_flags = tcp.flags;
	pkt->progress = tcp.flags & ~TCP_ECN;
	pkt->flags &= ~EVENT_F_NO_L4;
	header = (tcp.doff >> 4) * 4;
	if (header < sizeof(tcp))
		return DROP_INVALID_PACKET;
	if (header > pkt->l4_len)
		return DROP_CT_TRUNCATED;
	if (!tcp_flags_valid(tcp.flags))
		return DROP_INVALID_PACKET;
	pkt->payload_off = pkt->l4_off + header;
	pkt->payload_len = pkt->l4_len - header;
	pkt->tcp_seq = bpf_ntohl(tcp.seq);
	pkt->tcp_ack = bpf_ntohl(tcp.ack);
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
	pkt->payload_off = pkt->l4_off + sizeof(udp);
	pkt->payload_len = len - sizeof(udp);
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

#endif /* FATHOM_PARSE_L4_H */
