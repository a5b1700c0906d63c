/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * addr.h: 16-byte addresses, IPv4 as ::ffff:a.b.c.d, taken as four words: clang
 * copies a byte array byte by byte. Every field that holds one is 4-byte aligned.
 */
#ifndef FATHOM_ADDR_H
#define FATHOM_ADDR_H

#include "uapi.h"

typedef __u32 __attribute__((may_alias)) addr_word;

/* From an IPv4 address in network order. */
static __always_inline void addr_from_v4(__u8 out[16], __be32 v4)
{
	addr_word *word = (addr_word *)out;

	word[0] = 0;
	word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = v4;
}

/* The IPv4 address in a v4-mapped one. */
static __always_inline __be32 addr_v4(const __u8 addr[16])
{
	return ((const addr_word *)addr)[3];
}

static __always_inline int addr_is_v4(const __u8 addr[16])
{
	const addr_word *word = (const addr_word *)addr;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

static __always_inline void addr_copy(__u8 to[16], const __u8 from[16])
{
	addr_word *x = (addr_word *)to;
	const addr_word *y = (const addr_word *)from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
	x[3] = y[3];
}

static __always_inline int addr_equal(const __u8 a[16], const __u8 b[16])
{
	const addr_word *x = (const addr_word *)a, *y = (const addr_word *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]));
}

static __always_inline int addr_is_unspecified(const __u8 addr[16])
{
	const addr_word *word = (const addr_word *)addr;

	return !(word[0] | word[1] | word[2] | word[3]);
}

/* fe80::/10 */
static __always_inline int addr_is_link_local(const __u8 addr[16])
{
	return (((const addr_word *)addr)[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* ff02::/16: every listener on this link, and nobody beyond */
static __always_inline int addr_is_link_multicast(const __u8 addr[16])
{
	return (((const addr_word *)addr)[0] & bpf_htonl(0xffff0000)) == bpf_htonl(0xff020000);
}

#endif /* FATHOM_ADDR_H */
