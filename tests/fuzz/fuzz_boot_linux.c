/*
 * The input is a kernel file; what it claims to be is decided by detection, or forced.
 * After a successful load the entry must be in guest RAM that kernels may use.
 */
#include "boot_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	boot_guest_try(BOOT_LINUX, data, size);
	return 0;
}
