#include <stdlib.h>

#include "core/log.h"
#include "mgmt/vm_private.h"

struct stop_all {
	struct mgmt *mgmt;
	struct loop_timer *grace;
	unsigned int pending;
	done_fn done;
	void *opaque;
};

static void stop_all_put(struct stop_all *all)
{
	if (--all->pending)
		return;
	loop_timer_destroy(all->grace);
	all->done(all->opaque, NULL);
	free(all);
}

static void stop_all_on_down(void *opaque, const struct problem *problem)
{
	if (problem)
		log_warn("stopping all: %s", problem->detail);
	stop_all_put(opaque);
}

static void stop_all_on_button(void *opaque, const struct problem *problem)
{
	struct vm *vm = opaque;

	/* Who cannot be asked is not asked. */
	if (problem && vm->child && !vm->ending)
		vm_control_stop(vm);
}

static void stop_all_patience_ends(void *opaque)
{
	struct stop_all *all = opaque;

	all->pending++; /* nobody frees it while we go round */
	for (struct vm *vm = vms_first(all->mgmt->vms); vm; vm = vm_next(vm)) {
		if (vm_is_down(vm))
			continue;
		all->pending++;
		vm_stop(vm, stop_all_on_down, all);
	}
	stop_all_put(all);
}

void vms_stop_all(struct vms *vms, unsigned int grace_seconds, done_fn done, void *opaque)
{
	struct stop_all *all = calloc(1, sizeof(*all));
	struct problem problem;

	if (all)
		all->grace = loop_timer_create(vms->mgmt->loop, stop_all_patience_ends, all);
	if (!all || !all->grace) {
		free(all);
		problem_set(&problem, 503, NULL, "out of memory");
		done(opaque, &problem);
		return;
	}
	all->mgmt = vms->mgmt;
	all->done = done;
	all->opaque = opaque;
	all->pending = 1;
	for (struct vm *vm = vms->first; vm; vm = vm->next) {
		if (vm_is_down(vm))
			continue;
		all->pending++;
		if (grace_seconds && (vm->state == VM_RUNNING || vm->state == VM_STOPPING) &&
		    vm_add_waiter(vm, stop_all_on_down, all) == 0)
			vm_act(vm, VM_SHUTDOWN, stop_all_on_button, vm);
		else
			vm_stop(vm, stop_all_on_down, all);
	}
	if (grace_seconds && loop_timer_arm(all->grace, grace_seconds * 1000000000ULL) < 0)
		stop_all_patience_ends(all);
	stop_all_put(all);
}
