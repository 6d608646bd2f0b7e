/*
 * Stands for vmm where vmm-mgmt is the subject: the same control socket, console, exit record and
 * states, no guest. The words of boot.cmdline make it misbehave:
 *   bad-config   leaves an exit record "config" and exits with 2
 *   deaf         hears no power button
 *   stubborn     does not end when told to stop
 *   unwilling    refuses every command once it runs; with the word pausable too, all but vm.pause
 *   slow         runs only after it was asked for its state
 *   never        is asked, and does not run
 *   unplugged    leaves its NICs to others
 *   over-well, over-badly   the guest powers off or faults before anybody can ask
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "core/rpc_server.h"

struct peer {
	struct loop *loop;
	struct rpc_server *server;
	json_t *config;
	unsigned int state; /* 1 running, 2 paused */
	const char *reason;
	int record_fd;
	int status;
};

static const char *const state_names[] = { "configured", "running", "paused" };

static bool told(const struct peer *peer, const char *word)
{
	const char *cmdline = json_string_value(
		json_object_get(json_object_get(peer->config, "boot"), "cmdline"));

	return cmdline && strstr(cmdline, word);
}

static int file_fd(const json_t *file)
{
	const char *text = json_string_value(file);

	return text && !strncmp(text, "fd:", 3) ? atoi(text + 3) : -1;
}

/* As the host counts: in its own pid namespace every vmm is 1. */
static pid_t host_pid(void)
{
	char self[16] = "";

	return readlink("/proc/self", self, sizeof(self) - 1) > 0 ? atoi(self) : getpid();
}

static void leave_record(struct peer *peer, const char *message)
{
	dprintf(peer->record_fd,
		"{\"id\": \"%s\", \"reason\": \"%s\", \"message\": \"%s\", \"status\": %d,"
		" \"time\": \"2026-01-01T00:00:00Z\", \"pid\": %d}\n",
		json_string_value(json_object_get(peer->config, "id")), peer->reason, message,
		peer->status, (int)host_pid());
}

static void set_state(struct peer *peer, unsigned int state)
{
	peer->state = state;
	rpc_server_notify(peer->server, "vm.state",
			  json_pack("{s:s, s:s}", "state", state_names[state], "reason", ""));
}

static unsigned int get_state(void *opaque, const char **name)
{
	struct peer *peer = opaque;

	*name = state_names[peer->state];
	return peer->state;
}

/* True when it was refused. */
static bool refuse(struct peer *peer, struct rpc_call *call)
{
	if (told(peer, "unwilling"))
		rpc_fail(call, RPC_HOST_FAILURE, NULL, "it was told to be unwilling");
	return told(peer, "unwilling");
}

static void handle_info(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct peer *peer = opaque;
	static bool told_once;

	if (told_once && refuse(peer, call))
		return;
	if (!told_once && told(peer, "slow")) {
		told_once = true;
		peer->state = 0;
	}
	told_once = true;
	rpc_reply(call, json_pack("{s:O, s:s, s:i}", "id", json_object_get(peer->config, "id"),
				  "state", state_names[peer->state], "pid", (int)host_pid()));
	if (!peer->state && !told(peer, "never"))
		set_state(peer, 1);
}

static void handle_counters(struct rpc_call *call, const json_t *params, void *opaque)
{
	if (!refuse(opaque, call))
		rpc_reply(call, json_pack("{s:{}}", "devices"));
}

static void handle_pause(struct rpc_call *call, const json_t *params, void *opaque)
{
	if (!told(opaque, "pausable") && refuse(opaque, call))
		return;
	set_state(opaque, 2);
	rpc_reply(call, json_null());
}

static void handle_resume(struct rpc_call *call, const json_t *params, void *opaque)
{
	if (refuse(opaque, call))
		return;
	set_state(opaque, 1);
	rpc_reply(call, json_null());
}

static void handle_reset(struct rpc_call *call, const json_t *params, void *opaque)
{
	if (!refuse(opaque, call))
		rpc_reply(call, json_null());
}

static void handle_shutdown(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct peer *peer = opaque;

	if (refuse(peer, call))
		return;
	rpc_reply(call, json_null());
	if (!told(peer, "deaf")) {
		peer->reason = "shutdown";
		loop_stop(peer->loop);
	}
}

static void handle_stop(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct peer *peer = opaque;

	if (told(peer, "stubborn")) {
		rpc_fail(call, RPC_BUSY, NULL, "it was told to be stubborn");
		return;
	}
	rpc_reply(call, json_null());
	peer->reason = "stop";
	loop_stop(peer->loop);
}

static const struct rpc_method methods[] = {
	{ "vm.info", 7, handle_info },	   { "vm.counters", 7, handle_counters },
	{ "vm.pause", 2, handle_pause },   { "vm.resume", 4, handle_resume },
	{ "vm.reset", 6, handle_reset },   { "vm.shutdown", 6, handle_shutdown },
	{ "vm.stop", 7, handle_stop },	   { 0 },
};

/* A front end must be able to reach its NICs' sockets; the connections stay open. */
static int connect_nics(const struct peer *peer)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	json_t *nic;
	size_t i;

	if (told(peer, "unplugged"))
		return 0;
	json_array_foreach(json_object_get(peer->config, "nics"), i, nic) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		snprintf(addr.sun_path, sizeof(addr.sun_path), "%s",
			 json_string_value(json_object_get(nic, "socket")));
		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
			log_err("%s: %m", addr.sun_path);
			return -1;
		}
	}
	return 0;
}

/* Says hello to the first who comes, as a guest's console would. */
static void on_console(void *opaque, int fd, unsigned int events)
{
	static const char hello[] = "hello from the console\r\n";
	int client = accept(fd, NULL, NULL);

	if (client >= 0 && write(client, hello, sizeof(hello) - 1) < 0)
		close(client);
}

static int run(struct peer *peer)
{
	struct rpc_server_config config = {
		.listen_fd = file_fd(json_object_get(peer->config, "control")),
		.connected_fd = -1,
		.allowed_uid = 60999,
		.methods = methods,
		.state = get_state,
		.opaque = peer,
	};
	int console = file_fd(json_object_get(json_object_get(peer->config, "console"), "file"));
	int err;

	peer->loop = loop_create();
	if (!peer->loop || rpc_server_create(peer->loop, &config, &peer->server) < 0)
		return 1;
	if (console >= 0 && !loop_io_add(peer->loop, console, LOOP_READ, on_console, peer))
		return 1;
	peer->state = told(peer, "never") ? 0 : 1;
	err = loop_run(peer->loop);
	rpc_server_destroy(peer->server);
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct peer peer = { .reason = "stop" };

	log_init("vmm", LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	if (argc < 3 || strcmp(argv[1], "--config") != 0 || strncmp(argv[2], "fd:", 3) != 0)
		return 2;
	peer.config = json_loadfd(atoi(argv[2] + 3), 0, NULL);
	if (!peer.config)
		return 2;
	peer.record_fd = file_fd(json_object_get(peer.config, "exit_record"));
	if (told(&peer, "bad-config") || connect_nics(&peer) < 0) {
		peer.reason = "config";
		peer.status = 2;
		leave_record(&peer, "boot.kernel: found no kernel; allowed: one");
		return 2;
	}
	if (told(&peer, "over-"))
		peer.reason = told(&peer, "over-well") ? "shutdown" : "guest-fault";
	else
		peer.status = run(&peer);
	leave_record(&peer, "");
	return peer.status;
}
