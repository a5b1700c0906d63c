/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * nat_table.h: what is rewritten at the node's uplinks, connection by connection.
 *
 * Two kinds of entries, each the other's inverse, for every rewriting:
 *
 *	NAT_IN   source → destination, as a packet comes in   ⇒ its new destination
 *	NAT_OUT  source → destination, as a packet goes out   ⇒ its new source
 *
 * As netfilter does it, destinations change before the kernel looks for a route, and
 * sources after: a packet that came in with one of the node's own addresses as source
 * would be dropped as martian.
 *
 *	                       NAT_IN                        NAT_OUT
 *	client → node:30080    client → node:30080 ⇒ pod     pod → client ⇒ node:30080
 *	 and on to a pod       pod → node:2000 ⇒ client      client → pod ⇒ node:2000
 *	 of another node
 *	pod → world            world → node:2000 ⇒ pod       pod → world ⇒ node:2000
 */
#ifndef FATHOM_NAT_TABLE_H
#define FATHOM_NAT_TABLE_H

#include "uapi.h"
#include "abi.h"
#include "addr.h"
#include "clock.h"
#include "config.h"
#include "conntrack.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "wire.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 128 * 1024);
	__type(key, struct nat_key);
	__type(value, struct nat_entry);
} nat FATHOM_MAP;

/* The devices that lead off the node, by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct uplink);
} uplinks FATHOM_MAP;

/* Prefix → NET_F_*; the longest counts. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ipcache_lpm_key);
	__type(value, __u32);
} uplink_nets FATHOM_MAP;

/* Ticks between the times that a packet of one direction keeps the other's entry fresh. */
#define NAT_REFRESH_TICKS 64

/* Keys and entries at hand; like struct packet, in a map and not on the stack. */
struct nat_work {
	struct nat_key key;
	struct nat_key back;
	struct nat_entry entry;
	struct nat_entry returned;
	__u32 silent; /* a local policy and no backend: nobody is to be told */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_work);
} nat_scratch FATHOM_MAP;

static __always_inline struct nat_work *nat_work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&nat_scratch, &zero);
}

static __always_inline void nat_key_set(struct nat_key *key, __u8 kind, __u8 proto,
					const __u8 src[16], __be16 sport, const __u8 dst[16],
					__be16 dport)
{
	addr_copy(key->src, src);
	addr_copy(key->dst, dst);
	key->sport = sport;
	key->dport = dport;
	key->proto = proto;
	key->kind = kind;
	key->pad = 0;
}

/* The packet at hand. */
static __always_inline void nat_key_of(struct nat_key *key, __u8 kind, const struct packet *pkt)
{
	nat_key_set(key, kind, pkt->proto, pkt->saddr, pkt->sport, pkt->daddr, pkt->dport);
}

/* Ticks of silence after which the entry counts as gone. */
static __always_inline __u32 nat_lifetime(const struct nat_entry *entry, __u8 proto)
{
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		return cfg_ct_icmp_ticks;
	if (proto != IPPROTO_TCP || (entry->tcp_flags & (TCP_FIN | TCP_RST)))
		return cfg_ct_any_ticks;
	return entry->tcp_flags & TCP_ACK ? cfg_ct_tcp_ticks : cfg_ct_tcp_opening_ticks;
}

static __always_inline int nat_expired(const struct packet *pkt, const struct nat_entry *entry)
{
	return ticks_since(pkt->now, entry->last_seen) > nat_lifetime(entry, pkt->proto);
}

/*
 * The inverse of an entry: from where the packet at hand will be answered, and what
 * the answer's address is to become.
 */
static __always_inline void nat_invert(struct nat_work *w, const struct packet *pkt)
{
	int in = w->key.kind == NAT_IN;

	if (in) /* new destination → source ⇒ destination */
		nat_key_set(&w->back, NAT_OUT, pkt->proto, w->entry.addr, w->entry.port, pkt->saddr,
			    pkt->sport);
	else /* destination → new source ⇒ source */
		nat_key_set(&w->back, NAT_IN, pkt->proto, pkt->daddr, pkt->dport, w->entry.addr,
			    w->entry.port);
	addr_copy(w->returned.addr, in ? pkt->daddr : pkt->saddr);
	w->returned.port = in ? pkt->dport : pkt->sport;
	w->returned.tcp_flags = w->entry.tcp_flags;
	w->returned.pad = 0;
	w->returned.last_seen = pkt->now;
	w->returned.service_id = w->entry.service_id;
	w->returned.backend_id = w->entry.backend_id;
}

/*
 * Takes a live entry for the packet: its content into the work, and the other
 * direction's entry kept fresh, or made again where it was evicted.
 */
static __always_inline void nat_take(struct nat_work *w, const struct packet *pkt,
				     struct nat_entry *found)
{
	__u32 silent = ticks_since(pkt->now, found->last_seen);
	struct nat_entry *back;

	found->last_seen = pkt->now;
	found->tcp_flags |= pkt->progress;
	w->entry = *found;
	if (silent < NAT_REFRESH_TICKS)
		return;
	nat_invert(w, pkt);
	back = bpf_map_lookup_elem(&nat, &w->back);
	if (back)
		back->last_seen = pkt->now;
	else
		bpf_map_update_elem(&nat, &w->back, &w->returned, BPF_NOEXIST);
}

#endif /* FATHOM_NAT_TABLE_H */
