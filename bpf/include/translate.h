/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * translate.h: services packet by packet, for what the socket hooks didn't see:
 * raw sockets, programs started before the agent, kernels without cgroup v2.
 *
 * Two conntrack entries per translated connection. CT_KIND_SERVICE, keyed by the
 * frontend, remembers which backend was chosen; CT_KIND_CONN, keyed by the
 * backend, is the connection itself and names the service, so that replies get
 * the frontend's address back.
 *
 * A UDP socket that is connected sends to the backend it got, and no hook asks it
 * again. When that backend leaves, its datagrams are treated as if the backend's
 * address were a frontend of the service: they go to another one, which answers in
 * the name of the one that left (CT_KIND_MOVED), the only one that the socket hears.
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

/* Whether the connection to the backend in `pkt` is still in use, by whichever side. */
static __always_inline int service_in_use(struct packet *pkt, __u32 ifindex)
{
	struct ct_entry *ct;

	addr_copy(pkt->tuple.remote, pkt->backend);
	pkt->tuple.rport = pkt->backend_port;
	ct = ct_lookup(pkt, CT_KIND_CONN);
	addr_copy(pkt->tuple.remote, pkt->frontend);
	pkt->tuple.rport = pkt->frontend_port;
	return ct && ct->service_id == pkt->service_id && ct_judge_age(ct, pkt, ifindex) == CT_LIVE;
}

/*
 * Takes the backend that this tuple's remote, a frontend, was translated to
 * earlier, if that still holds. A connection that was opened keeps its backend even
 * where new ones wouldn't get it any more; datagrams and openings do not.
 */
static __noinline int service_recall(struct packet *pkt, __u32 ifindex, int refresh)
{
	struct ct_entry *entry = ct_lookup(pkt, CT_KIND_SERVICE);
	__u32 lifetime = pkt->tuple.proto == IPPROTO_TCP ? cfg_ct_tcp_ticks : cfg_ct_any_ticks;
	int opening = pkt->progress == TCP_SYN;

	if (!entry)
		return 0;
	/* A SYN chooses again, unless it repeats one that nobody has acknowledged. */
	if (opening) {
		if (entry->tcp_flags[0] != TCP_SYN)
			return 0;
		lifetime = cfg_ct_tcp_opening_ticks;
	}
	pkt->backend_id = entry->service_id;
	if ((opening || pkt->tuple.proto == IPPROTO_UDP) &&
	    !service_backend(pkt->service_id, pkt->backend_id))
		return 0;
	addr_copy(pkt->backend, (__u8 *)entry->bytes);
	pkt->backend_port = entry->packets[0];
	if (ticks_since(pkt->now, entry->last_seen) > lifetime &&
	    (opening || !service_in_use(pkt, ifindex)))
		return 0;
	if (refresh) {
		entry->last_seen = pkt->now;
		entry->tcp_flags[0] |= pkt->progress;
	}
	return 1;
}

/* Remembers the choice, once the packet was allowed. A full LRU evicts: nothing to fail on. */
static __noinline void service_remember(struct packet *pkt, __u32 ifindex)
{
	struct ct_entry entry = {
		.packets[0] = pkt->backend_port,
		.last_seen = pkt->now,
		.ifindex = ifindex,
		.service_id = pkt->backend_id,
		.tcp_flags[0] = pkt->progress,
		.flags = CT_F_EGRESS,
	};

	addr_copy((__u8 *)entry.bytes, pkt->backend);
	addr_copy(pkt->tuple.remote, pkt->frontend);
	pkt->tuple.rport = pkt->frontend_port;
	ct_store(pkt, CT_KIND_SERVICE, &entry, BPF_ANY);
	addr_copy(pkt->tuple.remote, pkt->backend);
	pkt->tuple.rport = pkt->backend_port;
	if (pkt->moved) {
		addr_copy((__u8 *)entry.bytes, pkt->frontend);
		entry.packets[0] = pkt->frontend_port;
		ct_store(pkt, CT_KIND_MOVED, &entry, BPF_ANY);
	}
}

/*
 * The service whose backend the packet goes to, if its socket came there by the
 * service and the backend isn't one any more. A service that was deleted takes
 * nothing along.
 */
static __noinline struct service *service_left_behind(struct __sk_buff *skb, struct packet *pkt)
{
	struct sock_rev_key rev = { .cookie = bpf_get_socket_cookie(skb), .port = pkt->dport };
	struct service_key key = { .proto = IPPROTO_UDP };
	struct service *service;
	struct sock_rev *asked;

	addr_copy(rev.addr, pkt->daddr);
	asked = bpf_map_lookup_elem(&sock_rev, &rev);
	if (!asked)
		return NULL;
	addr_copy(key.addr, asked->addr);
	key.port = asked->port;
	service = bpf_map_lookup_elem(&services, &key);
	if (!service || service_backend(service->id, asked->backend_id))
		return NULL;
	return service;
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
	int step;

	if (!pkt)
		return DROP_NO_BACKEND;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	addr_copy(key.addr, pkt->daddr);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service && pkt->proto == IPPROTO_UDP) {
		service = service_left_behind(skb, pkt);
		pkt->moved = !!service;
	}
	if (!service)
		return STEP_OK;
	pkt->service_id = service->id;
	pkt->frontend_port = pkt->dport;
	addr_copy(pkt->frontend, pkt->daddr);

	if (!service_recall(pkt, skb->ifindex, 1)) {
		struct affinity_key client = {};
		struct backend *backend;
		__u32 id = 0;

		addr_copy(client.client, pkt->saddr);
		backend = service_pick(service, &client, &id);
		if (!backend)
			return DROP_NO_BACKEND;
		pkt->backend_id = id;
		pkt->backend_port = backend->port;
		addr_copy(pkt->backend, backend->addr);
		pkt->service_is_new = 1;
	}
	/* SCTP's checksum covers its ports and is a CRC: only an address can be changed. */
	if ((pkt->proto == IPPROTO_SCTP && pkt->backend_port != pkt->dport) ||
	    addr_is_v4(pkt->backend) != (pkt->family == 4))
		return DROP_NAT_UNSUPPORTED_PROTO;

	step = nat_rewrite(skb, pkt, NAT_DESTINATION, pkt->backend, pkt->backend_port);
	if (step)
		return step;
	addr_copy(pkt->daddr, pkt->backend);
	addr_copy(pkt->tuple.remote, pkt->backend);
	pkt->dport = pkt->backend_port;
	pkt->tuple.rport = pkt->backend_port;
	pkt->flags |= EVENT_F_TRANSLATED;
	ledger_count(LEDGER_TC_TRANSLATED);
	return STEP_OK;
}

/* In whose name the backend of a translated connection answers. */
static __noinline int service_find_frontend(struct packet *pkt)
{
	__u32 id = pkt->service_id;
	struct frontend *frontend;

	if (pkt->moved) {
		struct ct_entry *entry = ct_lookup(pkt, CT_KIND_MOVED);

		if (!entry)
			return DROP_NO_BACKEND;
		addr_copy(pkt->frontend, (__u8 *)entry->bytes);
		pkt->frontend_port = entry->packets[0];
		return STEP_OK;
	}
	frontend = bpf_map_lookup_elem(&frontends, &id);
	/* The service was deleted: nobody waits for an answer from the backend. */
	if (!frontend)
		return DROP_NO_BACKEND;
	addr_copy(pkt->frontend, frontend->addr);
	pkt->frontend_port = frontend->port;
	return STEP_OK;
}

/*
 * A reply from a backend gets its frontend's address back. The record keeps the
 * backend's, as in the other direction, and names the service.
 */
static __noinline int service_reverse(struct __sk_buff *skb, struct packet *pkt)
{
	int step = service_find_frontend(pkt);

	if (step)
		return step;
	step = nat_rewrite(skb, pkt, NAT_SOURCE, pkt->frontend, pkt->frontend_port);
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
	int step = service_find_frontend(pkt);

	if (step)
		return step;
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
static __noinline int service_find_backend(struct packet *pkt, __u32 ifindex)
{
	struct service_key key = { .port = pkt->tuple.rport, .proto = pkt->tuple.proto };
	struct service *service;

	addr_copy(key.addr, pkt->tuple.remote);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service)
		return STEP_OK;
	pkt->service_id = service->id;
	pkt->frontend_port = pkt->tuple.rport;
	addr_copy(pkt->frontend, pkt->tuple.remote);
	if (!service_recall(pkt, ifindex, 0)) {
		pkt->service_id = 0;
		return STEP_OK;
	}
	addr_copy(pkt->tuple.remote, pkt->backend);
	pkt->tuple.rport = pkt->backend_port;
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
