/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * track.h: from a parsed packet to its verdict: conntrack, source check, services,
 * policy, in that order, each only where the one before doesn't already know.
 */
#ifndef FATHOM_TRACK_H
#define FATHOM_TRACK_H

#include "uapi.h"
#include "clock.h"
#include "config.h"
#include "conntrack.h"
#include "endpoint.h"
#include "hairpin.h"
#include "l7/enter.h"
#include "leftover.h"
#include "ledger.h"
#include "nat_table.h"
#include "packet.h"
#include "policy.h"
#include "related.h"
#include "report.h"
#include "translate.h"
#include "verdict.h"
#include "wire.h"

/* SYN to SYN-ACK; never 0, which means not known. */
static __always_inline __u32 handshake_us(const struct ct_entry *ct)
{
	__u32 us;

	if (!ct->syn_us)
		return 0;
	us = (__u32)(now_ns() / 1000) - ct->syn_us;
	return us ? us : 1;
}

/* Why this packet of a live connection deserves an event, if it does. */
static __always_inline __u8 entry_trigger(struct packet *pkt, const struct ct_entry *ct,
					  __u32 index)
{
	__u8 seen = ct->tcp_flags[index & 1], fresh = pkt->progress & ~seen;

	if (fresh & (TCP_FIN | TCP_RST))
		return TRIGGER_CLOSE;
	if (index && !seen) {
		pkt->handshake_us = handshake_us(ct);
		return TRIGGER_FLAGS;
	}
	if (ticks_since(pkt->now, ct->last_report[index & 1]) >= cfg_report_ticks)
		return TRIGGER_INTERVAL;
	return cfg_event_policy == EVENT_POLICY_PACKET ? TRIGGER_PACKET : TRIGGER_NONE;
}

/* A packet of a live connection. */
static __noinline int track_live(struct __sk_buff *skb, struct packet *pkt, struct ct_entry *ct)
{
	__u32 index = ct_index(ct, pkt->dir);
	__u8 trigger;
	int step;

	pkt->flags |= EVENT_F_REPLY_KNOWN | (index ? EVENT_F_REPLY : 0);
	pkt->ct_state = index ? CT_REPLY : CT_ESTABLISHED;
	if (ct->service_id)
		pkt->service_id = ct->service_id;
	step = entry_verdict(pkt, ct);
	ct->last_seen = pkt->now;
	if (step)
		return step;

	if (index && ct->service_id && pkt->dir == DIR_INGRESS) {
		pkt->moved = !!(ct->flags & CT_F_MOVED);
		step = service_reverse(skb, pkt);
		if (step)
			return step;
	}

	trigger = entry_trigger(pkt, ct, index);
	if (pkt->trigger == TRIGGER_NONE)
		pkt->trigger = trigger;
	ct->tcp_flags[index & 1] |= pkt->progress;
	__sync_fetch_and_add(&ct->packets[index & 1], 1);
	__sync_fetch_and_add(&ct->bytes[index & 1], pkt->bytes);
	if (pkt->trigger != TRIGGER_NONE) {
		ct->last_report[index & 1] = pkt->now;
		ct_take(ct, pkt, index);
	}
	return STEP_OK;
}

/*
 * What an ended entry still has of one direction, before another connection takes
 * its place. Not this packet's record: the ledger counts it apart.
 */
static __noinline void report_leftover(struct packet *pkt, struct ct_entry *ct, __u32 index)
{
	__u32 identity = pkt->local_identity, packets;
	struct event *e;
	__u64 bytes;

	if ((__s32)ct->packets[index & 1] <= 0)
		return;
	ledger_count(LEDGER_EVENTS_TIMEOUT);
	e = tc_event_reserve(LANE_EVENTS);
	if (!e)
		return;
	ct_take_counters(ct, index, &packets, &bytes);
	leftover_fill(e, ct, &pkt->tuple, pkt->family, identity, index);
	e->kind = EVENT_KIND_FLOW;
	e->packets = packets;
	e->bytes = bytes;
	event_submit(e, LANE_EVENTS);
}

/* What the entry that this connection takes the place of still has to say; `old` may be NULL. */
static __always_inline void track_replaced(struct packet *pkt, struct ct_entry *old, int age)
{
	if (!old)
		return;
	ledger_count(LEDGER_CT_REPLACED);
	if (age == CT_EXPIRED)
		ledger_count(LEDGER_CT_EXPIRED);
	/* After a FIN each way all that is left are bare acknowledgements. */
	if (old->tcp_flags[0] & old->tcp_flags[1] & TCP_FIN)
		return;
	report_leftover(pkt, old, 0);
	report_leftover(pkt, old, 1);
}

/* What track_new says besides: the connection is there, another CPU had its first packet just now. */
#define STEP_OVERTAKEN (-2)

/*
 * The service whose frontend on an uplink a connection came through, if it did: for
 * the records of the pod's device, where the packet has the backend's address.
 */
static __noinline void nat_name_service(struct packet *pkt)
{
	struct nat_work *w = nat_work();
	struct nat_entry *entry;

	if (!w)
		return;
	nat_key_set(&w->key, NAT_OUT, pkt->tuple.proto, pkt->tuple.local, pkt->tuple.lport,
		    pkt->tuple.remote, pkt->tuple.rport);
	entry = bpf_map_lookup_elem(&nat, &w->key);
	if (!entry || !entry->service_id)
		return;
	pkt->service_id = entry->service_id;
	pkt->frontend_port = entry->port;
}

/* The allowed first packet of a connection, in the place of `old` (NULL = of none). */
static __noinline int track_new(struct __sk_buff *skb, struct packet *pkt, struct ct_entry *old,
				int age)
{
	struct ct_entry entry = {};
	long failed;

	entry.last_report[0] = pkt->now;
	entry.last_report[1] = pkt->now;
	entry.last_seen = pkt->now;
	entry.revision = pkt->revision;
	entry.remote_identity = pkt->remote_identity;
	entry.rule_id = pkt->rule_id;
	entry.ifindex = skb->ifindex;
	entry.service_id = pkt->service_id;
	/* Picked up in its middle: when it began isn't known. */
	if (pkt->tuple.proto != IPPROTO_TCP || pkt->progress == TCP_SYN)
		entry.syn_us = now_ns() / 1000;
	entry.tcp_flags[0] = pkt->progress | l7_mark(pkt);
	entry.flags = (pkt->dir == DIR_EGRESS ? CT_F_EGRESS : 0) |
		      (hairpin_own(pkt) ? CT_F_OWN : 0) | (pkt->moved ? CT_F_MOVED : 0) |
		      verdict_flags(pkt, STEP_OK);
	entry.match = pkt->match;
	track_replaced(pkt, old, age);
	failed = ct_store(pkt, CT_KIND_CONN, &entry, old ? BPF_ANY : BPF_NOEXIST);
	if (failed == -EEXIST)
		return STEP_OVERTAKEN;
	if (failed) {
		ledger_count(LEDGER_CT_INSERT_FAILED);
		return DROP_CT_INSERT_FAILED;
	}
	ledger_count(LEDGER_CT_CREATED);
	pkt->trigger = TRIGGER_NEW;
	pkt->packets = 1;
	pkt->event_bytes = pkt->bytes;
	pkt->taken = 1;
	return STEP_OK;
}

/* Everything with a connection of its own: TCP, UDP, SCTP, echo. */
static __noinline int track_connection(struct __sk_buff *skb, struct packet *pkt)
{
	struct ct_entry *ct;
	int age, step;

	age = find_entry(skb, pkt, &ct);
	if (ct && age == CT_LIVE && ct->revision == pkt->revision)
		return track_live(skb, pkt, ct);

	step = check_endpoint(skb, pkt);
	if (step)
		return step;
	if (pkt->dir == DIR_EGRESS && pkt->class == CLASS_PORTS) {
		step = service_translate(skb);
		if (step)
			return step;
		if (pkt->flags & EVENT_F_TRANSLATED) {
			age = find_entry(skb, pkt, &ct);
			/*
			 * One that the backend opened, or that went there directly, isn't this
			 * one: its answers would not get the frontend's address back.
			 */
			if (ct && age == CT_LIVE &&
			    (!(ct->flags & CT_F_EGRESS) || ct->service_id != pkt->service_id ||
			     !(ct->flags & CT_F_MOVED) != !pkt->moved))
				age = CT_OVER;
		}
	}
	if (ct && age == CT_LIVE)
		return track_live(skb, pkt, ct);

	/* An answer nobody asked for must not make questions look like answers. */
	if (pkt->class == CLASS_ECHO_REPLY)
		return track_alone(pkt);
	pkt->ct_state = CT_NEW;
	if (ct && pkt->progress == TCP_SYN)
		pkt->ct_state = CT_REOPENED;
	if (pkt->dir == DIR_INGRESS && pkt->class == CLASS_PORTS)
		nat_name_service(pkt);
	/* Neither judge nor track_live from track_new: old kernels add up the stacks of a chain (512 bytes). */
	pkt->flags |= EVENT_F_REPLY_KNOWN;
	step = judge(pkt->dir);
	if (step)
		return step;
	step = track_new(skb, pkt, ct, age);
	if (step != STEP_OVERTAKEN)
		return step;
	ct = ct_lookup(pkt, CT_KIND_CONN);
	return ct ? track_live(skb, pkt, ct) : DROP_CT_INSERT_FAILED;
}

static __always_inline int track(struct __sk_buff *skb, struct packet *pkt)
{
	int step;

	if (pkt->class == CLASS_DISCOVERY)
		return track_discovery(skb, pkt);
	if (pkt->dir == DIR_EGRESS && hairpin_to_it(pkt)) {
		step = hairpin_return(skb, pkt);
		if (step)
			return step;
	}
	if (pkt->class == CLASS_ERROR)
		return track_error(skb, pkt);
	if (pkt->dir == DIR_EGRESS) {
		addr_copy(pkt->tuple.local, pkt->saddr);
		addr_copy(pkt->tuple.remote, pkt->daddr);
		pkt->tuple.lport = pkt->sport;
		pkt->tuple.rport = pkt->dport;
	} else {
		addr_copy(pkt->tuple.local, pkt->daddr);
		addr_copy(pkt->tuple.remote, pkt->saddr);
		pkt->tuple.lport = pkt->dport;
		pkt->tuple.rport = pkt->sport;
	}
	pkt->tuple.proto = pkt->proto;
	step = track_connection(skb, pkt);
	if (step == STEP_OK && pkt->dir == DIR_INGRESS && !(pkt->flags & EVENT_F_TRANSLATED) &&
	    hairpin_opened(pkt))
		step = hairpin_hide(skb, pkt);
	return step;
}

#endif /* FATHOM_TRACK_H */
