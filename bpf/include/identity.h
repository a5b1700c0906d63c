/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* identity.h: address → identity. Whole addresses first: the trie costs three times as much. */
#ifndef FATHOM_IDENTITY_H
#define FATHOM_IDENTITY_H

#include "uapi.h"
#include "addr.h"
#include "maps.h"

#define IDENTITY_HOST  1
#define IDENTITY_WORLD 2

/* The identity of the longest prefix that holds `addr`; 0 = none does. */
static __always_inline __u32 identity_of_prefix(const __u8 addr[16])
{
	struct ipcache_lpm_key key = { .prefixlen = 128 };
	struct ipcache_entry *entry;

	addr_copy(key.addr, addr);
	entry = bpf_map_lookup_elem(&ipcache, &key);
	return entry ? entry->identity : 0;
}

/* 0 = the address isn't known as a whole. `addr` points into a map: older kernels take no other key. */
static __always_inline __u32 identity_exact(const __u8 addr[16])
{
	struct ipcache_entry *entry = bpf_map_lookup_elem(&ipcache_exact, addr);

	return entry ? entry->identity : 0;
}

static __always_inline __u32 identity_of(const __u8 addr[16])
{
	__u32 identity = identity_exact(addr);

	if (!identity)
		identity = identity_of_prefix(addr);
	return identity ? identity : IDENTITY_WORLD;
}

/*
 * The cgroup of the process on this node that sent a packet to a pod; 0 = none
 * did. What comes from elsewhere has lost its socket, or has another pod's.
 */
static __always_inline __u64 sender_cgroup(struct __sk_buff *skb, __u32 identity)
{
	return identity == IDENTITY_HOST ? bpf_skb_cgroup_id(skb) : 0;
}

#endif /* FATHOM_IDENTITY_H */
