/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * abi.bpf.c: no program, only the name of every structure of abi.h, so that the
 * object's BTF describes them all and a test can compare bpf/src/abi.rs with it.
 * clang leaves out what no map and no function signature mentions, such as records.
 */
#include "uapi.h"
#include "abi.h"

struct abi_types {
	struct event event;
	struct l7_head l7_head;
	struct l7_text l7_text;
	struct l7_header l7_header;
	struct endpoint endpoint;
	struct ipcache_lpm_key ipcache_lpm_key;
	struct ipcache_entry ipcache_entry;
	struct policy_key policy_key;
	struct policy_entry policy_entry;
	struct service_key service_key;
	struct service service;
	struct backend_slot_key backend_slot_key;
	struct backend backend;
	struct frontend frontend;
	struct affinity_key affinity_key;
	struct affinity affinity;
	struct sock_rev_key sock_rev_key;
	struct sock_rev sock_rev;
	struct ct4_key ct4_key;
	struct ct6_key ct6_key;
	struct ct_entry ct_entry;
	struct nat_key nat_key;
	struct nat_entry nat_entry;
	struct uplink uplink;
	struct ended_request ended_request;
	struct frag_key frag_key;
	struct frag_ports frag_ports;
	struct traffic_counter traffic_counter;
	struct runtime runtime;
};

/* Never read: a null pointer is all the object pays for it. */
const struct abi_types *const volatile abi_types SEC(".rodata") __weak = NULL;
