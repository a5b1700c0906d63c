/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/exchange.h: requests that wait for their response.
 *
 * A table of buckets with four places each and not a hash map, where putting in
 * and taking out costs three times what all the rest of a small message does. A
 * fifth request of a bucket takes the place of the oldest, which is counted: its
 * response is told without its latency.
 */
#ifndef FATHOM_L7_EXCHANGE_H
#define FATHOM_L7_EXCHANGE_H

#include "uapi.h"
#include "config.h"
#include "ledger.h"
#include "l7/state.h"

static __always_inline struct l7_bucket *l7_bucket_of(__u64 conn, __u32 id)
{
	__u64 hash = (conn ^ ((__u64)id << 32 | id)) * 0x9e3779b97f4a7c15ULL;
	__u32 index = (hash >> 32) & cfg_l7_exchange_mask;

	return bpf_map_lookup_elem(&l7_exchanges, &index);
}

static __always_inline struct l7_exchange *l7_exchange_find(__u64 conn, __u32 id)
{
	struct l7_bucket *bucket = l7_bucket_of(conn, id);

	if (!bucket)
		return NULL;
	if (bucket->way[0].conn == conn && bucket->way[0].id == id)
		return &bucket->way[0];
	if (bucket->way[1].conn == conn && bucket->way[1].id == id)
		return &bucket->way[1];
	if (bucket->way[2].conn == conn && bucket->way[2].id == id)
		return &bucket->way[2];
	if (bucket->way[3].conn == conn && bucket->way[3].id == id)
		return &bucket->way[3];
	return NULL;
}

/* A place for a request, empty but for who it is; in the place of one with the same name, if there is one. */
static __always_inline struct l7_exchange *l7_exchange_add(__u64 conn, __u32 id, __u64 now)
{
	struct l7_bucket *bucket = l7_bucket_of(conn, id);
	struct l7_exchange *x;
	__u32 oldest = 0;
	__u64 found = 0, age = ~0ULL;

	if (!bucket)
		return NULL;
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (__u32 i = 0; i < L7_WAYS; i++) {
		__u64 at = bucket->way[i].conn ? bucket->way[i].request_ns : 0;

		if (bucket->way[i].conn == conn && bucket->way[i].id == id)
			at = 0;
		if (at < age) {
			age = at;
			oldest = i;
		}
	}
	oldest &= L7_WAYS - 1;
	x = &bucket->way[oldest];
	found = x->conn;
	x->conn = conn;
	x->id = id;
	x->request_ns = now;
	bpf_spin_unlock(&bucket->lock);
	if (age && found)
		ledger_count(LEDGER_L7_UNTRACKED);
	x->latency_ns = 0;
	x->sampled_ns = now;
	x->status = 0;
	x->code = 0;
	x->messages[0] = 0;
	x->messages[1] = 0;
	x->left[0] = 0;
	x->left[1] = 0;
	x->got[0] = 0;
	x->got[1] = 0;
	x->shown = id;
	x->method = 0;
	x->flags = 0;
	x->version = 0;
	x->bytes[0] = 0;
	x->bytes[1] = 0;
	return x;
}

static __always_inline void l7_exchange_drop(struct l7_exchange *x)
{
	*(volatile __u64 *)&x->conn = 0;
}

/* From the request's last byte to now; 0 means unknown, so that it is at least 1. */
static __always_inline __u64 l7_since(__u64 now, __u64 then)
{
	return now > then ? now - then : 1;
}

#endif /* FATHOM_L7_EXCHANGE_H */
