#include "core/rpc_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json_text.h"
#include "core/line_stream.h"
#include "core/log.h"
#include "core/unix_socket.h"

#define RPC_SERVER_MAX_CALLS 256u /* unanswered, of one client */
#define ACCEPT_PAUSE_NS (100ULL * 1000000) /* when we are out of descriptors */

struct rpc_peer {
	struct rpc_peer *next;
	struct rpc_server *server;
	struct line_stream *stream;
	struct rpc_call *calls;
	unsigned int n_calls;
};

struct rpc_call {
	struct rpc_call *next;
	struct rpc_peer *peer; /* NULL: gone */
	json_t *id;	       /* NULL: a notification */
	unsigned int refusals; /* when it came */
};

struct rpc_server {
	struct loop *loop;
	struct rpc_server_config config;
	uid_t own_uid;
	char *path; /* of the socket we bound, else NULL */
	int listen_fd;
	struct loop_io *listen_io;
	struct loop_timer *accept_again;
	struct rpc_peer *peers;
	unsigned int n_peers;
};

/* Who is not answered would wait for ever: without memory for the answer, that is the answer. */
static void peer_answer_exhausted(struct rpc_peer *peer, const json_t *id)
{
	char line[JSONRPC_EXHAUSTED_SIZE];
	size_t len = jsonrpc_exhausted(id, line, sizeof(line));

	log_err("out of memory for an answer");
	if (len)
		line_stream_send(peer->stream, line, len);
	else
		line_stream_abandon(peer->stream, -ENOMEM);
}

/* An answer to the request with this id. */
static bool peer_answer(struct rpc_peer *peer, const json_t *id, json_t *message)
{
	size_t len;
	char *line = message ? jsonrpc_encode(message, &len) : NULL;

	if (line)
		line_stream_send(peer->stream, line, len);
	else
		peer_answer_exhausted(peer, id);
	free(line);
	json_decref(message);
	return line;
}

static void peer_destroy(struct rpc_peer *peer)
{
	struct rpc_server *server = peer->server;
	struct rpc_peer **link = &server->peers;

	while (*link != peer)
		link = &(*link)->next;
	*link = peer->next;
	server->n_peers--;
	for (struct rpc_call *call = peer->calls; call; call = call->next)
		call->peer = NULL;
	line_stream_destroy(peer->stream);
	free(peer);
}

static void peer_ended(void *opaque, int err)
{
	struct rpc_peer *peer = opaque;
	struct rpc_server *server = peer->server;

	if (err == -EMSGSIZE)
		peer_answer(peer, NULL, jsonrpc_error(NULL, RPC_INVALID_REQUEST,
						      "the line is longer than 1 MiB", NULL));
	else if (err == -ENOBUFS)
		log_guest("a control client does not read its answers; disconnected");
	else if (err != -EPIPE)
		log_guest("a control client is lost: %s", strerror(-err));
	peer_destroy(peer);
	if (server->config.connected_fd >= 0 && server->listen_fd < 0 && server->config.gone)
		server->config.gone(server->config.opaque);
}

static void call_free(struct rpc_call *call)
{
	struct rpc_call **link;

	if (call->peer) {
		for (link = &call->peer->calls; *link != call; link = &(*link)->next)
			;
		*link = call->next;
		call->peer->n_calls--;
	}
	json_decref(call->id);
	free(call);
}

static struct rpc_call *call_create(struct rpc_peer *peer, const json_t *id)
{
	struct rpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->id = id ? json_deep_copy(id) : NULL;
	if (id && !call->id) {
		free(call);
		return NULL;
	}
	call->refusals = json_text_refusals();
	call->peer = peer;
	call->next = peer->calls;
	peer->calls = call;
	peer->n_calls++;
	return call;
}

static const struct rpc_method *server_find(const struct rpc_server *server, const char *name)
{
	const struct rpc_method *method;

	for (method = server->config.methods; method->name; method++) {
		if (!strcmp(method->name, name))
			return method;
	}
	return NULL;
}

static unsigned int server_state(const struct rpc_server *server, const char **name)
{
	*name = NULL;
	return server->config.state ? server->config.state(server->config.opaque, name) : 0;
}

static void peer_dispatch(struct rpc_peer *peer, const struct jsonrpc_message *msg)
{
	struct rpc_server *server = peer->server;
	const struct rpc_method *method = server_find(server, msg->method);
	struct rpc_call *call = call_create(peer, msg->id);
	const char *state_name;
	unsigned int state;

	if (!call) {
		if (msg->id)
			peer_answer_exhausted(peer, msg->id);
		return;
	}
	state = server_state(server, &state_name);
	if (peer->n_calls > RPC_SERVER_MAX_CALLS)
		rpc_fail(call, RPC_BUSY, NULL, "%u requests are open already",
			 RPC_SERVER_MAX_CALLS);
	else if (!method)
		rpc_fail(call, RPC_METHOD_NOT_FOUND, NULL, "no such method: %s", msg->method);
	else if (!(method->states & 1u << state))
		rpc_fail(call, RPC_WRONG_STATE, NULL, "%s is not possible in state %s",
			 method->name, state_name ? state_name : "unknown");
	else
		/* May answer at once, destroy the server, or both: nothing is touched after it. */
		method->handle(call, msg->params, server->config.opaque);
}

static void peer_on_line(void *opaque, const char *line, size_t len)
{
	struct rpc_peer *peer = opaque;
	struct jsonrpc_message msg;
	char why[200];
	int code = jsonrpc_parse(line, len, &msg, why, sizeof(why));

	if (code) {
		peer_answer(peer, msg.id, jsonrpc_error(msg.id, code, why, NULL));
		/* What is too deep is refused as what is too long is: answered and closed. */
		if (!msg.root && code == RPC_INVALID_REQUEST)
			peer_ended(peer, -EPROTO);
	} else if (msg.kind == JSONRPC_RESPONSE) {
		log_debug("a control client sent an answer to no question");
	} else {
		peer_dispatch(peer, &msg);
	}
	jsonrpc_release(&msg);
}

static int server_add_peer(struct rpc_server *server, int fd)
{
	struct rpc_peer *peer = calloc(1, sizeof(*peer));
	struct line_stream_config config = {
		.max_line = JSONRPC_MAX_LINE,
		.max_backlog = RPC_SERVER_MAX_BACKLOG,
		.line = peer_on_line,
		.ended = peer_ended,
		.opaque = peer,
	};

	if (!peer) {
		close(fd);
		return -ENOMEM;
	}
	peer->server = server;
	peer->stream = line_stream_create(server->loop, fd, &config);
	if (!peer->stream) {
		free(peer);
		return -ENOMEM;
	}
	peer->next = server->peers;
	server->peers = peer;
	server->n_peers++;
	return 0;
}

static bool peer_is_allowed(const struct rpc_server *server, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == server->own_uid || cred.uid == server->config.allowed_uid)
		return true;
	log_guest("a control client of uid %u was turned away", cred.uid);
	return false;
}

static void server_accept_again(void *opaque)
{
	struct rpc_server *server = opaque;

	if (loop_io_set_events(server->listen_io, LOOP_READ) < 0 &&
	    loop_timer_arm(server->accept_again, ACCEPT_PAUSE_NS) < 0)
		log_err("cannot watch the control socket any more: out of memory");
}

static void server_on_listen(void *opaque, int listen_fd, unsigned int events)
{
	struct rpc_server *server = opaque;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
			return;
		/* The client stays in the queue and would wake us without end. */
		log_guest("cannot accept a control client: %m");
		if (loop_io_set_events(server->listen_io, 0) < 0 ||
		    loop_timer_arm(server->accept_again, ACCEPT_PAUSE_NS) < 0)
			server_accept_again(server);
		return;
	}
	if (!peer_is_allowed(server, fd)) {
		close(fd);
	} else if (server->n_peers >= RPC_SERVER_MAX_CLIENTS) {
		log_guest("%u control clients are connected; another was turned away",
			  RPC_SERVER_MAX_CLIENTS);
		close(fd);
	} else if (server_add_peer(server, fd) < 0) {
		log_err("out of memory for a control client");
	}
}

/* A socket file nobody listens on is left over from a process that died. */
static int server_clear_stale(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0; /* bind() will say what is wrong, if anything is */
	fd = unix_socket_connect(path);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN)
		return -EADDRINUSE;
	if (fd == -ECONNREFUSED)
		unlink(path);
	return 0;
}

static int server_bind(const char *path)
{
	int err = server_clear_stale(path);

	return err ? err : unix_socket_listen(path, 16);
}

static int server_listen(struct rpc_server *server)
{
	int flags = fcntl(server->listen_fd, F_GETFL);

	/* A client that gives up before it is accepted must not make us wait for the next. */
	if (flags < 0 || fcntl(server->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	server->listen_io = loop_io_add(server->loop, server->listen_fd, LOOP_READ,
					server_on_listen, server);
	server->accept_again = loop_timer_create(server->loop, server_accept_again, server);
	return server->listen_io && server->accept_again ? 0 : -ENOMEM;
}

int rpc_server_create(struct loop *loop, const struct rpc_server_config *config,
		      struct rpc_server **created)
{
	struct rpc_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server) {
		log_err("cannot serve a control socket: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	json_text_watch();
	server->loop = loop;
	server->config = *config;
	server->own_uid = geteuid();
	server->listen_fd = config->path ? server_bind(config->path) : config->listen_fd;
	if (config->path && server->listen_fd < 0) {
		err = server->listen_fd;
		log_err("cannot listen on %s: %s", config->path, strerror(-err));
		free(server);
		return err;
	}
	if (config->path)
		server->path = strdup(config->path);
	if (server->listen_fd >= 0)
		err = server_listen(server);
	else
		err = server_add_peer(server, config->connected_fd);
	if (err || (config->path && !server->path)) {
		err = err ? err : -ENOMEM;
		log_err("cannot serve a control socket: %s", strerror(-err));
		rpc_server_destroy(server);
		return err;
	}
	*created = server;
	return 0;
}

void rpc_server_destroy(struct rpc_server *server)
{
	while (server->peers)
		peer_destroy(server->peers);
	loop_io_remove(server->listen_io);
	loop_timer_destroy(server->accept_again);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	if (server->path && !server->config.keep_path)
		unlink(server->path);
	free(server->path);
	free(server);
}

void rpc_server_notify(struct rpc_server *server, const char *method, json_t *params)
{
	json_t *message = params ? jsonrpc_notification(method, params) : NULL;
	size_t len;
	char *line = message ? jsonrpc_encode(message, &len) : NULL;

	if (!line)
		log_err("out of memory for the notification %s", method);
	for (struct rpc_peer *peer = server->peers; peer; peer = peer->next) {
		if (line)
			line_stream_send(peer->stream, line, len);
		else if (server->listen_fd >= 0)
			line_stream_abandon(peer->stream, -ENOMEM);
	}
	free(line);
	json_decref(message);
}

static bool call_answer(struct rpc_call *call, json_t *message)
{
	bool done = true;

	if (call->peer && call->id)
		done = peer_answer(call->peer, call->id, message);
	else
		json_decref(message);
	call_free(call);
	return done;
}

bool rpc_reply(struct rpc_call *call, json_t *result)
{
	if (json_text_refusals() != call->refusals) {
		json_decref(result);
		result = NULL;
	}
	return call_answer(call, jsonrpc_result(call->id, result));
}

void rpc_fail(struct rpc_call *call, int code, const char *field, const char *fmt, ...)
{
	const char *state = NULL;
	json_t *data = NULL;
	char message[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (code == RPC_WRONG_STATE && call->peer)
		server_state(call->peer->server, &state);
	if (field)
		data = json_pack("{s:s}", "field", field);
	else if (state)
		data = json_pack("{s:s}", "state", state);
	call_answer(call, jsonrpc_error(call->id, code, message, data));
}
