/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * uapi.h: the part of the kernel's user-space interface that our programs use:
 * integer types, contexts, map types, flags. First include of every .bpf.c.
 *
 * Written by hand, so that a build needs no kernel headers (Debian keeps asm/ in
 * a directory that clang's bpf target doesn't search) and no vmlinux.h (its
 * structures are relocatable, so that initialising one can be rewritten for a
 * field that only a newer kernel has). The context structures are stable
 * interface: offsets are what counts, the kernel translates each access.
 */
#ifndef FATHOM_UAPI_H
#define FATHOM_UAPI_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef __u16 __sum16;

#define NULL ((void *)0)

/* enum bpf_map_type */
#define BPF_MAP_TYPE_HASH            1
#define BPF_MAP_TYPE_ARRAY           2
#define BPF_MAP_TYPE_PROG_ARRAY      3
#define BPF_MAP_TYPE_PERCPU_ARRAY    6
#define BPF_MAP_TYPE_LRU_HASH        9
#define BPF_MAP_TYPE_LRU_PERCPU_HASH 10
#define BPF_MAP_TYPE_LPM_TRIE        11
#define BPF_MAP_TYPE_HASH_OF_MAPS    13
#define BPF_MAP_TYPE_RINGBUF         27

/* map creation */
#define BPF_F_NO_PREALLOC (1U << 0)
#define BPF_F_MMAPABLE    (1U << 10)

/* bpf_map_update_elem */
#define BPF_ANY     0
#define BPF_NOEXIST 1
#define BPF_EXIST   2

/* ring buffer */
#define BPF_RB_NO_WAKEUP    (1ULL << 0)
#define BPF_RB_FORCE_WAKEUP (1ULL << 1)
#define BPF_RB_AVAIL_DATA   0

/* packet rewriting */
#define BPF_F_RECOMPUTE_CSUM (1ULL << 0)
#define BPF_F_PSEUDO_HDR     (1ULL << 4)
#define BPF_F_MARK_MANGLED_0 (1ULL << 5)

/* what a program on tc or tcx returns */
#define TC_ACT_UNSPEC (-1) /* TCX_NEXT: on to the next program */
#define TC_ACT_SHOT   2

/* context of tc programs */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__u64 flow_keys __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	__u64 sk __attribute__((aligned(8)));
	__u32 gso_size;
};

/* context of cgroup socket address programs */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;    /* network order */
	__u32 user_ip6[4]; /* network order */
	__u32 user_port;   /* network order, in the low 16 bits */
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	__u64 sk __attribute__((aligned(8)));
};

struct bpf_spin_lock {
	__u32 val;
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#endif /* FATHOM_UAPI_H */
