/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * clock.h: two clocks.
 *
 * Ticks are what conntrack counts in: 16 jiffies, so 64 ms at HZ=250, in 32 bits
 * that wrap after years. The verifier turns the jiffies helper into one load,
 * where reading a clock costs about 30 ns. Boot time is what records carry.
 */
#ifndef FATHOM_CLOCK_H
#define FATHOM_CLOCK_H

#include "uapi.h"

static __always_inline __u32 now_ticks(void)
{
	return (__u32)(bpf_jiffies64() >> 4);
}

/*
 * Differences, never comparisons: right across the wrap. 0 where another CPU was
 * here after our tick was read: all times that are compared are far below 2^31.
 */
static __always_inline __u32 ticks_since(__u32 now, __u32 then)
{
	__s32 ticks = now - then;

	return ticks < 0 ? 0 : ticks;
}

/* CLOCK_BOOTTIME, nanoseconds */
static __always_inline __u64 now_ns(void)
{
	return bpf_ktime_get_boot_ns();
}

#endif /* FATHOM_CLOCK_H */
