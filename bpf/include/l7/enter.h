/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/enter.h: from a packet that may pass to the programs that read what it carries.
 *
 * Whether a connection is read here is decided once, when its entry is made: one
 * bit of the entry's TCP flags, which every packet has looked at anyway, says no.
 * A message is reported once per node: by the server's pod if it is here, else by
 * the client's.
 */
#ifndef FATHOM_L7_ENTER_H
#define FATHOM_L7_ENTER_H

#include "uapi.h"
#include "addr.h"
#include "clock.h"
#include "config.h"
#include "conntrack.h"
#include "packet.h"
#include "wire.h"
#include "l7/mark.h"
#include "l7/state.h"

/* The mark of a new connection that isn't to be read at this device. */
static __always_inline __u8 l7_mark(const struct packet *pkt)
{
	if (cfg_l7 == L7_MODE_OFF || pkt->l7_off)
		return CT_L7_OFF;
	if (pkt->tuple.proto != IPPROTO_TCP && pkt->tuple.proto != IPPROTO_UDP)
		return CT_L7_OFF;
	if (pkt->dir == DIR_EGRESS && pkt->l7_at_peer)
		return CT_L7_OFF;
	return 0;
}

/* What the entry says of the connection. */
static __always_inline void l7_take_entry(struct l7_work *w, const struct ct_entry *ct, __u32 dir)
{
	__u8 opener = ct->tcp_flags[0], other = ct->tcp_flags[1];

	w->ct_index = ct_index(ct, dir);
	w->index = w->ct_index;
	w->remote_identity = ct->remote_identity;
	w->rule_id = ct->rule_id;
	w->revision = ct->revision;
	w->service_id = ct->service_id;
	w->match = ct->match;
	w->flags = (ct->flags & CT_F_POLICY ? EVENT_F_POLICY : 0) |
		   (ct->flags & CT_F_LOCAL_HOST ? EVENT_F_LOCAL_HOST : 0);
	w->over = ((opener | other) & TCP_RST) || (opener & other & TCP_FIN);
	w->opened = w->proto == IPPROTO_TCP && ct->syn_us;
	w->dir = dir;
	w->source = L7_FROM_PACKET;
	w->rounds = 0;
	w->now = now_ns();
}

/* From the headers: they are plain, or the fast path would not have let them through. */
static __noinline int l7_from_headers(struct __sk_buff *skb, __u32 dir, struct ct_entry *ct)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *l4;
	struct l7_work *w = l7_scratch();
	__u32 off, len;

	if (!w)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct ip4_header *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return 0;
		w->family = 4;
		w->proto = ip->proto;
		addr_from_v4(w->saddr, ip->src);
		addr_from_v4(w->daddr, ip->dst);
		l4 = ip + 1;
		off = ETH_HLEN + sizeof(*ip);
		len = bpf_ntohs(ip->total_len) - sizeof(*ip);
	} else {
		struct ip6_header *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return 0;
		w->family = 6;
		w->proto = ip->next;
		addr_copy(w->saddr, ip->src);
		addr_copy(w->daddr, ip->dst);
		l4 = ip + 1;
		off = ETH_HLEN + sizeof(*ip);
		len = bpf_ntohs(ip->payload_len);
	}
	if (w->proto == IPPROTO_TCP) {
		struct tcp_header *tcp = l4;
		__u32 header;

		if ((void *)(tcp + 1) > end)
			return 0;
		w->sport = tcp->sport;
		w->dport = tcp->dport;
		w->seq = bpf_ntohl(tcp->seq);
		w->ack = bpf_ntohl(tcp->ack);
		w->tcp_flags = tcp->flags;
		header = (tcp->doff >> 4) * 4;
		w->off = off + header;
		w->len = len - header;
	} else {
		struct udp_header *udp = l4;

		if ((void *)(udp + 1) > end)
			return 0;
		w->sport = udp->sport;
		w->dport = udp->dport;
		w->tcp_flags = 0;
		w->off = off + sizeof(*udp);
		w->len = bpf_ntohs(udp->len) - sizeof(*udp);
	}
	if (dir == DIR_EGRESS) {
		addr_copy(w->tuple.local, w->saddr);
		addr_copy(w->tuple.remote, w->daddr);
		w->tuple.lport = w->sport;
		w->tuple.rport = w->dport;
	} else {
		addr_copy(w->tuple.local, w->daddr);
		addr_copy(w->tuple.remote, w->saddr);
		w->tuple.lport = w->dport;
		w->tuple.rport = w->sport;
	}
	w->tuple.proto = w->proto;
	w->ifindex = skb->ifindex;
	w->handshake_us = 0;
	l7_take_entry(w, ct, dir);
	return 1;
}

/* From what the slow path knows. Says whether there is something to read. */
static __noinline int l7_from_packet(struct __sk_buff *skb, struct packet *pkt)
{
	struct l7_work *w = l7_scratch();
	struct ct_entry *ct;

	if (!w || pkt->frag == FRAG_LATER || pkt->class != CLASS_PORTS)
		return 0;
	/* A datagram's beginning is worth something without its end; a segment's is not. */
	if (pkt->frag == FRAG_FIRST && pkt->proto != IPPROTO_UDP)
		return 0;
	if (pkt->proto != IPPROTO_TCP && pkt->proto != IPPROTO_UDP)
		return 0;
	/* Its own answer to a SYN tells where the streams begin; FIN and RST, where they end. */
	if (!pkt->payload_len && !(pkt->progress & (TCP_FIN | TCP_RST)) &&
	    pkt->progress != (TCP_SYN | TCP_ACK))
		return 0;
	ct = ct_lookup(pkt, CT_KIND_CONN);
	if (!ct || l7_off(ct))
		return 0;
	w->tuple = pkt->tuple;
	w->family = pkt->family;
	w->proto = pkt->proto;
	addr_copy(w->saddr, pkt->saddr);
	addr_copy(w->daddr, pkt->daddr);
	w->sport = pkt->sport;
	w->dport = pkt->dport;
	w->seq = pkt->tcp_seq;
	w->ack = pkt->tcp_ack;
	w->tcp_flags = pkt->tcp_flags;
	w->off = pkt->payload_off;
	w->len = pkt->payload_len;
	w->ifindex = skb->ifindex;
	w->handshake_us = pkt->handshake_us;
	l7_take_entry(w, ct, pkt->dir);
	return 1;
}

#endif /* FATHOM_L7_ENTER_H */
