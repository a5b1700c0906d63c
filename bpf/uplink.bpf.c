// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * uplink.bpf.c: every packet of a device that leads off the node.
 *
 * Hooks: tc ingress (from_uplink) and tc egress (to_uplink) of the device: tcx links,
 * before 6.6 clsact. Kernel 5.10. What is none of our business passes as it is, also
 * what can't be parsed: the node's own traffic is not judged here.
 *
 * Rejected: rules of netfilter, which would be a second connection tracking and a
 * second place that decides; redirecting to the pod's device from here, which passes
 * over the node's own routes and filters.
 */
#include "uapi.h"
#include "emit.h"
#include "ledger.h"
#include "packet.h"
#include "parse.h"
#include "report.h"
#include "uplink.h"

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";

static __always_inline int uplink_parse(struct __sk_buff *skb, struct packet *pkt, __u32 dir)
{
	int step;

	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->dir = dir;
	pkt->now = now_ticks();
	step = parse(skb);
	if (step == STEP_OK && pkt->class == CLASS_DISCOVERY)
		return STEP_UNTRACKED;
	return step;
}

/* Everything of the record that the packet says; nobody is its local end. */
static __always_inline void uplink_fill(struct event *e, struct packet *pkt, __u32 ifindex,
					__u32 from, __u32 to)
{
	int out = pkt->dir == DIR_EGRESS;

	pkt->local_identity = out ? from : to;
	pkt->remote_identity = out ? to : from;
	pkt->packets = 1;
	pkt->event_bytes = pkt->bytes;
	pkt->ct_state = CT_NEW;
	event_fill(e, pkt, ifindex);
	e->obs_point = out ? OBS_TO_NETWORK : OBS_FROM_NETWORK;
}

FATHOM_STEP uplink_report_drop(struct __sk_buff *skb, __u32 reason)
{
	struct packet *pkt = packet_scratch();
	__u32 ifindex = skb->ifindex, from, to;
	struct nat_work *w = nat_work();
	struct event *e;

	if (!pkt || !w)
		return TC_ACT_SHOT;
	count_traffic(pkt->dir, reason & 0xff, pkt->bytes);
	from = identity_of(pkt->saddr);
	to = identity_of(pkt->daddr);
	pkt->trigger = TRIGGER_DROP;
	ledger_count(LEDGER_UPLINK_EMITTED);
	e = tc_event_reserve(LANE_DROPS);
	if (e) {
		uplink_fill(e, pkt, ifindex, from, to);
		e->verdict = VERDICT_DROPPED;
		e->reason = reason;
		event_submit(e, LANE_DROPS);
	}
	/*
	 * A port of the node's own without a backend: nobody listens there, and the node
	 * says so at once. With a local policy silence is what makes others go elsewhere.
	 */
	if (reason == DROP_NO_BACKEND && !w->silent && to == IDENTITY_HOST)
		return TC_ACT_UNSPEC;
	return TC_ACT_SHOT;
}

/* A connection through this node to a backend on another: no pod's device here tells of it. */
FATHOM_STEP uplink_report_onward(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	__u32 ifindex = skb->ifindex, from, to;
	struct event *e;

	if (!pkt)
		return STEP_OK;
	from = identity_of(pkt->saddr);
	to = identity_of(pkt->daddr);
	pkt->trigger = TRIGGER_NEW;
	ledger_count(LEDGER_UPLINK_EMITTED);
	e = tc_event_reserve(LANE_EVENTS);
	if (!e)
		return STEP_OK;
	uplink_fill(e, pkt, ifindex, from, to);
	e->verdict = VERDICT_FORWARDED;
	event_submit(e, LANE_EVENTS);
	return STEP_OK;
}

static __noinline int uplink_in(struct __sk_buff *skb, struct packet *pkt)
{
	struct nat_work *w = nat_work();
	struct nat_entry *found;
	int step;

	if (!w)
		return STEP_UNTRACKED;
	if (pkt->class == CLASS_ERROR)
		return uplink_error(skb);
	nat_key_of(&w->key, NAT_IN, pkt);
	found = bpf_map_lookup_elem(&nat, &w->key);
	if (found && uplink_in_holds(pkt, found)) {
		nat_take(w, pkt, found);
		return uplink_rewrite(skb, NAT_DESTINATION);
	}
	if (pkt->class != CLASS_PORTS)
		return STEP_UNTRACKED;
	step = uplink_service(skb);
	return step == STEP_OK ? uplink_rewrite(skb, NAT_DESTINATION) : step;
}

static __noinline int uplink_out(struct __sk_buff *skb, struct packet *pkt)
{
	struct nat_work *w = nat_work();
	struct nat_entry *found;
	int step;

	if (!w)
		return STEP_UNTRACKED;
	if (pkt->class == CLASS_ERROR)
		return uplink_error(skb);
	nat_key_of(&w->key, NAT_OUT, pkt);
	found = bpf_map_lookup_elem(&nat, &w->key);
	if (found && !nat_expired(pkt, found)) {
		nat_take(w, pkt, found);
		return uplink_rewrite(skb, NAT_SOURCE);
	}
	/* What came in for a frontend and goes out again: its backend is on another node. */
	nat_key_set(&w->back, NAT_OUT, pkt->proto, pkt->daddr, pkt->dport, pkt->saddr, pkt->sport);
	found = bpf_map_lookup_elem(&nat, &w->back);
	if (found && found->service_id) {
		pkt->service_id = found->service_id;
		pkt->frontend_port = found->port;
		step = uplink_allocate(skb);
		if (step)
			return step;
		uplink_report_onward(skb);
		return uplink_rewrite(skb, NAT_SOURCE);
	}
	if (!uplink_masquerades(pkt))
		return STEP_UNTRACKED;
	step = uplink_allocate(skb);
	return step == STEP_OK ? uplink_rewrite(skb, NAT_SOURCE) : step;
}

static __always_inline int uplink_packet(struct __sk_buff *skb, __u32 dir)
{
	struct packet *pkt = packet_scratch();
	int step;

	if (!pkt || uplink_parse(skb, pkt, dir))
		return TC_ACT_UNSPEC;
	step = dir == DIR_INGRESS ? uplink_in(skb, pkt) : uplink_out(skb, pkt);
	return step > 0 ? uplink_report_drop(skb, step) : TC_ACT_UNSPEC;
}

/* What comes to the node. */
SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
	return uplink_packet(skb, DIR_INGRESS);
}

/* What leaves it. */
SEC("tc")
int to_uplink(struct __sk_buff *skb)
{
	return uplink_packet(skb, DIR_EGRESS);
}
