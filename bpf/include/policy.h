/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * policy.h: may these two talk? One table per local identity (abi.h).
 *
 * Before any table: what a pod sends to itself through a service (hairpin.h).
 *
 * Precedence, by the numbers of crates/policy/src/lookup.rs:
 *   1      from this node's host, ingress: allow (kubelet probes)
 *   2      the direction is not enforced: allow
 *   3      a denial at any of the levels below: deny, the first in their order
 *   4 7 10 protocol and port, the longest port prefix first
 *   5 8 11 protocol
 *   6 9 12 anything
 *          4 to 6 for the remote identity, 7 to 9 for any, 10 to 12 for the CIDR
 *          identity of an address that has an exact one too: an ipBlock means pods, too
 *   13     nothing matched: the direction's default deny
 */
#ifndef FATHOM_POLICY_H
#define FATHOM_POLICY_H

#include "uapi.h"
#include "hairpin.h"
#include "identity.h"
#include "maps.h"
#include "packet.h"
#include "wire.h"

/* What is asked of the table; `wildcard` = of any identity. */
struct policy_query {
	struct policy_key key; /* identity, direction; the rest changes from level to level */
	__u32 plen_mask;       /* from the meta entry */
	__be16 port;
	__u8 proto;
	__u8 has_ports;
	__u8 has_deny;
	__u8 wildcard;
};

/* One key. Says whether the search is over. */
static __always_inline int policy_try(struct packet *pkt, void *table,
				      const struct policy_query *query, __u8 match)
{
	struct policy_entry *entry = bpf_map_lookup_elem(table, &query->key);

	if (!entry)
		return 0;
	if (entry->verdict == POLICY_VERDICT_DENY) { /* 3 */
		pkt->policy = POLICY_VERDICT_DENY;
		pkt->rule_id = entry->rule_id;
		pkt->match = match;
		return 1;
	}
	if (entry->verdict == POLICY_VERDICT_ALLOW && pkt->policy == POLICY_VERDICT_NONE) {
		pkt->policy = POLICY_VERDICT_ALLOW;
		pkt->rule_id = entry->rule_id;
		pkt->match = match;
	}
	/* An allow ends it unless a deny may hide at a lower level. */
	return !query->has_deny && pkt->policy == POLICY_VERDICT_ALLOW;
}

/*
 * Three levels for one identity. Says whether the search is over.
 *
 * Unrolled, and so one function instead of three copies: clang may lay a loop out so
 * that its step falls into its test, which 5.10 refuses ("back-edge from insn …"; it
 * takes those that jump).
 */
static __noinline int policy_levels(struct packet *pkt, void *table, struct policy_query *query)
{
	int plen;

	if (query->has_ports) { /* 4, 7, 10 */
		query->key.proto = query->proto;
#pragma unroll
		for (plen = 16; plen >= 1; plen--) {
			if (!(query->plen_mask & (1U << plen)))
				continue;
			query->key.port_plen = plen;
			query->key.port = query->port & bpf_htons(0xffff << (16 - plen));
			if (policy_try(pkt, table, query,
				       query->wildcard ? MATCH_L4_ONLY : MATCH_L3_L4))
				return 1;
		}
	}
	query->key.port_plen = 0; /* 5, 8, 11 */
	query->key.port = 0;
	query->key.proto = query->proto;
	if (policy_try(pkt, table, query, query->wildcard ? MATCH_PROTO_ONLY : MATCH_L3_PROTO))
		return 1;
	query->key.proto = 0; /* 6, 9, 12 */
	return policy_try(pkt, table, query, query->wildcard ? MATCH_ALL : MATCH_L3_ONLY);
}

/*
 * Judges pkt->tuple as a connection opened in `dir`. STEP_OK or a drop reason;
 * writes remote_identity, rule_id, match and the flags about policy.
 */
FATHOM_STEP judge(__u32 dir)
{
	struct packet *pkt = packet_scratch();
	struct policy_query query = { .key.direction = dir };
	__u32 local, exact, prefix;
	struct ipcache_entry *peer;
	struct policy_entry *meta;
	__u32 default_rule;
	void *table;

	if (!pkt)
		return DROP_NO_POLICY_CONFIG;
	local = pkt->local_identity;
	pkt->policy = POLICY_VERDICT_NONE;
	pkt->rule_id = 0;
	pkt->match = MATCH_NONE;
	pkt->flags &= ~(EVENT_F_POLICY | EVENT_F_LOCAL_HOST);

	peer = bpf_map_lookup_elem(&ipcache_exact, pkt->tuple.remote);
	exact = peer ? peer->identity : 0;
	pkt->l7_at_peer = peer && (peer->flags & IPCACHE_F_L7_HERE);
	prefix = exact ? 0 : identity_of_prefix(pkt->tuple.remote);
	pkt->remote_identity = exact ? exact : prefix ? prefix : IDENTITY_WORLD;

	table = bpf_map_lookup_elem(&policy, &local);
	if (!table)
		return DROP_NO_POLICY_CONFIG;
	if (dir == DIR_EGRESS ? pkt->service_id && hairpin_own(pkt) : hairpin_opened(pkt))
		return STEP_OK;
	if (dir == DIR_INGRESS && pkt->remote_identity == IDENTITY_HOST) { /* 1 */
		pkt->flags |= EVENT_F_LOCAL_HOST;
		return STEP_OK;
	}
	query.key.identity = POLICY_META_IDENTITY;
	meta = bpf_map_lookup_elem(table, &query.key);
	if (!meta || meta->verdict != POLICY_VERDICT_ENFORCED) /* 2 */
		return STEP_OK;
	pkt->flags |= EVENT_F_POLICY;
	default_rule = meta->rule_id;

	query.plen_mask = meta->plen_mask;
	query.has_deny = meta->flags & POLICY_F_HAS_DENY;
	query.proto = pkt->tuple.proto;
	query.port = dir == DIR_EGRESS ? pkt->tuple.rport : pkt->tuple.lport;
	query.has_ports = query.proto == IPPROTO_TCP || query.proto == IPPROTO_UDP ||
			  query.proto == IPPROTO_SCTP;

	query.key.identity = pkt->remote_identity;
	if (policy_levels(pkt, table, &query)) /* 4 to 6 */
		goto done;
	query.wildcard = 1;
	query.key.identity = POLICY_ANY_IDENTITY;
	if (policy_levels(pkt, table, &query)) /* 7 to 9 */
		goto done;
	if (exact) { /* 10 to 12 */
		prefix = identity_of_prefix(pkt->tuple.remote);
		if (prefix && prefix != exact) {
			query.wildcard = 0;
			query.key.identity = prefix;
			policy_levels(pkt, table, &query);
		}
	}
done:
	if (pkt->policy == POLICY_VERDICT_ALLOW)
		return STEP_OK;
	if (pkt->policy == POLICY_VERDICT_DENY) /* 3 */
		return DROP_POLICY_DENY;
	pkt->rule_id = default_rule; /* 13 */
	return DROP_POLICY_DENIED;
}

#endif /* FATHOM_POLICY_H */
