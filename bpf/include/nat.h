/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * nat.h: writing other addresses and ports into a packet, checksums kept right.
 *
 * On checksum offload. CHECKSUM_PARTIAL: the L4 field holds the pseudo-header's
 * sum, which PSEUDO_HDR updates, and other changes don't touch. CHECKSUM_COMPLETE:
 * skb->csum sums all bytes from L3 up. An IPv4 address and its header checksum
 * cancel out; an IPv6 address has nothing to cancel it but the L4 field, which
 * PSEUDO_HDR believes uncancelled, so the address itself is stored with
 * RECOMPUTE_CSUM. (Newer kernels have a flag for it, 6.16; this is right on all.)
 */
#ifndef FATHOM_NAT_H
#define FATHOM_NAT_H

#include "uapi.h"
#include "addr.h"
#include "packet.h"
#include "wire.h"

#define NAT_SOURCE      0
#define NAT_DESTINATION 1

/* Sum of the change from one address to another, for the checksum helpers. */
static __always_inline __s64 addr_diff(const __u8 from[16], const __u8 to[16])
{
	return bpf_csum_diff((__be32 *)from, 16, (__be32 *)to, 16, 0);
}

/* Stores an address in the IP header at `l3` and keeps that header's own checksum. */
static __always_inline int nat_store_addr(struct __sk_buff *skb, __u8 family, __u32 l3, int side,
					  const __u8 from[16], const __u8 to[16], __u64 ip6_flags)
{
	if (family == 4) {
		__be32 old = addr_v4(from), new = addr_v4(to);

		if (bpf_l3_csum_replace(skb, l3 + IP4_OFF_CSUM, old, new, 4))
			return DROP_CSUM_L3;
		if (bpf_skb_store_bytes(skb, l3 + (side == NAT_SOURCE ? IP4_OFF_SRC : IP4_OFF_DST),
					&new, 4, 0))
			return DROP_WRITE_ERROR;
		return STEP_OK;
	}
	if (bpf_skb_store_bytes(skb, l3 + (side == NAT_SOURCE ? IP6_OFF_SRC : IP6_OFF_DST), to, 16,
				ip6_flags))
		return DROP_WRITE_ERROR;
	return STEP_OK;
}

/*
 * Rewrites one side of the packet. A later fragment has no ports and no checksum;
 * SCTP's checksum covers neither address, and its port must not change.
 */
static __noinline int nat_rewrite(struct __sk_buff *skb, struct packet *pkt, int side,
				  const __u8 *to, __u32 to_port)
{
	const __u8 *from = side == NAT_SOURCE ? pkt->saddr : pkt->daddr;
	__be16 old_port = side == NAT_SOURCE ? pkt->sport : pkt->dport;
	__be16 new_port = to_port;

	if (pkt->frag != FRAG_LATER && pkt->proto != IPPROTO_SCTP) {
		__u32 field = pkt->l4_off + TCP_OFF_CSUM;
		__u64 flags = 0;

		if (pkt->proto == IPPROTO_UDP) {
			/* 0 = none was made; a sum that comes out as 0 is sent as ffff. */
			field = pkt->l4_off + UDP_OFF_CSUM;
			flags = BPF_F_MARK_MANGLED_0;
		}
		if (bpf_l4_csum_replace(skb, field, 0, addr_diff(from, to),
					flags | BPF_F_PSEUDO_HDR))
			return DROP_CSUM_L4;
		if (new_port != old_port) {
			if (bpf_l4_csum_replace(skb, field, old_port, new_port, flags | 2))
				return DROP_CSUM_L4;
			if (bpf_skb_store_bytes(skb, pkt->l4_off + (side == NAT_SOURCE ? 0 : 2),
						&new_port, 2, 0))
				return DROP_WRITE_ERROR;
		}
	}
	return nat_store_addr(skb, pkt->family, ETH_HLEN, side, from, to, BPF_F_RECOMPUTE_CSUM);
}

/* Changes two bytes that the checksum at `sum` covers, and that checksum. */
static __always_inline int nat_fix16(struct __sk_buff *skb, __u32 sum, __be16 old, __be16 new)
{
	return bpf_l4_csum_replace(skb, sum, old, new, 2) ? DROP_CSUM_L4 : STEP_OK;
}

/* The checksum at `field`, inside an ICMP error, takes a change on; the error's own follows. */
static __always_inline int nat_inner_csum(struct __sk_buff *skb, __u32 sum, __u32 field, __s64 diff,
					  __be16 old_port, __be16 new_port, __u64 flags)
{
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, field, &before, 2))
		return STEP_OK; /* only the first 8 bytes need be there */
	if ((diff && bpf_l4_csum_replace(skb, field, 0, diff, flags)) ||
	    (old_port != new_port &&
	     bpf_l4_csum_replace(skb, field, old_port, new_port, flags | 2)))
		return DROP_CSUM_L4;
	if (bpf_skb_load_bytes(skb, field, &after, 2))
		return DROP_CSUM_L4;
	return nat_fix16(skb, sum, before, after);
}

/*
 * Rewrites the packet inside an ICMP error, so that the receiver recognises what
 * it had sent: its destination from the backend (tuple.remote) to the frontend, or
 * its source the other way. The error's checksum covers all of it.
 */
FATHOM_STEP nat_rewrite_inner(struct __sk_buff *skb, int side)
{
	struct packet *pkt = packet_scratch();
	int back = side == NAT_DESTINATION, echo, step;
	const __u8 *from, *to;
	__be16 old_port, new_port;
	__u32 sum, l3, l4;
	__s64 diff;

	if (!pkt)
		return DROP_WRITE_ERROR;
	from = back ? pkt->tuple.remote : pkt->frontend;
	to = back ? pkt->frontend : pkt->tuple.remote;
	old_port = back ? pkt->tuple.rport : pkt->frontend_port;
	new_port = back ? pkt->frontend_port : pkt->tuple.rport;
	sum = pkt->l4_off + ICMP_OFF_CSUM;
	l3 = pkt->inner_l3;
	l4 = pkt->inner_l4;
	diff = addr_diff(from, to);
	echo = pkt->tuple.proto == IPPROTO_ICMP || pkt->tuple.proto == IPPROTO_ICMPV6;

	if (pkt->family == 4) {
		__be16 before, after;

		if (bpf_skb_load_bytes(skb, l3 + IP4_OFF_CSUM, &before, 2))
			return DROP_CT_TRUNCATED;
		step = nat_store_addr(skb, 4, l3, side, from, to, 0);
		if (step)
			return step;
		if (bpf_skb_load_bytes(skb, l3 + IP4_OFF_CSUM, &after, 2))
			return DROP_CSUM_L3;
		step = nat_fix16(skb, sum, before, after);
	} else {
		step = nat_store_addr(skb, 6, l3, side, from, to, 0);
	}
	if (step)
		return step;
	if (bpf_l4_csum_replace(skb, sum, 0, diff, 0))
		return DROP_CSUM_L4;

	if (old_port != new_port) {
		__u32 field = echo ? ICMP_OFF_ID : side == NAT_SOURCE ? 0 : 2;

		if (bpf_skb_store_bytes(skb, l4 + field, &new_port, 2, 0))
			return DROP_WRITE_ERROR;
		step = nat_fix16(skb, sum, old_port, new_port);
		if (step)
			return step;
	}
	if (pkt->tuple.proto == IPPROTO_TCP)
		return nat_inner_csum(skb, sum, l4 + TCP_OFF_CSUM, diff, old_port, new_port, 0);
	if (pkt->tuple.proto == IPPROTO_UDP)
		return nat_inner_csum(skb, sum, l4 + UDP_OFF_CSUM, diff, old_port, new_port,
				      BPF_F_MARK_MANGLED_0);
	if (echo) /* ICMPv6 sums addresses, ICMP doesn't */
		return nat_inner_csum(skb, sum, l4 + ICMP_OFF_CSUM, pkt->family == 6 ? diff : 0,
				      old_port, new_port, 0);
	return STEP_OK;
}

/* Rewrites an ICMP error's own source or destination: ICMPv6 sums addresses, ICMP doesn't. */
static __always_inline int nat_rewrite_error(struct __sk_buff *skb, struct packet *pkt, int side,
					     const __u8 *to)
{
	const __u8 *from = side == NAT_SOURCE ? pkt->saddr : pkt->daddr;

	if (pkt->family == 6 && bpf_l4_csum_replace(skb, pkt->l4_off + ICMP_OFF_CSUM, 0,
						    addr_diff(from, to), BPF_F_PSEUDO_HDR))
		return DROP_CSUM_L4;
	return nat_store_addr(skb, pkt->family, ETH_HLEN, side, from, to, BPF_F_RECOMPUTE_CSUM);
}

#endif /* FATHOM_NAT_H */
