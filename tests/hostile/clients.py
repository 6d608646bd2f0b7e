"""What clients may do to vmm-mgmt, at any scale: for test_clients.py and campaign_clients.py.

An attack runs in a process of its own, while a witness makes valid calls on other connections, each
of which must be answered as it should."""

import collections
import contextlib
import multiprocessing
import os
import pathlib
import re
import resource
import selectors
import socket
import sqlite3
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "component/mgmt"))
from daemon import DEADLINE, Daemon, wait_until  # noqa: E402

HOST = b"Host: localhost\r\n"
LAST = b"Connection: close\r\n"
FORK = multiprocessing.get_context("fork")
# Resident memory vmm-mgmt may reach, whatever its clients do (mgmt/README.md says of what it is made).
RSS_LIMIT_KIB = 256 << 10


def request(method, path, body=None, head=b""):
    """The last one of its connection."""
    if body is not None:
        head += b"Content-Length: %d\r\n" % len(body)
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + LAST + head + b"\r\n" + (body or b"")


class Conn:
    """One of many: what it sends at once, what it adds now and then, what it has heard."""

    def __init__(self, data, drip=b""):
        self.data, self.drip = memoryview(data), drip
        self.heard = b""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def outcome(self):
        """Statuses, or that it was closed without a word."""
        return re.findall(rb"HTTP/1\.1 (\d{3}) ", self.heard) or [b"closed"]


class Swarm:
    """Connections opened as fast as the daemon takes them, `at_once` open at a time."""

    def __init__(self, path, at_once, reads=True):
        self.path, self.at_once, self.reads = str(path), at_once, reads
        self.poll = selectors.EpollSelector()
        self.open = set()
        self.outcomes = collections.Counter()
        self.opened = 0

    def run(self, source, until=None):
        """Until `source` is used up and all are over, or `until` says so."""
        end = time.monotonic() + DEADLINE * 10
        waiting, next_drip = None, time.monotonic()
        source = iter(source)
        while not (until and until(self)):
            assert time.monotonic() < end, self.outcomes
            while len(self.open) < self.at_once:
                waiting = waiting or next(source, None)
                if waiting is None or not self._connect(waiting):
                    break
                waiting = None
            if waiting is None and not self.open:
                break
            for key, events in self.poll.select(0.02):
                self._serve(key.data, events)
            if time.monotonic() >= next_drip:
                next_drip = time.monotonic() + 0.5
                for conn in [conn for conn in self.open if conn.drip and not conn.data]:
                    conn.data = memoryview(conn.drip)
                    self._serve(conn, selectors.EVENT_WRITE)
        for conn in list(self.open):
            self._end(conn, [b"open"] if not conn.heard else conn.outcome())
        return self.outcomes

    def _connect(self, conn):
        try:
            conn.sock.connect(self.path)
        except BlockingIOError:
            return False
        self.opened += 1
        self.open.add(conn)
        self._serve(conn, selectors.EVENT_WRITE)
        return True

    def _watch(self, conn):
        """For what it still has to do."""
        events = (selectors.EVENT_WRITE if conn.data else 0) | \
            (selectors.EVENT_READ if self.reads else 0)
        if conn.sock not in self.poll.get_map():
            if events:
                self.poll.register(conn.sock, events, conn)
        elif events:
            self.poll.modify(conn.sock, events, conn)
        else:
            self.poll.unregister(conn.sock)

    def _serve(self, conn, events):
        try:
            if events & selectors.EVENT_WRITE and conn.data:
                conn.data = conn.data[conn.sock.send(conn.data):]
            if events & selectors.EVENT_READ:
                piece = conn.sock.recv(1 << 16)
                conn.heard += piece
                if not piece:
                    self._end(conn, conn.outcome())
                    return
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            with contextlib.suppress(OSError):  # maybe it had a last word
                while piece := conn.sock.recv(1 << 16):
                    conn.heard += piece
            self._end(conn, conn.outcome())
            return
        self._watch(conn)

    def _end(self, conn, outcome):
        self.open.remove(conn)
        if conn.sock in self.poll.get_map():
            self.poll.unregister(conn.sock)
        conn.sock.close()
        self.outcomes.update(each.decode() for each in outcome)


def in_a_process(function, *arguments):
    """Start it; its connection, from which its result or its failure can be received."""
    ours, theirs = FORK.Pipe()

    def run():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            theirs.send((function(*arguments), None))
        except Exception as error:  # told where somebody can do something about it
            theirs.send((None, f"{soft}: {error!r}"))
    process = FORK.Process(target=run, daemon=True)
    process.start()
    return process, ours


def result_of(started):
    """Wait for what in_a_process has started."""
    process, ours = started
    result, error = ours.recv()
    process.join()
    assert error is None, error
    return result


# What the witness asks for, and what it must hear.
CALLS = [("host", "GET", "/v1/host", None), ("one VM", "GET", "/v1/vms/witness", None),
         ("change", "PATCH", "/v1/vms/witness", {"restart": "on-failure"})]


def witness(host, ready, stop):
    """Valid calls, one after the other, each on a connection of its own, until told to stop."""
    took, wrong = collections.defaultdict(list), []
    while not (ready.is_set() and stop.is_set()):
        for kind, method, path, body in CALLS:
            began = time.monotonic()
            try:
                answer = host.call(method, path, body)
                if answer.status != 200:
                    wrong.append(f"{kind}: {answer.status} {answer.text}")
            except OSError as error:
                wrong.append(f"{kind}: {error!r}")
            took[kind].append(time.monotonic() - began)
        ready.set()
    return dict(took), wrong


class Target(Daemon):
    """A daemon that is attacked and watched."""

    def __init__(self, options=()):
        super().__init__(options=options)
        self.wait_switch()
        self.ok("POST", "/v1/vms", self.spec("witness"))
        self.sock = self.run / "api.sock"
        self.calm = 1 << 20

    def settle(self):
        """Wait until no client is there; the descriptors open then, the fewest ever seen so."""
        wait_until(lambda: "vmm_api_connections 1\n" in self.call("GET", "/v1/metrics").text,
                   "all clients to be gone")
        wait_until(lambda: min(self.fds() for _ in range(10)) <= self.calm, "descriptors to be closed")
        self.calm = min(self.calm, *(self.fds() for _ in range(10)))
        return self.calm

    def rss(self, peak=False):
        """Resident KiB, now or at most since forget_peak."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", status)[1])

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def fds(self):
        """Its open descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def fill(self, spec):
        """Define VMs until there is no more room; their ids."""
        vms = []
        while True:
            answer = self.call("POST", "/v1/vms", spec(f"large{len(vms)}"))
            if answer.status != 201:
                assert answer.status == 409 and "16 MiB" in answer.json["detail"], answer.text
                return vms
            vms.append(answer.json["id"])

    def check_store(self, vms):
        """Sound, and with these VMs, each once; the daemon says the same."""
        with contextlib.closing(sqlite3.connect(f"file:{self.directory}/state/vmm.db?mode=ro",
                                                uri=True)) as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            stored = [vm for (vm,) in store.execute("SELECT id FROM vms ORDER BY id")]
        assert stored == sorted(vms)
        assert [vm["id"] for vm in self.ok("GET", "/v1/vms")["items"]] == stored


Row = collections.namedtuple("Row", "name outcomes calls worst p50 p99 rss fds")


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def attacked(host, name, attack, *arguments, rss_limit=RSS_LIMIT_KIB):
    """Run one attack under the eyes of a witness; a Row, once every promise was found kept."""
    fds, rss = host.settle(), host.rss()
    host.forget_peak()
    ready, stop = FORK.Event(), FORK.Event()
    watching = in_a_process(witness, host, ready, stop)
    try:
        assert ready.wait(DEADLINE), "the witness has not begun"
        outcomes = result_of(in_a_process(attack, host.sock, *arguments))
    finally:
        stop.set()
    took, wrong = result_of(watching)
    assert not wrong, f"{name}: {len(wrong)} valid calls went wrong: {wrong[:3]}"
    host.settle()
    peak = host.rss(peak=True)
    assert peak <= rss_limit, f"{name}: {peak} KiB resident, at most {rss_limit} promised"
    every = [each for kind in took.values() for each in kind]
    return Row(name, outcomes, len(every), max(every), percentile(every, 0.5),
               percentile(every, 0.99), (rss, peak, host.rss()), (fds, host.fds()))
