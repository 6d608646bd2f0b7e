"""The escape drill: a guest that has taken its vmm over tries to get out of it, or to hurt others.

A vmm with a way in (escape_vmm.c) runs through vmm-mgmt and vmm-launch, beside a victim: a VM and its
port. Each attempt is made on a vCPU's thread and on the main one. It must come back as an error, or be
the end of that vmm by its filter; the victim, the switch and the daemon go on. Attempts that take what
they can get must come to a bound. With nothing given up, in escape_vmm_open, many succeed: the drill bites.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import socket
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "component/mgmt"))
from daemon import BUILD, DEADLINE, Daemon, wait_until  # noqa: E402

SOURCES = pathlib.Path(__file__).parent
FILTERED = "killed by its system call filter (SIGSYS); dmesg/audit has the number"
DISK_MIB, RAM_MIB = 16, 32
ABSTRACT = f"escape-drill-{os.getpid()}"
MAIN, VCPU = "m", "v"

# What takes as much as it can get, and what that may come to at most. Memory: launch/programs.c.
BOUNDED = {
    "exhaust-descriptors": 1024,
    "exhaust-memory": 300,
    "exhaust-shared-memory": 300,
    "flood-log": DISK_MIB,
    "connect-flood": 1024,
    "pass-descriptors": 99999,
}
FATAL = {"pass-descriptors"}  # to the connection it abuses, so to the attempts that need one
# The paths of others; each is tried by these.
BY_PATH = ("open-path", "make-file", "remove", "rename", "link", "chmod", "chown", "truncate")
# Harmless where nothing is given up, and likely to succeed there.
OPEN = ("open-passwd", "open-root", "open-proc", "stat", "current-directory", "tcp", "udp", "netlink", "socketpair",
        "kill-all", "pidfd-of-init", "clone", "clone3", "mount", "unshare-mounts", "open-tree", "fsopen",
        "host-name", "dumpable", "personality", "executable-memory", "memory-file", "shared-memory",
        "message-queue", "semaphores", "ring", "bpf", "keyring", "watch-files", "bind", "kvm-create-vm", "duplicate",
        "run-own-code", "execute")


# What reaches nobody else: of the process itself, or of namespaces that are its own. Only the lists stop it.
ALONE = ("bind", "clone", "clone3", "current-directory", "dumpable", "duplicate", "executable-memory", "fork",
         "fork-bomb", "key", "keyring", "kvm-create-device", "kvm-create-vcpu", "kvm-create-vm", "lock-memory",
         "make-executable", "memory-file", "message-queue", "netlink", "own-filter", "perf", "personality",
         "pidfd-of-init", "ring", "run-own-code", "semaphores", "shared-memory", "socketpair", "tcp", "udp",
         "userfaultfd", "vsock", "watch-files")


def names():
    """All attempts, as the sources list them."""
    return (re.findall(r'^\tCALL\("([a-z0-9-]+)"', (SOURCES / "escape_calls.c").read_text(), re.M) +
            re.findall(r'\.name = "([a-z0-9-]+)", \.make', (SOURCES / "escape_roads.c").read_text()))


class Guest:
    """A VM on the drill's vmm, started again whenever an attempt was its end."""

    def __init__(self, host, vm):
        self.host, self.vm = host, vm
        self.console, self.sequence, self.starts = None, 0, 0
        for name, size in (("disk", DISK_MIB << 20), ("read-only", 1 << 20)):
            with open(host.images / f"{vm}-{name}", "wb") as file:
                file.truncate(size)
        host.ok("POST", "/v1/vms", {
            "id": vm, "memory": {"size_mib": RAM_MIB}, "nics": [{"id": "net0"}],
            "boot": {"kernel": str(host.images / "guest")},
            "disks": [{"id": "ro", "file": str(host.images / f"{vm}-read-only"), "read_only": True},
                      {"id": "rw", "file": str(host.images / f"{vm}-disk")}]})

    def up(self):
        """Start it, unless it runs, and wait for the guest."""
        if self.console:
            return
        path = self.host.ok("POST", f"/v1/vms/{self.vm}/start")["console"]
        self.starts += 1
        self.console = socket.socket(socket.AF_UNIX)
        self.console.settimeout(DEADLINE)
        self.console.connect(path)
        assert self.line() == ">"

    def line(self):
        """One line from the guest; None: its vmm is gone."""
        text = b""
        while not text.endswith(b"\n"):
            try:
                byte = self.console.recv(1)
            except ConnectionResetError:
                byte = b""
            if not byte:
                return None
            text += byte
        return text.decode().strip()

    def attempt(self, name, thread, number=0, text="-"):
        """What came of it: a number, as the kernel would return it, or the words of the process's end."""
        self.up()
        self.sequence += 1
        self.console.sendall(f"{self.sequence} {name} {thread} {number} {text}\n".encode())
        answer = self.line()
        if answer:
            sequence, result = answer.split()
            assert int(sequence) == self.sequence and result != "unknown", answer
            return int(result)
        return self.ended()

    def ended(self):
        """Why, when it has."""
        self.console.close()
        self.console = None
        wait_until(lambda: self.host.vm(self.vm)["state"] in ("failed", "stopped"), "the end")
        last = self.host.vm(self.vm)["last_exit"]
        return last["message"] or last["reason"]

    def stop(self):
        """For good."""
        if self.console:
            self.host.ok("POST", f"/v1/vms/{self.vm}/stop")
            self.console.close()
            self.console = None


class Host(Daemon):
    """The real programs but for vmm, and a victim."""

    def __init__(self, vmm):
        super().__init__(vmm)
        shutil.copy(BUILD / "tests/hostile/escape_guest", self.images / "guest")
        self.wait_switch()
        self.victim = Guest(self, "victim")
        self.victim.up()
        self.before = self.look()
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{ABSTRACT}")
        self.abstract.listen()

    def look(self):
        """What must not change: the victim's process, its port, the switch's process."""
        victim, switch, port = self.vm("victim"), self.ok("GET", "/v1/switch"), self.port("victim-net0")
        return victim["state"], victim["pid"], switch["state"], switch["pid"], port["state"]

    def pids(self):
        """The processes of others."""
        launch = [int(line.split()[-1]) for line in os.popen(f"pgrep -P {self.process.pid}").read().splitlines()]
        return [self.before[1], self.before[3], self.process.pid, *launch]

    def paths(self):
        """The sockets and files of others."""
        return [self.run / "ports/victim-net0/sock", self.run / "vswitch/control.sock", self.run / "api.sock",
                self.run / "vms/victim/control.sock", self.run / "vms/victim/log",
                self.images / "victim-disk", self.directory / "state/vmm.db"]

    def destroy(self):
        self.abstract.close()
        super().destroy()


@pytest.fixture
def host(request):
    daemon = Host(request.param)
    yield daemon
    daemon.destroy()


def attempts(host):
    """(name, number, text) of all there is to try."""
    for name in names():
        if name in ("connect", "connect-upwards"):
            yield from ((name, 0, path) for path in host.paths())
        elif name == "connect-abstract":
            yield name, 0, ABSTRACT
        elif name in BY_PATH:
            yield name, 0, host.paths()[0]
        elif name in ("kill", "ptrace", "read-process", "thread-signal"):
            yield from ((name, pid, "-") for pid in host.pids())
        elif name.startswith("exhaust-") and "memory" in name:
            yield name, 4096, "-"
        else:
            yield name, host.before[1], "-"


def judge(name, result):
    """A line of complaint, or None."""
    if isinstance(result, str):
        return None if result == FILTERED else f"{name}: {result}"
    if name in BOUNDED:
        return None if result <= BOUNDED[name] else f"{name}: got {result}"
    return None if result < 0 else f"{name}: succeeded ({result})"


def drill(guest, what):
    """Make these attempts in one VM; (attempt, result) of each."""
    results = []
    for i, (name, thread, number, text) in enumerate(what):
        results.append((f"{name} {thread} {number} {text}", name, guest.attempt(name, thread, number, text)))
        if name in FATAL and guest.console:
            guest.attempt("kill-all", MAIN)  # begin anew
        if i % 8 == 7 or i == len(what) - 1:
            assert guest.host.look() == guest.host.before, f"by {name} at the latest"
    return results


@pytest.mark.parametrize("host", ["tests/hostile/escape_vmm"], indirect=True)
def test_nothing_gets_out(host, capsys):
    """Every attempt on both threads, in two VMs side by side."""
    todo = [(name, thread, number, text) for name, number, text in attempts(host) for thread in (MAIN, VCPU)]
    guests = [Guest(host, "first"), Guest(host, "second")]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = [r for part in pool.map(drill, guests, (todo[::2], todo[1::2])) for r in part]
    complaints = [c for _, name, result in done if (c := judge(name, result))]
    with capsys.disabled():
        ended = sum(isinstance(result, str) for _, _, result in done)
        print(f"\n{len(names())} attempts, {len(done)} times: {ended} ended the vmm, "
              f"{len(done) - ended} refused; {sum(g.starts for g in guests)} starts")
        print(" ".join(f"{what}: {result}" for what, name, result in done if name in BOUNDED))
    assert len(names()) >= 40 and not complaints, complaints
    assert host.victim.attempt("connect", VCPU) == FILTERED  # it was alive: its guest answers
    for guest in (*guests, host.victim):
        guest.stop()
    # No disk is longer than it was, and what was read-only is as it was.
    for guest in guests:
        assert os.stat(host.images / f"{guest.vm}-disk").st_size == DISK_MIB << 20
        assert not any((host.images / f"{guest.vm}-read-only").read_bytes())


@pytest.mark.parametrize("host", ["tests/hostile/escape_vmm_unfiltered"], indirect=True)
def test_the_other_walls_stand_by_themselves(host, capsys):
    """Without lists of system calls: what succeeds reaches nobody else."""
    guest = Guest(host, "bare")
    done = drill(guest, [(name, MAIN, number, text) for name, number, text in attempts(host)
                         if name not in ("ptrace-me", "pass-descriptors")])
    succeeded = {name for _, name, result in done if judge(name, result)}
    with capsys.disabled():
        print(f"\n{len(succeeded)} of {len({name for _, name, _ in done})} succeed:", *sorted(succeeded))
    assert succeeded <= set(ALONE), succeeded - set(ALONE)
    guest.stop()
    host.victim.stop()


@pytest.mark.parametrize("host", ["tests/hostile/escape_vmm_open"], indirect=True)
def test_the_drill_bites(host, capsys):
    """With nothing given up by vmm itself, attempts succeed."""
    guest = Guest(host, "open")
    results = {name: guest.attempt(name, MAIN, host.before[1]) for name in OPEN}
    succeeded = [name for name, result in results.items() if judge(name, result)]
    with capsys.disabled():
        print(f"\n{len(succeeded)} of {len(OPEN)} succeed; not:",
              *(f"{name} {results[name]}" for name in OPEN if name not in succeeded))
    assert len(succeeded) >= 20
    guest.stop()
    host.victim.stop()
