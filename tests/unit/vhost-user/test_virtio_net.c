/* virtio-net: what the driver is offered, its control queue, its link, and frames to a peer. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "tests/unit/vhost-user/scripted_peer.h"
#include "vhost-user/virtio_net.h"

#define BIT(n) (1ULL << (n))
#define PAIRS 2u
#define RING_SIZE 16u
#define PEER_NET                                                                       \
	(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CSUM) |                        \
	 BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |                  \
	 BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_MQ))
#define OWN_NET                                                                        \
	(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_STATUS) |    \
	 BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) |                       \
	 BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))
#define RING_FEATURES                                                                  \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |                      \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC))
#define DRIVER (RING_FEATURES | OWN_NET | PEER_NET)

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

struct fixture {
	struct virtio_rig rig;
	struct scripted_peer peer;
	struct vring_driver rx, tx, ctrl;
	gpa_t command, ack;
	unsigned int ctrl_index; /* of the control queue */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_net_params params = {.id = "net0", .mtu = 1500, .queue_pairs = PAIRS};
	struct pci_device *pci;

	virtio_rig_init(&f->rig);
	scripted_peer_init(&f->peer, &f->rig);
	f->peer.features |= PEER_NET;
	params.loop = f->rig.loop;
	params.hv = &f->rig.hv.hv;
	params.dma = dma_space_dma(f->rig.space);
	params.memory = f->rig.memory;
	params.socket_path = f->peer.path;
	memcpy(params.mac, mac, sizeof(mac));
	assert_int_equal(virtio_net_create(&params, &pci), 0);
	virtio_rig_plug(&f->rig, pci);
	f->command = virtio_rig_alloc(&f->rig, 4096, 4096);
	f->ack = virtio_rig_alloc(&f->rig, 1, 1);
	*state = f;
	return 0;
}

static void drop_driver(struct fixture *f)
{
	vring_driver_fini(&f->rx);
	vring_driver_fini(&f->tx);
	vring_driver_fini(&f->ctrl);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scripted_peer_fini(&f->peer); /* watches the rig's loop */
	virtio_rig_fini(&f->rig);
	drop_driver(f);
	free(f);
	return 0;
}

static struct virtio_net_info info(struct fixture *f)
{
	struct virtio_net_info i;

	virtio_net_get_info(f->rig.pci, &i);
	return i;
}

static bool connected(void *opaque)
{
	return info(opaque).connected;
}

static bool link_up(void *opaque)
{
	struct fixture *f = opaque;

	return virtio_rig_config(&f->rig, offsetof(struct virtio_net_config, status), 2) ==
	       VIRTIO_NET_S_LINK_UP;
}

static bool link_down(void *opaque)
{
	return !link_up(opaque);
}

static bool until(struct fixture *f, bool (*done)(void *))
{
	return virtio_rig_run_until(&f->rig, done, f);
}

/* Vectors: 0 configuration, 1 receive, 2 transmit, 3 control. */
static void start(struct fixture *f, uint64_t features)
{
	f->ctrl_index = features & BIT(VIRTIO_NET_F_MQ) ? 2 * PAIRS : 2;
	virtio_rig_msix_on(&f->rig);
	assert_true(virtio_rig_negotiate(&f->rig, features));
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	virtio_rig_queue(&f->rig, 0, RING_SIZE, 1, features, &f->rx);
	virtio_rig_queue(&f->rig, 1, RING_SIZE, 2, features, &f->tx);
	if (features & BIT(VIRTIO_NET_F_CTRL_VQ))
		virtio_rig_queue(&f->rig, f->ctrl_index, RING_SIZE, 3, features, &f->ctrl);
	virtio_rig_driver_ok(&f->rig);
}

static void start_connected(struct fixture *f, uint64_t features)
{
	assert_true(until(f, connected));
	start(f, features);
	assert_true(until(f, link_up));
}

static void test_offer(void **state)
{
	struct fixture *f = *state;
	uint64_t before = virtio_rig_features(&f->rig);

	/* Without a peer: what our own switch has. */
	assert_int_equal(before & DRIVER, DRIVER);
	assert_true(before & BIT(VIRTIO_NET_F_HOST_TSO6));
	assert_false(before & BIT(VIRTIO_NET_F_HOST_UFO));
	assert_false(before & BIT(VIRTIO_NET_F_HOST_ECN));
	assert_int_equal(virtio_rig_config(&f->rig, 0, 4), get_le32(mac));
	assert_int_equal(virtio_rig_config(&f->rig, 8, 2), PAIRS);
	assert_int_equal(virtio_rig_config(&f->rig, 10, 2), 1500);
	assert_int_equal(virtio_rig_read(&f->rig, VIRTIO_PCI_COMMON_NUMQ, 2), 2 * PAIRS + 1);
	/* With one: no more than it has. */
	assert_true(until(f, connected));
	assert_int_equal(virtio_rig_features(&f->rig), DRIVER);
	/* What depends on something else is refused without it. */
	assert_false(virtio_rig_negotiate(&f->rig, DRIVER & ~BIT(VIRTIO_NET_F_CSUM)));
	assert_false(virtio_rig_negotiate(&f->rig, DRIVER & ~BIT(VIRTIO_NET_F_CTRL_VQ)));
	assert_true(virtio_rig_negotiate(&f->rig, DRIVER));
}

struct served {
	struct scripted_peer *peer;
	struct vring_device vr;
	struct vring_chain chain;
	struct iovec iov[8];
	uint64_t addr[8];
	unsigned int index;
};

static bool popped(void *opaque)
{
	struct served *s = opaque;
	struct vring_sg sg = {.iov = s->iov, .addr = s->addr, .capacity = 8};

	return vring_device_pop(&s->vr, &s->chain, 1, &sg) == 1;
}

static void test_frames(void **state)
{
	struct fixture *f = *state;
	gpa_t buffer = virtio_rig_alloc(&f->rig, 4096, 4096);
	const struct vring_buf buf = {buffer, 100}, room = {buffer + 2048, 2048};
	struct served tx = {.peer = &f->peer}, rx = {.peer = &f->peer};
	uint32_t written;
	void *token;
	eventfd_t n;

	start_connected(f, DRIVER);
	assert_true(f->peer.acked & BIT(VIRTIO_NET_F_MRG_RXBUF));
	assert_false(f->peer.acked & OWN_NET); /* not the peer's business */
	scripted_peer_serve(&f->peer, 0, &rx.vr);
	scripted_peer_serve(&f->peer, 1, &tx.vr);

	/* The doorbell reaches the peer without us, and its call becomes the guest's message. */
	while (eventfd_read(f->peer.rings[1].kick_fd, &n) == 0)
		;
	memcpy(virtio_rig_ptr(&f->rig, buffer), "hello", 5);
	assert_int_equal(vring_driver_add(&f->tx, &buf, 1, 0, &tx), 0);
	virtio_rig_kick(&f->rig, 1, &f->tx);
	assert_int_equal(eventfd_read(f->peer.rings[1].kick_fd, &n), 0);
	assert_true(popped(&tx));
	assert_int_equal(tx.chain.readable_len, 100);
	assert_memory_equal(tx.chain.iov[0].iov_base, "hello", 5);
	virtio_rig_messages(&f->rig, 1);
	f->rig.hv.message_count = 0;

	assert_int_equal(vring_driver_add(&f->rx, &room, 0, 1, &rx), 0);
	virtio_rig_kick(&f->rig, 0, &f->rx);
	assert_true(popped(&rx));
	memcpy(rx.chain.iov[0].iov_base, "world", 5);
	vring_device_put(&rx.vr, &rx.chain, 5);
	vring_device_publish(&rx.vr);
	assert_int_equal(eventfd_write(f->peer.rings[0].call_fd, 1), 0);
	assert_int_equal(virtio_rig_messages(&f->rig, 1), 1);
	assert_true(vring_driver_get_used(&f->rx, &token, &written));
	assert_ptr_equal(token, &rx);
	assert_int_equal(written, 5);
	assert_memory_equal(virtio_rig_ptr(&f->rig, buffer + 2048), "world", 5);
}

static void test_link(void **state)
{
	struct fixture *f = *state;
	uint8_t generation;

	/* The device starts without a peer, with the link down. */
	scripted_peer_leave(&f->peer);
	start(f, DRIVER);
	virtio_rig_settle(&f->rig);
	assert_true(link_down(f));
	assert_non_null(strstr(info(f).reason, "cannot connect"));
	assert_int_equal(virtio_rig_messages(&f->rig, 0), 0);
	generation = (uint8_t)virtio_rig_read(&f->rig, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	scripted_peer_return(&f->peer);
	assert_true(until(f, link_up));
	assert_int_equal(virtio_rig_messages(&f->rig, 0), 1);
	assert_int_not_equal(virtio_rig_read(&f->rig, VIRTIO_PCI_COMMON_CFGGENERATION, 1),
			     generation);
	scripted_peer_leave(&f->peer);
	assert_true(until(f, link_down));
	assert_int_equal(virtio_rig_messages(&f->rig, 0), 2);
	scripted_peer_return(&f->peer);
	assert_true(until(f, link_up));
	assert_int_equal(virtio_rig_counter(&f->rig, "link_ups"), 2);
	assert_int_equal(virtio_rig_counter(&f->rig, "link_downs"), 1);
	assert_int_equal(virtio_rig_counter(&f->rig, "peer_losses"), 1);
	/* A reset takes it down: nobody serves the rings. */
	assert_true(virtio_rig_reset(&f->rig));
	assert_true(until(f, link_down));
	assert_int_equal(f->peer.seen[VHOST_MSG_GET_VRING_BASE], 2);
}

static bool asked_for_bases(void *opaque)
{
	return ((struct fixture *)opaque)->peer.seen[VHOST_MSG_GET_VRING_BASE] == 2;
}

/* The peer does the function's DMA: without Bus Master Enable its rings are taken from it. */
static void test_bus_mastering(void **state)
{
	struct fixture *f = *state;

	start_connected(f, DRIVER);
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(until(f, asked_for_bases));
	assert_true(until(f, link_down));
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_DRIVER_OK);
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2,
			     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_true(until(f, link_up));
	assert_int_equal(virtio_rig_counter(&f->rig, "starts"), 2);
	assert_int_equal(virtio_rig_counter(&f->rig, "resets"), 1); /* of negotiate, no more */
}

static void test_peer_with_less(void **state)
{
	struct fixture *f = *state;

	scripted_peer_leave(&f->peer);
	start(f, DRIVER);
	f->peer.features &= ~BIT(VIRTIO_NET_F_CSUM);
	scripted_peer_return(&f->peer);
	assert_true(until(f, connected));
	virtio_rig_settle(&f->rig);
	assert_true(link_down(f));
	assert_int_equal(virtio_rig_counter(&f->rig, "peer_misfits"), 1);
	/* What is agreed stays on offer; the driver that asks again is told. */
	assert_true(virtio_rig_features(&f->rig) & BIT(VIRTIO_NET_F_CSUM));
	assert_true(virtio_rig_reset(&f->rig));
	assert_false(virtio_rig_features(&f->rig) & BIT(VIRTIO_NET_F_CSUM));
	drop_driver(f);
	start(f, DRIVER & ~(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4)));
	assert_true(until(f, link_up));
}

static bool acked(void *opaque)
{
	struct fixture *f = opaque;
	uint32_t written;
	void *token;

	return vring_driver_get_used(&f->ctrl, &token, &written);
}

static uint8_t command(struct fixture *f, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint8_t *p = virtio_rig_ptr(&f->rig, f->command);
	const struct vring_buf bufs[3] = {{f->command, 2}, {f->command + 2, len}, {f->ack, 1}};

	p[0] = class;
	p[1] = cmd;
	memcpy(p + 2, data, len);
	*(uint8_t *)virtio_rig_ptr(&f->rig, f->ack) = 0xee;
	assert_int_equal(vring_driver_add(&f->ctrl, bufs, 2, 1, f), 0);
	virtio_rig_kick(&f->rig, f->ctrl_index, &f->ctrl);
	assert_true(until(f, acked));
	return *(uint8_t *)virtio_rig_ptr(&f->rig, f->ack);
}

static void test_control(void **state)
{
	static const uint8_t on = 1, two = 2, table[] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0},
			     other[6] = {2, 0, 0, 0, 0, 9}, multicast[6] = {1, 0, 0, 0, 0, 9};
	static const uint8_t liar[] = {0xff, 0xff, 0xff, 0xff, 1, 2};
	const uint16_t vlan = 100, far = 4096;
	struct fixture *f = *state;

	start_connected(f, DRIVER);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &on, 1), 0);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, &on, 1), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &two, 1), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table,
				 sizeof(table)), 0);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, liar,
				 sizeof(liar)), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, multicast, 6),
			 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 5), 1);
	assert_int_equal(virtio_rig_config(&f->rig, 0, 4), get_le32(mac));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6), 0);
	assert_int_equal(virtio_rig_config(&f->rig, 0, 4), get_le32(other));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), 0);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &far, 2), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_ANNOUNCE, 0, &on, 1), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &vlan, 2), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, liar, 6), 1);
	assert_int_equal(command(f, 77, 0, &on, 1), 1);
	assert_int_equal(virtio_rig_counter(&f->rig, "control_commands_refused"), 10);
	virtio_rig_settle(&f->rig); /* a ring that is served is not looked at again for ever */
	assert_false(irq_eventfd_take(((struct virtio_pci *)f->rig.pci)->queues[4].kick_fd));
	assert_true(virtio_rig_messages(&f->rig, 3) > 0);
	/* The address is the driver's until the reset. */
	assert_true(virtio_rig_reset(&f->rig));
	assert_int_equal(virtio_rig_config(&f->rig, 0, 4), get_le32(mac));
}

/* Every command of every length but its own, one of no number of its class, and without its feature;
 * less than a header. */
static void test_refused_commands(void **state)
{
	static const struct {
		uint8_t class, cmd;
		uint32_t len;
		unsigned int feature;
		uint8_t data[16];
	} commands[] = {
		{ VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1, VIRTIO_NET_F_CTRL_RX, { 1 } },
		{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 8, VIRTIO_NET_F_CTRL_RX, { 0 } },
		{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 6, VIRTIO_NET_F_CTRL_MAC_ADDR,
		  { 2, 2, 2, 2, 2, 2 } },
		{ VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, 2, VIRTIO_NET_F_CTRL_VLAN, { 5 } },
		{ VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, VIRTIO_NET_F_MQ, { 1 } },
	};
	struct fixture *f = *state;

	static const uint8_t liar[] = {0xff, 0xff, 0xff, 0x7f};
	const struct vring_buf half[] = {{f->command, 1}, {f->ack, 1}};

	start_connected(f, DRIVER);
	/* Half a header, with what the device saw before as the rest. */
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, liar,
				 sizeof(liar)), VIRTIO_NET_ERR);
	assert_int_equal(vring_driver_add(&f->ctrl, half, 1, 1, f), 0);
	virtio_rig_kick(&f->rig, f->ctrl_index, &f->ctrl);
	assert_true(until(f, acked));
	assert_int_equal(*(uint8_t *)virtio_rig_ptr(&f->rig, f->ack), VIRTIO_NET_ERR);
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++)
		assert_int_equal(command(f, commands[i].class, 0x70, commands[i].data,
					 commands[i].len), VIRTIO_NET_ERR);
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++)
		for (uint32_t len = 1; len <= 16; len++)
			assert_int_equal(command(f, commands[i].class, commands[i].cmd,
						 commands[i].data, len),
					 len == commands[i].len ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++) {
		drop_driver(f);
		start(f, DRIVER & ~BIT(commands[i].feature));
		assert_true(until(f, link_up));
		assert_int_equal(command(f, commands[i].class, commands[i].cmd, commands[i].data,
					 commands[i].len), VIRTIO_NET_ERR);
	}
}

static void test_queue_pairs(void **state)
{
	struct fixture *f = *state;
	struct vring_driver rx, tx;
	const uint16_t none = 0, two = 2, three = 3;

	assert_true(until(f, connected));
	assert_true(virtio_rig_negotiate(&f->rig, DRIVER));
	virtio_rig_queue(&f->rig, 2, RING_SIZE, 1, DRIVER, &rx);
	virtio_rig_queue(&f->rig, 3, RING_SIZE, 1, DRIVER, &tx);
	virtio_rig_msix_on(&f->rig);
	virtio_rig_queue(&f->rig, 0, RING_SIZE, 1, DRIVER, &f->rx);
	virtio_rig_queue(&f->rig, 1, RING_SIZE, 2, DRIVER, &f->tx);
	f->ctrl_index = 2 * PAIRS;
	virtio_rig_queue(&f->rig, f->ctrl_index, RING_SIZE, 3, DRIVER, &f->ctrl);
	virtio_rig_driver_ok(&f->rig);
	assert_true(until(f, link_up));
	assert_int_equal(f->peer.rings[1].enabled, 1);
	assert_int_equal(f->peer.rings[2].enabled, 0); /* one pair until the driver says more */
	assert_int_equal(f->peer.rings[2].num, RING_SIZE);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &none, 2), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &three, 2), 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &two, 2), 0);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->peer.rings[2].enabled, 1);
	assert_int_equal(f->peer.rings[3].enabled, 1);
	assert_int_equal(info(f).queue_pairs, 2);
	/* A reconnection keeps it. */
	scripted_peer_hang_up(&f->peer);
	assert_true(until(f, link_down));
	assert_true(until(f, link_up));
	assert_int_equal(f->peer.rings[3].enabled, 1);
	vring_driver_fini(&rx);
	vring_driver_fini(&tx);
}

static void test_bad_control_ring(void **state)
{
	struct fixture *f = *state;
	struct vring_buf buf = {RIG_MEMORY, 16};

	start_connected(f, DRIVER);
	assert_int_equal(vring_driver_add(&f->ctrl, &buf, 1, 0, f), 0);
	virtio_rig_kick(&f->rig, 2 * PAIRS, &f->ctrl);
	virtio_rig_settle(&f->rig);
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(virtio_rig_counter(&f->rig, "control_ring_faults"), 1);
	drop_driver(f);
	start(f, DRIVER);
	assert_true(until(f, link_up));
}

/* Quiesced and loaded into the same function after a reset: the rings go on where they were. */
static void test_state(void **state)
{
	struct fixture *f = *state;
	struct device *dev = &f->rig.pci->dev;
	uint8_t *saved = calloc(1, dev->ops->state_size);
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 9};

	start_connected(f, DRIVER);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6), 0);
	/* The peer cannot answer: quiescing does not run the loop. It is dropped in time, and its
	 * progress is read from memory. */
	f->rx.parts.used->idx = 6;
	assert_int_equal(dev->ops->quiesce(dev), 0);
	assert_false(info(f).link_up);
	dev->ops->save(dev, saved);
	dev->ops->reset(dev);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size - 1, 1), -EINVAL);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size, 2), -EINVAL);
	/* After the transport and the address: the pairs that the driver uses. */
	for (unsigned int pairs = 0; pairs <= PAIRS + 1; pairs += PAIRS + 1) {
		put_le16(saved + sizeof(struct virtio_pci_state) + 6, (uint16_t)pairs);
		assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size, 1), -EINVAL);
	}
	put_le16(saved + sizeof(struct virtio_pci_state) + 6, 1);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size, 1), 0);
	assert_int_equal(virtio_rig_config(&f->rig, 0, 4), get_le32(other));
	assert_int_equal(dev->ops->resume(dev), 0);
	assert_true(until(f, link_down));
	assert_true(until(f, link_up));
	assert_int_equal(f->peer.rings[0].base, 6);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), 0);
	free(saved);
}

static void test_bad_params(void **state)
{
	struct fixture *f = *state;
	struct virtio_net_params params = {
		.id = "x", .mtu = 10, .queue_pairs = 1, .loop = f->rig.loop, .memory = f->rig.memory};
	struct pci_device *pci;

	assert_int_equal(virtio_net_create(&params, &pci), -EINVAL);
	params.mtu = 1500;
	params.queue_pairs = VIRTIO_NET_MAX_QUEUE_PAIRS + 1;
	assert_int_equal(virtio_net_create(&params, &pci), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bus_mastering, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_with_less, setup, teardown),
		cmocka_unit_test_setup_teardown(test_control, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_pairs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_control_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_params, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
