/*
 * Streams that write numbered sectors to a virtio-blk disk, each round after round: its sectors all
 * at once, then a flush, then a line "on-disk STREAM ROUND" on the console, and only then the next
 * round. Streams run side by side, and two of them share each 4 KiB of the disk. What has been
 * said to be on disk must be there whatever happens to anybody but the disk; and as no stream
 * begins a round before it was told that the last one is safe, the disk's own contents tell how far
 * that was. tests/hostile/sectors.py reads them.
 */
#include "tiny.h"

#define STREAMS 4u
#define SECTORS 4u /* a stream and round */
#define ROUNDS 8u  /* whose sectors have places of their own */
#define WRITES (STREAMS * SECTORS)
#define QUEUE_SIZE 64u
#define MAGIC 0x74697277u /* "writ" */
#define BLK_OUT 1u
#define BLK_FLUSH 4u
#define DESC_NEXT 1u
#define DESC_WRITE 2u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct {
	struct desc desc[QUEUE_SIZE];
	struct {
		volatile uint16_t flags, index, ring[QUEUE_SIZE];
	} avail;
	uint8_t pad[2048 - 16 * QUEUE_SIZE - 4 - 2 * QUEUE_SIZE];
	struct {
		volatile uint16_t flags, index;
		struct {
			volatile uint32_t id, len;
		} ring[QUEUE_SIZE];
	} used;
} ring __attribute__((aligned(4096)));

/* Requests 0 to WRITES - 1 are writes, those after them each stream's flush. */
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header[WRITES + STREAMS];
static volatile uint8_t status[WRITES + STREAMS];
static uint32_t data[WRITES][128] __attribute__((aligned(512)));
static struct {
	uint32_t round;
	uint32_t under_way;
} stream[STREAMS];
static uint32_t doorbell;

static void describe(uint32_t at, const volatile void *buffer, uint32_t len, uint16_t flags)
{
	ring.desc[at] = (struct desc){(uint32_t)(uintptr_t)buffer, len, flags,
				      (uint16_t)(flags & DESC_NEXT ? at + 1 : 0)};
}

/* Descriptors 3n to 3n + 2 are request n's. */
static void submit(uint32_t n, uint32_t type, uint32_t sector)
{
	uint32_t at = 3 * n;

	header[n].type = type;
	header[n].sector = sector;
	status[n] = 0xff;
	describe(at, &header[n], sizeof(header[n]), DESC_NEXT);
	if (type == BLK_OUT)
		describe(at + 1, data[n], sizeof(data[n]), DESC_NEXT);
	else
		ring.desc[at].next = (uint16_t)(at + 2);
	describe(at + 2, &status[n], 1, DESC_WRITE);
	ring.avail.ring[ring.avail.index % QUEUE_SIZE] = (uint16_t)at;
	__asm__ volatile("" : : : "memory");
	ring.avail.index++;
}

static void write_round(uint32_t s)
{
	uint32_t round = stream[s].round;

	for (uint32_t k = 0; k < SECTORS; k++) {
		uint32_t n = s * SECTORS + k;
		uint32_t sector = round % ROUNDS * WRITES + n;

		data[n][0] = MAGIC;
		data[n][1] = s;
		data[n][2] = k;
		data[n][3] = round;
		for (uint32_t i = 4; i < 128; i++)
			data[n][i] = round + i;
		submit(n, BLK_OUT, sector);
	}
	stream[s].under_way = SECTORS;
}

static void completed(uint32_t n)
{
	uint32_t s = n < WRITES ? n / SECTORS : n - WRITES;

	if (status[n]) {
		report("disk-error", n);
		for (;;)
			__asm__ volatile("hlt");
	}
	if (n < WRITES) {
		if (!--stream[s].under_way)
			submit(WRITES + s, BLK_FLUSH, 0);
		return;
	}
	put("on-disk ");
	put_hex(s);
	put(" ");
	put_hex(stream[s].round);
	put("\n");
	stream[s].round++;
	write_round(s);
}

static void ring_doorbell(void)
{
	*(volatile uint16_t *)(uintptr_t)doorbell = 0;
}

void virtio_disk_write(uint32_t first_round)
{
	uint16_t seen = 0;

	doorbell = virtio_disk_start(QUEUE_SIZE, ring.desc, &ring.avail, &ring.used);
	if (!doorbell) {
		put("disk: no virtio-blk\n");
		return;
	}
	for (uint32_t s = 0; s < STREAMS; s++) {
		stream[s].round = first_round;
		write_round(s);
	}
	ring_doorbell();
	for (;;) {
		uint16_t index = ring.used.index;

		if (seen == index) {
			__asm__ volatile("pause");
			continue;
		}
		while (seen != index)
			completed(ring.used.ring[seen++ % QUEUE_SIZE].id / 3);
		ring_doorbell();
	}
}
