/*
 * One Q35 machine: memory, buses, chipset, devices and vCPUs put together from a configuration.
 * io thread, unless said.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "core/device.h"
#include "core/guest_memory.h"
#include "core/loop.h"
#include "vmm/kvm_stats.h"
#include "vmm/layout.h"
#include "vmm/vm_config.h"

struct machine;

enum machine_request {
	MACHINE_POWER_OFF,
	MACHINE_RESET,
	MACHINE_DEBUG_EXIT,
	MACHINE_GUEST_FAULT,
	MACHINE_HOST_FAILURE,
};

struct machine_events {
	/*
	 * The guest, or its end, asks for something; the vCPUs have been asked to pause. Any
	 * thread: hand it on, do not act. debug_status: MACHINE_DEBUG_EXIT.
	 */
	void (*requested)(void *opaque, enum machine_request request, uint8_t debug_status,
			  const char *message);
	void *opaque;
};

/* Why a machine could not be made or started. */
struct machine_error {
	bool config; /* the configuration's fault, not the host's */
	char why[640];
};

/* Creates everything; the guest does not run yet. config is borrowed for the machine's life. */
must_check int machine_create(struct loop *loop, const struct vm_config *config,
			      const struct machine_events *events, struct machine **machine,
			      struct machine_error *error);
void machine_destroy(struct machine *machine); /* NULL is allowed */

/* Power-on: devices reset, kernel and tables loaded, vCPUs at the entry. Paused. 0 or -errno. */
must_check int machine_reset(struct machine *machine, struct machine_error *error);

/* vCPUs stop, then the devices; and the other way round. 0 or -errno of a device. */
must_check int machine_pause(struct machine *machine);
must_check int machine_resume(struct machine *machine);

void machine_power_button(struct machine *machine);

/* For vm.info and vm.counters. */
const struct guest_memory *machine_memory(const struct machine *machine);
const struct layout *machine_layout(const struct machine *machine);
must_check int machine_vm_stats(struct machine *machine, kvm_stat_fn emit, void *opaque);
must_check int machine_vcpu_stats(struct machine *machine, kvm_stat_fn emit, void *opaque);
/* slot: the NIC or disk that it is; NULL: part of the board. */
struct machine_slot;
void machine_each_device(struct machine *machine,
			 void (*fn)(void *opaque, struct device *dev,
				    const struct machine_slot *slot),
			 void *opaque);
/* Adds where the device is, and what its type says of it, to its entry in vm.info. */
void machine_slot_describe(const struct machine_slot *slot, json_t *info);
/* Emits counters of the machine itself. */
void machine_counters(struct machine *machine, counter_fn emit, void *opaque);

#endif
