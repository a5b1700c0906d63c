/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * track.h: from a parsed packet to its verdict: conntrack, source check, services,
 * policy, in that order, each only where the one before doesn't already know.
 */
#ifndef FATHOM_TRACK_H
#define FATHOM_TRACK_H

#include "uapi.h"
#include "clock.h"
#include "conntrack.h"
#include "ledger.h"
#include "packet.h"
#include "policy.h"
#include "report.h"
#include "translate.h"
#include "wire.h"

/* The pod behind the device, and whether this packet may carry its address. */
static __always_inline int check_endpoint(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);

	if (!endpoint)
		return DROP_EP_NOT_READY;
	pkt->local_identity = endpoint->identity;
	if (!(endpoint->flags & ENDPOINT_F_READY))
		return DROP_EP_NOT_READY;
	if (pkt->dir != DIR_EGRESS)
		return STEP_OK;
	if (pkt->family == 4)
		return addr_v4(pkt->saddr) == endpoint->ipv4 && endpoint->ipv4 ?
			       STEP_OK :
			       DROP_INVALID_SOURCE_IP;
	return addr_equal(pkt->saddr, endpoint->ipv6) && !addr_is_unspecified(endpoint->ipv6) ?
		       STEP_OK :
		       DROP_INVALID_SOURCE_IP;
}

/*
 * Neighbour and listener discovery keeps the link going and isn't policy's
 * business; but a pod speaks from its own or a link-local address, or from none
 * while it looks whether its address is taken (RFC 4862).
 */
static __always_inline int track_discovery(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *endpoint;

	if (pkt->dir != DIR_EGRESS || addr_is_link_local(pkt->saddr) ||
	    addr_is_unspecified(pkt->saddr))
		return STEP_UNTRACKED;
	endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (endpoint && !addr_equal(pkt->saddr, endpoint->ipv6))
		return DROP_INVALID_SOURCE_IP;
	return STEP_UNTRACKED;
}

/* What the entry says of the verdict, for the record. */
static __always_inline void recall_verdict(struct packet *pkt, const struct ct_entry *ct)
{
	pkt->remote_identity = ct->remote_identity;
	pkt->rule_id = ct->rule_id;
	pkt->match = ct->match;
	if (ct->flags & CT_F_POLICY)
		pkt->flags |= EVENT_F_POLICY;
	if (ct->flags & CT_F_LOCAL_HOST)
		pkt->flags |= EVENT_F_LOCAL_HOST;
}

/* The judgement as an entry keeps it. */
static __always_inline __u8 verdict_flags(const struct packet *pkt, int reason)
{
	__u8 flags = 0;

	if (pkt->flags & EVENT_F_POLICY)
		flags |= CT_F_POLICY;
	if (pkt->flags & EVENT_F_LOCAL_HOST)
		flags |= CT_F_LOCAL_HOST;
	if (reason)
		flags |= CT_F_DENIED;
	if (reason == DROP_POLICY_DENY)
		flags |= CT_F_DENY_RULE;
	return flags;
}

/*
 * Judges a live connection again, because tables have moved since, in the
 * direction it was opened in. A verdict that can't be had isn't remembered.
 */
static __noinline int rejudge(struct packet *pkt, struct ct_entry *ct)
{
	__u8 opened = ct->flags & CT_F_EGRESS, before = ct->flags;
	int reason = judge(opened ? DIR_EGRESS : DIR_INGRESS);

	ledger_count(LEDGER_CT_REJUDGED);
	if (reason == DROP_NO_POLICY_CONFIG)
		return reason;
	if (!reason != !(before & CT_F_DENIED))
		pkt->trigger = TRIGGER_REJUDGED;
	ct->remote_identity = pkt->remote_identity;
	ct->rule_id = pkt->rule_id;
	ct->match = pkt->match;
	ct->flags = opened | verdict_flags(pkt, reason);
	/* Last: another CPU that sees the new revision believes the rest. */
	*(volatile __u32 *)&ct->revision = pkt->revision;
	return reason;
}

/* The verdict on a packet of a live entry. */
static __always_inline int entry_verdict(struct packet *pkt, struct ct_entry *ct)
{
	if (ct->revision != pkt->revision)
		return rejudge(pkt, ct);
	recall_verdict(pkt, ct);
	if (ct->flags & CT_F_DENIED)
		return ct->flags & CT_F_DENY_RULE ? DROP_POLICY_DENY : DROP_POLICY_DENIED;
	return STEP_OK;
}

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
	step = entry_verdict(pkt, ct);
	ct->last_seen = pkt->now;
	if (step)
		return step;

	if (ct->service_id)
		pkt->service_id = ct->service_id;
	if (index && ct->service_id && pkt->dir == DIR_INGRESS) {
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

/* Judged for itself: what came unasked and must not open the way for more. */
static __always_inline int track_alone(struct packet *pkt)
{
	int step = judge(pkt->dir);

	if (step)
		return step;
	pkt->trigger = TRIGGER_PACKET;
	pkt->packets = 1;
	pkt->event_bytes = pkt->bytes;
	return STEP_OK;
}

/* The first packet of a connection. */
static __noinline int track_new(struct __sk_buff *skb, struct packet *pkt)
{
	struct ct_entry entry = {};
	int step;

	pkt->flags |= EVENT_F_REPLY_KNOWN;
	step = judge(pkt->dir);
	if (step)
		return step;

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
	entry.tcp_flags[0] = pkt->progress;
	entry.flags = (pkt->dir == DIR_EGRESS ? CT_F_EGRESS : 0) | verdict_flags(pkt, STEP_OK);
	entry.match = pkt->match;
	if (ct_store(pkt, CT_KIND_CONN, &entry)) {
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

static __always_inline int find_entry(struct __sk_buff *skb, struct packet *pkt,
				      struct ct_entry **found)
{
	struct ct_entry *ct = ct_lookup(pkt, CT_KIND_CONN);

	*found = ct;
	return ct ? ct_judge_age(ct, pkt, skb->ifindex) : CT_NONE;
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
		if (pkt->flags & EVENT_F_TRANSLATED)
			age = find_entry(skb, pkt, &ct);
	}
	if (ct && age == CT_LIVE)
		return track_live(skb, pkt, ct);

	/* An answer nobody asked for must not make questions look like answers. */
	if (pkt->class == CLASS_ECHO_REPLY)
		return track_alone(pkt);
	pkt->ct_state = CT_NEW;
	if (ct) {
		if (age == CT_EXPIRED)
			ledger_count(LEDGER_CT_EXPIRED);
		if (pkt->progress == TCP_SYN)
			pkt->ct_state = CT_REOPENED;
		report_leftover(pkt, ct, 0);
		report_leftover(pkt, ct, 1);
	}
	return track_new(skb, pkt);
}

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

/* An ICMP error is allowed as far as the connection is that it is about. */
static __noinline int track_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct ct_entry *ct;
	int age, step, found;

	step = check_endpoint(skb, pkt);
	if (step)
		return step;
	found = parse_inner(skb, pkt);
	if (found > 0)
		return found;
	if (found == STEP_OK) {
		age = find_entry(skb, pkt, &ct);
		if (age != CT_LIVE && pkt->dir == DIR_EGRESS && has_ports(pkt->tuple.proto)) {
			service_find_backend(pkt);
			if (pkt->service_id)
				age = find_entry(skb, pkt, &ct);
		}
		if (ct && age == CT_LIVE)
			goto related;
	}
	/* About nothing we know: a packet like any other. */
	addr_copy(pkt->tuple.local, pkt->dir == DIR_EGRESS ? pkt->saddr : pkt->daddr);
	addr_copy(pkt->tuple.remote, pkt->dir == DIR_EGRESS ? pkt->daddr : pkt->saddr);
	pkt->tuple.proto = pkt->proto;
	pkt->tuple.lport = 0;
	pkt->tuple.rport = 0;
	pkt->service_id = 0;
	pkt->frontend_port = 0;
	return track_alone(pkt);

related:
	pkt->flags |= EVENT_F_REPLY_KNOWN | (ct_index(ct, pkt->dir) ? EVENT_F_REPLY : 0);
	pkt->ct_state = CT_RELATED;
	step = entry_verdict(pkt, ct);
	if (step)
		return step;
	if (ct->service_id)
		pkt->service_id = ct->service_id;
	if (ct->service_id && (ct->flags & CT_F_EGRESS)) {
		if (pkt->dir == DIR_INGRESS)
			step = service_reverse_error(skb, pkt);
		else if (pkt->frontend_port)
			step = service_translate_error(skb, pkt);
		if (step)
			return step;
	}
	if (pkt->trigger == TRIGGER_NONE)
		pkt->trigger = TRIGGER_PACKET;
	pkt->packets = 1;
	pkt->event_bytes = pkt->bytes;
	return STEP_OK;
}

static __always_inline int track(struct __sk_buff *skb, struct packet *pkt)
{
	if (pkt->class == CLASS_DISCOVERY)
		return track_discovery(skb, pkt);
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
	return track_connection(skb, pkt);
}

#endif /* FATHOM_TRACK_H */
