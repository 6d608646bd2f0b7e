/* What a peer can say wrong: its session ends with the reason's name, and the next one starts afresh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend_env.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define VERSION_1 (1ull << VIRTIO_F_VERSION_1)
#define REPLY_ACK (1ull << VHOST_PROTO_REPLY_ACK)

struct fixture {
	struct env env;
	struct owner *owner;
	struct peer peer;
};

static void open_session(struct fixture *f, bool allow_unsealed)
{
	struct vhost_backend_config config = { .allow_unsealed = allow_unsealed };
	int fd;

	f->owner = owner_create(&f->env, &config, &fd);
	peer_init(&f->peer, fd, memory_create(allow_unsealed ? 0 : SEALS));
}

static void close_session(struct fixture *f)
{
	owner_destroy(&f->env, f->owner);
	peer_fini(&f->peer);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	env_init(&f->env);
	open_session(f, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close_session(f);
	env_fini(&f->env);
	free(f);
	return 0;
}

static void assert_ended(struct fixture *f, enum vhost_fault reason)
{
	assert_true(peer_closed(f->peer.fd));
	owner_wait(f->owner, f->owner->gones == 1);
	assert_string_equal(vhost_fault_name(f->owner->reason), vhost_fault_name(reason));
	assert_int_equal(vhost_backend_fault_count(f->owner->be, reason), 1);
	assert_int_equal(f->owner->starts, f->owner->stops);
}

struct u64_case {
	enum vhost_request request;
	uint64_t value;
	enum vhost_fault fault;
};

/* A payload of two u32 is written here as a u64: index, then number. */
#define PAIR(index, number) ((uint64_t)(number) << 32 | (index))

static const struct u64_case values[] = {
	{ VHOST_MSG_SET_FEATURES, 1, VHOST_FAULT_FEATURES },
	{ VHOST_MSG_SET_FEATURES, 1ull << VHOST_F_LOG_ALL, VHOST_FAULT_FEATURES },
	{ VHOST_MSG_SET_PROTOCOL_FEATURES, 1ull << VHOST_PROTO_BACKEND_REQ, VHOST_FAULT_FEATURES },
	{ VHOST_MSG_SET_VRING_NUM, PAIR(ENV_RINGS, 8), VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_NUM, PAIR(UINT32_MAX, 8), VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_NUM, PAIR(0, 0), VHOST_FAULT_RING_SIZE },
	{ VHOST_MSG_SET_VRING_NUM, PAIR(0, 9), VHOST_FAULT_RING_SIZE },
	{ VHOST_MSG_SET_VRING_NUM, PAIR(0, 65536), VHOST_FAULT_RING_SIZE },
	{ VHOST_MSG_SET_VRING_BASE, PAIR(ENV_RINGS, 0), VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_BASE, PAIR(0, 65536), VHOST_FAULT_MSG_VALUE },
	{ VHOST_MSG_GET_VRING_BASE, PAIR(ENV_RINGS, 0), VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_ENABLE, PAIR(ENV_RINGS, 1), VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_ENABLE, PAIR(ENV_RINGS, 0), VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_ENABLE, PAIR(0, 2), VHOST_FAULT_MSG_VALUE },
	{ VHOST_MSG_SET_VRING_KICK, ENV_RINGS | VHOST_MSG_VRING_NOFD, VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_CALL, ENV_RINGS | VHOST_MSG_VRING_NOFD, VHOST_FAULT_RING_INDEX },
	{ VHOST_MSG_SET_VRING_KICK, 0, VHOST_FAULT_MSG_FDS },
	/* Not negotiated. */
	{ VHOST_MSG_SEND_RARP, 0, VHOST_FAULT_MSG_STATE },
	{ VHOST_MSG_NET_SET_MTU, 1500, VHOST_FAULT_MSG_STATE },
	{ VHOST_MSG_SET_STATUS, 1, VHOST_FAULT_MSG_STATE },
	/* The wrong size. */
	{ VHOST_MSG_SET_OWNER, 0, VHOST_FAULT_MSG_SIZE },
	{ VHOST_MSG_SET_MEM_TABLE, 1, VHOST_FAULT_MSG_VALUE },
	{ 99, 0, VHOST_FAULT_MSG_UNKNOWN },
};

static void wrong_values_end_the_session(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
		peer_send_u64(f->peer.fd, values[i].request, values[i].value);
		assert_ended(f, values[i].fault);
		close_session(f);
		open_session(f, false);
	}
}

static void ring_addresses_must_be_in_memory(void **state)
{
	static const uint64_t bad[][3] = {
		{ 0, ENV_USER + 0x1000, ENV_USER + 0x2000 },
		{ ENV_USER, ENV_USER + ENV_MEMORY - 2, ENV_USER + 0x2000 },
		{ ENV_USER, ENV_USER + 0x1000, ENV_USER - 4 },
		{ ENV_GPA, ENV_GPA + 0x1000, ENV_GPA + 0x2000 }, /* the other address space */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fixture *f = *state;

		peer_negotiate(&f->peer, VERSION_1, 0);
		f->peer.rings[0].addrs = (struct vring_addrs){ bad[i][0], bad[i][1], bad[i][2] };
		peer_set_ring(&f->peer, 0);
		assert_ended(f, VHOST_FAULT_RING_ADDRESS);
		close_session(f);
		open_session(f, false);
	}
}

static void ring_parts_must_be_aligned(void **state)
{
	struct fixture *f = *state;

	peer_negotiate(&f->peer, VERSION_1, 0);
	f->peer.rings[0].addrs.used++;
	peer_set_ring(&f->peer, 0);
	assert_ended(f, VHOST_FAULT_RING_ALIGN);
}

static void only_eventfds_kick_and_call(void **state)
{
	static const enum vhost_request requests[] = {
		VHOST_MSG_SET_VRING_KICK, VHOST_MSG_SET_VRING_CALL, VHOST_MSG_SET_VRING_ERR,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(requests); i++) {
		struct fixture *f = *state;
		int pipes[2];

		assert_int_equal(pipe(pipes), 0);
		peer_send_fd(f->peer.fd, requests[i], 0, pipes[1]);
		assert_ended(f, VHOST_FAULT_RING_KICK);
		close(pipes[0]);
		close(pipes[1]);
		close_session(f);
		open_session(f, false);
	}
}

static void bad_memory_is_refused_aloud(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	int fd = memory_create(0);

	peer_send_u64(f->peer.fd, VHOST_MSG_SET_PROTOCOL_FEATURES, REPLY_ACK);
	memory_message(&msg, fd);
	msg.flags |= VHOST_MSG_NEED_REPLY;
	peer_send(f->peer.fd, &msg);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_not_equal(msg.u64, 0);
	assert_ended(f, VHOST_FAULT_MEM_FD_SEALS);
	close(fd);
}

static void a_bad_table_under_running_rings_stops_them_first(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	peer_negotiate(&f->peer, VERSION_1, 0);
	peer_set_ring(&f->peer, 0);
	owner_wait(f->owner, f->owner->starts == 1);
	memory_message(&msg, f->peer.memory_fd);
	msg.memory.regions[0].size *= 2;
	peer_send(f->peer.fd, &msg);
	assert_ended(f, VHOST_FAULT_MEM_FD_SIZE);
	assert_int_equal(f->owner->stops, 1);
}

static void removing_the_memory_of_a_ring_ends_the_session(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	peer_negotiate(&f->peer, VERSION_1, 1ull << VHOST_PROTO_CONFIGURE_MEM_SLOTS);
	vhost_msg_init(&msg, VHOST_MSG_ADD_MEM_REG);
	msg.size = sizeof(msg.one_region);
	msg.one_region.region = (struct vhost_msg_region){ 0, 4096, 0, 0 };
	msg.fds[0] = f->peer.memory_fd;
	msg.fd_count = 1;
	peer_send(f->peer.fd, &msg);
	peer_set_ring(&f->peer, 0);
	peer_enable_ring(&f->peer, 0, true);
	owner_wait(f->owner, f->owner->starts == 1);
	vhost_msg_init(&msg, VHOST_MSG_REM_MEM_REG);
	msg.size = sizeof(msg.one_region);
	msg.one_region.region = (struct vhost_msg_region){ ENV_GPA, ENV_MEMORY, ENV_USER, 0 };
	peer_send(f->peer.fd, &msg);
	assert_ended(f, VHOST_FAULT_RING_ADDRESS);
}

/* The peer shortens its file under us: it loses its session, another peer loses nothing. */
static void memory_taken_away_ends_one_session(void **state)
{
	static const struct vhost_backend_config config = {0};
	struct fixture *f = *state;
	struct owner *other;
	int fd;

	close_session(f);
	assert_int_equal(peer_memory_install_handler(), 0); /* cmocka has put its own there */
	open_session(f, true);
	other = owner_create(&f->env, &config, &fd);
	peer_negotiate(&f->peer, VERSION_1, 0);
	peer_set_ring(&f->peer, 0);
	peer_set_ring(&f->peer, 1);
	owner_wait(f->owner, f->owner->starts == 2);
	assert_int_equal(ftruncate(f->peer.memory_fd, 0), 0);
	owner_echo(&f->env, f->owner, 1, 0);
	assert_ended(f, VHOST_FAULT_MEM_GONE);
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	owner_destroy(&f->env, other);
	close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(wrong_values_end_the_session),
		T(ring_addresses_must_be_in_memory),
		T(ring_parts_must_be_aligned),
		T(only_eventfds_kick_and_call),
		T(bad_memory_is_refused_aloud),
		T(a_bad_table_under_running_rings_stops_them_first),
		T(removing_the_memory_of_a_ring_ends_the_session),
		T(memory_taken_away_ends_one_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
