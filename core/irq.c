#include "core/irq.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/log.h"

void irq_line_set(struct irq_line *line, bool level)
{
	if (line->level == level)
		return;
	line->level = level;
	if (line->set)
		line->set(line->sink, line->input, level);
}

static void irq_gsi_set(void *sink, unsigned int input, bool level)
{
	struct hypervisor *hv = sink;
	int err = hv->ops->irq_set(hv, input, level);

	if (err < 0)
		log_guest("irq: GSI %u could not be set: %s", input, strerror(-err));
}

void irq_line_init_gsi(struct irq_line *line, struct hypervisor *hv, uint32_t gsi)
{
	*line = (struct irq_line){ .set = irq_gsi_set, .sink = hv, .input = gsi };
}

void irq_eventfd_signal(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT))
		eventfd_write(fd, 1);
}

bool irq_eventfd_take(int fd)
{
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };

	return fd >= 0 && preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(count);
}

int msi_route_init(struct msi_route *route, struct hypervisor *hv, uint16_t requester)
{
	*route = (struct msi_route){ .hv = hv, .requester = requester, .gsi = -1 };
	route->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return route->fd < 0 ? -errno : 0;
}

void msi_route_fini(struct msi_route *route)
{
	msi_route_disable(route);
	if (route->gsi >= 0)
		route->hv->ops->msi_route_free(route->hv, route->gsi);
	route->gsi = -1;
	if (route->fd >= 0)
		close(route->fd);
	route->fd = -1;
}

void msi_route_disable(struct msi_route *route)
{
	int err;

	if (!route->attached)
		return;
	err = route->hv->ops->irqfd_detach(route->hv, route->gsi, route->fd);
	if (err < 0)
		log_guest("irq: GSI %d could not be masked: %s", route->gsi, strerror(-err));
	route->attached = false;
}

int msi_route_enable(struct msi_route *route, uint64_t addr, uint32_t data)
{
	const struct hypervisor_ops *ops = route->hv->ops;
	int err;

	if (route->attached && route->addr == addr && route->data == data)
		return 0;
	/* An irqfd in place follows its GSI's new message, so it need not be taken off. */
	err = ops->msi_route_set(route->hv, route->gsi, addr, data, route->requester);
	if (err < 0) {
		/* What it raised before is not what was asked for: rather nothing. */
		msi_route_disable(route);
		return err;
	}
	route->gsi = err;
	route->addr = addr;
	route->data = data;
	if (route->attached)
		return 0;
	/* Attaching delivers what the eventfd holds already. */
	err = ops->irqfd_attach(route->hv, route->gsi, route->fd, -1);
	if (err < 0)
		return err;
	route->attached = true;
	return 0;
}

bool msi_route_pending(const struct msi_route *route)
{
	struct pollfd p = { .fd = route->fd, .events = POLLIN };

	return !route->attached && route->fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

void msi_route_clear(struct msi_route *route)
{
	(void)irq_eventfd_take(route->fd);
}

void msi_route_notify(struct msi_route *route)
{
	irq_eventfd_signal(route->fd);
}
