/*
 * Guests' drivers on as many ports of a switch as there are arguments, in pairs that send each
 * other numbered frames without end. Every frame is accounted for at its receiver: first seen,
 * repeated, late or damaged; and the longest silence between two frames is what an outage of the
 * switch costs a guest.
 *
 * usage: kill_ports SOCKET SOCKET...     (an even number, at most 64)
 * commands on standard input, one a line, each answered by one line of JSON:
 *	settle		waits until every port has received frames sent from now on
 *	report		sends no more, waits until all that was sent has been taken, and tells what
 *			happened since the last report
 *	resume		sends again
 *	quit
 */
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/unit/vhost-user/virtio_rig.h"
#include "vhost-user/virtio_net.h"

#define BIT(n) (1ULL << (n))
#define MAX_PORTS 64u
#define RING_SIZE 256u
#define BUFFER 2048u
#define WINDOW 64u	      /* frames on the road from one port to its peer */
#define HISTORY (1u << 16)    /* frames a late one can be behind */
#define SETTLED 4u * WINDOW   /* frames: more than can have been on the road before */
#define NUDGE_NS 20000000ull  /* a window of lost frames is not waited for longer */
#define STALL_NS 60000000000ull
#define HEADER sizeof(struct virtio_net_hdr_v1)
#define ETHERTYPE 0x88b5u /* IEEE 802, local experimental 1 */
#define DRIVER                                                                             \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |                          \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_NET_F_MRG_RXBUF) |                  \
	 BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MTU))

struct frame {
	struct virtio_net_hdr_v1 hdr;
	uint8_t dst[6], src[6];
	uint8_t type[2];
	uint8_t padding[2];
	uint32_t seq;
	uint8_t fill[];
};

struct tally {
	uint64_t sent, received, repeated, late, damaged;
	uint64_t overheard; /* what a switch that does not know the way yet sends to all */
	uint64_t silence;   /* ns, the longest */
};

struct guest {
	struct virtio_rig rig;
	struct vring_driver rx, tx;
	pthread_t io;
	gpa_t rx_buffers, tx_buffers;
	uint8_t mac[6];
	uint32_t tx_slots[RING_SIZE]; /* free transmit buffers */
	unsigned int tx_free;
	uint32_t sent;	   /* sequence number of the next frame to the peer */
	uint32_t expected; /* of the next one from it */
	uint64_t seen[HISTORY / 64];
	uint64_t last;	     /* ns: when a frame came */
	uint64_t nudged;     /* ns */
	uint32_t settled_at; /* the peer's sequence number a settle waits for */
	struct tally tally;
};

static struct guest *guests;
static unsigned int guest_count;
static bool paused;

static void die(const char *what)
{
	fprintf(stderr, "kill_ports: %s\n", what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static uint32_t size_of(uint32_t seq)
{
	return 60 + seq * 2654435761u % 1455;
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

	virtio_rig_msix_on(&g->rig);
	if (!virtio_rig_negotiate(&g->rig, features))
		die("features were refused");
	virtio_rig_queue(&g->rig, 0, RING_SIZE, 1, features, &g->rx);
	virtio_rig_queue(&g->rig, 1, RING_SIZE, 2, features, &g->tx);
	vring_driver_interrupts_disable(&g->rx);
	vring_driver_interrupts_disable(&g->tx);
	for (uintptr_t i = 0; i < RING_SIZE; i++)
		post(g, i);
	for (g->tx_free = 0; g->tx_free < RING_SIZE; g->tx_free++)
		g->tx_slots[g->tx_free] = g->tx_free;
	virtio_rig_driver_ok(&g->rig);
	virtio_rig_kick(&g->rig, 0, &g->rx);
}

/* The vmm's io thread: it seeks the switch, and tells it of the rings. */
static void *serve(void *opaque)
{
	struct guest *g = opaque;

	loop_run(g->rig.loop);
	return NULL;
}

static void guest_init(struct guest *g, const char *socket, uint8_t station)
{
	struct virtio_net_params params = {.id = socket, .mtu = 1500, .queue_pairs = 1};
	struct pci_device *pci;

	virtio_rig_init(&g->rig);
	params.mac[0] = 2;
	params.mac[5] = station;
	memcpy(g->mac, params.mac, sizeof(g->mac));
	params.loop = g->rig.loop;
	params.hv = &g->rig.hv.hv;
	params.dma = dma_space_dma(g->rig.space);
	params.memory = g->rig.memory;
	params.socket_path = socket;
	if (virtio_net_create(&params, &pci))
		die("cannot make the device");
	virtio_rig_plug(&g->rig, pci);
	g->rx_buffers = virtio_rig_alloc(&g->rig, RING_SIZE * BUFFER, 4096);
	g->tx_buffers = virtio_rig_alloc(&g->rig, RING_SIZE * BUFFER, 4096);
	drive(g);
	g->last = now_ns();
	if (pthread_create(&g->io, NULL, serve, g))
		die("cannot make a thread");
}

static bool is_seen(struct guest *g, uint32_t seq)
{
	return g->seen[seq % HISTORY / 64] >> seq % 64 & 1;
}

static void set_seen(struct guest *g, uint32_t seq, bool seen)
{
	uint64_t bit = 1ull << seq % 64;

	if (seen)
		g->seen[seq % HISTORY / 64] |= bit;
	else
		g->seen[seq % HISTORY / 64] &= ~bit;
}

static void account(struct guest *g, uint32_t seq)
{
	uint64_t now = now_ns();

	g->tally.received++;
	g->tally.silence = MAX(g->tally.silence, now - g->last);
	g->last = now;
	if ((int32_t)(seq - g->expected) < 0) {
		if (is_seen(g, seq))
			g->tally.repeated++;
		else
			g->tally.late++;
	} else {
		while (g->expected != seq)
			set_seen(g, g->expected++, false);
		g->expected++;
	}
	set_seen(g, seq, true);
}

static bool intact(const struct guest *g, const struct frame *frame, uint32_t written)
{
	uint32_t size = size_of(frame->seq);

	if (written != HEADER + size)
		return false;
	for (size_t i = 0; i < HEADER + size - sizeof(*frame); i++)
		if (frame->fill[i] != (uint8_t)(frame->seq + g->mac[5]))
			return false;
	return true;
}

static bool receive(struct guest *g)
{
	const struct frame *frame;
	uint32_t written;
	void *token;

	if (!vring_driver_get_used(&g->rx, &token, &written))
		return false;
	frame = virtio_rig_ptr(&g->rig, g->rx_buffers + ((uintptr_t)token - 1) * BUFFER);
	if (written < sizeof(*frame) || frame->type[0] != ETHERTYPE >> 8)
		g->tally.damaged++;
	else if (memcmp(frame->dst, g->mac, sizeof(g->mac)))
		g->tally.overheard++;
	else if (intact(g, frame, written))
		account(g, frame->seq);
	else
		g->tally.damaged++;
	post(g, (uintptr_t)token - 1);
	return true;
}

static void send_frame(struct guest *g, const struct guest *to)
{
	uint32_t slot = g->tx_slots[--g->tx_free], size = size_of(g->sent);
	struct vring_buf buf = {g->tx_buffers + slot * BUFFER, (uint32_t)HEADER + size};
	struct frame *frame = virtio_rig_ptr(&g->rig, buf.addr);

	memset(frame, 0, sizeof(*frame));
	memcpy(frame->dst, to->mac, 6);
	memcpy(frame->src, g->mac, 6);
	frame->type[0] = ETHERTYPE >> 8;
	frame->type[1] = ETHERTYPE & 0xff;
	frame->seq = g->sent;
	memset(frame->fill, (int)(g->sent + to->mac[5]), HEADER + size - sizeof(*frame));
	g->sent++;
	g->tally.sent++;
	if (vring_driver_add(&g->tx, &buf, 1, 0, (void *)(uintptr_t)(slot + 1)))
		die("the transmit ring is full");
}

/* A window's worth; and one more when all of it is gone and nothing comes. */
static bool fill_window(struct guest *g, const struct guest *to)
{
	bool any = false;

	while (g->tx_free && (int32_t)(g->sent - to->expected) < (int32_t)WINDOW) {
		send_frame(g, to);
		any = true;
	}
	if (!any && g->tx_free == RING_SIZE && now_ns() - MAX(to->last, g->nudged) > NUDGE_NS) {
		g->nudged = now_ns();
		send_frame(g, to);
		any = true;
	}
	if (any)
		virtio_rig_kick(&g->rig, 1, &g->tx);
	return any;
}

static bool take(struct guest *g)
{
	uint32_t written;
	bool any = false;
	void *token;

	while (vring_driver_get_used(&g->tx, &token, &written))
		g->tx_slots[g->tx_free++] = (uint32_t)((uintptr_t)token - 1);
	while (receive(g))
		any = true;
	if (any)
		virtio_rig_kick(&g->rig, 0, &g->rx);
	if (g->rx.fault || g->tx.fault)
		die("the switch has broken a ring");
	return any;
}

static void turn(void)
{
	bool any = false;

	for (unsigned int i = 0; i < guest_count; i++)
		any |= take(&guests[i]) | fill_window(&guests[i], &guests[i ^ 1]);
	if (!any)
		usleep(50);
}

static void print_stuck(bool (*is_stuck)(const struct guest *g))
{
	printf("\"stuck\": [");
	for (unsigned int i = 0, n = 0; i < guest_count; i++)
		if (is_stuck(&guests[i]))
			printf("%s%u", n++ ? ", " : "", i);
	printf("]");
}

static bool unsettled(const struct guest *g)
{
	return (int32_t)(g->expected - g->settled_at) < 0;
}

static void settle(void)
{
	uint64_t begun = now_ns();
	unsigned int waiting = guest_count;

	for (unsigned int i = 0; i < guest_count; i++)
		guests[i].settled_at = guests[i ^ 1].sent + SETTLED;
	while (waiting && now_ns() - begun < STALL_NS) {
		turn();
		waiting = 0;
		for (unsigned int i = 0; i < guest_count; i++)
			waiting += unsettled(&guests[i]);
	}
	printf("{");
	print_stuck(unsettled);
	printf("}\n");
}

static bool undrained(const struct guest *g)
{
	return g->tx_free < RING_SIZE;
}

/*
 * A frame is given back to its sender after its receiver has it: when all have come back, all that
 * were to come have come.
 */
static void drain(void)
{
	uint64_t begun = now_ns();
	unsigned int waiting = guest_count;

	while (waiting && now_ns() - begun < STALL_NS) {
		waiting = 0;
		for (unsigned int i = 0; i < guest_count; i++) {
			take(&guests[i]);
			waiting += undrained(&guests[i]);
		}
	}
	for (unsigned int i = 0; i < guest_count; i++)
		take(&guests[i]);
}

static void report(void)
{
	struct tally sum = {0};

	drain();
	paused = true;
	printf("{");
	print_stuck(undrained);
	printf(", \"silence_ms\": [");
	for (unsigned int i = 0; i < guest_count; i++) {
		const struct tally *t = &guests[i].tally;

		printf("%s%.3f", i ? ", " : "", (double)t->silence / 1e6);
		sum.sent += t->sent;
		sum.received += t->received;
		sum.repeated += t->repeated;
		sum.late += t->late;
		sum.damaged += t->damaged;
		sum.overheard += t->overheard;
		guests[i].tally = (struct tally){0};
	}
	printf("], \"sent\": %llu, \"received\": %llu, \"repeated\": %llu, \"late\": %llu, "
	       "\"damaged\": %llu, \"overheard\": %llu}\n",
	       (unsigned long long)sum.sent, (unsigned long long)sum.received,
	       (unsigned long long)sum.repeated, (unsigned long long)sum.late,
	       (unsigned long long)sum.damaged, (unsigned long long)sum.overheard);
}

static void resume(void)
{
	for (unsigned int i = 0; i < guest_count; i++)
		guests[i].last = now_ns();
	paused = false;
	printf("{}\n");
}

static bool command(const char *line)
{
	if (!strncmp(line, "quit", 4))
		return false;
	if (!strncmp(line, "settle", 6))
		settle();
	else if (!strncmp(line, "report", 6))
		report();
	else if (!strncmp(line, "resume", 6))
		resume();
	else
		die("what?");
	fflush(stdout);
	return true;
}

static bool command_waits(void)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};

	return poll(&in, 1, paused ? -1 : 0) > 0;
}

static void guest_fini(struct guest *g)
{
	loop_stop(g->rig.loop);
	pthread_join(g->io, NULL);
	virtio_rig_fini(&g->rig);
	vring_driver_fini(&g->rx);
	vring_driver_fini(&g->tx);
}

int main(int argc, char **argv)
{
	char line[64];

	guest_count = (unsigned int)argc - 1;
	if (guest_count < 2 || guest_count > MAX_PORTS || guest_count & 1)
		die("usage: kill_ports SOCKET SOCKET...");
	log_init("kill_ports", LOG_LEVEL_ERROR);
	setvbuf(stdin, NULL, _IONBF, 0); /* or poll would not see what was read ahead */
	guests = calloc(guest_count, sizeof(*guests));
	if (!guests)
		die("out of memory");
	for (unsigned int i = 0; i < guest_count; i++)
		guest_init(&guests[i], argv[1 + i], (uint8_t)(i + 1));
	do {
		for (unsigned int i = 0; i < 16 && !paused; i++)
			turn();
	} while (!command_waits() || (fgets(line, sizeof(line), stdin) && command(line)));
	for (unsigned int i = 0; i < guest_count; i++)
		guest_fini(&guests[i]);
	free(guests);
	return 0;
}
