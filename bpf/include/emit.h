/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * emit.h: records into the rings. Two lanes: events, where a flood may lose some,
 * and drops, which no flood of forwarded events touches.
 *
 *	struct event *e = tc_event_reserve(LANE_EVENTS);   or sock_event_reserve()
 *	if (e) { …fill, nothing here may fail…; event_submit(e, LANE_EVENTS); }
 *
 * Each attempt takes a sequence number and is counted, so that a record that
 * found no room is seen twice: as a gap and in the ledger.
 */
#ifndef FATHOM_EMIT_H
#define FATHOM_EMIT_H

#include "uapi.h"
#include "clock.h"
#include "config.h"
#include "ledger.h"
#include "maps.h"

static __always_inline __u32 tc_next_seq(__u32 lane)
{
	__u32 *last = bpf_map_lookup_elem(&event_seq, &lane);

	return last ? ++*last : 0;
}

/* `kind`: LANE_EVENTS or LANE_DROPS of socket hooks, or SEQ_ENDED. */
static __always_inline __u32 sock_next_seq(__u32 kind)
{
	__u32 cpu = bpf_get_smp_processor_id(), seq;
	struct sock_seq *slot = bpf_map_lookup_elem(&sock_event_seq, &cpu);

	if (!slot)
		return 0;
	bpf_spin_lock(&slot->lock);
	seq = ++slot->last[kind & 3];
	bpf_spin_unlock(&slot->lock);
	return seq;
}

/* A zeroed record with its header filled, or NULL: counted as lost. `lane` is a constant. */
static __always_inline struct event *event_reserve(__u32 lane, __u32 seq)
{
	__u64 time_ns = now_ns();
	__u16 cpu = bpf_get_smp_processor_id();
	struct event *e;

	if (lane == LANE_DROPS) {
		ledger_count_shared(LEDGER_DROPS_EMITTED);
		e = bpf_ringbuf_reserve(&drops, sizeof(*e), 0);
	} else {
		ledger_count_shared(LEDGER_EVENTS_EMITTED);
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	}
	if (!e) {
		ledger_count_shared(lane == LANE_DROPS ? LEDGER_DROPS_LOST : LEDGER_EVENTS_LOST);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->version = FATHOM_ABI_VERSION;
	e->len = sizeof(*e);
	e->seq = seq;
	e->time_ns = time_ns;
	e->cpu = cpu;
	e->trigger = lane == LANE_DROPS ? EVENT_TRIGGER_LANE_DROPS : 0;
	return e;
}

static __always_inline struct event *tc_event_reserve(__u32 lane)
{
	return event_reserve(lane, tc_next_seq(lane));
}

static __always_inline struct event *sock_event_reserve(__u32 lane)
{
	ledger_count_shared(LEDGER_SOCK_EMITTED);
	return event_reserve(lane, sock_next_seq(lane));
}

static __always_inline struct event *ended_event_reserve(void)
{
	return event_reserve(LANE_EVENTS, sock_next_seq(SEQ_ENDED));
}

/* Ring bytes past the mark within which a record wakes: so many that no CPU's step leaps it. */
#define EVENTS_WAKE_WINDOW (16 * (sizeof(struct event) + 8))

/*
 * Waking a reader costs many times what the record does (an interrupt to this
 * very CPU: 2.7 µs where the record is 0.1), so the events lane wakes its reader
 * only as it fills past the mark, not with each record beyond it: a reader that
 * fell behind is awake. Else its timer comes round. Drops are rare and wake at once.
 */
static __always_inline void event_submit(struct event *e, __u32 lane)
{
	__u64 wake = BPF_RB_NO_WAKEUP;

	if (lane == LANE_DROPS) {
		bpf_ringbuf_submit(e, 0);
		return;
	}
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - cfg_events_wake_bytes <
	    EVENTS_WAKE_WINDOW)
		wake = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(e, wake);
}

#endif /* FATHOM_EMIT_H */
