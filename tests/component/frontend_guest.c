/*
 * Two guests' drivers on two of our virtio-net functions, whose peers are some back end's ports:
 * frames sent on one must come out of the other. It obeys commands on standard input, one a line, and
 * answers each with one line of JSON.
 *
 * usage: frontend_guest SOCKET SOCKET     (listen:PATH: the back end connects to us)
 *	up, down		waits until both links are so
 *	probe			sends frames that may be lost, until one has come through each way
 *	exchange COUNT SIZE	sends COUNT frames of SIZE bytes each way, at most a window unseen
 *	reset			both drivers reset their devices and start again
 *	pause			both devices are quiesced and resumed, the rings keeping their place
 *	quit
 */
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/unit/vhost-user/virtio_rig.h"
#include "vhost-user/virtio_net.h"

#define BIT(n) (1ULL << (n))
#define RING_SIZE 256u
#define BUFFER 2048u
#define WINDOW 128u
#define HEADER sizeof(struct virtio_net_hdr_v1)
#define ETHERTYPE 0x88b5u /* IEEE 802, local experimental 1 */
#define MAGIC 0x56484f53u
#define MAGIC_PROBE 0x50524f42u
#define PROBE_US 20000u
#define STALL_S 60 /* without a frame: something is broken */
#define DRIVER                                                                             \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |                          \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_NET_F_MRG_RXBUF) |                  \
	 BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MTU))

struct guest {
	struct virtio_rig rig;
	struct vring_driver rx, tx;
	bool driving;
	gpa_t rx_buffers, tx_buffers;
	uint8_t mac[6];
	uint32_t tx_slots[RING_SIZE]; /* free transmit buffers */
	unsigned int tx_free;
	uint32_t sent, received, corrupt, probes;
};

struct frame {
	struct virtio_net_hdr_v1 hdr;
	uint8_t dst[6], src[6];
	uint8_t type[2];
	uint8_t padding[2];
	uint32_t magic, seq;
	uint8_t fill[];
};

static void die(const char *what)
{
	fprintf(stderr, "frontend_guest: %s\n", what);
	exit(1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1))
		die("cannot listen");
	return fd;
}

static void guest_init(struct guest *g, const char *where, uint8_t station)
{
	struct virtio_net_params params = {.id = where, .mtu = 1500, .queue_pairs = 1};
	struct pci_device *pci;

	virtio_rig_init(&g->rig);
	params.mac[0] = 2;
	params.mac[5] = station;
	memcpy(g->mac, params.mac, sizeof(g->mac));
	params.loop = g->rig.loop;
	params.hv = &g->rig.hv.hv;
	params.dma = dma_space_dma(g->rig.space);
	params.memory = g->rig.memory;
	if (strncmp(where, "listen:", 7))
		params.socket_path = where;
	else
		params.listen_fd = listen_at(where + 7);
	if (virtio_net_create(&params, &pci))
		die("cannot make the device");
	virtio_rig_plug(&g->rig, pci);
	g->rx_buffers = virtio_rig_alloc(&g->rig, RING_SIZE * BUFFER, 4096);
	g->tx_buffers = virtio_rig_alloc(&g->rig, RING_SIZE * BUFFER, 4096);
}

static void post(struct guest *g, uintptr_t slot)
{
	const struct vring_buf buf = {g->rx_buffers + slot * BUFFER, BUFFER};

	/* Token 0 would be indistinguishable from none. */
	if (vring_driver_add(&g->rx, &buf, 0, 1, (void *)(slot + 1)))
		die("the receive ring is full");
}

static void drive(struct guest *g)
{
	uint64_t features = DRIVER & virtio_rig_features(&g->rig);

	if (g->driving) {
		vring_driver_fini(&g->rx);
		vring_driver_fini(&g->tx);
	}
	g->driving = true;
	virtio_rig_msix_on(&g->rig);
	if (!virtio_rig_negotiate(&g->rig, features))
		die("features were refused");
	virtio_rig_queue(&g->rig, 0, RING_SIZE, 1, features, &g->rx);
	virtio_rig_queue(&g->rig, 1, RING_SIZE, 2, features, &g->tx);
	for (uintptr_t i = 0; i < RING_SIZE; i++)
		post(g, i);
	for (g->tx_free = 0; g->tx_free < RING_SIZE; g->tx_free++)
		g->tx_slots[g->tx_free] = g->tx_free;
	virtio_rig_driver_ok(&g->rig);
	virtio_rig_kick(&g->rig, 0, &g->rx);
}

static void reclaim(struct guest *g)
{
	uint32_t written;
	void *token;

	while (vring_driver_get_used(&g->tx, &token, &written))
		g->tx_slots[g->tx_free++] = (uint32_t)((uintptr_t)token - 1);
}

static bool send_frame(struct guest *g, const struct guest *to, uint32_t magic, uint32_t size)
{
	uint32_t slot;
	struct frame *frame;
	struct vring_buf buf;

	reclaim(g);
	if (!g->tx_free)
		return false;
	slot = g->tx_slots[--g->tx_free];
	buf = (struct vring_buf){g->tx_buffers + slot * BUFFER, (uint32_t)HEADER + size};
	frame = virtio_rig_ptr(&g->rig, buf.addr);
	memset(frame, 0, sizeof(*frame));
	memcpy(frame->dst, to->mac, 6);
	memcpy(frame->src, g->mac, 6);
	frame->type[0] = ETHERTYPE >> 8;
	frame->type[1] = ETHERTYPE & 0xff;
	frame->magic = magic;
	frame->seq = g->sent++;
	memset(frame->fill, (int)frame->seq, HEADER + size - sizeof(*frame));
	if (vring_driver_add(&g->tx, &buf, 1, 0, (void *)(uintptr_t)(slot + 1)))
		die("the transmit ring is full");
	virtio_rig_kick(&g->rig, 1, &g->tx);
	return true;
}

static bool intact(const struct guest *g, const struct frame *frame, uint32_t size)
{
	if (frame->seq != g->received || memcmp(frame->dst, g->mac, 6))
		return false;
	for (size_t i = 0; i < HEADER + size - sizeof(*frame); i++)
		if (frame->fill[i] != (uint8_t)frame->seq)
			return false;
	return true;
}

static bool receive(struct guest *g, uint32_t size)
{
	const struct frame *frame;
	uint32_t written;
	void *token;

	if (!vring_driver_get_used(&g->rx, &token, &written))
		return false;
	frame = virtio_rig_ptr(&g->rig, g->rx_buffers + ((uintptr_t)token - 1) * BUFFER);
	if (written >= sizeof(*frame) && frame->magic == MAGIC) {
		g->corrupt += written != HEADER + size || !intact(g, frame, size);
		g->received++;
	} else if (written >= sizeof(*frame) && frame->magic == MAGIC_PROBE) {
		g->probes++;
	} /* else the back end's own */
	post(g, (uintptr_t)token - 1);
	virtio_rig_kick(&g->rig, 0, &g->rx);
	return true;
}

/* A back end may say that it runs before it forwards. */
static void probe(struct guest g[2])
{
	time_t start = time(NULL);

	g[0].probes = g[1].probes = 0;
	while ((!g[0].probes || !g[1].probes) && time(NULL) - start < STALL_S) {
		for (unsigned int i = 0; i < 2; i++) {
			send_frame(&g[i], &g[!i], MAGIC_PROBE, 60);
			while (receive(&g[i], 60))
				;
		}
		usleep(PROBE_US);
	}
	printf("{\"probes\": [%u, %u]}\n", g[0].probes, g[1].probes);
}

static void exchange(struct guest g[2], uint32_t count, uint32_t size)
{
	time_t progress = time(NULL);

	for (unsigned int i = 0; i < 2; i++)
		g[i].sent = g[i].received = g[i].corrupt = 0;
	while ((g[0].received < count || g[1].received < count) && time(NULL) - progress < STALL_S) {
		bool any = false;

		for (unsigned int i = 0; i < 2; i++) {
			struct guest *me = &g[i], *other = &g[!i];

			while (receive(me, size))
				any = true;
			if (me->sent < count && me->sent - other->received < WINDOW)
				any |= send_frame(me, other, MAGIC, size);
		}
		if (any)
			progress = time(NULL);
		else
			usleep(20);
	}
	printf("{\"sent\": [%u, %u], \"received\": [%u, %u], \"corrupt\": %u, \"faults\": %u, "
	       "\"interrupts\": [%u, %u]}\n",
	       g[0].sent, g[1].sent, g[0].received, g[1].received, g[0].corrupt + g[1].corrupt,
	       g[0].rx.fault || g[0].tx.fault || g[1].rx.fault || g[1].tx.fault,
	       virtio_rig_messages(&g[0].rig, 1), virtio_rig_messages(&g[1].rig, 1));
}

static bool guest_sees_link(struct guest *g)
{
	return virtio_rig_config(&g->rig, offsetof(struct virtio_net_config, status), 2) ==
	       VIRTIO_NET_S_LINK_UP;
}

static bool link_is_up(void *opaque)
{
	struct guest *g = opaque;
	struct virtio_net_info info;

	virtio_net_get_info(g->rig.pci, &info);
	return info.link_up && guest_sees_link(g);
}

static bool link_is_down(void *opaque)
{
	return !guest_sees_link(opaque);
}

static void wait_link(struct guest g[2], bool up)
{
	struct virtio_net_info info[2];
	bool reached = true;

	for (unsigned int i = 0; i < 2; i++) {
		reached &= virtio_rig_run_until(&g[i].rig, up ? link_is_up : link_is_down, &g[i]);
		virtio_net_get_info(g[i].rig.pci, &info[i]);
	}
	printf("{\"reached\": %s, \"reasons\": [\"%s\", \"%s\"], \"features\": [%llu, %llu]}\n",
	       reached ? "true" : "false", info[0].reason, info[1].reason,
	       (unsigned long long)info[0].features, (unsigned long long)info[1].features);
}

static void pause_resume(struct guest *g)
{
	struct device *dev = &g->rig.pci->dev;

	device_enter(dev);
	if (dev->ops->quiesce(dev) || dev->ops->resume(dev))
		die("quiesce failed");
	device_leave(dev);
}

static bool obey(struct guest g[2], const char *line)
{
	unsigned int count, size;

	if (!strncmp(line, "quit", 4))
		return false;
	if (!strncmp(line, "up", 2)) {
		wait_link(g, true);
	} else if (!strncmp(line, "down", 4)) {
		wait_link(g, false);
	} else if (!strncmp(line, "probe", 5)) {
		probe(g);
	} else if (sscanf(line, "exchange %u %u", &count, &size) == 2 && size >= 60 && size <= 1514) {
		exchange(g, count, size);
	} else if (!strncmp(line, "reset", 5)) {
		drive(&g[0]);
		drive(&g[1]);
		printf("{}\n");
	} else if (!strncmp(line, "pause", 5)) {
		pause_resume(&g[0]);
		pause_resume(&g[1]);
		printf("{\"losses\": [%llu, %llu]}\n",
		       (unsigned long long)virtio_rig_counter(&g[0].rig, "peer_losses"),
		       (unsigned long long)virtio_rig_counter(&g[1].rig, "peer_losses"));
	} else {
		die("what?");
	}
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	static struct guest g[2];
	char line[128];

	if (argc != 3)
		die("usage: frontend_guest SOCKET SOCKET");
	log_init("frontend_guest", LOG_LEVEL_INFO);
	for (unsigned int i = 0; i < 2; i++) {
		guest_init(&g[i], argv[1 + i], (uint8_t)(i + 1));
		drive(&g[i]);
	}
	while (fgets(line, sizeof(line), stdin) && obey(g, line))
		;
	for (unsigned int i = 0; i < 2; i++) {
		virtio_rig_fini(&g[i].rig);
		vring_driver_fini(&g[i].rx);
		vring_driver_fini(&g[i].tx);
	}
	return 0;
}
