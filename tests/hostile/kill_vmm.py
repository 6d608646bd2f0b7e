"""vmm killed at random instants while its guest writes numbered sectors with flushes: what the guest
was told is on disk is in the file. (A killed process takes nothing along that the kernel has; the
host's own death is tests/lab/test_crash.py.)"""

import pathlib
import shutil
import tempfile
import time

import kill_mgmt  # noqa: F401  (finds the component tests' modules)
import sectors
from vmm_rig import Vmm, wait_for

AHEAD = 3  # rounds a stream goes before it may be killed


class Loop:
    """Kill after kill."""

    def __init__(self, rng):
        self.rng = rng
        self.figures = {"cycles": 0, "flushes": 0, "most_unsaid": 0}

    def cycle(self, directory):
        """One life of a vmm."""
        disk = directory / "disk"
        disk.write_bytes(bytes(sectors.DISK_BYTES))
        vmm = Vmm(directory)
        try:
            vmm.start(vmm.config("quiet end=write first=1", disks=[
                {"id": "disk0", "mode": "virtio-blk", "file": str(disk)}]))
            wait_for(lambda: min(sectors.told(vmm.console()).values()) >= AHEAD)
            counters = vmm.control().call("vm.counters")["devices"]["disk0"]
            assert counters["flushes"] >= AHEAD * sectors.STREAMS
            # Each asked for by itself, and those under way may not be the kernel's yet.
            assert 0 <= counters["flushes"] - counters["file_syncs"] <= sectors.STREAMS, counters
            time.sleep(self.rng.uniform(0, 0.1))
        finally:
            vmm.close()
        rounds = sectors.told(vmm.console())
        found = sectors.Disk(disk.read_bytes())
        found.check_told(rounds)
        found.check_causes()
        self.figures["flushes"] += sum(rounds.values())
        self.figures["most_unsaid"] = max(self.figures["most_unsaid"], *(
            found.newest(stream) - number for stream, number in rounds.items()))
        self.figures["cycles"] += 1

    def run(self, cycles, progress=lambda figures: None):
        """That many cycles; the figures."""
        for _ in range(cycles):
            directory = pathlib.Path(tempfile.mkdtemp(prefix="kill-vmm-"))
            try:
                self.cycle(directory)
            finally:
                shutil.rmtree(directory)
            progress(self.figures)
        return self.figures
