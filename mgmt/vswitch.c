#include "mgmt/vswitch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "mgmt/events.h"
#include "mgmt/mgmt.h"
#include "mgmt/store.h"
#include "mgmt/supervisor.h"

#define SPAWN_TIMEOUT_MS 30000u
#define CALL_TIMEOUT_MS 30000u /* EAL takes its time on a slow host */
#define STOP_PATIENCE_NS (10ULL * 1000000000)
#define RESTART_MIN_MS 20u /* every guest's network waits for it */
#define RESTART_MAX_MS 10000u
#define HEALTH_PERIOD_MAX_MS 5000u
#define PROCESS_NAME "switch"
#define SWITCH_UID 60998u /* as vmm-launch has it */

enum vswitch_state { SWITCH_STOPPED, SWITCH_STARTING, SWITCH_RUNNING, SWITCH_FAILED };

static const char *const state_names[] = { "stopped", "starting", "running", "failed" };

struct vswitch {
	struct mgmt *mgmt;
	struct vswitch_events events;
	enum vswitch_state state;
	char reason[160];
	char started_at[TIME_TEXT_SIZE];
	struct child *child;
	struct rpc_client *client;
	struct loop_timer *restart;
	struct loop_timer *kill;
	unsigned int backoff_ms;
	unsigned int restarts;
	struct loop_timer *health;
	unsigned int hangs;
	bool hung; /* and being ended for it */
	loop_fn stop_done; /* set: it is to end, not to be restarted */
	void *stop_opaque;
};

static void vswitch_spawn(void *opaque);

static void vswitch_set_state(struct vswitch *vs, enum vswitch_state state, const char *reason)
{
	bool was_up = vs->state == SWITCH_RUNNING;

	vs->state = state;
	snprintf(vs->reason, sizeof(vs->reason), "%s", reason);
	if (state == SWITCH_FAILED)
		log_err("the switch: %s", reason);
	else
		log_info("the switch is %s%s%s", state_names[state], reason[0] ? ": " : "", reason);
	events_emit(vs->mgmt->events, "switch", json_pack("{s:s, s:s}", "state",
							  state_names[state], "reason",
							  vs->reason));
	if (was_up && state != SWITCH_RUNNING)
		vs->events.down(vs->events.opaque);
	if (!was_up && state == SWITCH_RUNNING)
		vs->events.up(vs->events.opaque);
}

/* It is down for good, or again: whatever is left of it goes, and the next is on its way. */
static void vswitch_down(struct vswitch *vs, const char *reason)
{
	struct rpc_client *client = vs->client;
	loop_fn stop_done = vs->stop_done;

	vs->client = NULL;
	rpc_client_destroy(client);
	child_destroy(vs->child);
	vs->child = NULL;
	loop_timer_disarm(vs->kill);
	loop_timer_disarm(vs->health);
	vs->hung = false;
	if (store_process_clear(vs->mgmt->store, PROCESS_NAME) < 0)
		log_warn("the store still names a switch that is gone");
	if (stop_done) {
		vs->stop_done = NULL;
		vswitch_set_state(vs, SWITCH_STOPPED, "");
		stop_done(vs->stop_opaque);
		return;
	}
	vswitch_set_state(vs, SWITCH_FAILED, reason);
	vs->restarts++;
	if (loop_timer_arm(vs->restart, vs->backoff_ms * 1000000ULL) < 0)
		log_err("the switch will not be restarted: out of memory");
	vs->backoff_ms = MIN(vs->backoff_ms * 2, RESTART_MAX_MS);
}

static void vswitch_on_exit(void *opaque, const struct child_exit *how)
{
	char reason[160] = "it ended";
	struct vswitch *vs = opaque;

	if (vs->hung)
		snprintf(reason, sizeof(reason), "%s", vs->reason);
	else if (how->known && how->signal)
		snprintf(reason, sizeof(reason), "it was ended by signal %d (%s)", how->signal,
			 strsignal(how->signal));
	else if (how->known)
		snprintf(reason, sizeof(reason), "it exited with status %d", how->status);
	vswitch_down(opaque, reason);
}

static unsigned int health_period_ms(const struct vswitch *vs)
{
	return MIN(vs->mgmt->options->switch_timeout * 250u, HEALTH_PERIOD_MAX_MS);
}

/* It lives and does not answer, or one of its forwarding threads does not: switch.info asks all. */
static void vswitch_has_hung(struct vswitch *vs)
{
	char reason[96];

	snprintf(reason, sizeof(reason), "it has not answered for %u s and is ended",
		 vs->mgmt->options->switch_timeout);
	vs->hangs++;
	vs->hung = true;
	vswitch_set_state(vs, SWITCH_FAILED, reason);
	child_kill(vs->child, SIGKILL); /* its exit brings the next one */
}

static void vswitch_on_health(void *opaque, int code, const char *message, const json_t *data,
			      const json_t *result)
{
	struct vswitch *vs = opaque;

	if (vs->state != SWITCH_RUNNING || !vs->child || code == RPC_DISCONNECTED)
		return;
	if (code == RPC_BUSY)
		vswitch_has_hung(vs);
	else if (loop_timer_arm(vs->health, health_period_ms(vs) * 1000000ULL) < 0)
		log_err("nobody looks after the switch: out of memory");
}

static void vswitch_ask_health(void *opaque)
{
	struct vswitch *vs = opaque;

	if (vs->state == SWITCH_RUNNING)
		rpc_ask(vs->client, "switch.info", NULL,
			vs->mgmt->options->switch_timeout * 1000u, vswitch_on_health, vs);
}

/* A switch we cannot talk to is of no use: its exit brings the next one. */
static void vswitch_give_up(struct vswitch *vs, const char *reason)
{
	log_err("the switch: %s; ending it", reason);
	child_kill(vs->child, SIGKILL);
}

static void vswitch_gone(void *opaque)
{
	struct vswitch *vs = opaque;
	struct rpc_client *client = vs->client;

	vs->client = NULL;
	rpc_client_destroy(client);
	if (vs->child && !vs->stop_done)
		vswitch_give_up(vs, "it closed its control socket");
}

static void vswitch_on_info(void *opaque, int code, const char *message, const json_t *data,
			    const json_t *result)
{
	struct vswitch *vs = opaque;

	if (code == RPC_DISCONNECTED)
		return;
	if (code) {
		if (vs->child)
			vswitch_give_up(vs, message);
		return;
	}
	vs->backoff_ms = RESTART_MIN_MS;
	vswitch_set_state(vs, SWITCH_RUNNING, "");
	vswitch_ask_health(vs);
}

static void vswitch_connect(struct vswitch *vs, unsigned int timeout_ms)
{
	struct rpc_client_events events = { .gone = vswitch_gone, .opaque = vs };
	char path[MGMT_PATH_SIZE];
	int err;

	snprintf(path, sizeof(path), "%s/vswitch/control.sock", vs->mgmt->options->run_dir);
	err = rpc_client_connect(vs->mgmt->loop, path, &events, &vs->client);
	if (err) {
		log_err("cannot connect to %s: %s", path, strerror(-err));
		vswitch_give_up(vs, "it cannot be reached");
		return;
	}
	rpc_ask(vs->client, "switch.info", NULL, timeout_ms, vswitch_on_info, vs);
}

/* One that was there before us has been through its start. */
static void vswitch_connect_adopted(struct vswitch *vs)
{
	vswitch_connect(vs, vs->mgmt->options->switch_timeout * 1000u);
}

static void vswitch_end(struct vswitch *vs)
{
	child_kill(vs->child, SIGTERM);
	if (loop_timer_arm(vs->kill, STOP_PATIENCE_NS) < 0)
		child_kill(vs->child, SIGKILL);
}

static int vswitch_watch(struct vswitch *vs, const struct store_process *process, bool spawned)
{
	snprintf(vs->started_at, sizeof(vs->started_at), "%s", process->started_at);
	return child_create(vs->mgmt->supervisor, process->pid, process->start_time, spawned,
			    vswitch_on_exit, vs, &vs->child);
}

static int vswitch_adopt(struct vswitch *vs, const struct store_process *process)
{
	if (!process_has_uid(process->pid, SWITCH_UID) || vswitch_watch(vs, process, false) < 0)
		return -ESRCH;
	if (store_process_set(vs->mgmt->store, PROCESS_NAME, process) < 0)
		log_warn("a restarted daemon will have to look for this switch");
	log_info("the switch is there already, pid %d", (int)process->pid);
	if (vs->stop_done)
		vswitch_end(vs);
	else
		vswitch_connect_adopted(vs);
	return 0;
}

/* As vmm-launch has noted it: also one that hangs is found, and ended for it. */
static int vswitch_adopt_noted(struct vswitch *vs)
{
	struct store_process process = { 0 };
	char path[MGMT_PATH_SIZE];
	unsigned long long ticks = 0;
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "%s/vswitch/process", vs->mgmt->options->run_dir);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	n = fscanf(file, "%d %llu", &process.pid, &ticks);
	fclose(file);
	process.start_time = ticks;
	snprintf(process.boot_id, sizeof(process.boot_id), "%s", vs->mgmt->boot_id);
	time_text(process.started_at);
	return n == 2 ? vswitch_adopt(vs, &process) : -ESRCH;
}

/* Somebody answers on the control socket of the switch we may not spawn a second time. */
static void vswitch_on_found(void *opaque, int code, const char *message, const json_t *data,
			     const json_t *result)
{
	struct store_process process = { 0 };
	struct vswitch *vs = opaque;
	struct rpc_client *client = vs->client;

	vs->client = NULL;
	process.pid = (pid_t)json_integer_value(json_object_get(result, "pid"));
	snprintf(process.boot_id, sizeof(process.boot_id), "%s", vs->mgmt->boot_id);
	time_text(process.started_at);
	rpc_client_destroy(client);
	if (code || process_start_time(process.pid, &process.start_time) < 0 ||
	    vswitch_adopt(vs, &process) < 0)
		vswitch_down(vs, "there is one that does not answer");
}

/*
 * A predecessor of ours died before it could note which process the switch is. Its control socket
 * is vmm-launch's to bind, so who answers there is the switch.
 */
static void vswitch_find(struct vswitch *vs)
{
	struct rpc_client_events events = { 0 };
	char path[MGMT_PATH_SIZE];

	if (vswitch_adopt_noted(vs) == 0)
		return;
	snprintf(path, sizeof(path), "%s/vswitch/control.sock", vs->mgmt->options->run_dir);
	if (rpc_client_connect(vs->mgmt->loop, path, &events, &vs->client) < 0)
		vswitch_down(vs, "there is one that cannot be reached");
	else
		rpc_ask(vs->client, "switch.info", NULL, CALL_TIMEOUT_MS, vswitch_on_found, vs);
}

static void vswitch_on_spawned(void *opaque, int code, const char *message, const json_t *data,
			       const json_t *result)
{
	struct store_process process = { 0 };
	struct vswitch *vs = opaque;
	char reason[160];

	if (code == RPC_EXISTS) {
		vswitch_find(vs);
		return;
	}
	if (code) {
		snprintf(reason, sizeof(reason), "it cannot be spawned: %s", message);
		vswitch_down(vs, reason);
		return;
	}
	process.pid = (pid_t)json_integer_value(json_object_get(result, "pid"));
	process.start_time =
		(uint64_t)json_integer_value(json_object_get(result, "start_time"));
	snprintf(process.boot_id, sizeof(process.boot_id), "%s", vs->mgmt->boot_id);
	time_text(process.started_at);
	if (store_process_set(vs->mgmt->store, PROCESS_NAME, &process) < 0)
		log_warn("a restarted daemon will have to look for this switch");
	if (vswitch_watch(vs, &process, true) < 0)
		vswitch_down(vs, "it ended at once");
	else if (vs->stop_done)
		vswitch_end(vs);
	else
		vswitch_connect(vs, CALL_TIMEOUT_MS);
}

static void vswitch_spawn(void *opaque)
{
	struct vswitch *vs = opaque;

	vswitch_set_state(vs, SWITCH_STARTING, "");
	supervisor_call(vs->mgmt->supervisor, "switch.spawn", NULL, SPAWN_TIMEOUT_MS,
			vswitch_on_spawned, vs);
}

static void vswitch_kill(void *opaque)
{
	struct vswitch *vs = opaque;

	if (vs->child)
		child_kill(vs->child, SIGKILL);
}

struct vswitch *vswitch_create(struct mgmt *mgmt, const struct vswitch_events *events)
{
	struct vswitch *vs = calloc(1, sizeof(*vs));

	if (!vs)
		return NULL;
	*vs = (struct vswitch){ .mgmt = mgmt, .events = *events, .backoff_ms = RESTART_MIN_MS };
	vs->restart = loop_timer_create(mgmt->loop, vswitch_spawn, vs);
	vs->kill = loop_timer_create(mgmt->loop, vswitch_kill, vs);
	vs->health = loop_timer_create(mgmt->loop, vswitch_ask_health, vs);
	if (!vs->restart || !vs->kill || !vs->health) {
		vswitch_destroy(vs);
		return NULL;
	}
	return vs;
}

void vswitch_destroy(struct vswitch *vs)
{
	struct rpc_client *client;

	if (!vs)
		return;
	client = vs->client;
	vs->client = NULL;
	rpc_client_destroy(client);
	child_destroy(vs->child);
	loop_timer_destroy(vs->restart);
	loop_timer_destroy(vs->kill);
	loop_timer_destroy(vs->health);
	free(vs);
}

void vswitch_start(struct vswitch *vs)
{
	struct store_process process;

	if (store_process_get(vs->mgmt->store, PROCESS_NAME, &process) == 0 &&
	    !strcmp(process.boot_id, vs->mgmt->boot_id) &&
	    vswitch_watch(vs, &process, false) == 0) {
		log_info("the switch is there already, pid %d", (int)process.pid);
		vswitch_set_state(vs, SWITCH_STARTING, "");
		vswitch_connect_adopted(vs);
		return;
	}
	vswitch_spawn(vs);
}

void vswitch_stop(struct vswitch *vs, loop_fn done, void *opaque)
{
	loop_timer_disarm(vs->restart);
	if (!vs->child && vs->state != SWITCH_STARTING) {
		done(opaque);
		return;
	}
	vs->stop_done = done;
	vs->stop_opaque = opaque;
	if (vs->child) /* else it is being spawned */
		vswitch_end(vs);
}

bool vswitch_is_up(const struct vswitch *vs)
{
	return vs->state == SWITCH_RUNNING && vs->client; /* without one its end is about to be seen */
}

void vswitch_call(struct vswitch *vs, const char *method, json_t *params, rpc_reply_fn fn,
		  void *opaque)
{
	rpc_ask(vswitch_is_up(vs) ? vs->client : NULL, method, params, CALL_TIMEOUT_MS, fn, opaque);
}

json_t *vswitch_json(const struct vswitch *vs)
{
	return json_pack("{s:s, s:s, s:o, s:i, s:o, s:n}", "state", state_names[vs->state],
			 "reason", vs->reason, "pid",
			 vs->child ? json_integer(child_pid(vs->child)) : json_null(), "restarts",
			 (int)vs->restarts, "started_at",
			 vs->child ? json_string(vs->started_at) : json_null(), "info");
}

unsigned int vswitch_restarts(const struct vswitch *vs)
{
	return vs->restarts;
}

unsigned int vswitch_hangs(const struct vswitch *vs)
{
	return vs->hangs;
}
