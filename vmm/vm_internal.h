/* The VM's members, for vm.c and vm_info.c only. */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include "vmm/vm.h"

struct vm {
	struct loop *loop; /* borrowed */
	enum vm_state state;
	struct vm_config *config; /* from VM_CONFIGURED on */
	struct machine *machine;  /* while running or paused */
	int record_fd;
	struct exit_record record; /* once stopped */
	struct loop_timer *reset_later;
	bool reset_planned;	/* reset_later will come: the guest must not go on before */
	uint64_t last_reset_ns; /* CLOCK_MONOTONIC */
	vm_state_fn observer;
	void *observer_opaque;
	struct {
		struct loop_notice *notice; /* serve_request */
		pthread_mutex_t lock;
		bool pending; /* serve_request will come */
		bool stale;   /* what is pending was asked for before a reset that has been done */
		enum machine_request request;
		uint8_t debug_status;
		char message[768];
	} asked; /* by the guest, on any thread */
};

#endif
