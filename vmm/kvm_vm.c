#include "vmm/kvm_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/layout.h"

#define KVM_API 12
#define CPUID_MAX_ENTRIES 512u
#define ELCR_LEVEL 0x0eu /* interrupts 9 (SCI), 10 and 11 (PCI): as firmware sets port 4D1h */

/* Every capability this program leans on. */
static const struct {
	int number;
	const char *name;
	const char *use;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest RAM"},
	{KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM", "read-only memory"},
	{KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS",
	 "taking memory away"},
	{KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "real mode on Intel"},
	{KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR", "real mode on Intel"},
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "PIC, IOAPIC and local APICs"},
	{KVM_CAP_PIT2, "KVM_CAP_PIT2", "the 8254 timer"},
	{KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2", "resetting the timer"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", "MSI"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "MSI"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "interrupts from other processes"},
	{KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE", "level-triggered interrupts by eventfd"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "doorbells"},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH", "doorbells"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "CPUID"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "several vCPUs"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "resetting vCPUs"},
	{KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "resetting vCPUs"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "pausing vCPUs"},
};

static int check_capabilities(int kvm_fd, unsigned int vcpus, char *why, size_t why_size)
{
	int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
	int max;

	if (version != KVM_API) {
		snprintf(why, why_size, "not a KVM device of API version %d (%s %d)", KVM_API,
			 version < 0 ? "error" : "found version", version < 0 ? errno : version);
		return -ENODEV;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].number) > 0)
			continue;
		snprintf(why, why_size, "this host's KVM lacks %s, needed for %s", needed[i].name,
			 needed[i].use);
		return -ENOTSUP;
	}
	max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (max > 0 && vcpus > (unsigned int)max) {
		snprintf(why, why_size, "this host's KVM allows %d vCPUs, %u are wanted", max,
			 vcpus);
		return -ENOTSUP;
	}
	return 0;
}

static int create_step(char *why, size_t why_size, const char *what)
{
	int err = errno;

	snprintf(why, why_size, "KVM refused %s: %s", what, strerror(err));
	return -err;
}

static int create_chips(struct kvm_vm *vm, char *why, size_t why_size)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity = LAYOUT_IDENTITY_MAP;
	int ret;

	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return create_step(why, why_size, "the identity map's address");
	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_TSS) < 0)
		return create_step(why, why_size, "the task state's address");
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return create_step(why, why_size, "the interrupt controllers");
	if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return create_step(why, why_size, "the timer");
	ret = kvm_irq_init(&vm->irq, vm->vm_fd);
	if (ret < 0) {
		errno = -ret;
		return create_step(why, why_size, "the interrupt routes");
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(vm->power_on.irqchip); i++) {
		vm->power_on.irqchip[i].chip_id = i;
		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &vm->power_on.irqchip[i]) < 0)
			return create_step(why, why_size, "the interrupt controllers' state");
	}
	vm->power_on.irqchip[KVM_IRQCHIP_PIC_SLAVE].chip.pic.elcr = ELCR_LEVEL;
	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &vm->power_on.pit) < 0)
		return create_step(why, why_size, "the timer's state");
	return 0;
}

static struct kvm_vm *vm_of(struct hypervisor *hv)
{
	return container_of(hv, struct kvm_vm, hv);
}

static int op_irq_set(struct hypervisor *hv, uint32_t gsi, bool level)
{
	struct kvm_irq_level irq = {.irq = gsi, .level = level};

	return ioctl(vm_of(hv)->vm_fd, KVM_IRQ_LINE, &irq) < 0 ? -errno : 0;
}

static int op_msi_send(struct hypervisor *hv, uint64_t addr, uint32_t data, uint16_t requester)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data};

	/* 0 means that the guest has the vector masked: not an error of the sender's. */
	return ioctl(vm_of(hv)->vm_fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

static int op_msi_route_set(struct hypervisor *hv, int gsi, uint64_t addr, uint32_t data,
			    uint16_t requester)
{
	return kvm_irq_route_msi(&vm_of(hv)->irq, gsi, addr, data);
}

static void op_msi_route_free(struct hypervisor *hv, int gsi)
{
	kvm_irq_free_msi(&vm_of(hv)->irq, gsi);
}

static int op_irqfd_attach(struct hypervisor *hv, int gsi, int fd, int resample_fd)
{
	return kvm_irq_attach_fd(&vm_of(hv)->irq, gsi, fd, resample_fd);
}

static int op_irqfd_detach(struct hypervisor *hv, int gsi, int fd)
{
	return kvm_irq_detach_fd(&vm_of(hv)->irq, gsi, fd);
}

static int ioeventfd_set(struct hypervisor *hv, const struct ioeventfd *io, uint32_t flags)
{
	struct kvm_ioeventfd req = {
		.datamatch = io->value,
		.addr = io->addr,
		.len = io->size,
		.fd = io->fd,
		.flags = flags | (io->pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (io->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return ioctl(vm_of(hv)->vm_fd, KVM_IOEVENTFD, &req) < 0 ? -errno : 0;
}

static int op_ioeventfd_attach(struct hypervisor *hv, const struct ioeventfd *io)
{
	return ioeventfd_set(hv, io, 0);
}

static int op_ioeventfd_detach(struct hypervisor *hv, const struct ioeventfd *io)
{
	return ioeventfd_set(hv, io, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static const struct hypervisor_ops kvm_ops = {
	.irq_set = op_irq_set,
	.msi_send = op_msi_send,
	.msi_route_set = op_msi_route_set,
	.msi_route_free = op_msi_route_free,
	.irqfd_attach = op_irqfd_attach,
	.irqfd_detach = op_irqfd_detach,
	.ioeventfd_attach = op_ioeventfd_attach,
	.ioeventfd_detach = op_ioeventfd_detach,
};

int kvm_vm_create(struct kvm_vm *vm, int kvm_fd, unsigned int vcpus, char *why, size_t why_size)
{
	int ret, size;

	*vm = (struct kvm_vm){.kvm_fd = kvm_fd, .vm_fd = -1, .hv.ops = &kvm_ops};
	ret = check_capabilities(kvm_fd, vcpus, why, why_size);
	if (ret < 0)
		goto err;
	size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run)) {
		ret = -EPROTO;
		snprintf(why, why_size, "KVM's shared page has %d bytes, expected at least %zu",
			 size, sizeof(struct kvm_run));
		goto err;
	}
	vm->run_size = (size_t)size;
	vm->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0) {
		ret = create_step(why, why_size, "a virtual machine");
		goto err;
	}
	ret = create_chips(vm, why, why_size);
	if (ret < 0)
		goto err;
	return 0;
err:
	kvm_vm_destroy(vm);
	return ret;
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
	kvm_irq_fini(&vm->irq);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	vm->vm_fd = vm->kvm_fd = -1;
}

int kvm_vm_reset(struct kvm_vm *vm)
{
	for (size_t i = 0; i < ARRAY_SIZE(vm->power_on.irqchip); i++)
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &vm->power_on.irqchip[i]) < 0)
			return -errno;
	return ioctl(vm->vm_fd, KVM_SET_PIT2, &vm->power_on.pit) < 0 ? -errno : 0;
}

struct kvm_cpuid2 *kvm_vm_supported_cpuid(const struct kvm_vm *vm)
{
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return NULL;
	cpuid->nent = CPUID_MAX_ENTRIES;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		free(cpuid);
		return NULL;
	}
	return cpuid;
}
