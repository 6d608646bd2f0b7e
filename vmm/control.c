#include "vmm/control.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "core/rpc_server.h"

#define IN(state) (1u << (state))
#define IN_ANY ((1u << VM_STATES) - 1)

struct control {
	struct vm *vm;
	struct loop *loop;
	struct rpc_server *server;
};

static void fail(struct rpc_call *call, const struct machine_error *error)
{
	if (error->config)
		rpc_fail(call, RPC_INVALID_PARAMS, "config", "%s", error->why);
	else
		rpc_fail(call, RPC_HOST_FAILURE, NULL, "%s", error->why);
}

static void reply_state(struct rpc_call *call, struct vm *vm)
{
	rpc_reply(call, json_pack("{s:s}", "state", vm_state_name(vm_state(vm))));
}

static void handle_configure(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	json_t *json = json_object_get(params, "config");
	struct machine_error error = {.config = true};
	struct vm_config *config;

	if (!json) {
		rpc_fail(call, RPC_INVALID_PARAMS, "config",
			 "config: found nothing; allowed: the VM's configuration");
		return;
	}
	if (vm_config_parse(json, &config, error.why, sizeof(error.why)) < 0) {
		fail(call, &error);
		return;
	}
	if (vm_configure(control->vm, config, &error) < 0) {
		vm_config_free(config);
		fail(call, &error);
		return;
	}
	reply_state(call, control->vm);
}

static void handle_start(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	struct machine_error error = {0};

	if (vm_start(control->vm, &error) < 0)
		fail(call, &error);
	else
		reply_state(call, control->vm);
}

static void finish_call(struct rpc_call *call, struct vm *vm, int ret, const char *what)
{
	if (ret < 0)
		rpc_fail(call, RPC_HOST_FAILURE, NULL, "%s: %s", what, strerror(-ret));
	else
		reply_state(call, vm);
}

static void handle_pause(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	finish_call(call, control->vm, vm_pause(control->vm), "a device does not pause");
}

static void handle_resume(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	finish_call(call, control->vm, vm_resume(control->vm), "a device does not resume");
}

static void handle_reset(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	finish_call(call, control->vm, vm_reset(control->vm), "the reset failed");
}

static void handle_shutdown(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	vm_press_power_button(control->vm);
	reply_state(call, control->vm);
}

static void stop_now(void *opaque)
{
	struct control *control = opaque;

	vm_finish(control->vm, EXIT_STOP, 0, "stopped by vm.stop");
}

/* The answer leaves before the process does. */
static void handle_stop(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	if (loop_post(control->loop, stop_now, control) < 0) {
		rpc_fail(call, RPC_INTERNAL, NULL, "out of memory");
		return;
	}
	rpc_reply(call, json_pack("{s:s}", "state", vm_state_name(VM_STOPPED)));
}

static void handle_info(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	rpc_reply(call, vm_info(control->vm));
}

static void handle_counters(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	rpc_reply(call, vm_counters(control->vm));
}

static const struct rpc_method methods[] = {
	{"vm.configure", IN(VM_UNCONFIGURED), handle_configure},
	{"vm.start", IN(VM_CONFIGURED), handle_start},
	{"vm.pause", IN(VM_RUNNING), handle_pause},
	{"vm.resume", IN(VM_PAUSED), handle_resume},
	{"vm.reset", IN(VM_RUNNING) | IN(VM_PAUSED), handle_reset},
	{"vm.shutdown", IN(VM_RUNNING), handle_shutdown},
	{"vm.stop", IN_ANY & ~IN(VM_STOPPED), handle_stop},
	{"vm.info", IN_ANY, handle_info},
	{"vm.counters", IN_ANY, handle_counters},
	{NULL},
};

static unsigned int present_state(void *opaque, const char **name)
{
	struct control *control = opaque;

	*name = vm_state_name(vm_state(control->vm));
	return vm_state(control->vm);
}

static void state_changed(void *opaque, enum vm_state state, const char *reason)
{
	struct control *control = opaque;

	rpc_server_notify(control->server, "vm.state",
			  json_pack("{s:s, s:s}", "state", vm_state_name(state), "reason",
				    reason));
}

int control_create(struct loop *loop, struct vm *vm, const struct config_file *file, uid_t uid,
		   struct control **out)
{
	struct control *control = calloc(1, sizeof(*control));
	struct rpc_server_config config = {
		.path = file->path,
		.keep_path = true,
		.listen_fd = file->path ? -1 : config_file_open(file, 0),
		.connected_fd = -1,
		.allowed_uid = uid,
		.methods = methods,
		.state = present_state,
		.opaque = control,
	};
	int ret = control ? 0 : -ENOMEM;

	if (!ret && !file->path && config.listen_fd < 0)
		ret = config.listen_fd;
	if (ret < 0) {
		log_err("control socket: %s", strerror(-ret));
		goto err;
	}
	control->vm = vm;
	control->loop = loop;
	ret = rpc_server_create(loop, &config, &control->server);
	if (ret < 0)
		goto err;
	vm_observe(vm, state_changed, control);
	*out = control;
	return 0;
err:
	free(control);
	return ret;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	vm_observe(control->vm, NULL, NULL);
	rpc_server_destroy(control->server);
	free(control);
}
