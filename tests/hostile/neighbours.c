/*
 * Honest guests beside a hostile one: each argument is the socket of a vhost-user port, and each two of
 * them send one another numbered frames, at most WINDOW on their way. Every frame is told from every
 * other and looked at byte by byte.
 *
 * usage: neighbours PID SOCKET SOCKET [SOCKET SOCKET]...
 * PID is the switch's: the time its threads or we waited for a CPU is told from the rest.
 * Prints "ready" once frames pass everywhere; ends when its standard input does, after the last
 * frame has arrived or SETTLE_MS, with one line of JSON: what was sent, what arrived, what is lost, what came
 * twice or changed, and in microseconds how long the switch took to answer GET_FEATURES beside, with and without that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/hostile/wire.h"
#include "vhost-user/vring_driver.h"

#define RING_SIZE 1024u
#define RING_BYTES 0x8000u
#define BUFFER 2048u
#define BUFFERS_AT (2 * RING_BYTES)
#define MEMORY (BUFFERS_AT + (2 * RING_SIZE + 2) * BUFFER)
#define GPA 0x100000000ull
#define WINDOW 32u
#define SETTLE_MS 20000u
#define ASK_EVERY_NS 20000000ull /* one port after the other */
#define CALL_OUT_MS 5u		 /* a frame to all, so that one goes to the hostile guest too */
#define HEADER sizeof(struct virtio_net_hdr_v1)
#define SAMPLES 100000u
#define MAX_THREADS 64u

/* Nanoseconds that a thread was ready to run and did not: the switch's main one, ours, and others. */
struct cpu_waits {
	uint64_t ns[MAX_THREADS];
};

struct neighbour {
	int fd;
	uint8_t *memory;
	struct vring_driver rings[2]; /* 0: it receives, 1: it sends */
	int kick[2], call[2];
	uint64_t sent, arrived, expected, lost, wrong, strange;
	uint64_t asked; /* ns; 0: no question is open */
	struct cpu_waits waits; /* then */
};

static struct neighbour *all;
static unsigned int count;
static uint32_t samples[SAMPLES], own_samples[SAMPLES];
static unsigned int sample_count;
static int schedstats[MAX_THREADS];
static unsigned int thread_count;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("neighbours: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void cpu_waits_read(struct cpu_waits *waits)
{
	unsigned long long ran, waited;
	char text[128];

	for (unsigned int i = 0; i < thread_count; i++) {
		ssize_t n = pread(schedstats[i], text, sizeof(text) - 1, 0);

		text[MAX(n, 0)] = '\0';
		if (sscanf(text, "%llu %llu", &ran, &waited) == 2)
			waits->ns[i] = waited;
	}
}

/*
 * How long an answer had to wait for a CPU at least: we wait for the main thread, and that for one
 * other at a time.
 */
static uint64_t cpu_waited(const struct cpu_waits *before)
{
	struct cpu_waits now = *before;
	uint64_t in_turn = 0, most = 0;

	cpu_waits_read(&now);
	for (unsigned int i = 0; i < thread_count; i++) {
		uint64_t grown = now.ns[i] - before->ns[i];

		if (i < 2)
			in_turn += grown;
		else
			most = MAX(most, grown);
	}
	return in_turn + most;
}

static void watch_thread(const char *process, const char *thread)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.16s/task/%.16s/schedstat", process, thread);
	if (thread_count == MAX_THREADS)
		return;
	schedstats[thread_count] = open(path, O_RDONLY | O_CLOEXEC);
	thread_count += schedstats[thread_count] >= 0;
}

static void watch_others(const char *pid)
{
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%.16s/task", pid);
	tasks = opendir(path);
	if (!tasks)
		die("no process %s", pid);
	while ((entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, pid) != 0)
			watch_thread(pid, entry->d_name);
	closedir(tasks);
}

static void address(uint8_t mac[6], unsigned int index)
{
	const uint8_t bytes[6] = { 2, 0, 0, 1, (uint8_t)(index >> 8), (uint8_t)index };

	memcpy(mac, bytes, 6);
}

/* Everything in it follows from who sends which number. Returns its bytes, header included. */
static uint32_t frame_make(uint8_t *at, unsigned int from, uint64_t number)
{
	uint32_t len = 60 + (uint32_t)(number * 37 % 1455);
	uint8_t *frame = at + HEADER;

	memset(at, 0, HEADER);
	address(frame, from ^ 1);
	address(frame + 6, from);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	memset(frame + 14, (int)(number + from), len - 14);
	put_le64(frame + 14, number);
	return (uint32_t)HEADER + len;
}

static uint8_t *buffer(struct neighbour *n, unsigned int ring, unsigned int i)
{
	return n->memory + BUFFERS_AT + (ring * RING_SIZE + i) * BUFFER;
}

static void offer(struct neighbour *n, unsigned int ring, uint8_t *at, uint32_t len)
{
	struct vring_buf buf = { GPA + (uint64_t)(at - n->memory), len };

	if (vring_driver_add(&n->rings[ring], &buf, ring == 1, ring == 0, at) < 0)
		die("a ring has no room left");
}

static void publish(struct neighbour *n, unsigned int ring)
{
	uint64_t one = 1;

	vring_driver_publish(&n->rings[ring]);
	if (vring_driver_should_kick(&n->rings[ring]) &&
	    write(n->kick[ring], &one, sizeof(one)) < 0 && errno != EAGAIN)
		die("a kick failed: %m");
}

static void set_ring(struct neighbour *n, unsigned int index)
{
	struct vring_driver *vd = &n->rings[index];
	struct vhost_msg msg;

	n->kick[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	n->call[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_NUM);
	msg.size = sizeof(msg.state);
	msg.state = (struct vhost_msg_vring_state){ index, RING_SIZE };
	if (wire_send_msg(n->fd, &msg))
		die("a ring's size was not taken");
	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_ADDR);
	msg.size = sizeof(msg.addr);
	msg.addr = (struct vhost_msg_vring_addr){ .index = index, .desc = vd->addrs.desc,
		.avail = vd->addrs.avail, .used = vd->addrs.used };
	if (wire_send_msg(n->fd, &msg))
		die("a ring's place was not taken");
	for (int call = 0; call < 2; call++) {
		vhost_msg_init(&msg, call ? VHOST_MSG_SET_VRING_CALL : VHOST_MSG_SET_VRING_KICK);
		msg.size = sizeof(msg.u64);
		msg.u64 = index;
		msg.fds[0] = call ? n->call[index] : n->kick[index];
		msg.fd_count = 1;
		if (wire_send_msg(n->fd, &msg))
			die("a ring's eventfds were not taken");
	}
	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_ENABLE);
	msg.size = sizeof(msg.state);
	msg.state = (struct vhost_msg_vring_state){ index, 1 };
	if (wire_send_msg(n->fd, &msg))
		die("a ring was not enabled");
}

static void show_memory(struct neighbour *n)
{
	struct vhost_msg msg;
	int fd = wire_memory(MEMORY, F_SEAL_SHRINK | F_SEAL_GROW);

	if (fd < 0)
		die("no memory: %s", strerror(-fd));
	n->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (n->memory == MAP_FAILED)
		die("no memory: %m");
	vhost_msg_init(&msg, VHOST_MSG_SET_MEM_TABLE);
	msg.size = 8 + sizeof(msg.memory.regions[0]);
	msg.memory.count = 1;
	msg.memory.regions[0] = (struct vhost_msg_region){ GPA, MEMORY, GPA, 0 };
	msg.fds[0] = fd;
	msg.fd_count = 1;
	if (wire_send_msg(n->fd, &msg))
		die("the memory was not taken");
	close(fd);
}

static void start(struct neighbour *n, const char *path)
{
	const uint64_t features = 1ull << VIRTIO_F_VERSION_1 | 1ull << VHOST_F_PROTOCOL_FEATURES;
	struct vhost_msg msg;
	uint64_t offered;

	n->fd = wire_connect(path);
	if (n->fd < 0)
		die("%s: %s", path, strerror(-n->fd));
	vhost_msg_init(&msg, VHOST_MSG_SET_FEATURES);
	msg.size = sizeof(msg.u64);
	msg.u64 = features;
	if (wire_send_msg(n->fd, &msg))
		die("%s: the features were not taken", path);
	show_memory(n);
	for (unsigned int i = 0; i < 2; i++)
		if (vring_driver_init(&n->rings[i], RING_SIZE, n->memory + i * RING_BYTES,
				      GPA + i * RING_BYTES, features) < 0)
			die("no memory for rings");
	for (unsigned int i = 0; i < RING_SIZE; i++)
		offer(n, 0, buffer(n, 0, i), BUFFER);
	set_ring(n, 0);
	set_ring(n, 1);
	publish(n, 0);
	if (wire_ask_u64(n->fd, VHOST_MSG_GET_FEATURES, &offered))
		die("%s: hung up", path);
}

/* Frames of others are none of our business: somebody floods. */
static void judge(struct neighbour *n, unsigned int index, const uint8_t *at, uint32_t len)
{
	uint8_t want[BUFFER], mac[6];
	uint64_t number;

	address(mac, index ^ 1);
	if (len < HEADER + 22 || memcmp(at + HEADER + 6, mac, 6) != 0) {
		n->strange++;
		return;
	}
	number = get_le64(at + HEADER + 14);
	if (len != frame_make(want, index ^ 1, number) ||
	    memcmp(at + HEADER, want + HEADER, len - HEADER) != 0 || number < n->expected) {
		n->wrong++;
		return;
	}
	n->lost += number - n->expected;
	n->expected = number + 1;
	n->arrived++;
}

static void receive(struct neighbour *n, unsigned int index)
{
	uint32_t len;
	void *at;

	while (vring_driver_get_used(&n->rings[0], &at, &len)) {
		judge(n, index, at, MIN(len, BUFFER));
		offer(n, 0, at, BUFFER);
	}
	publish(n, 0);
	if (n->rings[0].fault || n->rings[1].fault)
		die("port %u: the switch broke a ring: %s", index,
		    vhost_fault_name(n->rings[0].fault | n->rings[1].fault));
}

static void send_frames(struct neighbour *n, unsigned int index, unsigned int most)
{
	const struct neighbour *to = &all[index ^ 1];
	uint32_t len;
	void *at;

	while (vring_driver_get_used(&n->rings[1], &at, &len))
		;
	while (most-- && n->sent - to->expected < WINDOW && n->rings[1].free_count) {
		at = buffer(n, 1, (unsigned int)(n->sent % RING_SIZE));
		offer(n, 1, at, frame_make(at, index, n->sent));
		n->sent++;
	}
	publish(n, 1);
}

/* A frame without a number, to everybody. */
static void call_out(void)
{
	static const uint8_t frame[60] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 3, 0, 0, 0x88,
		0xb6 };
	static uint64_t next;
	static unsigned int turn;
	struct neighbour *n = &all[turn % count];
	uint64_t now = clock_now_ms();
	uint8_t *at = n->memory + MEMORY - BUFFER; /* what no ring has */

	if (now < next || !n->rings[1].free_count)
		return;
	next = now + CALL_OUT_MS;
	turn++;
	memset(at, 0, HEADER);
	memcpy(at + HEADER, frame, sizeof(frame));
	offer(n, 1, at, HEADER + sizeof(frame));
	publish(n, 1);
}

static void take_answer(struct neighbour *n)
{
	struct pollfd p = { .fd = n->fd, .events = POLLIN };
	struct vhost_msg msg;

	if (poll(&p, 1, 0) == 0)
		return;
	if (wire_receive(n->fd, &msg))
		die("the switch hung up on an honest neighbour");
	if (sample_count < SAMPLES) {
		uint64_t took = clock_now_ns() - n->asked, waited = cpu_waited(&n->waits);

		samples[sample_count] = (uint32_t)(took / 1000);
		own_samples[sample_count++] = (uint32_t)((took - MIN(took, waited)) / 1000);
	}
	n->asked = 0;
}

static void ask(void)
{
	static unsigned int turn;
	static uint64_t next;
	struct neighbour *n = &all[turn % count];
	struct vhost_msg msg;
	uint64_t now = clock_now_ns();

	for (unsigned int i = 0; i < count; i++)
		if (all[i].asked)
			take_answer(&all[i]);
	if (now < next || n->asked)
		return;
	turn++;
	next = now + ASK_EVERY_NS;
	n->asked = now;
	cpu_waits_read(&n->waits);
	vhost_msg_init(&msg, VHOST_MSG_GET_FEATURES);
	if (wire_send_msg(n->fd, &msg))
		die("the switch hung up on an honest neighbour");
}

static int order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void report_times(const char *name, uint32_t *times)
{
	static const struct {
		const char *name;
		unsigned int per_mille;
	} percentiles[] = { { "p50", 500 }, { "p99", 990 }, { "p999", 999 }, { "max", 1000 } };

	qsort(times, sample_count, sizeof(times[0]), order);
	printf(", \"%s\": {", name);
	for (unsigned int i = 0; i < ARRAY_SIZE(percentiles); i++) {
		uint64_t at = (uint64_t)(MAX(sample_count, 1u) - 1) * percentiles[i].per_mille / 1000;

		printf("%s\"%s\": %u", i ? ", " : "", percentiles[i].name, times[at]);
	}
	printf("}");
}

static void report(void)
{
	struct neighbour sum = {0};

	for (unsigned int i = 0; i < count; i++) {
		sum.sent += all[i].sent;
		sum.arrived += all[i].arrived;
		sum.lost += all[i].lost + (all[i].sent - all[i ^ 1].expected);
		sum.wrong += all[i].wrong;
		sum.strange += all[i].strange;
	}
	printf("{\"sent\": %llu, \"arrived\": %llu, \"lost\": %llu, \"wrong\": %llu, "
	       "\"strange\": %llu, \"answers\": %u",
	       (unsigned long long)sum.sent, (unsigned long long)sum.arrived,
	       (unsigned long long)sum.lost, (unsigned long long)sum.wrong,
	       (unsigned long long)sum.strange, sample_count);
	report_times("answer_us", samples);
	report_times("answer_own_us", own_samples);
	puts("}");
}

static bool all_arrived(uint64_t at_least)
{
	for (unsigned int i = 0; i < count; i++)
		if (all[i].arrived < at_least || all[i].sent != all[i ^ 1].expected)
			return false;
	return true;
}

/* Until standard input ends, or (settle) until nothing is on its way. */
static void run(uint64_t frames, bool settle)
{
	uint64_t end = clock_now_ms() + SETTLE_MS;

	for (;;) {
		struct pollfd p = { .fd = settle ? -1 : STDIN_FILENO, .events = POLLIN };

		for (unsigned int i = 0; i < count; i++)
			if (!settle || all[i].sent < frames)
				send_frames(&all[i], i, settle ? (unsigned int)frames : 1);
		if (poll(&p, 1, 1) == 1)
			return;
		for (unsigned int i = 0; i < count; i++)
			receive(&all[i], i);
		ask();
		if (!settle)
			call_out();
		if (settle && (all_arrived(frames) || clock_now_ms() > end))
			return;
	}
}

int main(int argc, char **argv)
{
	char self[16];

	count = (unsigned int)argc - 2;
	if (argc < 4 || count % 2) {
		fputs("usage: neighbours PID SOCKET SOCKET [SOCKET SOCKET]...\n", stderr);
		return 2;
	}
	snprintf(self, sizeof(self), "%d", getpid());
	watch_thread(argv[1], argv[1]);
	watch_thread(self, self);
	watch_others(argv[1]);
	all = calloc(count, sizeof(*all));
	if (!all)
		die("no memory");
	for (unsigned int i = 0; i < count; i++)
		start(&all[i], argv[i + 2]);
	run(4, true); /* so that every address is known */
	if (!all_arrived(4))
		die("frames do not pass");
	puts("ready");
	fflush(stdout);
	run(0, false);
	run(0, true);
	report();
	return 0;
}
