// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * clock.bpf.c: how many jiffies have passed, for user space to learn HZ.
 *
 * Driven by BPF_PROG_TEST_RUN, attached nowhere. Kernel 5.5.
 * Rejected: CONFIG_HZ of /proc/config.gz or /boot, which a container often
 * doesn't see; sysconf(_SC_CLK_TCK), which is 100 whatever the kernel's HZ is.
 */
#include "uapi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The low 32 bits of jiffies as the run's return value: two runs 50 ms apart tell 100, 250, 300 and 1000. */
SEC("tc")
int read_jiffies(struct __sk_buff *skb)
{
	return (int)bpf_jiffies64();
}
