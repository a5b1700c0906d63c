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

/* Beside TC_ACT_*: may pass, and its payload is to be read. */
#define SLOW_READ 64

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
	step = report_forward(skb);
	if (step == TC_ACT_UNSPEC && cfg_l7 != L7_MODE_OFF && l7_from_packet(skb, pkt))
		return SLOW_READ;
	return step;
}

/* Tail calls, so that the programs that read payloads cost the verifier and the stack nothing here. */
static __always_inline void l7_read(struct __sk_buff *skb)
{
	struct l7_work *w = l7_scratch();

	if (w && w->proto == IPPROTO_UDP)
		bpf_tail_call(skb, &l7_programs, L7_PROG_UDP);
	else
		bpf_tail_call(skb, &l7_programs, L7_PROG_TCP);
}

static __always_inline int pod_packet(struct __sk_buff *skb, __u32 dir)
{
	int fast, act;

	ledger_count(LEDGER_PACKETS_SEEN);
	fast = fast_path(skb, dir);
	if (fast != FAST_NO) {
		ledger_count(LEDGER_PACKETS_AGGREGATED);
		count_traffic(dir, 0, skb->len - ETH_HLEN);
		act = fast == FAST_READ ? SLOW_READ : TC_ACT_UNSPEC;
	} else {
		act = slow_path(skb, dir);
	}
	if (act != SLOW_READ)
		return act;
	/* Comes back only if there is no such program. */
	l7_read(skb);
	return TC_ACT_UNSPEC;
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
