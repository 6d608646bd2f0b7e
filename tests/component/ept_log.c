/*
 * Slots of RAM under KVM: the dirty log holds the guest's own writes together with the host's, page
 * by page, and only while it runs. Status 77: there is no KVM here.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/ept.h"
#include "vmm/kvm_vm.h"

#define SKIPPED 77
#define RAM (2 * MIB)
#define CODE 0x1000u
#define GUEST_PAGE 0x5000u
#define HOST_PAGE 0x9000u

/* Real mode: stores AL at 5000h, and writes it to port F4h, which comes back to us. */
static const uint8_t code[] = {0xb0, 0x5a, 0xa2, GUEST_PAGE & 0xff, GUEST_PAGE >> 8, 0xe6, 0xf4};

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                         \
		}                                                                        \
	} while (0)

struct guest {
	struct kvm_vm vm;
	struct guest_memory *memory;
	struct ept ept;
	int vcpu;
	struct kvm_run *run;
};

static void create(struct guest *g, int kvm_fd)
{
	const struct mem_slot_request req = {.size = RAM, .page_size = 4 * KIB, .name = "ram"};
	char why[256] = "";

	CHECK(kvm_vm_create(&g->vm, kvm_fd, 1, why, sizeof(why)) == 0);
	g->memory = guest_memory_create();
	CHECK(g->memory);
	CHECK(guest_memory_add_slot(g->memory, &req, why, sizeof(why)) == 0);
	CHECK(ept_init(&g->ept, g->memory, g->vm.vm_fd) == 0);
	CHECK(guest_memory_write(g->memory, CODE, code, sizeof(code)) == 0);
	g->vcpu = ioctl(g->vm.vm_fd, KVM_CREATE_VCPU, 0);
	CHECK(g->vcpu >= 0);
	g->run = mmap(NULL, g->vm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
	CHECK(g->run != MAP_FAILED);
}

/* The code, once. */
static void run(struct guest *g)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
	struct kvm_sregs sregs;

	CHECK(ioctl(g->vcpu, KVM_GET_SREGS, &sregs) == 0);
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.base = sregs.ds.selector = 0;
	CHECK(ioctl(g->vcpu, KVM_SET_SREGS, &sregs) == 0);
	CHECK(ioctl(g->vcpu, KVM_SET_REGS, &regs) == 0);
	CHECK(ioctl(g->vcpu, KVM_RUN, 0) == 0);
	CHECK(g->run->exit_reason == KVM_EXIT_IO && g->run->io.port == 0xf4);
}

static bool dirty(const uint64_t *bitmap, gpa_t gpa)
{
	return bitmap[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1;
}

int main(void)
{
	uint64_t bitmap[RAM / 4096 / 64];
	const struct mem_slot *slot;
	struct guest g = {0};
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm_fd < 0) {
		fprintf(stderr, "no /dev/kvm to run a guest with\n");
		return SKIPPED;
	}
	create(&g, kvm_fd);
	slot = guest_memory_slot(g.memory, 0);
	run(&g);
	CHECK(guest_memory_log_start(g.memory) == 0);
	CHECK(ept_log_fetch(&g.ept, slot, bitmap, ARRAY_SIZE(bitmap)) == 0);
	CHECK(!dirty(bitmap, GUEST_PAGE)); /* written before the log began */
	run(&g);
	CHECK(guest_memory_write(g.memory, HOST_PAGE, "x", 1) == 0);
	CHECK(ept_log_fetch(&g.ept, slot, bitmap, ARRAY_SIZE(bitmap)) == 0);
	CHECK(dirty(bitmap, GUEST_PAGE));
	CHECK(dirty(bitmap, HOST_PAGE));
	CHECK(!dirty(bitmap, 0x20000));
	CHECK(ept_log_fetch(&g.ept, slot, bitmap, ARRAY_SIZE(bitmap)) == 0);
	CHECK(!dirty(bitmap, GUEST_PAGE) && !dirty(bitmap, HOST_PAGE)); /* fetched is cleared */
	guest_memory_log_stop(g.memory);
	run(&g);

	munmap(g.run, g.vm.run_size);
	close(g.vcpu);
	ept_fini(&g.ept);
	guest_memory_destroy(g.memory);
	kvm_vm_destroy(&g.vm);
	return 0;
}
