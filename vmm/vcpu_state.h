/*
 * A vCPU's registers: power-on state as KVM made it, kept for resets, and the state in which a
 * kernel is entered without firmware. The vCPU must not be running; io thread.
 */
#ifndef VMM_VCPU_STATE_H
#define VMM_VCPU_STATE_H

#include <linux/kvm.h>

#include "vmm/boot.h"

struct vcpu_state;

/*
 * Reads everything a reset has to give back. fd: the vCPU, its CPUID set. kvm_fd: for the list of
 * MSRs. 0 or -errno.
 */
must_check int vcpu_state_capture(int kvm_fd, int fd, struct vcpu_state **state);
void vcpu_state_free(struct vcpu_state *state); /* NULL is allowed */

/*
 * Power-on state again. MSRs are set one at a time; what KVM refuses is left and said once a
 * process. 0 or -errno.
 */
must_check int vcpu_state_reset(const struct vcpu_state *state, int fd, bool bootstrap);

/* The bootstrap processor at the kernel's entry. After vcpu_state_reset. 0 or -errno. */
must_check int vcpu_state_enter(int fd, const struct boot_cpu *cpu);

/* The registers in one line, for whoever looks into why a guest died. Any thread that owns fd. */
void vcpu_state_describe(int fd, char *buf, size_t size);

#endif
