/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * service.h: frontend → backend, the same choice for socket hooks and tc.
 *
 * Random pick among slots; a service with affinity first asks what its client
 * got last. A changed set of backends has a new set number, so that a choice
 * never mixes two.
 */
#ifndef FATHOM_SERVICE_H
#define FATHOM_SERVICE_H

#include "uapi.h"
#include "addr.h"
#include "clock.h"
#include "maps.h"

#define NSEC_PER_SEC 1000000000ULL

/* The backend by its id, if it still is one of this service. */
static __always_inline struct backend *service_backend(__u32 service_id, __u32 backend_id)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &backend_id);

	return backend && backend->service_id == service_id ? backend : NULL;
}

/* Any slot of the set; NULL = no backend. Writes the backend's id. */
static __always_inline struct backend *service_pick_any(const struct service *service, __u32 *id)
{
	struct backend_slot_key key = { .set = service->backend_set };
	__u32 count = service->backend_count, *slot;

	if (!count)
		return NULL;
	key.slot = bpf_get_prandom_u32() % count;
	slot = bpf_map_lookup_elem(&backend_slots, &key);
	if (!slot)
		return NULL;
	*id = *slot;
	return service_backend(service->id, *id);
}

/*
 * The backend for a new connection; NULL = none. `client` says who asks:
 * client and by_netns filled in by the caller, the service's id here. A service
 * without affinity doesn't read it.
 */
static __always_inline struct backend *service_pick(const struct service *service,
						    struct affinity_key *client, __u32 *id)
{
	struct backend *backend;
	struct affinity *last;
	__u64 now;

	if (!(service->flags & SERVICE_F_AFFINITY))
		return service_pick_any(service, id);

	client->service_id = service->id;
	now = now_ns();
	last = bpf_map_lookup_elem(&affinity, client);
	if (last && now - last->last_used_ns < service->affinity_s * NSEC_PER_SEC) {
		*id = last->backend_id;
		backend = service_backend(service->id, *id);
		if (backend) {
			last->last_used_ns = now;
			return backend;
		}
	}
	backend = service_pick_any(service, id);
	if (backend) {
		struct affinity chosen = { .last_used_ns = now, .backend_id = *id };

		/* A full LRU evicts; a failure only costs the affinity of this client. */
		bpf_map_update_elem(&affinity, client, &chosen, BPF_ANY);
	}
	return backend;
}

#endif /* FATHOM_SERVICE_H */
