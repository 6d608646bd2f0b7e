#include "vmm/vcpu_exit.h"

#include <stdio.h>

static void port_io(struct kvm_run *run, struct io_bus *bus)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int size = run->io.size;

	/* A string instruction moves several items, one bus access each. */
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, size);
			io_bus_write(bus, run->io.port, size, value);
		} else {
			io_bus_read(bus, run->io.port, size, &value);
			memcpy(data, &value, size);
		}
	}
}

static void mmio_piece(struct kvm_run *run, struct io_bus *bus, unsigned int offset,
		       unsigned int size)
{
	uint64_t addr = run->mmio.phys_addr + offset;
	uint8_t *data = run->mmio.data + offset;
	uint64_t value = 0;

	if (run->mmio.is_write) {
		memcpy(&value, data, size);
		io_bus_write(bus, addr, size, value);
	} else {
		io_bus_read(bus, addr, size, &value);
		memcpy(data, &value, size);
	}
}

/* An access across a page border comes in two parts of any length; the bus knows powers of two. */
static void memory_io(struct kvm_run *run, struct io_bus *bus)
{
	unsigned int len = MIN(run->mmio.len, 8u), offset = 0;

	if (is_power_of_two(len)) {
		mmio_piece(run, bus, 0, len);
		return;
	}
	for (; offset < len; offset++)
		mmio_piece(run, bus, offset, 1);
}

bool vcpu_exit_handle(struct kvm_run *run, struct io_bus *pio, struct io_bus *mmio,
		      enum vcpu_event *event, char *what, size_t size)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		port_io(run, pio);
		return true;
	case KVM_EXIT_MMIO:
		memory_io(run, mmio);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		*event = VCPU_TRIPLE_FAULT;
		snprintf(what, size, "triple fault");
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		*event = VCPU_GUEST_FAULT;
		snprintf(what, size, "KVM internal error %u%s", run->internal.suberror,
			 run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ?
				 " (an instruction it cannot emulate)" : "");
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		*event = VCPU_GUEST_FAULT;
		snprintf(what, size, "the processor refused to enter the guest, reason %llxh",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return false;
	default:
		*event = VCPU_GUEST_FAULT;
		snprintf(what, size, "unexpected exit %u of KVM_RUN", run->exit_reason);
		return false;
	}
}
