/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* l7/header.h: the headers that are captured; none unless a list of them is given. */
#ifndef FATHOM_L7_HEADER_H
#define FATHOM_L7_HEADER_H

#include "uapi.h"
#include "config.h"
#include "l7/state.h"
#include "l7/window.h"

/* Which of them has the name at `at`: 1 + its index, or 0. Its length is in w->value. */
FATHOM_STEP l7_header_named(__u32 at)
{
	struct l7_work *w = l7_scratch();
	__u64 a, b, c, d;

	if (!w)
		return 0;
	a = l7_word(w, at) | 0x2020202020202020ULL;
	b = l7_word(w, at + 8) | 0x2020202020202020ULL;
	c = l7_word(w, at + 16) | 0x2020202020202020ULL;
	d = l7_word(w, at + 24) | 0x2020202020202020ULL;
	for (__u32 i = 0; i < L7_HEADERS; i++) {
		__u32 index = i;
		struct l7_header *header;

		if (i >= cfg_l7_headers)
			break;
		header = bpf_map_lookup_elem(&l7_headers, &index);
		if (!header)
			break;
		if (((a & header->mask[0]) ^ header->name[0]) |
		    ((b & header->mask[1]) ^ header->name[1]) |
		    ((c & header->mask[2]) ^ header->name[2]) |
		    ((d & header->mask[3]) ^ header->name[3]))
			continue;
		w->value = header->len;
		return i + 1;
	}
	return 0;
}

#endif /* FATHOM_L7_HEADER_H */
