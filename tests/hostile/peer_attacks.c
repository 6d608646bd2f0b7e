#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/virtio_net.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/hostile/peer.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static struct vring_desc desc(uint64_t addr, uint32_t len, unsigned int flags, unsigned int next)
{
	return (struct vring_desc){ addr, len, (uint16_t)flags, (uint16_t)next };
}

#define BUFFER (PEER_GPA + PEER_BUFFERS)
#define TABLE_AT 0x80000u /* of the memory: an indirect table */

/* ---- chains that must break the ring ---- */

static void chain_runaway(struct session *s, struct vring_parts *p)
{
	s->avail[1] += (uint16_t)(PEER_RING_SIZE + 1 + chance_below(&s->chance, 0xfe00));
	__atomic_store_n(&p->avail->idx, s->avail[1], __ATOMIC_RELEASE);
}

static void chain_head(struct session *s, struct vring_parts *p)
{
	session_offer(s, 1, (uint16_t)(PEER_RING_SIZE + chance_below(&s->chance, 0xff00)));
}

static void chain_next(struct session *s, struct vring_parts *p)
{
	p->desc[0] = desc(BUFFER, 64, VRING_DESC_F_NEXT,
			  PEER_RING_SIZE + chance_below(&s->chance, 0xff00));
	session_offer(s, 1, 0);
}

static void chain_loop(struct session *s, struct vring_parts *p)
{
	unsigned int n = 1 + chance_below(&s->chance, PEER_RING_SIZE);

	for (unsigned int i = 0; i < n; i++)
		p->desc[i] = desc(BUFFER, 64, VRING_DESC_F_NEXT, (i + 1) % n);
	session_offer(s, 1, 0);
}

static void chain_zero(struct session *s, struct vring_parts *p)
{
	p->desc[0] = desc(BUFFER, 0, 0, 0);
	session_offer(s, 1, 0);
}

static void chain_order(struct session *s, struct vring_parts *p)
{
	p->desc[0] = desc(BUFFER, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	p->desc[1] = desc(BUFFER, 64, 0, 0);
	session_offer(s, 1, 0);
}

static void chain_outside(struct session *s, struct vring_parts *p)
{
	static const uint64_t addresses[] = { 0, PEER_GPA - 1, PEER_GPA + PEER_MEMORY - 63,
		PEER_GPA + PEER_MEMORY, UINT64_MAX, UINT64_MAX - 63, 1ull << 63, PEER_USER };

	p->desc[0] = desc(chance_of(&s->chance, addresses), 64, 0, 0);
	session_offer(s, 1, 0);
}

static void chain_too_big(struct session *s, struct vring_parts *p)
{
	for (unsigned int i = 0; i < 4; i++)
		p->desc[i] = desc(BUFFER, 0x7fffffff, i < 3 ? VRING_DESC_F_NEXT : 0, i + 1);
	session_offer(s, 1, 0);
}

static void chain_indirect(struct session *s, struct vring_parts *p)
{
	struct vring_desc *table = (void *)(s->memory + TABLE_AT);
	static const uint32_t lengths[] = { 0, 1, 15, 17, 0x80010, 0xfffffff0, 0xffffffff };
	uint64_t at = PEER_GPA + TABLE_AT;

	table[0] = desc(BUFFER, 64, VRING_DESC_F_INDIRECT, 0); /* nested */
	p->desc[0] = desc(at, 16, VRING_DESC_F_INDIRECT, 0);
	switch (chance_below(&s->chance, 5)) {
	case 0:
		p->desc[0].len = chance_of(&s->chance, lengths);
		break;
	case 1:
		p->desc[0].addr = PEER_GPA + PEER_MEMORY - 8;
		break;
	case 2:
		p->desc[0].flags |= VRING_DESC_F_NEXT;
		break;
	case 3:
		table[0] = desc(BUFFER, 64, VRING_DESC_F_NEXT, 0);
		break;
	}
	session_offer(s, 1, 0);
}

/* More pieces than the switch has room for: each a page away from the next. */
static void chain_long(struct session *s, struct vring_parts *p)
{
	struct vring_desc *table = (void *)(s->memory + TABLE_AT);
	unsigned int n = 4096;

	for (unsigned int i = 0; i < n; i++)
		table[i] = desc(BUFFER + i % 64, 1, i + 1 < n ? VRING_DESC_F_NEXT : 0, i + 1);
	p->desc[0] = desc(PEER_GPA + TABLE_AT, n * 16, VRING_DESC_F_INDIRECT, 0);
	session_offer(s, 1, 0);
}

/* A frame is offered, then its bytes are cut off. */
static void memory_cut(struct session *s, struct vring_parts *p)
{
	if (s->sealed) {
		chain_outside(s, p);
		return;
	}
	p->desc[0] = desc(PEER_GPA + PEER_MEMORY - 4096, 100, 0, 0);
	session_offer(s, 1, 0);
	s->ruined = true;
	if (ftruncate(s->memfd, chance_below(&s->chance, 2) ? 0 : PEER_BUFFERS) < 0)
		return;
}

static void (*const ruins[])(struct session *s, struct vring_parts *p) = {
	chain_runaway, chain_head, chain_next, chain_loop, chain_zero, chain_order,
	chain_outside, chain_too_big, chain_indirect, chain_long, memory_cut,
};

/* ---- what a switch has to live with ---- */

static void storm_of_kicks(struct session *s, struct vring_parts *p)
{
	for (unsigned int i = 0; i < 500; i++)
		session_kick(s, i & 1);
}

static void calls_full(struct session *s, struct vring_parts *p)
{
	uint64_t most = UINT64_MAX - 1;
	ssize_t n;

	for (unsigned int i = 0; i < PEER_RINGS; i++) {
		fcntl(s->call[i], F_SETFL, O_NONBLOCK); /* we had better not wait ourselves */
		n = write(s->call[i], &most, sizeof(most));
	}
	(void)n;
	session_frames(s);
}

/* The first write that finds it full would wait for ever. */
static void calls_block(struct session *s, struct vring_parts *p)
{
	calls_full(s, p);
	fcntl(s->kick[1], F_SETFL, 0);
	if (chance_below(&s->chance, 200) == 0)
		fcntl(s->call[1], F_SETFL, 0);
	session_frames(s);
}

static void hole_punched(struct session *s, struct vring_parts *p)
{
	session_frames(s);
	if (fallocate(s->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PEER_MEMORY) < 0)
		return;
	session_kick(s, 1);
}

static void writes_sealed(struct session *s, struct vring_parts *p)
{
	if (fcntl(s->memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0)
		return;
	session_frames(s);
}

/* Random bytes over both rings while the switch works on them. */
static void scribble(struct session *s, struct vring_parts *p)
{
	for (unsigned int i = 0; i < 2000; i++)
		s->memory[chance_below(&s->chance, 2 * PEER_RING_BYTES)] = (uint8_t)i;
	session_kick(s, 1);
}

/* A descriptor that changes between one look and the next. */
static void flicker(struct session *s, struct vring_parts *p)
{
	session_frames(s);
	for (unsigned int i = 0; i < 1000; i++) {
		__atomic_store_n(&p->desc[0].len, i & 1 ? 72 : 0x7fffffff, __ATOMIC_RELAXED);
		__atomic_store_n(&p->desc[0].addr, i & 2 ? BUFFER : 0, __ATOMIC_RELAXED);
	}
	p->desc[0] = desc(BUFFER, 72, 0, 0);
}

static void used_scribbled(struct session *s, struct vring_parts *p)
{
	p->used->idx = (uint16_t)chance_u64(&s->chance);
	p->used->flags = (uint16_t)chance_u64(&s->chance);
	session_frames(s);
}

/* A header that asks for anything, on a frame of any length, in any number of pieces. */
static void odd_frame(struct session *s, struct vring_parts *p)
{
	uint8_t *at = s->memory + PEER_BUFFERS + 0x10000;
	uint32_t len = 1 + chance_below(&s->chance, 3000);
	unsigned int pieces = 1 + chance_below(&s->chance, MIN(len, 200u)), i = 0;
	uint32_t from = 0;

	for (unsigned int k = 0; k < sizeof(struct virtio_net_hdr_v1); k++)
		at[k] = (uint8_t)chance_u64(&s->chance);
	/* To itself, so that no neighbour's buffers are used up. */
	memcpy(at + 12, s->memory + PEER_BUFFERS + 12, 14);
	for (; i < pieces; i++) {
		uint32_t to = i + 1 == pieces ? len : len * (i + 1) / pieces;

		p->desc[i] = desc(BUFFER + 0x10000 + from, to - from,
				  i + 1 < pieces ? VRING_DESC_F_NEXT : 0, i + 1);
		from = to;
	}
	session_offer(s, 1, 0);
	session_kick(s, 1);
}

/* The other ring is broken too, for whenever a frame comes this way. */
static void receive_ring(struct session *s, struct vring_parts *p)
{
	struct vring_parts rx = session_ring(s, 0);

	switch (chance_below(&s->chance, 4)) {
	case 0:
		rx.avail->idx = (uint16_t)chance_u64(&s->chance);
		break;
	case 1:
		rx.desc[0] = desc(BUFFER, 64, 0, 0);
		break;
	case 2:
		rx.desc[0] = desc(UINT64_MAX - 16, 2048, VRING_DESC_F_WRITE, 0);
		break;
	default:
		rx.desc[0] = desc(BUFFER, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0);
		break;
	}
	session_offer(s, 0, 0);
}

static void (*const nuisances[])(struct session *s, struct vring_parts *p) = {
	storm_of_kicks, calls_full, calls_block, hole_punched, writes_sealed, scribble,
	flicker, used_scribbled, odd_frame, odd_frame, receive_ring,
};

void attack(struct session *s, bool breaks)
{
	struct vring_parts tx = session_ring(s, 1);

	if (s->ruined)
		return;
	tally.attacks++;
	if (breaks) {
		chance_of(&s->chance, ruins)(s, &tx);
		session_kick(s, 1);
	} else {
		chance_of(&s->chance, nuisances)(s, &tx);
	}
}
