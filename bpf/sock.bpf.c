/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#include "uapi.h"
#include "abi.h"
#include "config.h"
#include "maps.h"

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
FATHOM_CONFIG(__u8, cfg_sock_set_retval, 0);
FATHOM_CONFIG(__u8, cfg_sock_netns_cookie, 1);
FATHOM_CONFIG(__u8, cfg_peer_address_service, 0);
SEC("cgroup/connect4") int sock_connect4(struct bpf_sock_addr *ctx) { return 1; }
