/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* report.h: what became of the packet, into counters, ledger and record. */
#ifndef FATHOM_REPORT_H
#define FATHOM_REPORT_H

#include "uapi.h"
#include "addr.h"
#include "conntrack.h"
#include "emit.h"
#include "identity.h"
#include "ledger.h"
#include "leftover.h"
#include "maps.h"
#include "packet.h"
#include "wire.h"

/* reason 0 = forwarded */
static __always_inline void count_traffic(__u32 dir, __u32 reason, __u32 bytes)
{
	__u32 slot = dir * 256 + reason;
	struct traffic_counter *counter = bpf_map_lookup_elem(&counters, &slot);

	if (counter) {
		counter->packets += 1;
		counter->bytes += bytes;
	}
}

static __always_inline void count_denial(__u32 rule_id, __u32 bytes)
{
	struct traffic_counter *counter = bpf_map_lookup_elem(&rule_denials, &rule_id);

	if (counter) {
		counter->packets += 1;
		counter->bytes += bytes;
	} else {
		struct traffic_counter first = { .packets = 1, .bytes = bytes };

		bpf_map_update_elem(&rule_denials, &rule_id, &first, BPF_ANY);
	}
}

/* Everything of the record that the packet says. Nothing here may fail. */
static __always_inline void event_fill(struct event *e, const struct packet *pkt, __u32 ifindex)
{
	e->kind = EVENT_KIND_FLOW;
	addr_copy(e->saddr, pkt->saddr);
	addr_copy(e->daddr, pkt->daddr);
	if (has_ports(pkt->proto)) {
		e->sport = pkt->sport;
		e->dport = pkt->dport;
	}
	if (pkt->dir == DIR_EGRESS) {
		e->src_identity = pkt->local_identity;
		e->dst_identity = pkt->remote_identity;
	} else {
		e->src_identity = pkt->remote_identity;
		e->dst_identity = pkt->local_identity;
	}
	e->ifindex = ifindex;
	e->rule_id = pkt->rule_id;
	e->handshake_us = pkt->handshake_us;
	e->proto = pkt->proto;
	e->family = pkt->family;
	e->direction = pkt->dir;
	e->ct_state = pkt->ct_state;
	e->tcp_flags = pkt->tcp_flags;
	e->icmp_type = pkt->icmp_type;
	e->icmp_code = pkt->icmp_code;
	e->flags = pkt->flags;
	e->match = pkt->match;
	e->trigger |= pkt->trigger;
	e->packets = pkt->packets;
	e->bytes = pkt->event_bytes;
	e->service_id = pkt->service_id;
	e->frontend_port = pkt->frontend_port;
	__builtin_memcpy(e->smac, pkt->smac, 6);
	__builtin_memcpy(e->dmac, pkt->dmac, 6);
	e->l3_proto = pkt->l3_proto;
}

/* The pod's identity where no step needed it before. */
static __always_inline void report_local_identity(struct packet *pkt, __u32 ifindex)
{
	struct endpoint *endpoint;

	if (pkt->local_identity)
		return;
	endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (endpoint)
		pkt->local_identity = endpoint->identity;
}

/*
 * Only what a pod or this node itself sends still has its socket; of the node's
 * the cgroup is told, which is a pod's if the pod has no network of its own.
 */
static __always_inline __u64 report_cookie(struct __sk_buff *skb, struct packet *pkt)
{
	__u64 cgroup;

	if (pkt->dir == DIR_EGRESS)
		return bpf_get_socket_cookie(skb);
	cgroup = sender_cgroup(skb, pkt->remote_identity);
	if (cgroup)
		pkt->flags |= EVENT_F_SENDER;
	return cgroup;
}

FATHOM_STEP report_drop(struct __sk_buff *skb, __u32 reason)
{
	struct packet *pkt = packet_scratch();
	__u32 ifindex = skb->ifindex;
	struct event *e;
	__u64 cookie;

	if (!pkt)
		return TC_ACT_SHOT;
	count_traffic(pkt->dir, reason & 0xff, pkt->bytes);
	if (reason == DROP_POLICY_DENIED || reason == DROP_POLICY_DENY)
		count_denial(pkt->rule_id, pkt->bytes);
	ledger_count(LEDGER_PACKETS_REPORTED);
	report_local_identity(pkt, ifindex);
	if (!pkt->remote_identity && !(pkt->flags & EVENT_F_NO_IP))
		pkt->remote_identity =
			pkt->dir == DIR_EGRESS ? identity_of(pkt->daddr) : identity_of(pkt->saddr);
	cookie = report_cookie(skb, pkt);
	if (pkt->trigger != TRIGGER_REJUDGED)
		pkt->trigger = TRIGGER_DROP;
	pkt->packets = 1;
	pkt->event_bytes = pkt->bytes;

	e = tc_event_reserve(LANE_DROPS);
	if (!e)
		return TC_ACT_SHOT;
	event_fill(e, pkt, ifindex);
	e->verdict = VERDICT_DROPPED;
	e->reason = reason;
	e->obs_point = pkt->dir == DIR_EGRESS ? OBS_FROM_ENDPOINT : OBS_TO_ENDPOINT;
	e->cookie = cookie;
	event_submit(e, LANE_DROPS);
	return TC_ACT_SHOT;
}

FATHOM_STEP report_forward(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	__u32 ifindex = skb->ifindex;
	struct event *e;
	__u64 cookie;

	if (!pkt)
		return TC_ACT_SHOT;
	count_traffic(pkt->dir, 0, pkt->bytes);
	if (pkt->trigger == TRIGGER_NONE) {
		ledger_count(LEDGER_PACKETS_AGGREGATED);
		return TC_ACT_UNSPEC;
	}
	ledger_count(LEDGER_PACKETS_REPORTED);
	report_local_identity(pkt, ifindex);
	cookie = report_cookie(skb, pkt);

	e = tc_event_reserve(LANE_EVENTS);
	if (!e) {
		ct_give_back(pkt);
		return TC_ACT_UNSPEC;
	}
	event_fill(e, pkt, ifindex);
	e->verdict = VERDICT_FORWARDED;
	e->obs_point = pkt->dir == DIR_EGRESS ? OBS_TO_STACK : OBS_TO_ENDPOINT;
	e->cookie = cookie;
	event_submit(e, LANE_EVENTS);
	return TC_ACT_UNSPEC;
}

#endif /* FATHOM_REPORT_H */
