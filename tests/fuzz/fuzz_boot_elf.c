/* The input is a kernel file, for PVH, for Multiboot and for detection. */
#include "boot_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	boot_guest_try(BOOT_AUTO, data, size);
	boot_guest_try(BOOT_PVH, data, size);
	boot_guest_try(BOOT_MULTIBOOT, data, size);
	return 0;
}
