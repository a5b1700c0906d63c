/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * uplink.h: a packet at a device that leads off the node: services from outside
 * (node ports, addresses of load balancers, external addresses, host ports), the
 * node's address for pods that talk to the world, and the way back of both.
 *
 * Nothing is judged here: a pod's device sees the packet with the addresses it is
 * about, the client's where nothing forces us to hide it, and judges it there.
 */
#ifndef FATHOM_UPLINK_H
#define FATHOM_UPLINK_H

#include "uapi.h"
#include "addr.h"
#include "conntrack.h"
#include "identity.h"
#include "ledger.h"
#include "maps.h"
#include "nat.h"
#include "nat_table.h"
#include "packet.h"
#include "parse_inner.h"
#include "service.h"
#include "wire.h"

/* Ports tried before a connection is refused one. */
#define NAT_TRIES 8

/* ---- writing ------------------------------------------------------------- */

/* An echo's identifier stands where others have ports; only ICMPv6 sums addresses. */
static __noinline int uplink_rewrite_echo(struct __sk_buff *skb, struct packet *pkt, int side,
					  const __u8 *to, __u32 to_id)
{
	const __u8 *from = side == NAT_SOURCE ? pkt->saddr : pkt->daddr;
	__be16 old_id = pkt->class == CLASS_ECHO ? pkt->sport : pkt->dport, new_id = to_id;
	__u32 sum = pkt->l4_off + ICMP_OFF_CSUM;

	if (pkt->frag != FRAG_LATER) {
		if (pkt->family == 6 &&
		    bpf_l4_csum_replace(skb, sum, 0, addr_diff(from, to), BPF_F_PSEUDO_HDR))
			return DROP_CSUM_L4;
		if (old_id != new_id) {
			if (bpf_l4_csum_replace(skb, sum, old_id, new_id, 2))
				return DROP_CSUM_L4;
			if (bpf_skb_store_bytes(skb, pkt->l4_off + ICMP_OFF_ID, &new_id, 2, 0))
				return DROP_WRITE_ERROR;
		}
	}
	return nat_store_addr(skb, pkt->family, ETH_HLEN, side, from, to, BPF_F_RECOMPUTE_CSUM);
}

/* Writes what nat_work says into the packet. */
FATHOM_STEP uplink_rewrite(struct __sk_buff *skb, int side)
{
	struct packet *pkt = packet_scratch();
	struct nat_work *w = nat_work();
	int step;

	if (!pkt || !w)
		return DROP_WRITE_ERROR;
	if (pkt->class == CLASS_PORTS) {
		/* SCTP's checksum covers its ports and is a CRC: only an address can be changed. */
		__be16 port = side == NAT_SOURCE ? pkt->sport : pkt->dport;

		if (pkt->proto == IPPROTO_SCTP && w->entry.port != port)
			return DROP_NAT_UNSUPPORTED_PROTO;
		step = nat_rewrite(skb, pkt, side, w->entry.addr, w->entry.port);
	} else {
		step = uplink_rewrite_echo(skb, pkt, side, w->entry.addr, w->entry.port);
	}
	if (step)
		return step;
	pkt->flags |= EVENT_F_TRANSLATED;
	ledger_count(LEDGER_UPLINK_TRANSLATED);
	return STEP_OK;
}

/* ---- in ------------------------------------------------------------------ */

/*
 * Whether an entry for what comes in still counts. A connection that was opened keeps
 * its backend even where new ones wouldn't get it any more; datagrams and openings
 * do not. Answers to what went out under another source never open anything.
 */
static __always_inline int uplink_in_holds(const struct packet *pkt, const struct nat_entry *entry)
{
	int opening = (pkt->progress & (TCP_SYN | TCP_ACK)) == TCP_SYN;

	if (!entry->backend_id)
		return !opening;
	if (!opening && pkt->proto != IPPROTO_UDP)
		return 1;
	/* A SYN chooses again, unless it repeats one that nobody has acknowledged. */
	if (opening && entry->tcp_flags != TCP_SYN)
		return 0;
	return !nat_expired(pkt, entry) && service_backend(entry->service_id, entry->backend_id);
}

/* The first packet of a connection to a frontend, if it is one. */
FATHOM_STEP uplink_service(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	struct nat_work *w = nat_work();
	struct affinity_key client = {};
	struct service_key key = {};
	struct backend *backend;
	struct service *service;
	struct nat_entry *back;
	__u32 id = 0;

	if (!pkt || !w)
		return DROP_NO_BACKEND;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	key.scope = SERVICE_OUTSIDE;
	addr_copy(key.addr, pkt->daddr);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service)
		return STEP_UNTRACKED;
	pkt->service_id = service->id;
	pkt->frontend_port = pkt->dport;
	addr_copy(client.client, pkt->saddr);
	backend = service_pick(service, &client, &id);
	if (!backend) {
		w->silent = service->flags & SERVICE_F_LOCAL;
		return DROP_NO_BACKEND;
	}
	if ((pkt->proto == IPPROTO_SCTP && backend->port != pkt->dport) ||
	    addr_is_v4(backend->addr) != (pkt->family == 4))
		return DROP_NAT_UNSUPPORTED_PROTO;
	addr_copy(w->entry.addr, backend->addr);
	w->entry.port = backend->port;
	w->entry.tcp_flags = pkt->progress;
	w->entry.pad = 0;
	w->entry.last_seen = pkt->now;
	w->entry.service_id = service->id;
	w->entry.backend_id = id;
	nat_invert(w, pkt);
	/*
	 * The same client, from the same port, may be at this backend through another
	 * frontend: its answers can't tell the two apart. The older connection stays.
	 */
	back = bpf_map_lookup_elem(&nat, &w->back);
	if (back && !nat_expired(pkt, back) && !(back->tcp_flags & (TCP_FIN | TCP_RST)) &&
	    (back->port != pkt->dport || !addr_equal(back->addr, pkt->daddr)))
		return DROP_NAT_NO_MAPPING;
	if (bpf_map_update_elem(&nat, &w->back, &w->returned, BPF_ANY) ||
	    bpf_map_update_elem(&nat, &w->key, &w->entry, BPF_ANY))
		return DROP_NAT_NO_MAPPING;
	return STEP_OK;
}

/* ---- out ----------------------------------------------------------------- */

/*
 * A source of the node's own for the packet: its address on this device and a port
 * that no other connection to the same destination has. Echoes have an identifier.
 */
FATHOM_STEP uplink_allocate(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct packet *pkt = packet_scratch();
	struct uplink *uplink = bpf_map_lookup_elem(&uplinks, &ifindex);
	struct nat_work *w = nat_work();
	int i;

	if (!pkt || !w || !uplink)
		return STEP_UNTRACKED;
	addr_copy(w->entry.addr, pkt->family == 4 ? uplink->ipv4 : uplink->ipv6);
	if (addr_is_unspecified(w->entry.addr))
		return STEP_UNTRACKED;
	w->entry.tcp_flags = pkt->progress;
	w->entry.pad = 0;
	w->entry.last_seen = pkt->now;
	w->entry.service_id = pkt->service_id;
	w->entry.backend_id = 0;

	for (i = 0; i < NAT_TRIES; i++) {
		struct nat_entry *held;
		long failed;

		w->entry.port =
			pkt->proto == IPPROTO_SCTP
				? pkt->sport
				: bpf_htons(NAT_PORT_MIN + bpf_get_prandom_u32() % NAT_PORT_COUNT);
		nat_invert(w, pkt);
		failed = bpf_map_update_elem(&nat, &w->back, &w->returned, BPF_NOEXIST);
		if (failed) {
			held = bpf_map_lookup_elem(&nat, &w->back);
			if (held && !nat_expired(pkt, held))
				continue;
			failed = bpf_map_update_elem(&nat, &w->back, &w->returned, BPF_ANY);
		}
		if (!failed && !bpf_map_update_elem(&nat, &w->key, &w->entry, BPF_ANY))
			return STEP_OK;
	}
	return DROP_NAT_NO_MAPPING;
}

static __always_inline __u32 uplink_net(const __u8 addr[16])
{
	struct ipcache_lpm_key key = { .prefixlen = 128 };
	__u32 *flags;

	addr_copy(key.addr, addr);
	flags = bpf_map_lookup_elem(&uplink_nets, &key);
	return flags ? *flags : 0;
}

/*
 * Whether a pod of this node opened this to somebody outside the cluster. Who opened
 * it, conntrack knows, because the packet came through the pod's device: the answer
 * to one who reached the pod by its own address keeps that address.
 */
static __noinline int uplink_masquerades(struct packet *pkt)
{
	struct ct_entry *ct;

	if (!(uplink_net(pkt->saddr) & NET_F_MASQUERADE) || (uplink_net(pkt->daddr) & NET_F_INSIDE))
		return 0;
	addr_copy(pkt->tuple.local, pkt->saddr);
	addr_copy(pkt->tuple.remote, pkt->daddr);
	pkt->tuple.lport = pkt->sport;
	pkt->tuple.rport = pkt->dport;
	pkt->tuple.proto = pkt->proto;
	ct = ct_lookup(pkt, CT_KIND_CONN);
	return ct && (ct->flags & CT_F_EGRESS);
}

/* ---- errors -------------------------------------------------------------- */

/*
 * An ICMP error about a packet that was rewritten here: who gets it is shown the
 * packet that it knows. The packet within, turned round, is one that goes the
 * error's way, and what holds for that one holds for the error.
 */
FATHOM_STEP uplink_error(struct __sk_buff *skb)
{
	struct packet *pkt = packet_scratch();
	struct nat_work *w = nat_work();
	struct nat_entry *found;
	struct tuple *t;
	int in, step;

	if (!pkt || !w)
		return STEP_UNTRACKED;
	if (parse_inner(skb, pkt) != STEP_OK)
		return STEP_UNTRACKED;
	t = &pkt->tuple;
	in = pkt->dir == DIR_INGRESS;
	if (in) /* within: local → remote, sent under our address */
		nat_key_set(&w->key, NAT_IN, t->proto, t->remote, t->rport, t->local, t->lport);
	else /* within: remote → local, sent to where we sent it on */
		nat_key_set(&w->key, NAT_OUT, t->proto, t->local, t->lport, t->remote, t->rport);
	found = bpf_map_lookup_elem(&nat, &w->key);
	if (!found)
		return STEP_UNTRACKED;
	w->entry = *found;
	/* nat_rewrite_inner knows the two ends of a change as frontend and tuple.remote. */
	if (in) {
		addr_copy(pkt->frontend, t->local);
		pkt->frontend_port = t->lport;
		addr_copy(t->remote, w->entry.addr);
		t->rport = w->entry.port;
		step = nat_rewrite_inner(skb, NAT_SOURCE);
		if (!step && addr_equal(pkt->daddr, pkt->frontend))
			step = nat_rewrite_error(skb, pkt, NAT_DESTINATION, w->entry.addr);
	} else {
		addr_copy(t->remote, t->local);
		t->rport = t->lport;
		addr_copy(pkt->frontend, w->entry.addr);
		pkt->frontend_port = w->entry.port;
		step = nat_rewrite_inner(skb, NAT_DESTINATION);
		if (!step && addr_equal(pkt->saddr, t->remote))
			step = nat_rewrite_error(skb, pkt, NAT_SOURCE, w->entry.addr);
	}
	if (!step)
		ledger_count(LEDGER_UPLINK_TRANSLATED);
	return step;
}

#endif /* FATHOM_UPLINK_H */
