/*
 * Drivers in polling mode (virtio 1.2 §4.1, §5.1, §5.2), with a split ring: one for virtio-blk, which
 * reads the first sector, writes the second and flushes; one for virtio-net, which sends a frame.
 */
#include "tiny.h"

#define QUEUE_SIZE 8u
#define VIRTIO_CAP 0x09
#define CAP_COMMON 1u
#define CAP_NOTIFY 2u
#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct ring {
	struct desc desc[QUEUE_SIZE];
	struct {
		volatile uint16_t flags, index, ring[QUEUE_SIZE];
	} avail;
	uint8_t pad[4096 - 16 * QUEUE_SIZE - 4 - 2 * QUEUE_SIZE];
	struct {
		volatile uint16_t flags, index;
		struct {
			uint32_t id, len;
		} ring[QUEUE_SIZE];
	} used;
} ring __attribute__((aligned(4096))), rx_ring __attribute__((aligned(4096)));

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static uint8_t data[512] __attribute__((aligned(16)));
static volatile uint8_t status;
static uint32_t notify;
/* Of the device started last: its registers, and the bus it is alone on. */
static uint32_t common;
static uint8_t bus;

static void write8(uint32_t addr, uint8_t v)
{
	*(volatile uint8_t *)(uintptr_t)addr = v;
}

static void write16(uint32_t addr, uint16_t v)
{
	*(volatile uint16_t *)(uintptr_t)addr = v;
}

static uint8_t read8(uint32_t addr)
{
	return *(volatile uint8_t *)(uintptr_t)addr;
}

static uint16_t read16(uint32_t addr)
{
	return *(volatile uint16_t *)(uintptr_t)addr;
}

/* Where the structure of that type lies, by its capability. */
static uint32_t find_structure(uint8_t type)
{
	uint8_t at = (uint8_t)ecam_read(bus, 0, 0x34);

	for (int n = 0; at && n < 48; n++) {
		uint32_t head = ecam_read(bus, 0, at);

		if ((head & 0xff) == VIRTIO_CAP && head >> 24 == type) {
			uint8_t bar = (uint8_t)ecam_read(bus, 0, (uint16_t)(at + 4));

			return (ecam_read(bus, 0, (uint16_t)(0x10 + 4 * bar)) & ~0xfu) +
			       ecam_read(bus, 0, (uint16_t)(at + 8));
		}
		at = head >> 8 & 0xff;
	}
	return 0;
}

static void write_pointer(uint32_t at, const volatile void *pointer)
{
	mem_write32(at, (uint32_t)(uintptr_t)pointer);
	mem_write32(at + 4, 0);
}

static void set_queue(uint16_t index, uint16_t size, const volatile void *desc,
		      const volatile void *avail, const volatile void *used)
{
	write16(common + 22, index);
	write16(common + 24, size);
	write_pointer(common + 32, desc);
	write_pointer(common + 40, avail);
	write_pointer(common + 48, used);
	write16(common + 28, 1);
}

/* Finds the device on the first buses; its doorbells, when it wants queues next, or 0. */
static uint32_t start(uint16_t device_id, uint32_t features)
{
	uint32_t doorbell;

	for (bus = 1; bus < 8 && ecam_read(bus, 0, 0) >> 16 != device_id; bus++)
		;
	common = find_structure(CAP_COMMON);
	doorbell = find_structure(CAP_NOTIFY);
	if (!common || !doorbell)
		return 0;
	config_write(bus, 0, 4, config_read(bus, 0, 4) | 1u << 2); /* Bus Master Enable */
	write8(common + 20, 0);
	while (read8(common + 20))
		;
	write8(common + 20, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	mem_write32(common + 8, 0);
	mem_write32(common + 12, features);
	mem_write32(common + 8, 1);
	mem_write32(common + 12, 1); /* VIRTIO_F_VERSION_1 */
	write8(common + 20, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	return read8(common + 20) & STATUS_FEATURES_OK ? doorbell : 0;
}

static void go(void)
{
	write8(common + 20, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK |
				    STATUS_DRIVER_OK);
	report("notify-offset", read16(common + 30));
}

uint32_t virtio_disk_start(uint16_t size, const volatile void *desc, const volatile void *avail,
			   const volatile void *used)
{
	uint32_t doorbell = start(0x1042, 1u << 9 /* VIRTIO_BLK_F_FLUSH */);

	if (!doorbell)
		return 0;
	set_queue(0, size, desc, avail, used);
	go();
	return doorbell;
}

/* One request by the doorbell; returns the status byte when the device has used it. */
static uint8_t request(uint32_t type, uint32_t sector, bool with_data)
{
	uint16_t seen = ring.used.index, last = with_data ? 2 : 1;

	header.type = type;
	header.sector = sector;
	status = 0xff;
	ring.desc[0] = (struct desc){(uint32_t)(uintptr_t)&header, sizeof(header), 1, 1};
	if (with_data)
		ring.desc[1] = (struct desc){(uint32_t)(uintptr_t)data, sizeof(data),
					     (uint16_t)(type == 0 ? 3 : 1), 2};
	ring.desc[last] = (struct desc){(uint32_t)(uintptr_t)&status, 1, 2, 0};
	ring.avail.ring[ring.avail.index % QUEUE_SIZE] = 0;
	__asm__ volatile("" : : : "memory");
	ring.avail.index++;
	__asm__ volatile("" : : : "memory");
	write16(notify, 0);
	while (ring.used.index == seen && !(read8(common + 20) & STATUS_NEEDS_RESET))
		__asm__ volatile("pause");
	return status;
}

void virtio_disk_test(void)
{
	notify = virtio_disk_start(QUEUE_SIZE, ring.desc, &ring.avail, &ring.used);
	if (!notify) {
		put("disk: no virtio-blk\n");
		return;
	}
	report("disk-read", request(0, 0, true));
	report("disk-data", *(uint32_t *)data);
	for (int i = 0; i < 512; i++)
		data[i] = (uint8_t)~data[i];
	report("disk-write", request(1, 1, true));
	report("disk-flush", request(4, 0, false));
}

/* A switch may take its time to come, or never do. */
void virtio_nic_test(void)
{
	static uint8_t frame[12 + 60] = {[12] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, [24] = 0x88, 0xb5};
	uint32_t doorbell = start(0x1041, 0), patience = 200000;

	if (!doorbell) {
		put("nic: no virtio-net\n");
		return;
	}
	rx_ring.desc[0] = (struct desc){(uint32_t)(uintptr_t)data, sizeof(data), 2, 0};
	rx_ring.avail.index = 1;
	ring.desc[0] = (struct desc){(uint32_t)(uintptr_t)frame, sizeof(frame), 0, 0};
	ring.avail.index = 1;
	set_queue(0, QUEUE_SIZE, rx_ring.desc, &rx_ring.avail, &rx_ring.used);
	set_queue(1, QUEUE_SIZE, ring.desc, &ring.avail, &ring.used);
	go();
	write16(doorbell + 4, 1);
	while (!ring.used.index && --patience)
		__asm__ volatile("pause");
	report("nic-sent", ring.used.index);
	write8(common + 20, 0); /* the rings are free for the next */
	while (read8(common + 20))
		;
	ring.avail.index = ring.used.index = 0;
}
