#include "vmm/vm.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "vmm/sandbox.h"
#include "vmm/vm_internal.h"

#define RESET_INTERVAL_NS 200000000ULL

static const char *const state_names[VM_STATES] = {"unconfigured", "configured", "running",
						   "paused", "stopped"};

const char *vm_state_name(enum vm_state state)
{
	return state_names[state];
}

enum vm_state vm_state(const struct vm *vm)
{
	return vm->state;
}

/* vm_reset ends the VM itself when it fails. */
static void reset_by_guest(void *opaque)
{
	struct vm *vm = opaque;

	if ((vm->state == VM_RUNNING || vm->state == VM_PAUSED) && vm_reset(vm) < 0)
		log_err("%s: the reset failed", vm->config->id);
}

/* A guest that does nothing but reset must not keep this thread, and all who listen, busy. */
static void plan_reset(struct vm *vm)
{
	uint64_t since = clock_now_ns() - vm->last_reset_ns;

	vm->reset_planned = since < RESET_INTERVAL_NS &&
			    !loop_timer_arm(vm->reset_later, RESET_INTERVAL_NS - since);
	if (!vm->reset_planned)
		reset_by_guest(vm);
}

void vm_observe(struct vm *vm, vm_state_fn fn, void *opaque)
{
	vm->observer = fn;
	vm->observer_opaque = opaque;
}

static void set_state(struct vm *vm, enum vm_state state, const char *reason)
{
	vm->state = state;
	log_info("%s: %s (%s)", vm->config ? vm->config->id : "vm", vm_state_name(state), reason);
	if (vm->observer)
		vm->observer(vm->observer_opaque, state, reason);
}

int vm_configure(struct vm *vm, struct vm_config *config, struct machine_error *error)
{
	int fd = -1;

	if (config_file_given(&config->exit_record)) {
		fd = exit_record_open(&config->exit_record);
		if (fd < 0) {
			error->config = true;
			snprintf(error->why, sizeof(error->why),
				 "exit_record: found %s; allowed: a file that can be written (%s)",
				 config->exit_record.path ? config->exit_record.path : "a descriptor",
				 strerror(-fd));
			return fd;
		}
	}
	vm->config = config;
	vm->record_fd = fd;
	set_state(vm, VM_CONFIGURED, "configure");
	return 0;
}

/* What the guest asked for, now on the io thread. */
static void serve_request(void *opaque)
{
	struct vm *vm = opaque;
	enum machine_request request;
	char message[sizeof(vm->asked.message)];
	uint8_t debug_status;
	bool stale;

	pthread_mutex_lock(&vm->asked.lock);
	request = vm->asked.request;
	debug_status = vm->asked.debug_status;
	memcpy(message, vm->asked.message, sizeof(message));
	stale = vm->asked.stale || !vm->asked.pending; /* vm_resume was here first */
	vm->asked.pending = vm->asked.stale = false;
	pthread_mutex_unlock(&vm->asked.lock);

	if (stale || (vm->state != VM_RUNNING && vm->state != VM_PAUSED))
		return;
	switch (request) {
	case MACHINE_POWER_OFF:
		vm_finish(vm, EXIT_SHUTDOWN, 0, "%s", message);
		break;
	case MACHINE_DEBUG_EXIT:
		vm_finish(vm, EXIT_DEBUG, debug_status, "%s", message);
		break;
	case MACHINE_GUEST_FAULT:
		vm_finish(vm, EXIT_GUEST_FAULT, 0, "%s", message);
		break;
	case MACHINE_HOST_FAILURE:
		vm_finish(vm, EXIT_HOST_FAILURE, 0, "%s", message);
		break;
	case MACHINE_RESET:
		log_guest("%s: reset by the guest: %s", vm->config->id, message);
		plan_reset(vm);
		break;
	}
}

/* Any thread. One request is kept: the vCPUs stop at it, and what others ask meanwhile comes too
 * late, as it would on a board whose power is going. */
static void machine_requested(void *opaque, enum machine_request request, uint8_t debug_status,
			      const char *message)
{
	struct vm *vm = opaque;
	bool post;

	pthread_mutex_lock(&vm->asked.lock);
	post = !vm->asked.pending;
	if (post || vm->asked.stale) {
		vm->asked.pending = true;
		vm->asked.stale = false;
		vm->asked.request = request;
		vm->asked.debug_status = debug_status;
		snprintf(vm->asked.message, sizeof(vm->asked.message), "%s", message);
	}
	pthread_mutex_unlock(&vm->asked.lock);
	if (post)
		loop_notice_raise(vm->asked.notice);
}

struct vm *vm_create(struct loop *loop)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->loop = loop;
	vm->record_fd = -1;
	vm->reset_later = loop_timer_create(loop, reset_by_guest, vm);
	vm->asked.notice = loop_notice_create(loop, serve_request, vm);
	pthread_mutex_init(&vm->asked.lock, NULL);
	if (!vm->reset_later || !vm->asked.notice) {
		vm_destroy(vm);
		return NULL;
	}
	return vm;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	loop_timer_destroy(vm->reset_later);
	machine_destroy(vm->machine);
	vm_config_free(vm->config);
	if (vm->record_fd >= 0)
		close(vm->record_fd);
	loop_notice_destroy(vm->asked.notice);
	pthread_mutex_destroy(&vm->asked.lock);
	free(vm);
}

int vm_start(struct vm *vm, struct machine_error *error)
{
	const struct machine_events events = {.requested = machine_requested, .opaque = vm};
	int ret;

	ret = machine_create(vm->loop, vm->config, &events, &vm->machine, error);
	if (ret < 0)
		return ret;
	/* The kernel and its modules may be hostile as well: they are read after this. */
	ret = sandbox_confine_process();
	if (ret < 0)
		snprintf(error->why, sizeof(error->why), "no list of system calls: %s",
			 strerror(-ret));
	else
		ret = machine_reset(vm->machine, error);
	if (!ret) {
		ret = machine_resume(vm->machine);
		if (ret < 0)
			snprintf(error->why, sizeof(error->why), "a device does not start: %s",
				 strerror(-ret));
	}
	if (ret < 0) {
		machine_destroy(vm->machine);
		vm->machine = NULL;
		return ret;
	}
	set_state(vm, VM_RUNNING, "start");
	return 0;
}

int vm_pause(struct vm *vm)
{
	int ret = machine_pause(vm->machine);

	if (ret < 0) {
		/* It is not paused, so it goes on. */
		if (machine_resume(vm->machine) < 0)
			vm_finish(vm, EXIT_HOST_FAILURE, 0,
				  "a device neither pauses nor goes on: %s", strerror(-ret));
		return ret;
	}
	set_state(vm, VM_PAUSED, "pause");
	return 0;
}

int vm_resume(struct vm *vm)
{
	int ret;

	/* The guest shall not go on past what it asked for; the vCPUs are parked, so it is all here. */
	serve_request(vm);
	if (vm->state == VM_STOPPED)
		return 0;
	ret = vm->reset_planned ? vm_reset(vm) : 0;
	if (!ret)
		ret = machine_resume(vm->machine);
	if (ret < 0)
		return ret;
	set_state(vm, VM_RUNNING, "resume");
	return 0;
}

/* Several vCPUs may have pulled the line at once: one reset serves them all. vCPUs parked. */
static void forget_resets(struct vm *vm)
{
	loop_timer_disarm(vm->reset_later);
	vm->reset_planned = false;
	pthread_mutex_lock(&vm->asked.lock);
	vm->asked.stale = vm->asked.pending && vm->asked.request == MACHINE_RESET;
	pthread_mutex_unlock(&vm->asked.lock);
}

int vm_reset(struct vm *vm)
{
	bool running = vm->state == VM_RUNNING;
	struct machine_error error = {0};
	int ret = 0;

	vm->last_reset_ns = clock_now_ns();
	if (running)
		ret = machine_pause(vm->machine);
	forget_resets(vm);
	if (!ret)
		ret = machine_reset(vm->machine, &error);
	if (!ret && running)
		ret = machine_resume(vm->machine);
	if (ret < 0) {
		vm_finish(vm, EXIT_RESET_FAILED, 0, "%s",
			  error.why[0] ? error.why : strerror(-ret));
		return ret;
	}
	if (vm->observer)
		vm->observer(vm->observer_opaque, vm->state, "reset");
	return 0;
}

void vm_press_power_button(struct vm *vm)
{
	machine_power_button(vm->machine);
}

void vm_finish(struct vm *vm, enum exit_reason reason, uint8_t debug_status, const char *fmt, ...)
{
	va_list args;
	int ret;

	if (vm->state == VM_STOPPED)
		return;
	vm->record.reason = reason;
	vm->record.status = exit_reason_status(reason, debug_status);
	va_start(args, fmt);
	vsnprintf(vm->record.message, sizeof(vm->record.message), fmt, args);
	va_end(args);
	if (reason >= EXIT_CONFIG)
		log_err("%s", vm->record.message);
	machine_destroy(vm->machine);
	vm->machine = NULL;
	ret = exit_record_write(vm->record_fd, vm->config ? vm->config->id : "", &vm->record);
	if (ret < 0)
		log_err("the exit record cannot be written: %s", strerror(-ret));
	set_state(vm, VM_STOPPED, exit_reason_name(reason));
	loop_stop(vm->loop);
}

int vm_exit_status(const struct vm *vm)
{
	return vm->record.status;
}
