/*
 * The drill's way in, put around functions of vmm by the linker (--wrap), so that vmm itself has no
 * door for it. With ESCAPE_NO_FILTER all is given up but system calls: what the other walls stop by
 * themselves. With ESCAPE_NO_SANDBOX nothing is: the drill must then succeed often, which shows that
 * it would notice.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/io_bus.h"
#include "devemu/block_file.h"
#include "tests/hostile/escape.h"
#include "vmm/board.h"
#include "vmm/kvm_vm.h"
#include "vmm/sandbox.h"

#define WAIT 0xff

struct escape_loot escape_loot = {.kvm = -1, .vm = -1, .vcpu = -1, .disk = -1,
				  .read_only_disk = -1, .port = -1};

/* One line at a time: the guest waits for the answer before it sends the next. */
static struct {
	struct loop *loop;
	char line[400], answer[64];
	unsigned int written, read;
	char sequence[16], name[48];
	atomic_bool done;
} drill;

static long argument(const struct escape_attempt *a, unsigned int i)
{
	return a->args[i] == NUMBER ? escape_loot.number :
	       a->args[i] == TEXT   ? (long)escape_loot.text :
				      a->args[i];
}

static long run(const struct escape_attempt *a)
{
	long ret;

	if (a->make)
		return a->make(&escape_loot);
	ret = syscall(a->call, argument(a, 0), argument(a, 1), argument(a, 2), argument(a, 3),
		      argument(a, 4), argument(a, 5));
	return ret < 0 ? -errno : ret;
}

long escape_try(const char *name)
{
	const struct escape_attempt *(*const tables[])(size_t *) = {escape_calls, escape_roads};

	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		size_t count;
		const struct escape_attempt *attempts = tables[t](&count);

		for (size_t i = 0; i < count; i++)
			if (!strcmp(attempts[i].name, name))
				return run(&attempts[i]);
	}
	return LONG_MIN;
}

static void attempt(void *opaque)
{
	long ret = escape_try(drill.name);

	if (ret == LONG_MIN)
		snprintf(drill.answer, sizeof(drill.answer), "%s unknown\n", drill.sequence);
	else
		snprintf(drill.answer, sizeof(drill.answer), "%s %ld\n", drill.sequence, ret);
	atomic_store(&drill.done, true);
}

static void obey(void)
{
	char thread = 0;

	drill.read = 0;
	atomic_store(&drill.done, false);
	if (sscanf(drill.line, "%15s %47s %c %ld %255s", drill.sequence, drill.name, &thread,
		   &escape_loot.number, escape_loot.text) != 5) {
		snprintf(drill.answer, sizeof(drill.answer), "? %.40s\n", drill.line);
		atomic_store(&drill.done, true);
	} else if (thread == 'v') {
		attempt(NULL);
	} else if (loop_post(drill.loop, attempt, NULL) < 0) {
		abort();
	}
}

static uint64_t drill_read(void *opaque, uint64_t offset, unsigned int size)
{
	if (!atomic_load(&drill.done))
		return WAIT;
	return (uint8_t)drill.answer[drill.read++];
}

static void drill_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	if (value != '\n' && drill.written < sizeof(drill.line) - 1) {
		drill.line[drill.written++] = (char)value;
		return;
	}
	drill.line[drill.written] = '\0';
	drill.written = 0;
	obey();
}

static const struct io_ops drill_ops = {.read = drill_read, .write = drill_write};
static struct io_range drill_range = {
	.name = "drill", .base = ESCAPE_PORT, .size = 1, .ops = &drill_ops};

int __real_board_create(struct board *board, struct device_list *devices,
			const struct board_config *config, char *why, size_t why_size);
int __wrap_board_create(struct board *board, struct device_list *devices,
			const struct board_config *config, char *why, size_t why_size);

int __wrap_board_create(struct board *board, struct device_list *devices,
			const struct board_config *config, char *why, size_t why_size)
{
	int ret = __real_board_create(board, devices, config, why, why_size);

	drill.loop = config->loop;
	return ret ? ret : io_bus_add(config->pio, &drill_range);
}

int __real_kvm_vm_create(struct kvm_vm *vm, int kvm_fd, unsigned int vcpus, char *why,
			 size_t why_size);
int __wrap_kvm_vm_create(struct kvm_vm *vm, int kvm_fd, unsigned int vcpus, char *why,
			 size_t why_size);

int __wrap_kvm_vm_create(struct kvm_vm *vm, int kvm_fd, unsigned int vcpus, char *why,
			 size_t why_size)
{
	int ret = __real_kvm_vm_create(vm, kvm_fd, vcpus, why, why_size);

	escape_loot.kvm = kvm_fd;
	escape_loot.vm = vm->vm_fd;
	return ret;
}

int __real_block_file_create(const struct block_file_config *config, struct block_backend **be,
			     char *why, size_t why_size);
int __wrap_block_file_create(const struct block_file_config *config, struct block_backend **be,
			     char *why, size_t why_size);

int __wrap_block_file_create(const struct block_file_config *config, struct block_backend **be,
			     char *why, size_t why_size)
{
	int ret = __real_block_file_create(config, be, why, why_size);

	if (ret)
		return ret;
	if (config->read_only)
		escape_loot.read_only_disk = config->fd;
	else
		escape_loot.disk = config->fd;
	if (!config->read_only)
		escape_loot.disk_size = (*be)->capacity;
	return 0;
}

int __real_io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags);
int __wrap_io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags);

int __wrap_io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
{
	escape_loot.ring = ring;
	return __real_io_uring_queue_init(entries, ring, flags);
}

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	escape_loot.port = fd;
	snprintf(escape_loot.port_path, sizeof(escape_loot.port_path), "%s",
		 ((const struct sockaddr_un *)addr)->sun_path);
	return __real_connect(fd, addr, len);
}

#if defined(ESCAPE_NO_SANDBOX) || defined(ESCAPE_NO_FILTER)
int __real_sandbox_enter_root(int root);
int __wrap_sandbox_enter_root(int root);
int __real_sandbox_give_up_files(void);
int __wrap_sandbox_give_up_files(void);
int __wrap_sandbox_confine_vcpu(void);
int __wrap_sandbox_confine_process(void);

int __wrap_sandbox_enter_root(int root)
{
#ifdef ESCAPE_NO_FILTER
	return __real_sandbox_enter_root(root);
#else
	return close(root);
#endif
}

int __wrap_sandbox_give_up_files(void)
{
#ifdef ESCAPE_NO_FILTER
	return __real_sandbox_give_up_files();
#else
	return 0;
#endif
}

int __wrap_sandbox_confine_vcpu(void)
{
	return 0;
}

int __wrap_sandbox_confine_process(void)
{
	return 0;
}
#endif
