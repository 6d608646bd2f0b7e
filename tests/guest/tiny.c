#include "tiny.h"

#define COM1 0x3f8
#define ECAM 0xb0000000u
#define PM1A_EVT 0x600
#define PM1A_CNT 0x604
#define PM_TMR 0x608
#define MULTIBOOT_MAGIC 0x2badb002u
#define PVH_MAGIC 0x336ec578u
#define COUNTER 0x300000u /* survives a reset: beyond what is loaded */

struct hvm_start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp, memmap;
	uint32_t memmap_entries;
};

static void put_char(char c)
{
	while (!(in8(COM1 + 5) & 0x20))
		;
	out8(COM1, (uint8_t)c);
}

void put(const char *text)
{
	for (; *text; text++)
		put_char(*text);
}

void put_hex(uint32_t value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[value >> shift & 0xf]);
}

void report(const char *name, uint32_t value)
{
	put(name);
	put_char(' ');
	put_hex(value);
	put_char('\n');
}

uint32_t config_read(uint8_t bus, uint8_t devfn, uint16_t offset)
{
	out32(0xcf8, 0x80000000u | (uint32_t)bus << 16 | (uint32_t)devfn << 8 | (offset & 0xfc));
	return in32(0xcfc);
}

void config_write(uint8_t bus, uint8_t devfn, uint16_t offset, uint32_t value)
{
	out32(0xcf8, 0x80000000u | (uint32_t)bus << 16 | (uint32_t)devfn << 8 | (offset & 0xfc));
	out32(0xcfc, value);
}

uint32_t ecam_read(uint8_t bus, uint8_t devfn, uint16_t offset)
{
	return mem_read32(ECAM + ((uint32_t)bus << 20 | (uint32_t)devfn << 12 | offset));
}

static uint8_t cmos(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

static uint32_t apic_id(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> 24;
}

static void look_around(void)
{
	out8(COM1 + 7, 0x5a);
	report("uart-scratch", in8(COM1 + 7));
	report("host-bridge-cf8", config_read(0, 0, 0));
	report("host-bridge-ecam", ecam_read(0, 0, 0));
	report("lpc-ecam", ecam_read(0, 0x1f << 3, 0));
	report("root-port", ecam_read(0, 1 << 3, 0));
	report("behind-root-port", ecam_read(1, 0, 0));
	report("absent", config_read(0, 0x1e << 3, 0));
	report("rtc-valid", cmos(0x0d));
	report("rtc-century", cmos(0x32));
	report("i8042-selftest", (out8(0x64, 0xaa), in8(0x60)));
	report("pm-timer-moves", in32(PM_TMR) != in32(PM_TMR));
	report("apic-id", apic_id());
	report("no-device-port", in8(0x2e8));
}

static bool word_in(const char *text, const char *word)
{
	for (; *text; text++) {
		int i = 0;

		while (word[i] && text[i] == word[i])
			i++;
		if (!word[i])
			return true;
	}
	return false;
}

/* The hexadecimal number after the word; 0 without it. */
static uint32_t number_after(const char *text, const char *word)
{
	uint32_t value = 0;
	int i;

	for (; *text; text++) {
		for (i = 0; word[i] && text[i] == word[i]; i++)
			;
		if (word[i])
			continue;
		for (text += i; *text && *text != ' '; text++)
			value = value << 4 | (uint32_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
		return value;
	}
	return 0;
}

static void power_off(void)
{
	out16(PM1A_CNT, 7u << 10 | 1u << 13);
}

/* The power button sets PWRBTN_STS; a driver would be interrupted, we look. */
static void wait_for_button(void)
{
	put("waiting\n");
	while (!(in16(PM1A_EVT) & 1u << 8))
		;
	put("button\n");
	power_off();
}

/* With no interrupt table, an exception is a triple fault. */
static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0\n\tud2" : : "m"(none));
}

/* The first time resets, the second time powers off: so the reset has really been one. */
static void reset_once(void (*reset)(void))
{
	uint32_t count = mem_read32(COUNTER) + 1;

	mem_write32(COUNTER, count);
	report("boot", count);
	if (count == 1)
		reset();
	else
		power_off();
}

static void reset_i8042(void)
{
	out8(0x64, 0xfe);
}

static void reset_cf9(void)
{
	out8(0xcf9, 0x06);
}

static void reset_after_ecam(void)
{
	hostile_ecam();
	reset_cf9();
}

static void reset_after_ports(void)
{
	hostile_ports();
	reset_cf9();
}

static void obey(const char *cmdline)
{
	if (word_in(cmdline, "reset=i8042"))
		reset_once(reset_i8042);
	else if (word_in(cmdline, "reset=cf9"))
		reset_once(reset_cf9);
	else if (word_in(cmdline, "reset=triple"))
		reset_once(triple_fault);
	else if (word_in(cmdline, "reset=always"))
		reset_i8042();
	else if (word_in(cmdline, "hostile=ecam"))
		reset_once(reset_after_ecam);
	else if (word_in(cmdline, "hostile=ports"))
		reset_once(reset_after_ports);
	else if (word_in(cmdline, "end=debug"))
		out8(0xf4, 0x21);
	else if (word_in(cmdline, "end=button"))
		wait_for_button();
	else if (word_in(cmdline, "end=spin"))
		for (;;)
			;
	else if (word_in(cmdline, "end=fault"))
		((void (*)(void))0xd0000000u)(); /* code where there is no memory */
	else if (word_in(cmdline, "end=write"))
		virtio_disk_write(number_after(cmdline, "first="));
	else if (word_in(cmdline, "end=off"))
		power_off();
}

void tiny_main(uint32_t eax, uint32_t ebx);

void tiny_main(uint32_t eax, uint32_t ebx)
{
	const struct hvm_start_info *info = (const void *)(uintptr_t)ebx;
	const char *cmdline = "";

	out8(COM1 + 3, 3);
	if (eax == MULTIBOOT_MAGIC) {
		put("tiny: multiboot\n");
		if (mem_read32(ebx) & 1u << 2)
			cmdline = (const char *)(uintptr_t)mem_read32(ebx + 16);
		report("memory-map", mem_read32(ebx) >> 6 & 1);
	} else if (info->magic == PVH_MAGIC) {
		put("tiny: pvh\n");
		cmdline = (const char *)(uintptr_t)info->cmdline;
		report("memory-map", info->memmap_entries > 0);
	} else {
		put("tiny: unknown entry\n");
	}
	if (!word_in(cmdline, "quiet"))
		look_around();
	if (word_in(cmdline, "nic"))
		virtio_nic_test();
	if (word_in(cmdline, "disk"))
		virtio_disk_test();
	put("tiny: looked around\n");
	obey(cmdline);
	put("tiny: went on\n");
}
