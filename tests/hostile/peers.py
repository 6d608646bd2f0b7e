"""One port's peer does its worst while the ports beside it carry numbered frames; and what came of it."""

import ctypes
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "component"))
from switch_rig import BUILD, Rpc, Switch, wait_for  # pylint: disable=wrong-import-position

PEER = BUILD / "tests/hostile/vhost_peer"
NEIGHBOURS = BUILD / "tests/hostile/neighbours"
SANITIZED = os.environ.get("SANITIZE", "none") != "none"
# The C library's heap grows by arenas and keeps what it had; one leaked byte a session shows anyway.
RSS_BOUND_KIB = 2048


def seal_future_writes(fd):
    """F_SEAL_FUTURE_WRITE: what is mapped stays so."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0x10)


def punch_hole(fd, offset, size):
    """Gives pages of a file back; they read as zeroes."""
    keep_size, punch = 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate64(fd, keep_size | punch, ctypes.c_long(offset), ctypes.c_long(size)) == 0


def percentiles(values):
    """In the way the neighbours print theirs."""
    values = sorted(values) or [0]
    return {name: values[(len(values) - 1) * per_mille // 1000]
            for name, per_mille in (("p50", 500), ("p99", 990), ("p999", 999), ("max", 1000))}


class CpuWaits:
    """The time in which threads of a process, and this one, were ready to run and had no CPU.

    Who asks waits for the main thread, and that for one other at a time: so those two count, and of all
    others the one that waited most. It may be more than this, never less.
    """

    def __init__(self, pid):
        self.in_turn = [open(f"/proc/{name}/schedstat", encoding="ascii")  # pylint: disable=consider-using-with
                        for name in (pid, f"self/task/{threading.get_native_id()}")]
        self.others = [open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii")
                       for task in os.listdir(f"/proc/{pid}/task") if int(task) != pid]
        self.last = self.read()

    def read(self):
        """Nanoseconds of each."""
        values = []
        for file in self.in_turn + self.others:
            file.seek(0)
            values.append(int(file.read().split()[1]))
        return values

    def start(self):
        """From now."""
        self.last = self.read()

    def seconds(self):
        """Since start."""
        grown = [now - before for now, before in zip(self.read(), self.last)]
        count = len(self.in_turn)
        return (sum(grown[:count]) + max(grown[count:], default=0)) / 1e9

    def close(self):
        """The files."""
        for file in self.in_turn + self.others:
            file.close()


class Asker:
    """Asks the switch for something every few milliseconds and notes how long that takes.

    Also how much of it is left when the time is taken off that the switch's threads, or we, waited for a CPU
    which other programs had: on a busy machine only that is the switch's own.
    """

    CALLS = (("port.counters", {"id": "n0"}), ("port.list", {}), ("switch.info", {}), ("fdb.list", {}))

    def __init__(self, control, pid):
        self.call = Rpc(control)
        self.pid = pid
        self.micros, self.own_micros = [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        """Until told to stop."""
        waits = CpuWaits(self.pid)
        turn = 0
        while not self.over.wait(0.01):
            method, params = self.CALLS[turn % len(self.CALLS)]
            waits.start()
            start = time.monotonic()
            self.call(method, **params)
            took = time.monotonic() - start
            self.micros.append(int(took * 1e6))
            self.own_micros.append(int(max(0, took - waits.seconds()) * 1e6))
            turn += 1
        waits.close()

    def stop(self):
        """Percentiles of the answers' times, in microseconds; the same without waiting for a CPU."""
        self.over.set()
        self.thread.join()
        self.call.close()
        return percentiles(self.micros), percentiles(self.own_micros)


class Scene:
    """A switch, its honest neighbours, and the port of a hostile peer."""

    def __init__(self, directory, neighbours):
        self.switch = Switch(directory)
        self.pid = self.switch.process.pid
        sockets = [self.switch.add_vhost(f"n{i}") for i in range(neighbours)]
        self.evil = self.switch.add_vhost("evil", allow_unsealed=True)
        self.neighbours = subprocess.Popen([NEIGHBOURS, str(self.pid), *sockets], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True)
        self.asker = None
        try:
            assert self.neighbours.stdout.readline() == "ready\n"
            self.asker = Asker(self.switch.control, self.pid)
        except BaseException:
            self.close()
            raise

    def attack(self, *options):
        """A run of the hostile peer: the table it printed, and its figures."""
        done = subprocess.run([PEER, "--socket", self.evil, *map(str, options)], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0, f"{done.stdout}\n{self.switch.log.read_text()[-3000:]}"
        *table, figures = done.stdout.splitlines()
        return "\n".join(table), json.loads(figures)

    def descriptors(self, wanted):
        """How many the switch has open, once that has been the same for a while, and as many as wanted if
        it comes to that in half a minute: some are closed aside, when those threads get a CPU."""
        counts = [0] * 10
        end = time.monotonic() + 30
        while time.monotonic() < end and set(counts) != {wanted or max(counts[0], 1)}:
            time.sleep(0.02)
            counts = [*counts[1:], len(os.listdir(f"/proc/{self.pid}/fd"))]
        return counts[-1]

    def held(self, descriptors=None):
        """(descriptors, KiB of memory of its own) the switch holds, with nobody on the hostile port."""
        wait_for(lambda: not self.switch.port("evil")["connected"], what="the hostile peer's end")
        wait_for(lambda: self.switch.port("evil")["rings"] == 0, what="the hostile peer's rings")
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
        return self.descriptors(descriptors), int(anonymous.split()[1])

    def finish(self):
        """Ends the neighbours: what they and the asker found."""
        asked, own = self.asker.stop()
        self.asker = None
        out, _ = self.neighbours.communicate("", timeout=120)
        assert self.neighbours.returncode == 0
        return json.loads(out), asked, own

    def close(self):
        """Everything ends, however far it came; the switch must leave cleanly."""
        if self.asker:
            self.asker.stop()
        if self.neighbours.poll() is None:
            self.neighbours.kill()
        self.neighbours.communicate()
        self.switch.stop()


def run(directory, options, neighbours, say=print):
    """Warm up, attack by `options`, and judge; the figures, of which times are only reported."""
    scene = Scene(directory, neighbours)
    try:
        scene.attack("--messages", 4000, "--unsealed")
        before = scene.held()
        table, peer = scene.attack(*options)
        after = scene.held(before[0])
        honest, asked, own = scene.finish()
        port = scene.switch.port("evil")
        scene.switch.check_books()
    finally:
        scene.close()
    figures = {"peer": peer, "neighbours": honest, "control_us": asked,
               "control_own_us": own, "faults": port["faults"],
               "descriptors": [before[0], after[0]], "rss_anon_kib": [before[1], after[1]]}
    say(table)
    say(json.dumps(figures, indent=1))
    assert honest["lost"] == honest["wrong"] == 0 and honest["arrived"] == honest["sent"] > 0, honest
    assert after[0] == before[0], f"descriptors: {before[0]} before, {after[0]} after"
    assert SANITIZED or after[1] <= before[1] + RSS_BOUND_KIB, f"memory, KiB: {before[1]}, {after[1]}"
    assert sum(port["faults"].values()) >= peer["hangups"]
    return figures
