/*
 * Multiboot and PVH with modules: the input's first byte says how many (of the same bytes as the
 * kernel), the second what their command lines and the kernel's are made of, the third whether the
 * map has a hole; the rest is the kernel file. What is loaded must lie in RAM below the hole.
 */
#include "boot_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct boot_file modules[BOOT_MAX_MODULES];

static void try(enum boot_protocol protocol, const uint8_t *data, size_t size, char *line)
{
	const struct boot_range hole = { GUEST_RAM, 256 * MIB };
	struct boot_request req = {
		.protocol = protocol,
		.kernel = { .fd = memfd_create("kernel", MFD_CLOEXEC), .name = "kernel" },
		.cmdline = line,
		.modules = modules,
		.module_count = data[0] % (BOOT_MAX_MODULES + 2),
		.reserved = &hole,
		.reserved_count = data[2] & 1,
	};
	struct boot_cpu cpu;
	char why[256] = "";

	if (req.kernel.fd < 0 || write(req.kernel.fd, data + 3, size - 3) != (ssize_t)(size - 3))
		abort();
	for (unsigned int i = 0; i < BOOT_MAX_MODULES; i++)
		modules[i] = (struct boot_file){ .fd = req.kernel.fd, .name = "module",
						 .cmdline = i & 1 ? line : NULL };
	if (boot_load(boot_guest(), &req, &cpu, why, sizeof(why)) == 0) {
		if (cpu.rip < BOOT_HIGH_RAM_START || cpu.rip >= GUEST_RAM)
			abort();
	} else if (!why[0]) {
		abort();
	}
	close(req.kernel.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char line[8192];
	size_t len;

	if (size < 4)
		return 0;
	len = data[1] * 32u % sizeof(line);
	memset(line, 'a', len);
	line[len] = '\0';
	try(BOOT_MULTIBOOT, data, size, line);
	try(BOOT_PVH, data, size, line);
	return 0;
}
