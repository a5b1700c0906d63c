/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * conntrack.h: connections, as their local endpoint sees them.
 *
 * Expiry is judged when an entry is looked up: nothing sweeps, so nothing races
 * live traffic, and what was never looked up again costs its slot in the LRU and
 * no more.
 */
#ifndef FATHOM_CONNTRACK_H
#define FATHOM_CONNTRACK_H

#include "uapi.h"
#include "addr.h"
#include "clock.h"
#include "config.h"
#include "maps.h"
#include "packet.h"
#include "wire.h"

#define EEXIST 17

/* What an entry is worth to the packet at hand. */
#define CT_NONE    0
#define CT_LIVE    1
#define CT_EXPIRED 2 /* nothing was seen for its time */
#define CT_OVER    3 /* closed, or left behind: this packet opens another */

static __always_inline struct ct4_key ct4_key_of(const struct packet *pkt, __u8 kind)
{
	return (struct ct4_key){
		.local = addr_v4(pkt->tuple.local),
		.remote = addr_v4(pkt->tuple.remote),
		.lport = pkt->tuple.lport,
		.rport = pkt->tuple.rport,
		.proto = pkt->tuple.proto,
		.kind = kind,
	};
}

static __always_inline void ct6_key_of(struct ct6_key *key, const struct packet *pkt, __u8 kind)
{
	addr_copy(key->local, pkt->tuple.local);
	addr_copy(key->remote, pkt->tuple.remote);
	key->lport = pkt->tuple.lport;
	key->rport = pkt->tuple.rport;
	key->proto = pkt->tuple.proto;
	key->kind = kind;
	key->pad = 0;
}

static __always_inline struct ct_entry *ct_lookup(const struct packet *pkt, __u8 kind)
{
	if (pkt->family == 4) {
		struct ct4_key key = ct4_key_of(pkt, kind);

		return bpf_map_lookup_elem(&ct4, &key);
	} else {
		struct ct6_key key;

		ct6_key_of(&key, pkt, kind);
		return bpf_map_lookup_elem(&ct6, &key);
	}
}

/* `how`: BPF_ANY, or BPF_NOEXIST for -EEXIST where there is one. */
static __always_inline long ct_store(const struct packet *pkt, __u8 kind,
				     const struct ct_entry *entry, __u64 how)
{
	if (pkt->family == 4) {
		struct ct4_key key = ct4_key_of(pkt, kind);

		return bpf_map_update_elem(&ct4, &key, entry, how);
	} else {
		struct ct6_key key;

		ct6_key_of(&key, pkt, kind);
		return bpf_map_update_elem(&ct6, &key, entry, how);
	}
}

static __always_inline int ct_replied(const struct ct_entry *ct)
{
	return ct->tcp_flags[1] != 0;
}

static __always_inline int ct_closing(const struct ct_entry *ct)
{
	__u8 opener = ct->tcp_flags[0], other = ct->tcp_flags[1];

	return ((opener | other) & TCP_RST) || (opener & other & TCP_FIN);
}

/* Ticks of silence after which the entry counts as gone. */
static __always_inline __u32 ct_lifetime(const struct ct_entry *ct, __u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		if (ct_closing(ct))
			return cfg_ct_tcp_closing_ticks;
		return ct_replied(ct) ? cfg_ct_tcp_ticks : cfg_ct_tcp_opening_ticks;
	case IPPROTO_SCTP:
		return ct_closing(ct) ? cfg_ct_tcp_closing_ticks : cfg_ct_any_ticks;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return cfg_ct_icmp_ticks;
	}
	return cfg_ct_any_ticks;
}

/* 0 = the direction the connection was opened in, 1 = the other. */
static __always_inline __u32 ct_index(const struct ct_entry *ct, __u32 dir)
{
	return (dir == DIR_EGRESS) != !!(ct->flags & CT_F_EGRESS);
}

/*
 * Whether a first SYN (or SCTP INIT) opens another connection in the place of a
 * live entry: after the close, after a handshake that was completed, and from the
 * other side always. There it must be judged by that side's policy: the entry
 * would let a server call its clients back.
 */
static __always_inline int ct_reopens(const struct ct_entry *ct, const struct packet *pkt)
{
	if ((pkt->progress & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return 0;
	if (ct_closing(ct) || ct_index(ct, pkt->dir))
		return 1;
	return ct->tcp_flags[0] & TCP_ACK;
}

static __always_inline int ct_judge_age(const struct ct_entry *ct, const struct packet *pkt,
					__u32 ifindex)
{
	if (ticks_since(pkt->now, ct->last_seen) > ct_lifetime(ct, pkt->tuple.proto))
		return CT_EXPIRED;
	if (ct->ifindex != ifindex || ct_reopens(ct, pkt))
		return CT_OVER;
	return CT_LIVE;
}

/*
 * Takes the counters that no event has reported. Two CPUs may both read before
 * either subtracts: the counter is then below zero, which reads as nothing to
 * report until as much has passed again. So sums come out exact.
 */
static __always_inline void ct_take_counters(struct ct_entry *ct, __u32 index, __u32 *packets,
					     __u64 *bytes)
{
	*packets = *(volatile __u32 *)&ct->packets[index & 1];
	*bytes = *(volatile __u64 *)&ct->bytes[index & 1];
	if ((__s32)*packets < 0)
		*packets = 0;
	if ((__s64)*bytes < 0)
		*bytes = 0;
	__sync_fetch_and_add(&ct->packets[index & 1], -*packets);
	__sync_fetch_and_add(&ct->bytes[index & 1], -*bytes);
}

/* Takes them for the packet's own event. */
static __always_inline void ct_take(struct ct_entry *ct, struct packet *pkt, __u32 index)
{
	ct_take_counters(ct, index, &pkt->packets, &pkt->event_bytes);
	pkt->taken = 1 + (index & 1);
}

/* The event found no room: what it took goes back, for the next one to report. */
static __always_inline void ct_give_back(const struct packet *pkt)
{
	struct ct_entry *ct;
	__u32 index;

	if (!pkt->taken)
		return;
	index = (pkt->taken - 1) & 1;
	ct = ct_lookup(pkt, CT_KIND_CONN);
	if (!ct)
		return;
	__sync_fetch_and_add(&ct->packets[index], pkt->packets);
	__sync_fetch_and_add(&ct->bytes[index], pkt->event_bytes);
}

#endif /* FATHOM_CONNTRACK_H */
