/*
 * What a virtio header promises to be done later, and doing it: partial checksums completed, TCP
 * segments cut, for receivers that do not take them whole (virtio 1.2 §5.1.6.2).
 *
 * A frame's header comes from a hostile peer: offload_check lets pass only what makes sense, and
 * cutting looks at the packet again, in a private copy. Any lcore; pure.
 */
#ifndef VSWITCH_OFFLOAD_H
#define VSWITCH_OFFLOAD_H

#include "vswitch/frame.h"

#define OFFLOAD_CSUM 1u /* partial checksums */
#define OFFLOAD_TSO4 2u
#define OFFLOAD_TSO6 4u
#define OFFLOAD_ECN 8u /* segments with CWR */

#define OFFLOAD_MAX_SEGMENTS 1024u /* cut from one frame */
#define OFFLOAD_MAX_HEADER 256u	   /* bytes before the TCP payload of a frame to be cut */

/*
 * Whether the header of a frame received makes sense for its length and stays within `allowed`,
 * what was negotiated for that direction. The header is normalized: fields without meaning are 0.
 */
must_check bool offload_check(struct virtio_net_hdr *hdr, uint32_t len, unsigned int allowed);

/* The OFFLOAD_* bits a receiver must have to take the frame as it is. */
static inline unsigned int offload_needs(const struct virtio_net_hdr *hdr)
{
	unsigned int needs = 0;

	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		needs |= OFFLOAD_CSUM;
	switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		needs |= OFFLOAD_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		needs |= OFFLOAD_TSO6;
		break;
	}
	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		needs |= OFFLOAD_ECN;
	return needs;
}

/* Scratch room of one lcore for the work below. */
struct offload_scratch {
	uint8_t packet[FRAME_MAX + 64]; /* the frame in one piece */
	struct frame frames[FRAME_BURST];
	struct iovec iov[FRAME_BURST][2];
	uint8_t headers[FRAME_BURST][OFFLOAD_MAX_HEADER];
};

/*
 * Called with frames that are finished (hdr all zero), in order, at most FRAME_BURST at a time;
 * they and what they point to are valid during the call.
 */
typedef void (*offload_emit)(void *opaque, struct frame *const *frames, unsigned int count);

/*
 * Finishes a frame that offload_check has let pass. Returns the number of frames emitted, or
 * -EINVAL (nothing emitted) when it is not what its header claims.
 */
must_check int offload_finish(const struct frame *frame, struct offload_scratch *scratch,
			      offload_emit emit, void *opaque);

/* One's complement sum (RFC 1071) of a run of bytes, unfolded; chain by `sum` on even lengths. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);
/* Folded to 16 bits, in memory order, not inverted. */
uint16_t checksum_fold(uint64_t sum);

#endif
