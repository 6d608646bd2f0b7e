#include "vmm/acpi_tables.h"

#define IOAPIC_BASE 0xfec00000u
#define LAPIC_BASE  0xfee00000u
#define CMOS_CENTURY 0x32u

/* Generic Address Structure, ACPI 6.4 5.2.3.2. */
struct gas {
	uint8_t space; /* 1: port */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access; /* 1: byte, 2: word, 3: dword */
	uint64_t address;
} __attribute__((packed));

/* ACPI 6.4 table 5.9, as far as revision 5.1 goes; the members not named in put_fadt are 0. */
struct fadt {
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk;
	uint32_t pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk;
	struct gas x_pm2_cnt_blk, x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk;
	struct gas sleep_control, sleep_status;
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) + sizeof(struct fadt) == 268, "FADT 5.1");

#define FADT_WBINVD		(1u << 0)
#define FADT_PROC_C1		(1u << 2)
#define FADT_SLP_BUTTON		(1u << 5) /* 1: there is no fixed sleep button */
#define FADT_FIX_RTC		(1u << 6) /* 1: RTC wake is not a fixed register */
#define FADT_RESET_REG_SUP	(1u << 10)
#define BOOT_ARCH_LEGACY	(1u << 0)
#define BOOT_ARCH_8042		(1u << 1)
#define BOOT_ARCH_NO_VGA	(1u << 2)
#define PM_PROFILE_ENTERPRISE	4u

gpa_t acpi_put_facs(struct acpi_writer *w)
{
	uint8_t *p = acpi_reserve(w, 64, 64);

	if (!p)
		return 0;
	memcpy(p, "FACS", 4);
	put_le32(p + 4, 64);
	p[32] = 2; /* version */
	return acpi_address(w, p);
}

static struct gas port(uint64_t address, uint8_t bits, uint8_t access)
{
	return (struct gas){.space = 1, .bit_width = bits, .access = access, .address = address};
}

gpa_t acpi_put_fadt(struct acpi_writer *w, gpa_t facs, gpa_t dsdt)
{
	/* Without SMI_CMD the machine is always in ACPI mode (ACPI 6.4 table 5.9, SMI_CMD). */
	const struct fadt fadt = {
		.firmware_ctrl = (uint32_t)facs,
		.dsdt = (uint32_t)dsdt,
		.preferred_pm_profile = PM_PROFILE_ENTERPRISE,
		.sci_int = ACPI_SCI_GSI,
		.pm1a_evt_blk = ACPI_PM1A_EVT,
		.pm1a_cnt_blk = ACPI_PM1A_CNT,
		.pm_tmr_blk = ACPI_PM_TMR,
		.gpe0_blk = ACPI_GPE0,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.gpe0_blk_len = ACPI_GPE0_LEN,
		.p_lvl2_lat = 0xfff, /* no C2, no C3 */
		.p_lvl3_lat = 0xfff,
		.century = CMOS_CENTURY,
		.iapc_boot_arch = BOOT_ARCH_LEGACY | BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
			 FADT_RESET_REG_SUP,
		.reset_reg = port(ACPI_RESET_PORT, 8, 1),
		.reset_value = ACPI_RESET_VALUE,
		.minor_version = 1,
		.x_dsdt = dsdt, /* X_FIRMWARE_CTRL stays 0: not both */
		.x_pm1a_evt_blk = port(ACPI_PM1A_EVT, 32, 2),
		.x_pm1a_cnt_blk = port(ACPI_PM1A_CNT, 16, 2),
		.x_pm_tmr_blk = port(ACPI_PM_TMR, 32, 3),
		.x_gpe0_blk = port(ACPI_GPE0, ACPI_GPE0_LEN * 8, 1),
	};

	acpi_begin(w, "FACP", 5);
	acpi_put(w, &fadt, sizeof(fadt));
	return acpi_end(w);
}

static void put_override(struct acpi_writer *w, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	const struct {
		uint8_t type, length, bus, irq;
		uint32_t gsi;
		uint16_t flags;
	} __attribute__((packed)) e = {2, 10, 0, irq, gsi, flags};

	acpi_put(w, &e, sizeof(e));
}

/* ACPI 6.4 5.2.12. */
gpa_t acpi_put_madt(struct acpi_writer *w, const struct acpi_config *config)
{
	const uint32_t start[] = {LAPIC_BASE, 1 /* PCAT_COMPAT: there are 8259s too */};
	const struct {
		uint8_t type, length, id, reserved;
		uint32_t address, gsi_base;
	} ioapic = {1, 12, 0, 0, IOAPIC_BASE, 0};
	/* LINT1 of every processor is NMI. */
	const uint8_t nmi[] = {4, 6, 0xff, 0, 0, 1};

	acpi_begin(w, "APIC", 4);
	acpi_put(w, start, sizeof(start));
	for (unsigned int i = 0; i < config->vcpus; i++) {
		const uint8_t lapic[] = {0, 8, (uint8_t)i, (uint8_t)i, 1 /* enabled */, 0, 0, 0};

		acpi_put(w, lapic, sizeof(lapic));
	}
	acpi_put(w, &ioapic, sizeof(ioapic));
	put_override(w, 0, 2, 0);
	put_override(w, ACPI_SCI_GSI, ACPI_SCI_GSI, 0xd); /* level, active high */
	acpi_put(w, nmi, sizeof(nmi));
	return acpi_end(w);
}

/* PCI Firmware 3.2 4.1.2. */
gpa_t acpi_put_mcfg(struct acpi_writer *w, const struct acpi_config *config)
{
	const struct {
		uint64_t reserved0;
		uint64_t base;
		uint16_t segment;
		uint8_t first_bus, last_bus;
		uint32_t reserved1;
	} __attribute__((packed)) mcfg = {
		.base = config->ecam_base,
		.last_bus = (uint8_t)(config->ecam_buses - 1),
	};

	acpi_begin(w, "MCFG", 1);
	acpi_put(w, &mcfg, sizeof(mcfg));
	return acpi_end(w);
}

/* ACPI 6.4 5.2.16. */
gpa_t acpi_put_srat(struct acpi_writer *w, const struct acpi_config *config)
{
	const uint8_t start[12] = {1}; /* reserved, must be 1 */

	acpi_begin(w, "SRAT", 3);
	acpi_put(w, start, sizeof(start));
	for (unsigned int i = 0; i < config->vcpus; i++) {
		uint8_t e[16] = {0, sizeof(e)};

		e[2] = (uint8_t)config->vcpu_node[i];
		e[3] = (uint8_t)i; /* APIC identifier */
		put_le32(e + 4, 1); /* enabled */
		acpi_put(w, e, sizeof(e));
	}
	for (unsigned int i = 0; i < config->memory_count; i++) {
		uint8_t e[40] = {1, sizeof(e)};

		put_le32(e + 2, config->memory[i].node);
		put_le64(e + 8, config->memory[i].base);
		put_le64(e + 16, config->memory[i].size);
		put_le32(e + 28, 1); /* enabled */
		acpi_put(w, e, sizeof(e));
	}
	return acpi_end(w);
}

/* Name (name, value): NameOp, NameSeg, QWordPrefix (ACPI 6.4 20.2). */
static void put_name(struct acpi_writer *w, const char *name, uint64_t value)
{
	uint8_t aml[14] = {0x08, 0, 0, 0, 0, 0x0e};

	memcpy(aml + 1, name, 4);
	put_le64(aml + 6, value);
	acpi_put(w, aml, sizeof(aml));
}

/* What dsdt.asl declares External. */
gpa_t acpi_put_ssdt(struct acpi_writer *w, const struct acpi_config *config)
{
	acpi_begin(w, "SSDT", 2);
	put_name(w, "ECAM", config->ecam_base);
	put_name(w, "EBUS", config->ecam_buses);
	put_name(w, "MB32", config->windows.mmio32_base);
	put_name(w, "MS32", config->windows.mmio32_size);
	put_name(w, "MB64", config->windows.mmio64_base);
	put_name(w, "MS64", config->windows.mmio64_size);
	return acpi_end(w);
}
