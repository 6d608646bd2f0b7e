/*
 * A vCPU's reset under KVM: whatever the guest left in its registers, the power-on state is back.
 * Status 77: there is no KVM here.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/cpuid.h"
#include "vmm/kvm_vm.h"
#include "vmm/vcpu_state.h"

#define SKIPPED 77
#define XCR0_X87_SSE 3u

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                         \
		}                                                                        \
	} while (0)

static int create_vcpu(struct kvm_vm *vm)
{
	const struct cpuid_config config = {.cores = 1};
	struct kvm_cpuid2 *supported = kvm_vm_supported_cpuid(vm);
	struct kvm_cpuid2 *cpuid = supported ? cpuid_build(supported, &config) : NULL;
	int fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);

	CHECK(fd >= 0 && cpuid);
	CHECK(ioctl(fd, KVM_SET_CPUID2, cpuid) == 0);
	free(cpuid);
	free(supported);
	return fd;
}

static void check_registers(int fd, const struct vcpu_state *power_on)
{
	struct kvm_regs regs = {.rip = 0x1234, .rax = 5, .rflags = 2};
	struct kvm_sregs before, sregs;

	CHECK(ioctl(fd, KVM_GET_SREGS, &before) == 0);
	sregs = before;
	sregs.cs.base = 0x10000;
	CHECK(ioctl(fd, KVM_SET_SREGS, &sregs) == 0);
	CHECK(ioctl(fd, KVM_SET_REGS, &regs) == 0);
	CHECK(vcpu_state_reset(power_on, fd, true) == 0);
	CHECK(ioctl(fd, KVM_GET_REGS, &regs) == 0);
	CHECK(ioctl(fd, KVM_GET_SREGS, &sregs) == 0);
	CHECK(regs.rip == 0xfff0 && regs.rax == 0);
	CHECK(sregs.cs.base == before.cs.base);
}

static void check_xcr0(int kvm_fd, int fd, const struct vcpu_state *power_on)
{
	struct kvm_xcrs xcrs;

	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) <= 0)
		return;
	CHECK(ioctl(fd, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs && xcrs.xcrs[0].value == 1);
	xcrs.xcrs[0].value = XCR0_X87_SSE;
	CHECK(ioctl(fd, KVM_SET_XCRS, &xcrs) == 0);
	CHECK(vcpu_state_reset(power_on, fd, true) == 0);
	CHECK(ioctl(fd, KVM_GET_XCRS, &xcrs) == 0);
	CHECK(xcrs.xcrs[0].value == 1);
}

int main(void)
{
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd;
	struct vcpu_state *power_on;
	char why[256] = "";
	struct kvm_vm vm;

	if (kvm_fd < 0) {
		fprintf(stderr, "no /dev/kvm to run a guest with\n");
		return SKIPPED;
	}
	CHECK(kvm_vm_create(&vm, kvm_fd, 1, why, sizeof(why)) == 0);
	fd = create_vcpu(&vm);
	CHECK(vcpu_state_capture(kvm_fd, fd, &power_on) == 0);
	check_registers(fd, power_on);
	check_xcr0(kvm_fd, fd, power_on);
	vcpu_state_free(power_on);
	close(fd);
	kvm_vm_destroy(&vm);
	return 0;
}
