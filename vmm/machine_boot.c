#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/acpi.h"
#include "vmm/boot.h"
#include "vmm/machine_internal.h"

static int open_file(const char *key, const struct config_file *config, struct boot_file *file,
		     struct machine_error *error)
{
	int fd = config_file_open(config, O_RDONLY | O_NONBLOCK); /* a FIFO is refused later */

	if (fd < 0) {
		error->config = true;
		snprintf(error->why, sizeof(error->why),
			 "%s: found %s; allowed: a file that can be read (%s)", key,
			 config->path ? config->path : "a descriptor", strerror(-fd));
		return fd;
	}
	file->fd = fd;
	file->name = config->path ? config->path : key;
	return 0;
}

int machine_files_open(struct machine *m, struct machine_error *error)
{
	const struct vm_config *config = m->config;
	struct machine_files *files = &m->files;
	int ret;

	ret = open_file("boot.kernel", &config->boot.kernel, &files->kernel, error);
	if (!ret && config_file_given(&config->boot.initrd)) {
		ret = open_file("boot.initrd", &config->boot.initrd, &files->initrd, error);
		files->has_initrd = !ret;
	}
	for (unsigned int i = 0; i < config->boot.module_count && !ret; i++) {
		const struct module_config *module = &config->boot.modules[i];

		ret = open_file("boot.modules", &module->file, &files->modules[i], error);
		if (ret < 0)
			break;
		files->modules[i].cmdline = module->cmdline;
		files->module_count++;
	}
	return ret;
}

void machine_files_close(struct machine *m)
{
	struct machine_files *files = &m->files;

	if (files->kernel.name)
		close(files->kernel.fd);
	if (files->has_initrd)
		close(files->initrd.fd);
	for (unsigned int i = 0; i < files->module_count; i++)
		close(files->modules[i].fd);
	*files = (struct machine_files){0};
}

static struct pci_windows windows(const struct layout *layout)
{
	return (struct pci_windows){
		.mmio32_base = LAYOUT_MMIO32_BASE,
		.mmio32_size = LAYOUT_MMIO32_END - LAYOUT_MMIO32_BASE,
		.mmio64_base = layout->mmio64_base,
		.mmio64_size = layout->mmio64_size,
		.io_base = LAYOUT_IO_BASE,
		.io_size = LAYOUT_IO_SIZE,
	};
}

static int write_tables(struct machine *m, struct machine_error *error)
{
	struct acpi_memory_affinity memory[VM_MAX_NODES + 1];
	unsigned int vcpu_node[VM_MAX_VCPUS];
	const struct vm_config *vm = m->config;
	struct acpi_config config = {
		.vcpus = vm->vcpus,
		.ecam_base = LAYOUT_ECAM_BASE,
		.ecam_buses = LAYOUT_ECAM_BUSES,
		.windows = windows(&m->layout),
		.nodes = vm->memory.nodes,
		.memory = memory,
		.memory_count = layout_nodes(&m->layout, vm->memory.nodes, memory),
		.vcpu_node = vcpu_node,
	};
	uint8_t *buf = calloc(1, ACPI_AREA_SIZE);
	size_t used;
	int ret;

	if (!buf) {
		snprintf(error->why, sizeof(error->why), "out of memory");
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < vm->vcpus; i++)
		vcpu_node[i] = i * vm->memory.nodes / vm->vcpus;
	ret = acpi_build(&config, buf, ACPI_AREA_SIZE, &used, error->why, sizeof(error->why));
	if (!ret) {
		ret = guest_memory_write(m->memory, ACPI_AREA_BASE, buf, used);
		if (ret < 0) {
			error->config = true;
			snprintf(error->why, sizeof(error->why),
				 "memory.size_mib: found too little for the ACPI tables; "
				 "allowed: 2 or more");
		}
	}
	free(buf);
	return ret;
}

int machine_boot(struct machine *m, struct boot_cpu *entry, struct machine_error *error)
{
	const struct boot_range reserved = {LAYOUT_ECAM_BASE, LAYOUT_ECAM_BUSES * MIB};
	const struct pci_windows pci = windows(&m->layout);
	const struct boot_request request = {
		.protocol = m->config->boot.protocol,
		.kernel = m->files.kernel,
		.initrd = m->files.has_initrd ? &m->files.initrd : NULL,
		.cmdline = m->config->boot.cmdline,
		.modules = m->files.modules,
		.module_count = m->files.module_count,
		.rsdp = ACPI_AREA_BASE,
		.reserved = &reserved,
		.reserved_count = 1,
	};
	int ret;

	ret = pci_bus_assign(m->board.root, &pci, board_irq_of, m);
	if (ret < 0) {
		snprintf(error->why, sizeof(error->why), "the PCI windows are too small: %s",
			 strerror(-ret));
		return ret;
	}
	ret = write_tables(m, error);
	if (ret < 0)
		return ret;
	ret = boot_load(m->memory, &request, entry, error->why, sizeof(error->why));
	if (ret < 0)
		error->config = true;
	return ret;
}
