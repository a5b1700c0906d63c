/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* l7/mark.h: the bit of a conntrack entry that says its connection isn't read. */
#ifndef FATHOM_L7_MARK_H
#define FATHOM_L7_MARK_H

#include "uapi.h"
#include "addr.h"
#include "maps.h"
#include "l7/state.h"

static __always_inline int l7_off(const struct ct_entry *ct)
{
	return (ct->tcp_flags[0] | ct->tcp_flags[1]) & CT_L7_OFF;
}

/* The connection is of no further interest; what it costs from here on is this bit. */
static __always_inline void l7_mark_off(struct l7_work *w)
{
	struct ct_entry *ct;

	if (w->family == 4) {
		struct ct4_key key = {
			.local = addr_v4(w->tuple.local),
			.remote = addr_v4(w->tuple.remote),
			.lport = w->tuple.lport,
			.rport = w->tuple.rport,
			.proto = w->tuple.proto,
			.kind = CT_KIND_CONN,
		};

		ct = bpf_map_lookup_elem(&ct4, &key);
	} else {
		struct ct6_key key = {};

		addr_copy(key.local, w->tuple.local);
		addr_copy(key.remote, w->tuple.remote);
		key.lport = w->tuple.lport;
		key.rport = w->tuple.rport;
		key.proto = w->tuple.proto;
		key.kind = CT_KIND_CONN;
		ct = bpf_map_lookup_elem(&ct6, &key);
	}
	if (ct)
		ct->tcp_flags[w->ct_index & 1] |= CT_L7_OFF;
}

#endif /* FATHOM_L7_MARK_H */
