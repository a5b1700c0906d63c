/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* endpoint.h: the pod behind the device, and in whose name it may speak. */
#ifndef FATHOM_ENDPOINT_H
#define FATHOM_ENDPOINT_H

#include "uapi.h"
#include "addr.h"
#include "config.h"
#include "identity.h"
#include "maps.h"
#include "packet.h"

/* The pod behind the device, and whether this packet may carry its address. */
static __always_inline int check_endpoint(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);

	if (!endpoint)
		return DROP_EP_NOT_READY;
	pkt->local_identity = endpoint->identity;
	if (!(endpoint->flags & ENDPOINT_F_READY))
		return DROP_EP_NOT_READY;
	pkt->l7_off = !!(endpoint->flags & ENDPOINT_F_L7_OFF);
	if (pkt->dir != DIR_EGRESS)
		return STEP_OK;
	if (pkt->family == 4)
		return addr_v4(pkt->saddr) == endpoint->ipv4 && endpoint->ipv4
			       ? STEP_OK
			       : DROP_INVALID_SOURCE_IP;
	return addr_equal(pkt->saddr, endpoint->ipv6) && !addr_is_unspecified(endpoint->ipv6)
		       ? STEP_OK
		       : DROP_INVALID_SOURCE_IP;
}

/*
 * Whom a pod's neighbour discovery may meet by a routable address. Alone on its
 * cable only the node. On a link with others, peers too: they are asked again by
 * the address that is known of them (RFC 4861, section 7.3.3), and answer to
 * the one that asked. One that isn't on the link takes nothing from afar: its
 * hop limit is no longer 255.
 */
static __always_inline int discovery_may_meet(const __u8 daddr[16])
{
	__u32 identity = identity_exact(daddr);

	return identity == IDENTITY_HOST || (cfg_shared_links && identity);
}

/*
 * Neighbour and listener discovery keeps the link going and isn't policy's
 * business; but a pod speaks from its own or a link-local address, or from none
 * while it looks whether its address is taken (RFC 4862). And it speaks to the
 * link: a node forwards what has another address, and what it carries could be
 * anything. Only the node itself, and who shares the link, may be met by one; listener reports go to the
 * group they are about, and their hop limit of 1 takes them no further.
 */
static __always_inline int track_discovery(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *endpoint;

	if (pkt->dir != DIR_EGRESS)
		return STEP_UNTRACKED;
	if (pkt->hop_limit == 255 && !addr_is_link_local(pkt->daddr) &&
	    !addr_is_link_multicast(pkt->daddr) && !discovery_may_meet(pkt->daddr))
		return DROP_FORBIDDEN_ICMP6;
	if (addr_is_link_local(pkt->saddr) || addr_is_unspecified(pkt->saddr))
		return STEP_UNTRACKED;
	endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (endpoint && !addr_equal(pkt->saddr, endpoint->ipv6))
		return DROP_INVALID_SOURCE_IP;
	return STEP_UNTRACKED;
}

#endif /* FATHOM_ENDPOINT_H */
