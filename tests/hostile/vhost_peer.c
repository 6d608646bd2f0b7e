/*
 * The hostile peer itself. It ends with status 0 when all is sent, 1 when the back end went away or
 * stands still; that none of it harmed anybody else is for who watches the back end to say.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/hostile/peer.h"

static const char help[] =
	"usage: vhost_peer --socket PATH [OPTION...]\n"
	"  --socket PATH   where the vhost-user back end listens\n"
	"  --seed N        of all that is by chance; the same does the same again (default: the time)\n"
	"  --messages N    how many to send, at least (default 10000)\n"
	"  --connects N    instead: connect and hang up so many times, with anything half said\n"
	"  --unsealed      the back end takes memory that can be cut off: then it is, too\n"
	"  --attempts N    of connecting, 100 ms apart, before the back end counts as gone (default 50)\n"
	"Prints the table of requests by session states, then one line of JSON.\n";

struct options {
	const char *socket;
	uint64_t seed, messages, connects;
	unsigned int attempts;
	bool unsealed;
};

static const char *const state_names[STATES] = { "nothing", "features", "memory", "stopped",
	"running", "broken", "partial", "after" };

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("vhost_peer: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, " (after %llu messages in %llu sessions)\n",
		(unsigned long long)tally.messages, (unsigned long long)tally.sessions);
	va_end(args);
	exit(1);
}

/* False: the session is over. */
static bool goes_on(struct session *s, int err)
{
	if (err == -ETIMEDOUT || (err == -EAGAIN && !s->deaf))
		give_up("the back end stands still");
	if (err == -EPIPE)
		tally.hangups++;
	else if (err && err != -EAGAIN && err != -ETOOMANYREFS)
		give_up("%s", strerror(-err));
	return !err;
}

static void count_hit(enum state state, uint32_t request)
{
	tally.hit[request][state]++;
}

/* Sends a message, in two parts if asked. False: the session is over. */
static bool send_rude(struct session *s, enum state state, uint32_t request)
{
	uint32_t len, first;
	struct rude_msg m;
	int err;

	rude_make(s, &m, request, chance_below(&s->chance, 3) > 0);
	len = first = m.len;
	if (state == STATE_PARTIAL)
		first = 1 + chance_below(&s->chance, len - 1);
	err = wire_send(s->fd, m.bytes, first, m.fds, m.fd_count, s->deaf ? 0 : WIRE_WAIT_MS);
	if (!goes_on(s, err))
		return false;
	tally.messages++;
	tally.valid += m.valid;
	/* Only what has been read counts, as often as is needed to know. */
	if (!s->deaf && (tally.hit[request][state] < 3 || chance_below(&s->chance, 8) == 0))
		err = wire_consumed(s->fd);
	if (err == -ETIMEDOUT)
		return goes_on(s, err);
	count_hit(state, request);
	if (first < len) {
		if (chance_below(&s->chance, 2))
			return false; /* closed in the middle */
		err = wire_send(s->fd, m.bytes + first, len - first, m.fds,
				chance_below(&s->chance, 4) ? 0 : m.fd_count, WIRE_WAIT_MS);
		if (!goes_on(s, err))
			return false;
	}
	if (!s->deaf && !wire_drain(s->fd)) {
		tally.hangups++;
		return false;
	}
	return true;
}

static const enum state bases[STATES] = {
	STATE_NOTHING, STATE_FEATURES, STATE_MEMORY, STATE_STOPPED,
	STATE_RUNNING, STATE_RUNNING, STATE_NOTHING, STATE_RUNNING,
};

/* Asks without ever listening, until nothing more goes out. */
static void be_deaf(struct session *s)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_MSG_GET_FEATURES);
	for (unsigned int i = 0; i < 20000; i++) {
		if (wire_send(s->fd, &msg, VHOST_MSG_HEADER, NULL, 0, 0))
			return;
		tally.messages++;
		tally.valid++;
	}
}

static void one_session(const struct options *o, uint64_t seed, enum state state, uint32_t request)
{
	enum state base = bases[state];
	struct session s;
	unsigned int left;
	int err = -ECONNREFUSED;

	for (unsigned int i = 0; err && i < o->attempts; i++) {
		if (i)
			usleep(100000);
		err = session_open(&s, o->socket, seed, o->unsealed);
		if (err)
			session_close(&s);
	}
	if (err)
		give_up("the back end is gone: %s", strerror(-err));
	if (state == STATE_PARTIAL)
		base = (enum state)chance_below(&s.chance, STATE_RUNNING + 1);
	left = 1 + chance_below(&s.chance, 8);
	err = session_advance(&s, base);
	if (err == -EPIPE)
		give_up("the back end hangs up on an honest beginning");
	if (!goes_on(&s, err))
		goto out;
	if (s.deaf && chance_below(&s.chance, 4) == 0)
		be_deaf(&s);
	while (left--) {
		if (base == STATE_RUNNING && chance_below(&s.chance, 2))
			attack(&s, false);
		if (state == STATE_BROKEN)
			attack(&s, true);
		if (!send_rude(&s, state, request))
			break;
		state = STATE_AFTER;
		request = 1 + chance_below(&s.chance, REQUEST_MAX - 1);
		if (!request_name(request))
			request = VHOST_MSG_GET_FEATURES;
	}
	if (chance_below(&s.chance, 4) == 0)
		shutdown(s.fd, SHUT_WR);
out:
	session_close(&s);
}

/* The next pair nobody has tried; false: all have been. */
static bool missing(enum state *state, uint32_t *request)
{
	for (uint32_t r = 1; r < REQUEST_MAX; r++)
		for (unsigned int c = 0; c < STATE_AFTER; c++)
			if (request_name(r) && !tally.hit[r][c]) {
				*state = (enum state)c;
				*request = r;
				return true;
			}
	return false;
}

static void progress(const struct options *o)
{
	static uint64_t next;
	uint64_t now = clock_now_ms();

	if (now < next)
		return;
	if (next)
		fprintf(stderr, "%llu of %llu messages\n", (unsigned long long)tally.messages,
			(unsigned long long)o->messages);
	next = now + 10000;
}

static void send_messages(const struct options *o)
{
	struct chance chance = { o->seed };

	while (tally.messages < o->messages) {
		enum state state = (enum state)chance_below(&chance, STATES);
		uint32_t request = 1 + chance_below(&chance, REQUEST_MAX - 1);

		if (!request_name(request) || chance_below(&chance, 2))
			missing(&state, &request);
		if (!request_name(request))
			request = VHOST_MSG_GET_FEATURES;
		one_session(o, chance_u64(&chance), state, request);
		progress(o);
	}
}

/* A connection that says nothing, half a message, or one and a half with descriptors. */
static void connect_once(const struct options *o, uint64_t seed)
{
	struct chance chance = { seed };
	struct rude_msg m;
	struct session s = { .chance = chance, .memfd = -1 };
	unsigned int kind;
	int err;

	kind = chance_below(&s.chance, 4);
	for (unsigned int i = 0; i < o->attempts; i++) {
		s.fd = wire_connect(o->socket);
		if (s.fd >= 0)
			break;
		usleep(100000);
	}
	if (s.fd < 0)
		give_up("the back end is gone: %s", strerror(-s.fd));
	tally.sessions++;
	if (kind) {
		rude_make(&s, &m, VHOST_MSG_SET_FEATURES, true);
		m.fds[0] = s.fd;
		err = wire_send(s.fd, m.bytes, kind == 1 ? 5 : m.len, m.fds, kind == 3, 0);
		tally.messages += err == 0;
	}
	close(s.fd);
}

static unsigned int print_table(void)
{
	unsigned int missed = 0;

	printf("%-24s", "request");
	for (unsigned int c = 0; c < STATES; c++)
		printf("%9s", state_names[c]);
	puts("");
	for (uint32_t r = 1; r < REQUEST_MAX; r++) {
		if (!request_name(r))
			continue;
		printf("%-24s", request_name(r));
		for (unsigned int c = 0; c < STATES; c++) {
			missed += c < STATE_AFTER && !tally.hit[r][c];
			printf("%9llu", (unsigned long long)tally.hit[r][c]);
		}
		puts("");
	}
	return missed;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "messages", required_argument, NULL, 'm' },
		{ "connects", required_argument, NULL, 'c' },
		{ "attempts", required_argument, NULL, 'a' },
		{ "unsealed", no_argument, NULL, 'u' },
		{ "help", no_argument, NULL, 'h' },
		{},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) >= 0) {
		switch (c) {
		case 's':
			o->socket = optarg;
			break;
		case 'r':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			o->messages = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			o->connects = strtoull(optarg, NULL, 0);
			break;
		case 'a':
			o->attempts = (unsigned int)strtoul(optarg, NULL, 0);
			break;
		case 'u':
			o->unsealed = true;
			break;
		default:
			fputs(help, c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (!o->socket) {
		fputs(help, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options o = { .seed = clock_now_ns(), .messages = 10000, .attempts = 50 };
	uint64_t start = clock_now_ms();
	unsigned int missed = 0;

	parse(argc, argv, &o);
	signal(SIGPIPE, SIG_IGN);
	fprintf(stderr, "seed %llu\n", (unsigned long long)o.seed);
	kinds_open();
	if (o.connects) {
		for (uint64_t i = 0; i < o.connects; i++)
			connect_once(&o, o.seed + i);
	} else {
		send_messages(&o);
		missed = print_table();
	}
	printf("{\"seed\": %llu, \"messages\": %llu, \"valid\": %llu, \"sessions\": %llu, "
	       "\"hangups\": %llu, \"attacks\": %llu, \"missed\": %u, \"ms\": %llu}\n",
	       (unsigned long long)o.seed, (unsigned long long)tally.messages,
	       (unsigned long long)tally.valid, (unsigned long long)tally.sessions,
	       (unsigned long long)tally.hangups, (unsigned long long)tally.attacks, missed,
	       (unsigned long long)(clock_now_ms() - start));
	return 0;
}
