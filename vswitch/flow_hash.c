#include "vswitch/flow_hash.h"

#include <net/ethernet.h>
#include <netinet/in.h>

#include "vswitch/packet.h"

static uint64_t flow_mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

static bool flow_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static uint64_t flow_hash_ports(const struct frame *frame, uint64_t hash, uint8_t protocol,
				unsigned int l4)
{
	hash = flow_mix(hash, protocol);
	if (flow_has_ports(protocol) && l4 + 4 <= frame->head_len)
		hash = flow_mix(hash, get_le32(frame->head + l4));
	return hash;
}

static uint64_t flow_hash_ipv4(const struct frame *frame, unsigned int l3)
{
	const uint8_t *ip = frame->head + l3;
	/* Of a fragmented datagram only the first piece has ports: none of them uses them. */
	bool fragment = (get_be16(ip + IPV4_FRAGMENT) & 0x3fff) != 0;
	uint64_t hash = flow_mix(4, get_le64(ip + IPV4_SRC));

	if (fragment)
		return flow_mix(hash, ip[IPV4_PROTOCOL]);
	return flow_hash_ports(frame, hash, ip[IPV4_PROTOCOL], l3 + ipv4_header_len(ip));
}

static uint64_t flow_hash_ipv6(const struct frame *frame, unsigned int l3)
{
	const uint8_t *ip = frame->head + l3;
	uint64_t hash = 6;

	for (unsigned int i = 0; i < 32; i += 8)
		hash = flow_mix(hash, get_le64(ip + IPV6_SRC + i));
	return flow_hash_ports(frame, hash, ip[IPV6_NEXT], l3 + IPV6_LEN);
}

uint32_t flow_hash(const struct frame *frame)
{
	uint16_t type;
	unsigned int l3 = packet_l3_offset(frame->head, frame->head_len, &type);
	uint64_t hash;

	if (l3 && type == ETHERTYPE_IP && l3 + IPV4_MIN <= frame->head_len)
		hash = flow_hash_ipv4(frame, l3);
	else if (l3 && type == ETHERTYPE_IPV6 && l3 + IPV6_LEN <= frame->head_len)
		hash = flow_hash_ipv6(frame, l3);
	else
		hash = flow_mix(flow_mix(1, get_le64(frame->head)), get_le32(frame->head + 8));
	return (uint32_t)(hash >> 32);
}
