/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* related.h: ICMP errors, matched with the connection of the packet within. */
#ifndef FATHOM_RELATED_H
#define FATHOM_RELATED_H

#include "uapi.h"
#include "addr.h"
#include "conntrack.h"
#include "endpoint.h"
#include "packet.h"
#include "parse_inner.h"
#include "report.h"
#include "translate.h"
#include "verdict.h"
#include "wire.h"

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
	/* An error goes to whom it is about; else any connection would open the way to anybody. */
	if (found == STEP_OK && pkt->dir == DIR_EGRESS &&
	    !addr_equal(pkt->daddr, pkt->tuple.remote))
		found = STEP_UNTRACKED;
	if (found == STEP_OK) {
		age = find_entry(skb, pkt, &ct);
		if (age != CT_LIVE && pkt->dir == DIR_EGRESS && has_ports(pkt->tuple.proto)) {
			service_find_backend(pkt, skb->ifindex);
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
		pkt->moved = !!(ct->flags & CT_F_MOVED);
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

#endif /* FATHOM_RELATED_H */
