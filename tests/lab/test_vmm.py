"""vmm by itself boots Linux: by each protocol it has, on 1 and 4 vCPUs, from 4K and 2M memory."""

import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

MIB = 1 << 20
BEYOND_RAM_MIB = 6


class Vmm:
    """One run of vmm on a configuration, its console in a file."""

    def __init__(self, build, directory, run=None, **changes):
        self.directory = directory
        self.config = {
            "id": "guest",
            "vcpus": 1,
            "memory": {"size_mib": 256},
            "boot": {"kernel": os.environ["LAB_BUSYBOX_VMLINUZ"],
                     "initrd": os.environ["LAB_BUSYBOX_INITRD"],
                     "cmdline": "console=ttyS0 quiet" + (f' run="{run}"' if run else "")},
            "console": {"type": "file", "file": str(directory / "console")},
            "exit_record": str(directory / "exit.json"),
            **changes,
        }
        self.control = directory / "control"
        path = directory / "vm.json"
        path.write_text(json.dumps(self.config), encoding="ascii")
        self._process = subprocess.Popen(
            [build / "vmm/vmm", "--config", path, "--control", self.control,
             "--grace", "1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def console(self):
        """All the guest has said."""
        path = pathlib.Path(self.config["console"]["file"])
        return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""

    def call(self, method):
        """One JSON-RPC call without parameters; its result."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.control))
            sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
            # Notifications of what the call changed may come first.
            answer = next(message for line in sock.makefile() if "id" in (message := json.loads(line)))
        assert "result" in answer, answer
        return answer["result"]

    def wait_for(self, pattern, seconds=90):
        """Wait until the console says `pattern`."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.console(), re.M):
            assert self._process.poll() is None and time.monotonic() < deadline, \
                f"no {pattern!r} on the console:\n{self.console()[-3000:]}{self.said()}"
            time.sleep(0.1)

    def said(self):
        """What vmm itself has said, once it has ended."""
        return self._process.communicate()[0] if self._process.poll() is not None else ""

    def end(self, seconds=90):
        """Wait for the guest to power off; the console's text."""
        try:
            output, _ = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the guest did not end; its console:\n{self.console()[-3000:]}")
        assert self._process.returncode == 0, output + self.console()[-3000:]
        return self.console()

    def terminate(self):
        """Ask vmm to end; its exit status."""
        self._process.terminate()
        self._process.communicate(timeout=90)
        return self._process.returncode

    def kill(self):
        """Whatever happens, nothing stays behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(name="start")
def make_start(build, tmp_path):
    """A function that starts vmm, which is ended after the test."""
    started = []

    def start(*args, **changes):
        started.append(Vmm(build, tmp_path, *args, **changes))
        return started[-1]

    yield start
    for vmm in started:
        vmm.kill()


@pytest.mark.parametrize("page_size", ["4K", "2M"])
@pytest.mark.parametrize("vcpus", [1, 4])
def test_boot(start, vcpus, page_size):
    # The brackets keep the pattern from finding itself: the kernel prints its command line.
    vmm = start("nproc; free -m | grep Mem; dmesg | grep -E 'BU[G]:|Oop[s]|Call Trac[e]|WARNIN[G]:'",
                vcpus=vcpus, memory={"size_mib": 256, "page_size": page_size})
    console = vmm.end()
    assert re.search(rf"^{vcpus}$", console, re.M), console
    assert 190 < int(re.search(r"Mem:\s+(\d+)", console)[1]) <= 256
    assert "run ended with status 1" in console  # grep found no complaint of the kernel
    record = json.loads((vmm.directory / "exit.json").read_text(encoding="ascii"))
    assert record["reason"] == "shutdown"


def test_reset_and_pause(start, tmp_path):
    """Four vCPUs, a NIC and a disk come through pauses, a reset by us and one by the guest."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    os.truncate(disk, 16 * MIB)
    vmm = start("cat /proc/cpuinfo | grep -c ^processor; head -c 1048576 /dev/vda | wc -c; sleep 2; reboot -f",
                vcpus=4, disks=[{"id": "disk0", "mode": "virtio-blk", "file": str(disk)}],
                nics=[{"id": "net0", "mode": "vhost-user", "socket": str(tmp_path / "nobody"),
                       "mac": "02:00:00:00:00:01"}])
    vmm.wait_for("guest: up")
    for _ in range(5):
        assert vmm.call("vm.pause")["state"] == "paused"
        assert vmm.call("vm.resume")["state"] == "running"
    assert vmm.call("vm.reset")["state"] == "running"
    vmm.wait_for(r"(?s)(guest: up.*){3}^4$.*^1048576$", 240)
    assert vmm.call("vm.counters")["devices"]["disk0"]["resets"] >= 2
    vmm.call("vm.stop")
    vmm.end()


def test_large_mappings(start):
    """Memory from 2M pages is mapped by 2M at the second level, and the kernel's counts say so."""
    vmm = start(vcpus=1, memory={"size_mib": 256, "page_size": "2M", "prefault": True})
    vmm.wait_for("guest: up")
    info = vmm.call("vm.info")
    print(json.dumps(info))
    assert info["second_level"]["pages_2m"] > 20 > info["second_level"]["pages_4k"], info
    assert info["exits"]["exits"] > 0 and info["exits"]["io_exits"] > 0, info
    assert vmm.terminate() == 0


def test_memory_beyond_ram(start, tmp_path):
    """One NIC, one disk: what the process needs beside the guest's RAM stays small."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    os.truncate(disk, 16 * MIB)
    vmm = start(nics=[{"id": "net0", "mode": "vhost-user", "socket": str(tmp_path / "nobody"),
                       "mac": "02:00:00:00:00:01"}],
                disks=[{"id": "disk0", "mode": "virtio-blk", "file": str(disk)}])
    vmm.wait_for("guest: up")
    info = vmm.call("vm.info")
    beyond = info["overhead"]["pss_kib"] / 1024
    print(f"beyond the guest's RAM: {beyond:.2f} MiB PSS")
    assert 0 < beyond <= BEYOND_RAM_MIB
    assert vmm.terminate() == 0
