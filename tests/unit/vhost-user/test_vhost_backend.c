/* A back end's session, driven by messages written by hand over a socketpair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend_env.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define VERSION_1 (1ull << VIRTIO_F_VERSION_1)
#define ALL_PROTOCOL                                                                  \
	(1ull << VHOST_PROTO_MQ | 1ull << VHOST_PROTO_RARP | 1ull << VHOST_PROTO_REPLY_ACK | \
	 1ull << VHOST_PROTO_NET_MTU | 1ull << VHOST_PROTO_CONFIG |                   \
	 1ull << VHOST_PROTO_RESET_DEVICE | 1ull << VHOST_PROTO_CONFIGURE_MEM_SLOTS | \
	 1ull << VHOST_PROTO_STATUS)

struct fixture {
	struct env env;
	struct owner *owner;
	struct peer peer;
};

static int setup(void **state)
{
	static const struct vhost_backend_config config = { .features = 1ull << 15 };
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	env_init(&f->env);
	f->owner = owner_create(&f->env, &config, &fd);
	peer_init(&f->peer, fd, memory_create(SEALS));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	owner_destroy(&f->env, f->owner);
	peer_fini(&f->peer);
	env_fini(&f->env);
	free(f);
	return 0;
}

static void start_pair(struct fixture *f)
{
	peer_negotiate(&f->peer, VERSION_1, ALL_PROTOCOL);
	for (unsigned int i = 0; i < 2; i++) {
		peer_set_ring(&f->peer, i);
		peer_enable_ring(&f->peer, i, true);
	}
	owner_wait(f->owner, f->owner->starts == 2);
}

static void it_says_what_it_can(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_FEATURES),
			 1ull << 15 | VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
				 1ull << VIRTIO_RING_F_INDIRECT_DESC |
				 1ull << VHOST_F_PROTOCOL_FEATURES);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_PROTOCOL_FEATURES), ALL_PROTOCOL);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_MAX_MEM_SLOTS),
			 PEER_MEMORY_MAX_REGIONS);
}

static void rings_start_when_enabled(void **state)
{
	struct fixture *f = *state;

	peer_negotiate(&f->peer, VERSION_1, ALL_PROTOCOL);
	peer_set_ring(&f->peer, 0);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_QUEUE_NUM), 2);
	assert_int_equal(f->owner->starts, 0);
	assert_int_equal(f->owner->ups, 0);
	peer_enable_ring(&f->peer, 0, true);
	owner_wait(f->owner, f->owner->starts == 1 && f->owner->ups == 1);
	assert_int_equal(f->owner->rings[0]->features,
			 VERSION_1 | 1ull << VHOST_F_PROTOCOL_FEATURES);
	peer_enable_ring(&f->peer, 0, false);
	owner_wait(f->owner, f->owner->stops == 1 && f->owner->downs == 1);
}

static void rings_start_by_kick_without_protocol_features(void **state)
{
	struct fixture *f = *state;

	peer_negotiate(&f->peer, VERSION_1, 0);
	peer_set_ring(&f->peer, 1);
	owner_wait(f->owner, f->owner->starts == 1 && f->owner->rings[1]);
}

/* virtio-user polls: no kick, no call. */
static void rings_start_without_descriptors(void **state)
{
	struct fixture *f = *state;

	peer_negotiate(&f->peer, VERSION_1, 0);
	peer_set_ring(&f->peer, 1);
	owner_wait(f->owner, f->owner->starts == 1);
	peer_send_fd(f->peer.fd, VHOST_MSG_SET_VRING_KICK, 1 | VHOST_MSG_VRING_NOFD, -1);
	peer_send_fd(f->peer.fd, VHOST_MSG_SET_VRING_CALL, 1 | VHOST_MSG_VRING_NOFD, -1);
	owner_wait(f->owner, f->owner->starts == 2);
	assert_int_equal(f->owner->rings[1]->kick_fd, -1);
	assert_true(f->owner->rings[1]->call_fd >= 0);
}

static void frame_goes_round(struct fixture *f, uint8_t value)
{
	struct peer *p = &f->peer;
	uint64_t at = ENV_MEMORY - 0x2000;
	struct vring_buf out = { ENV_GPA + at, 100 }, in = { ENV_GPA + at + 0x1000, 1600 };
	uint64_t count;
	uint32_t written;
	void *token;

	memset(p->memory + at, value, 100);
	memset(p->memory + at + 0x1000, 0, 100);
	assert_int_equal(vring_driver_add(&p->rings[0], &in, 0, 1, &in), 0);
	assert_int_equal(vring_driver_add(&p->rings[1], &out, 1, 0, &out), 0);
	vring_driver_publish(&p->rings[0]);
	vring_driver_publish(&p->rings[1]);
	assert_int_equal(owner_echo(&f->env, f->owner, 1, 0), 1);
	assert_true(vring_driver_get_used(&p->rings[0], &token, &written));
	assert_ptr_equal(token, &in);
	assert_int_equal(written, 100);
	assert_memory_equal(p->memory + at, p->memory + at + 0x1000, 100);
	assert_true(vring_driver_get_used(&p->rings[1], &token, &written));
	assert_int_equal(read(p->call[0], &count, sizeof(count)), sizeof(count));
}

static void frames_go_round(void **state)
{
	struct fixture *f = *state;

	start_pair(f);
	for (unsigned int i = 0; i < 3 * ENV_RING_SIZE; i++)
		frame_goes_round(f, (uint8_t)(i + 1));
}

static void base_is_answered_when_the_owner_has_let_go(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	start_pair(f);
	frame_goes_round(f, 1);
	frame_goes_round(f, 2);
	f->owner->slow = true;
	peer_send_state(f->peer.fd, VHOST_MSG_GET_VRING_BASE, 1, 0);
	owner_wait(f->owner, f->owner->stops == 1);
	assert_true(peer_hears_nothing(f->peer.fd));
	owner_ack(&f->env, f->owner, 1);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_equal(msg.state.index, 1);
	assert_int_equal(msg.state.num, 2);
	f->owner->slow = false;
	/* A new kick starts it again, where it was. */
	assert_int_equal(f->owner->starts, 2);
	peer_send_fd(f->peer.fd, VHOST_MSG_SET_VRING_KICK, 1, f->peer.kick[1]);
	owner_wait(f->owner, f->owner->starts == 3);
	frame_goes_round(f, 3);
	assert_int_equal(f->owner->downs, 0);
}

static void memory_is_replaced_when_all_have_let_go(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	start_pair(f);
	f->owner->slow = true;
	memory_message(&msg, f->peer.memory_fd);
	msg.flags |= VHOST_MSG_NEED_REPLY;
	peer_send(f->peer.fd, &msg);
	owner_wait(f->owner, f->owner->stops == 2);
	owner_ack(&f->env, f->owner, 1);
	assert_true(peer_hears_nothing(f->peer.fd));
	assert_int_equal(f->owner->starts, 2);
	owner_ack(&f->env, f->owner, 0);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_equal(msg.u64, 0);
	owner_wait(f->owner, f->owner->starts == 4);
	f->owner->slow = false;
	frame_goes_round(f, 9);
	assert_int_equal(f->owner->downs, 0); /* the link did not flap */
}

static void one_slow_owner_delays_no_other_peer(void **state)
{
	static const struct vhost_backend_config config = {0};
	struct fixture *f = *state;
	struct owner *other;
	int fd;

	start_pair(f);
	f->owner->slow = true;
	peer_send_state(f->peer.fd, VHOST_MSG_GET_VRING_BASE, 0, 0);
	owner_wait(f->owner, f->owner->stops == 1);
	other = owner_create(&f->env, &config, &fd);
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), 2);
	owner_destroy(&f->env, other);
	close(fd);
	owner_ack(&f->env, f->owner, 0);
	f->owner->slow = false;
}

static void regions_come_and_go_one_by_one(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	start_pair(f);
	vhost_msg_init(&msg, VHOST_MSG_ADD_MEM_REG);
	msg.flags |= VHOST_MSG_NEED_REPLY;
	msg.size = sizeof(msg.one_region);
	msg.one_region.region = (struct vhost_msg_region){
		.gpa = ENV_GPA + 0x10000000, .size = 0x1000, .user = ENV_USER + 0x10000000,
	};
	msg.fds[0] = f->peer.memory_fd;
	msg.fd_count = 1;
	peer_send(f->peer.fd, &msg);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_equal(msg.u64, 0);
	assert_int_equal(f->owner->stops, 0); /* adding disturbs nobody */
	vhost_msg_init(&msg, VHOST_MSG_REM_MEM_REG);
	msg.flags |= VHOST_MSG_NEED_REPLY;
	msg.size = sizeof(msg.one_region);
	msg.one_region.region = (struct vhost_msg_region){
		.gpa = ENV_GPA + 0x10000000, .size = 0x1000, .user = ENV_USER + 0x10000000,
	};
	peer_send(f->peer.fd, &msg);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_equal(msg.u64, 0);
	owner_wait(f->owner, f->owner->stops == 2 && f->owner->starts == 4);
	frame_goes_round(f, 5);
}

static void a_call_is_replaced_under_a_running_ring(void **state)
{
	struct fixture *f = *state;
	int number;

	start_pair(f);
	number = f->owner->rings[0]->call_fd;
	close(f->peer.call[0]);
	f->peer.call[0] = dup(f->peer.call[2]);
	peer_send_fd(f->peer.fd, VHOST_MSG_SET_VRING_CALL, 0, f->peer.call[0]);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_QUEUE_NUM), 2);
	assert_int_equal(f->owner->rings[0]->call_fd, number);
	assert_int_equal(f->owner->stops, 0);
	frame_goes_round(f, 7);
}

static void status_mtu_rarp_and_config(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	start_pair(f);
	peer_send_u64(f->peer.fd, VHOST_MSG_SET_STATUS, 0xf);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_STATUS), 0xf);
	peer_send_u64(f->peer.fd, VHOST_MSG_NET_SET_MTU, 9000);
	owner_wait(f->owner, f->owner->mtu == 9000);
	peer_send_u64(f->peer.fd, VHOST_MSG_SEND_RARP, 0x0000563412005452ull);
	owner_wait(f->owner, f->owner->mac[5] == 0x56);
	assert_memory_equal(f->owner->mac, "\x52\x54\x00\x12\x34\x56", 6);
	vhost_msg_init(&msg, VHOST_MSG_GET_CONFIG);
	msg.size = 12 + 6;
	msg.config.size = 6;
	peer_send(f->peer.fd, &msg);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_equal(msg.size, 18);
	assert_memory_equal(msg.config.data, "\x52\x54\x00\x01\x02\x03", 6);
	msg.flags = VHOST_MSG_VERSION;
	msg.config.offset = 4;
	peer_send(f->peer.fd, &msg);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_equal(msg.size, 0); /* beyond what there is */
	/* A refusal is said and ends nothing. */
	vhost_msg_init(&msg, VHOST_MSG_NET_SET_MTU);
	msg.flags |= VHOST_MSG_NEED_REPLY;
	msg.size = 8;
	msg.u64 = 9001;
	peer_send(f->peer.fd, &msg);
	assert_true(peer_receive(f->peer.fd, &msg));
	assert_int_not_equal(msg.u64, 0);
	frame_goes_round(f, 1);
}

static void status_zero_resets(void **state)
{
	struct fixture *f = *state;

	start_pair(f);
	peer_send_u64(f->peer.fd, VHOST_MSG_SET_STATUS, 0);
	owner_wait(f->owner, f->owner->stops == 2 && f->owner->downs == 1);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_STATUS), 0);
	for (unsigned int i = 0; i < 2; i++) {
		peer_set_ring(&f->peer, i);
		peer_enable_ring(&f->peer, i, true);
	}
	owner_wait(f->owner, f->owner->starts == 4 && f->owner->ups == 2);
	frame_goes_round(f, 1);
}

static void messages_may_come_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	uint8_t wire[VHOST_MSG_HEADER + 8];

	vhost_msg_init(&msg, VHOST_MSG_SET_PROTOCOL_FEATURES);
	msg.size = 8;
	memcpy(wire, &msg, VHOST_MSG_HEADER);
	put_le64(wire + VHOST_MSG_HEADER, ALL_PROTOCOL);
	for (unsigned int i = 0; i < sizeof(wire); i++)
		assert_int_equal(write(f->peer.fd, wire + i, 1), 1);
	peer_send_u64(f->peer.fd, VHOST_MSG_SET_STATUS, 1);
	assert_int_equal(peer_ask_u64(f->peer.fd, VHOST_MSG_GET_STATUS), 1);
}

static void a_peer_may_die_in_the_middle(void **state)
{
	struct fixture *f = *state;

	start_pair(f);
	assert_int_equal(write(f->peer.fd, "\x02\0\0\0\x01\0", 6), 6);
	close(f->peer.fd);
	f->peer.fd = -1;
	owner_wait(f->owner, f->owner->gones == 1);
	assert_int_equal(f->owner->stops, 2);
	assert_int_equal(f->owner->downs, 1);
	assert_int_equal(f->owner->reason, VHOST_FAULT_HANGUP);
}

static void a_peer_that_does_not_read_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	unsigned int sent = 0;

	vhost_msg_init(&msg, VHOST_MSG_GET_FEATURES);
	assert_int_equal(fcntl(f->peer.fd, F_SETFL, O_NONBLOCK), 0);
	/* Until both directions are full for good. */
	for (int quiet = 0; quiet < 20;) {
		if (send(f->peer.fd, &msg, VHOST_MSG_HEADER, MSG_NOSIGNAL) ==
		    (ssize_t)VHOST_MSG_HEADER) {
			sent++;
			quiet = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			usleep(1000);
			quiet++;
		}
	}
	assert_int_equal(f->owner->gones, 0);
	while (sent--)
		assert_true(peer_receive(f->peer.fd, &msg));
	assert_true(peer_hears_nothing(f->peer.fd));
}

static void destroying_waits_for_the_owner(void **state)
{
	static const struct vhost_backend_config config = {0};
	struct fixture *f = *state;
	struct peer peer;
	struct owner *owner;
	int fd;

	owner = owner_create(&f->env, &config, &fd);
	peer_init(&peer, fd, memory_create(SEALS));
	peer_negotiate(&peer, VERSION_1, 0);
	peer_set_ring(&peer, 0);
	owner_wait(owner, owner->starts == 1);
	owner->slow = true;
	owner_start_destroy(&f->env, owner);
	assert_true(peer_closed(peer.fd));
	assert_int_equal(owner->stops, 1);
	assert_int_equal(owner->dones, 0);
	owner_ack(&f->env, owner, 0);
	owner_wait(owner, owner->dones == 1);
	assert_int_equal(owner->gones, 0);
	pthread_mutex_destroy(&owner->lock);
	pthread_cond_destroy(&owner->changed);
	free(owner);
	peer_fini(&peer);
}

static void the_owner_may_break_it_off(void **state)
{
	struct fixture *f = *state;

	start_pair(f);
	owner_break(&f->env, f->owner, VHOST_FAULT_RING_LOOP);
	owner_wait(f->owner, f->owner->gones == 1);
	assert_int_equal(f->owner->reason, VHOST_FAULT_RING_LOOP);
	assert_int_equal(vhost_backend_fault_count(f->owner->be, VHOST_FAULT_RING_LOOP), 1);
	assert_true(peer_closed(f->peer.fd));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_says_what_it_can),
		T(rings_start_when_enabled),
		T(rings_start_by_kick_without_protocol_features),
		T(rings_start_without_descriptors),
		T(frames_go_round),
		T(base_is_answered_when_the_owner_has_let_go),
		T(memory_is_replaced_when_all_have_let_go),
		T(one_slow_owner_delays_no_other_peer),
		T(regions_come_and_go_one_by_one),
		T(a_call_is_replaced_under_a_running_ring),
		T(status_mtu_rarp_and_config),
		T(status_zero_resets),
		T(messages_may_come_byte_by_byte),
		T(a_peer_may_die_in_the_middle),
		T(a_peer_that_does_not_read_is_waited_for),
		T(destroying_waits_for_the_owner),
		T(the_owner_may_break_it_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
