#include "vmm/vcpu_state.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "core/log.h"

/* Architectural MSRs (Intel SDM 4, AMD APM 2 appendix A). */
#define MSR_TSC		     0x010
#define MSR_TSC_ADJUST	     0x03b
#define MSR_MISC_ENABLE	     0x1a0
#define MSR_MTRR_DEF_TYPE    0x2ff
#define MISC_ENABLE_FAST_STR 1u
#define MTRR_ENABLED	     (1u << 11)
#define MTRR_WRITE_BACK	     6u

#define APIC_LVT_LINT0	   0x350
#define APIC_LVT_LINT1	   0x360
#define APIC_MODE_NMI	   (4u << 8)
#define APIC_MODE_EXTINT   (7u << 8)

#define MAX_MSRS 1024u

struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	_Alignas(struct kvm_xsave) uint8_t xsave[sizeof(struct kvm_xsave)];
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs; /* nr_xcrs 0: this processor has none */
	unsigned int msr_count;
	struct kvm_msr_entry msrs[];
};

/* A struct kvm_msrs with room for one. */
struct one_msr {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct one_msr, entry) == sizeof(struct kvm_msrs), "as the kernel has it");

static bool get_msr(int fd, uint32_t index, uint64_t *value)
{
	struct one_msr msr = {.nmsrs = 1, .entry.index = index};

	if (ioctl(fd, KVM_GET_MSRS, &msr) != 1)
		return false;
	*value = msr.entry.data;
	return true;
}

/* Some KVMs refuse some MSRs: the guest is told (by #GP) when it tries, so we go on. */
static void set_msr(int fd, uint32_t index, uint64_t value)
{
	static _Atomic bool told;
	struct one_msr msr = {.nmsrs = 1, .entry = {.index = index, .data = value}};

	if (ioctl(fd, KVM_SET_MSRS, &msr) == 1)
		return;
	if (!atomic_exchange(&told, true))
		log_info("KVM refuses MSR %xh = %llxh, and perhaps others: left as they are", index,
			 (unsigned long long)value);
	else
		log_debug("KVM refuses MSR %xh = %llxh", index, (unsigned long long)value);
}

static struct kvm_msr_list *msr_list(int kvm_fd)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MAX_MSRS * sizeof(list->indices[0]));

	if (!list)
		return NULL;
	list->nmsrs = MAX_MSRS;
	if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
		free(list);
		return NULL;
	}
	return list;
}

static void capture_msrs(struct vcpu_state *state, const struct kvm_msr_list *list, int fd)
{
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		struct kvm_msr_entry *entry = &state->msrs[state->msr_count];

		/* The counters of all vCPUs restart together, in vcpu_state_reset. */
		if (list->indices[i] == MSR_TSC || list->indices[i] == MSR_TSC_ADJUST)
			continue;
		entry->index = list->indices[i];
		if (get_msr(fd, entry->index, (uint64_t *)&entry->data))
			state->msr_count++;
	}
}

/* What firmware leaves behind: wires of the local APIC, memory types, fast strings. */
static void as_firmware(struct vcpu_state *state, bool bootstrap)
{
	if (bootstrap)
		put_le32(state->lapic.regs + APIC_LVT_LINT0, APIC_MODE_EXTINT);
	put_le32(state->lapic.regs + APIC_LVT_LINT1, APIC_MODE_NMI);
}

static int get_all(struct vcpu_state *state, int kvm_fd, int fd)
{
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0 &&
	    ioctl(fd, KVM_GET_XCRS, &state->xcrs) < 0)
		return -errno;
	if (ioctl(fd, KVM_GET_REGS, &state->regs) < 0 ||
	    ioctl(fd, KVM_GET_SREGS, &state->sregs) < 0 ||
	    ioctl(fd, KVM_GET_XSAVE, state->xsave) < 0 ||
	    ioctl(fd, KVM_GET_LAPIC, &state->lapic) < 0 ||
	    ioctl(fd, KVM_GET_MP_STATE, &state->mp) < 0 ||
	    ioctl(fd, KVM_GET_VCPU_EVENTS, &state->events) < 0 ||
	    ioctl(fd, KVM_GET_DEBUGREGS, &state->debug) < 0)
		return -errno;
	return 0;
}

int vcpu_state_capture(int kvm_fd, int fd, struct vcpu_state **out)
{
	struct kvm_msr_list *list = msr_list(kvm_fd);
	struct vcpu_state *state;
	int ret;

	if (!list)
		return errno ? -errno : -ENOMEM;
	state = calloc(1, sizeof(*state) + list->nmsrs * sizeof(state->msrs[0]));
	if (!state) {
		free(list);
		return -ENOMEM;
	}
	ret = get_all(state, kvm_fd, fd);
	if (!ret)
		capture_msrs(state, list, fd);
	free(list);
	if (ret < 0) {
		free(state);
		return ret;
	}
	*out = state;
	return 0;
}

void vcpu_state_free(struct vcpu_state *state)
{
	free(state);
}

/* The local APIC's mode is in sregs, so those come first; its timer's MSRs come after it. */
int vcpu_state_reset(const struct vcpu_state *power_on, int fd, bool bootstrap)
{
	struct vcpu_state state = *power_on; /* without the MSRs */

	as_firmware(&state, bootstrap);
	if (state.xcrs.nr_xcrs && ioctl(fd, KVM_SET_XCRS, &state.xcrs) < 0)
		return -errno;
	if (ioctl(fd, KVM_SET_SREGS, &state.sregs) < 0 || ioctl(fd, KVM_SET_REGS, &state.regs) < 0 ||
	    ioctl(fd, KVM_SET_XSAVE, state.xsave) < 0 || ioctl(fd, KVM_SET_LAPIC, &state.lapic) < 0)
		return -errno;
	for (unsigned int i = 0; i < power_on->msr_count; i++)
		set_msr(fd, power_on->msrs[i].index, power_on->msrs[i].data);
	set_msr(fd, MSR_MISC_ENABLE, MISC_ENABLE_FAST_STR);
	set_msr(fd, MSR_MTRR_DEF_TYPE, MTRR_ENABLED | MTRR_WRITE_BACK);
	set_msr(fd, MSR_TSC_ADJUST, 0);
	set_msr(fd, MSR_TSC, 0);
	if (ioctl(fd, KVM_SET_VCPU_EVENTS, &state.events) < 0 ||
	    ioctl(fd, KVM_SET_DEBUGREGS, &state.debug) < 0 ||
	    ioctl(fd, KVM_SET_MP_STATE, &state.mp) < 0)
		return -errno;
	return 0;
}

static struct kvm_segment segment(const struct boot_segment *from)
{
	return (struct kvm_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.type = from->type,
		.present = 1,
		.s = from->code_or_data,
		.db = from->default_32,
		.l = from->long_mode,
		.g = from->granular,
	};
}

int vcpu_state_enter(int fd, const struct boot_cpu *cpu)
{
	struct kvm_regs regs = {
		.rip = cpu->rip,
		.rsp = cpu->rsp,
		.rax = cpu->rax,
		.rbx = cpu->rbx,
		.rsi = cpu->rsi,
		.rflags = cpu->rflags | 2, /* bit 1 is always set */
	};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = segment(&cpu->cs);
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = segment(&cpu->ds);
	sregs.tr = segment(&cpu->tr);
	sregs.ldt = (struct kvm_segment){.type = 2, .unusable = 1};
	sregs.gdt.base = cpu->gdt_base;
	sregs.gdt.limit = cpu->gdt_limit;
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr0 = cpu->cr0;
	sregs.cr3 = cpu->cr3;
	sregs.cr4 = cpu->cr4;
	sregs.efer = cpu->efer;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

void vcpu_state_describe(int fd, char *buf, size_t size)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_REGS, &r) < 0 || ioctl(fd, KVM_GET_SREGS, &s) < 0) {
		snprintf(buf, size, "registers unknown: %s", strerror(errno));
		return;
	}
	snprintf(buf, size,
		 "rip=%llx rsp=%llx rflags=%llx rax=%llx rbx=%llx rcx=%llx rdx=%llx rsi=%llx "
		 "rdi=%llx rbp=%llx cs=%x/%llx ss=%x cr0=%llx cr2=%llx cr3=%llx cr4=%llx efer=%llx",
		 r.rip, r.rsp, r.rflags, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp,
		 s.cs.selector, s.cs.base, s.ss.selector, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}
