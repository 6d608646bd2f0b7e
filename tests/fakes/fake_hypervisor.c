#include "tests/fakes/fake_hypervisor.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static struct fake_hypervisor *fake_of(struct hypervisor *hv)
{
	struct fake_hypervisor *fake = container_of(hv, struct fake_hypervisor, hv);

	fake->calls++;
	return fake;
}

static int fake_irq_set(struct hypervisor *hv, uint32_t gsi, bool level)
{
	struct fake_hypervisor *fake = fake_of(hv);

	if (fake->fail)
		return fake->fail;
	if (gsi >= FAKE_GSIS)
		return -EINVAL;
	if (level && !fake->level[gsi])
		fake->rises[gsi]++;
	if (!level && fake->level[gsi])
		fake->falls[gsi]++;
	fake->level[gsi] = level;
	return 0;
}

static int fake_msi_send(struct hypervisor *hv, uint64_t addr, uint32_t data, uint16_t requester)
{
	struct fake_hypervisor *fake = fake_of(hv);

	if (fake->fail)
		return fake->fail;
	if (fake->message_count < FAKE_MESSAGES)
		fake->messages[fake->message_count] = (struct fake_message){
			.addr = addr, .data = data, .requester = requester,
		};
	fake->message_count++;
	return 0;
}

static int fake_msi_route_set(struct hypervisor *hv, int gsi, uint64_t addr, uint32_t data,
			      uint16_t requester)
{
	struct fake_hypervisor *fake = fake_of(hv);
	unsigned int at = gsi < 0 ? FAKE_FIRST_ROUTE : (unsigned int)gsi;

	if (fake->fail)
		return fake->fail;
	while (gsi < 0 && at < FAKE_GSIS && fake->routes[at].used)
		at++;
	if (at >= FAKE_GSIS)
		return -ENOSPC;
	if (gsi >= 0 && !fake->routes[at].used)
		return -ENOENT;
	if (gsi < 0)
		fake->routes[at] = (struct fake_route){ .used = true, .fd = -1, .resample_fd = -1 };
	fake->routes[at].message = (struct fake_message){
		.addr = addr, .data = data, .requester = requester,
	};
	return (int)at;
}

static void fake_msi_route_free(struct hypervisor *hv, int gsi)
{
	struct fake_hypervisor *fake = fake_of(hv);

	if (gsi >= 0 && gsi < (int)FAKE_GSIS)
		fake->routes[gsi] = (struct fake_route){ .fd = -1, .resample_fd = -1 };
}

static unsigned int deliver(struct fake_hypervisor *fake, unsigned int gsi)
{
	const struct fake_route *route = &fake->routes[gsi];
	struct pollfd p = { .fd = route->fd, .events = POLLIN };
	uint64_t count;

	if (route->fd < 0 || poll(&p, 1, 0) != 1 ||
	    read(route->fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	fake->rises[gsi]++;
	if (gsi >= FAKE_FIRST_ROUTE)
		fake_msi_send(&fake->hv, route->message.addr, route->message.data,
			      route->message.requester);
	return 1;
}

static int fake_irqfd_attach(struct hypervisor *hv, int gsi, int fd, int resample_fd)
{
	struct fake_hypervisor *fake = fake_of(hv);

	if (fake->fail)
		return fake->fail;
	if (gsi < 0 || gsi >= (int)FAKE_GSIS || fd < 0)
		return -EINVAL;
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		if (fake->routes[i].fd == fd)
			return -EBUSY;
	fake->routes[gsi].fd = fd;
	fake->routes[gsi].resample_fd = resample_fd;
	deliver(fake, (unsigned int)gsi);
	return 0;
}

static int fake_irqfd_detach(struct hypervisor *hv, int gsi, int fd)
{
	struct fake_hypervisor *fake = fake_of(hv);

	if (gsi < 0 || gsi >= (int)FAKE_GSIS || fake->routes[gsi].fd != fd)
		return -ENOENT;
	fake->routes[gsi].fd = -1;
	fake->routes[gsi].resample_fd = -1;
	return 0;
}

static int fake_ioeventfd_attach(struct hypervisor *hv, const struct ioeventfd *io)
{
	struct fake_hypervisor *fake = fake_of(hv);

	if (fake->fail)
		return fake->fail;
	if (fake->ioeventfd_count == FAKE_IOEVENTFDS)
		return -ENOSPC;
	fake->ioeventfds[fake->ioeventfd_count++] = *io;
	return 0;
}

static int fake_ioeventfd_detach(struct hypervisor *hv, const struct ioeventfd *io)
{
	struct fake_hypervisor *fake = fake_of(hv);

	for (unsigned int i = 0; i < fake->ioeventfd_count; i++) {
		const struct ioeventfd *have = &fake->ioeventfds[i];

		if (have->fd != io->fd || have->addr != io->addr || have->pio != io->pio ||
		    have->size != io->size || have->match != io->match ||
		    (io->match && have->value != io->value))
			continue;
		fake->ioeventfds[i] = fake->ioeventfds[--fake->ioeventfd_count];
		return 0;
	}
	return -ENOENT;
}

static const struct hypervisor_ops fake_ops = {
	.irq_set = fake_irq_set,
	.msi_send = fake_msi_send,
	.msi_route_set = fake_msi_route_set,
	.msi_route_free = fake_msi_route_free,
	.irqfd_attach = fake_irqfd_attach,
	.irqfd_detach = fake_irqfd_detach,
	.ioeventfd_attach = fake_ioeventfd_attach,
	.ioeventfd_detach = fake_ioeventfd_detach,
};

void fake_hypervisor_init(struct fake_hypervisor *fake)
{
	memset(fake, 0, sizeof(*fake));
	fake->hv.ops = &fake_ops;
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		fake->routes[i].fd = fake->routes[i].resample_fd = -1;
}

unsigned int fake_hypervisor_poll(struct fake_hypervisor *fake)
{
	unsigned int fired = 0;

	for (unsigned int gsi = 0; gsi < FAKE_GSIS; gsi++)
		fired += deliver(fake, gsi);
	return fired;
}

bool fake_hypervisor_io_write(struct fake_hypervisor *fake, bool pio, uint64_t addr,
			      unsigned int size, uint64_t value)
{
	uint64_t one = 1;

	for (unsigned int i = 0; i < fake->ioeventfd_count; i++) {
		const struct ioeventfd *io = &fake->ioeventfds[i];

		if (io->pio != pio || io->addr != addr || (io->size && io->size != size) ||
		    (io->match && io->value != value))
			continue;
		return write(io->fd, &one, sizeof(one)) == sizeof(one);
	}
	return false;
}

const struct fake_message *fake_hypervisor_last(const struct fake_hypervisor *fake)
{
	unsigned int n = MIN(fake->message_count, FAKE_MESSAGES);

	return n ? &fake->messages[n - 1] : NULL;
}
