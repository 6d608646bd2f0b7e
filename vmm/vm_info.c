#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/log.h"
#include "vmm/footprint.h"
#include "vmm/sandbox.h"
#include "vmm/vm_internal.h"

/* Adds to what is there: statistics of several vCPUs are summed. */
static void add_value(json_t *object, const char *name, uint64_t value)
{
	json_int_t old = json_integer_value(json_object_get(object, name));

	if (json_object_set_new(object, name, json_integer(old + (json_int_t)value)) < 0)
		log_warn("out of memory: counter %s is not shown", name);
}

static void emit_mapping(void *opaque, const char *name, uint64_t value)
{
	if (!strncmp(name, "pages_", 6))
		add_value(opaque, name, value);
}

/* "exits" is the sum, "io_exits", "halt_exits", ... the reasons. */
static void emit_exit(void *opaque, const char *name, uint64_t value)
{
	size_t len = strlen(name);

	if (len >= 5 && !strcmp(name + len - 5, "exits"))
		add_value(opaque, name, value);
}

static void emit_counter(void *opaque, const char *name, uint64_t value)
{
	add_value(opaque, name, value);
}

static json_t *memory_info(const struct vm_config *config)
{
	const char *page = config->memory.page_size == GIB ? "1G" :
			   config->memory.page_size == 2 * MIB ? "2M" : "4K";

	return json_pack("{s:I, s:s, s:b, s:i}", "size_mib",
			 (json_int_t)(config->memory.size / MIB), "page_size", page, "prefault",
			 config->memory.prefault, "nodes", (int)config->memory.nodes);
}

static void add_device(void *opaque, struct device *dev, const struct machine_slot *slot)
{
	json_t *info = json_pack("{s:s, s:s}", "id", dev->id, "type", dev->ops->type);

	if (slot)
		machine_slot_describe(slot, info);
	json_array_append_new(opaque, info);
}

static json_t *footprint_info(const struct guest_memory *gm)
{
	int64_t pss = footprint_pss(gm);

	if (pss < 0)
		return json_pack("{s:s}", "error", strerror((int)-pss));
	return json_pack("{s:I, s:i}", "pss_kib", (json_int_t)pss, "target_kib",
			 (int)FOOTPRINT_TARGET_KIB);
}

/* KVM's statistics, or why there are none. */
static json_t *stats_info(struct machine *machine,
			  int (*read)(struct machine *m, kvm_stat_fn emit, void *opaque),
			  kvm_stat_fn emit)
{
	json_t *object = json_object();
	int ret = read(machine, emit, object);

	if (ret < 0)
		json_object_set_new(object, "error", json_string(strerror(-ret)));
	return object;
}

json_t *vm_info(struct vm *vm)
{
	json_t *info = json_pack("{s:s, s:i}", "state", vm_state_name(vm->state), "pid",
				 (int)sandbox_host_pid());
	json_t *devices;

	if (!info || !vm->config)
		return info;
	json_object_set_new(info, "id", json_string(vm->config->id));
	json_object_set_new(info, "vcpus", json_integer(vm->config->vcpus));
	json_object_set_new(info, "memory", memory_info(vm->config));
	if (!vm->machine)
		return info;
	json_object_set_new(info, "second_level",
			    stats_info(vm->machine, machine_vm_stats, emit_mapping));
	json_object_set_new(info, "exits",
			    stats_info(vm->machine, machine_vcpu_stats, emit_exit));
	json_object_set_new(info, "overhead", footprint_info(machine_memory(vm->machine)));
	devices = json_array();
	machine_each_device(vm->machine, add_device, devices);
	json_object_set_new(info, "devices", devices);
	return info;
}

static void add_device_counters(void *opaque, struct device *dev,
				const struct machine_slot *slot)
{
	json_t *counters = json_object();

	if (dev->ops->counters) {
		device_enter(dev);
		dev->ops->counters(dev, emit_counter, counters);
		device_leave(dev);
	}
	json_object_set_new(opaque, dev->id, counters);
}

json_t *vm_counters(struct vm *vm)
{
	json_t *counters = json_object();
	json_t *machine, *devices;

	if (!counters || !vm->machine)
		return counters;
	machine = json_object();
	machine_counters(vm->machine, emit_counter, machine);
	json_object_set_new(counters, "machine", machine);
	devices = json_object();
	machine_each_device(vm->machine, add_device_counters, devices);
	json_object_set_new(counters, "devices", devices);
	return counters;
}
