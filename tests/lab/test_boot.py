"""What the loader and the tables tell Linux: PVH entry, NUMA nodes, interrupt wires in each mode."""

import ctypes
import ctypes.util
import hashlib
import os
import pathlib
import re
import struct

import pytest

from test_vmm import MIB, make_start  # the latter is the fixture "start"

assert make_start
LZ4_LEGACY = 0x184C2102
LZ4_BLOCK = 8 * MIB  # of what is unpacked, but for the last
KERNEL = "LAB_BUSYBOX_VMLINUZ"


def unpack(bzimage):
    """The ELF file in a bzImage whose payload is LZ4, as Debian's cloud kernel has it."""
    setup = ((bzimage[0x1f1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[setup + offset:setup + offset + length]
    assert struct.unpack_from("<I", payload)[0] == LZ4_LEGACY, "the kernel is not packed by LZ4"
    lz4 = ctypes.CDLL(ctypes.util.find_library("lz4") or "liblz4.so.1")
    buffer = ctypes.create_string_buffer(LZ4_BLOCK)
    out, at = bytearray(), 4
    while at + 4 < len(payload):  # the last four bytes are the unpacked size
        size = struct.unpack_from("<I", payload, at)[0]
        got = lz4.LZ4_decompress_safe(payload[at + 4:at + 4 + size], buffer, size, LZ4_BLOCK)
        assert got > 0
        out += buffer.raw[:got]
        at += 4 + size
    return bytes(out)


@pytest.mark.parametrize("vcpus", [1, 2])
def test_pvh(start, tmp_path, vcpus):
    """The same kernel, unpacked: an ELF file with a PVH entry, found by detection."""
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(unpack(pathlib.Path(os.environ[KERNEL]).read_bytes()))
    assert kernel.read_bytes()[:4] == b"\x7fELF"
    boot = {"kernel": str(kernel), "initrd": os.environ["LAB_BUSYBOX_INITRD"],
            "cmdline": 'console=ttyS0 quiet run="nproc; dmesg | grep RSDP"'}
    console = start(vcpus=vcpus, boot=boot).end()
    assert re.search(rf"^{vcpus}$", console, re.M), console
    assert "RSDP 0x00000000000E0000" in console
    assert "run ended with status 0" in console


def test_numa_nodes(start):
    """SRAT: two nodes, each with its part of the memory and its vCPUs."""
    vmm = start("cd /sys/devices/system/node; for n in node?; do "
                "echo $n: $(cat $n/cpulist) $(grep MemTotal $n/meminfo); done",
                vcpus=4, memory={"size_mib": 512, "nodes": 2})
    console = vmm.end()
    nodes = dict(re.findall(r"^(node\d): (\S+ Node \d MemTotal: \d+)", console, re.M))
    assert sorted(nodes) == ["node0", "node1"], console
    assert nodes["node0"].startswith("0-1 ") and nodes["node1"].startswith("2-3 ")
    for line in nodes.values():
        assert int(line.split()[-1]) > 100 * 1024


@pytest.mark.parametrize("mode, chip", [
    ("", "PCI-MSI"), ("pci=nomsi", "IO-APIC"), ("pci=nomsi noapic", "XT-PIC")])
def test_interrupts_of_a_disk(start, tmp_path, mode, chip):
    """A disk behind a root port, by messages, by the IOAPIC and by the 8259s, as _PRT says."""
    disk = tmp_path / "disk"
    content = os.urandom(4 * MIB)
    disk.write_bytes(content)
    vmm = start(disks=[{"id": "disk0", "mode": "virtio-blk", "file": str(disk), "read_only": True}],
                boot={"kernel": os.environ[KERNEL], "initrd": os.environ["LAB_BUSYBOX_INITRD"],
                      "cmdline": f"console=ttyS0 quiet {mode} "
                                 'run="md5sum /dev/vda; grep virtio /proc/interrupts"'})
    console = vmm.end()
    assert hashlib.md5(content).hexdigest() + "  /dev/vda" in console
    wires = [line for line in console.splitlines() if re.match(r"\s*\d+:.*virtio", line)]
    assert wires and all(chip in line for line in wires), console
    assert any(int(line.split()[1]) > 4 for line in wires), wires
    assert "nobody cared" not in console
