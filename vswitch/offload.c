#include "vswitch/offload.h"

#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>

#include "vswitch/packet.h"

#define CHECKSUM_BYTES 2u

/* A TCP frame about to be cut, in scratch->packet. */
struct offload_tcp {
	const uint8_t *packet;
	uint32_t len;
	unsigned int l3, l4;	 /* bytes before the IP and the TCP header */
	unsigned int header_len; /* bytes before the payload */
	unsigned int mss;	 /* payload bytes a segment */
	bool ipv6;
};

bool offload_check(struct virtio_net_hdr *hdr, uint32_t len, unsigned int allowed)
{
	unsigned int needs;

	hdr->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		hdr->gso_size = 0;
		hdr->hdr_len = 0;
	}
	if (!hdr->flags) {
		hdr->csum_start = 0;
		hdr->csum_offset = 0;
		return hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE;
	}
	if (hdr->csum_start < ETH_HLEN ||
	    (uint32_t)hdr->csum_start + hdr->csum_offset + CHECKSUM_BYTES > len)
		return false;
	needs = offload_needs(hdr);
	if (needs & ~allowed)
		return false;
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	/* An unknown type, or ECN alone. */
	if (!(needs & (OFFLOAD_TSO4 | OFFLOAD_TSO6)))
		return false;
	hdr->hdr_len = (uint16_t)MIN(hdr->hdr_len, len);
	return hdr->gso_size > 0 && hdr->csum_offset == TCP_CHECKSUM &&
	       hdr->csum_start + TCP_MIN <= len &&
	       (len - hdr->csum_start - TCP_MIN) / hdr->gso_size < OFFLOAD_MAX_SEGMENTS;
}

uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	/* 32-bit words: no carry is lost for frames of up to 16 GiB. */
	for (; len >= 8; len -= 8, p += 8)
		sum += (uint64_t)get_le32(p) + get_le32(p + 4);
	for (; len >= 2; len -= 2, p += 2)
		sum += get_le16(p);
	return len ? sum + *p : sum;
}

uint16_t checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The checksum as it is stored; 0 is sent as its other form, since UDP takes 0 for "none". */
static uint16_t checksum_finish(uint64_t sum)
{
	uint16_t inverted = (uint16_t)~checksum_fold(sum);

	return inverted ? inverted : 0xffff;
}

static void offload_frame_set(struct frame *frame, struct iovec *iov, unsigned int count,
			      uint32_t len)
{
	frame->iov = iov;
	frame->iov_count = (uint16_t)count;
	frame->mbuf = NULL;
	frame->shared = false;
	memset(&frame->hdr, 0, sizeof(frame->hdr));
	frame_fetch_head(frame, len);
}

/* The field holds the sum of the pseudo header already. */
static int offload_complete(const struct frame *frame, struct offload_scratch *scratch,
			    offload_emit emit, void *opaque)
{
	uint8_t *packet = scratch->packet;
	unsigned int start = frame->hdr.csum_start;
	uint16_t checksum = checksum_finish(checksum_add(0, packet + start, frame->len - start));
	struct frame *out = &scratch->frames[0];

	put_le16(packet + start + frame->hdr.csum_offset, checksum);
	scratch->iov[0][0] = (struct iovec){.iov_base = packet, .iov_len = frame->len};
	offload_frame_set(out, scratch->iov[0], 1, frame->len);
	emit(opaque, &out, 1);
	return 1;
}

static bool offload_tcp_parse(const struct frame *frame, const uint8_t *packet,
			      struct offload_tcp *tcp)
{
	unsigned int l3, l4 = frame->hdr.csum_start, tcp_len;
	uint16_t type;

	l3 = packet_l3_offset(packet, frame->len, &type);
	if (!l3 || l4 + TCP_MIN > frame->len)
		return false;
	tcp->ipv6 = (offload_needs(&frame->hdr) & OFFLOAD_TSO6) != 0;
	if (type != (tcp->ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP))
		return false;
	/* The TCP header is where the checksum starts; extension headers of IPv6 may lie between. */
	if (tcp->ipv6 ? l3 + IPV6_LEN > l4
		      : l3 + IPV4_MIN > l4 || l3 + ipv4_header_len(packet + l3) != l4 ||
				packet[l3 + IPV4_PROTOCOL] != IPPROTO_TCP)
		return false;
	tcp_len = (packet[l4 + TCP_DATA_OFFSET] >> 4) * 4u;
	tcp->packet = packet;
	tcp->len = frame->len;
	tcp->l3 = l3;
	tcp->l4 = l4;
	tcp->header_len = l4 + tcp_len;
	tcp->mss = frame->hdr.gso_size;
	return tcp_len >= TCP_MIN && tcp->header_len <= frame->len &&
	       tcp->header_len <= OFFLOAD_MAX_HEADER;
}

static void offload_ip_header(const struct offload_tcp *tcp, uint8_t *header, unsigned int segment,
			      uint32_t payload)
{
	uint8_t *ip = header + tcp->l3;
	uint32_t ip_len = tcp->header_len - tcp->l3 + payload;

	if (tcp->ipv6) {
		put_be16(ip + IPV6_PAYLOAD_LENGTH, (uint16_t)(ip_len - IPV6_LEN));
		return;
	}
	put_be16(ip + IPV4_TOTAL_LENGTH, (uint16_t)ip_len);
	put_be16(ip + IPV4_ID, (uint16_t)(get_be16(ip + IPV4_ID) + segment));
	put_le16(ip + IPV4_CHECKSUM, 0);
	put_le16(ip + IPV4_CHECKSUM,
		 (uint16_t)~checksum_fold(checksum_add(0, ip, tcp->l4 - tcp->l3)));
}

/* Sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1). */
static uint64_t offload_pseudo_sum(const struct offload_tcp *tcp, uint32_t tcp_len)
{
	const uint8_t *ip = tcp->packet + tcp->l3;
	uint8_t tail[8] = {0};
	uint64_t sum = tcp->ipv6 ? checksum_add(0, ip + IPV6_SRC, 32)
				 : checksum_add(0, ip + IPV4_SRC, 8);

	put_be32(tail, tcp_len);
	tail[7] = IPPROTO_TCP;
	return checksum_add(sum, tail, sizeof(tail));
}

static void offload_tcp_header(const struct offload_tcp *tcp, uint8_t *header, uint32_t offset,
			       uint32_t payload)
{
	uint8_t *th = header + tcp->l4;
	uint32_t tcp_len = tcp->header_len - tcp->l4 + payload;
	bool first = offset == tcp->header_len, last = offset + payload == tcp->len;
	uint64_t sum;

	put_be32(th + TCP_SEQ, get_be32(th + TCP_SEQ) + offset - tcp->header_len);
	if (!first)
		th[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	if (!last)
		th[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	put_le16(th + TCP_CHECKSUM, 0);
	sum = offload_pseudo_sum(tcp, tcp_len);
	sum = checksum_add(sum, th, tcp->header_len - tcp->l4);
	sum = checksum_add(sum, tcp->packet + offset, payload);
	put_le16(th + TCP_CHECKSUM, (uint16_t)~checksum_fold(sum));
}

/* Cuts one segment whose payload starts at `offset`; slot: which frame of the scratch. */
static uint32_t offload_cut(const struct offload_tcp *tcp, struct offload_scratch *scratch,
			    unsigned int slot, unsigned int segment, uint32_t offset)
{
	uint32_t payload = MIN(tcp->mss, tcp->len - offset);
	uint8_t *header = scratch->headers[slot];
	struct iovec *iov = scratch->iov[slot];

	memcpy(header, tcp->packet, tcp->header_len);
	offload_ip_header(tcp, header, segment, payload);
	offload_tcp_header(tcp, header, offset, payload);
	iov[0] = (struct iovec){.iov_base = header, .iov_len = tcp->header_len};
	iov[1] = (struct iovec){.iov_base = scratch->packet + offset, .iov_len = payload};
	offload_frame_set(&scratch->frames[slot], iov, payload ? 2 : 1, tcp->header_len + payload);
	return payload;
}

static int offload_segment(const struct offload_tcp *tcp, struct offload_scratch *scratch,
			   offload_emit emit, void *opaque)
{
	struct frame *burst[FRAME_BURST];
	uint32_t offset = tcp->header_len;
	unsigned int segment = 0, slot = 0;

	do {
		offset += offload_cut(tcp, scratch, slot, segment++, offset);
		burst[slot] = &scratch->frames[slot];
		slot++;
		if (slot == FRAME_BURST || offset == tcp->len) {
			emit(opaque, burst, slot);
			slot = 0;
		}
	} while (offset < tcp->len);
	return (int)segment;
}

int offload_finish(const struct frame *frame, struct offload_scratch *scratch, offload_emit emit,
		   void *opaque)
{
	struct offload_tcp tcp;

	frame_copy(frame, scratch->packet);
	if (frame->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return offload_complete(frame, scratch, emit, opaque);
	if (!offload_tcp_parse(frame, scratch->packet, &tcp))
		return -EINVAL;
	return offload_segment(&tcp, scratch, emit, opaque);
}
