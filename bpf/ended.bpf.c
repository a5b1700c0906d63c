// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * ended.bpf.c: what a connection that ended in silence still had to say.
 *
 * Hook: none. The agent looks for entries whose time is over and whose counters no
 * event has taken, and runs this for each with BPF_PROG_TEST_RUN (kernel 4.12); the
 * packet is a struct ended_request. Returns the number of records it tried to write.
 *
 * The counters are taken by the same atomic step as everywhere, so that a packet
 * that comes after all loses nothing and nothing is told twice. The entry stays.
 *
 * Rejected: user space taking the counters itself, which has no atomic step for it;
 * a timer per connection, which needs 5.15 and a place in every entry.
 */
#include "uapi.h"
#include "addr.h"
#include "conntrack.h"
#include "emit.h"
#include "leftover.h"

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";

static __always_inline void ended_tell(struct ct_entry *ct, const struct tuple *tuple, __u8 family,
				       __u32 local_identity, __u32 index)
{
	__u32 packets;
	__u64 bytes;
	struct event *e;

	if ((__s32)ct->packets[index & 1] <= 0)
		return;
	ledger_count_shared(LEDGER_EVENTS_TIMEOUT);
	e = ended_event_reserve();
	if (!e)
		return;
	ct_take_counters(ct, index, &packets, &bytes);
	leftover_fill(e, ct, tuple, family, local_identity, index);
	e->kind = EVENT_KIND_ENDED;
	e->packets = packets;
	e->bytes = bytes;
	event_submit(e, LANE_EVENTS);
}

SEC("tc")
int ended(struct __sk_buff *skb)
{
	struct ended_request ask;
	struct endpoint *endpoint;
	struct tuple tuple = {};
	struct ct_entry *ct;
	__u32 identity = 0, ifindex, told;

	if (bpf_skb_load_bytes(skb, 0, &ask, sizeof(ask)))
		return 0;
	if (ask.family == 4) {
		struct ct4_key key;

		__builtin_memcpy(&key, ask.key, sizeof(key));
		if (key.kind != CT_KIND_CONN)
			return 0;
		ct = bpf_map_lookup_elem(&ct4, &key);
		addr_from_v4(tuple.local, key.local);
		addr_from_v4(tuple.remote, key.remote);
		tuple.lport = key.lport;
		tuple.rport = key.rport;
		tuple.proto = key.proto;
	} else if (ask.family == 6) {
		struct ct6_key key;

		__builtin_memcpy(&key, ask.key, sizeof(key));
		if (key.kind != CT_KIND_CONN)
			return 0;
		ct = bpf_map_lookup_elem(&ct6, &key);
		addr_copy(tuple.local, key.local);
		addr_copy(tuple.remote, key.remote);
		tuple.lport = key.lport;
		tuple.rport = key.rport;
		tuple.proto = key.proto;
	} else {
		return now_ticks();
	}
	if (!ct || ticks_since(now_ticks(), ct->last_seen) <= ct_lifetime(ct, tuple.proto))
		return 0;
	ifindex = ct->ifindex;
	endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (endpoint)
		identity = endpoint->identity;
	told = ((__s32)ct->packets[0] > 0) + ((__s32)ct->packets[1] > 0);
	ended_tell(ct, &tuple, ask.family, identity, 0);
	ended_tell(ct, &tuple, ask.family, identity, 1);
	return told;
}
