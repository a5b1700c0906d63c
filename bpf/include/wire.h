/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * wire.h: headers as they are on the wire, network order, no bit fields.
 *
 * By hand and not from vmlinux.h: its structures are relocatable, so that code
 * which touches a field that only a newer kernel has becomes "invalid func
 * unknown#195896080" on an older one.
 */
#ifndef FATHOM_WIRE_H
#define FATHOM_WIRE_H

#include "uapi.h"

#define ETH_HLEN        14
#define ETH_P_802_3_MIN 0x0600 /* below: a length, IEEE 802.3 */
#define ETH_P_IP        0x0800
#define ETH_P_ARP       0x0806
#define ETH_P_8021Q     0x8100
#define ETH_P_IPV6      0x86dd
#define ETH_P_8021AD    0x88a8

struct eth_header {
	__u8 dst[6];
	__u8 src[6];
	__be16 proto;
};

#define IPPROTO_HOPOPTS  0
#define IPPROTO_ICMP     1
#define IPPROTO_TCP      6
#define IPPROTO_UDP      17
#define IPPROTO_ROUTING  43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH       51
#define IPPROTO_ICMPV6   58
#define IPPROTO_NONE     59
#define IPPROTO_DSTOPTS  60
#define IPPROTO_SCTP     132
#define IPPROTO_MH       135

#define IP_MAX_LEN 65535

#define IP4_MF     0x2000
#define IP4_OFFSET 0x1fff

struct ip4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_len;
	__be16 id;
	__be16 frag;
	__u8 ttl;
	__u8 proto;
	__sum16 csum;
	__be32 src;
	__be32 dst;
};

#define IP4_OFF_CSUM 10
#define IP4_OFF_SRC  12
#define IP4_OFF_DST  16

struct ip6_header {
	__be32 version_class_label;
	__be16 payload_len;
	__u8 next;
	__u8 hop_limit;
	__u8 src[16];
	__u8 dst[16];
};

#define IP6_OFF_SRC 8
#define IP6_OFF_DST 24

/* Every extension header begins so; a fragment header is 8 bytes, whatever `len` says. */
struct ip6_ext {
	__u8 next;
	__u8 len; /* 8-byte units after the first 8; AH: 4-byte units minus 2 */
	__be16 frag; /* fragment: offset in 8-byte units << 3, more = 1. routing: type, segments left */
	__be32 id; /* fragment */
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_ECN 0xc0 /* ECE and CWR (RFC 3168): nothing of how far a connection is */

struct tcp_header {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 doff; /* 4-byte units, in the high four bits */
	__u8 flags;
	__be16 window;
	__sum16 csum;
	__be16 urgent;
};

#define TCP_OFF_CSUM 16

struct udp_header {
	__be16 sport;
	__be16 dport;
	__be16 len;
	__sum16 csum;
};

#define UDP_OFF_CSUM 6

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 csum;
	__be16 id; /* echo */
	__be16 seq;
};

#define ICMP_OFF_CSUM 2
#define ICMP_OFF_ID   4

#define ICMP4_ECHO_REPLY    0
#define ICMP4_UNREACHABLE   3
#define ICMP4_ECHO          8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER     12

#define ICMP6_UNREACHABLE       1
#define ICMP6_TOO_BIG           2
#define ICMP6_TIME_EXCEEDED     3
#define ICMP6_PARAMETER         4
#define ICMP6_ECHO              128
#define ICMP6_ECHO_REPLY        129
#define ICMP6_MLD_QUERY         130
#define ICMP6_MLD_REPORT        131
#define ICMP6_MLD_DONE          132
#define ICMP6_ROUTER_SOLICIT    133
#define ICMP6_ROUTER_ADVERT     134
#define ICMP6_NEIGHBOUR_SOLICIT 135
#define ICMP6_NEIGHBOUR_ADVERT  136
#define ICMP6_REDIRECT          137
#define ICMP6_MLD2_REPORT       143

struct sctp_header {
	__be16 sport;
	__be16 dport;
	__be32 tag;
	__be32 csum;
	__u8 chunk; /* type of the first chunk */
	__u8 chunk_flags;
	__be16 chunk_len;
};

#define SCTP_INIT              1
#define SCTP_ABORT             6
#define SCTP_SHUTDOWN_COMPLETE 14

#endif /* FATHOM_WIRE_H */
