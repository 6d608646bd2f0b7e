/*
 * A guest that means harm, as far as one without interrupts can: it moves the chipset's windows about,
 * and it writes numbers without sense to every port, to configuration space and to where BARs are. The
 * reset that follows must bring everything home. Its numbers are the same in every run.
 */
#include "tiny.h"

#define ACCESSES 20000u
#define PATTERN 0x400000u /* RAM that nobody was told of */
#define PATTERN_WORDS 0x40000u
#define ROOT_PORT (1u << 3)
#define LPC (0x1fu << 3)

static uint32_t seed;

static uint32_t number(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

/* Configuration space elsewhere, a BAR in its place: resetting in the wrong order loses it. */
void hostile_ecam(void)
{
	config_write(0, 0, 0x60, 0xd0000001u);
	config_write(0, ROOT_PORT, 0x20, 0xb000b000u);
	config_write(1, 0, 0x10, 0xb0000000u);
	report("ecam-moved", mem_read32(0xd0000000u));
	report("bar-in-its-place", mem_read32(0xb0000000u) != 0xffffffffu);
}

/* Not what would end or reset the machine before we are through, nor the console's data. */
static bool spared(uint16_t port, uint32_t value)
{
	return port == 0x60 || (port == 0x64 && (value & 0xf1) == 0xf0) || port == 0xf4 ||
	       port == 0x3f8 || port == 0xcf9 || (port >= 0x600 && port < 0x680);
}

static void try_port(void)
{
	static const uint16_t ours[] = {0x20, 0x40, 0x60, 0x70, 0xa0, 0x3f8, 0x4d0, 0xcf8};
	uint32_t r = number(), value = number();
	uint16_t port = r & 1 ? (uint16_t)(r >> 4) : ours[r >> 4 & 7] + (r >> 8 & 7);

	if (spared(port, value))
		return;
	switch (r >> 1 & 7) {
	case 0:
		in16(port);
		break;
	case 1:
		in32(port);
		break;
	case 2:
		out16(port, (uint16_t)value);
		break;
	case 3:
		out32(port, value << 8 | r);
		break;
	case 4 ... 5:
		in8(port);
		break;
	default:
		out8(port, (uint8_t)value);
		break;
	}
}

/* Of the root port and the disk behind it; the chipset keeps the doors by which we come back. */
static void try_config(void)
{
	uint32_t r = number();

	config_write(r & 1, r & 1 ? 0 : ROOT_PORT, (uint16_t)(r >> 1 & 0xfc), number() << 8 | r >> 16);
	config_read(0, LPC, (uint16_t)(r >> 9 & 0xfc));
}

static void try_memory(void)
{
	uint32_t r = number();
	uint32_t bar = r & 1 ? 0xc0000000u + (r >> 1 & 0x7ffc) : config_read(1, 0, 0x10) & ~0xfu;

	if (bar < 0x1000000u)
		return; /* that is RAM, perhaps ours */
	mem_write32(bar, number());
	mem_read32(bar + (r >> 8 & 0xffc));
}

void hostile_ports(void)
{
	uint32_t changed = 0;

	for (uint32_t i = 0; i < PATTERN_WORDS; i += 16)
		mem_write32(PATTERN + 4 * i, i);
	seed = 1;
	for (uint32_t i = 0; i < ACCESSES; i++) {
		if (i & 3)
			try_port();
		else if (i & 4)
			try_config();
		else
			try_memory();
	}
	for (uint32_t i = 0; i < PATTERN_WORDS; i += 16)
		changed += mem_read32(PATTERN + 4 * i) != i;
	out8(0x3f8 + 3, 3);
	out8(0x3f8 + 4, 0);
	report("ram-changed", changed);
}
