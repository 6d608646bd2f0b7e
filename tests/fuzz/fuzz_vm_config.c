/* The configuration of a VM: refused in one line, or accepted with every value in its range. */
#include <stdlib.h>

#include "vmm/vm_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vm_config *config;
	char why[512] = "";

	if (vm_config_parse_text((const char *)data, size, &config, why, sizeof(why)) < 0) {
		if (!why[0] || strchr(why, '\n'))
			abort();
		return 0;
	}
	if (!config->vcpus || config->vcpus > VM_MAX_VCPUS || !config->memory.size ||
	    config->memory.size % config->memory.page_size ||
	    config->device_count > VM_MAX_DEVICES ||
	    config->boot.module_count > BOOT_MAX_MODULES ||
	    !config_file_given(&config->boot.kernel))
		abort();
	vm_config_free(config);
	return 0;
}
