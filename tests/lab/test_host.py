"""The simulated host is what the other lab tests take it for; if these fail, blame the lab."""

import os
import pathlib
import subprocess

import pytest

PF = pathlib.Path("/sys/bus/pci/devices/0000:01:00.0")


def test_svm_with_nested_paging():
    assert " svm " in pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii")
    assert pathlib.Path("/sys/module/kvm_amd/parameters/npt").read_text(encoding="ascii")[0] in "1Y"
    assert os.access("/dev/kvm", os.R_OK | os.W_OK)


def test_hugepages():
    free = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    assert int(free.read_text(encoding="ascii")) >= 256
    assert "hugetlbfs /dev/hugepages" in pathlib.Path("/proc/mounts").read_text(encoding="ascii")


@pytest.fixture(name="vfs")
def make_vfs():
    """Two VFs of the 82576."""
    assert (PF / "driver").resolve().name == "igb"
    (PF / "sriov_numvfs").write_text("2", encoding="ascii")
    yield sorted(path.resolve() for path in PF.glob("virtfn*"))
    (PF / "sriov_numvfs").write_text("0", encoding="ascii")


def test_vfs_have_iommu_groups_of_their_own(vfs):
    groups = {(path / "iommu_group").resolve() for path in [*vfs, PF]}
    assert len(vfs) == 2 and len(groups) == 3
    for group in groups:
        assert len(list((group / "devices").iterdir())) == 1


def test_guest_boots_under_kvm():
    """The control: QEMU, with KVM, boots the guest we give to our own programs."""
    command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults",
               "-display", "none", "-serial", "stdio", "-no-reboot",
               "-kernel", os.environ["LAB_BUSYBOX_VMLINUZ"],
               "-initrd", os.environ["LAB_BUSYBOX_INITRD"],
               "-append", 'console=ttyS0 quiet run="uname -s; grep -c ^processor /proc/cpuinfo"']
    ran = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True,
                         stdin=subprocess.DEVNULL)
    assert "Linux\n1\n" in ran.stdout and "run ended with status 0" in ran.stdout
