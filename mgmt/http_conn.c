#include "mgmt/http_conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json_text.h"
#include "core/log.h"
#include "core/ratelimit.h"
#include "mgmt/problem.h"

/* Out of descriptors or memory: what is there has to end first. */
#define BREATH_NS (100ULL * 1000000)
#define BREATH_ROOM 8u

static struct ratelimit log_limit = RATELIMIT_INIT(10000, 3);

/* Past libmicrohttpd, on a connection it has nothing to send on. As much as the socket takes. */
static void tell(int fd, int status, const char *detail)
{
	struct problem problem;
	char head[256], *body;
	json_t *json;
	int len;

	problem_set(&problem, status, NULL, "%s", detail);
	json = problem_json(&problem);
	body = json ? json_text_dump(json, JSON_INDENT(2), NULL) : NULL;
	json_decref(json);
	if (!body)
		return;
	len = snprintf(head, sizeof(head),
		       "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\n"
		       "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		       status, problem_title(status), strlen(body));
	if (send(fd, head, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE) != len ||
	    send(fd, body, strlen(body), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("HTTP: a client does not hear why it is refused: %m");
	free(body);
}

__attribute__((format(printf, 1, 2))) static void warn(const char *fmt, ...)
{
	char text[160], more[40] = "";
	uint32_t suppressed;
	va_list ap;

	if (!ratelimit_pass(&log_limit, &suppressed))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (suppressed)
		snprintf(more, sizeof(more), " (and %u more like it)", suppressed);
	log_warn("%s%s", text, more);
}

static struct http_conn_list *list_of(struct http_conn *conn)
{
	return conn->state < CONN_LISTED ? &conn->conns->lists[conn->state] : NULL;
}

static void patience_arm(struct http_conns *conns)
{
	uint64_t now = clock_now_ms(), due = UINT64_MAX;

	for (unsigned int state = 0; state < CONN_LISTED; state++) {
		const struct http_conn *first = TAILQ_FIRST(&conns->lists[state]);

		if (first)
			due = MIN(due, first->since_ms + conns->patience_ms);
	}
	if (due == UINT64_MAX)
		loop_timer_disarm(conns->patience);
	else if (loop_timer_arm(conns->patience, (due > now ? due - now : 0) * 1000000) < 0)
		log_err("slow clients are not ended: out of memory");
}

static void conn_enter(struct http_conn *conn, enum http_conn_state state)
{
	struct http_conns *conns = conn->conns;
	struct http_conn_list *list;

	conn->state = state;
	conn->since_ms = clock_now_ms();
	list = list_of(conn);
	if (!list)
		return;
	conn->peer->listed++;
	TAILQ_INSERT_TAIL(list, conn, link);
	/* Otherwise the timer runs, and comes early at worst. */
	if (conn == TAILQ_FIRST(list))
		patience_arm(conns);
}

static void conn_leave(struct http_conn *conn)
{
	struct http_conn_list *list = list_of(conn);

	if (!list)
		return;
	TAILQ_REMOVE(list, conn, link);
	conn->peer->listed--;
}

void http_conn_set_state(struct http_conn *conn, enum http_conn_state state)
{
	if (conn->state == CONN_CLOSING)
		return;
	conn_leave(conn);
	conn_enter(conn, state);
}

static void conn_drop_held(struct http_conn *conn)
{
	conn->conns->held -= conn->held;
	conn->peer->held -= conn->held;
	conn->held = 0;
}

bool http_conn_has_gone(const struct http_conn *conn)
{
	struct pollfd pfd = { .fd = conn->fd };

	return poll(&pfd, 1, 0) > 0;
}

void http_conn_close(struct http_conn *conn)
{
	if (conn->state == CONN_CLOSING)
		return;
	if (conn->queued)
		conn->conns->owner->leave_queue(conn->queued);
	http_conn_set_state(conn, CONN_CLOSING);
	conn_drop_held(conn);
	conn->conns->n--;
	shutdown(conn->fd, SHUT_RDWR);
	conn->conns->owner->kick(conn->conns->opaque);
}

static void conn_end(struct http_conn *conn, enum http_conn_end why)
{
	struct http_conns *conns = conn->conns;
	char detail[160];
	int status = 503;

	if (why == CONN_TIMED_OUT) {
		conns->stats->timed_out++;
		status = conn->queued ? 503 : 408;
		snprintf(detail, sizeof(detail), "%s within %u s",
			 conn->queued ? "too many requests came before this one for it to be served" :
					"no whole request came",
			 conns->patience_ms / 1000);
	} else {
		conns->stats->crowded_out++;
		snprintf(detail, sizeof(detail),
			 "there are too many clients, and this one took longest; at most %u "
			 "connections, and %u MiB of bodies and answers, are kept; try again",
			 HTTP_MAX_CONNECTIONS, HTTP_MAX_HELD >> 20);
		warn("the API is crowded: the slowest of its clients are ended");
	}
	if (conn->state != CONN_SENDING && (conn->begun || why == CONN_CROWDED_OUT))
		tell(conn->fd, status, detail);
	http_conn_close(conn);
}

/* The one of a process that is longest in its state, but not this one. NULL: there is none. */
static struct http_conn *oldest_of(struct http_conns *conns, const struct http_peer *peer,
				   bool holding, const struct http_conn *but)
{
	struct http_conn *conn, *oldest = NULL;

	for (unsigned int state = 0; state < CONN_LISTED; state++) {
		TAILQ_FOREACH(conn, &conns->lists[state], link) {
			if (conn->peer == peer && conn != but && (conn->held || !holding))
				break;
		}
		if (conn && (!oldest || conn->since_ms < oldest->since_ms))
			oldest = conn;
	}
	return oldest;
}

/* False: there is none that could be ended. */
static bool crowd_out(struct http_conns *conns)
{
	struct http_peer *peer, *most = LIST_FIRST(&conns->peers);

	LIST_FOREACH(peer, &conns->peers, link) {
		if (peer->listed > most->listed)
			most = peer;
	}
	if (!most || !most->listed)
		return false;
	conn_end(oldest_of(conns, most, false, NULL), CONN_CROWDED_OUT);
	return true;
}

static bool take_memory(struct http_conns *conns, const struct http_conn *but)
{
	struct http_peer *peer, *most = but->peer;
	struct http_conn *victim;

	LIST_FOREACH(peer, &conns->peers, link) {
		if (peer->held > most->held)
			most = peer;
	}
	victim = oldest_of(conns, most, true, but);
	if (victim)
		conn_end(victim, CONN_CROWDED_OUT);
	return victim;
}

void http_conn_hold(struct http_conn *conn, size_t bytes)
{
	struct http_conns *conns = conn->conns;

	conn_drop_held(conn);
	if (conn->state == CONN_CLOSING)
		return;
	conn->held = bytes;
	conns->held += bytes;
	conn->peer->held += bytes;
	while (conns->held > HTTP_MAX_HELD && take_memory(conns, conn))
		;
}

static void on_patience(void *opaque)
{
	struct http_conns *conns = opaque;
	uint64_t now = clock_now_ms();
	struct http_conn *conn;

	for (unsigned int state = 0; state < CONN_LISTED; state++) {
		while ((conn = TAILQ_FIRST(&conns->lists[state])) &&
		       now - conn->since_ms >= conns->patience_ms)
			conn_end(conn, CONN_TIMED_OUT);
	}
	patience_arm(conns);
}

/* Besides the socket's mode, which somebody may have changed. */
static bool client_is_allowed(struct http_conns *conns, int fd, pid_t *pid)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);
	char detail[120];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == 0) {
		*pid = peer.pid;
		return true;
	}
	conns->stats->forbidden++;
	snprintf(detail, sizeof(detail), "user %d may not use the API of this host; only root may",
		 (int)peer.uid);
	warn("refused a client of the API: user %d, process %d; allowed: root", (int)peer.uid,
	     (int)peer.pid);
	tell(fd, 403, detail);
	return false;
}

static struct http_peer *peer_get(struct http_conns *conns, pid_t pid)
{
	struct http_peer *peer;

	LIST_FOREACH(peer, &conns->peers, link) {
		if (peer->pid == pid)
			break;
	}
	if (!peer) {
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return NULL;
		peer->pid = pid;
		LIST_INSERT_HEAD(&conns->peers, peer, link);
	}
	peer->n++;
	return peer;
}

static void peer_put(struct http_peer *peer)
{
	if (--peer->n)
		return;
	LIST_REMOVE(peer, link);
	free(peer);
}

static struct http_conn *conn_create(struct http_conns *conns, int fd, pid_t pid)
{
	struct http_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	*conn = (struct http_conn){ .conns = conns, .fd = fd, .peer = peer_get(conns, pid) };
	if (conn->peer)
		return conn;
	free(conn);
	return NULL;
}

static void conn_destroy(struct http_conn *conn)
{
	peer_put(conn->peer);
	free(conn);
}

static void client_admit(struct http_conns *conns, int fd)
{
	const struct sockaddr addr = { .sa_family = AF_UNIX };
	pid_t pid;

	if (!client_is_allowed(conns, fd, &pid)) {
		close(fd);
		return;
	}
	if (conns->n >= HTTP_MAX_CONNECTIONS && !crowd_out(conns)) {
		tell(fd, 503, "all connections are busy; try again");
		close(fd);
		return;
	}
	conns->incoming = conn_create(conns, fd, pid);
	if (!conns->incoming) {
		close(fd);
		return;
	}
	/* Closes fd when it cannot. */
	if (MHD_add_connection(conns->daemon, fd, &addr, sizeof(addr.sa_family)) != MHD_YES)
		log_debug("HTTP: a connection was not taken: %m");
	if (conns->incoming)
		conn_destroy(conns->incoming);
	conns->incoming = NULL;
}

static void pause_listening(struct http_conns *conns)
{
	warn("no more clients of the API can be taken for now: %m");
	for (unsigned int i = 0; i < BREATH_ROOM && crowd_out(conns); i++)
		;
	if (loop_timer_arm(conns->breath, BREATH_NS) == 0 &&
	    loop_io_set_events(conns->listen, 0) < 0)
		log_err("the API's socket is listened at nevertheless: out of memory");
}

static void on_breath(void *opaque)
{
	struct http_conns *conns = opaque;

	if (loop_io_set_events(conns->listen, LOOP_READ) < 0 &&
	    loop_timer_arm(conns->breath, BREATH_NS) < 0)
		log_err("no more clients of the API are taken: out of memory");
}

static void on_clients(void *opaque, int fd, unsigned int events)
{
	struct http_conns *conns = opaque;
	int client = -1;

	for (unsigned int i = 0; i < HTTP_ACCEPT_BATCH; i++) {
		client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client < 0)
			break;
		client_admit(conns, client);
	}
	if (client < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		pause_listening(conns);
	/* Now, so that those crowded out are gone before more come. */
	conns->owner->serve(conns->opaque);
}

void http_conn_notify(void *opaque, struct MHD_Connection *conn, void **slot,
		      enum MHD_ConnectionNotificationCode code)
{
	struct http_conns *conns = opaque;
	struct http_conn *ours = *slot;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*slot = conns->incoming;
		conns->incoming = NULL;
		conns->n++;
		conns->stats->accepted++;
		conn_enter(*slot, CONN_RECEIVING);
		return;
	}
	if (ours->state != CONN_CLOSING)
		conns->n--;
	conn_leave(ours);
	conn_drop_held(ours);
	conn_destroy(ours);
	*slot = NULL;
}

struct http_conn *http_conn_of(struct MHD_Connection *conn)
{
	return MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void http_conns_init(struct http_conns *conns)
{
	for (unsigned int state = 0; state < CONN_LISTED; state++)
		TAILQ_INIT(&conns->lists[state]);
}

int http_conns_open(struct http_conns *conns, struct MHD_Daemon *daemon)
{
	conns->daemon = daemon;
	conns->patience = loop_timer_create(conns->loop, on_patience, conns);
	conns->breath = loop_timer_create(conns->loop, on_breath, conns);
	if (!conns->patience || !conns->breath)
		return -ENOMEM;
	conns->listen = loop_io_add(conns->loop, conns->listen_fd, LOOP_READ, on_clients, conns);
	return conns->listen ? 0 : -ENOMEM;
}

void http_conns_fini(struct http_conns *conns)
{
	loop_io_remove(conns->listen);
	loop_timer_destroy(conns->patience);
	loop_timer_destroy(conns->breath);
	close(conns->listen_fd);
}
