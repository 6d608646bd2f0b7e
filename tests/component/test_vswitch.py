"""The switch by itself: its command line and control socket, its ports, its books, its sleep."""

import os
import pathlib
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest

import vhost_guest as vg
from switch_rig import VSWITCH, Rpc, RpcError, Switch, Tap, frame, is_ours, wait_for


CPUS = sorted(os.sched_getaffinity(0))
# Two forwarding threads where there are two CPUs.
on_two_lcores = pytest.mark.parametrize(
    "switch", [["--lcores", ",".join(map(str, CPUS[:2]))]], indirect=True)


@pytest.fixture(name="switch")
def fixture_switch(tmp_path, request):
    """A switch (parameter: its arguments); its books must balance, it must leave cleanly."""
    switch = Switch(tmp_path, *getattr(request, "param", ()))
    yield switch
    if switch.process.poll() is None:
        switch.check_books()
    switch.stop()


@pytest.fixture(name="guests")
def fixture_guests(switch):
    """guests(name, features...) adds a port and a guest on it."""
    made = []

    def make(name, features=0, port=None, **more):
        path = switch.add_vhost(name, **(port or {}))
        guest = vg.Guest(path, features, **more)
        made.append(guest)
        switch.wait_rings(name, len(guest.rings))
        return guest

    yield make
    for guest in made:
        guest.close()


def run_vswitch(*args):
    """vswitch until it ends by itself."""
    return subprocess.run([VSWITCH, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


def test_help_and_bad_options():
    """--help succeeds; a mistake is one line and status 2."""
    helped = run_vswitch("--help")
    assert helped.returncode == 0 and "--control" in helped.stdout
    for args, words in (([], "--control"), (["--control", "x", "--fdb-age", "never"], "--fdb-age"),
                        (["--control", "x", "--lcores", "99999"], "99999"),
                        (["--control", "x", "--uplink", "net_tap0"], "ID=DEVARGS"),
                        (["--control", "x", "--uplink", "A=net_tap0"], "ID=DEVARGS"),
                        (["--frobnicate"], "--frobnicate")):
        result = run_vswitch(*args)
        assert result.returncode == 2
        assert words in result.stderr and result.stderr.count("\n") == 1


@pytest.fixture(name="open_path")
def fixture_open_path():
    """A directory that other users may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        os.mkdir(f"{name}/run")
        os.chown(f"{name}/run", 60998, 60998)
        yield pathlib.Path(name)


def test_inherited_socket_and_ordinary_user(open_path):
    """As vmm-launch starts it: a listening descriptor, a user without privileges, no file made."""
    path = open_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.chown(path, 60999, 60999)
        with open(open_path / "log", "wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--reuid=60998", "--regid=60998", "--clear-groups", "--no-new-privs",
                 "--bounding-set=-all", "--inh-caps=-all", VSWITCH,
                 "--control", f"fd:{listener.fileno()}"],
                pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"RUNTIME_DIRECTORY": str(open_path / "run"), "ASAN_OPTIONS": "detect_leaks=0"})
    try:
        call = Rpc(path)
        assert call("switch.info")["pid"] == process.pid
        call.close()
        # Its user was handed the socket: the owner of the file may speak, others may not.
        for user, answers in ((60999, True), (60997, False)):
            os.chmod(path, 0o666)
            said = subprocess.run(
                ["setpriv", f"--reuid={user}", "--clear-groups", "/usr/bin/python3", "-c",
                 "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(10)\n"
                 f"s.connect({str(path)!r})\n"
                 'm=b\'{"jsonrpc":"2.0","id":1,"method":"port.list"}\\n\'\n'
                 "try: s.sendall(m); print(s.recv(100).decode())\n"
                 "except ConnectionError: pass"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
            assert ('"result"' in said.stdout) == answers, said
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (open_path / "log").read_text()


def test_control_socket(switch):
    """Its mode, and an answer that names what is wrong."""
    assert stat.S_IMODE(switch.control.stat().st_mode) == 0o600
    vhost = {"id": "a", "type": "vhost-user", "socket": "/tmp/none.sock"}
    for params, field in (
            ({}, "id"), ({"id": "A"}, "id"), ({"id": "x" * 33}, "id"), ({"id": 5}, "id"),
            ({"id": "a"}, "type"), ({"id": "a", "type": "bridge"}, "type"),
            ({"id": "a", "type": "vhost-user"}, "socket"),
            ({**vhost, "socket": "/" * 200}, "socket"), ({**vhost, "role": "boss"}, "role"),
            ({**vhost, "mtu": 67}, "mtu"), ({**vhost, "mtu": "big"}, "mtu"),
            ({**vhost, "queue_pairs": 0}, "queue_pairs"), ({**vhost, "speed": 1}, "speed"),
            ({**vhost, "allow_unsealed": 1}, "allow_unsealed"),
            ({"id": "a", "type": "ethdev"}, "devargs"),
            ({"id": "a", "type": "ethdev", "devargs": "net_null0", "socket": "x"}, "socket")):
        with pytest.raises(RpcError) as error:
            switch.call("port.add", **params)
        assert error.value.code == -32602 and error.value.field == field, params
    assert switch.call("port.list") == []
    with pytest.raises(RpcError) as error:
        switch.call("port.remove", id="ghost")
    assert error.value.code == -32001
    switch.add_vhost("a")
    with pytest.raises(RpcError) as error:
        switch.add_vhost("a")
    assert error.value.code == -32002
    for devargs in ("net_tap0", "net_nonsense0", "0000:ff:1f.7", "net_pcap0,tx_pcap=x", ",,,="):
        with pytest.raises(RpcError, match="--uplink") as error:
            switch.add_ethdev("b", devargs)
        assert (error.value.code, error.value.field) == (-32003, "devargs"), devargs
    for devargs in ("net_null0,colour=red", "net_memif0,role=king"):
        with pytest.raises(RpcError) as error:
            switch.add_ethdev("b", devargs)
        assert error.value.code == -32004, devargs
    assert [port["id"] for port in switch.call("port.list")] == ["a"]


def test_socket_file_comes_and_goes(switch):
    """A served socket: mode 0660; gone with its port; a stale one is replaced, another file not."""
    path = pathlib.Path(switch.add_vhost("a"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    switch.remove("a")
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(RpcError):
        switch.add_vhost("a")
    assert path.read_text() == "precious"


def tap_names():
    """Of two devices of ours."""
    return [f"vsw{i}-{os.getpid() % 10000}" for i in range(2)]


@pytest.mark.parametrize("switch", [[word for i, name in enumerate(tap_names()) for word in (
    "--uplink", f"t{i}=net_tap{i},iface={name}")]], indirect=True)
def test_taps_forward_and_learn(switch):
    """Frames of every size, both ways, unharmed and in order; addresses where they were seen."""
    taps = [Tap(name) for name in tap_names()]
    try:
        for tap in taps:
            tap.attach()
        for source, sink, src, dst in ((0, 1, 1, 2), (1, 0, 2, 1)):
            sent = [frame(dst, src, bytes([n % 256]) * n) for n in range(46, 1501, 47)]
            for data in sent:
                taps[source].send(data)
            assert taps[sink].receive(len(sent), wanted=is_ours) == sent
        # Two at a time and then silence: none waits for another to come after it.
        for turn in range(200):
            pair = [frame(2, 1, bytes([turn, number]) * 30) for number in range(2)]
            for data in pair:
                taps[0].send(data)
            assert taps[1].receive(2, wanted=is_ours) == pair
        where = {entry["mac"]: entry["port"] for entry in switch.call("fdb.list")}
        assert where["02:00:00:00:00:01"] == "t0" and where["02:00:00:00:00:02"] == "t1"
        switch.call("fdb.flush")
        assert "02:00:00:00:00:01" not in {e["mac"] for e in switch.call("fdb.list")}
        switch.check_books()
        assert switch.port("t0")["declared"]
        with pytest.raises(RpcError) as error:
            switch.remove("t0")
        assert (error.value.code, error.value.field) == (-32003, "id")
    finally:
        for tap in taps:
            tap.close()


def test_uplink_that_is_not_there(tmp_path):
    """The switch does not start without a device it was told to have."""
    result = run_vswitch("--control", tmp_path / "s", "--uplink", "up0=net_tap0,iface=" + "x" * 99)
    assert result.returncode == 1 and "--uplink up0: device" in result.stderr, result.stderr
    result = run_vswitch("--control", tmp_path / "s", "--uplink", "u=net_null0",
                         "--uplink", "u=net_null1")
    assert result.returncode == 1 and "there already" in result.stderr


def test_walls(switch, guests):
    """With a port at work, every thread is behind a filter, the forwarding ones behind two."""
    guests("a")
    filters = {}
    for task in pathlib.Path(f"/proc/{switch.process.pid}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
                      if ":\t" in line)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, (status["Name"], kind)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status["Name"]
        filters.setdefault(status["Name"], int(status["Seccomp_filters"]))
    before = min(filters.values())  # those of whoever started us count too
    workers = [filters.pop(name) for name in list(filters) if "worker" in name]
    assert workers == [before + 1], (workers, filters)
    assert set(filters.values()) == {before} and "vswitch" in filters


def test_no_socket_but_its_own(switch):
    """Neither telemetry nor secondary processes of DPDK have one."""
    process = pathlib.Path(f"/proc/{switch.process.pid}")
    inodes = {os.readlink(fd)[8:-1] for fd in (process / "fd").iterdir()
              if os.readlink(fd).startswith("socket:")}
    bound = [line.split() for line in (process / "net/unix").read_text().splitlines()]
    assert {words[7] for words in bound if words[6] in inodes and len(words) > 7} == \
        {str(switch.control)}


def test_memif_is_plugged_in_behind_the_walls(switch, guests):
    """Two ends of a net_memif in one switch: what one sends, the other receives."""
    a = guests("a")
    path = switch.directory / "memif.sock"
    for role in ("server", "client"):
        switch.add_ethdev(role, f"net_memif{int(role == 'client')},role={role},socket={path},"
                          "socket-abstract=no")
    for role in ("server", "client"):
        switch.wait_link(role)
    a.send(frame(5, 1, b"round and round" * 4))
    wait_for(lambda: switch.counters("client")["rx_frames"], what="frames through the memif")
    switch.remove("client")  # or they would go round for ever
    switch.remove("server")


def test_the_same_device_twice(switch):
    """A device belongs to one port."""
    switch.add_ethdev("a", "net_null0,copy=1")
    with pytest.raises(RpcError) as error:
        switch.add_ethdev("b", "net_null0,copy=1")
    assert error.value.code == -32002
    assert switch.port("a")["driver"] == "net_null"


def test_guests_talk(switch, guests):
    """Unknown addresses reach all, known ones only their port, own ones nobody."""
    a, b, c = guests("a"), guests("b"), guests("c")
    hello = frame(None, 1, b"hello" * 10)
    a.send(hello)
    assert b.receive() == ((0,) * 6, hello) and c.receive()[1] == hello
    wait_for(lambda: switch.call("fdb.list"), what="learning")
    answer = frame(1, 2, b"answer" * 200)
    b.send(answer)
    assert a.receive()[1] == answer
    wait_for(lambda: len(switch.call("fdb.list")) == 2, what="learning")
    b.send(frame(2, 2, b"myself" * 10))
    b.send(b"\x01\x80\xc2\0\0\x0e" + frame(1, 2, b"lldp" * 20)[6:])
    b.wait_sent()
    counters = switch.counters("b")
    assert counters["drops"] == {"same-port": 1, "reserved-address": 1}
    assert c.receive(seconds=0.2) is None
    assert switch.counters("a")["copies"] == 1
    assert switch.counters("c")["tx_frames"] == 1
    total = switch.check_books()
    assert (total["rx_frames"], total["tx_frames"], total["copies"]) == (4, 3, 1)


@pytest.mark.parametrize("features", [0, vg.F_EVENT_IDX | vg.F_INDIRECT | vg.F_MRG_RXBUF])
def test_descriptor_layouts(guests, features):
    """Chains in pieces of any size, in the table or in an indirect one, arrive whole."""
    a, b = guests("a", features), guests("b", features)
    for length in (60, 64, 65, 100, 1514):
        data = frame(2, 1, os.urandom(length - 14))
        for cuts in ((), (0,), (1,), (14,), (59,), (length - 1,), range(0, 60, 3)):
            for indirect in (False, True) if features else (False,):
                a.send(data, cuts=cuts, indirect=indirect)
                assert b.receive()[1] == data, (length, cuts, indirect)


def test_header_in_pieces(guests):
    """Even the virtio header may be cut (VIRTIO_F_ANY_LAYOUT)."""
    a, b = guests("a"), guests("b")
    data = frame(2, 1, b"x" * 50)
    whole = a.header() + data
    addr = a.place(whole)
    ring = a.rings[1]
    ring.offer(ring.chain([(addr + i, 1) for i in range(len(whole))]))
    ring.notify()
    assert b.receive()[1] == data


def test_mergeable_buffers(guests):
    """A frame goes into as many small buffers as it needs, one after the other."""
    a, b = guests("a"), guests("b", vg.F_MRG_RXBUF, buffer_size=128)
    for length in (60, 116, 117, 1000, 1514):
        data = frame(2, 1, os.urandom(length - 14))
        for _ in range(20):
            a.send(data)
            assert b.receive()[1] == data


def test_drops_have_names(switch, guests):
    """What cannot be forwarded is counted by reason, and the ring goes on."""
    a, b = guests("a"), guests("b", buffer_size=128)
    a.send(b"\0" * 13)
    a.send(frame(2, 1, b"")[:12], header=b"\0" * 4)
    a.send(frame(2, 1, b"x" * 1505))
    a.send(frame(2, 1, b"x" * 50)[:6] + b"\x03" + frame(2, 1, b"x" * 50)[7:])
    a.send(frame(2, 1, b"x" * 50), header=a.header(flags=vg.NEEDS_CSUM, csum_start=34))
    a.send(frame(2, 1, b"x" * 500))
    good = frame(2, 1, b"x" * 60)
    a.send(good)
    assert b.receive()[1] == good
    a.wait_sent()
    assert switch.counters("a")["drops"] == {"bad-frame": 2, "too-long": 1, "bad-source": 1,
                                             "bad-offload": 1}
    assert switch.counters("b")["drops"] == {"oversize": 1}
    for _ in range(200):
        a.send(good)
    a.wait_sent()
    counters = switch.counters("b")
    assert counters["drops"]["full"] == 200 + 1 - counters["tx_frames"] > 0
    b.close()
    b.__init__(str(switch.directory / "b.sock"))  # pylint: disable=unnecessary-dunder-call
    switch.wait_rings("b", 2)
    a.send(good)
    assert b.receive()[1] == good


def test_no_peer_is_down(switch, guests):
    """A port without a peer drops, the others do not notice."""
    a, b = guests("a"), guests("b")
    switch.add_vhost("c")
    data = frame(None, 1, b"x" * 50)
    a.send(data)
    assert b.receive()[1] == data
    a.wait_sent()
    assert switch.counters("c")["drops"] == {"down": 1}


def test_mtu(switch, guests):
    """A port takes frames of up to its MTU; where they go must take them too."""
    jumbo = {"mtu": 9000}
    a, b = guests("a", port=jumbo), guests("b", vg.F_MRG_RXBUF, port=jumbo)
    guests("c", vg.F_MRG_RXBUF)
    data = frame(None, 1, b"x" * 9000)
    a.send(data)
    assert b.receive()[1] == data
    a.wait_sent()
    assert switch.counters("c")["drops"] == {"oversize": 1}


@on_two_lcores
def test_queue_pairs(switch, guests):
    """Flows spread over the rings of a port, each stays on one, in order."""
    pairs = 4
    a = guests("a", vg.F_MQ, port={"queue_pairs": pairs}, pairs=pairs)
    b = guests("b", vg.F_MQ, port={"queue_pairs": pairs}, pairs=pairs)
    sent = 0
    for flow in range(32):
        for turn in range(2):
            ip = bytes.fromhex("450000320000000040110000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
            udp = (1000 + flow).to_bytes(2, "big") + bytes.fromhex("0050001e0000") + bytes([turn])
            a.send(frame(2, 1, ip + udp + b"x" * 21, 0x0800), pair=flow % pairs)
            sent += 1
    for pair in range(pairs):
        a.wait_sent(pair)
    assert switch.counters("b")["tx_frames"] == sent, switch.counters("b")
    seen = {}
    rings = []
    for pair in range(pairs):
        frames = b.receive_all(sent, seconds=0.1, pair=pair)
        rings.append(len(frames))
        for data in frames:
            seen.setdefault(data[34:36], []).append((pair, data[42]))
    assert sum(rings) == sent and all(rings)
    assert len(seen) == 32
    for flow in seen.values():
        assert [turn for _, turn in flow] == [0, 1] and flow[0][0] == flow[1][0]
    assert switch.port("b")["queue_pairs"] == pairs


@on_two_lcores
def test_ports_come_and_go_under_traffic(switch, guests):
    """Neighbours appear, disappear and die while two guests talk: not one frame is lost."""
    a, b = guests("a"), guests("b", vg.F_EVENT_IDX)
    b.send(frame(None, 2, b"here" * 20))
    assert a.receive()
    wait_for(lambda: switch.call("fdb.list"), what="learning")
    others = []
    for turn in range(60):
        for number in range(8):
            a.send(frame(2, 1, bytes([turn, number]) * 50))
        if turn % 4 == 0:
            others.append(vg.Guest(switch.add_vhost(f"x{turn}")))
            a.send(frame(None, 1, b"to all" * 20))
        if turn % 4 == 1:
            switch.add_ethdev(f"n{turn}", f"net_null{turn},no-rx=1")
        if turn % 4 == 2:
            switch.remove(f"x{turn - 2}" if turn % 8 == 2 else f"n{turn - 1}")
        if turn % 4 == 3 and turn % 8 == 7:
            others[-1].socket.close()
        got = [data for data in b.receive_all(8 + (turn % 4 == 0)) if data[0] == 2]
        assert got == [frame(2, 1, bytes([turn, number]) * 50) for number in range(8)]
        switch.check_books()
    for other in others:
        other.close()


def test_hostile_ring_ends_only_its_session(switch, guests):
    """A chain that loops: that peer is thrown out and counted, may come back, others go on."""
    a, b = guests("a"), guests("b")
    evil = guests("evil")
    ring = evil.rings[1]
    ring.descriptor(0, vg.GPA + vg.TX_BUFFERS, 64, vg.DESC_NEXT, 1)
    ring.descriptor(1, vg.GPA + vg.TX_BUFFERS, 64, vg.DESC_NEXT, 0)
    ring.offer(0)
    ring.notify()
    assert evil.closed()
    wait_for(lambda: switch.port("evil")["faults"] == {"ring-loop": 1}, what="the fault's counter")
    good = frame(2, 1, b"still here" * 10)
    a.send(good)
    assert b.receive()[1] == good
    back = vg.Guest(str(switch.directory / "evil.sock"))
    switch.wait_rings("evil", 2)
    back.send(frame(2, 3, b"better now" * 10))
    assert b.receive()
    back.close()


def test_memory_taken_away(switch, guests):
    """Unsealed memory is refused; where it is allowed and goes away, only that peer does."""
    a, b = guests("a"), guests("b")
    path = switch.add_vhost("strict")
    try:
        vg.Guest(path, sealed=False).close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # thrown out in the middle of it
    wait_for(lambda: switch.port("strict")["faults"] == {"mem-fd-seals": 1}, what="the refusal")
    evil = guests("evil", port={"allow_unsealed": True}, sealed=False)
    evil.send(frame(2, 3, b"x" * 1000), kick=False)
    os.ftruncate(evil.memfd, vg.RX_BUFFERS)  # the rings stay, the buffers go
    evil.rings[1].notify()
    assert evil.closed()
    wait_for(lambda: switch.port("evil")["faults"] == {"mem-gone": 1}, what="the fault's counter")
    b.receive_all(10, seconds=0.2)
    a.send(frame(2, 1, b"still here" * 10))
    assert b.receive()[1] == frame(2, 1, b"still here" * 10)


def test_blocking_call_descriptor(switch, guests):
    """A peer whose eventfd blocks on write holds up its lcore for a moment only."""
    a, b = guests("a"), guests("b")
    evil = guests("evil")
    os.set_blocking(evil.rings[0].call, True)
    os.eventfd_write(evil.rings[0].call, 2**64 - 2 - evil_count(evil.rings[0].call))
    for _ in range(3):
        a.send(frame(None, 1, b"to all" * 20))
        assert b.receive(seconds=20)
    assert evil.closed(20)
    wait_for(lambda: switch.port("evil")["faults"] == {"ring-blocked": 1}, what="the fault's counter")
    a.send(frame(2, 1, b"still here" * 10))
    assert b.receive()


def evil_count(descriptor):
    """Empties an eventfd; always 0, so that it can be filled to the brim."""
    os.set_blocking(descriptor, False)
    try:
        os.eventfd_read(descriptor)
    except BlockingIOError:
        pass
    os.set_blocking(descriptor, True)
    return 0


def test_idle_sleeps(switch, guests):
    """With peers, taps and nothing to do: less than a twentieth of one CPU; and it wakes up."""
    a, b = guests("a"), guests("b", vg.F_EVENT_IDX)
    switch.add_ethdev("n", "net_null0,no-rx=1")
    a.send(frame(None, 1, b"x" * 60))
    assert b.receive()
    time.sleep(0.5)
    before, slept = switch.cpu_seconds(), switch.call("switch.info")["lcores"][0]
    time.sleep(3)
    used, info = switch.cpu_seconds() - before, switch.call("switch.info")["lcores"][0]
    assert used < 0.05 * 3, f"{used} s of CPU in 3 s of nothing"
    assert info["sleep_ns"] - slept["sleep_ns"] > 2e9
    switch.remove("n")
    # Without a device to look after it sleeps much longer, until a kick.
    slept = switch.call("switch.info")["lcores"][0]
    time.sleep(1)
    info = switch.call("switch.info")["lcores"][0]
    assert info["sleeps"] - slept["sleeps"] < 100
    a.send(frame(None, 1, b"y" * 60))
    assert b.receive()[1] == frame(None, 1, b"y" * 60)


def test_stops_under_traffic(switch, guests):
    """SIGTERM with frames in every ring: it leaves at once, with status 0 and no socket behind."""
    a = guests("a")
    guests("b")
    for _ in range(100):
        a.send(frame(2, 1, b"x" * 100))
    switch.stop()
    assert not (switch.directory / "a.sock").exists() and not switch.control.exists()
