/*
 * What the guest cannot find out by itself: the host bridge and its windows, how interrupt pins
 * are wired, the ISA devices behind the LPC bridge, and how to switch off.
 *
 * Numbers shared with C are in acpi.h. The names declared External are in the SSDT that acpi.c
 * builds for each machine.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "NFVVMM", "MACHINE ", 1)
{
    External (ECAM, IntObj)     // base of the ECAM window
    External (EBUS, IntObj)     // its buses, a MiB each
    External (MB32, IntObj)     // window for 32-bit BARs: base and size
    External (MS32, IntObj)
    External (MB64, IntObj)     // the same for 64-bit BARs; size 0: none
    External (MS64, IntObj)

    // Soft off is SLP_TYP 7, as on ICH9 (ACPI_S5_SLP_TYP).
    Name (_S5, Package () { 7, 7, 0, 0 })

    // Zero: 8259 mode; one: APIC mode. The guest says which.
    Name (PICM, 0)
    Method (_PIC, 1)
    {
        PICM = Arg0
    }

    Scope (_SB)
    {
        // What is taken on the board but belongs to no other device.
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (RES, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0, 0, EC)
                IO (Decode16, 0x0600, 0x0600, 1, 0x80)      // PMBASE
                IO (Decode16, 0x04D0, 0x04D0, 1, 0x02)      // ELCR
                IO (Decode16, 0x0092, 0x0092, 1, 0x01)      // fast A20, INIT
                IO (Decode16, 0x00B2, 0x00B2, 1, 0x02)      // APMC, APMS
                IO (Decode16, 0x0080, 0x0080, 1, 0x01)      // POST code
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (RES, ^EC._BAS, ECB)
                CreateDWordField (RES, ^EC._LEN, ECL)
                ECB = ECAM
                ECL = EBUS << 20
                Return (RES)
            }
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_SEG, 0)
            Name (_BBN, 0)

            Name (RES, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0, 0, 1, , , BUS)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
                    NonCacheable, ReadWrite, 0, 0, 0, 0, 1, , , M32)
            })
            Name (RES6, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
                    Cacheable, ReadWrite, 0, 0, 0, 0, 1, , , M64)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateWordField (RES, ^BUS._MAX, BMAX)
                CreateWordField (RES, ^BUS._LEN, BLEN)
                CreateDWordField (RES, ^M32._MIN, MIN3)
                CreateDWordField (RES, ^M32._MAX, MAX3)
                CreateDWordField (RES, ^M32._LEN, LEN3)
                CreateQWordField (RES6, ^M64._MIN, MIN6)
                CreateQWordField (RES6, ^M64._MAX, MAX6)
                CreateQWordField (RES6, ^M64._LEN, LEN6)

                BMAX = EBUS - 1
                BLEN = EBUS
                MIN3 = MB32
                MAX3 = MB32 + MS32 - 1
                LEN3 = MS32
                If (MS64 == 0)
                {
                    Return (RES)
                }
                MIN6 = MB64
                MAX6 = MB64 + MS64 - 1
                LEN6 = MS64
                Return (ConcatenateResTemplate (RES, RES6))
            }

            // PCI Firmware 3.2 4.5: the guest may run hotplug (bit 0), PME (2) and the PCI
            // Express capability structure (4) by itself; SHPC (1) and AER (3) are not there.
            Method (_OSC, 4)
            {
                CreateDWordField (Arg3, 0, CDW1)
                If (Arg0 == ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766"))
                {
                    CreateDWordField (Arg3, 8, CDW3)
                    If (Arg1 != 1)
                    {
                        CDW1 |= 0x08            // unknown revision
                    }
                    Local0 = CDW3 & 0x15
                    If (Local0 != CDW3)
                    {
                        CDW1 |= 0x10            // some bits were cleared
                    }
                    CDW3 = Local0
                }
                Else
                {
                    CDW1 |= 0x04                // unknown UUID
                }
                Return (Arg3)
            }

            // As lpc_pirq_of says: the chipset's own slots, from 25 on, pull PIRQA-D, the others
            // PIRQE-H, shifted by one for each slot. In APIC mode PIRQA-H are inputs 16-23 of
            // the IOAPIC.
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) {}
                Local1 = 0
                While (Local1 < 128)
                {
                    Local2 = Local1 >> 2        // slot
                    Local3 = Local1 & 3         // pin
                    Local4 = Local3             // PIRQ
                    If (Local2 < 25)
                    {
                        Local4 = ((Local2 + Local3) & 3) + 4
                    }
                    If (PICM)
                    {
                        Local5 = Package (4) { 0, 0, 0, 0 }
                        Local5[3] = Local4 + 16
                    }
                    Else
                    {
                        Local5 = LINK (Local4)
                    }
                    Local5[0] = (Local2 << 16) | 0xFFFF
                    Local5[1] = Local3
                    Local0[Local1] = Local5
                    Local1++
                }
                Return (Local0)
            }

            Method (LINK, 1, Serialized)
            {
                Switch (ToInteger (Arg0))
                {
                    Case (0) { Return (Package (4) { 0, 0, \_SB.LNKA, 0 }) }
                    Case (1) { Return (Package (4) { 0, 0, \_SB.LNKB, 0 }) }
                    Case (2) { Return (Package (4) { 0, 0, \_SB.LNKC, 0 }) }
                    Case (3) { Return (Package (4) { 0, 0, \_SB.LNKD, 0 }) }
                    Case (4) { Return (Package (4) { 0, 0, \_SB.LNKE, 0 }) }
                    Case (5) { Return (Package (4) { 0, 0, \_SB.LNKF, 0 }) }
                    Case (6) { Return (Package (4) { 0, 0, \_SB.LNKG, 0 }) }
                }
                Return (Package (4) { 0, 0, \_SB.LNKH, 0 })
            }

            // The LPC bridge and what is behind it.
            Device (LPC)
            {
                Name (_ADR, 0x001F0000)

                // ICH9 13.1.17, 13.1.18: PIRQn_ROUT. Bit 7 set: not routed to the 8259s.
                OperationRegion (ROUT, PCI_Config, 0x60, 0x0C)
                Field (ROUT, ByteAcc, NoLock, Preserve)
                {
                    PIRA, 8, PIRB, 8, PIRC, 8, PIRD, 8,
                    Offset (0x08),
                    PIRE, 8, PIRF, 8, PIRG, 8, PIRH, 8
                }

                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 1, 2)
                        IO (Decode16, 0x00A0, 0x00A0, 1, 2)
                        IRQNoFlags () { 2 }
                    })
                }

                Device (PIT)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 1, 4)
                        IRQNoFlags () { 0 }
                    })
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 1, 2)
                        IRQNoFlags () { 8 }
                    })
                }

                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 1, 1)
                        IO (Decode16, 0x0064, 0x0064, 1, 1)
                        IRQNoFlags () { 1 }
                    })
                }

                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                        IRQNoFlags () { 4 }
                    })
                }
            }
        }

        // The PIRQ links, in 8259 mode: the guest reads where each goes and may move it.
        Name (PRSP, ResourceTemplate ()
        {
            IRQ (Level, ActiveLow, Shared) { 3, 5, 7, 10, 11, 12 }
        })

        // _STA of a link: present; enabled when routed.
        Method (LSTA, 1)
        {
            If (Arg0 & 0x80)
            {
                Return (0x09)
            }
            Return (0x0B)
        }

        // _CRS of a link from its route register.
        Name (CUR, ResourceTemplate ()
        {
            IRQ (Level, ActiveLow, Shared, IR) {}
        })
        Method (LCRS, 1, Serialized)
        {
            CreateWordField (CUR, ^IR._INT, IRQS)
            IRQS = 0
            If (!(Arg0 & 0x80))
            {
                IRQS = 1 << (Arg0 & 0x0F)
            }
            Return (CUR)
        }

        // The number of the IRQ that a _SRS asks for.
        Method (LSRS, 1, Serialized)
        {
            CreateWordField (Arg0, 1, IRQS)
            FindSetRightBit (IRQS, Local0)
            Return (Local0 - 1)
        }

        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRA)) }
            Method (_DIS) { ^^PCI0.LPC.PIRA = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRA)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRA = LSRS (Arg0) }
        }

        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRB)) }
            Method (_DIS) { ^^PCI0.LPC.PIRB = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRB)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRB = LSRS (Arg0) }
        }

        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRC)) }
            Method (_DIS) { ^^PCI0.LPC.PIRC = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRC)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRC = LSRS (Arg0) }
        }

        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRD)) }
            Method (_DIS) { ^^PCI0.LPC.PIRD = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRD)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRD = LSRS (Arg0) }
        }

        Device (LNKE)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 5)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRE)) }
            Method (_DIS) { ^^PCI0.LPC.PIRE = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRE)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRE = LSRS (Arg0) }
        }

        Device (LNKF)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 6)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRF)) }
            Method (_DIS) { ^^PCI0.LPC.PIRF = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRF)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRF = LSRS (Arg0) }
        }

        Device (LNKG)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 7)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRG)) }
            Method (_DIS) { ^^PCI0.LPC.PIRG = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRG)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRG = LSRS (Arg0) }
        }

        Device (LNKH)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 8)
            Method (_STA) { Return (LSTA (^^PCI0.LPC.PIRH)) }
            Method (_DIS) { ^^PCI0.LPC.PIRH = 0x80 }
            Method (_CRS) { Return (LCRS (^^PCI0.LPC.PIRH)) }
            Method (_PRS) { Return (PRSP) }
            Method (_SRS, 1) { ^^PCI0.LPC.PIRH = LSRS (Arg0) }
        }
    }
}
