"""What the daemon tells of a host with an IOMMU and an SR-IOV NIC, against what the test itself made."""

import os
import pathlib
import subprocess
import tempfile

import pytest

import appliance

PF = "0000:01:00.0"
DEVICES = pathlib.Path("/sys/bus/pci/devices")
VFIO = pathlib.Path("/sys/bus/pci/drivers/vfio-pci")


@pytest.fixture(scope="module", name="host")
def start_host(build):
    """The appliance without a guest."""
    with tempfile.TemporaryDirectory(prefix="vmm-", dir="/run") as place:
        os.chmod(place, 0o755)
        host = appliance.Appliance(build, pathlib.Path(place), [place])
        try:
            host.start()
            yield host
        finally:
            print(host.log())
            host.abandon()


@pytest.fixture(name="vfs")
def make_vfs():
    """The addresses of two VFs, in the order of their numbers."""
    count = DEVICES / PF / "sriov_numvfs"
    count.write_text("2", encoding="ascii")
    yield [(DEVICES / PF / f"virtfn{n}").resolve().name for n in range(2)]
    count.write_text("0", encoding="ascii")


def checks(host):
    """The doctor's, by what and which."""
    return {(check["id"], check["subject"]): check
            for check in host.call("GET", "/v1/host/doctor")["items"]}


def test_functions(host, vfs):
    found = {device["bdf"]: device for device in host.call("GET", "/v1/pci/devices")["items"]}
    assert set(found) == {path.name for path in DEVICES.iterdir()}
    pf = found[PF]
    assert (pf["vendor_id"], pf["device_id"], pf["driver"]) == ("8086", "10c9", "igb")
    assert "Intel" in pf["vendor"] and "82576" in pf["device"] and pf["class"] == "Ethernet controller"
    assert (pf["sriov"]["num_vfs"], pf["sriov"]["vf_device_id"]) == (2, "10ca")
    name = next((DEVICES / PF / "net").iterdir())
    assert pf["interfaces"][0]["name"] == name.name
    assert pf["interfaces"][0]["mac"] == (name / "address").read_text(encoding="ascii").strip()
    groups = [found[bdf]["iommu_group"] for bdf in (PF, *vfs)]
    assert [(group["devices"], group["others"]) for group in groups] == [(1, [])] * 3
    assert len({group["id"] for group in groups}) == 3
    for index, bdf in enumerate(vfs):
        assert found[bdf]["vf_of"] == {"pf": PF, "index": index} and found[bdf]["holder"] is None
    listed, = host.call("GET", "/v1/sriov/pfs")["items"]
    assert listed["pf"] == pf and listed["vfs"] == [found[bdf] for bdf in vfs]


def test_what_changes_is_seen(host, vfs):
    """Another driver, the host's default route, VFs that are gone."""
    (DEVICES / vfs[1] / "driver_override").write_text("vfio-pci", encoding="ascii")
    pathlib.Path("/sys/bus/pci/drivers_probe").write_text(vfs[1], encoding="ascii")
    name = next((DEVICES / PF / "net").iterdir()).name
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    subprocess.run(["ip", "route", "add", "default", "dev", name], check=True)
    try:
        listed, = host.call("GET", "/v1/sriov/pfs")["items"]
        assert listed["vfs"][1]["driver"] == "vfio-pci" == (DEVICES / vfs[1] / "driver").resolve().name
        assert listed["pf"]["default_route"] and not listed["vfs"][0]["default_route"]
        assert checks(host)["function-in-use", PF]["status"] == "warning"
    finally:
        subprocess.run(["ip", "link", "set", name, "down"], check=True)
        (VFIO / "unbind").write_text(vfs[1], encoding="ascii")
    (DEVICES / PF / "sriov_numvfs").write_text("0", encoding="ascii")
    listed, = host.call("GET", "/v1/sriov/pfs")["items"]
    assert (listed["vfs"], listed["pf"]["sriov"]["num_vfs"]) == ([], 0)
    assert not listed["pf"]["default_route"]


def test_doctor(host, vfs):
    found = checks(host)
    for key in (("cpu-virtualization", None), ("kvm", None), ("iommu", None),
                ("interrupt-remapping", None), ("vfio-module", "vfio-pci"),
                ("vfio-module", "vfio_iommu_type1"), ("sriov", None), ("memlock", None),
                *(("iommu-group", bdf) for bdf in (PF, *vfs))):
        assert found[key]["status"] == "ok", found[key]
    assert "intel_iommu=on" in found["iommu", None]["found"]
    assert [check["found"] for check in found.values() if check["status"] == "blocker"] == []
