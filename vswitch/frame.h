/*
 * A frame on its way through a burst: a private copy of its first bytes, the rest where its
 * source has it, and what is left to be done to it (the virtio header). Nothing of it outlives
 * the burst. One lcore owns it. Pure; needs no EAL.
 *
 * The head is fetched once: what was looked up is what is sent, however the source's owner
 * scribbles over its memory meanwhile.
 */
#ifndef VSWITCH_FRAME_H
#define VSWITCH_FRAME_H

#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "core/bits.h"

#define FRAME_BURST 32u		  /* frames taken from a queue at once */
#define FRAME_HEAD 64u		  /* bytes: Ethernet, one tag, IPv6 and ports fit */
#define FRAME_MIN 14u		  /* bytes: an Ethernet header */
#define FRAME_OVERHEAD 18u	  /* bytes that the MTU does not count: header and one tag */
#define FRAME_MAX (65535u + 18u) /* bytes: the largest IP packet in an Ethernet frame */

struct frame {
	uint32_t len;	    /* bytes in all */
	uint16_t head_len;  /* min(len, FRAME_HEAD) */
	uint16_t iov_count;
	struct iovec *iov; /* [head_len, len); borrowed from the burst */
	struct virtio_net_hdr hdr;
	void *mbuf;	    /* the packet buffer it lives in, which a port may take by storing NULL */
	bool shared;	    /* several ports get it: mbuf may not be taken */
	uint8_t head[FRAME_HEAD] __attribute__((aligned(16)));
};

static inline const uint8_t *frame_dst(const struct frame *frame)
{
	return frame->head;
}

static inline const uint8_t *frame_src(const struct frame *frame)
{
	return frame->head + 6;
}

/*
 * Moves the first bytes (at most FRAME_HEAD) from the iovec into head and sets len. The iovec is
 * changed to hold the rest. iov_count and iov must be set.
 */
static inline void frame_fetch_head(struct frame *frame, uint32_t len)
{
	uint32_t want = MIN(len, FRAME_HEAD), got = 0;

	frame->len = len;
	frame->head_len = (uint16_t)want;
	while (got < want) {
		uint32_t n = (uint32_t)MIN(frame->iov->iov_len, want - got);

		memcpy(frame->head + got, frame->iov->iov_base, n);
		got += n;
		frame->iov->iov_base = (uint8_t *)frame->iov->iov_base + n;
		frame->iov->iov_len -= n;
		if (frame->iov->iov_len == 0) {
			frame->iov++;
			frame->iov_count--;
		}
	}
}

/* Copies the whole frame to `to`, which has room for frame->len bytes. */
static inline void frame_copy(const struct frame *frame, uint8_t *to)
{
	memcpy(to, frame->head, frame->head_len);
	to += frame->head_len;
	for (unsigned int i = 0; i < frame->iov_count; i++) {
		memcpy(to, frame->iov[i].iov_base, frame->iov[i].iov_len);
		to += frame->iov[i].iov_len;
	}
}

#endif
