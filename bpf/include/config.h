/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * config.h: constants the loader sets before the verifier sees the programs, so
 * that a branch they rule out costs nothing. Unit and flag stand beside each.
 *
 * Weak, because every .bpf.c that uses one carries the definition: the linker
 * keeps one, and each file still loads on its own.
 *
 * Times are in ticks of 16 jiffies (clock.h): user space turns seconds into
 * ticks with the running kernel's HZ. The defaults hold for HZ=250.
 */
#ifndef FATHOM_CONFIG_H
#define FATHOM_CONFIG_H

#include "uapi.h"

#define FATHOM_CONFIG(type, name, value) const volatile type name SEC(".rodata") __weak = (value)

#define FATHOM_CONFIG_ARRAY(type, name, size) \
	const volatile type name[size] SEC(".rodata") __weak = { 0 }

#define EVENT_POLICY_CONNECTION 0
#define EVENT_POLICY_PACKET     1

#define FATHOM_DEFAULT_TICKS(seconds) ((seconds) * 250 / 16)

/* EVENT_POLICY_*; --events */
FATHOM_CONFIG(__u32, cfg_event_policy, EVENT_POLICY_CONNECTION);

/* ticks between reports of a long-lived connection, per direction; --report-interval */
FATHOM_CONFIG(__u32, cfg_report_ticks, FATHOM_DEFAULT_TICKS(5));

/* whether pods may be on a link with others, as on a bridge; --mode */
FATHOM_CONFIG(__u8, cfg_shared_links, 0);

/* ticks without a packet after which an entry counts as gone; --ct-timeout-… */
FATHOM_CONFIG(__u32, cfg_ct_tcp_ticks, FATHOM_DEFAULT_TICKS(8000));
FATHOM_CONFIG(__u32, cfg_ct_tcp_opening_ticks, FATHOM_DEFAULT_TICKS(60));
FATHOM_CONFIG(__u32, cfg_ct_tcp_closing_ticks, FATHOM_DEFAULT_TICKS(10));
FATHOM_CONFIG(__u32, cfg_ct_any_ticks, FATHOM_DEFAULT_TICKS(60));
FATHOM_CONFIG(__u32, cfg_ct_icmp_ticks, FATHOM_DEFAULT_TICKS(60));

/* ticks for which the ports of a first fragment are remembered; fixed, RFC 791 asks for 15 s */
FATHOM_CONFIG(__u32, cfg_fragment_ticks, FATHOM_DEFAULT_TICKS(30));

/* L7_MODE_*; --l7 */
#define L7_MODE_OFF 0
#define L7_MODE_DNS 1
#define L7_MODE_ALL 2
FATHOM_CONFIG(__u32, cfg_l7, L7_MODE_ALL);

/* headers that are captured, and which list of them it is: what was kept under another means nothing; --l7-headers */
FATHOM_CONFIG(__u32, cfg_l7_headers, 0);
FATHOM_CONFIG(__u32, cfg_l7_headers_list, 0);

/* By the index of HPACK's static table, and by H2_NAME_*: 1 + the header that is captured, or 0. */
FATHOM_CONFIG_ARRAY(__u8, cfg_l7_static, 64);
FATHOM_CONFIG_ARRAY(__u8, cfg_l7_named, 16);

/* ns between the counts of a stream that goes on */
FATHOM_CONFIG(__u64, cfg_l7_sample_ns, 5000000000ULL);

/* entries of l7_early, a power of two, less one */
FATHOM_CONFIG(__u32, cfg_l7_early_mask, 64 - 1);
/* Ticks after which nobody reads a segment any more, and nobody keeps an early one. */
FATHOM_CONFIG(__u32, cfg_l7_turn_ticks, 4);
FATHOM_CONFIG(__u32, cfg_l7_early_ticks, 62);

/* entries of l7_exchanges, a power of two, less one */
FATHOM_CONFIG(__u32, cfg_l7_exchange_mask, 16 * 1024 - 1);

/* bytes waiting on the events lane beyond which its reader is woken; a quarter of the ring */
FATHOM_CONFIG(__u32, cfg_events_wake_bytes, 4 << 20);

#endif /* FATHOM_CONFIG_H */
