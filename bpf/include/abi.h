/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * abi.h: the one header both sides of the kernel boundary agree on.
 *
 * Read by every .bpf.c; mirrored by bpf/src/abi.rs, which a test compares with
 * this object's BTF, field by field. Rules: fixed-width integers, explicit
 * padding, unit or byte order in each comment, a size assertion per struct,
 * numbers are never reused.
 *
 * Addresses in 16-byte fields: IPv6 as it is, IPv4 as ::ffff:a.b.c.d
 * (RFC 4291 section 2.5.5.2), so that a v4-mapped socket needs no second table.
 */
#ifndef FATHOM_ABI_H
#define FATHOM_ABI_H

#define FATHOM_ABI_VERSION 2

#define FATHOM_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)

/* ---- enums: X(NAME, number) --------------------------------------------- */

/* What a record describes. */
#define FATHOM_EVENT_KINDS(X) \
	X(FLOW, 1)  /* a decision about a packet at tc */ \
	X(SOCK, 2)  /* a service → backend choice at a socket call */ \
	X(ENDED, 3) /* as FLOW: what a connection that ended in silence still held */ \
	X(L7, 4)    /* a message of an application protocol: struct l7_head and texts follow */

/* Relative to the local endpoint. */
#define FATHOM_DIRECTIONS(X) \
	X(UNKNOWN, 0) \
	X(INGRESS, 1) \
	X(EGRESS, 2)

#define FATHOM_VERDICTS(X) \
	X(UNKNOWN, 0) \
	X(FORWARDED, 1) \
	X(DROPPED, 2) \
	X(TRANSLATED, 7)

/* Where the packet was seen; numbers of the public trace observation points. */
#define FATHOM_OBS_POINTS(X) \
	X(TO_ENDPOINT, 0) \
	X(TO_STACK, 3) \
	X(FROM_ENDPOINT, 5) \
	X(FROM_NETWORK, 10) /* an uplink, coming in */ \
	X(TO_NETWORK, 11)   /* an uplink, going out */

/* Conntrack state of the packet. */
#define FATHOM_CT_STATES(X) \
	X(UNKNOWN, 0) /* not tracked, or dropped before the look-up */ \
	X(NEW, 1) \
	X(ESTABLISHED, 2) \
	X(REPLY, 3) \
	X(RELATED, 4)  /* ICMP error about a tracked connection */ \
	X(REOPENED, 5) /* SYN on a closed or expired entry */

/* Why an event was written. */
#define FATHOM_TRIGGERS(X) \
	X(NONE, 0) \
	X(NEW, 1)     /* first packet of a connection */ \
	X(FLAGS, 2)   /* established: the SYN-ACK, or the first packet back where there is none */ \
	X(CLOSE, 3)   /* FIN or RST */ \
	X(TIMEOUT, 4) /* the entry was found expired */ \
	X(INTERVAL, 5) /* report interval of a long-lived connection */ \
	X(PACKET, 6)   /* --events packet */ \
	X(DROP, 7) \
	X(REJUDGED, 8) /* the verdict changed under a live connection */

/* Drop reasons; numbers of the public DropReason enum. 0 = none. */
#define FATHOM_DROP_REASONS(X) \
	X(INVALID_SOURCE_IP, 132) \
	X(POLICY_DENIED, 133) \
	X(INVALID_PACKET, 134) \
	X(CT_TRUNCATED, 135) \
	X(CT_UNKNOWN_L4, 137) \
	X(UNSUPPORTED_L3, 139) \
	X(WRITE_ERROR, 141) \
	X(UNKNOWN_ICMP4_CODE, 143) \
	X(UNKNOWN_ICMP4_TYPE, 144) \
	X(UNKNOWN_ICMP6_CODE, 145) \
	X(UNKNOWN_ICMP6_TYPE, 146) \
	X(CSUM_L3, 153) \
	X(CSUM_L4, 154) \
	X(CT_INSERT_FAILED, 155) \
	X(INVALID_EXT_HEADER, 156) \
	X(FRAG_UNSUPPORTED, 157) \
	X(NO_BACKEND, 158) \
	X(NO_POLICY_CONFIG, 165) \
	X(UNSUPPORTED_L2, 166) \
	X(NAT_NO_MAPPING, 167) \
	X(NAT_UNSUPPORTED_PROTO, 168) \
	X(FRAG_NOT_FOUND, 175) \
	X(FORBIDDEN_ICMP6, 176) \
	X(POLICY_DENY, 181) \
	X(VLAN_FILTERED, 182) \
	X(EP_NOT_READY, 203)

/* What a connection speaks. gRPC is HTTP/2 with L7_F_GRPC. */
#define FATHOM_L7_PROTOCOLS(X) \
	X(NONE, 0) \
	X(HTTP1, 1) \
	X(HTTP2, 2) \
	X(DNS, 3) \
	X(KAFKA, 4) \
	X(TLS, 5) /* a ClientHello; never a message of what is inside */ \
	X(QUIC, 6) \
	X(WEBSOCKET, 7)

/* Numbers of the public L7FlowType. */
#define FATHOM_L7_TYPES(X) \
	X(UNKNOWN, 0) \
	X(REQUEST, 1) \
	X(RESPONSE, 2) \
	X(SAMPLE, 3) /* counts so far of an exchange that goes on */

#define FATHOM_L7_METHODS(X) \
	X(OTHER, 0) /* its name is a text */ \
	X(GET, 1) \
	X(HEAD, 2) \
	X(POST, 3) \
	X(PUT, 4) \
	X(DELETE, 5) \
	X(CONNECT, 6) \
	X(OPTIONS, 7) \
	X(TRACE, 8) \
	X(PATCH, 9)

/* What a text of an L7 record is. */
#define FATHOM_L7_TEXTS(X) \
	X(PATH, 1)        /* HTTP: the request target; gRPC: /service/method */ \
	X(HOST, 2)        /* HTTP: Host or :authority */ \
	X(METHOD, 3)      /* HTTP: a method that has no number */ \
	X(HEADER, 4)      /* HTTP: a captured header, "name: value", as it was sent */ \
	X(TRACEPARENT, 5) /* HTTP: W3C Trace Context */ \
	X(UPGRADE, 6)     /* HTTP: the protocol a 101 changes to */ \
	X(DNS_NAME, 7)    /* lower case, dots between labels, no final dot; the root is "." */ \
	X(DNS_A, 8)       /* 4 bytes; number = TTL */ \
	X(DNS_AAAA, 9)    /* 16 bytes; number = TTL */ \
	X(DNS_CNAME, 10)  /* a name, as DNS_NAME; number = TTL */ \
	X(DNS_OTHER, 11)  /* 2 bytes: the answer's type, network order; number = TTL */ \
	X(KAFKA_CLIENT, 12) \
	X(KAFKA_TOPIC, 13) /* 16 bytes with TEXT_F_ID: a topic's id */ \
	X(SNI, 14) \
	X(ALPN, 15) /* protocol names, commas between */

/*
 * The kernel's half of the ledger: one u64 per CPU and stage. It balances:
 *   PACKETS_SEEN = PACKETS_AGGREGATED + PACKETS_PASSED_UNTRACKED + PACKETS_REPORTED
 *   EVENTS_EMITTED + DROPS_EMITTED = PACKETS_REPORTED + EVENTS_TIMEOUT + SOCK_EMITTED + L7_EMITTED
 *                                    + UPLINK_EMITTED
 *   EVENTS_EMITTED = records on the events lane + EVENTS_LOST; DROPS likewise
 */
#define FATHOM_LEDGER_STAGES(X) \
	X(PACKETS_SEEN, 0)       /* packets that entered from_pod or to_pod */ \
	X(PACKETS_AGGREGATED, 1) /* of these: accounted in conntrack, no event of their own */ \
	X(PACKETS_PASSED_UNTRACKED, 2) /* ARP, neighbour and listener discovery: no event */ \
	X(EVENTS_EMITTED, 3)           /* attempts on the events lane = delivered + lost */ \
	X(EVENTS_LOST, 4)              /* events lane was full */ \
	X(DROPS_EMITTED, 5)            /* attempts on the drop lane */ \
	X(DROPS_LOST, 6)               /* drop lane was full */ \
	X(CT_CREATED, 7) \
	X(CT_INSERT_FAILED, 8) \
	X(CT_EXPIRED, 9)   /* of CT_REPLACED: nothing was seen for its time */ \
	X(CT_REJUDGED, 10) /* looked at again because the revision moved */ \
	X(SOCK_TRANSLATED, 11) \
	X(SOCK_NO_BACKEND, 12) \
	X(TC_TRANSLATED, 13)    /* packets rewritten to a backend at tc */ \
	X(TC_REVERSED, 14)      /* replies rewritten to the frontend at tc */ \
	X(SOCK_REV_FAILED, 15)  /* reverse entry of a UDP translation not stored */ \
	X(PACKETS_REPORTED, 16) /* packets with a record of their own attempted, on either lane */ \
	X(EVENTS_TIMEOUT, 17)   /* of EVENTS_EMITTED: left-over counters of an ended entry */ \
	X(SOCK_EMITTED, 18)     /* of EVENTS_EMITTED and DROPS_EMITTED: by socket hooks */ \
	X(CT_REPLACED, 19)      /* of CT_CREATED: in the place of an entry that had ended */ \
	X(L7_EMITTED, 20)       /* of EVENTS_EMITTED: messages of application protocols */ \
	X(L7_LOST, 21)          /* of EVENTS_LOST */ \
	X(L7_REQUESTS, 22)      /* of L7_EMITTED */ \
	X(L7_RESPONSES, 23)     /* of L7_EMITTED */ \
	X(L7_OPENED, 24)        /* connections whose bytes were looked at */ \
	X(L7_EVICTED, 25)       /* connections whose state made room for another's */ \
	X(L7_UNTRACKED, 26) /* requests that another's took the place of in the exchange table */ \
	X(L7_NOT_OURS, 27)  /* connections of no protocol known here */ \
	X(L7_GAPS, 28)      /* bytes missed and the thread lost: found again at a later message */ \
	X(L7_HELD, 29)      /* segments that came early and were held for their turn */ \
	X(L7_REPEATED, 30)  /* segments, or parts of one, that had been seen */ \
	X(L7_MALFORMED, 31) /* connections that broke their protocol */ \
	X(L7_UNKNOWN, 32) /* header fields whose value only a lost part of the connection told */ \
	X(L7_UNMATCHED, 33)      /* responses whose request was not seen */ \
	X(UPLINK_EMITTED, 34)    /* of EVENTS_EMITTED and DROPS_EMITTED: at uplinks */ \
	X(UPLINK_TRANSLATED, 35) /* packets rewritten at uplinks */

#define FATHOM_LEDGER_SLOTS 48

#define FATHOM_ENUM_KIND(n, v)    EVENT_KIND_##n = (v),
#define FATHOM_ENUM_DIR(n, v)     DIR_##n = (v),
#define FATHOM_ENUM_VERDICT(n, v) VERDICT_##n = (v),
#define FATHOM_ENUM_OBS(n, v)     OBS_##n = (v),
#define FATHOM_ENUM_CT(n, v)      CT_##n = (v),
#define FATHOM_ENUM_TRIGGER(n, v) TRIGGER_##n = (v),
#define FATHOM_ENUM_DROP(n, v)    DROP_##n = (v),
#define FATHOM_ENUM_LEDGER(n, v)  LEDGER_##n = (v),
#define FATHOM_ENUM_L7(n, v)      L7_##n = (v),
#define FATHOM_ENUM_L7_TYPE(n, v) L7_TYPE_##n = (v),
#define FATHOM_ENUM_METHOD(n, v)  METHOD_##n = (v),
#define FATHOM_ENUM_TEXT(n, v)    TEXT_##n = (v),

enum event_kind { FATHOM_EVENT_KINDS(FATHOM_ENUM_KIND) };
enum direction { FATHOM_DIRECTIONS(FATHOM_ENUM_DIR) };
enum verdict { FATHOM_VERDICTS(FATHOM_ENUM_VERDICT) };
enum obs_point { FATHOM_OBS_POINTS(FATHOM_ENUM_OBS) };
enum ct_state { FATHOM_CT_STATES(FATHOM_ENUM_CT) };
enum trigger { FATHOM_TRIGGERS(FATHOM_ENUM_TRIGGER) };
enum drop_reason { DROP_NONE = 0, FATHOM_DROP_REASONS(FATHOM_ENUM_DROP) };
enum ledger_stage { FATHOM_LEDGER_STAGES(FATHOM_ENUM_LEDGER) };
enum l7_protocol { FATHOM_L7_PROTOCOLS(FATHOM_ENUM_L7) };
enum l7_type { FATHOM_L7_TYPES(FATHOM_ENUM_L7_TYPE) };
enum l7_method { FATHOM_L7_METHODS(FATHOM_ENUM_METHOD) };
enum l7_text_kind { FATHOM_L7_TEXTS(FATHOM_ENUM_TEXT) };

/* ---- records ------------------------------------------------------------- */

/* event.flags */
#define EVENT_F_REPLY       (1 << 0) /* against the direction the connection was opened in */
#define EVENT_F_REPLY_KNOWN (1 << 1) /* conntrack knew; else EVENT_F_REPLY means nothing */
#define EVENT_F_FRAGMENT    (1 << 2)
#define EVENT_F_TRANSLATED  (1 << 3) /* destination (or, on a reply, source) was rewritten at tc */
#define EVENT_F_POLICY      (1 << 4) /* policy was enforced in this direction and decided here */
#define EVENT_F_NO_L4       (1 << 5) /* ports are unknown, not zero */
#define EVENT_F_LOCAL_HOST  (1 << 6) /* allowed because the peer is this node */
#define EVENT_F_NO_IP       (1 << 7) /* addresses are unknown: the packet broke off earlier */
#define EVENT_F_SENDER      (1 << 8) /* a process of this node sent it: `cookie` is its cgroup's id */

/* event.match: how the deciding policy key matched; public policy_match_type. */
#define MATCH_NONE       0
#define MATCH_L3_ONLY    1
#define MATCH_L3_L4      2
#define MATCH_L4_ONLY    3
#define MATCH_ALL        4
#define MATCH_L3_PROTO   5
#define MATCH_PROTO_ONLY 6

/* event.lane */
#define LANE_EVENTS 0
#define LANE_DROPS  1

/*
 * One decision. Sequence numbers count per CPU, lane and kind, lost records
 * included, so a gap is a loss.
 */
struct event {
	__u8 version;   /* FATHOM_ABI_VERSION */
	__u8 kind;      /* enum event_kind */
	__u16 len;      /* bytes, this header and any tail */
	__u32 seq;      /* wraps */
	__u64 time_ns;  /* CLOCK_BOOTTIME */
	__u8 saddr[16]; /* as seen by the policy decision: after translation */
	__u8 daddr[16];
	__be16 sport; /* network order; 0 for ICMP */
	__be16 dport;
	__u32 src_identity;
	__u32 dst_identity;
	__u32 ifindex; /* the endpoint's host-side device; 0 = unknown (socket hook of the host) */
	__u32 rule_id; /* 0 = no rule; on a default deny, the set of selecting policies */
	__u32 handshake_us; /* SYN to SYN-ACK at this point; 0 = not on this event */
	__u16 cpu;
	__u8 proto;     /* IANA protocol number */
	__u8 family;    /* 4, 6; 0 = not IP */
	__u8 direction; /* enum direction: of the packet, seen from the local endpoint */
	__u8 obs_point; /* enum obs_point; for SOCK, the public socket translation point */
	__u8 verdict;   /* enum verdict */
	__u8 reason;    /* enum drop_reason */
	__u8 ct_state;  /* enum ct_state */
	__u8 tcp_flags; /* byte 13 of the TCP header */
	__u8 icmp_type; /* or the SCTP chunk type */
	__u8 icmp_code;
	__u16 flags;      /* EVENT_F_* */
	__u8 match;       /* MATCH_* */
	__u8 trigger;     /* enum trigger; top bit: LANE_DROPS */
	__u64 cookie;     /* socket cookie, or see EVENT_F_SENDER; 0 = not known at this hook */
	__u32 packets;    /* since the last event of this direction */
	__u32 service_id; /* 0 = not through a service */
	__u64 bytes;      /* since the last event of this direction, from L3 up; SOCK: cgroup id */
	__u8 smac[6];
	__u8 dmac[6];
	__be16 l3_proto;      /* ethertype */
	__be16 frontend_port; /* service port; 0 = not through a service */
};
FATHOM_ASSERT_SIZE(struct event, 128);

#define EVENT_TRIGGER_LANE_DROPS 0x80

/* l7_head.flags */
#define L7_F_GRPC      (1 << 0)  /* content-type application/grpc */
#define L7_F_STREAMED  (1 << 1)  /* the response record was written at the end of the exchange */
#define L7_F_UNKNOWN   (1 << 2)  /* some field can't be known: the part that told it was not seen */
#define L7_F_UNMATCHED (1 << 3)  /* a response whose request was not seen, or not kept */
#define L7_F_FIRST     (1 << 4)  /* first exchange of its connection: handshake_us is set */
#define L7_F_UPGRADED  (1 << 5)  /* after this message the connection speaks something else */
#define L7_F_RESET     (1 << 6)  /* ended by RST_STREAM; status is its error code */
#define L7_F_STATUS    (1 << 7)  /* `status` was there */
#define L7_F_CODE      (1 << 8)  /* `code` was there: gRPC status, DNS query type, Kafka API key */
#define L7_F_TRUNCATED (1 << 9)  /* there was more: of texts, answers or topics */
#define L7_F_NO_REPLY  (1 << 10) /* a request that asks for no response (Kafka, acks = 0) */
#define L7_F_JOINED    (1 << 11) /* the connection was joined after its beginning */
#define L7_F_ENDED     (1 << 12) /* the connection ended before the response, or in the middle of it */
#define L7_F_MALFORMED (1 << 13) /* refused: `detail` says why; WebSocket: no frame came */
#define L7_F_EDNS      (1 << 14) /* DNS: the message has an OPT record */

/* l7_head.detail of a DNS message with L7_F_MALFORMED */
#define L7_DNS_QUESTIONS 1 /* not exactly one question: `number` of them in code */
#define L7_DNS_NAME      2 /* a name that is none (RFC 1035 section 4.1.4) */
#define L7_DNS_SHORT     3 /* breaks off */

/* l7_text.flags */
#define TEXT_F_TRUNCATED (1 << 0)
#define TEXT_F_ID        (1 << 1)

#define L7_RECORD_MAX 1280 /* bytes of a record, texts included */
#define L7_TEXT_MAX   256  /* bytes of one text */
#define L7_ANSWERS    8    /* answers of one DNS message that are told */
#define L7_HEADERS    8    /* header names that can be captured */

/* l7_headers: array, index 0..L7_HEADERS-1; headers that are captured. Words, so that a name is four comparisons. */
struct l7_header {
	__u64 name[4];  /* its characters as they lie in memory, each | 0x20; zero behind them */
	__u64 mask[4];  /* 0xff where the name has a character */
	__u8 label[40]; /* "name: ", at the end */
	__u32 len;      /* of the name; 0 = none */
	__u32 pad;
};
FATHOM_ASSERT_SIZE(struct l7_header, 112);

/* What follows the event of kind L7; `texts` times struct l7_text, each with its bytes, follow it. */
struct l7_head {
	__u64 conn; /* number of the connection on this node */
	__u64 latency_ns; /* RESPONSE: end of the request's headers → first byte of the response; 0 = unknown */
	__u64 duration_ns; /* RESPONSE, SAMPLE: end of the request's headers → now */
	__u64 bytes
		[2]; /* of bodies (HTTP), payloads (WebSocket) or the message (Kafka), from client and server; 0 = not counted */
	__u32 messages[2]; /* gRPC messages, WebSocket frames: from client and server */
	__u32 exchange; /* pairs with the request of the same conn: HTTP/1 its number, HTTP/2 stream, DNS id, Kafka correlation id */
	__u32 detail; /* Kafka: number of topics; DNS: answers in the message; see also L7_F_MALFORMED */
	__u16 flags;  /* L7_F_* */
	__u16 status; /* HTTP status, DNS rcode, Kafka error code (signed), WebSocket close code */
	__u16 code;   /* gRPC status, DNS query type, Kafka API key */
	__u16 version; /* HTTP: 10, 11, 20; Kafka API version; DNS: flags as on the wire, host order */
	__u8 proto;    /* enum l7_protocol */
	__u8 kind;     /* enum l7_type */
	__u8 method; /* enum l7_method */
	__u8 texts;
	__u8 pad[4];
};
FATHOM_ASSERT_SIZE(struct l7_head, 72);

struct l7_text {
	__u8 kind;    /* enum l7_text_kind */
	__u8 flags;   /* TEXT_F_* */
	__u16 len;    /* of the bytes that follow, without the padding to a multiple of 8 */
	__u32 number; /* DNS answers: TTL, seconds */
};
FATHOM_ASSERT_SIZE(struct l7_text, 8);

/* ---- maps ---------------------------------------------------------------- */

#define ENDPOINT_F_READY  (1 << 0) /* without it every packet is dropped as EP_NOT_READY */
#define ENDPOINT_F_L7_OFF (1 << 1) /* application protocols of this pod are not looked at */

/* endpoints: hash, key = ifindex (u32) of the host-side device */
struct endpoint {
	__u32 identity;
	__u32 id;      /* 1..65535, unique on the node */
	__u32 flags;   /* ENDPOINT_F_* */
	__be32 ipv4;   /* 0 = none */
	__u8 ipv6[16]; /* zero = none */
};
FATHOM_ASSERT_SIZE(struct endpoint, 32);

/* ipcache_exact: hash, key = 16-byte address. ipcache: LPM trie. Same value. */
struct ipcache_lpm_key {
	__u32 prefixlen; /* bits of addr; IPv4 prefixes are 96 + n */
	__u8 addr[16];
};
FATHOM_ASSERT_SIZE(struct ipcache_lpm_key, 20);

struct ipcache_entry {
	__u32 identity;
	__u32 flags; /* IPCACHE_F_* */
};
FATHOM_ASSERT_SIZE(struct ipcache_entry, 8);

/* A pod of this node whose messages are reported at its own device: its local clients' are not. */
#define IPCACHE_F_L7_HERE (1 << 0)

/*
 * policy: hash of maps, key = local identity (u32), inner hash
 * policy_key → policy_entry. One meta entry per direction under
 * POLICY_META_IDENTITY (proto, port, port_plen zero) says whether the
 * direction is enforced; a swap of the inner map swaps both at once.
 */
#define POLICY_ANY_IDENTITY  0
#define POLICY_META_IDENTITY 0xffffffffU

#define POLICY_VERDICT_NONE     0
#define POLICY_VERDICT_ALLOW    1
#define POLICY_VERDICT_DENY     2
#define POLICY_VERDICT_ENFORCED 3 /* meta entry only */

#define POLICY_F_HAS_DENY (1 << 0) /* meta entry: look at every level */

struct policy_key {
	__u32 identity; /* remote; POLICY_ANY_IDENTITY = any */
	__u8 direction; /* DIR_INGRESS, DIR_EGRESS */
	__u8 proto;     /* 0 = any; then port and port_plen are 0 */
	__u8 port_plen; /* 0..16 leading bits of port that count */
	__u8 pad;
	__be16 port; /* network order, bits past port_plen zero */
	__u16 pad2;
};
FATHOM_ASSERT_SIZE(struct policy_key, 12);

struct policy_entry {
	__u32 rule_id;   /* meta entry: the default deny's rule id */
	__u32 plen_mask; /* meta entry: bit n = some key of this direction has port_plen n (n ≥ 1) */
	__u8 verdict;    /* POLICY_VERDICT_* */
	__u8 flags;      /* POLICY_F_* */
	__u16 pad;
};
FATHOM_ASSERT_SIZE(struct policy_entry, 12);

/* services: hash, frontend → backend set */
struct service_key {
	__u8 addr[16];
	__be16 port;
	__u8 proto;
	__u8 scope; /* SERVICE_* */
} __attribute__((aligned(4)));
FATHOM_ASSERT_SIZE(struct service_key, 20);

/* Who asks: the same frontend may have other backends for clients outside the cluster. */
#define SERVICE_INSIDE  0 /* sockets of this node, pods */
#define SERVICE_OUTSIDE 1 /* what comes in through an uplink */

#define SERVICE_F_AFFINITY (1 << 0)
#define SERVICE_F_LOCAL    (1 << 1) /* this node's backends only: without one, silence */

struct service {
	__u32 id;            /* 1.. */
	__u32 backend_set;   /* a changed set gets a new number: never seen half-changed */
	__u32 backend_count; /* 0 = SERVICE_BACKEND_NOT_FOUND */
	__u32 flags;         /* SERVICE_F_* */
	__u32 affinity_s;    /* seconds */
};
FATHOM_ASSERT_SIZE(struct service, 20);

/* backend_slots: hash (set, slot 0..count-1) → backend id (u32) */
struct backend_slot_key {
	__u32 set;
	__u32 slot;
};
FATHOM_ASSERT_SIZE(struct backend_slot_key, 8);

/* backends: hash, key = backend id (u32; unique per service, address and port) */
struct backend {
	__u8 addr[16];
	__be16 port;
	__u8 proto;
	__u8 pad;
	__u32 service_id;
};
FATHOM_ASSERT_SIZE(struct backend, 24);

/* frontends: hash, key = service id (u32): the way back */
struct frontend {
	__u8 addr[16];
	__be16 port;
	__u8 proto;
	__u8 pad;
} __attribute__((aligned(4)));
FATHOM_ASSERT_SIZE(struct frontend, 20);

/* affinity: LRU hash */
struct affinity_key {
	__u8 client[16]; /* address, or the netns cookie in the first 8 bytes and zeroes */
	__u32 service_id;
	__u32 by_netns; /* 1 = client is a netns cookie */
};
FATHOM_ASSERT_SIZE(struct affinity_key, 24);

struct affinity {
	__u64 last_used_ns; /* CLOCK_BOOTTIME */
	__u32 backend_id;
	__u32 pad;
};
FATHOM_ASSERT_SIZE(struct affinity, 16);

/* sock_rev: LRU hash; what a socket asked for, by what it got */
struct sock_rev_key {
	__u64 cookie;
	__u8 addr[16]; /* backend */
	__be16 port;
	__u8 pad[6];
};
FATHOM_ASSERT_SIZE(struct sock_rev_key, 32);

struct sock_rev {
	__u8 addr[16]; /* frontend */
	__be16 port;
	__u16 pad;
	__u32 backend_id; /* what it got */
};
FATHOM_ASSERT_SIZE(struct sock_rev, 24);

/* netns_endpoints: hash, key = netns cookie (u64) → ifindex (u32) */

/* ct4, ct6: LRU hash. Local is the endpoint behind the device, whoever opened. */
#define CT_KIND_CONN    0
#define CT_KIND_SERVICE 1 /* remote is a frontend; the entry holds the backend chosen at tc */
#define CT_KIND_MOVED \
	2 /* remote is a backend; the entry holds the one that is gone, which the socket knows */

struct ct4_key {
	__be32 local;
	__be32 remote;
	__be16 lport; /* ICMP echo: identifier on the asking side, 0 on the other */
	__be16 rport;
	__u8 proto;
	__u8 kind; /* CT_KIND_* */
	__u16 pad;
};
FATHOM_ASSERT_SIZE(struct ct4_key, 16);

struct ct6_key {
	__u8 local[16];
	__u8 remote[16];
	__be16 lport;
	__be16 rport;
	__u8 proto;
	__u8 kind;
	__u16 pad;
};
FATHOM_ASSERT_SIZE(struct ct6_key, 40);

/* ct_entry.flags */
#define CT_F_EGRESS     (1 << 0) /* opened by the local endpoint */
#define CT_F_DENIED     (1 << 1) /* re-judged: packets are dropped until the revision moves */
#define CT_F_OWN        (1 << 2) /* both ends are the pod itself: hairpin.h */
#define CT_F_MOVED      (1 << 3) /* its socket is connected to a backend that is gone */
#define CT_F_POLICY     (1 << 4) /* direction was enforced when judged */
#define CT_F_LOCAL_HOST (1 << 5)
#define CT_F_DENY_RULE  (1 << 6) /* with CT_F_DENIED: by a rule that denies, not by default */

/* ct_entry.tcp_flags, in the place of CWR: application protocols are not, or no longer, looked at. */
#define CT_L7_OFF 0x80

/*
 * Index 0 = the direction the connection was opened in, 1 = replies. Counters
 * hold what no event has reported yet: an event takes them away atomically.
 *
 * tcp_flags tells how far the connection is: replies were seen when [1] is not
 * 0; it ended with RST in either or FIN in both. What has no TCP flags sets ACK
 * for any packet and RST for the end. `flags` holds the judgement alone: packets
 * of both directions write theirs at once, and 5.10 has no atomic OR.
 *
 * CT_KIND_SERVICE and CT_KIND_MOVED have no counters: `bytes` is the backend's address and
 * packets[0] its port, because a connection outlives its backend's readiness.
 */
struct ct_entry {
	__u64 bytes[2];
	__u32 packets[2];
	__u32 last_report[2]; /* ticks, see clock.h */
	__u32 last_seen;      /* ticks */
	__u32 revision;       /* of the tables that judged it */
	__u32 remote_identity;
	__u32 rule_id;
	__u32 ifindex;     /* a packet from another device is not this connection's */
	__u32 service_id;  /* CONN: restore this frontend on replies; SERVICE: the backend id */
	__u32 syn_us;      /* CLOCK_BOOTTIME, microseconds, wraps */
	__u8 tcp_flags[2]; /* seen so far, without those of ECN */
	__u8 flags;        /* CT_F_* */
	__u8 match;        /* MATCH_* of the verdict */
};
FATHOM_ASSERT_SIZE(struct ct_entry, 64);

/* nat: LRU hash; what is rewritten at uplinks, see nat_table.h */
#define NAT_IN  0 /* as a packet comes in: its destination is replaced */
#define NAT_OUT 1 /* as a packet goes out: its source is replaced */

/* Ports given to connections that leave under the node's address: neither node ports nor ephemeral ones. */
#define NAT_PORT_MIN   1024
#define NAT_PORT_COUNT 28976

struct nat_key {
	__u8 src[16];
	__u8 dst[16];
	__be16 sport; /* ICMP echo: identifier on the asking side, 0 on the other */
	__be16 dport;
	__u8 proto;
	__u8 kind; /* NAT_* */
	__u16 pad;
};
FATHOM_ASSERT_SIZE(struct nat_key, 40);

struct nat_entry {
	__u8 addr[16]; /* takes the place of the destination or the source */
	__be16 port;
	__u8 tcp_flags; /* of the packets that went by this entry; as in ct_entry */
	__u8 pad;
	__u32 last_seen;  /* ticks */
	__u32 service_id; /* 0 = no service: a pod that talks to the world */
	__u32 backend_id; /* NAT_IN: 0 = the way back of a source that was replaced */
};
FATHOM_ASSERT_SIZE(struct nat_entry, 32);

/* uplinks: hash, key = ifindex (u32); the sources that replace others on this device */
struct uplink {
	__u8 ipv4[16]; /* zero = none */
	__u8 ipv6[16];
};
FATHOM_ASSERT_SIZE(struct uplink, 32);

/* uplink_nets: LPM trie, key = ipcache_lpm_key, value = NET_F_* (u32) */
#define NET_F_INSIDE     (1 << 0) /* whoever talks to it keeps its own address */
#define NET_F_MASQUERADE (1 << 1) /* pods of this node, who else leave under the node's address */

/* What ended.bpf.c is run on: a connection by its key; family 0 asks for the time. */
struct ended_request {
	__u8 family;  /* 4, 6, or 0: return the present tick */
	__u8 pad[15]; /* the kernel takes no packet shorter than an Ethernet header */
	__u8 key[40]; /* struct ct4_key or ct6_key */
};
FATHOM_ASSERT_SIZE(struct ended_request, 56);

/* fragments: LRU hash; ports of the first fragment, for those that follow */
struct frag_key {
	__u8 saddr[16];
	__u8 daddr[16];
	__u32 id; /* network order */
	__u8 proto;
	__u8 family;
	__u16 ifindex_lo;
};
FATHOM_ASSERT_SIZE(struct frag_key, 40);

struct frag_ports {
	__be16 sport;
	__be16 dport;
	__u32 tick;
};
FATHOM_ASSERT_SIZE(struct frag_ports, 8);

/* counters: per-CPU array, index = direction * 256 + drop reason (0 = forwarded) */
struct traffic_counter {
	__u64 packets;
	__u64 bytes;
};
FATHOM_ASSERT_SIZE(struct traffic_counter, 16);
#define FATHOM_COUNTER_SLOTS 768

/* rule_denials: per-CPU LRU hash, key = rule id (u32) → traffic_counter */

/* runtime: array of one, mmap-able: what may move while programs run */
struct runtime {
	__u32 revision; /* of all policy-relevant tables; moved last, after they are in place */
	__u32 pad;
};
FATHOM_ASSERT_SIZE(struct runtime, 8);

#endif /* FATHOM_ABI_H */
