/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* l7/http1_line.h: lines of HTTP/1: where they end, which of them nobody asks for. */
#ifndef FATHOM_L7_HTTP1_LINE_H
#define FATHOM_L7_HTTP1_LINE_H

#include "uapi.h"
#include "l7/state.h"
#include "l7/window.h"

/* Lower case, as far as header names need it. */
#define H1_LOWER(word) ((word) | 0x2020202020202020ULL)

/*
 * Which of the eight bytes at `at` are line feeds: the lowest one that is has its
 * top bit set, and none below it.
 */
static __always_inline __u64 h1_line_feeds(const struct l7_work *w, __u32 at)
{
	__u64 word = l7_word(w, at) ^ 0x0a0a0a0a0a0a0a0aULL;

	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* The lowest one's place + 1. */
static __always_inline __u32 h1_first_feed(__u64 feeds)
{
	feeds = ((feeds & -feeds) - 1) & 0x0101010101010101ULL;
	return (feeds * 0x0101010101010101ULL) >> 56;
}

/* The window's first line feed from `from` on, before `to`: its place + 1, or 0. */
FATHOM_STEP h1_line_end(__u32 from, __u32 to)
{
	struct l7_work *w = l7_scratch();

	if (!w)
		return 0;
	for (__u32 i = 0; i < L7_CARRY / 8; i++) {
		__u32 at = from + i * 8;
		__u64 feeds;

		if (at >= to)
			return 0;
		feeds = h1_line_feeds(w, at);
		if (!feeds)
			continue;
		at += h1_first_feed(feeds);
		return at <= to ? at : 0;
	}
	return 0;
}

#define H1_BIT(c) (1U << ((c) & 31))

/*
 * Whether a header line is of no interest, by its first bytes. Those that h1_header
 * reads begin with "host", "content-l", "transfer", "upgrade", "tracep"; an empty
 * line with a carriage return or a line feed.
 */
static __always_inline int h1_dull(const struct l7_work *w, __u32 at)
{
	const __u32 firsts =
		H1_BIT('h') | H1_BIT('c') | H1_BIT('t') | H1_BIT('u') | H1_BIT('\r') | H1_BIT('\n');
	__u64 word = l7_word(w, at);
	__u32 two;

	if (!(firsts >> (word & 31) & 1))
		return 1;
	two = H1_LOWER(word) & 0xffff;
	if (two == ('u' | 's' << 8)) /* User-Agent */
		return 1;
	return two == ('c' | 'o' << 8) && (l7_byte(w, at + 8) | 0x20) != 'l';
}

#define H1_SKIM 192 /* words and lines that are looked at in a row */

/* Passes over header lines that nobody asks for and that are whole in the window. */
FATHOM_STEP h1_skim(void)
{
	struct l7_work *w = l7_scratch();
	__u64 at, line;
	__u32 to;

	if (!w)
		return 0;
	at = line = w->at;
	to = w->n;
	for (__u32 i = 0; i < H1_SKIM; i++) {
		__u64 feeds;

		L7_BOUND(at, L7_WINDOW - 1);
		L7_BOUND(line, L7_WINDOW - 1);
		if (at >= to || (at == line && !h1_dull(w, at)))
			break;
		feeds = h1_line_feeds(w, at);
		if (!feeds) {
			at += 8;
			continue;
		}
		at += h1_first_feed(feeds);
		if (at > to)
			break;
		line = at;
	}
	w->at = line;
	return 0;
}

/* Blanks around a value that are taken away: nobody sends more than one. */
#define H1_BLANKS 16

/* The end of a line without the blanks before it. */
static __always_inline __u32 h1_trimmed(struct l7_work *w, __u32 at, __u32 end)
{
	for (__u32 i = 0; i < H1_BLANKS; i++) {
		__u32 c = l7_byte(w, end - 1);

		if (end <= at || (c != ' ' && c != '\t'))
			break;
		end -= 1;
	}
	return end;
}

/* Past blanks, which OWS has few of. */
static __always_inline __u32 h1_blanks(struct l7_work *w, __u32 at)
{
	for (__u32 i = 0; i < H1_BLANKS; i++) {
		__u32 c = l7_byte(w, at);

		if (c != ' ' && c != '\t')
			break;
		at += 1;
	}
	return at;
}

#endif /* FATHOM_L7_HTTP1_LINE_H */
