#include <errno.h>

#include "tests/unit/vswitch/unit.h"
#include "vswitch/offload.h"
#include "vswitch/packet.h"

#define ALL (OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN)
#define L3 14u

/* What was emitted, one packet behind the other. */
struct sink {
	unsigned int count;
	uint32_t len[OFFLOAD_MAX_SEGMENTS];
	uint8_t *data[OFFLOAD_MAX_SEGMENTS];
};

static struct offload_scratch scratch;

static void collect(void *opaque, struct frame *const *frames, unsigned int count)
{
	struct sink *sink = opaque;

	assert_in_range(count, 1, FRAME_BURST);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(frames[i]->hdr.flags, 0);
		assert_int_equal(frames[i]->hdr.gso_type, 0);
		sink->len[sink->count] = frames[i]->len;
		sink->data[sink->count] = malloc(frames[i]->len);
		frame_copy(frames[i], sink->data[sink->count++]);
	}
}

static void sink_free(struct sink *sink)
{
	for (unsigned int i = 0; i < sink->count; i++)
		free(sink->data[i]);
	sink->count = 0;
}

/* The plainest checksum there is, to compare with. */
static uint16_t reference_sum(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static uint16_t pseudo_sum(const uint8_t *ip, bool ipv6, uint8_t protocol, uint32_t l4_len)
{
	uint32_t sum = ipv6 ? reference_sum(ip + IPV6_SRC, 32, 0)
			    : reference_sum(ip + IPV4_SRC, 8, 0);
	uint8_t tail[4] = {(uint8_t)(l4_len >> 8), (uint8_t)l4_len, 0, protocol};

	return reference_sum(tail, 4, sum);
}

struct packet {
	uint8_t *data;
	uint32_t len;
	unsigned int l4;
	struct virtio_net_hdr hdr;
};

/* A TCP packet as a guest leaves it: the checksum field holds the pseudo header's sum. */
static struct packet make_tcp(bool ipv6, uint32_t payload, uint16_t mss, uint8_t flags)
{
	struct packet p = {.l4 = L3 + (ipv6 ? IPV6_LEN : IPV4_MIN)};
	uint8_t *ip, *th;

	p.len = p.l4 + 32 + payload; /* 12 bytes of TCP options */
	p.data = calloc(1, p.len);
	unit_addresses(p.data, 2, 1);
	put_be16(p.data + 12, ipv6 ? 0x86dd : 0x0800);
	ip = p.data + L3;
	th = p.data + p.l4;
	if (ipv6) {
		ip[0] = 0x60;
		put_be16(ip + IPV6_PAYLOAD_LENGTH, (uint16_t)(32 + payload));
		ip[IPV6_NEXT] = 6;
		ip[7] = 64;
		for (int i = 0; i < 32; i++)
			ip[IPV6_SRC + i] = (uint8_t)(i * 7);
	} else {
		ip[0] = 0x45;
		put_be16(ip + IPV4_TOTAL_LENGTH, (uint16_t)(52 + payload));
		put_be16(ip + IPV4_ID, 0xfffe);
		ip[8] = 64;
		ip[IPV4_PROTOCOL] = 6;
		put_be32(ip + IPV4_SRC, 0x0a010203);
		put_be32(ip + IPV4_SRC + 4, 0xc0a8fffe);
	}
	put_be32(th + TCP_SEQ, 0xfffffff0);
	th[TCP_DATA_OFFSET] = 8 << 4;
	th[TCP_FLAGS] = flags;
	memset(th + 20, 1, 12);
	put_be16(th + TCP_CHECKSUM, pseudo_sum(ip, ipv6, 6, 32 + payload));
	for (uint32_t i = 0; i < payload; i++)
		p.data[p.l4 + 32 + i] = (uint8_t)(i ^ i >> 8);
	p.hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	p.hdr.csum_start = (uint16_t)p.l4;
	p.hdr.csum_offset = TCP_CHECKSUM;
	p.hdr.gso_size = mss;
	if (mss)
		p.hdr.gso_type = ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	return p;
}

static int finish(const struct packet *p, struct sink *sink)
{
	struct frame frame;
	struct iovec iov;

	unit_frame(&frame, &iov, p->data, p->len);
	frame.hdr = p->hdr;
	return offload_finish(&frame, &scratch, collect, sink);
}

static void sums_agree_with_the_plain_one(void **state)
{
	uint8_t data[1501];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 131 + 7);
	for (size_t len = 0; len < sizeof(data); len++)
		assert_int_equal(__builtin_bswap16(checksum_fold(checksum_add(0, data, len))),
				 reference_sum(data, len, 0));
	memset(data, 0xff, sizeof(data));
	assert_int_equal(checksum_fold(checksum_add(0, data, 1500)), 0xffff);
}

static void check_segment(const struct packet *p, bool ipv6, const uint8_t *seg, uint32_t len,
			  unsigned int index, uint32_t offset, bool last)
{
	const uint8_t *ip = seg + L3, *th = seg + p->l4;
	uint32_t tcp_len = len - p->l4;

	assert_memory_equal(seg, p->data, L3);
	if (ipv6) {
		assert_int_equal(get_be16(ip + IPV6_PAYLOAD_LENGTH), tcp_len);
	} else {
		assert_int_equal(get_be16(ip + IPV4_TOTAL_LENGTH), len - L3);
		assert_int_equal(get_be16(ip + IPV4_ID), (uint16_t)(0xfffe + index));
		assert_int_equal(reference_sum(ip, 20, 0), 0xffff);
	}
	assert_int_equal(reference_sum(th, tcp_len, pseudo_sum(ip, ipv6, 6, tcp_len)), 0xffff);
	assert_int_equal(get_be32(th + TCP_SEQ), 0xfffffff0 + offset);
	assert_int_equal(th[TCP_FLAGS] & (TCP_FIN | TCP_PSH), last ? TCP_FIN | TCP_PSH : 0);
	assert_int_equal(th[TCP_FLAGS] & TCP_CWR, index == 0 ? TCP_CWR : 0);
	assert_int_equal(th[TCP_FLAGS] & 0x10, 0x10);
	assert_memory_equal(th + 20, p->data + p->l4 + 20, 12);
	assert_memory_equal(th + 32, p->data + p->l4 + 32 + offset, tcp_len - 32);
}

static void cuts_tcp(bool ipv6, uint32_t payload, uint16_t mss)
{
	struct packet p = make_tcp(ipv6, payload, mss, 0x10 | TCP_FIN | TCP_PSH | TCP_CWR);
	struct sink sink = {0};
	unsigned int want = payload ? (payload + mss - 1) / mss : 1;
	uint32_t offset = 0;

	p.hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	assert_true(offload_check(&p.hdr, p.len, ALL));
	assert_int_equal(finish(&p, &sink), want);
	assert_int_equal(sink.count, want);
	for (unsigned int i = 0; i < want; i++) {
		bool last = i == want - 1;

		check_segment(&p, ipv6, sink.data[i], sink.len[i], i, offset, last);
		offset += sink.len[i] - p.l4 - 32;
	}
	assert_int_equal(offset, payload);
	sink_free(&sink);
	free(p.data);
}

static void tcp_is_cut(void **state)
{
	(void)state;
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		cuts_tcp(ipv6, 64000, 1448);
		cuts_tcp(ipv6, 1448 * 32, 1448);
		cuts_tcp(ipv6, 1448 * 33 + 1, 1448);
		cuts_tcp(ipv6, 1447, 1448);
		cuts_tcp(ipv6, 999, 7);
		cuts_tcp(ipv6, 0, 100);
	}
}

static void checksum_is_completed(void **state)
{
	(void)state;
	for (uint32_t payload = 0; payload < 130; payload++) {
		struct packet p = make_tcp(payload & 1, payload, 0, 0x10);
		struct sink sink = {0};
		const uint8_t *seg;

		assert_true(offload_check(&p.hdr, p.len, OFFLOAD_CSUM));
		assert_int_equal(finish(&p, &sink), 1);
		assert_int_equal(sink.len[0], p.len);
		seg = sink.data[0];
		assert_int_equal(reference_sum(seg + p.l4, p.len - p.l4,
					       pseudo_sum(seg + L3, payload & 1, 6, p.len - p.l4)),
				 0xffff);
		sink_free(&sink);
		free(p.data);
	}
}

/* A sum that comes out as 0 is sent as ffff: for UDP 0 says "no checksum". */
static void zero_is_sent_as_ones(void **state)
{
	uint8_t data[60] = {0};
	struct packet p = {.data = data, .len = sizeof(data), .l4 = 34};
	struct sink sink = {0};

	(void)state;
	p.hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	p.hdr.csum_start = 34;
	p.hdr.csum_offset = 6;
	put_le16(data + 42, 0xffff);
	assert_true(offload_check(&p.hdr, p.len, OFFLOAD_CSUM));
	assert_int_equal(finish(&p, &sink), 1);
	assert_int_equal(get_le16(sink.data[0] + 40), 0xffff);
	sink_free(&sink);
}

static void refuses(struct virtio_net_hdr hdr, uint32_t len, unsigned int allowed)
{
	assert_false(offload_check(&hdr, len, allowed));
}

static void senseless_headers_are_refused(void **state)
{
	struct packet p = make_tcp(false, 3000, 1448, 0x10);
	struct virtio_net_hdr hdr = p.hdr;

	(void)state;
	assert_true(offload_check(&hdr, p.len, ALL));
	refuses(p.hdr, p.len, OFFLOAD_CSUM);
	refuses(p.hdr, p.len, OFFLOAD_TSO4);
	hdr = p.hdr;
	hdr.flags = 0; /* segments without a checksum to fill in */
	refuses(hdr, p.len, ALL);
	hdr = p.hdr;
	hdr.gso_size = 0;
	refuses(hdr, p.len, ALL);
	hdr.gso_size = 1; /* 3000 segments */
	refuses(hdr, p.len, ALL);
	hdr = p.hdr;
	hdr.csum_start = (uint16_t)(p.len - 17);
	refuses(hdr, p.len, ALL);
	hdr.csum_start = 13;
	refuses(hdr, p.len, ALL);
	hdr.csum_start = 0xffff;
	hdr.csum_offset = 0xffff;
	refuses(hdr, p.len, ALL);
	hdr = p.hdr;
	hdr.csum_offset = 6;
	refuses(hdr, p.len, ALL);
	hdr = p.hdr;
	hdr.gso_type = VIRTIO_NET_HDR_GSO_UDP;
	refuses(hdr, p.len, ALL);
	hdr.gso_type = VIRTIO_NET_HDR_GSO_ECN;
	refuses(hdr, p.len, ALL);
	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN;
	refuses(hdr, p.len, ALL & ~OFFLOAD_ECN);
	free(p.data);
}

static void meaningless_fields_are_cleared(void **state)
{
	struct virtio_net_hdr hdr = {
		.flags = 0xfe, .gso_size = 3, .hdr_len = 9, .csum_start = 5, .csum_offset = 6};
	static const struct virtio_net_hdr zero;

	(void)state;
	assert_true(offload_check(&hdr, 60, 0));
	assert_memory_equal(&hdr, &zero, sizeof(hdr));
}

static void not_what_it_claims(struct packet *p)
{
	struct sink sink = {0};

	assert_true(offload_check(&p->hdr, p->len, ALL));
	assert_int_equal(finish(p, &sink), -EINVAL);
	assert_int_equal(sink.count, 0);
	free(p->data);
}

static void lying_packets_are_not_cut(void **state)
{
	struct packet p;

	(void)state;
	p = make_tcp(false, 3000, 1448, 0x10);
	put_be16(p.data + 12, 0x86dd);
	not_what_it_claims(&p);
	p = make_tcp(false, 3000, 1448, 0x10);
	p.data[L3] = 0x46; /* header longer than where TCP is said to start */
	not_what_it_claims(&p);
	p = make_tcp(false, 3000, 1448, 0x10);
	p.data[L3 + IPV4_PROTOCOL] = 17;
	not_what_it_claims(&p);
	p = make_tcp(false, 3000, 1448, 0x10);
	p.data[p.l4 + TCP_DATA_OFFSET] = 4 << 4;
	not_what_it_claims(&p);
	p = make_tcp(true, 3000, 1448, 0x10);
	p.hdr.csum_start = 40; /* within the IPv6 header */
	not_what_it_claims(&p);
	p = make_tcp(true, 10, 1448, 0x10);
	p.data[p.l4 + TCP_DATA_OFFSET] = 15 << 4; /* header beyond the end */
	not_what_it_claims(&p);
	p = make_tcp(true, 3000, 1448, 0x10);
	p.hdr.csum_start = 300; /* header longer than we keep */
	p.data[300 + TCP_DATA_OFFSET] = 5 << 4;
	not_what_it_claims(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_agree_with_the_plain_one),
		cmocka_unit_test(tcp_is_cut),
		cmocka_unit_test(checksum_is_completed),
		cmocka_unit_test(zero_is_sent_as_ones),
		cmocka_unit_test(senseless_headers_are_refused),
		cmocka_unit_test(meaningless_fields_are_cleared),
		cmocka_unit_test(lying_packets_are_not_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
