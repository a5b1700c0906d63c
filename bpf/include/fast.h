/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * fast.h: an established connection, from headers to verdict with one look-up.
 *
 * Everything unusual goes the slow way, which knows everything this does; here
 * are only the packets that change nothing: TCP or UDP in one piece, plain ACKs,
 * a live entry of the tables' present revision, no event due. That the entry is
 * this device's proves the source address: it was checked when the entry was made.
 */
#ifndef FATHOM_FAST_H
#define FATHOM_FAST_H

#include "uapi.h"
#include "addr.h"
#include "clock.h"
#include "config.h"
#include "conntrack.h"
#include "l7/enter.h"
#include "maps.h"
#include "wire.h"

/* The plain part of a TCP or UDP header: its ports, if nothing about it is unusual. */
static __always_inline int fast_ports(void *l4, void *end, __u8 proto, __u32 l4_len, __be16 *sport,
				      __be16 *dport, __u32 *payload)
{
	if (proto == IPPROTO_TCP) {
		struct tcp_header *tcp = l4;
		__u32 header;

		if ((void *)(tcp + 1) > end)
			return 0;
		header = (tcp->doff >> 4) * 4;
		if (header < sizeof(*tcp) || header > l4_len)
			return 0;
		if ((tcp->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK)
			return 0;
		*payload = l4_len - header;
		*sport = tcp->sport;
		*dport = tcp->dport;
		return 1;
	}
	if (proto == IPPROTO_UDP) {
		struct udp_header *udp = l4;
		__u32 len;

		if ((void *)(udp + 1) > end)
			return 0;
		len = bpf_ntohs(udp->len);
		if (len < sizeof(*udp) || len > l4_len)
			return 0;
		*payload = len - sizeof(*udp);
		*sport = udp->sport;
		*dport = udp->dport;
		return 1;
	}
	return 0;
}

static __always_inline struct ct_entry *fast_ct4(void *data, void *end, __u32 len, __u32 dir,
						 __u8 *proto, __u32 *payload)
{
	struct ip4_header *ip = data + ETH_HLEN;
	struct ct4_key key = {};
	__be16 sport, dport;
	__u32 total;

	if ((void *)(ip + 1) > end)
		return NULL;
	total = bpf_ntohs(ip->total_len);
	if (ip->version_ihl != 0x45 || (ip->frag & bpf_htons(IP4_MF | IP4_OFFSET)) ||
	    total < sizeof(*ip) || total + ETH_HLEN > len)
		return NULL;
	*proto = ip->proto;
	if (!fast_ports(ip + 1, end, ip->proto, total - sizeof(*ip), &sport, &dport, payload))
		return NULL;
	key.proto = ip->proto;
	if (dir == DIR_EGRESS) {
		key.local = ip->src;
		key.remote = ip->dst;
		key.lport = sport;
		key.rport = dport;
	} else {
		key.local = ip->dst;
		key.remote = ip->src;
		key.lport = dport;
		key.rport = sport;
	}
	return bpf_map_lookup_elem(&ct4, &key);
}

static __always_inline struct ct_entry *fast_ct6(void *data, void *end, __u32 len, __u32 dir,
						 __u8 *proto, __u32 *payload)
{
	struct ip6_header *ip = data + ETH_HLEN;
	struct ct6_key key = {};
	__be16 sport, dport;
	__u32 length;

	if ((void *)(ip + 1) > end)
		return NULL;
	length = bpf_ntohs(ip->payload_len);
	if ((ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000) ||
	    length + sizeof(*ip) + ETH_HLEN > len)
		return NULL;
	*proto = ip->next;
	if (!fast_ports(ip + 1, end, ip->next, length, &sport, &dport, payload))
		return NULL;
	key.proto = ip->next;
	if (dir == DIR_EGRESS) {
		addr_copy(key.local, ip->src);
		addr_copy(key.remote, ip->dst);
		key.lport = sport;
		key.rport = dport;
	} else {
		addr_copy(key.local, ip->dst);
		addr_copy(key.remote, ip->src);
		key.lport = dport;
		key.rport = sport;
	}
	return bpf_map_lookup_elem(&ct6, &key);
}

/* What the fast path says: go the slow way; accounted and to be forwarded; and its payload to be read besides. */
#define FAST_NO   0
#define FAST_YES  1
#define FAST_READ 2

static __always_inline int fast_path(struct __sk_buff *skb, __u32 dir)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 now, index, zero = 0, len = skb->len, payload = 0;
	struct eth_header *eth = data;
	struct runtime *tables;
	__u8 proto = 0, opener = TCP_ACK, other;
	struct ct_entry *ct;

	if (cfg_event_policy != EVENT_POLICY_CONNECTION)
		return FAST_NO;
	if ((void *)(eth + 1) > end || skb->vlan_present)
		return FAST_NO;
	if (eth->proto == bpf_htons(ETH_P_IP))
		ct = fast_ct4(data, end, len, dir, &proto, &payload);
	else if (eth->proto == bpf_htons(ETH_P_IPV6))
		ct = fast_ct6(data, end, len, dir, &proto, &payload);
	else
		return FAST_NO;
	if (!ct)
		return FAST_NO;

	tables = bpf_map_lookup_elem(&runtime, &zero);
	if (!tables || ct->revision != tables->revision || ct->ifindex != skb->ifindex ||
	    (ct->flags & (CT_F_DENIED | CT_F_OWN)))
		return FAST_NO;
	index = ct_index(ct, dir);
	/* A reply through a service is rewritten, unless that is done at the uplink. */
	if (index && dir == DIR_INGRESS && ct->service_id)
		return FAST_NO;
	now = now_ticks();
	if (proto == IPPROTO_TCP) {
		opener = ct->tcp_flags[0];
		other = ct->tcp_flags[1];
		/* Answered. What follows a FIN is as plain as what comes before. */
		if (!(other & TCP_ACK) || ((opener | other) & TCP_RST))
			return FAST_NO;
		if (ticks_since(now, ct->last_seen) >
		    (opener & other & TCP_FIN ? cfg_ct_tcp_closing_ticks : cfg_ct_tcp_ticks))
			return FAST_NO;
	} else {
		if (index && !ct_replied(ct))
			return FAST_NO;
		if (ticks_since(now, ct->last_seen) > cfg_ct_any_ticks)
			return FAST_NO;
	}
	if (ticks_since(now, ct->last_report[index & 1]) >= cfg_report_ticks)
		return FAST_NO;

	/* The handshake's third packet; only the opener's packets write here. */
	if (!index && !(opener & TCP_ACK))
		ct->tcp_flags[0] = opener | TCP_ACK;
	ct->last_seen = now;
	__sync_fetch_and_add(&ct->packets[index & 1], 1);
	__sync_fetch_and_add(&ct->bytes[index & 1], len - ETH_HLEN);
	if (cfg_l7 != L7_MODE_OFF && payload && !l7_off(ct) && l7_from_headers(skb, dir, ct))
		return FAST_READ;
	return FAST_YES;
}

#endif /* FATHOM_FAST_H */
