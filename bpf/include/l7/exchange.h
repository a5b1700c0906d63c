/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/exchange.h: requests that wait for their response.
 *
 * A table of buckets with four places each and not a hash map, where putting in
 * and taking out costs three times what all the rest of a small message does. A
 * request's first bucket is near those of its connection's last requests, where
 * memory is in the cache; when that is full, a few others are looked at
 * anywhere. A request that finds all of them full takes the place of the oldest of
 * the last one, which is counted: its response is told without its latency.
 */
#ifndef FATHOM_L7_EXCHANGE_H
#define FATHOM_L7_EXCHANGE_H

#include "uapi.h"
#include "config.h"
#include "ledger.h"
#include "l7/state.h"

/* How a protocol's ids follow each other: by what they are shifted so that four share a bucket, and how many buckets. */
struct l7_near {
	__u8 shift;
	__u8 buckets; /* a power of two; 0 = ids in no order */
};

#define L7_NEAR_HTTP1 (struct l7_near){ 2, 2 }  /* one after the other, few at a time */
#define L7_NEAR_HTTP2 (struct l7_near){ 3, 32 } /* odd numbers, often a hundred at a time */
#define L7_NEAR_KAFKA (struct l7_near){ 2, 2 }
#define L7_NEAR_DNS   (struct l7_near){ 0, 0 } /* at random */

#define L7_GOLDEN 0x9e3779b97f4a7c15ULL /* spreads what it multiplies over the upper bits */

/* Buckets anywhere that a request may be in: near ones are often full. */
#define L7_FAR 3

static __always_inline struct l7_bucket *l7_bucket_far(__u64 conn, __u32 id, __u32 nth)
{
	__u64 hash = (conn ^ ((__u64)id << 32 | id)) * L7_GOLDEN;
	__u32 index = ((hash >> 32) + nth * (hash >> 48 | 1)) & cfg_l7_exchange_mask;

	return bpf_map_lookup_elem(&l7_exchanges, &index);
}

static __always_inline struct l7_bucket *l7_bucket_near(__u64 conn, __u32 id, struct l7_near near)
{
	__u32 place = (id >> near.shift) & (near.buckets - 1);
	__u32 index = ((conn * L7_GOLDEN >> 32) + place) & cfg_l7_exchange_mask;

	return bpf_map_lookup_elem(&l7_exchanges, &index);
}

static __always_inline struct l7_exchange *l7_exchange_in(struct l7_bucket *bucket, __u64 conn,
							  __u32 id)
{
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

static __always_inline struct l7_exchange *l7_exchange_find(__u64 conn, __u32 id,
							    struct l7_near near)
{
	struct l7_exchange *x;
	struct l7_bucket *bucket;

	if (near.buckets) {
		bucket = l7_bucket_near(conn, id, near);
		x = bucket ? l7_exchange_in(bucket, conn, id) : NULL;
		if (x)
			return x;
	}
	for (__u32 i = 0; i < L7_FAR; i++) {
		bucket = l7_bucket_far(conn, id, i);
		x = bucket ? l7_exchange_in(bucket, conn, id) : NULL;
		if (x)
			return x;
	}
	return NULL;
}

#define L7_GIVEN_UP 1                             /* request_ns of one that its client gave up */
#define L7_STALE    (300ULL * 1000 * 1000 * 1000) /* ns without a word of it: likely none will come */

/*
 * The request's place in a bucket: that of one with the same name or a free one, else
 * that of one given up or silent for long, else with `oldest` that of the oldest. Its
 * name is in it before anybody else looks.
 */
static __always_inline struct l7_exchange *l7_exchange_place(struct l7_bucket *bucket, __u64 conn,
							     __u32 id, __u64 now, __u32 oldest)
{
	struct l7_exchange *x;
	__u64 found, age = ~0ULL;
	__u32 best = 0;

	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (__u32 i = 0; i < L7_WAYS; i++) {
		__u64 at = bucket->way[i].conn ? bucket->way[i].request_ns : 0;

		if (at && now - bucket->way[i].sampled_ns > L7_STALE && now > at)
			at = L7_GIVEN_UP;
		if (bucket->way[i].conn == conn && bucket->way[i].id == id)
			at = 0;
		if (at < age) {
			age = at;
			best = i;
		}
	}
	if (age > L7_GIVEN_UP && !oldest) {
		bpf_spin_unlock(&bucket->lock);
		return NULL;
	}
	best &= L7_WAYS - 1;
	x = &bucket->way[best];
	found = x->conn;
	x->conn = conn;
	x->id = id;
	x->request_ns = now;
	x->sampled_ns = now;
	bpf_spin_unlock(&bucket->lock);
	if (age > L7_GIVEN_UP && found)
		ledger_count(LEDGER_L7_UNTRACKED);
	return x;
}

/* A place for a request, empty but for who it is; in the place of one with the same name, if there is one. */
static __always_inline struct l7_exchange *l7_exchange_add(__u64 conn, __u32 id,
							   struct l7_near near, __u64 now)
{
	struct l7_exchange *x = NULL;
	struct l7_bucket *bucket;

	if (near.buckets) {
		bucket = l7_bucket_near(conn, id, near);
		if (bucket)
			x = l7_exchange_place(bucket, conn, id, now, 0);
	}
	for (__u32 i = 0; i < L7_FAR && !x; i++) {
		bucket = l7_bucket_far(conn, id, i);
		if (bucket)
			x = l7_exchange_place(bucket, conn, id, now, i + 1 == L7_FAR);
	}
	if (!x)
		return NULL;
	x->latency_ns = 0;
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

/*
 * Told as over by its client's word, while the server may be answering: what it
 * says of it is not told. The place is as good as free; `flags` are there before it is.
 */
static __always_inline void l7_exchange_give_up(struct l7_exchange *x, __u64 conn, __u32 id)
{
	/* The server's last word may have come meanwhile, and another one into its place. */
	if (x->conn != conn || x->id != id)
		return;
	*(volatile __u8 *)&x->flags = L7X_GIVEN_UP;
	*(volatile __u64 *)&x->request_ns = L7_GIVEN_UP;
}

/* From the request's last byte to now; 0 means unknown, so that it is at least 1. */
static __always_inline __u64 l7_since(__u64 now, __u64 then)
{
	return now > then ? now - then : 1;
}

#endif /* FATHOM_L7_EXCHANGE_H */
