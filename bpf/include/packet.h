/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * packet.h: all that is known about the packet at hand, from its headers to the
 * verdict, and the scratch memory it lives in.
 *
 * In a map and not on the stack: the verifier takes what it loads from a map as
 * unknown, so that paths which differ only in what they stored there meet again;
 * on the stack it would follow each combination of family and protocol to the end.
 * One per CPU is enough: tc programs run with softirqs off.
 */
#ifndef FATHOM_PACKET_H
#define FATHOM_PACKET_H

#include "uapi.h"
#include "abi.h"
#include "addr.h"

/* What a step says: a drop reason (1..255), or one of these. */
#define STEP_OK        0
#define STEP_UNTRACKED (-1) /* let through, no connection and no event */

/* What kind of packet, as far as conntrack cares. */
#define CLASS_PORTS      0 /* TCP, UDP, SCTP */
#define CLASS_ECHO       1
#define CLASS_ECHO_REPLY 2
#define CLASS_ERROR      3 /* ICMP error, about another packet */
#define CLASS_DISCOVERY  4 /* neighbour and listener discovery */

#define FRAG_NONE  0
#define FRAG_FIRST 1
#define FRAG_LATER 2 /* has no L4 header */

/* A connection as its local endpoint sees it; what conntrack is keyed by. */
struct tuple {
	__u8 local[16];
	__u8 remote[16];
	__be16 lport;
	__be16 rport;
	__u8 proto;
	__u8 pad[3];
};

/* Where a walk along IPv6 extension headers is. */
struct ip6_walk {
	__u32 off; /* of the next header, from the start of the packet */
	__u32 frag_id;
	__u16 frag_off; /* bytes */
	__u8 next;      /* protocol of the next header */
	__u8 frag;      /* FRAG_* */
};

struct packet {
	/* on the wire */
	__u8 saddr[16];
	__u8 daddr[16];
	__be16 sport; /* echo: the identifier on the asking side, 0 on the other */
	__be16 dport;
	__u32 bytes; /* from L3 up */
	__u32 l4_off;
	__u32 l4_len; /* by the IP header; a later fragment's payload */
	__u32 frag_id;
	__be16 l3_proto;
	__u8 smac[6];
	__u8 dmac[6];
	__u8 family;
	__u8 proto;
	__u8 frag;  /* FRAG_* */
	__u8 class; /* CLASS_* */
	__u8 hop_limit;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 progress;   /* TCP flags for conntrack, see ct_entry */
	__u8 dir;        /* enum direction */
	__u8 l7_off;     /* the pod's messages aren't read */
	__u8 l7_at_peer; /* they are read at the peer's device, on this node */
	__u8 pad3[2];
	__u32 payload_off; /* TCP and UDP */
	__u32 payload_len; /* by the headers */
	__u32 tcp_seq;
	__u32 tcp_ack;
	struct ip6_walk walk;
	struct tuple tuple;

	/* an ICMP error's packet within */
	__u32 inner_l3;
	__u32 inner_l4;

	/* service translation */
	__u8 frontend[16];
	__u8 backend[16];
	__be16 frontend_port;
	__be16 backend_port;
	__u8 service_is_new; /* remember the backend once the packet is allowed */
	__u8 moved;          /* the frontend is a backend that is gone */
	__u8 pad[2];
	__u32 service_id;
	__u32 backend_id;

	/* judgement */
	__u32 now; /* ticks */
	__u32 revision;
	__u32 local_identity; /* 0 = not looked up */
	__u32 remote_identity;
	__u32 rule_id;
	__u8 policy; /* POLICY_VERDICT_* found so far */
	__u8 match;
	__u8 ct_state;
	__u8 trigger; /* TRIGGER_NONE = no event */
	__u16 flags;  /* EVENT_F_* */
	__u8 taken;   /* counters came from conntrack: 1 + index */
	__u8 pad2;
	__u32 handshake_us;
	__u32 packets; /* for the event */
	__u64 event_bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} scratch SEC(".maps") __weak;

/*
 * A step that is a global function: the verifier looks at it once, not once per
 * way to it. It takes scalars and the context only, which is what 5.10 knows for
 * arguments, and finds the packet again by itself. Weak, so that clang believes
 * as little about its result as the verifier does.
 */
#define FATHOM_STEP __weak __noinline int

static __always_inline struct packet *packet_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

#endif /* FATHOM_PACKET_H */
