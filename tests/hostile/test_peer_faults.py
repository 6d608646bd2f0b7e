"""Each thing a peer can do wrong costs its own port, by name; others forward, and it may come back."""

import os
import select
import socket
import struct
import time

import pytest

import peers  # first: the way to the component tests' modules
import vhost_guest as vg
from stalling_fs import FLUSH, STATFS, StallingFs
from switch_rig import Switch, frame, wait_for

SET_VRING_ERR, GET_VRING_BASE, GET_INFLIGHT_FD, SET_INFLIGHT_FD, SET_LOG_BASE = 14, 11, 31, 32, 6
PAGE = 4096


class Stage:
    """A switch with two honest guests and a port for others."""

    def __init__(self, directory):
        self.switch = Switch(directory)
        self.honest = [vg.Guest(self.switch.add_vhost(name)) for name in ("a", "b")]
        self.path = self.switch.add_vhost("evil", allow_unsealed=True)
        self.guest = None
        for name in ("a", "b"):
            self.switch.wait_rings(name, 2)

    def faults(self):
        """Of the port for others."""
        return self.switch.port("evil")["faults"]

    def frame_passes(self):
        """Between the honest guests."""
        a, b = self.honest
        data = frame(2, 1, os.urandom(100))
        a.send(data)
        while (got := b.receive()) and got[1] != data:
            pass
        assert got

    def somebody(self, **more):
        """A guest on the port for others, started and taken up."""
        self.nobody()
        self.guest = vg.Guest(self.path, **more)
        self.switch.wait_rings("evil", 2)
        return self.guest

    def nobody(self):
        """The port for others is free."""
        if self.guest:
            self.guest.close()
        self.guest = None
        wait_for(lambda: not self.switch.port("evil")["connected"], what="the end of a session")

    def close(self):
        """The switch must leave cleanly, with balanced books."""
        self.nobody()
        for guest in self.honest:
            guest.close()
        self.switch.check_books()
        self.switch.stop()


@pytest.fixture(name="stage", scope="module")
def fixture_stage(tmp_path_factory):
    """One for all: none of them may leave anything behind for the next."""
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.close()


def u64(value):
    """A payload."""
    return struct.pack("<Q", value & (1 << 64) - 1)


def region(gpa=vg.GPA, size=vg.MEMORY, user=vg.USER, offset=0):
    """One region of a memory table."""
    return struct.pack("<4Q", gpa, size, user, offset)


def table(*regions):
    """A memory table's payload."""
    return struct.pack("<II", len(regions), 0) + b"".join(regions)


def show(evil, payload, fds=None):
    """Another memory table, for the running session."""
    evil.message(vg.SET_MEM_TABLE, payload, fds or [evil.memfd])


def place(evil, desc=0, avail=0x1000, used=0x2000):
    """Says where ring 1 is: offsets from where it was."""
    parts = [(vg.USER + evil.rings[1].base + part) % 2**64 for part in (desc, used, avail)]
    evil.message(vg.SET_VRING_ADDR, struct.pack("<IIQQQQ", 1, 0, *parts, 0))


def state(evil, request, number, index=1):
    """A message about one ring."""
    evil.message(request, struct.pack("<II", index, number))


def opened(how):
    """Passes a descriptor as memory."""
    def act(evil):
        fd = how(evil)
        show(evil, table(region()), [fd])
        os.close(fd)
    return act


def kick(how):
    """Passes a descriptor as a kick."""
    def act(evil):
        fd = how(evil)
        evil.message(vg.SET_VRING_KICK, u64(1), [fd])
        os.close(fd)
    return act


def pipe_end(evil):
    """The reading end of a pipe."""
    ends = os.pipe()
    os.close(ends[1])
    return ends[0]


def chain(*descriptors, head=0):
    """Writes descriptors (addr, length, flags, next) of ring 1 and offers the chain."""
    def act(evil):
        for i, (addr, *rest) in enumerate(descriptors):
            evil.rings[1].descriptor(i, vg.GPA + vg.TX_BUFFERS if addr is None else addr, *rest)
        evil.rings[1].offer(head)
        evil.rings[1].notify()
    return act


def runaway(evil):
    """The driver's index is more than a ring ahead."""
    evil.rings[1].next_avail += vg.RING_SIZE + 1
    chain((None, 64))(evil)


def raw(data):
    """Sends bytes."""
    return lambda evil: evil.socket.sendall(data)


def message(request, payload=b"", fds=0):
    """Sends a message with so many eventfds."""
    return lambda evil: evil.message(request, payload, [evil.rings[0].kick] * fds)


def shrunk(evil):
    """The rings stay, the buffer that was offered goes."""
    evil.send(frame(2, 3, b"x" * 1000), kick=False)
    os.ftruncate(evil.memfd, vg.RX_BUFFERS)
    evil.rings[1].notify()


def deaf(evil):
    """Asks and asks, and never reads an answer, until it is thrown out."""
    evil.socket.setblocking(False)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            evil.socket.send(struct.pack("<III", vg.GET_FEATURES, 1, 0))
        except BlockingIOError:
            time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            return


NEXT, WRITE = vg.DESC_NEXT, vg.DESC_WRITE
HEADER = struct.pack("<III", vg.SET_VRING_KICK, 1, 8)
CASES = {
    # messages
    "half a message, then silence": ("msg-timeout", raw(HEADER[:7])),
    "a header, then silence": ("msg-timeout", raw(HEADER)),
    "never reads": ("msg-unread", deaf),
    "closes within a message": ("hangup", lambda evil: (raw(HEADER[:9])(evil), evil.socket.close())),
    "too many descriptors": ("msg-fds", message(vg.SET_VRING_KICK, u64(1), 2)),
    "far too many descriptors": ("msg-fds", message(vg.SET_VRING_KICK, u64(1), 253)),
    "descriptors where none belong": ("msg-fds", message(vg.GET_FEATURES, b"", 1)),
    "a descriptor missing": ("msg-fds", message(vg.SET_VRING_KICK, u64(1))),
    "a size that lies": ("msg-size", message(vg.SET_VRING_NUM, b"\1" * 4)),
    "a size of 4 GiB": ("msg-size", raw(struct.pack("<III", vg.SET_MEM_TABLE, 1, 0xFFFFFFFF))),
    "a count that lies": ("msg-value", lambda evil: show(evil, b"\2" + table(region())[1:])),
    "inflight memory of absurd geometry":
        ("msg-unknown", message(GET_INFLIGHT_FD, struct.pack("<QQHH", 1 << 63, 1 << 63, 65535, 65535))),
    "inflight memory of its own":
        ("msg-unknown", message(SET_INFLIGHT_FD, struct.pack("<QQHH", 1 << 63, 7, 0, 0), 1)),
    "a log nobody offered": ("msg-state", message(SET_LOG_BASE, u64(-1) + u64(-1), 1)),
    "a ring that is not there": ("ring-index", lambda evil: state(evil, vg.SET_VRING_NUM, 256, 2)),
    # rings
    "a running ring of another size": ("ring-size", lambda evil: state(evil, vg.SET_VRING_NUM, 255)),
    "a running ring too large": ("ring-address", lambda evil: state(evil, vg.SET_VRING_NUM, 32768, 1)
                                 or place(evil, 0x3F0000 - 0x4000)),
    "a ring misaligned": ("ring-align", lambda evil: place(evil, desc=8)),
    "a ring that wraps": ("ring-address", lambda evil: place(evil, used=-vg.USER - 0x4000 - 8)),
    "a ring outside": ("ring-address", lambda evil: place(evil, avail=-0x10000)),
    "a ring across the end": ("ring-address", lambda evil: place(evil, desc=vg.MEMORY - 0x4010)),
    "an index that runs away": ("ring-avail-idx", runaway),
    "a head outside": ("ring-head", chain((None, 64), head=256)),
    "a next outside": ("ring-next", chain((None, 64, NEXT, 256))),
    "a loop": ("ring-loop", chain((None, 64, NEXT, 1), (None, 64, NEXT, 0))),
    "nothing in it": ("ring-zero-length", chain((None, 0))),
    "written, then read": ("ring-order", chain((None, 64, WRITE | NEXT, 1), (None, 64))),
    "a buffer outside": ("ring-buffer", chain((vg.GPA + vg.MEMORY, 64))),
    "a buffer across the end": ("ring-buffer", chain((vg.GPA + vg.MEMORY - 63, 64))),
    "a buffer that wraps": ("ring-buffer", chain((2**64 - 32, 64))),
    "4 GiB": ("ring-buffer", chain((None, 0xFFFFFFFF, NEXT, 0))),
    "an indirect table unasked for": ("ring-indirect-off", chain((None, 16, vg.DESC_INDIRECT))),
    # descriptors
    "a pipe to kick": ("ring-kick", kick(pipe_end)),
    "a file to kick": ("ring-kick", kick(lambda evil: os.open("/proc/self/exe", os.O_RDONLY))),
    "memory to kick": ("ring-kick", kick(lambda evil: os.dup(evil.memfd))),
    "a pipe as memory": ("mem-fd-type", opened(pipe_end)),
    "a directory as memory": ("mem-fd-type", opened(lambda evil: os.open("/", os.O_RDONLY))),
    "a path as memory": ("mem-fd-type", opened(lambda evil: os.open("/", os.O_PATH))),
    "a device as memory": ("mem-fd-type", opened(lambda evil: os.open("/dev/zero", os.O_RDWR))),
    "an eventfd as memory": ("mem-fd-type", opened(lambda evil: os.dup(evil.rings[0].kick))),
    "memory to be read only":
        ("mem-map", opened(lambda evil: os.open(f"/proc/self/fd/{evil.memfd}", os.O_RDONLY))),
    # memory
    "memory beyond its file": ("mem-fd-size", lambda evil: show(evil, table(region(size=vg.MEMORY + PAGE)))),
    "memory misaligned": ("mem-align", lambda evil: show(evil, table(region(gpa=vg.GPA + 1)))),
    "memory that wraps": ("mem-wrap", lambda evil: show(evil, table(region(gpa=2**64 - PAGE)))),
    "memory twice": ("mem-overlap", lambda evil: show(evil, table(region(), region()), [evil.memfd] * 2)),
    "memory shrunk under traffic": ("mem-gone", shrunk),
    "memory that no longer has its rings":
        ("ring-address", lambda evil: show(evil, table(region(user=vg.USER + (1 << 32))))),
}


@pytest.mark.parametrize("case", CASES)
def test_costs_its_own_port_only(stage, case):
    """A named reason, once; frames pass meanwhile and after; the next session works."""
    reason, act = CASES[case]
    evil = stage.somebody(sealed=case != "memory shrunk under traffic")
    before = stage.faults()
    act(evil)
    stage.frame_passes()
    wait_for(lambda: stage.faults() != before, what=f"{reason} to be counted")
    assert stage.faults() == {**before, reason: before.get(reason, 0) + 1}
    back = stage.somebody()
    data = frame(2, 3, os.urandom(50))
    back.send(data)
    while (got := stage.honest[1].receive()) and got[1] != data:
        pass
    assert got
    stage.nobody()


LIVES_ON = {
    "a kick storm": lambda evil: [evil.rings[i & 1].notify() for i in range(20000)],
    "a kick full to the brim": lambda evil: os.eventfd_write(evil.rings[1].kick, 2**64 - 2),
    "a kick that blocks": lambda evil: (os.set_blocking(evil.rings[1].kick, True), evil.rings[1].notify()),
    "a call full to the brim": lambda evil: os.eventfd_write(evil.rings[1].call, 2**64 - 2),
    "memory hole-punched":
        lambda evil: peers.punch_hole(evil.memfd, vg.RX_BUFFERS, vg.MEMORY - vg.RX_BUFFERS),
    "memory to be written no more": lambda evil: peers.seal_future_writes(evil.memfd),
    "memory replaced by the same": lambda evil: show(evil, table(region())),
    "a running ring moved to itself": place,
}


@pytest.mark.parametrize("case", LIVES_ON)
def test_is_lived_with(stage, case):
    """What breaks no rule, or harms nobody, ends nothing: the session goes on."""
    evil = stage.somebody(sealed=False)
    before = stage.faults()
    LIVES_ON[case](evil)
    for _ in range(3):
        stage.frame_passes()
    data = frame(2, 3, os.urandom(50))
    evil.send(data, kick=case != "a kick full to the brim")  # an lcore looks by itself, too
    while (got := stage.honest[1].receive()) and got[1] != data:
        pass
    assert got and stage.faults() == before
    stage.nobody()


def test_call_that_blocks(stage):
    """It holds its lcore up for a moment, once: the next session has to wait, and then works."""
    evil = stage.somebody()
    before = stage.faults()
    os.eventfd_write(evil.rings[0].call, 2**64 - 2)
    os.set_blocking(evil.rings[0].call, True)
    stage.honest[0].send(frame(None, 1, b"to all" * 20))
    wait_for(lambda: stage.faults() == {**before, "ring-blocked": 1}, what="the fault")
    stage.frame_passes()
    evil.socket.close()
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(stage.path)
        early.sendall(struct.pack("<III", vg.GET_FEATURES, 1, 0))
        # It is told later, however late this looks.
        assert not select.select([early], [], [], 0.2)[0]
    back = stage.somebody()
    back.send(frame(2, 3, b"better now" * 10))
    back.wait_sent()
    stage.nobody()


@pytest.mark.parametrize("use", ["memory", "kick"])
def test_file_system_that_stalls(stage, tmp_path, use):
    """A FUSE file whose server answers nothing: asked nothing, and closed where nobody waits for it."""
    files = StallingFs(tmp_path)
    try:
        fd = os.open(files.path, os.O_RDWR)
        files.stalled = True
        evil = stage.somebody()
        before = stage.faults()
        if use == "memory":
            show(evil, table(region()), [fd])
        else:
            evil.message(vg.SET_VRING_KICK, u64(1), [fd])
        wait_for(lambda: stage.faults() != before, what="the fault")
        reason = {"memory": "mem-fd-type", "kick": "ring-kick"}[use]
        assert stage.faults() == {**before, reason: before.get(reason, 0) + 1}
        stage.frame_passes()
        wait_for(lambda: files.unanswered, what="the switch to close it")
        assert [operation for operation, _ in files.unanswered] == [FLUSH] != [STATFS]
        # The port is taken until then; what comes waits.
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(stage.path)
            early.sendall(struct.pack("<III", vg.GET_FEATURES, 1, 0))
            assert not select.select([early], [], [], 0.2)[0]
    finally:
        files.close()
    os_close_ignoring_abort(fd)
    stage.somebody()
    stage.nobody()


def os_close_ignoring_abort(fd):
    """Its file system is gone."""
    try:
        os.close(fd)
    except OSError:
        pass


def test_connects_while_taken(stage):
    """More than the socket's queue holds, and each of them is served in its turn or gone."""
    stage.somebody()
    waiting = []
    for _ in range(100):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        waiting.append(sock)
        try:
            sock.connect(stage.path)
        except BlockingIOError:
            break
    else:
        pytest.fail("the queue has no end")
    stage.frame_passes()
    for sock in waiting:
        sock.close()
    stage.nobody()
    stage.somebody()
    stage.nobody()
