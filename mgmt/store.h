/*
 * What outlives the daemon: an SQLite database (WAL) in the state directory. Each function is one
 * transaction, on disk when it returns. Main thread only. Failures are logged here, with SQLite's
 * words, and returned as -EIO.
 */
#ifndef MGMT_STORE_H
#define MGMT_STORE_H

#include <jansson.h>
#include <sys/types.h>

#include "core/bits.h"
#include "mgmt/problem.h"

#define STORE_UID_FIRST 61000u /* VMs' users; vmm-launch takes no others */
#define STORE_UID_COUNT 1000u

struct store;

struct store_process {
	pid_t pid; /* 0: on its way; nobody knows how far that came */
	uint64_t start_time;
	char boot_id[40];
	char started_at[32];
};

struct store_vm {
	const char *id;
	uid_t uid;
	const char *spec; /* JSON */
	const char *desired;
	bool forced;
	bool failed;
	const char *last_exit; /* JSON, or NULL */
};

/* A problem to answer with after a failure: 503, with SQLite's words. */
void store_problem(struct store *store, struct problem *problem);

/* path: of the database file, created when it is not there. */
must_check int store_open(const char *path, struct store **store);
void store_close(struct store *store);

/* Picks a user for it. -EEXIST: the id is taken; -ENOSPC: no user is left. */
must_check int store_vm_add(struct store *store, const char *id, const json_t *spec, uid_t *uid);
must_check int store_vm_set_spec(struct store *store, const char *id, const json_t *spec);
must_check int store_vm_set_desired(struct store *store, const char *id, const char *desired,
				    bool forced);
/* How a VM ended, what is wanted now, and that `process` is not there any more. */
must_check int store_vm_set_end(struct store *store, const struct store_vm *vm,
				const char *process);
must_check int store_vm_remove(struct store *store, const char *id);
/* Stops at the first nonzero answer and returns it. */
must_check int store_vm_each(struct store *store,
			     int (*fn)(void *opaque, const struct store_vm *vm), void *opaque);

must_check int store_port_add(struct store *store, const char *id, const json_t *spec);
must_check int store_port_remove(struct store *store, const char *id);
must_check int store_port_each(struct store *store,
			       int (*fn)(void *opaque, const char *id, const char *spec),
			       void *opaque);

must_check int store_process_set(struct store *store, const char *name,
				 const struct store_process *process);
must_check int store_process_clear(struct store *store, const char *name);
/* -ENOENT: not known. */
must_check int store_process_get(struct store *store, const char *name,
				 struct store_process *process);

#endif
