/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* leftover.h: the record of what an ended entry still held of one direction. */
#ifndef FATHOM_LEFTOVER_H
#define FATHOM_LEFTOVER_H

#include "uapi.h"
#include "abi.h"
#include "addr.h"
#include "packet.h"
#include "wire.h"

/* Ports of echo messages are conntrack's own notion. */
static __always_inline int has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* Everything but the kind and the counters. Nothing here may fail. */
static __always_inline void leftover_fill(struct event *e, const struct ct_entry *ct,
					  const struct tuple *tuple, __u8 family,
					  __u32 local_identity, __u32 index)
{
	__u8 dir = (ct->flags & CT_F_EGRESS) ? DIR_EGRESS : DIR_INGRESS;

	if (index & 1)
		dir = dir == DIR_EGRESS ? DIR_INGRESS : DIR_EGRESS;
	e->family = family;
	e->proto = tuple->proto;
	e->l3_proto = family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	e->direction = dir;
	if (dir == DIR_EGRESS) {
		addr_copy(e->saddr, tuple->local);
		addr_copy(e->daddr, tuple->remote);
		e->sport = tuple->lport;
		e->dport = tuple->rport;
		e->src_identity = local_identity;
		e->dst_identity = ct->remote_identity;
		e->obs_point = OBS_TO_STACK;
	} else {
		addr_copy(e->saddr, tuple->remote);
		addr_copy(e->daddr, tuple->local);
		e->sport = tuple->rport;
		e->dport = tuple->lport;
		e->src_identity = ct->remote_identity;
		e->dst_identity = local_identity;
		e->obs_point = OBS_TO_ENDPOINT;
	}
	if (!has_ports(e->proto)) {
		e->sport = 0;
		e->dport = 0;
	}
	e->ifindex = ct->ifindex;
	e->rule_id = ct->rule_id;
	e->verdict = VERDICT_FORWARDED;
	e->ct_state = (index & 1) ? CT_REPLY : CT_ESTABLISHED;
	e->flags = EVENT_F_REPLY_KNOWN | ((index & 1) ? EVENT_F_REPLY : 0);
	if (ct->flags & CT_F_POLICY)
		e->flags |= EVENT_F_POLICY;
	if (ct->flags & CT_F_LOCAL_HOST)
		e->flags |= EVENT_F_LOCAL_HOST;
	e->match = ct->match;
	e->trigger |= TRIGGER_TIMEOUT;
	e->service_id = ct->service_id;
}

#endif /* FATHOM_LEFTOVER_H */
