// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * pod.bpf.c: every packet of a pod, on the host's end of its veth pair.
 *
 * Hooks: tc ingress (from_pod) and tc egress (to_pod) of the device: tcx links,
 * before 6.6 clsact. Kernel 5.10. Returns TC_ACT_UNSPEC (TCX_NEXT) for what may
 * pass, so that programs of others on the device get their turn.
 *
 * Rejected: programs inside the pod's namespace, which the pod could remove; one
 * program for both directions, which would have to find out which it is; XDP on
 * the veth, which costs its bulk throughput most (no segmentation offload).
 */
#include "uapi.h"
#include "fast.h"
#include "ledger.h"
#include "packet.h"
#include "parse.h"
#include "report.h"
#include "track.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __noinline int slow_path(struct __sk_buff *skb, __u32 dir)
{
	struct packet *pkt = packet_scratch();
	struct runtime *tables;
	__u32 zero = 0;
	int step;

	tables = bpf_map_lookup_elem(&runtime, &zero);
	if (!pkt || !tables)
		return TC_ACT_SHOT; /* arrays have their element: only the verifier comes here */
	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->dir = dir;
	pkt->now = now_ticks();
	/* Before any table is read: what is judged by older ones is judged again. */
	pkt->revision = *(volatile __u32 *)&tables->revision;

	step = parse(skb);
	if (step == STEP_OK)
		step = track(skb, pkt);
	if (step > 0)
		return report_drop(skb, step);
	if (step == STEP_UNTRACKED) {
		count_traffic(dir, 0, pkt->bytes);
		ledger_count(LEDGER_PACKETS_PASSED_UNTRACKED);
		return TC_ACT_UNSPEC;
	}
	if (pkt->service_is_new)
		service_remember(pkt, skb->ifindex);
	return report_forward(skb);
}

static __always_inline int pod_packet(struct __sk_buff *skb, __u32 dir)
{
	ledger_count(LEDGER_PACKETS_SEEN);
	if (fast_path(skb, dir)) {
		ledger_count(LEDGER_PACKETS_AGGREGATED);
		count_traffic(dir, 0, skb->len - ETH_HLEN);
		return TC_ACT_UNSPEC;
	}
	return slow_path(skb, dir);
}

/* What the pod sends. */
SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	return pod_packet(skb, DIR_EGRESS);
}

/* What the pod receives. */
SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	return pod_packet(skb, DIR_INGRESS);
}
