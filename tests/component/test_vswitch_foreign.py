"""Foreign front ends on our switch: DPDK's virtio-user in testpmd, and QEMU."""

import os
import shutil
import socket
import struct
import subprocess
import time

import pytest

import vhost_guest as vg
from switch_rig import ETHERTYPE, Switch, Testpmd, frame, run, wait_for

EVENT_IDX, MRG_RXBUF = 1 << 29, 1 << 15


@pytest.fixture(name="switches")
def fixture_switches(tmp_path):
    """switches(arguments...) starts one; its books must balance at the end."""
    made = []

    def make(*args):
        made.append(Switch(tmp_path, *args))
        return made[-1]

    yield make
    for switch in made:
        if switch.process.poll() is None:
            switch.check_books()
        switch.stop()


@pytest.fixture(name="switch")
def fixture_switch(switches):
    """One without arguments."""
    return switches()


@pytest.fixture(name="testpmds")
def fixture_testpmds():
    """testpmds(...) starts one; they are gone at the end."""
    made = []

    def make(*args, **more):
        made.append(Testpmd(*args, **more))
        return made[-1]

    yield make
    for testpmd in made:
        if testpmd.process.poll() is None:
            testpmd.kill()


def add_testpmd(switch, testpmds, name, station, peer, **more):
    """A port and a testpmd on it. Its memory is not sealed: that must be allowed."""
    path = switch.add_vhost(name, allow_unsealed=True)
    testpmd = testpmds(name, path, station, peer, **more)
    switch.wait_rings(name, 2)
    return testpmd


@pytest.mark.parametrize("devargs", ["", ",mrg_rxbuf=0,in_order=0", ",queue_size=1024,vectorized=1"])
def test_every_frame_is_accounted_for(switch, testpmds, devargs):
    """One sends as fast as it can, one receives: sent = received + the switch's named drops."""
    a = add_testpmd(switch, testpmds, "a", 1, 2, devargs=devargs)
    b = add_testpmd(switch, testpmds, "b", 2, 1, devargs=devargs)
    b.do("set fwd rxonly", "start")
    a.do("set fwd txonly", "start")
    wait_for(lambda: switch.counters("b")["tx_frames"] > 20000, 60, "frames")
    a.do("stop")
    sent = a.statistics()[1]
    wait_for(lambda: switch.counters("a")["rx_frames"] == sent, what="the last frames")
    counters = switch.counters("b")
    wait_for(lambda: b.statistics()[0] == counters["tx_frames"], what="the receiver")
    assert counters["tx_frames"] + sum(counters["drops"].values()) == sent
    assert set(counters["drops"]) <= {"full"}
    assert switch.counters("a")["drops"] == {}
    b.do("stop")
    a.quit()
    b.quit()
    switch.wait_link("a", "down")


def test_a_burst_bounces_for_ever(switch, testpmds):
    """32 frames sent back and forth: none gets lost, however often."""
    a = add_testpmd(switch, testpmds, "a", 1, 2)
    b = add_testpmd(switch, testpmds, "b", 2, 1)
    a.do("set fwd macswap", "start")
    b.do("set fwd macswap", "start tx_first 1")
    wait_for(lambda: switch.counters("a")["rx_frames"] > 5000, 60, "frames")
    for testpmd in (a, b):
        testpmd.do("stop")
    wait_for(lambda: switch.counters("a") == switch.counters("a"), what="rest")
    assert switch.counters("a")["drops"] == switch.counters("b")["drops"] == {}
    total = switch.check_books()
    assert total["rx_frames"] == total["tx_frames"] and total["copies"] <= 64


def test_queue_pairs(switch, testpmds):
    """Many flows use all queues of the receiver."""
    path = switch.add_vhost("b", allow_unsealed=True, queue_pairs=2)
    b = testpmds("b", path, 2, 1, devargs=",queues=2", args=["--rxq=2", "--txq=2"])
    switch.wait_rings("b", 4)
    a = add_testpmd(switch, testpmds, "a", 1, 2, args=["--txonly-multi-flow"])
    b.do("set fwd rxonly", "start")
    a.do("set fwd txonly", "start")
    wait_for(lambda: switch.counters("b")["tx_frames"] > 5000, 60, "frames")
    a.do("stop")
    queues = b.extended(r"rx_q\d_good_packets")
    assert len(queues) == 2 and all(n > 500 for n in queues.values())


def test_client_port(switch, testpmds, tmp_path):
    """The switch connects to a testpmd that serves the socket, and again after it was restarted."""
    path = str(tmp_path / "served.sock")
    switch.call("port.add", id="b", type="vhost-user", socket=path, role="client",
                allow_unsealed=True)
    a = add_testpmd(switch, testpmds, "a", 1, 2)
    for turn in range(2):
        b = testpmds(f"b{turn}", path, 2, 1, devargs=",server=1")
        switch.wait_rings("b", 2)
        before = switch.counters("b")["tx_frames"]
        b.do("set fwd rxonly", "start")
        a.do("set fwd txonly", "start")
        wait_for(lambda start=before: switch.counters("b")["tx_frames"] > start + 1000, 60, "frames")
        a.do("stop")
        b.kill()
        os.unlink(path)
        switch.wait_link("b", "down")


def test_killed_under_traffic(switch, testpmds):
    """kill -9 of a sender and of a receiver at full load: others go on, and they may come back."""
    b = add_testpmd(switch, testpmds, "b", 2, 1)
    b.do("set fwd rxonly", "start")
    quiet = vg.Guest(switch.add_vhost("quiet"))
    watch = vg.Guest(switch.add_vhost("watch"))
    switch.wait_rings("watch", 2)
    switch.add_vhost("a", allow_unsealed=True)
    for turn in range(2):
        a = testpmds(f"a{turn}", str(switch.directory / "a.sock"), 1, 2)
        before = switch.counters("b")["tx_frames"]
        a.do("set fwd txonly", "start")
        wait_for(lambda start=before: switch.counters("b")["tx_frames"] > start + 1000, 60, "frames")
        if turn == 1:
            b.kill()
            switch.wait_link("b", "down")
            wait_for(lambda: "down" in switch.counters("b")["drops"], what="drops")
        a.kill()
        switch.wait_link("a", "down")
        watch.receive_all(1000, seconds=0.2)  # what was flooded meanwhile: b never says a word
        quiet.send(frame(None, 9, b"still here" * 9))
        assert watch.receive()[1] == frame(None, 9, b"still here" * 9)
        switch.check_books()
    assert switch.port("a")["faults"] == {"hangup": 2}
    quiet.close()
    watch.close()


def test_qemu(switch, tmp_path):
    """QEMU's virtio-net with iPXE for a guest: its DHCP requests reach another port."""
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu, "qemu-system-x86 is missing; packages.list names it"
    ear = vg.Guest(switch.add_vhost("ear"))
    path = switch.add_vhost("q", queue_pairs=2)
    words = [qemu, "-accel", "tcg", "-M", "q35", "-m", "64", "-nodefaults", "-nographic", "-boot", "n",
             "-object", "memory-backend-memfd,id=m,size=64M,share=on", "-numa", "node,memdev=m",
             "-chardev", f"socket,id=c,path={path}", "-netdev", "vhost-user,id=n,chardev=c,queues=2",
             "-device", "virtio-net-pci,netdev=n,mq=on,mac=02:00:00:00:00:07"]
    with open(tmp_path / "qemu.log", "wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 90
        heard = None
        while heard is None and time.monotonic() < end:
            assert process.poll() is None, (tmp_path / "qemu.log").read_text()
            got = ear.receive(seconds=1)
            if got and got[1][12:14] == b"\x08\x00" and got[1][23] == 17:
                heard = got[1]
        assert heard and heard[6:12] == bytes([2, 0, 0, 0, 0, 7])
        assert heard[34:38] == b"\x00\x44\x00\x43"  # DHCP, from client to server
        assert switch.port("q")["link"] == "up"
    finally:
        process.kill()
        process.wait()
    switch.wait_link("q", "down")
    ear.close()


def test_pcap_device(switches, tmp_path):
    """Frames of a capture file come in, those sent go to another one."""
    frames = [frame(None, 9, bytes([n]) * (46 + n)) for n in range(100)]
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    records = b"".join(struct.pack("<IIII", 0, 0, len(f), len(f)) + f for f in frames)
    (tmp_path / "in.pcap").write_bytes(head + records)
    (tmp_path / "none.pcap").write_bytes(head)
    switch = switches(
        "--uplink", f"q=net_pcap1,rx_pcap={tmp_path}/none.pcap,tx_pcap={tmp_path}/all.pcap",
        "--uplink", f"p=net_pcap0,rx_pcap={tmp_path}/in.pcap,tx_pcap={tmp_path}/out.pcap")
    wait_for(lambda: switch.counters("q")["tx_frames"] == len(frames), what="the frames")
    guest = vg.Guest(switch.add_vhost("g"))
    switch.wait_rings("g", 2)
    answer = frame(9, 1, b"answer" * 100)
    guest.send(answer)
    guest.wait_sent()
    assert switch.counters("p")["tx_frames"] == 1
    guest.close()
    switch.check_books()
    switch.stop()
    written = (tmp_path / "out.pcap").read_bytes()
    assert written[40:] == answer
    written = (tmp_path / "all.pcap").read_bytes()[24:]
    for sent in frames:
        assert written[16:16 + len(sent)] == sent
        written = written[16 + len(sent):]
    assert not written


def test_packet_socket_device(switches):
    """net_af_packet on one end of a veth pair, we on the other."""
    names = [f"vsp{i}-{os.getpid() % 10000}" for i in range(2)]
    run("ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1])
    try:
        for name in names:
            run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
            run("ip", "link", "set", name, "up")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE)) as wire:
            wire.settimeout(10)
            wire.bind((names[1], ETHERTYPE))
            switch = switches("--uplink", f"w=net_af_packet0,iface={names[0]}")
            guest = vg.Guest(switch.add_vhost("g"))
            switch.wait_rings("g", 2)
            hello, answer = frame(None, 9, b"hello" * 20), frame(9, 1, b"answer" * 100)
            wire.send(hello)
            assert guest.receive()[1] == hello
            guest.send(answer)
            assert wire.recv(2000) == answer
        guest.close()
        switch.stop()
    finally:
        run("ip", "link", "del", names[0])


def test_rte_vhost_device(switches, testpmds, tmp_path):
    """DPDK's own vhost library as an ordinary device, for comparison."""
    path = str(tmp_path / "rte.sock")
    switch = switches("--uplink", f"r=eth_vhost0,iface={path}")
    guest = vg.Guest(switch.add_vhost("g"))
    switch.wait_rings("g", 2)
    peer = testpmds("r", path, 1, 2)
    switch.wait_link("r")
    peer.do("set fwd macswap", "start")
    hello = frame(1, 9, b"hello" * 20)
    guest.send(hello)
    assert guest.receive()[1] == frame(9, 1, b"hello" * 20)
    peer.quit()
    guest.close()
