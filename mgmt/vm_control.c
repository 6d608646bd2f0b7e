#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "mgmt/vm_private.h"

#define INFO_TIMEOUT_MS 120000u /* guest memory may be prefaulted first */
#define CALL_TIMEOUT_MS 10000u
#define STOP_PATIENCE_NS (10ULL * 1000000000)
#define START_PATIENCE_NS (120ULL * 1000000000)
#define RECONNECT_NS (200ULL * 1000000)

#define IN(state) (1u << (state))

struct vm_call {
	struct vm *vm;
	const struct action *action;
	enum vm_desired before; /* what was desired, should the vmm refuse */
	done_fn done;
	vm_answer_fn answer;
	void *opaque;
};

static const struct action {
	const char *name;
	const char *method;
	unsigned int states;
	const char *needs;
} actions[] = {
	[VM_PAUSE] = { "pause", "vm.pause", IN(VM_RUNNING), "running" },
	[VM_RESUME] = { "resume", "vm.resume", IN(VM_PAUSED), "paused" },
	[VM_RESET] = { "reset", "vm.reset", IN(VM_RUNNING) | IN(VM_PAUSED), "running or paused" },
	[VM_SHUTDOWN] = { "shutdown", "vm.shutdown", IN(VM_RUNNING) | IN(VM_STOPPING), "running" },
};

/* It runs (or is paused): the start is over. */
static void vm_finish_start(struct vm *vm)
{
	done_fn done = vm->start_done;

	if (!vm->running_since_ms)
		vm->running_since_ms = monotonic_ms();
	vm->start_done = NULL;
	if (done)
		done(vm->start_opaque, NULL);
}

/* What the vmm says of itself. */
static void vm_observe(struct vm *vm, const char *state)
{
	enum vm_state seen;

	if (state && !strcmp(state, "running"))
		seen = VM_RUNNING;
	else if (state && !strcmp(state, "paused"))
		seen = VM_PAUSED;
	else
		return; /* on the way up or down; the process's end tells the rest */
	if (vm->state == VM_STARTING) {
		loop_timer_disarm(vm->kill);
		vm_set_state(vm, seen, "");
		vm_finish_start(vm);
	} else if (vm->state == VM_RUNNING || vm->state == VM_PAUSED) {
		vm_set_state(vm, seen, "");
	}
}

static void vm_notified(void *opaque, const char *method, const json_t *params)
{
	if (!strcmp(method, "vm.state"))
		vm_observe(opaque, json_string_value(json_object_get(params, "state")));
}

static void vm_gone(void *opaque)
{
	struct vm *vm = opaque;

	vm_disconnect(vm);
	if (vm->child && loop_timer_arm(vm->reconnect, RECONNECT_NS) < 0)
		log_err("VM %s is out of reach: out of memory", vm->id);
}

static void vm_on_aligned(void *opaque, int code, const char *message, const json_t *data,
			  const json_t *result)
{
	struct vm *vm = opaque;

	if (code && code != RPC_DISCONNECTED)
		log_warn("VM %s does not become what it is to be: %s", vm->id, message);
}

/* The store says what is wanted; the vmm of a predecessor's VM may be elsewhere. */
static void vm_align(struct vm *vm)
{
	const char *method = NULL;

	if (vm->desired == DESIRED_STOPPED && vm->state != VM_STOPPING) {
		vm_set_state(vm, VM_STOPPING, vm->forced ? "stop" : "shutdown");
		method = "vm.shutdown";
	} else if (vm->desired == DESIRED_RUNNING && vm->state == VM_PAUSED) {
		method = "vm.resume";
	} else if (vm->desired == DESIRED_PAUSED && vm->state == VM_RUNNING) {
		method = "vm.pause";
	}
	if (method && vm->state == VM_STOPPING && vm->forced)
		vm_control_stop(vm);
	else if (method)
		rpc_ask(vm->client, method, NULL, CALL_TIMEOUT_MS, vm_on_aligned, vm);
}

static void vm_on_info(void *opaque, int code, const char *message, const json_t *data,
		       const json_t *result)
{
	struct vm *vm = opaque;
	struct problem problem;

	if (code == RPC_DISCONNECTED)
		return; /* its process ends, or we connect again */
	if (code && vm->state == VM_STARTING) {
		problem_from_rpc(&problem, "the vmm", code, message, NULL);
		problem.status = 503;
		vm_fail_start(vm, &problem);
		return;
	}
	if (code) {
		log_warn("VM %s does not tell its state: %s", vm->id, message);
		return;
	}
	vm_observe(vm, json_string_value(json_object_get(result, "state")));
	/* Not yet? vm.state will tell, or patience ends. */
	if (vm->state == VM_STARTING && loop_timer_arm(vm->kill, START_PATIENCE_NS) < 0)
		vm_kill(vm);
	vm_align(vm);
}

void vm_control_connect(struct vm *vm)
{
	struct rpc_client_events events = { vm_notified, vm_gone, vm };
	char path[MGMT_PATH_SIZE];
	int err;

	if (vm->client || !vm->child)
		return;
	vm_run_path(vm, "control.sock", path);
	err = rpc_client_connect(vm->mgmt->loop, path, &events, &vm->client);
	if (err) {
		log_debug("cannot connect to %s: %s", path, strerror(-err));
		if (loop_timer_arm(vm->reconnect, RECONNECT_NS) < 0)
			log_err("VM %s is out of reach: out of memory", vm->id);
		return;
	}
	rpc_ask(vm->client, "vm.info", NULL, INFO_TIMEOUT_MS, vm_on_info, vm);
}

static void vm_on_stop(void *opaque, int code, const char *message, const json_t *data,
		       const json_t *result)
{
	struct vm *vm = opaque;

	/* Unwilling or out of reach: then the hardest way. An answer in time is no end yet. */
	if (code && code != RPC_DISCONNECTED)
		vm_kill(vm);
}

void vm_control_stop(struct vm *vm)
{
	if (!vm->client) {
		vm_kill(vm);
		return;
	}
	if (loop_timer_arm(vm->kill, STOP_PATIENCE_NS) < 0)
		vm_kill(vm);
	else
		rpc_ask(vm->client, "vm.stop", NULL, CALL_TIMEOUT_MS, vm_on_stop, vm);
}

/* 0: go on. Otherwise done was told. */
static int vm_stop_admit(struct vm *vm, done_fn done, void *opaque)
{
	struct problem problem;

	if (vm_is_down(vm)) {
		problem_set(&problem, 409, NULL, "the VM is %s already", vm_state_name(vm->state));
		done(opaque, &problem);
		return -EINVAL;
	}
	if (vm_set_desired(vm, DESIRED_STOPPED, true) < 0) {
		store_problem(vm->mgmt->store, &problem);
		done(opaque, &problem);
		return -EIO;
	}
	return 0;
}

void vm_stop(struct vm *vm, done_fn done, void *opaque)
{
	struct problem problem;

	if (vm_stop_admit(vm, done, opaque) < 0)
		return;
	if (vm->state == VM_FAILED || vm->state == VM_STOPPED) { /* its restart was pending */
		loop_timer_disarm(vm->restart);
		vm_set_state(vm, VM_STOPPED, "stop");
		done(opaque, NULL);
		return;
	}
	if (vm_add_waiter(vm, done, opaque) < 0) {
		problem_set(&problem, 503, NULL, "out of memory");
		done(opaque, &problem);
		return;
	}
	if (vm->ending)
		return;
	if (vm->state == VM_STARTING) {
		vm->cancelled = true;
		if (vm->wants_switch)
			vm_end(vm);
		else
			vm_kill(vm); /* if there is one yet; else the start's next step sees it */
		return;
	}
	vm_set_state(vm, VM_STOPPING, "stop");
	vm_control_stop(vm);
}

static void vm_on_acted(void *opaque, int code, const char *message, const json_t *data,
			const json_t *result)
{
	struct vm_call *call = opaque;
	struct vm *vm = call->vm;
	struct problem problem;

	/* It went before it could answer: what more does a power button want? */
	if (code == RPC_DISCONNECTED && call->action == &actions[VM_SHUTDOWN])
		code = 0;
	if (code) {
		problem_from_rpc(&problem, "the vmm", code, message, NULL);
		if (code != RPC_DISCONNECTED && vm->desired != call->before &&
		    vm_set_desired(vm, call->before, false) < 0)
			log_warn("VM %s: the store wants what the vmm refused", vm->id);
	} else if (call->action == &actions[VM_PAUSE]) {
		vm_observe(vm, "paused");
	} else if (call->action == &actions[VM_RESUME]) {
		vm_observe(vm, "running");
	} else if (call->action == &actions[VM_SHUTDOWN] && vm->state == VM_RUNNING) {
		vm_set_state(vm, VM_STOPPING, "shutdown");
	}
	call->done(call->opaque, code ? &problem : NULL);
	free(call);
}

static enum vm_desired action_desired(const struct vm *vm, enum vm_action action)
{
	switch (action) {
	case VM_PAUSE:
		return DESIRED_PAUSED;
	case VM_RESUME:
		return DESIRED_RUNNING;
	case VM_SHUTDOWN:
		return DESIRED_STOPPED;
	default:
		return vm->desired;
	}
}

void vm_act(struct vm *vm, enum vm_action which, done_fn done, void *opaque)
{
	const struct action *action = &actions[which];
	struct problem problem = { 0 };
	struct vm_call *call;

	if (!(action->states & IN(vm->state)) || vm->ending)
		problem_set(&problem, 409, NULL, "the VM is %s; %s needs one that is %s",
			    vm_state_name(vm->state), action->name, action->needs);
	else if (!vm->client)
		problem_set(&problem, 503, NULL, "the vmm is out of reach for the moment");
	call = problem.status ? NULL : malloc(sizeof(*call));
	if (!call && !problem.status)
		problem_set(&problem, 503, NULL, "out of memory");
	if (call) {
		*call = (struct vm_call){ vm, action, vm->desired, done, NULL, opaque };
		if (vm_set_desired(vm, action_desired(vm, which), vm->forced) < 0) {
			store_problem(vm->mgmt->store, &problem);
			free(call);
		}
	}
	if (problem.status)
		done(opaque, &problem);
	else
		rpc_ask(vm->client, action->method, NULL, CALL_TIMEOUT_MS, vm_on_acted, call);
}

static void vm_on_answer(void *opaque, int code, const char *message, const json_t *data,
			 const json_t *result)
{
	struct vm_call *call = opaque;
	struct problem problem;

	if (code) {
		problem_from_rpc(&problem, "the vmm", code, message, NULL);
		problem.status = 503;
	}
	call->answer(call->opaque, code ? &problem : NULL, result);
	free(call);
}

void vm_query(struct vm *vm, const char *method, vm_answer_fn fn, void *opaque)
{
	struct vm_call *call;
	struct problem problem;

	if (!vm->child || vm->state == VM_STARTING) {
		problem_set(&problem, 409, NULL, "the VM is %s; this needs one that is running",
			    vm_state_name(vm->state));
		fn(opaque, &problem, NULL);
		return;
	}
	call = malloc(sizeof(*call));
	if (!call) {
		problem_set(&problem, 503, NULL, "out of memory");
		fn(opaque, &problem, NULL);
		return;
	}
	*call = (struct vm_call){ .vm = vm, .answer = fn, .opaque = opaque };
	rpc_ask(vm->client, method, NULL, CALL_TIMEOUT_MS, vm_on_answer, call);
}
