/*
 * The bodies of the REST interface as openapi.yaml states them: checked, with defaults filled in.
 * Pure. Each returns 0 and a new reference in *out, or -EINVAL with the problem told.
 */
#ifndef MGMT_VM_SPEC_H
#define MGMT_VM_SPEC_H

#include "mgmt/spec.h"

#define BODY_MAX_SIZE (1u * 1024 * 1024) /* bytes */
#define BODY_MAX_DEPTH 32u
#define VM_MAX_DEVICES 24u /* NICs and disks together: a root port each */

/* 413 too large, 400 not JSON or too deep. */
must_check int body_parse(const char *text, size_t len, json_t **out, struct problem *problem);

/* NICs without an address get one. */
must_check int vm_spec_check(const json_t *body, json_t **out, struct problem *problem);
/* `path` names the object in problems; "" for a body of its own. */
must_check int nic_spec_check(const json_t *body, const char *path, json_t **out,
			      struct problem *problem);
must_check int disk_spec_check(const json_t *body, const char *path, json_t **out,
			       struct problem *problem);
must_check int port_spec_check(const json_t *body, json_t **out, struct problem *problem);
/* Only the members that were given. */
must_check int vm_policy_check(const json_t *body, json_t **out, struct problem *problem);
must_check int stop_guests_check(const json_t *body, json_t **out, struct problem *problem);

/*
 * Whether a NIC or disk may join a VM's spec: its id and address are not taken, and there is room.
 * Status 409 for an id that is taken.
 */
must_check int device_spec_fits(const json_t *vm_spec, const json_t *device,
				struct problem *problem);

/* The element of spec[key] (an array) of that id, or NULL; its place in *index (may be NULL). */
json_t *spec_find_device(const json_t *vm_spec, const char *key, const char *id, size_t *index);

#endif
