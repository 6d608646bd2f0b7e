/* The codec's table: for every message every other size and every other number of descriptors fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost-user/vhost_msg.h"

#define MAX_REQUEST 64u

/* What the specification says, stated again and apart from the table: bytes of the request and
 * of its own answer (-1: it has none), and descriptors of the request. */
static const struct {
	uint32_t request;
	int size, answer;
	unsigned int min_fds, max_fds;
} fixed[] = {
	{ VHOST_MSG_GET_FEATURES, 0, 8, 0, 0 },
	{ VHOST_MSG_SET_FEATURES, 8, -1, 0, 0 },
	{ VHOST_MSG_SET_OWNER, 0, -1, 0, 0 },
	{ VHOST_MSG_RESET_OWNER, 0, -1, 0, 0 },
	{ VHOST_MSG_SET_LOG_FD, 0, -1, 1, 1 },
	{ VHOST_MSG_SET_VRING_NUM, 8, -1, 0, 0 },
	{ VHOST_MSG_SET_VRING_ADDR, 40, -1, 0, 0 },
	{ VHOST_MSG_SET_VRING_BASE, 8, -1, 0, 0 },
	{ VHOST_MSG_GET_VRING_BASE, 8, 8, 0, 0 },
	{ VHOST_MSG_SET_VRING_KICK, 8, -1, 0, 1 },
	{ VHOST_MSG_SET_VRING_CALL, 8, -1, 0, 1 },
	{ VHOST_MSG_SET_VRING_ERR, 8, -1, 0, 1 },
	{ VHOST_MSG_GET_PROTOCOL_FEATURES, 0, 8, 0, 0 },
	{ VHOST_MSG_SET_PROTOCOL_FEATURES, 8, -1, 0, 0 },
	{ VHOST_MSG_GET_QUEUE_NUM, 0, 8, 0, 0 },
	{ VHOST_MSG_SET_VRING_ENABLE, 8, -1, 0, 0 },
	{ VHOST_MSG_SEND_RARP, 8, -1, 0, 0 },
	{ VHOST_MSG_NET_SET_MTU, 8, -1, 0, 0 },
	{ VHOST_MSG_IOTLB_MSG, 32, -1, 0, 0 },
	{ VHOST_MSG_RESET_DEVICE, 0, -1, 0, 0 },
	{ VHOST_MSG_GET_MAX_MEM_SLOTS, 0, 8, 0, 0 },
	{ VHOST_MSG_ADD_MEM_REG, 40, -1, 1, 1 },
	{ VHOST_MSG_REM_MEM_REG, 40, -1, 0, 1 },
	{ VHOST_MSG_SET_STATUS, 8, -1, 0, 0 },
	{ VHOST_MSG_GET_STATUS, 0, 8, 0, 0 },
};

/* Those whose size depends on what they hold. */
static const uint32_t variable[] = {
	VHOST_MSG_SET_MEM_TABLE, VHOST_MSG_SET_LOG_BASE, VHOST_MSG_GET_CONFIG, VHOST_MSG_SET_CONFIG,
};

static enum vhost_fault check(uint32_t request, uint32_t size, unsigned int fds,
			      enum vhost_direction direction)
{
	struct vhost_msg msg = {
		.request = request,
		.flags = VHOST_MSG_VERSION | (direction == VHOST_REPLY ? VHOST_MSG_REPLY : 0),
		.size = size,
		.fd_count = fds,
	};

	/* Kick, call and err: the payload must say whether a descriptor comes along. */
	if (!fds)
		msg.u64 = request == VHOST_MSG_SET_VRING_KICK ||
					  request == VHOST_MSG_SET_VRING_CALL ||
					  request == VHOST_MSG_SET_VRING_ERR ?
				  VHOST_MSG_VRING_NOFD :
				  0;
	return vhost_msg_check(&msg, direction);
}

static void each_request_has_one_size(void **state)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fixed); i++)
		for (uint32_t size = 0; size <= VHOST_MSG_MAX_PAYLOAD + 64; size++)
			assert_int_equal(check(fixed[i].request, size, fixed[i].min_fds,
					       VHOST_REQUEST),
					 size == (uint32_t)fixed[i].size ? VHOST_FAULT_NONE :
									   VHOST_FAULT_MSG_SIZE);
}

static void each_request_has_its_descriptors(void **state)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fixed); i++)
		for (unsigned int fds = 0; fds <= VHOST_MSG_MAX_FDS; fds++)
			assert_int_equal(check(fixed[i].request, (uint32_t)fixed[i].size, fds,
					       VHOST_REQUEST),
					 fds >= fixed[i].min_fds && fds <= fixed[i].max_fds ?
						 VHOST_FAULT_NONE :
						 VHOST_FAULT_MSG_FDS);
}

static void each_answer_has_one_size_and_no_descriptor(void **state)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fixed); i++) {
		/* An acknowledgement if it has no answer of its own. */
		uint32_t want = fixed[i].answer < 0 ? 8 : (uint32_t)fixed[i].answer;

		for (uint32_t size = 0; size <= VHOST_MSG_MAX_PAYLOAD + 64; size++)
			assert_int_equal(check(fixed[i].request, size, 0, VHOST_REPLY),
					 size == want ? VHOST_FAULT_NONE : VHOST_FAULT_MSG_SIZE);
		assert_int_equal(check(fixed[i].request, want, 1, VHOST_REPLY),
				 VHOST_FAULT_MSG_FDS);
		assert_int_equal(vhost_msg_rule(fixed[i].request)->replies, fixed[i].answer >= 0);
	}
}

static void every_number_is_accounted_for(void **state)
{
	for (uint32_t request = 0; request < MAX_REQUEST; request++) {
		bool known = false;

		for (unsigned int i = 0; i < ARRAY_SIZE(fixed); i++)
			known |= fixed[i].request == request;
		for (unsigned int i = 0; i < ARRAY_SIZE(variable); i++)
			known |= variable[i] == request;
		assert_int_equal(vhost_msg_rule(request) != NULL, known);
		if (known)
			continue;
		assert_string_equal(vhost_msg_name(request), "unknown");
		assert_int_equal(check(request, 0, 0, VHOST_REQUEST), VHOST_FAULT_MSG_UNKNOWN);
		assert_int_equal(check(request, 8, 0, VHOST_REPLY), VHOST_FAULT_MSG_UNKNOWN);
	}
	assert_null(vhost_msg_rule(UINT32_MAX));
	assert_string_equal(vhost_msg_name(VHOST_MSG_GET_STATUS), "GET_STATUS");
}

static void a_memory_table_says_its_length(void **state)
{
	for (uint32_t size = 0; size <= VHOST_MSG_MAX_PAYLOAD; size++)
		for (uint32_t count = 0; count <= VHOST_MSG_MAX_REGIONS + 1; count++)
			for (unsigned int fds = 0; fds <= VHOST_MSG_MAX_FDS; fds++) {
				struct vhost_msg msg = {
					.request = VHOST_MSG_SET_MEM_TABLE,
					.flags = VHOST_MSG_VERSION,
					.size = size,
					.fd_count = fds,
				};
				bool good = count <= VHOST_MSG_MAX_REGIONS &&
					    size == 8 + 32 * count && fds == count;

				msg.memory.count = count;
				assert_int_equal(vhost_msg_check(&msg, VHOST_REQUEST) ==
							 VHOST_FAULT_NONE, good);
			}
}

static enum vhost_fault check_config(uint32_t request, uint32_t size, uint32_t offset, uint32_t len,
				     enum vhost_direction direction)
{
	struct vhost_msg msg = {
		.request = request,
		.flags = VHOST_MSG_VERSION | (direction == VHOST_REPLY ? VHOST_MSG_REPLY : 0),
		.size = size,
	};

	msg.config.offset = offset;
	msg.config.size = len;
	return vhost_msg_check(&msg, direction);
}

static void configuration_says_its_length(void **state)
{
	for (uint32_t len = 0; len <= VHOST_MSG_MAX_CONFIG; len++) {
		assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, 12 + len, 0, len, VHOST_REQUEST),
				 VHOST_FAULT_NONE);
		assert_int_equal(check_config(VHOST_MSG_SET_CONFIG, 12 + len, 0, len, VHOST_REQUEST),
				 VHOST_FAULT_NONE);
		assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, 12 + len, 0, len, VHOST_REPLY),
				 VHOST_FAULT_NONE);
		assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, 12 + len, 0, len + 1,
					      VHOST_REQUEST), VHOST_FAULT_MSG_VALUE);
		assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, 12 + len,
					      VHOST_MSG_MAX_CONFIG - len + 1, len, VHOST_REQUEST),
				 VHOST_FAULT_MSG_VALUE);
	}
	assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, 12 + 257, 0, 257, VHOST_REQUEST),
			 VHOST_FAULT_MSG_SIZE);
	assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, 13, UINT32_MAX, 1, VHOST_REQUEST),
			 VHOST_FAULT_MSG_VALUE);
	for (uint32_t size = 0; size < 12; size++) {
		assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, size, 0, 0, VHOST_REQUEST),
				 VHOST_FAULT_MSG_SIZE);
		/* Empty: there is no such configuration. */
		assert_int_equal(check_config(VHOST_MSG_GET_CONFIG, size, 0, 0, VHOST_REPLY),
				 size ? VHOST_FAULT_MSG_SIZE : VHOST_FAULT_NONE);
	}
}

static void log_base_is_answered_somehow(void **state)
{
	assert_int_equal(check(VHOST_MSG_SET_LOG_BASE, 16, 1, VHOST_REQUEST), VHOST_FAULT_NONE);
	assert_int_equal(check(VHOST_MSG_SET_LOG_BASE, 16, 0, VHOST_REQUEST), VHOST_FAULT_MSG_FDS);
	assert_int_equal(check(VHOST_MSG_SET_LOG_BASE, 8, 1, VHOST_REQUEST), VHOST_FAULT_MSG_SIZE);
	for (uint32_t size = 0; size <= 24; size++)
		assert_int_equal(check(VHOST_MSG_SET_LOG_BASE, size, 0, VHOST_REPLY),
				 size % 8 == 0 && size <= 16 ? VHOST_FAULT_NONE :
							       VHOST_FAULT_MSG_SIZE);
}

static void nofd_and_descriptor_agree(void **state)
{
	static const uint32_t requests[] = {
		VHOST_MSG_SET_VRING_KICK, VHOST_MSG_SET_VRING_CALL, VHOST_MSG_SET_VRING_ERR,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(requests); i++) {
		struct vhost_msg msg = {
			.request = requests[i], .flags = VHOST_MSG_VERSION, .size = 8,
		};

		msg.u64 = 255 | VHOST_MSG_VRING_NOFD;
		assert_int_equal(vhost_msg_check(&msg, VHOST_REQUEST), VHOST_FAULT_NONE);
		msg.u64 = 255;
		assert_int_equal(vhost_msg_check(&msg, VHOST_REQUEST), VHOST_FAULT_MSG_FDS);
		msg.fd_count = 1;
		assert_int_equal(vhost_msg_check(&msg, VHOST_REQUEST), VHOST_FAULT_NONE);
		msg.u64 = 1 | VHOST_MSG_VRING_NOFD;
		assert_int_equal(vhost_msg_check(&msg, VHOST_REQUEST), VHOST_FAULT_MSG_FDS);
		msg.u64 = 0x200;
		assert_int_equal(vhost_msg_check(&msg, VHOST_REQUEST), VHOST_FAULT_MSG_VALUE);
	}
}

static void headers_are_held_to_their_flags(void **state)
{
	struct vhost_msg msg = { .request = VHOST_MSG_GET_FEATURES };

	for (uint32_t flags = 0; flags < 64; flags++) {
		bool version = (flags & 3) == 1 && flags < 16;

		msg.flags = flags;
		msg.size = 0;
		assert_int_equal(vhost_msg_check_header(&msg, VHOST_REQUEST),
				 !version	? VHOST_FAULT_MSG_VERSION :
				 flags & 4	? VHOST_FAULT_MSG_DIRECTION :
						  VHOST_FAULT_NONE);
		msg.size = 8;
		assert_int_equal(vhost_msg_check_header(&msg, VHOST_REPLY),
				 !version	? VHOST_FAULT_MSG_VERSION :
				 !(flags & 4)	? VHOST_FAULT_MSG_DIRECTION :
						  VHOST_FAULT_NONE);
	}
	msg.flags = 0x80000001;
	assert_int_equal(vhost_msg_check_header(&msg, VHOST_REQUEST), VHOST_FAULT_MSG_VERSION);
}

static void taken_descriptors_stay_open(void **state)
{
	struct vhost_msg msg = { .fd_count = 2 };
	int kept;

	msg.fds[0] = open("/dev/null", O_RDONLY);
	msg.fds[1] = open("/dev/null", O_RDONLY);
	kept = vhost_msg_take_fd(&msg, 1);
	assert_int_equal(vhost_msg_take_fd(&msg, 2), -1);
	assert_true(fcntl(kept, F_GETFD) >= 0);
	vhost_msg_close_fds(&msg);
	assert_true(fcntl(kept, F_GETFD) >= 0);
	assert_int_equal(msg.fd_count, 0);
	close(kept);
}

static void what_is_built_obeys_the_table(void **state)
{
	struct vhost_msg request, reply;

	for (unsigned int i = 0; i < ARRAY_SIZE(fixed); i++) {
		vhost_msg_init(&request, fixed[i].request);
		assert_int_equal(request.flags, VHOST_MSG_VERSION);
		vhost_msg_init_reply_u64(&reply, &request, 7);
		assert_int_equal(vhost_msg_check(&reply, VHOST_REPLY), VHOST_FAULT_NONE);
		assert_int_equal(reply.u64, 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_has_one_size),
		cmocka_unit_test(each_request_has_its_descriptors),
		cmocka_unit_test(each_answer_has_one_size_and_no_descriptor),
		cmocka_unit_test(every_number_is_accounted_for),
		cmocka_unit_test(a_memory_table_says_its_length),
		cmocka_unit_test(configuration_says_its_length),
		cmocka_unit_test(log_base_is_answered_somehow),
		cmocka_unit_test(nofd_and_descriptor_agree),
		cmocka_unit_test(headers_are_held_to_their_flags),
		cmocka_unit_test(taken_descriptors_stay_open),
		cmocka_unit_test(what_is_built_obeys_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
