#include "mgmt/supervisor.h"

#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "mgmt/process.h"

#define KILL_TIMEOUT_MS 5000u
/* How long vmm-launch may take to tell how a child of its own ended. */
#define STATUS_WAIT_NS (2ULL * 1000000000)

struct child {
	struct child *next;
	struct supervisor *sup;
	struct process_watch *watch;
	struct loop_timer *status_wait;
	pid_t pid;
	uint64_t start_time;
	bool spawned;
	child_exit_fn fn; /* NULL: told */
	void *opaque;
};

struct supervisor {
	struct loop *loop;
	struct rpc_client *launch;
	struct child *children;
	loop_fn gone;
	void *opaque;
};

struct ask {
	rpc_reply_fn fn;
	void *opaque;
};

static bool asks_are_silent;

void rpc_ask_silence(void)
{
	asks_are_silent = true;
}

static void ask_answered(void *opaque, int code, const char *message, const json_t *data,
			 const json_t *result)
{
	struct ask ask = *(struct ask *)opaque;

	free(opaque);
	if (!asks_are_silent)
		ask.fn(ask.opaque, code, message, data, result);
}

void rpc_ask(struct rpc_client *client, const char *method, json_t *params,
	     unsigned int timeout_ms, rpc_reply_fn fn, void *opaque)
{
	struct ask *ask = malloc(sizeof(*ask));
	int err;

	if (client && ask) {
		*ask = (struct ask){ fn, opaque };
		err = rpc_client_call(client, method, params, timeout_ms, ask_answered, ask);
	} else {
		json_decref(params);
		err = client ? -ENOMEM : -ENOTCONN;
	}
	if (!err)
		return;
	free(ask);
	if (!asks_are_silent)
		fn(opaque, err == -ENOTCONN ? RPC_DISCONNECTED : RPC_INTERNAL,
		   err == -ENOTCONN ? "not connected" : strerror(-err), NULL, NULL);
}

static void child_ended(struct child *child, const struct child_exit *how)
{
	child_exit_fn fn = child->fn;

	if (!fn)
		return;
	child->fn = NULL;
	loop_timer_disarm(child->status_wait);
	fn(child->opaque, how);
}

/* {pid, start_time, status} or {pid, start_time, signal} */
static void supervisor_on_exited(struct supervisor *sup, const json_t *params)
{
	json_int_t pid = json_integer_value(json_object_get(params, "pid"));
	json_int_t start_time = json_integer_value(json_object_get(params, "start_time"));
	struct child_exit how = {
		.known = true,
		.status = (int)json_integer_value(json_object_get(params, "status")),
		.signal = (int)json_integer_value(json_object_get(params, "signal")),
	};

	for (struct child *child = sup->children; child; child = child->next) {
		if (child->pid == pid && child->start_time == (uint64_t)start_time) {
			child_ended(child, &how);
			return;
		}
	}
}

static void supervisor_notified(void *opaque, const char *method, const json_t *params)
{
	if (!strcmp(method, "process.exited"))
		supervisor_on_exited(opaque, params);
	else
		log_debug("vmm-launch said %s, which means nothing to us", method);
}

static void supervisor_gone(void *opaque)
{
	struct supervisor *sup = opaque;

	sup->gone(sup->opaque);
}

struct supervisor *supervisor_create(struct loop *loop, int fd, loop_fn gone, void *opaque)
{
	struct supervisor *sup = calloc(1, sizeof(*sup));
	struct rpc_client_events events = { supervisor_notified, supervisor_gone, sup };

	if (!sup)
		return NULL;
	*sup = (struct supervisor){ .loop = loop, .gone = gone, .opaque = opaque };
	sup->launch = rpc_client_create(loop, fd, &events);
	if (!sup->launch) {
		free(sup);
		return NULL;
	}
	return sup;
}

void supervisor_destroy(struct supervisor *sup)
{
	if (!sup)
		return;
	rpc_client_destroy(sup->launch);
	free(sup);
}

void supervisor_call(struct supervisor *sup, const char *method, json_t *params,
		     unsigned int timeout_ms, rpc_reply_fn fn, void *opaque)
{
	rpc_ask(sup->launch, method, params, timeout_ms, fn, opaque);
}

static void child_status_missing(void *opaque)
{
	struct child_exit how = { .known = false };

	child_ended(opaque, &how);
}

static void child_on_end(void *opaque)
{
	struct child *child = opaque;

	/* The status of a child of vmm-launch is on its way. */
	if (!child->spawned || loop_timer_arm(child->status_wait, STATUS_WAIT_NS) < 0)
		child_status_missing(child);
}

int child_create(struct supervisor *sup, pid_t pid, uint64_t start_time, bool spawned,
		 child_exit_fn fn, void *opaque, struct child **out)
{
	struct child *child = calloc(1, sizeof(*child));
	int err = -ENOMEM;

	if (!child)
		return -ENOMEM;
	*child = (struct child){ .sup = sup, .pid = pid, .start_time = start_time,
				 .spawned = spawned, .fn = fn, .opaque = opaque };
	child->status_wait = loop_timer_create(sup->loop, child_status_missing, child);
	if (!child->status_wait)
		goto err_free;
	err = process_watch_create(sup->loop, pid, start_time, child_on_end, child, &child->watch);
	/* One of our own that has ended already: how, is on its way. */
	if (err == -ESRCH && spawned)
		err = loop_timer_arm(child->status_wait, STATUS_WAIT_NS);
	if (err)
		goto err_timer;
	child->next = sup->children;
	sup->children = child;
	*out = child;
	return 0;

err_timer:
	loop_timer_destroy(child->status_wait);
err_free:
	free(child);
	return err;
}

void child_destroy(struct child *child)
{
	struct child **link;

	if (!child)
		return;
	for (link = &child->sup->children; *link != child; link = &(*link)->next)
		;
	*link = child->next;
	process_watch_destroy(child->watch);
	loop_timer_destroy(child->status_wait);
	free(child);
}

pid_t child_pid(const struct child *child)
{
	return child->pid;
}

static void child_kill_answered(void *opaque, int code, const char *message, const json_t *data,
				const json_t *result)
{
	if (code && code != RPC_NOT_FOUND && code != RPC_DISCONNECTED)
		log_warn("vmm-launch did not deliver a signal: %s", message);
}

void supervisor_kill(struct supervisor *sup, pid_t pid, uint64_t start_time, int signo)
{
	json_t *params = json_pack("{s:I, s:I, s:i}", "pid", (json_int_t)pid, "start_time",
				   (json_int_t)start_time, "signal", signo);

	supervisor_call(sup, "process.kill", params, KILL_TIMEOUT_MS, child_kill_answered, NULL);
}

void child_kill(struct child *child, int signo)
{
	supervisor_kill(child->sup, child->pid, child->start_time, signo);
}
