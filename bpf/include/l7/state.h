/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * l7/state.h: what is remembered of a connection whose messages are read, and the
 * scratch memory a packet's bytes are read in.
 *
 *	l7_conns      a connection: who its ends are, how far each direction was read
 *	l7_splits     the pieces of a message that the end of a packet cut through
 *	l7_early      segments that came before their turn
 *	l7_turns      which CPU reads on: locks, because parsing may not be done under one
 *	l7_fields     header fields that later ones refer to (HPACK)
 *	l7_exchanges  requests that wait for their response, but for a lone one of HTTP/1
 *	l7_work       per CPU: the packet at hand
 *
 * Everything a loop carries lives in maps, for the reason given in packet.h.
 */
#ifndef FATHOM_L7_STATE_H
#define FATHOM_L7_STATE_H

#include "uapi.h"
#include "maps.h"
#include "packet.h"

/* Which program reads on: index into l7_programs. */
#define L7_PROG_TCP   0 /* sequence, beginnings, ends */
#define L7_PROG_UDP   1
#define L7_PROG_HTTP1 2
#define L7_PROG_HTTP2 3
#define L7_PROG_DNS   4 /* over TCP */
#define L7_PROG_KAFKA 5
#define L7_PROG_TLS   6
#define L7_PROG_WS    7
#define L7_PROGRAMS   8

#define L7_WINDOW    4096 /* bytes of the stream that a parser sees at once */
#define L7_LOAD      1536 /* of these, loaded at once */
#define L7_LOAD_HEAD 512
#define L7_CARRY     1024  /* bytes of a cut unit that are kept for the next packet */
#define L7_HELD      4     /* early segments kept per direction */
#define L7_EARLY     65536 /* bytes of one: what offloads make at most */

#define L7_SKIP_ALL (~0ULL) /* until the connection ends */

/* l7_dir.flags */
#define L7D_LOST  (1 << 0) /* bytes were missed: the thread is looked for at segments' beginnings */
#define L7D_LONG  (1 << 1) /* in a line longer than is kept */
#define L7D_DRAFT (1 << 2) /* the record begun is in l7_splits */

struct l7_http1_dir {
	__u64 length;   /* of the body, by its Content-Length */
	__u64 began_ns; /* when the response's first byte came */
	__u8 body;      /* H1_BODY_* */
	__u8 method;
	__u16 status;
	__u8 version;
	__u8 upgrade; /* H1_UPGRADE_* */
	__u8 pad[2];
};

#define L7_OTHERS 512 /* newest insertions that are known without an entry of l7_fields */

struct l7_http2_dir {
	/* By the insertion's number: nobody asks for the field; and it is a content type all the same. */
	__u64 other[L7_OTHERS / 64];
	__u64 typed[L7_OTHERS / 64];
	__u64 began_ns; /* when the header block's first byte came */
	__u32 frame;    /* bytes of the frame's payload still to come, without padding */
	__u32 stream;   /* of the frame, and of the header block */
	__u32 value;    /* bytes of a name or value that are still to pass */
	__u32 floor;    /* entries of the dynamic table inserted before are gone, or unknown */
	__u32 newest;   /* stream that was opened */
	__u16 pad_len;
	__u16 status;
	__u16 code;  /* gRPC status */
	__u16 stash; /* bytes of a field cut by the end of a fragment, in l7_splits */
	__u8 type;   /* of the frame */
	__u8 flags;  /* of the frame */
	__u8 block;  /* H2_BLOCK_*: what the header block being read is; 0 = none */
	__u8 end;    /* its first frame said END_STREAM */
	__u8 stage;  /* of the header field */
	__u8 name;   /* of the header field */
	__u8 insert; /* the field goes into the dynamic table */
	__u8 method;
	__u8 seen; /* H2_SEEN_* of the block */
	__u8 grpc;
	__u8 blind; /* part of the dynamic table was inserted before anybody looked */
	__u8 sided; /* joined: a block said by its fields whose direction this is */
};

struct l7_kafka_dir {
	__u64 began_ns; /* request: when its header was there; response: its first byte, then its request */
	__u32 id;     /* correlation id */
	__u32 left;   /* bytes of the message still to come */
	__u32 topics; /* still to be told */
	__u32 parts;  /* of the array being passed over */
	__u32 tags;   /* tagged fields still to pass */
	__u16 api;
	__u16 version;
	__u8 plan;  /* enum kafka_plan */
	__u8 step;  /* of the plan */
	__u8 again; /* the step at which a topic begins */
	__u8 flexible;
	__u8 told;   /* topics */
	__u8 walked; /* partitions and brokers */
	__u8 no_reply;
	__u8 pad;
};

struct l7_tls_dir {
	__u32 left; /* bytes of the hello still to come in its record */
	__u8 stage;
	__u8 extensions; /* looked at */
	__u8 pad[2];
};

struct l7_ws_dir {
	__u64 bytes;      /* of data frames */
	__u64 began_ns;   /* when the request was there that asked for the upgrade; 0 = unknown */
	__u64 sampled_ns; /* when counts were told last */
	__u32 frames;     /* with data */
	__u32 exchange;   /* of the upgrade */
	__u16 code;       /* of the close frame */
	__u8 closed;
	__u8 pad[5];
};

/* l7_order.flags */
#define L7O_STARTED (1 << 0) /* `next` is known */
#define L7O_BODY    (1 << 1) /* `next` is behind a body that may still be coming */
#define L7O_REST    (1 << 2) /* all that comes is body */

struct l7_early_at {
	__u32 seq;
	__u32 len;  /* 0 = free */
	__u32 slot; /* in l7_early */
};

/* In which order a direction's segments are read. Changed under the connection's lock in l7_turns. */
struct l7_order {
	__u64 far;   /* bytes of a body that sequence numbers don't reach */
	__u32 next;  /* sequence number of the first byte not taken yet */
	__u32 since; /* ticks: when the CPU took its turn that is reading */
	__u8 busy;   /* one is */
	__u8 flags;  /* L7O_* */
	__u8 pad[2];
	struct l7_early_at early[L7_HELD];
};

/* What a direction's parser knows; of the CPU whose turn it is. */
struct l7_dir {
	__u64 skip;   /* bytes to pass over beyond the segment at hand, or L7_SKIP_ALL */
	__u32 count;  /* HTTP/1: messages begun; HTTP/2: insertions into the dynamic table */
	__u16 carry;  /* bytes kept in l7_splits */
	__u8 state;   /* the parser's own; 0 = at the beginning of a message */
	__u8 flags;   /* L7D_* */
	__u8 tries;   /* segments in which no beginning was found */
	__u8 resumed; /* HTTP/1: the thread was lost, and no response was told since */
	__u8 pad[6];
	union {
		struct l7_http1_dir http1;
		struct l7_http2_dir http2;
		struct l7_kafka_dir kafka;
		struct l7_tls_dir tls;
		struct l7_ws_dir ws;
	};
};

/* l7_conn.flags */
#define L7C_JOINED (1 << 0) /* seen from its middle on */
#define L7C_FIRST  (1 << 1) /* no response was told yet */
#define L7C_TURNED (1 << 2) /* conntrack takes the server for who opened it: it was seen first */
#define L7C_EGRESS (1 << 3) /* conntrack, when it was first seen, took the pod for who opened it */

/* An HTTP/1 request that waits alone, as most do: with its connection, where it needs no lock. */
struct l7_asked {
	__u64 request_ns; /* the last byte of the request's headers; 0 = there is none */
	__u32 id;
	__u8 method;
	__u8 changed; /* by the segment at hand */
	__u8 pad[2];
};

/* The pod's identity, as this revision of the tables has it; 0 = not looked up. */
struct l7_local {
	__u32 identity;
	__u32 revision;
};

/* A connection whose bytes are read; key: struct tuple. Index 0 is who opened it. */
struct l7_conn {
	__u64 id; /* unique on this node */
	__u32 handshake_us;
	__u8 proto; /* enum l7_protocol */
	__u8 flags; /* L7C_* */
	/* Bytes of their own: each direction may set them. */
	__u8 grpc; /* a call was seen */
	__u8 gap;  /* bytes were missed: what waits for its answer may have got it there */
	struct l7_asked asked;
	struct l7_local local;
	struct l7_order order[2]; /* by conntrack's notion of directions when it was first seen */
	struct l7_dir dir[2];
};

/* A request that waits for its response, or a stream that goes on. */
#define L7X_GRPC     (1 << 0)
#define L7X_ANSWERED (1 << 1) /* latency_ns is known */
#define L7X_UPGRADED (1 << 2) /* came as an HTTP/1 request that changed to HTTP/2 */
#define L7X_GIVEN_UP (1 << 3) /* its client reset it, which was told */
#define L7X_EGRESS   (1 << 4) /* DNS: the pod asked, which its own datagrams don't answer */

struct l7_exchange {
	__u64 conn;       /* 0 = free */
	__u64 request_ns; /* the last byte of the request's headers */
	__u64 latency_ns;
	__u64 sampled_ns; /* when counts were told last */
	__u32 id;
	__u16 status;
	__u16 code; /* Kafka: API key */
	__u32 messages[2];
	__u32 left[2]; /* bytes of a gRPC message still to pass */
	__u32 part[2]; /* its length as far as it was read */
	__u8 got[2];   /* bytes of the prefix that were read */
	__u8 method;
	__u8 flags;    /* L7X_* */
	__u16 version; /* Kafka */
	__u16 pad;
	__u32 shown; /* the id that records tell */
	__u32 pad2;
	__u64 bytes[2];
};

#define L7_WAYS 4

struct l7_bucket {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct l7_exchange way[L7_WAYS];
};

/* A record as it grows: struct event, struct l7_head and texts, in one piece. */
struct l7_record {
	struct event event;
	struct l7_head head;
	__u8 texts[L7_RECORD_MAX - sizeof(struct event) - sizeof(struct l7_head)];
};

/* What the end of a packet cut through. */
struct l7_split {
	__u8 carry[L7_CARRY];
	struct l7_record record;
};

struct l7_split_key {
	__u64 conn;
	__u32 index;
	__u32 pad;
};

/* An early segment. A place that nobody came back to for some seconds is free again. */
struct l7_early {
	struct bpf_spin_lock lock;
	__u32 tick;
	__u64 conn; /* whose it is; 0 = free */
	__u32 seq;
	__u32 pad;
	__u8 data[L7_EARLY + 8]; /* and what an eight-byte read may reach past it */
};

struct l7_turn {
	struct bpf_spin_lock lock;
};

/* Where the window's bytes come from. */
#define L7_FROM_PACKET 0
#define L7_FROM_EARLY  1 /* a segment of l7_early */

/* l7_work.over: the parser is run for what it still has to tell, not for the packet. */
#define L7_ENDING 2

/* A name being read: all that the loop carries. Accessed as volatile, or clang keeps it in registers. */
struct l7_walk {
	__u32 at;
	__u32 label;  /* octets left of the label */
	__u32 octets; /* of the name so far */
	__u32 out;    /* bytes written */
	__u32 behind; /* the octet after the name */
};

struct l7_work {
	/* the packet, filled in by l7/enter.h */
	struct tuple tuple;
	__u8 saddr[16];
	__u8 daddr[16];
	__be16 sport;
	__be16 dport;
	__u32 remote_identity;
	__u32 rule_id;
	__u32 service_id;
	__u32 ifindex;
	__u32 revision; /* of the tables that judged the connection */
	__u32 off;      /* of the payload */
	__u32 len;      /* of the payload */
	__u32 seq;
	__u32 ack;
	__u32 handshake_us;
	__u16 flags; /* EVENT_F_* */
	__u8 match;
	__u8 dir;
	__u8 family;
	__u8 proto;
	__u8 tcp_flags;
	__u8 index;    /* 0 = from the client */
	__u8 ct_index; /* 0 = from who opened the connection, as conntrack has it */
	__u8 over;     /* the connection ends with this packet */
	__u8 source;   /* L7_FROM_* */
	__u8 rounds;   /* tail calls of a parser to itself */
	__u8 opened;   /* conntrack saw the connection's beginning */
	__u64 now;
	__u64 conn;      /* id */
	__u8 conn_flags; /* L7C_*, as they were when the segment came */
	__u8 conn_proto;
	__u8 recalled; /* what was kept is in use */
	__u8 begins;   /* these are the stream's first bytes */
	__u8 conn_grpc;
	__u8 spare[3];
	__u32 slot;            /* in l7_early */
	__u32 passed[L7_HELD]; /* 1 + places in l7_early of segments that were overtaken */
	__u32 turn;            /* ticks: when it was taken */
	__u64 leap;            /* what the parser passes over beyond the segment */
	struct l7_dir d; /* the segment's direction, while it is read; l7_put_back returns it */
	struct l7_asked asked;
	struct l7_local local;
	__u32 local_changed;
	__u32 pad2;

	/*
	 * The window: b[at..n) are the next bytes of the stream, `taken` bytes of the
	 * payload were loaded. Payload begins at L7_CARRY, so that what was carried over
	 * finds room before it.
	 */
	__u32 at;
	__u32 n;
	__u32 taken;

	/* results of global functions: they return scalars */
	__u32 found;
	__u32 value;
	struct l7_walk walk;

	__u64 serial; /* of this CPU's connections */
	__u32 text;   /* bytes of texts so far */
	__u32 state;  /* of loops */
	struct l7_conn fresh;
	struct l7_split split;
	__u8 slack[2048]; /* what a masked length may reach past the record */
	__u8 b[L7_WINDOW + 64];
};

/* An entry of HPACK's dynamic tables that somebody asks for: its name with its value. */
struct l7_field {
	__u8 name;  /* H2_NAME_* */
	__u8 flags; /* TEXT_F_* */
	__u16 len;
	__u32 list; /* cfg_l7_headers_list when it was inserted */
	__u8 value[L7_TEXT_MAX];
};

struct l7_field_key {
	__u64 conn;
	__u32 index;
	__u32 number; /* of the insertion */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct l7_work);
} l7_work FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32 * 1024);
	__type(key, struct tuple);
	__type(value, struct l7_conn);
} l7_conns FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct l7_split_key);
	__type(value, struct l7_split);
} l7_splits FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64); /* a power of two */
	__type(key, __u32);
	__type(value, struct l7_early);
} l7_early FATHOM_MAP;

#define L7_TURNS 1024 /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, L7_TURNS);
	__type(key, __u32); /* by the connection's number */
	__type(value, struct l7_turn);
} l7_turns FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16 * 1024);
	__type(key, struct l7_field_key);
	__type(value, struct l7_field);
} l7_fields FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, L7_HEADERS);
	__type(key, __u32);
	__type(value, struct l7_header);
} l7_headers FATHOM_MAP;

/* Buckets of four; see l7/exchange.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16 * 1024); /* a power of two */
	__type(key, __u32);
	__type(value, struct l7_bucket);
} l7_exchanges FATHOM_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, L7_PROGRAMS);
	__type(key, __u32);
	__type(value, __u32);
} l7_programs FATHOM_MAP;

static __always_inline struct l7_work *l7_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&l7_work, &zero);
}

#endif /* FATHOM_L7_STATE_H */
