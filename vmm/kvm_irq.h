/*
 * KVM's interrupt routing: which GSI reaches which PIC or IOAPIC pin, or becomes which message,
 * and which eventfds raise a GSI. Full in-kernel irqchip.
 * Any thread; KVM's table is replaced as a whole under the lock.
 */
#ifndef VMM_KVM_IRQ_H
#define VMM_KVM_IRQ_H

#include <linux/kvm.h>
#include <pthread.h>

#include "core/bits.h"

#define KVM_IRQ_IOAPIC_PINS 24u
#define KVM_IRQ_MAX_GSIS 1024u /* pins included */

struct kvm_irq {
	int vm_fd; /* borrowed */
	pthread_mutex_t lock;
	struct kvm_irq_routing *table;
	unsigned int capacity; /* entries */
	uint64_t used[KVM_IRQ_MAX_GSIS / 64];
};

/* Routes the pins. 0 or -errno. */
must_check int kvm_irq_init(struct kvm_irq *irq, int vm_fd);
void kvm_irq_fini(struct kvm_irq *irq);

/* As in struct hypervisor_ops. */
must_check int kvm_irq_route_msi(struct kvm_irq *irq, int gsi, uint64_t addr, uint32_t data);
void kvm_irq_free_msi(struct kvm_irq *irq, int gsi);
must_check int kvm_irq_attach_fd(struct kvm_irq *irq, int gsi, int fd, int resample_fd);
int kvm_irq_detach_fd(struct kvm_irq *irq, int gsi, int fd);

#endif
