"""No flush that a guest was told of is lost: not when its vmm is killed, not when its host is.

A tiny guest (tests/guest/tiny_writer.c) writes numbered sectors with flushes to a disk on
dm-log-writes. Its vmm is killed amid that, several times. The log then knows every instant at which
the host might have lost its power: it is replayed, and looked at after every flush, and wherever
the guest was asked how far it had been told it was."""

import pathlib
import random
import subprocess
import sys
import time

import pytest

import log_writes
from test_vmm import MIB, Vmm

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hostile"))
import sectors  # noqa: E402

LIVES = 4
ROUNDS = 20  # of each stream in each life, at least
LOG_MIB = 256
NAME = "crash"


def run(*words):
    """A command that must succeed; what it says."""
    return subprocess.run([str(word) for word in words], check=True, capture_output=True,
                          text=True).stdout.strip()


def loop_device(path, size):
    """A new file as a block device; it has a cache that wants to be flushed, as disks have."""
    with open(path, "wb") as file:
        file.truncate(size)
    return run("losetup", "--find", "--show", path)


@pytest.fixture(scope="module", name="devices")
def make_devices(tmp_path_factory):
    """(a disk, its log), until the disk is removed."""
    directory = tmp_path_factory.mktemp("crash")
    run("modprobe", "-a", "loop", "dm_mod", "dm_log_writes")
    data = loop_device(directory / "data", sectors.DISK_BYTES)
    log = loop_device(directory / "log", LOG_MIB * MIB)
    run("dmsetup", "create", NAME, "--noudevsync", "--table",
        f"0 {sectors.DISK_BYTES // sectors.SECTOR} log-writes {data} {log}")
    # Without udev nobody makes a node of that name; the kernel makes one of its own.
    yield pathlib.Path("/dev") / run("dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname",
                                     NAME), log
    subprocess.run(["dmsetup", "remove", "--noudevsync", NAME], check=False, capture_output=True)
    run("losetup", "-d", data, log)


def mark(text):
    """Into the log, after all that was safe before; one word."""
    run("dmsetup", "message", NAME, "0", "mark", text)


def live(build, directory, disk, first, rng):
    """One life of a vmm, from round `first` on, ended by kill -9; what its guest was told."""
    vmm = Vmm(build, directory, disks=[{"id": "disk0", "mode": "virtio-blk", "file": str(disk)}],
              boot={"kernel": str(build / "tests/guest/tiny"),
                    "cmdline": f"quiet end=write first={first:08x}"})
    try:
        vmm.wait_for("^on-disk")
        while True:
            told = sectors.told(vmm.console())
            if min(told.values()):
                mark("told," + ",".join(map(str, told.values())))
            if min(told.values()) >= first + ROUNDS:
                break
            time.sleep(0.1)
        counters = vmm.call("vm.counters")["devices"]["disk0"]
        assert 0 <= counters["flushes"] - counters["file_syncs"] <= sectors.STREAMS, counters
        time.sleep(rng.uniform(0, 0.3))
    finally:
        vmm.kill()
    return sectors.told(vmm.console())


@pytest.fixture(scope="module", name="lives")
def live_them(build, devices, tmp_path_factory):
    """The lives' first rounds, and what was told in each; the log is complete then."""
    disk, _ = devices
    rng, first, lives = random.Random(), 1, {}
    for _ in range(LIVES):
        told = lives[first] = live(build, tmp_path_factory.mktemp("life"), disk, first, rng)
        found = sectors.Disk(disk.read_bytes())
        found.check_told(told, list(lives))
        found.check_causes(list(lives))
        first = max(found.newest(stream) for stream in told) + 1
    run("dmsetup", "remove", "--noudevsync", NAME)
    return lives


def replay(entries, firsts, lose=lambda flushes: False):
    """Looks at the disk at every instant; how many flushes and marks. lose(n): what the n-th flush
    was to save is not saved."""
    disk, pending = sectors.Disk(), []
    flushes = marks = 0
    for entry in entries:
        pending.append(entry)
        if not entry.flags & (log_writes.FLUSH | log_writes.FUA) and entry.mark is None:
            continue
        if entry.flags & log_writes.FLUSH:
            flushes += 1
        if not lose(flushes):
            for write in pending:
                disk.write(write.sector, write.data)
        pending.clear()
        disk.check_causes(firsts)
        if entry.mark and entry.mark.startswith("told,"):
            disk.check_told(dict(enumerate(map(int, entry.mark.split(",")[1:]))), firsts)
            marks += 1
    return flushes, marks


def test_nothing_told_is_lost_with_the_vmm(lives):
    print(lives)
    assert len(lives) == LIVES
    for first, told in lives.items():
        assert min(told.values()) >= first + ROUNDS


def test_nothing_told_is_lost_with_the_host(lives, devices):
    entries = log_writes.read_log(devices[1])
    flushes, marks = replay(entries, list(lives))
    print(f"{len(entries)} entries, {flushes} flushes, {marks} marks")
    # One for each that the guest asked for; of the last ones it was perhaps not told.
    asked = sum(number - first + 1 for first, told in lives.items() for number in told.values())
    assert asked <= flushes <= asked + LIVES * sectors.STREAMS
    assert marks >= LIVES


@pytest.mark.parametrize("every", [1, 7])
def test_a_disk_that_loses_what_was_flushed_is_found_out(lives, devices, every):
    """The control: the same log, some of its flushes having saved nothing."""
    with pytest.raises(AssertionError, match="lost"):
        replay(log_writes.read_log(devices[1]), list(lives), lambda flushes: flushes % every == 0)
