/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* verdict.h: the judgement as conntrack keeps it: remembered, recalled, renewed. */
#ifndef FATHOM_VERDICT_H
#define FATHOM_VERDICT_H

#include "uapi.h"
#include "conntrack.h"
#include "ledger.h"
#include "packet.h"
#include "policy.h"

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
	ct->flags = (before & (CT_F_EGRESS | CT_F_OWN | CT_F_MOVED)) | verdict_flags(pkt, reason);
	/*
	 * Whether a datagram's backend is still there is looked at when the pod sends the
	 * next one: an answer, perhaps of one that has left, leaves that to be done.
	 */
	if (opened && pkt->dir == DIR_INGRESS && pkt->tuple.proto == IPPROTO_UDP)
		return reason;
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

static __always_inline int find_entry(struct __sk_buff *skb, struct packet *pkt,
				      struct ct_entry **found)
{
	struct ct_entry *ct = ct_lookup(pkt, CT_KIND_CONN);

	*found = ct;
	return ct ? ct_judge_age(ct, pkt, skb->ifindex) : CT_NONE;
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

#endif /* FATHOM_VERDICT_H */
