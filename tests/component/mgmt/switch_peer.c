/*
 * Stands for vswitch where vmm-mgmt is the subject: it answers, forwards nothing, and dies at the
 * first port it is asked for. The note of that is in its run directory, so its next life does better.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/rpc_server.h"

static json_t *ports;

static void handle_info(struct rpc_call *call, const json_t *params, void *opaque)
{
	rpc_reply(call, json_pack("{s:i}", "pid", (int)getpid()));
}

static void handle_list(struct rpc_call *call, const json_t *params, void *opaque)
{
	rpc_reply(call, json_incref(ports));
}

static void handle_add(struct rpc_call *call, const json_t *params, void *opaque)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/died", getenv("XDG_RUNTIME_DIR"));
	if (open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0)
		_exit(1);
	json_array_append_new(ports, json_pack("{s:O}", "id", json_object_get(params, "id")));
	rpc_reply(call, json_object());
}

static void handle_remove(struct rpc_call *call, const json_t *params, void *opaque)
{
	json_array_clear(ports);
	rpc_reply(call, json_object());
}

static const struct rpc_method methods[] = {
	{ "switch.info", 1, handle_info },
	{ "port.list", 1, handle_list },
	{ "port.add", 1, handle_add },
	{ "port.remove", 1, handle_remove },
	{ 0 },
};

static void stop(void *opaque)
{
	loop_stop(opaque);
}

int main(int argc, char **argv)
{
	struct rpc_server_config config = {
		.listen_fd = 3, .connected_fd = -1, .allowed_uid = 60999, .methods = methods,
	};
	struct loop *loop = loop_create();
	struct loop_signal *terminate = loop ? loop_signal_add(loop, SIGTERM, stop, loop) : NULL;
	struct rpc_server *server;
	int err;

	log_init("vswitch", LOG_LEVEL_INFO);
	ports = json_array();
	if (!terminate || !ports || rpc_server_create(loop, &config, &server) < 0)
		return 1;
	err = loop_run(loop);
	rpc_server_destroy(server);
	loop_signal_remove(terminate);
	loop_destroy(loop);
	json_decref(ports);
	return err ? 1 : 0;
}
