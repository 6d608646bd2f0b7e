#include "vmm/ept.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "core/log.h"
#include "vmm/kvm_compat.h"

static int set_region(struct ept *ept, const struct mem_slot *slot, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->id,
		.flags = (slot->read_only ? KVM_MEM_READONLY : 0) |
			 (ept->logging ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = slot->gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)slot->hva,
	};

	return ioctl(ept->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

static int slot_added(struct mem_listener *listener, const struct mem_slot *slot)
{
	return set_region(container_of(listener, struct ept, listener), slot, slot->size);
}

static void slot_removed(struct mem_listener *listener, const struct mem_slot *slot)
{
	int ret = set_region(container_of(listener, struct ept, listener), slot, 0);

	if (ret < 0)
		log_err("KVM kept memory slot %u: %s", slot->id, strerror(-ret));
}

/* Sets every region anew with or without logging; a change of flags keeps its contents. */
static void log_changed(struct mem_listener *listener, bool on)
{
	struct ept *ept = container_of(listener, struct ept, listener);

	ept->logging = on;
	for (unsigned int i = 0; i < guest_memory_slot_count(ept->gm); i++) {
		const struct mem_slot *slot = guest_memory_slot(ept->gm, i);
		int ret = set_region(ept, slot, slot->size);

		if (ret < 0)
			log_err("KVM does not switch the log of memory slot %u %s: %s", slot->id,
				on ? "on" : "off", strerror(-ret));
	}
}

int ept_init(struct ept *ept, struct guest_memory *gm, int vm_fd)
{
	*ept = (struct ept){.gm = gm, .vm_fd = vm_fd};
	ept->listener = (struct mem_listener){
		.name = "kvm", .add = slot_added, .remove = slot_removed, .log = log_changed};
	return guest_memory_add_listener(gm, &ept->listener);
}

void ept_fini(struct ept *ept)
{
	if (!ept->gm)
		return;
	guest_memory_remove_listener(ept->gm, &ept->listener);
	ept->gm = NULL;
}

static int prefault_slot(const struct mem_slot *slot, int vcpu_fd)
{
	struct kvm_pre_fault_memory range = {.gpa = slot->gpa, .size = slot->size};

	/* The kernel moves the range's start on as far as it came. */
	while (range.size)
		if (ioctl(vcpu_fd, KVM_PRE_FAULT_MEMORY, &range) < 0 && errno != EINTR &&
		    errno != EAGAIN)
			return errno == EOPNOTSUPP ? -ENOTSUP : -errno;
	return 0;
}

int ept_prefault(struct ept *ept, int vcpu_fd)
{
	if (ioctl(ept->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) <= 0)
		return -ENOTSUP;
	for (unsigned int i = 0; i < guest_memory_slot_count(ept->gm); i++) {
		int ret = prefault_slot(guest_memory_slot(ept->gm, i), vcpu_fd);

		if (ret < 0)
			return ret;
	}
	return 0;
}

int ept_log_fetch(struct ept *ept, const struct mem_slot *slot, uint64_t *bitmap, size_t words)
{
	struct kvm_dirty_log log = {.slot = slot->id};
	uint64_t *guest = calloc(words, sizeof(*guest));
	int ret;

	if (!guest)
		return -ENOMEM;
	ret = guest_memory_log_fetch(ept->gm, slot, bitmap, words);
	if (ret < 0)
		goto out;
	log.dirty_bitmap = guest;
	if (ioctl(ept->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0) {
		ret = -errno;
		goto out;
	}
	for (size_t i = 0; i < words; i++)
		bitmap[i] |= guest[i];
out:
	free(guest);
	return ret;
}
