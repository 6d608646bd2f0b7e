/*
 * Our end of vmm-launch, which does what needs root, and the children it spawned for us or for the
 * vmm-mgmt before us. Main thread only.
 */
#ifndef MGMT_SUPERVISOR_H
#define MGMT_SUPERVISOR_H

#include <sys/types.h>

#include "core/rpc_client.h"

struct supervisor;
struct child;

struct child_exit {
	bool known; /* false: it was not ours to wait for; the rest says nothing */
	int status; /* when signal is 0 */
	int signal;
};

typedef void (*child_exit_fn)(void *opaque, const struct child_exit *how);

/* Takes over the socketpair's end. gone: vmm-launch has died; we can do nothing more. */
struct supervisor *supervisor_create(struct loop *loop, int fd, loop_fn gone, void *opaque);
void supervisor_destroy(struct supervisor *sup); /* NULL is allowed; after all children */

/* Asks vmm-launch. fn is called exactly once, perhaps within. params is stolen. */
void supervisor_call(struct supervisor *sup, const char *method, json_t *params,
		     unsigned int timeout_ms, rpc_reply_fn fn, void *opaque);

/*
 * Watches a process: `spawned` by this vmm-launch, or adopted. fn is called once, when it has
 * ended. -ESRCH: an adopted one is gone already. The child is destroyed by its owner, within fn or
 * later.
 */
must_check int child_create(struct supervisor *sup, pid_t pid, uint64_t start_time, bool spawned,
			    child_exit_fn fn, void *opaque, struct child **child);
void child_destroy(struct child *child); /* NULL is allowed */
pid_t child_pid(const struct child *child);

/* By vmm-launch, for it runs as another user; refusals are logged. */
void child_kill(struct child *child, int signo);
/* One that has no struct child. */
void supervisor_kill(struct supervisor *sup, pid_t pid, uint64_t start_time, int signo);

/*
 * As rpc_client_call, but fn is called exactly once, perhaps within; client may be NULL. For calls
 * to any of our processes.
 */
void rpc_ask(struct rpc_client *client, const char *method, json_t *params,
	     unsigned int timeout_ms, rpc_reply_fn fn, void *opaque);
/* The daemon ends: from now on no answer is told to anybody, so that all can be destroyed. */
void rpc_ask_silence(void);

#endif
