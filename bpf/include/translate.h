/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * translate.h: services packet by packet, for what the socket hooks didn't see:
 * raw sockets, programs started before the agent, kernels without cgroup v2.
 *
 * Two conntrack entries per translated connection. CT_KIND_SERVICE, keyed by the
 * frontend, remembers which backend was chosen; CT_KIND_CONN, keyed by the
 * backend, is the connection itself and names the service, so that replies get
 * the frontend's address back.
 */
#ifndef FATHOM_TRANSLATE_H
#define FATHOM_TRANSLATE_H

#include "uapi.h"
#include "addr.h"
#include "conntrack.h"
#include "ledger.h"
#include "maps.h"
#include "nat.h"
#include "packet.h"
#include "service.h"
#include "wire.h"

/* The backend this tuple's remote, a frontend, was translated to earlier; 0 = not, or too long ago. */
static __always_inline __u32 service_remembered(struct packet *pkt, int refresh)
{
	struct ct_entry *entry = ct_lookup(pkt, CT_KIND_SERVICE);
	__u32 lifetime;

	if (!entry)
		return 0;
	lifetime = pkt->tuple.proto == IPPROTO_TCP ? cfg_ct_tcp_ticks : cfg_ct_any_ticks;
	/* A SYN chooses again, unless it repeats one that nobody has acknowledged. */
	if (pkt->progress == TCP_SYN) {
		if (entry->tcp_flags[0] != TCP_SYN)
			return 0;
		lifetime = cfg_ct_tcp_opening_ticks;
	}
	if (ticks_since(pkt->now, entry->last_seen) > lifetime)
		return 0;
	if (refresh) {
		entry->last_seen = pkt->now;
		entry->tcp_flags[0] |= pkt->progress;
	}
	return entry->service_id;
}

/* Remembers the choice, once the packet was allowed. A full LRU evicts: nothing to fail on. */
static __noinline void service_remember(struct packet *pkt, __u32 ifindex)
{
	struct ct_entry entry = {
		.last_seen = pkt->now,
		.ifindex = ifindex,
		.service_id = pkt->backend_id,
		.tcp_flags[0] = pkt->progress,
		.flags = CT_F_EGRESS,
	};
	__u8 backend[16];
	__be16 port = pkt->tuple.rport;

	addr_copy(backend, pkt->tuple.remote);
	addr_copy(pkt->tuple.remote, pkt->frontend);
	pkt->tuple.rport = pkt->frontend_port;
	ct_store(pkt, CT_KIND_SERVICE, &entry);
	addr_copy(pkt->tuple.remote, backend);
	pkt->tuple.rport = port;
}

/*
 * If the packet goes to a frontend: chooses the backend and rewrites the packet
 * and the tuple. STEP_OK also when it goes nowhere special.
 */
FATHOM_STEP service_translate(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	struct service_key key = {};
	struct service *service;
	struct backend *backend = NULL;
	__u32 id;
	int step;

	if (!pkt)
		return DROP_NO_BACKEND;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	addr_copy(key.addr, pkt->daddr);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service)
		return STEP_OK;
	pkt->service_id = service->id;
	pkt->frontend_port = pkt->dport;
	addr_copy(pkt->frontend, pkt->daddr);

	id = service_remembered(pkt, 1);
	if (id)
		backend = service_backend(service->id, id);
	if (!backend) {
		struct affinity_key client = {};

		addr_copy(client.client, pkt->saddr);
		backend = service_pick(service, &client, &id);
		pkt->service_is_new = 1;
	}
	if (!backend)
		return DROP_NO_BACKEND;
	/* SCTP's checksum covers its ports and is a CRC: only an address can be changed. */
	if ((pkt->proto == IPPROTO_SCTP && backend->port != pkt->dport) ||
	    addr_is_v4(backend->addr) != (pkt->family == 4))
		return DROP_NAT_UNSUPPORTED_PROTO;
	pkt->backend_id = id;

	step = nat_rewrite(skb, pkt, NAT_DESTINATION, backend->addr, backend->port);
	if (step)
		return step;
	addr_copy(pkt->daddr, backend->addr);
	addr_copy(pkt->tuple.remote, backend->addr);
	pkt->dport = backend->port;
	pkt->tuple.rport = backend->port;
	pkt->flags |= EVENT_F_TRANSLATED;
	ledger_count(LEDGER_TC_TRANSLATED);
	return STEP_OK;
}

/*
 * A reply from a backend gets its frontend's address back. The record keeps the
 * backend's, as in the other direction, and names the service.
 */
static __noinline int service_reverse(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 id = pkt->service_id;
	struct frontend *frontend = bpf_map_lookup_elem(&frontends, &id);
	int step;

	/* The service was deleted: nobody waits for an answer from the backend. */
	if (!frontend)
		return DROP_NO_BACKEND;
	pkt->frontend_port = frontend->port;
	step = nat_rewrite(skb, pkt, NAT_SOURCE, frontend->addr, frontend->port);
	if (step)
		return step;
	pkt->flags |= EVENT_F_TRANSLATED;
	ledger_count(LEDGER_TC_REVERSED);
	return STEP_OK;
}

/*
 * An ICMP error about a translated packet, to the pod that had sent it: the packet
 * within went to the backend, its sender knows only the frontend.
 */
static __noinline int service_reverse_error(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 id = pkt->service_id;
	struct frontend *frontend = bpf_map_lookup_elem(&frontends, &id);
	int step;

	if (!frontend)
		return DROP_NO_BACKEND;
	addr_copy(pkt->frontend, frontend->addr);
	pkt->frontend_port = frontend->port;
	step = nat_rewrite_inner(skb, NAT_DESTINATION);
	if (!step && addr_equal(pkt->saddr, pkt->tuple.remote))
		step = nat_rewrite_error(skb, pkt, NAT_SOURCE, pkt->frontend);
	if (step)
		return step;
	pkt->flags |= EVENT_F_TRANSLATED;
	ledger_count(LEDGER_TC_REVERSED);
	return STEP_OK;
}

/*
 * An ICMP error from a pod about a reply that came, as it thinks, from a frontend:
 * finds the backend and points the tuple at it. The rewriting waits for the verdict.
 */
static __noinline int service_find_backend(struct packet *pkt)
{
	struct service_key key = { .port = pkt->tuple.rport, .proto = pkt->tuple.proto };
	struct service *service;
	struct backend *backend;
	__u32 id;

	addr_copy(key.addr, pkt->tuple.remote);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service)
		return STEP_OK;
	id = service_remembered(pkt, 0);
	backend = id ? service_backend(service->id, id) : NULL;
	if (!backend)
		return STEP_OK;
	pkt->service_id = service->id;
	pkt->backend_id = id;
	pkt->frontend_port = pkt->tuple.rport;
	addr_copy(pkt->frontend, pkt->tuple.remote);
	addr_copy(pkt->tuple.remote, backend->addr);
	pkt->tuple.rport = backend->port;
	return STEP_OK;
}

static __noinline int service_translate_error(struct __sk_buff *skb, struct packet *pkt)
{
	int step;

	step = nat_rewrite_inner(skb, NAT_SOURCE);
	if (!step && addr_equal(pkt->daddr, pkt->frontend)) {
		step = nat_rewrite_error(skb, pkt, NAT_DESTINATION, pkt->tuple.remote);
		addr_copy(pkt->daddr, pkt->tuple.remote);
	}
	if (step)
		return step;
	pkt->flags |= EVENT_F_TRANSLATED;
	ledger_count(LEDGER_TC_TRANSLATED);
	return STEP_OK;
}

#endif /* FATHOM_TRANSLATE_H */
