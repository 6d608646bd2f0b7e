/* Assembling messages from pieces, with the descriptors that came along, and sending them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost-user/vhost_stream.h"

struct fixture {
	int pair[2];
	unsigned int open_before;
	struct vhost_stream stream;
	struct vhost_outbox outbox;
};

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->open_before = open_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f->pair), 0);
	vhost_stream_init(&f->stream, VHOST_REQUEST);
	vhost_outbox_init(&f->outbox);
	*state = f;
	return 0;
}

/* No test may leave a descriptor behind. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	vhost_stream_fini(&f->stream);
	vhost_outbox_fini(&f->outbox);
	close(f->pair[0]);
	if (f->pair[1] >= 0)
		close(f->pair[1]);
	now = open_fds();
	if (now != f->open_before)
		print_error("%d descriptors left\n", (int)now - (int)f->open_before);
	now -= f->open_before;
	free(f);
	return now ? -1 : 0;
}

static int null_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void send_raw(struct fixture *f, const void *data, size_t len, unsigned int fd_count)
{
	int fds[32];
	char control[CMSG_SPACE(sizeof(fds))] = {0};
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd_count) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		for (unsigned int i = 0; i < fd_count; i++)
			fds[i] = null_fd();
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	assert_int_equal(sendmsg(f->pair[1], &mh, 0), len);
	for (unsigned int i = 0; i < fd_count; i++)
		close(fds[i]);
}

static enum vhost_stream_status get(struct fixture *f, struct vhost_msg *msg)
{
	return vhost_stream_read(&f->stream, f->pair[0], msg);
}

/* The wire form of a message. */
static unsigned int wire(const struct vhost_msg *msg, uint8_t *bytes)
{
	memcpy(bytes, msg, VHOST_MSG_HEADER);
	memcpy(bytes + VHOST_MSG_HEADER, msg->bytes, msg->size);
	return VHOST_MSG_HEADER + msg->size;
}

static unsigned int kick_message(uint8_t *bytes)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_KICK);
	msg.size = 8;
	msg.u64 = 3;
	return wire(&msg, bytes);
}

static void pieces_of_any_size_make_the_message(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[32];
	unsigned int len = kick_message(bytes);

	for (unsigned int step = 1; step <= len; step++) {
		struct vhost_msg msg;

		for (unsigned int at = 0; at < len; at += step) {
			send_raw(f, bytes + at, MIN(step, len - at), at == 0);
			if (at + step < len)
				assert_int_equal(get(f, &msg), VHOST_STREAM_AGAIN);
		}
		assert_int_equal(get(f, &msg), VHOST_STREAM_MESSAGE);
		assert_int_equal(msg.request, VHOST_MSG_SET_VRING_KICK);
		assert_int_equal(msg.u64, 3);
		assert_int_equal(msg.fd_count, 1);
		assert_true(fcntl(msg.fds[0], F_GETFD) & FD_CLOEXEC);
		vhost_msg_close_fds(&msg);
	}
}

static void descriptors_stay_with_their_message(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg first, msg;
	uint8_t bytes[64];
	unsigned int len;

	/* Two messages at once, the descriptor sent with the second. */
	vhost_msg_init(&first, VHOST_MSG_SET_FEATURES);
	first.size = 8;
	len = wire(&first, bytes);
	send_raw(f, bytes, len, 0);
	len = kick_message(bytes);
	send_raw(f, bytes, len, 1);
	assert_int_equal(get(f, &msg), VHOST_STREAM_MESSAGE);
	assert_int_equal(msg.request, VHOST_MSG_SET_FEATURES);
	assert_int_equal(msg.fd_count, 0);
	assert_int_equal(get(f, &msg), VHOST_STREAM_MESSAGE);
	assert_int_equal(msg.fd_count, 1);
	vhost_msg_close_fds(&msg);
	/* With the payload instead of the header is fine too. */
	send_raw(f, bytes, VHOST_MSG_HEADER, 0);
	send_raw(f, bytes + VHOST_MSG_HEADER, len - VHOST_MSG_HEADER, 1);
	assert_int_equal(get(f, &msg), VHOST_STREAM_MESSAGE);
	assert_int_equal(msg.fd_count, 1);
	vhost_msg_close_fds(&msg);
}

static void assert_over(struct fixture *f, enum vhost_fault fault)
{
	struct vhost_msg msg;

	assert_int_equal(get(f, &msg), VHOST_STREAM_OVER);
	assert_string_equal(vhost_fault_name(f->stream.fault), vhost_fault_name(fault));
	assert_int_equal(get(f, &msg), VHOST_STREAM_OVER);
}

static void a_bad_header_is_refused_before_its_payload(void **state)
{
	static const uint32_t lengths[] = { 7, 9, 4096, UINT32_MAX };

	for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct fixture *f = *state;
		uint32_t header[3] = { VHOST_MSG_SET_FEATURES, VHOST_MSG_VERSION, lengths[i] };

		vhost_stream_init(&f->stream, VHOST_REQUEST);
		send_raw(f, header, sizeof(header), 3);
		assert_over(f, VHOST_FAULT_MSG_SIZE);
	}
}

static void a_missing_descriptor_is_noticed(void **state)
{
	uint8_t bytes[32];
	unsigned int len = kick_message(bytes);

	send_raw(*state, bytes, len, 0);
	assert_over(*state, VHOST_FAULT_MSG_FDS);
}

static void superfluous_descriptors_are_closed(void **state)
{
	uint8_t bytes[32];
	unsigned int len = kick_message(bytes);

	send_raw(*state, bytes, len, 2);
	assert_over(*state, VHOST_FAULT_MSG_FDS);
}

static void more_descriptors_than_fit_are_noticed(void **state)
{
	uint8_t bytes[32];
	unsigned int len = kick_message(bytes);

	send_raw(*state, bytes, len, 20);
	assert_over(*state, VHOST_FAULT_MSG_FDS);
}

static void no_room_for_descriptors_is_noticed(void **state)
{
	struct rlimit before, few;
	uint8_t bytes[32];
	unsigned int len = kick_message(bytes);

	send_raw(*state, bytes, len, 2);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_over(*state, VHOST_FAULT_MSG_TRUNCATED_FDS);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void descriptors_cannot_be_piled_up(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[32];
	struct vhost_msg msg;

	kick_message(bytes);
	send_raw(f, bytes, 1, 5);
	assert_int_equal(get(f, &msg), VHOST_STREAM_AGAIN);
	send_raw(f, bytes + 1, 1, 5);
	assert_over(f, VHOST_FAULT_MSG_FDS);
}

static void the_end_is_noticed_anywhere(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[32];
	struct vhost_msg msg;

	kick_message(bytes);
	send_raw(f, bytes, 15, 1);
	assert_int_equal(get(f, &msg), VHOST_STREAM_AGAIN);
	close(f->pair[1]);
	f->pair[1] = -1;
	assert_over(f, VHOST_FAULT_HANGUP);
}

static void feeding_is_reading(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	uint8_t bytes[32];
	unsigned int len = kick_message(bytes);
	int fd = null_fd();

	for (unsigned int at = 0; at < len; at++) {
		assert_int_equal(vhost_stream_wants(&f->stream), at < 12 ? 12 - at : len - at);
		assert_int_equal(vhost_stream_feed(&f->stream, bytes + at, 1, &fd, at == 13, &msg),
				 at + 1 == len ? VHOST_STREAM_MESSAGE : VHOST_STREAM_AGAIN);
	}
	assert_int_equal(msg.fds[0], fd);
	vhost_msg_close_fds(&msg);
}

static void messages_survive_a_full_socket(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg, got;
	struct stat a, b;
	unsigned int put = 0, taken = 0;
	int size = 1, err;

	assert_int_equal(fcntl(f->pair[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(setsockopt(f->pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	vhost_msg_init(&msg, VHOST_MSG_SET_MEM_TABLE);
	msg.size = 8 + 8 * 32;
	msg.memory.count = 8;
	msg.fd_count = 8;
	for (unsigned int i = 0; i < 8; i++)
		msg.fds[i] = null_fd();
	/* The socket fills first, then the outbox. */
	do {
		msg.memory.regions[7].gpa = put;
		err = vhost_outbox_put(&f->outbox, &msg);
		put += !err;
		if (!err)
			err = vhost_outbox_flush(&f->outbox, f->pair[1]);
	} while (err == 0 || err == -EAGAIN);
	assert_int_equal(err, -ENOBUFS);
	assert_int_equal(f->outbox.count, VHOST_OUTBOX_MAX);
	fstat(msg.fds[0], &a);
	vhost_msg_close_fds(&msg); /* those queued are its own */
	while (taken < put) {
		err = vhost_outbox_flush(&f->outbox, f->pair[1]);
		assert_true(err == 0 || err == -EAGAIN);
		while (get(f, &got) == VHOST_STREAM_MESSAGE) {
			assert_int_equal(got.memory.regions[7].gpa, taken++);
			assert_int_equal(got.fd_count, 8);
			fstat(got.fds[7], &b);
			assert_int_equal(a.st_ino, b.st_ino);
			vhost_msg_close_fds(&got);
		}
		assert_int_equal(f->stream.fault, VHOST_FAULT_NONE);
	}
	assert_true(vhost_outbox_empty(&f->outbox));
}

static void sending_to_nobody_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_MSG_SET_OWNER);
	assert_int_equal(vhost_outbox_put(&f->outbox, &msg), 0);
	close(f->pair[1]);
	f->pair[1] = -1;
	assert_int_equal(vhost_outbox_flush(&f->outbox, f->pair[0]), -EPIPE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pieces_of_any_size_make_the_message),
		T(descriptors_stay_with_their_message),
		T(a_bad_header_is_refused_before_its_payload),
		T(a_missing_descriptor_is_noticed),
		T(superfluous_descriptors_are_closed),
		T(more_descriptors_than_fit_are_noticed),
		T(no_room_for_descriptors_is_noticed),
		T(descriptors_cannot_be_piled_up),
		T(the_end_is_noticed_anywhere),
		T(feeding_is_reading),
		T(messages_survive_a_full_socket),
		T(sending_to_nobody_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
