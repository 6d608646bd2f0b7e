/*
 * What the two boot targets share: a small guest and a kernel file in a memfd.
 */
#ifndef TESTS_FUZZ_BOOT_GUEST_H
#define TESTS_FUZZ_BOOT_GUEST_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/boot.h"

#define GUEST_RAM (8 * MIB)

static inline struct guest_memory *boot_guest(void)
{
	static struct guest_memory *gm;
	const struct mem_slot_request ram = {
		.size = GUEST_RAM, .page_size = 4 * KIB, .name = "fuzz-ram"};
	char why[128];

	if (gm)
		return gm;
	gm = guest_memory_create();
	if (!gm || guest_memory_add_slot(gm, &ram, why, sizeof(why)))
		abort();
	return gm;
}

static inline void boot_guest_try(enum boot_protocol protocol, const uint8_t *data, size_t size)
{
	struct boot_file initrd = {.fd = memfd_create("initrd", MFD_CLOEXEC), .name = "initrd"};
	const struct boot_request req = {
		.protocol = protocol,
		.kernel = {.fd = memfd_create("kernel", MFD_CLOEXEC), .name = "kernel"},
		.initrd = &initrd,
		.cmdline = "quiet",
		.rsdp = 0xe0000,
	};
	struct boot_cpu cpu;
	char why[256] = "";

	if (req.kernel.fd < 0 || initrd.fd < 0 ||
	    write(req.kernel.fd, data, size) != (ssize_t)size || write(initrd.fd, "x", 1) != 1)
		abort();
	if (boot_load(boot_guest(), &req, &cpu, why, sizeof(why)) == 0) {
		if (cpu.rip < BOOT_HIGH_RAM_START || cpu.rip >= GUEST_RAM)
			abort();
	} else if (!why[0]) {
		abort(); /* a refusal without its reason */
	}
	close(req.kernel.fd);
	close(initrd.fd);
}

#endif
