/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ledger.h: counting what each stage passed and lost; the balance is in abi.h. */
#ifndef FATHOM_LEDGER_H
#define FATHOM_LEDGER_H

#include "uapi.h"
#include "maps.h"

/* For stages that only tc programs count: on one CPU none of them interrupts another. */
static __always_inline void ledger_count(__u32 stage)
{
	__u64 *slot = bpf_map_lookup_elem(&ledger, &stage);

	if (slot)
		*slot += 1;
}

/* For stages that socket hooks count: a softirq or another task may come between. */
static __always_inline void ledger_count_shared(__u32 stage)
{
	__u64 *slot = bpf_map_lookup_elem(&ledger, &stage);

	if (slot)
		__sync_fetch_and_add(slot, 1);
}

#endif /* FATHOM_LEDGER_H */
