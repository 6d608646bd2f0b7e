#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/machine_internal.h"
#include "vmm/numa_place.h"
#include "vmm/sandbox.h"

/* Any thread; perhaps with a device's lock held. */
static void request(struct machine *m, enum machine_request what, uint8_t debug_status,
		    const char *message)
{
	vcpu_group_ask_pause(m->vcpus);
	m->events.requested(m->events.opaque, what, debug_status, message);
}

static void on_power_off(void *opaque)
{
	request(opaque, MACHINE_POWER_OFF, 0, "the guest powered off (ACPI S5)");
}

static void on_reset(void *opaque)
{
	request(opaque, MACHINE_RESET, 0, "the reset line was pulled");
}

static void on_debug_exit(void *opaque, unsigned int status)
{
	char message[64];

	snprintf(message, sizeof(message), "the guest wrote to the debug-exit port: status %u",
		 status);
	request(opaque, MACHINE_DEBUG_EXIT, (uint8_t)status, message);
}

static void on_vcpu(void *opaque, enum vcpu_event event, const char *message)
{
	static const enum machine_request requests[] = {
		[VCPU_TRIPLE_FAULT] = MACHINE_RESET, /* as the chipset does */
		[VCPU_GUEST_FAULT] = MACHINE_GUEST_FAULT,
		[VCPU_HOST_FAILURE] = MACHINE_HOST_FAILURE,
	};

	request(opaque, requests[event], 0, message);
}

static int host_step(struct machine_error *error, const char *what, int ret)
{
	if (ret < 0)
		snprintf(error->why, sizeof(error->why), "%s: %s", what, strerror(-ret));
	return ret;
}

static int create_kvm(struct machine *m, struct machine_error *error)
{
	const struct config_file *file = &m->config->kvm;
	int fd = config_file_open(file, O_RDWR);

	if (fd < 0) {
		snprintf(error->why, sizeof(error->why), "%s cannot be opened: %s",
			 file->path ? file->path : "KVM's descriptor", strerror(-fd));
		return fd;
	}
	return kvm_vm_create(&m->kvm, fd, m->config->vcpus, error->why, sizeof(error->why));
}

static int compute_layout(struct machine *m, struct machine_error *error)
{
	struct kvm_cpuid2 *cpuid = kvm_vm_supported_cpuid(&m->kvm);
	unsigned int bits;
	int ret;

	if (!cpuid) {
		ret = -errno;
		snprintf(error->why, sizeof(error->why), "KVM_GET_SUPPORTED_CPUID: %s",
			 strerror(-ret));
		return ret;
	}
	bits = cpuid_phys_bits(cpuid);
	free(cpuid);
	ret = layout_compute(m->config->memory.size, m->config->memory.page_size, bits,
			     &m->layout);
	if (ret < 0) {
		error->config = true;
		snprintf(error->why, sizeof(error->why),
			 "memory.size_mib: found %llu; allowed: what fits below this processor's "
			 "%u address bits", (unsigned long long)(m->config->memory.size / MIB),
			 bits);
	}
	return ret;
}

static int add_slot(struct machine *m, gpa_t gpa, uint64_t size, const char *name,
		    struct machine_error *error)
{
	const struct mem_slot_request req = {
		.gpa = gpa,
		.size = size,
		.page_size = m->config->memory.page_size,
		.prefault = m->config->memory.prefault,
		.name = name,
	};

	if (!size)
		return 0;
	return guest_memory_add_slot(m->memory, &req, error->why, sizeof(error->why));
}

/* A slot for each part of a node, so that each can be bound to its host node. */
static int add_bound_ram(struct machine *m, struct machine_error *error)
{
	const struct vm_config *config = m->config;
	struct acpi_memory_affinity parts[VM_MAX_NODES + 1];
	unsigned int count = layout_nodes(&m->layout, config->memory.nodes, parts);
	int ret = 0;

	for (unsigned int i = 0; i < count && !ret; i++) {
		unsigned int host = config->memory.host_nodes[parts[i].node];
		const struct mem_slot *slot;

		/* Prefaulting allocates at once; what is touched later follows the mapping's policy. */
		numa_place_allocations((int)host);
		ret = add_slot(m, parts[i].base, parts[i].size, "guest-ram", error);
		numa_place_allocations(-1);
		slot = ret ? NULL : guest_memory_find(m->memory, parts[i].base, parts[i].size);
		if (slot)
			numa_place_memory(slot->hva, slot->size, host);
	}
	return ret;
}

static int add_ram(struct machine *m, struct machine_error *error)
{
	int ret;

	if (m->config->memory.bound)
		return add_bound_ram(m, error);
	ret = add_slot(m, 0, m->layout.low_ram, "guest-ram-low", error);
	if (!ret)
		ret = add_slot(m, LAYOUT_HIGH_RAM_BASE, m->layout.high_ram, "guest-ram-high",
			       error);
	return ret;
}

static int create_memory(struct machine *m, struct machine_error *error)
{
	int ret;

	m->memory = guest_memory_create();
	m->pio = io_bus_create("pio");
	m->mmio = io_bus_create("mmio");
	if (!m->memory || !m->pio || !m->mmio) {
		snprintf(error->why, sizeof(error->why), "out of memory");
		return -ENOMEM;
	}
	ret = ept_init(&m->ept, m->memory, m->kvm.vm_fd);
	if (ret < 0) {
		m->ept.gm = NULL;
		snprintf(error->why, sizeof(error->why), "KVM refused guest memory: %s",
			 strerror(-ret));
		return ret;
	}
	return add_ram(m, error);
}

static int create_board(struct machine *m, struct machine_error *error)
{
	const struct board_config config = {
		.loop = m->loop,
		.hv = &m->kvm.hv,
		.pio = m->pio,
		.mmio = m->mmio,
		.console = m->console,
		.layout = &m->layout,
		.debug_exit = m->config->debug_exit,
		.power_off = on_power_off,
		.reset = on_reset,
		.debug = on_debug_exit,
		.opaque = m,
	};

	return board_create(&m->board, &m->devices, &config, error->why, sizeof(error->why));
}

/* What the device's type does with guest memory must go together with what is done already. */
static int admit_memory_use(struct machine *m, const struct device_config *config,
			    struct machine_error *error)
{
	enum memory_feature feature = config->type->feature;
	const char *refusal;

	if (feature == MEMORY_FEATURES)
		return 0;
	refusal = memory_contract_refusal(m->memory_properties, feature);
	if (refusal) {
		error->config = true;
		snprintf(error->why, sizeof(error->why), "%s: %s", config->id, refusal);
		return -EINVAL;
	}
	m->memory_properties |= memory_contract_adds(feature);
	return 0;
}

/* Root ports stand at slots 1 to 24 of bus 0, each with one NIC or disk behind it. */
static int create_slot(struct machine *m, unsigned int index, struct machine_error *error)
{
	const struct device_config *config = &m->config->devices[index];
	struct machine_slot *slot = &m->slots[index];
	struct device_host host = {
		.loop = m->loop, .hv = &m->kvm.hv, .memory = m->memory};
	int ret;

	m->slot_count = index + 1;
	snprintf(slot->port_id, sizeof(slot->port_id), "root-port-%u", index + 1);
	ret = pci_root_port_create(m->board.root, PCI_DEVFN_OF(index + 1, 0), slot->port_id,
				   (uint8_t)(index + 1), &slot->port);
	if (!ret) {
		TAILQ_INSERT_TAIL(&m->devices, pci_root_port_device(slot->port), link);
		ret = dma_space_create_identity(m->memory, config->id, &slot->dma);
	}
	if (ret < 0) {
		snprintf(error->why, sizeof(error->why), "%s: %s", slot->port_id, strerror(-ret));
		return ret;
	}
	ret = admit_memory_use(m, config, error);
	if (ret < 0)
		return ret;
	slot->type = config->type;
	host.dma = dma_space_dma(slot->dma);
	ret = config->type->create(&host, config, &slot->pci, error->why, sizeof(error->why));
	if (ret < 0) {
		slot->pci = NULL;
		error->config = device_create_refuses(ret);
		return ret;
	}
	TAILQ_INSERT_TAIL(&m->devices, &slot->pci->dev, link);
	ret = pci_bus_add(pci_root_port_bus(slot->port), slot->pci, 0);
	if (ret < 0)
		snprintf(error->why, sizeof(error->why), "%s does not join its bus: %s", config->id,
			 strerror(-ret));
	return ret;
}

static int create_vcpus(struct machine *m, struct machine_error *error)
{
	const struct vm_config *vm = m->config;
	unsigned int host_nodes[VM_MAX_VCPUS];
	const struct vcpu_group_config config = {
		.vm = &m->kvm,
		.pio = m->pio,
		.mmio = m->mmio,
		.count = vm->vcpus,
		.cores = cpuid_cores(vm->vcpus, vm->memory.nodes),
		.host_nodes = vm->memory.bound ? host_nodes : NULL,
		.event = on_vcpu,
		.opaque = m,
	};

	int ret;

	for (unsigned int i = 0; i < vm->vcpus; i++)
		host_nodes[i] = vm->memory.host_nodes[i * vm->memory.nodes / vm->vcpus];
	ret = vcpu_group_create(&config, &m->vcpus, error->why, sizeof(error->why));
	if (ret < 0 || !vm->memory.prefault)
		return ret;
	ret = vcpu_group_prefault(m->vcpus, &m->ept);
	if (ret < 0)
		log_info("%s: second-level mappings come with the guest's accesses: %s",
			 vm->id, strerror(-ret));
	return 0;
}

int machine_create(struct loop *loop, const struct vm_config *config,
		   const struct machine_events *events, struct machine **out,
		   struct machine_error *error)
{
	struct machine *m = calloc(1, sizeof(*m));
	int ret;

	*error = (struct machine_error){0};
	if (!m) {
		snprintf(error->why, sizeof(error->why), "out of memory");
		return -ENOMEM;
	}
	m->loop = loop;
	m->config = config;
	m->events = *events;
	m->quiesced = true;
	m->kvm.kvm_fd = m->kvm.vm_fd = -1;
	TAILQ_INIT(&m->devices);
	if ((ret = machine_files_open(m, error)) < 0 || (ret = create_kvm(m, error)) < 0 ||
	    (ret = compute_layout(m, error)) < 0 || (ret = create_memory(m, error)) < 0 ||
	    (ret = console_open(loop, config, &m->console, error->why, sizeof(error->why))) < 0 ||
	    (ret = create_board(m, error)) < 0)
		goto err;
	for (unsigned int i = 0; i < config->device_count; i++) {
		ret = create_slot(m, i, error);
		if (ret < 0)
			goto err;
	}
	ret = host_step(error, "the host's files cannot be given up", sandbox_give_up_files());
	if (!ret)
		ret = create_vcpus(m, error);
	if (ret < 0)
		goto err;
	*out = m;
	return 0;
err:
	machine_destroy(m);
	return ret;
}

/* Youngest first, so that what is behind a root port goes before the port. */
static void destroy_devices(struct machine *m)
{
	struct device *dev;

	for (unsigned int i = 0; i < m->slot_count; i++)
		if (m->slots[i].pci && m->slots[i].pci->bus)
			pci_bus_remove(m->slots[i].pci);
	while ((dev = TAILQ_LAST(&m->devices, device_list))) {
		TAILQ_REMOVE(&m->devices, dev, link);
		dev->ops->destroy(dev);
	}
	for (unsigned int i = 0; i < m->slot_count; i++)
		dma_space_destroy(m->slots[i].dma);
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	vcpu_group_destroy(m->vcpus);
	destroy_devices(m);
	board_destroy(&m->board);
	if (m->console)
		m->console->ops->destroy(m->console);
	ept_fini(&m->ept);
	if (m->memory)
		guest_memory_destroy(m->memory);
	if (m->pio)
		io_bus_destroy(m->pio);
	if (m->mmio)
		io_bus_destroy(m->mmio);
	kvm_vm_destroy(&m->kvm);
	machine_files_close(m);
	free(m);
}

int machine_reset(struct machine *m, struct machine_error *error)
{
	struct boot_cpu entry;
	struct device *dev;
	int ret;

	*error = (struct machine_error){0};
	/* Youngest first: the chipset's windows can only come home when no BAR is there any more. */
	TAILQ_FOREACH_REVERSE(dev, &m->devices, device_list, link) {
		device_enter(dev);
		if (dev->ops->reset)
			dev->ops->reset(dev);
		device_leave(dev);
	}
	ret = host_step(error, "KVM does not reset the interrupt controllers",
			kvm_vm_reset(&m->kvm));
	if (!ret)
		ret = machine_boot(m, &entry, error);
	if (!ret)
		ret = host_step(error, "KVM does not reset the vCPUs",
				vcpu_group_reset(m->vcpus, &entry));
	return ret;
}

int machine_pause(struct machine *m)
{
	struct device *dev;
	int ret = 0;

	vcpu_group_pause(m->vcpus);
	if (m->quiesced)
		return 0;
	TAILQ_FOREACH_REVERSE(dev, &m->devices, device_list, link) {
		int one = dev->ops->quiesce ? dev->ops->quiesce(dev) : 0;

		if (one < 0) {
			log_err("%s does not pause: %s", dev->id, strerror(-one));
			ret = ret ? ret : one;
		}
	}
	m->quiesced = true;
	return ret;
}

int machine_resume(struct machine *m)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &m->devices, link) {
		int ret = dev->ops->resume ? dev->ops->resume(dev) : 0;

		if (ret < 0) {
			log_err("%s does not resume: %s", dev->id, strerror(-ret));
			return ret;
		}
	}
	m->quiesced = false;
	vcpu_group_resume(m->vcpus);
	return 0;
}

void machine_power_button(struct machine *m)
{
	lpc_power_button(m->board.lpc);
}

const struct guest_memory *machine_memory(const struct machine *m)
{
	return m->memory;
}

const struct layout *machine_layout(const struct machine *m)
{
	return &m->layout;
}

int machine_vm_stats(struct machine *m, kvm_stat_fn emit, void *opaque)
{
	int fd = kvm_stats_open(m->kvm.vm_fd);
	int ret;

	if (fd < 0)
		return fd;
	ret = kvm_stats_read(fd, emit, opaque);
	close(fd);
	return ret;
}

int machine_vcpu_stats(struct machine *m, kvm_stat_fn emit, void *opaque)
{
	return vcpu_group_stats(m->vcpus, emit, opaque);
}

void machine_each_device(struct machine *m,
			 void (*fn)(void *opaque, struct device *dev,
				    const struct machine_slot *slot),
			 void *opaque)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &m->devices, link) {
		const struct machine_slot *slot = NULL;

		for (unsigned int i = 0; i < m->slot_count; i++)
			if (&m->slots[i].pci->dev == dev)
				slot = &m->slots[i];
		fn(opaque, dev, slot);
	}
}

void machine_slot_describe(const struct machine_slot *slot, json_t *info)
{
	uint16_t at = pci_device_requester(slot->pci);
	char address[16];

	snprintf(address, sizeof(address), "%02x:%02x.%x", at >> 8, at >> 3 & 0x1f, at & 7);
	json_object_set_new(info, "pci", json_string(address));
	json_object_set_new(info, "mode", json_string(slot->type->mode));
	if (slot->type->describe)
		slot->type->describe(slot->pci, info);
}

void machine_counters(struct machine *m, counter_fn emit, void *opaque)
{
	emit(opaque, "pio_unclaimed", io_bus_unclaimed(m->pio));
	emit(opaque, "mmio_unclaimed", io_bus_unclaimed(m->mmio));
	for (unsigned int i = 0; i < m->slot_count; i++)
		if (m->slots[i].dma)
			dma_space_counters(m->slots[i].dma, emit, opaque);
}
