/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * hairpin.h: a pod that reaches itself through its own service, at tc.
 *
 * The packet is rewritten to go from the pod to the pod, through the node and back
 * by the same device; there the pod's kernel would drop it, for coming from one of
 * its own addresses. So it comes from an address nobody has, and what the pod
 * answers to that address goes to the pod again:
 *
 *	pod:40000 → service:80      from_pod: to pod:8080     (translate.h)
 *	pod:40000 → pod:8080        to_pod:   from 192.0.0.8:40000
 *	pod:8080 → 192.0.0.8:40000  from_pod: to pod:40000
 *	pod:8080 → pod:40000        to_pod:   from service:80 (translate.h)
 *
 * Two entries of conntrack, one per port; on the wire both ends are the pod, so
 * records show what really happens. The opening one, made behind the source check,
 * vouches for the other: a packet from elsewhere in the pod's name has none.
 *
 * Policy has no say: "a pod cannot block access to itself" (Kubernetes, network
 * policies). ICMP errors about these packets find nobody and are dropped by name.
 */
#ifndef FATHOM_HAIRPIN_H
#define FATHOM_HAIRPIN_H

#include "uapi.h"
#include "addr.h"
#include "conntrack.h"
#include "nat.h"
#include "packet.h"
#include "wire.h"

/* The IPv4 dummy address of RFC 7600, and one of the discard prefix of RFC 6666. */
static __always_inline void hairpin_address(__u8 out[16], __u8 family)
{
	addr_word *word = (addr_word *)out;

	if (family == 4) {
		addr_from_v4(out, bpf_htonl(0xc0000008));
		return;
	}
	word[0] = bpf_htonl(0x01000000);
	word[1] = 0;
	word[2] = 0;
	word[3] = bpf_htonl(1);
}

static __always_inline int hairpin_to_it(const struct packet *pkt)
{
	__u8 address[16];

	hairpin_address(address, pkt->family);
	return addr_equal(pkt->daddr, address);
}

/* Whether the tuple's two ends are the pod itself. */
static __always_inline int hairpin_own(const struct packet *pkt)
{
	return addr_equal(pkt->tuple.local, pkt->tuple.remote);
}

/* Whether the pod itself, through a service, opened what comes to it from its own address. */
static __always_inline int hairpin_opened(struct packet *pkt)
{
	__be16 lport = pkt->tuple.lport;
	struct ct_entry *opener;

	if (!hairpin_own(pkt))
		return 0;
	pkt->tuple.lport = pkt->tuple.rport;
	pkt->tuple.rport = lport;
	opener = ct_lookup(pkt, CT_KIND_CONN);
	pkt->tuple.rport = pkt->tuple.lport;
	pkt->tuple.lport = lport;
	return opener && (opener->flags & CT_F_EGRESS) && opener->service_id &&
	       ticks_since(pkt->now, opener->last_seen) <= ct_lifetime(opener, pkt->tuple.proto);
}

/* The third line above, before the tuple is made. Nobody's address if there is no such connection. */
static __noinline int hairpin_return(struct __sk_buff *skb, struct packet *pkt)
{
	struct ct_entry *ct;
	int step;

	if (pkt->class != CLASS_PORTS)
		return pkt->class == CLASS_ERROR ? DROP_NAT_UNSUPPORTED_PROTO : STEP_OK;
	addr_copy(pkt->tuple.local, pkt->saddr);
	addr_copy(pkt->tuple.remote, pkt->saddr);
	pkt->tuple.lport = pkt->sport;
	pkt->tuple.rport = pkt->dport;
	pkt->tuple.proto = pkt->proto;
	ct = ct_lookup(pkt, CT_KIND_CONN);
	if (!ct || ct->ifindex != skb->ifindex || (ct->flags & CT_F_EGRESS))
		return STEP_OK;
	step = nat_rewrite(skb, pkt, NAT_DESTINATION, pkt->tuple.local, pkt->dport);
	if (step)
		return step;
	addr_copy(pkt->daddr, pkt->saddr);
	return STEP_OK;
}

/* The second line above, once the packet may pass. */
static __noinline int hairpin_hide(struct __sk_buff *skb, struct packet *pkt)
{
	__u8 address[16];

	hairpin_address(address, pkt->family);
	pkt->flags |= EVENT_F_TRANSLATED;
	return nat_rewrite(skb, pkt, NAT_SOURCE, address, pkt->sport);
}

#endif /* FATHOM_HAIRPIN_H */
