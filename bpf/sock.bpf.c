/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * sock.bpf.c: services at the socket. A connect or sendmsg to a service's address
 * goes to a backend before a packet exists; what comes back over UDP shows the
 * service's address again.
 *
 * Hooks: cgroup connect, sendmsg, recvmsg, getpeername, for IPv4 and IPv6. Kernel
 * 5.8 (getpeername); bpf_set_retval, 5.18, is gated.
 *
 * Rejected: rewriting each packet at tc, as for packets that bypass these hooks;
 * it costs every packet of a connection what is spent here once.
 */
#include <stdbool.h>

#include "uapi.h"
#include "abi.h"
#include "addr.h"
#include "config.h"
#include "emit.h"
#include "ledger.h"
#include "maps.h"
#include "service.h"

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";

/* 1 = bpf_set_retval may be called (5.18): a refusal says ECONNREFUSED, not EPERM */
FATHOM_CONFIG(__u8, cfg_sock_set_retval, 0);

/* 1 = bpf_get_netns_cookie may be called (5.7, in these hooks) */
FATHOM_CONFIG(__u8, cfg_sock_netns_cookie, 0);

/* 1 = getpeername shows the service, 0 = the backend; --peer-address */
FATHOM_CONFIG(__u8, cfg_peer_address_service, 0);

#define PROCEED 1
#define REFUSE  0

#define ECONNREFUSED 111

#define IPPROTO_TCP   6
#define IPPROTO_UDP   17
#define IPPROTO_MPTCP 262

#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86dd

/* Public number of the translation point "after the choice, forward". */
#define SOCK_POST_FWD 2

/* How long an unconnected UDP socket keeps its backend after the last datagram, as conntrack would. */
#define UDP_STICKY_NS (60 * NSEC_PER_SEC)

#define AFFINITY_BY_NETNS  1
#define AFFINITY_BY_SOCKET 2

/* Where a socket wants to go, in the form of the service table. */
struct destination {
	__u8 addr[16];
	__be16 port;
	__u8 proto; /* 0 = none that services have */
} __attribute__((aligned(4)));

/* What is the same for every hook of one family; a constant for each program. */
enum family { FAMILY_V4, FAMILY_V6 };

static __always_inline __u8 service_proto(const struct bpf_sock_addr *ctx)
{
	switch (ctx->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_MPTCP: /* services know it as TCP */
		return IPPROTO_TCP;
	case IPPROTO_UDP:
		return IPPROTO_UDP;
	default:
		return 0;
	}
}

/*
 * An IPv6 socket that talks IPv4 comes through the IPv6 hooks with ::ffff:a.b.c.d,
 * which is how tables hold IPv4 anyway.
 *
 * Each word by its own constant offset: a computed one is refused ("dereference of
 * modified ctx ptr").
 */
static __always_inline void read_address(const struct bpf_sock_addr *ctx, enum family family,
					 struct destination *to)
{
	addr_word *word = (addr_word *)to->addr;

	if (family == FAMILY_V4) {
		addr_from_v4(to->addr, ctx->user_ip4);
	} else {
		word[0] = ctx->user_ip6[0];
		word[1] = ctx->user_ip6[1];
		word[2] = ctx->user_ip6[2];
		word[3] = ctx->user_ip6[3];
	}
	to->port = (__be16)ctx->user_port;
}

static __always_inline void write_address(struct bpf_sock_addr *ctx, enum family family,
					  const __u8 addr[16], __be16 port)
{
	const addr_word *word = (const addr_word *)addr;

	if (family == FAMILY_V4) {
		ctx->user_ip4 = word[3];
	} else {
		ctx->user_ip6[0] = word[0];
		ctx->user_ip6[1] = word[1];
		ctx->user_ip6[2] = word[2];
		ctx->user_ip6[3] = word[3];
	}
	ctx->user_port = port;
}

static __always_inline __u64 netns_cookie(struct bpf_sock_addr *ctx)
{
	return cfg_sock_netns_cookie ? bpf_get_netns_cookie(ctx) : 0;
}

/* A call and what became of it. */
struct outcome {
	const struct destination *asked;
	const struct service *service;
	const struct backend *backend; /* NULL = there is none */
	__u32 backend_id;
	__u64 cookie;
	__u64 netns;
};

/* ---- the choice ---------------------------------------------------------- */

/*
 * A UDP socket chooses at connect and again at every datagram with an address;
 * without memory each would go elsewhere, also those of one that is connected.
 */
static __always_inline struct backend *pick_sticky(const struct service *service, __u64 cookie,
						   bool connecting, __u32 *id)
{
	struct affinity_key key = { .by_netns = AFFINITY_BY_SOCKET, .service_id = service->id };
	struct affinity chosen = { .last_used_ns = now_ns() };
	struct backend *backend;
	struct affinity *last = NULL;

	__builtin_memcpy(key.client, &cookie, sizeof(cookie));
	if (!connecting)
		last = bpf_map_lookup_elem(&udp_sticky, &key);
	if (last && chosen.last_used_ns - last->last_used_ns < UDP_STICKY_NS) {
		backend = service_backend(service->id, last->backend_id);
		if (backend) {
			last->last_used_ns = chosen.last_used_ns;
			*id = last->backend_id;
			return backend;
		}
	}
	backend = service_pick_any(service, &chosen.backend_id);
	if (backend)
		bpf_map_update_elem(&udp_sticky, &key, &chosen, BPF_ANY);
	*id = chosen.backend_id;
	return backend;
}

static __always_inline struct backend *choose(const struct outcome *o, bool connecting, __u32 *id)
{
	const struct service *service = o->service;
	__u64 cookie = o->cookie, netns = o->netns;
	struct affinity_key client = {};

	if (o->asked->proto == IPPROTO_UDP && !(service->flags & SERVICE_F_AFFINITY))
		return pick_sticky(service, cookie, connecting, id);
	if (netns) {
		client.by_netns = AFFINITY_BY_NETNS;
		__builtin_memcpy(client.client, &netns, sizeof(netns));
	} else {
		client.by_netns = AFFINITY_BY_SOCKET;
		__builtin_memcpy(client.client, &cookie, sizeof(cookie));
	}
	return service_pick(service, &client, id);
}

/* ---- the record ---------------------------------------------------------- */

/* Everything that can fail is looked up before the reservation. */
static __always_inline void report(const struct outcome *o, __u32 lane)
{
	const __u8 *daddr = o->backend ? o->backend->addr : o->asked->addr;
	__u64 netns = o->netns, cgroup = bpf_get_current_cgroup_id();
	__u32 *ifindex = netns ? bpf_map_lookup_elem(&netns_endpoints, &netns) : NULL;
	struct endpoint *from = ifindex ? bpf_map_lookup_elem(&endpoints, ifindex) : NULL;
	struct ipcache_entry *peer = bpf_map_lookup_elem(&ipcache_exact, daddr);
	bool v4 = addr_is_v4(daddr);
	struct event *e;

	e = sock_event_reserve(lane);
	if (!e)
		return;
	e->kind = EVENT_KIND_SOCK;
	e->family = v4 ? 4 : 6;
	e->l3_proto = v4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	e->proto = o->asked->proto;
	e->direction = DIR_EGRESS;
	e->obs_point = SOCK_POST_FWD;
	if (from) {
		/* The socket has no address yet; it will be one of the pod's. */
		if (v4)
			addr_from_v4(e->saddr, from->ipv4);
		else
			addr_copy(e->saddr, from->ipv6);
		e->src_identity = from->identity;
		e->ifindex = *ifindex;
	}
	if (peer)
		e->dst_identity = peer->identity;
	addr_copy(e->daddr, daddr);
	e->frontend_port = o->asked->port;
	e->service_id = o->service->id;
	e->cookie = o->cookie;
	e->bytes = cgroup;
	if (o->backend) {
		e->dport = o->backend->port;
		e->verdict = VERDICT_TRANSLATED;
		e->trigger |= TRIGGER_NEW;
	} else {
		e->dport = o->asked->port;
		e->verdict = VERDICT_DROPPED;
		e->reason = DROP_NO_BACKEND;
		e->trigger |= TRIGGER_DROP;
	}
	event_submit(e, lane);
}

/* ---- the way out --------------------------------------------------------- */

/*
 * Remembers what the socket asked for, by what it got. Says whether that is news.
 */
static __always_inline bool remember(const struct outcome *o)
{
	struct sock_rev_key key = { .cookie = o->cookie, .port = o->backend->port };
	struct sock_rev asked = { .port = o->asked->port, .backend_id = o->backend_id };
	struct sock_rev *known;

	addr_copy(key.addr, o->backend->addr);
	addr_copy(asked.addr, o->asked->addr);
	known = bpf_map_lookup_elem(&sock_rev, &key);
	if (known && known->backend_id == asked.backend_id)
		return false;
	if (bpf_map_update_elem(&sock_rev, &key, &asked, BPF_ANY))
		ledger_count_shared(LEDGER_SOCK_REV_FAILED);
	return true;
}

static __always_inline int refuse(void)
{
	/* A refusal without an errno of its own is EPERM. */
	if (cfg_sock_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* `connecting`: connect(2), else sendmsg(2) with an address. */
static __always_inline int forward(struct bpf_sock_addr *ctx, enum family family, bool connecting)
{
	struct destination asked = { .proto = service_proto(ctx) };
	struct outcome o = { .asked = &asked };
	struct service_key key = {};
	bool news = true;

	if (!asked.proto)
		return PROCEED;
	read_address(ctx, family, &asked);
	addr_copy(key.addr, asked.addr);
	key.port = asked.port;
	key.proto = asked.proto;
	o.service = bpf_map_lookup_elem(&services, &key);
	if (!o.service)
		return PROCEED;

	o.cookie = bpf_get_socket_cookie(ctx);
	o.netns = netns_cookie(ctx);
	o.backend = choose(&o, connecting, &o.backend_id);
	/* An IPv4 socket can't reach an IPv6 backend: as good as none. */
	if (o.backend && family == FAMILY_V4 && !addr_is_v4(o.backend->addr))
		o.backend = NULL;
	if (!o.backend) {
		ledger_count_shared(LEDGER_SOCK_NO_BACKEND);
		report(&o, LANE_DROPS);
		return refuse();
	}

	/* TCP needs no way back: its packets carry the backend's address and nobody looks. */
	if (asked.proto == IPPROTO_UDP || cfg_peer_address_service)
		news = remember(&o);
	if (connecting || news) {
		ledger_count_shared(LEDGER_SOCK_TRANSLATED);
		report(&o, LANE_EVENTS);
	}
	write_address(ctx, family, o.backend->addr, o.backend->port);
	return PROCEED;
}

/* ---- the way back -------------------------------------------------------- */

static __always_inline int reverse(struct bpf_sock_addr *ctx, enum family family)
{
	struct sock_rev_key key = { .cookie = bpf_get_socket_cookie(ctx) };
	struct destination from = {};
	struct sock_rev *asked;

	read_address(ctx, family, &from);
	addr_copy(key.addr, from.addr);
	key.port = from.port;
	asked = bpf_map_lookup_elem(&sock_rev, &key);
	if (asked)
		write_address(ctx, family, asked->addr, asked->port);
	return PROCEED; /* the verifier takes no other: "At program exit the register R0 …" */
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	return forward(ctx, FAMILY_V4, true);
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	return forward(ctx, FAMILY_V6, true);
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	return forward(ctx, FAMILY_V4, false);
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	return forward(ctx, FAMILY_V6, false);
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return reverse(ctx, FAMILY_V4);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return reverse(ctx, FAMILY_V6);
}

SEC("cgroup/getpeername4")
int sock_getpeername4(struct bpf_sock_addr *ctx)
{
	return cfg_peer_address_service ? reverse(ctx, FAMILY_V4) : PROCEED;
}

SEC("cgroup/getpeername6")
int sock_getpeername6(struct bpf_sock_addr *ctx)
{
	return cfg_peer_address_service ? reverse(ctx, FAMILY_V6) : PROCEED;
}
