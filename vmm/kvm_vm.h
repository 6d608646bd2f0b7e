/*
 * One virtual machine of KVM: the system and VM descriptors, the in-kernel interrupt controllers
 * and timer, and struct hypervisor_ops on them.
 */
#ifndef VMM_KVM_VM_H
#define VMM_KVM_VM_H

#include <linux/kvm.h>

#include "core/hypervisor.h"
#include "vmm/kvm_irq.h"

/* What the chips held at power-on, to be given back at reset. */
struct kvm_chips {
	struct kvm_irqchip irqchip[3]; /* PIC master, slave, IOAPIC */
	struct kvm_pit_state2 pit;
};

struct kvm_vm {
	struct hypervisor hv; /* what devices are given */
	int kvm_fd;	      /* owned */
	int vm_fd;
	size_t run_size; /* bytes of a vCPU's shared page */
	struct kvm_irq irq;
	struct kvm_chips power_on;
};

/*
 * Takes over kvm_fd (an open /dev/kvm), checks every capability and creates the VM. 0 or -errno
 * with a line in `why` that names what is missing. io thread.
 */
must_check int kvm_vm_create(struct kvm_vm *vm, int kvm_fd, unsigned int vcpus, char *why,
			     size_t why_size);
void kvm_vm_destroy(struct kvm_vm *vm);

/* Interrupt controllers and timer back to power-on. io thread, vCPUs paused. 0 or -errno. */
must_check int kvm_vm_reset(struct kvm_vm *vm);

/* What /dev/kvm lets a guest see of the processor; free() it. NULL: errno. */
struct kvm_cpuid2 *kvm_vm_supported_cpuid(const struct kvm_vm *vm);

#endif
