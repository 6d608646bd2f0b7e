/* Offsets and fields of the headers that the switch looks at (RFC 791, 8200, 9293). Pure. */
#ifndef VSWITCH_PACKET_H
#define VSWITCH_PACKET_H

#include <net/ethernet.h>

#include "core/bits.h"

#define IPV4_MIN 20u
#define IPV4_TOTAL_LENGTH 2u
#define IPV4_ID 4u
#define IPV4_FRAGMENT 6u
#define IPV4_PROTOCOL 9u
#define IPV4_CHECKSUM 10u
#define IPV4_SRC 12u /* and the destination behind it */

#define IPV6_LEN 40u
#define IPV6_PAYLOAD_LENGTH 4u
#define IPV6_NEXT 6u
#define IPV6_SRC 8u /* and the destination behind it */

#define TCP_MIN 20u
#define TCP_SEQ 4u
#define TCP_DATA_OFFSET 12u
#define TCP_FLAGS 13u
#define TCP_CHECKSUM 16u
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

static inline uint16_t get_be16(const void *p)
{
	return __builtin_bswap16(get_le16(p));
}

static inline uint32_t get_be32(const void *p)
{
	return __builtin_bswap32(get_le32(p));
}

static inline void put_be16(void *p, uint16_t v)
{
	put_le16(p, __builtin_bswap16(v));
}

static inline void put_be32(void *p, uint32_t v)
{
	put_le32(p, __builtin_bswap32(v));
}

static inline unsigned int ipv4_header_len(const uint8_t *ip)
{
	return (ip[0] & 0x0fu) * 4u;
}

/*
 * Where the network header starts behind the Ethernet header and up to two tags, and its
 * EtherType; 0 when len bytes do not show it.
 */
static inline unsigned int packet_l3_offset(const uint8_t *frame, unsigned int len, uint16_t *type)
{
	unsigned int off = 12;

	for (unsigned int tags = 0; tags <= 2; tags++, off += 4) {
		if (off + 2 > len)
			return 0;
		*type = get_be16(frame + off);
		if (*type != ETHERTYPE_VLAN && *type != 0x88a8)
			return off + 2;
	}
	return 0;
}

#endif
