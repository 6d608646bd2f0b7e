#include "tests/unit/vswitch/unit.h"
#include "vswitch/flow_hash.h"
#include "vswitch/packet.h"

#define LEN 100u

static void make_ipv4(uint8_t *data, unsigned int l3, uint16_t port)
{
	memset(data, 0, LEN);
	unit_addresses(data, 2, 1);
	if (l3 == 18)
		put_be16(data + 12, 0x8100);
	put_be16(data + l3 - 2, 0x0800);
	data[l3] = 0x45;
	data[l3 + IPV4_PROTOCOL] = 6;
	put_be32(data + l3 + IPV4_SRC, 0x0a000001);
	put_be32(data + l3 + IPV4_SRC + 4, 0x0a000002);
	put_be16(data + l3 + 20, port);
	put_be16(data + l3 + 22, 80);
}

static void make_ipv6(uint8_t *data, uint16_t port)
{
	memset(data, 0, LEN);
	unit_addresses(data, 2, 1);
	put_be16(data + 12, 0x86dd);
	data[14] = 0x60;
	data[14 + IPV6_NEXT] = 17;
	data[14 + IPV6_SRC + 15] = 1;
	data[14 + IPV6_SRC + 31] = 2;
	put_be16(data + 54, port);
}

static uint32_t hash_of(uint8_t *data, uint32_t len)
{
	struct frame frame;
	struct iovec iov;

	unit_frame(&frame, &iov, data, len);
	return flow_hash(&frame);
}

static void one_flow_has_one_hash(void **state)
{
	uint8_t data[LEN];
	uint32_t hash;

	(void)state;
	make_ipv4(data, 14, 1000);
	hash = hash_of(data, LEN);
	data[14 + IPV4_ID] = 9;
	data[14 + IPV4_CHECKSUM] = 7;
	data[14 + 20 + 4] = 5; /* sequence number */
	assert_int_equal(hash_of(data, LEN), hash);
	assert_int_equal(hash_of(data, 60), hash);
}

/* Each of 64 ports hits each of 4 queues now and then. */
static void ports_spread(void **state)
{
	for (int kind = 0; kind < 3; kind++) {
		unsigned int hits[4] = {0};

		for (uint16_t port = 0; port < 64; port++) {
			uint8_t data[LEN];

			if (kind == 2)
				make_ipv6(data, port);
			else
				make_ipv4(data, kind ? 18 : 14, port);
			hits[hash_of(data, LEN) % 4]++;
		}
		for (int i = 0; i < 4; i++)
			assert_in_range(hits[i], 4, 40);
	}
	(void)state;
}

/* Pieces of one datagram go to one queue, though only the first has ports. */
static void fragments_ignore_ports(void **state)
{
	uint8_t first[LEN], second[LEN];

	(void)state;
	make_ipv4(first, 14, 1000);
	put_be16(first + 14 + IPV4_FRAGMENT, 0x2000);
	make_ipv4(second, 14, 4711);
	put_be16(second + 14 + IPV4_FRAGMENT, 100);
	assert_int_equal(hash_of(first, LEN), hash_of(second, LEN));
}

static void other_frames_hash_by_address(void **state)
{
	uint8_t data[LEN] = {0};
	uint32_t hash;

	(void)state;
	unit_addresses(data, 2, 1);
	put_be16(data + 12, 0x0806);
	hash = hash_of(data, LEN);
	assert_int_equal(hash_of(data, 14), hash);
	unit_addresses(data, 2, 3);
	assert_int_not_equal(hash_of(data, LEN), hash);
}

/* Every cut of a header is taken without reading beyond it (ASan looks on). */
static void short_frames_are_safe(void **state)
{
	(void)state;
	for (uint32_t len = FRAME_MIN; len < FRAME_HEAD; len++) {
		uint8_t *data = malloc(LEN), *cut = malloc(len);

		for (int kind = 0; kind < 3; kind++) {
			if (kind == 2)
				make_ipv6(data, 5);
			else
				make_ipv4(data, kind ? 18 : 14, 5);
			memcpy(cut, data, len);
			hash_of(cut, len);
		}
		free(cut);
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_flow_has_one_hash),
		cmocka_unit_test(ports_spread),
		cmocka_unit_test(fragments_ignore_ports),
		cmocka_unit_test(other_frames_hash_by_address),
		cmocka_unit_test(short_frames_are_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
