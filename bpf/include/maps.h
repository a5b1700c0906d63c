/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * maps.h: every map of abi.h. Sizes are defaults that the loader overrides.
 *
 * Weak for the reason given in config.h: all .bpf.c include the same
 * definitions, the linker keeps one of each.
 */
#ifndef FATHOM_MAPS_H
#define FATHOM_MAPS_H

#include "uapi.h"
#include "abi.h"

#define FATHOM_MAP SEC(".maps") __weak

/* ---- who is who ---------------------------------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* ifindex of the host-side device */
	__type(value, struct endpoint);
} endpoints FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);   /* netns cookie */
	__type(value, __u32); /* ifindex, as in endpoints */
} netns_endpoints FATHOM_MAP;

/* Whole addresses: three to five times faster than the trie, and nearly all of them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u8[16]);
	__type(value, struct ipcache_entry);
} ipcache_exact FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 512 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ipcache_lpm_key);
	__type(value, struct ipcache_entry);
} ipcache FATHOM_MAP;

/* ---- policy -------------------------------------------------------------- */

/*
 * policy_key → policy_entry. User space makes each inner map as large as its
 * table: only type, sizes and flags must agree (5.10). Sizes, not types: clang
 * leaves the types of an inner map undefined in a file that doesn't use them,
 * and libbpf then "can't determine key size".
 */
struct policy_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16 * 1024);
	__uint(key_size, sizeof(struct policy_key));
	__uint(value_size, sizeof(struct policy_entry));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 16 * 1024);
	__type(key, __u32); /* local identity */
	__array(values, struct policy_table);
} policy FATHOM_MAP;

/* ---- services ------------------------------------------------------------ */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, struct service);
} services FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_slot_key);
	__type(value, __u32); /* backend id */
} backend_slots FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* backend id */
	__type(value, struct backend);
} backends FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64 * 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* service id */
	__type(value, struct frontend);
} frontends FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64 * 1024);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinity FATHOM_MAP;

/* Apart from affinity: resolvers open a socket per question, and would push clients out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64 * 1024);
	__type(key, struct affinity_key); /* of the socket */
	__type(value, struct affinity);
} udp_sticky FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64 * 1024);
	__type(key, struct sock_rev_key);
	__type(value, struct sock_rev);
} sock_rev FATHOM_MAP;

/* ---- state --------------------------------------------------------------- */

/* Families apart: a 16-byte key costs half of a 40-byte one when memory is cold. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512 * 1024);
	__type(key, struct ct4_key);
	__type(value, struct ct_entry);
} ct4 FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512 * 1024);
	__type(key, struct ct6_key);
	__type(value, struct ct_entry);
} ct6 FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct frag_key);
	__type(value, struct frag_ports);
} fragments FATHOM_MAP;

/* ---- accounting ---------------------------------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FATHOM_COUNTER_SLOTS);
	__type(key, __u32); /* direction * 256 + drop reason */
	__type(value, struct traffic_counter);
} counters FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 16 * 1024);
	__type(key, __u32); /* rule id */
	__type(value, struct traffic_counter);
} rule_denials FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FATHOM_LEDGER_SLOTS);
	__type(key, __u32); /* enum ledger_stage */
	__type(value, __u64);
} ledger FATHOM_MAP;

/* ---- records ------------------------------------------------------------- */

/*
 * The last sequence number given out. tc programs run with softirqs off, so
 * nothing of their kind comes between on one CPU: slots LANE_EVENTS, LANE_DROPS
 * and, for messages of application protocols, SEQ_L7.
 */
#define SEQ_L7 2

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} event_seq FATHOM_MAP;

/*
 * The same for socket hooks and ended.bpf.c, which other tasks do interrupt:
 * adding one and reading it must be one step, and 5.10 has no atomic operation
 * that returns a value. Indexed by CPU.
 */
#define SEQ_ENDED 2 /* beside LANE_EVENTS and LANE_DROPS of the socket hooks */

struct sock_seq {
	struct bpf_spin_lock lock;
	__u32 last[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct sock_seq);
} sock_event_seq FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} drops FATHOM_MAP;

/* ---- control ------------------------------------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32); /* 0 */
	__type(value, struct runtime);
} runtime FATHOM_MAP;

#endif /* FATHOM_MAPS_H */
