/*
 * Interrupts as devices see them: a line with a level, or a message with an eventfd. How they
 * reach the guest (in-kernel irqchip or a split one) is hidden below.
 */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include "core/hypervisor.h"

/* A level-triggered wire. Its sink ORs several devices where they share an input. */
struct irq_line {
	void (*set)(void *sink, unsigned int input, bool level);
	void *sink;
	unsigned int input;
	bool level; /* last set, so that edges are reported once */
};

/* Any thread that holds the device's lock. A line without sink is allowed (not connected). */
void irq_line_set(struct irq_line *line, bool level);

/* A wire straight to a GSI of the hypervisor. */
void irq_line_init_gsi(struct irq_line *line, struct hypervisor *hv, uint32_t gsi);

/*
 * Signals an eventfd that a peer holds too. Its flags are the peer's as well as ours: it may have
 * been made blocking, and full. It is signalled already then. fd -1: nothing. Any thread.
 */
void irq_eventfd_signal(int fd);
/* Takes what such an eventfd holds. False: nothing, or fd is -1. Any thread. */
bool irq_eventfd_take(int fd);

/*
 * A message-signalled interrupt with its own eventfd: whoever signals the eventfd (a vhost-user
 * back end, VFIO, or msi_route_notify) raises the message. While masked, signals stay pending in
 * the eventfd and are delivered at unmask.
 */
struct msi_route {
	struct hypervisor *hv;
	uint16_t requester; /* bus << 8 | devfn */
	int fd;		    /* eventfd, non-blocking; owned */
	int gsi;	    /* -1: none yet */
	bool attached;	    /* irqfd in place: unmasked */
	uint64_t addr;
	uint32_t data;
};

must_check int msi_route_init(struct msi_route *route, struct hypervisor *hv, uint16_t requester);
void msi_route_fini(struct msi_route *route);

/* Sets the message and unmasks; pending signals are delivered. 0, or -errno and it is masked. */
must_check int msi_route_enable(struct msi_route *route, uint64_t addr, uint32_t data);
/* Masks. Signals from now on are pending. */
void msi_route_disable(struct msi_route *route);
bool msi_route_pending(const struct msi_route *route); /* masked and signalled */
void msi_route_clear(struct msi_route *route);	       /* drops what is pending */
void msi_route_notify(struct msi_route *route);	       /* any thread */

#endif
