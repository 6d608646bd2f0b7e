/*
 * What KVM_RUN returned for, turned into accesses to the two buses. On the vCPU's thread; pure but
 * for the buses, so it is tested without KVM.
 */
#ifndef VMM_VCPU_EXIT_H
#define VMM_VCPU_EXIT_H

#include "vmm/vcpu.h"

/*
 * Serves the exit that `run` describes. False: the vCPU cannot go on; event and `what` (one line)
 * say why.
 */
bool vcpu_exit_handle(struct kvm_run *run, struct io_bus *pio, struct io_bus *mmio,
		      enum vcpu_event *event, char *what, size_t size);

#endif
