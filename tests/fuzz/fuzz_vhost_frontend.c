/*
 * A back end that lies to the front end: it answers each request honestly, or with another value,
 * size, flag, request or descriptor, twice, late or not at all, babbles unasked and hangs up, while
 * the driver starts, stops and changes its rings. No byte of guest memory may change by it, a stop
 * always ends, and afterwards an honest back end gets its rings running.
 *
 * Input: operations, a byte each, then their arguments; how a request is answered is taken as it
 * comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "core/loop.h"
#include "tests/fakes/oracle.h"
#include "tests/fuzz/input.h"
#include "vhost-user/vhost_frontend.h"
#include "vhost-user/vhost_msg.h"
#include "vhost-user/vring.h"

#define MEMORY	       (64 * KIB)
#define RINGS	       4u
#define MAX_OPERATIONS 100u
#define MAX_HANG_UPS   4u /* each is a few milliseconds without a peer */
#define PATIENCE       2000u /* milliseconds that an honest session may take */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct world {
	struct loop *loop;
	struct guest_memory *memory;
	struct oracle oracle;
	struct vhost_frontend *fe;
	struct loop_timer *tick;
	struct sockaddr_un addr;
	socklen_t addr_len;
	int fd; /* the peer's end; -1 */
	int events[2]; /* kick and call of every ring */
	struct input in;
	bool honest;
	bool started, stopping;
	unsigned int hang_ups, left;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void changed(void *opaque)
{
}

static void stopped(void *opaque)
{
	struct world *w = opaque;

	must(w->stopping);
	w->stopping = false;
}

static const struct vhost_frontend_ops ops = { .changed = changed, .stopped = stopped };

/* The peer */

static void hang_up(struct world *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void call_on(struct world *w)
{
	if (w->fd >= 0)
		return;
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(w->fd >= 0 && connect(w->fd, (struct sockaddr *)&w->addr, w->addr_len) == 0);
}

/* Around the codec, which would not let a lie pass. */
static void say(struct world *w, const struct vhost_msg *msg, bool with_fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov[2] = {
		{ (void *)(uintptr_t)msg, VHOST_MSG_HEADER },
		{ (void *)(uintptr_t)msg->bytes, MIN(msg->size, (uint32_t)VHOST_MSG_MAX_PAYLOAD) },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *c;

	if (with_fd) {
		mh.msg_control = control;
		mh.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &w->events[0], sizeof(int));
	}
	if (sendmsg(w->fd, &mh, MSG_NOSIGNAL) < 0)
		return; /* the front end has left, or has enough */
}

static uint64_t honest_value(uint32_t request)
{
	switch (request) {
	case VHOST_MSG_GET_FEATURES:
		return 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VHOST_F_PROTOCOL_FEATURES |
		       1ULL << VIRTIO_RING_F_EVENT_IDX;
	case VHOST_MSG_GET_PROTOCOL_FEATURES:
		return 1ULL << VHOST_PROTO_MQ | 1ULL << VHOST_PROTO_REPLY_ACK |
		       1ULL << VHOST_PROTO_CONFIG | 1ULL << VHOST_PROTO_CONFIGURE_MEM_SLOTS |
		       1ULL << VHOST_PROTO_STATUS;
	case VHOST_MSG_GET_QUEUE_NUM:
	case VHOST_MSG_GET_MAX_MEM_SLOTS:
		return 8;
	case VHOST_MSG_GET_STATUS:
		return VIRTIO_CONFIG_S_FEATURES_OK;
	default:
		return 0;
	}
}

static void make_reply(struct vhost_msg *reply, const struct vhost_msg *msg)
{
	if (msg->request == VHOST_MSG_GET_CONFIG) {
		vhost_msg_init_reply(reply, msg, msg->size);
		reply->config.size = msg->config.size;
	} else {
		vhost_msg_init_reply_u64(reply, msg, honest_value(msg->request));
	}
	if (msg->request == VHOST_MSG_GET_VRING_BASE) {
		reply->state.index = msg->state.index;
		reply->state.num = 0;
	}
}

static void answer(struct world *w, const struct vhost_msg *msg)
{
	struct vhost_msg reply;
	uint8_t how = w->honest ? 0 : (uint8_t)take(&w->in, 1);

	make_reply(&reply, msg);
	switch (how) {
	case 0xe0 ... 0xe3:
		reply.u64 = take(&w->in, 8);
		break;
	case 0xe4 ... 0xe5:
		reply.size = (uint32_t)take(&w->in, how & 1 ? 4 : 1);
		break;
	case 0xe6:
		reply.request = (uint32_t)take(&w->in, 1);
		break;
	case 0xe7:
		reply.flags = (uint32_t)take(&w->in, 1);
		break;
	case 0xe8:
		return; /* silence */
	case 0xe9:
		say(w, &reply, false);
		break;
	case 0xea:
		hang_up(w);
		return;
	}
	say(w, &reply, how == 0xeb);
}

/* Reads and answers all there is. */
static void serve(struct world *w)
{
	while (w->fd >= 0) {
		char control[CMSG_SPACE(VHOST_MSG_MAX_FDS * sizeof(int))];
		struct vhost_msg msg;
		struct iovec iov = { &msg, VHOST_MSG_HEADER };
		struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				     .msg_controllen = sizeof(control) };
		const struct vhost_msg_rule *rule;
		ssize_t n = recvmsg(w->fd, &mh, MSG_CMSG_CLOEXEC);

		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				hang_up(w);
			return;
		}
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c))
			for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++)
				close(((int *)(void *)CMSG_DATA(c))[i]);
		must(n == VHOST_MSG_HEADER && msg.size <= VHOST_MSG_MAX_PAYLOAD);
		must(!msg.size || recv(w->fd, msg.bytes, msg.size, 0) == (ssize_t)msg.size);
		rule = vhost_msg_rule(msg.request);
		if (rule->replies || msg.flags & VHOST_MSG_NEED_REPLY)
			answer(w, &msg);
	}
}

/* The loop */

static void stop_loop(void *opaque)
{
	loop_stop(opaque);
}

static void turn(struct world *w)
{
	for (unsigned int i = 0; i < 4; i++) {
		must(loop_post(w->loop, stop_loop, w->loop) == 0);
		loop_run(w->loop);
		serve(w);
	}
}

static void tick(void *opaque)
{
	struct world *w = opaque;

	call_on(w);
	serve(w);
	if (vhost_frontend_running(w->fe) || !w->left--)
		loop_stop(w->loop);
	else
		must(loop_timer_arm(w->tick, 1000000) == 0);
}

/* Runs on, as honest peers, until the rings run. */
static void expect_running(struct world *w)
{
	w->honest = true;
	w->left = PATIENCE;
	hang_up(w);
	must(loop_timer_arm(w->tick, 0) == 0);
	loop_run(w->loop);
	must(vhost_frontend_running(w->fe));
}

/* The driver */

static void start(struct world *w, uint64_t choice)
{
	struct vhost_frontend_ring rings[RINGS];
	unsigned int count = (unsigned int)(choice % RINGS + 1);
	uint64_t features = 1ULL << VIRTIO_F_VERSION_1;

	if (w->started || w->stopping)
		return;
	for (unsigned int i = 0; i < count; i++)
		rings[i] = (struct vhost_frontend_ring){
			.index = i,
			.size = 16,
			.base = (uint16_t)(choice >> 8),
			.desc = 0x1000 * (i + 1),
			.avail = 0x1000 * (i + 1) + 0x400,
			.used = 0x1000 * (i + 1) + 0x800,
			.kick_fd = w->events[0],
			.call_fd = choice & 0x10 ? -1 : w->events[1],
			.enabled = !(choice & 0x20),
		};
	if (choice & 0x40)
		features |= 1ULL << VIRTIO_RING_F_EVENT_IDX;
	must(vhost_frontend_start(w->fe, features, rings, count) == 0);
	w->started = true;
}

static void stop(struct world *w, bool wait)
{
	if (!w->started || w->stopping)
		return;
	w->started = false;
	w->stopping = true;
	if (vhost_frontend_stop(w->fe)) {
		w->stopping = false;
		return;
	}
	if (!wait)
		return;
	vhost_frontend_wait_stopped(w->fe, 1);
	w->stopping = false;
}

static void babble(struct world *w)
{
	struct vhost_msg msg = {0};
	const uint8_t *bytes;
	size_t len;

	if (w->fd < 0)
		return;
	msg.request = (uint32_t)take(&w->in, 1);
	msg.flags = (uint32_t)take(&w->in, 1);
	msg.size = (uint32_t)take(&w->in, 1);
	len = MIN(msg.size, (uint32_t)VHOST_MSG_MAX_PAYLOAD);
	bytes = take_bytes(&w->in, &len);
	memcpy(msg.bytes, bytes, len);
	say(w, &msg, msg.flags & 0x80);
}

static void operate(struct world *w)
{
	uint8_t op = (uint8_t)take(&w->in, 1);

	switch (op & 7) {
	case 0:
		start(w, take(&w->in, 3));
		break;
	case 1:
		stop(w, op & 0x80);
		break;
	case 2:
		vhost_frontend_set_enabled(w->fe, op >> 4, op & 8);
		break;
	case 3:
		vhost_frontend_set_call(w->fe, op >> 4, op & 8 ? w->events[1] : -1);
		break;
	case 4:
		babble(w);
		break;
	case 5:
		if (w->hang_ups++ < MAX_HANG_UPS)
			hang_up(w);
		call_on(w);
		break;
	default:
		break;
	}
	turn(w);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init("fuzz_vhost_frontend", LOG_LEVEL_ERROR);
	return 0;
}

static void create(struct world *w)
{
	const struct mem_slot_request ram = { .size = MEMORY, .page_size = 4 * KIB, .name = "ram" };
	struct vhost_frontend_config config = { .name = "fe", .config_size = 12, .backoff_max_ms = 1,
						.ops = &ops, .opaque = w };
	sa_family_t family = AF_UNIX;
	char why[128];

	w->loop = config.loop = loop_create();
	w->memory = config.memory = guest_memory_create();
	must(w->loop && w->memory && !guest_memory_add_slot(w->memory, &ram, why, sizeof(why)));
	oracle_init(&w->oracle, w->memory, NULL);
	w->tick = loop_timer_create(w->loop, tick, w);
	for (unsigned int i = 0; i < 2; i++)
		w->events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* A name that the kernel finds, in no directory. */
	config.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(bind(config.listen_fd, (struct sockaddr *)&family, sizeof(family)) == 0 &&
	     listen(config.listen_fd, 4) == 0);
	w->addr_len = sizeof(w->addr);
	must(getsockname(config.listen_fd, (struct sockaddr *)&w->addr, &w->addr_len) == 0);
	must(vhost_frontend_create(&config, &w->fe) == 0);
	call_on(w);
}

static void destroy(struct world *w)
{
	vhost_frontend_destroy(w->fe);
	hang_up(w);
	loop_timer_destroy(w->tick);
	oracle_check_memory(&w->oracle);
	oracle_fini(&w->oracle);
	close(w->events[0]);
	close(w->events[1]);
	guest_memory_destroy(w->memory);
	loop_destroy(w->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .fd = -1, .in = { data, size } };

	create(&w);
	oracle_paint(&w.oracle);
	turn(&w);
	for (unsigned int i = 0; i < MAX_OPERATIONS && w.in.left; i++)
		operate(&w);
	stop(&w, true);
	if (w.stopping) { /* asked for before: it ends now */
		vhost_frontend_wait_stopped(w.fe, 1);
		w.stopping = false;
	}
	start(&w, 1);
	expect_running(&w);
	destroy(&w);
	return 0;
}
