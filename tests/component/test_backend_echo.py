"""Foreign front ends against our back end: DPDK's virtio-user, and QEMU with a network boot ROM as its guest."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

ECHO = pathlib.Path(os.environ["BUILD_DIR"]) / "tests/component/backend_echo"
LINE = re.compile(r"RX-packets: (\d+).*?TX-packets: (\d+)", re.S)


class Echo:
    """backend_echo on a socket of its own."""

    def __init__(self, path, *options):
        self.path = path
        self.process = subprocess.Popen([ECHO, path, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listening\n"

    def count(self, name):
        """A count as it stands."""
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())[name]

    def finish(self):
        """Ends it; what it counted."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return json.loads(out)


@pytest.fixture(name="echo")
def echo_fixture(tmp_path):
    started = []

    def start(*options):
        started.append(Echo(tmp_path / "sock", *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def run_pmd(path, prefix, script, vdev="", eal=(), refused=False):
    """Runs testpmd on one virtio-user port with the given commands, and conditions to wait for; its output.

    Of a port that the back end refused, testpmd's exit status tells nothing: it ends by either, as its
    own tidying races with its interrupt thread.
    """
    command = ["dpdk-testpmd", "--no-pci", "--no-telemetry", f"--file-prefix={prefix}", "-l", "0,1", *eal,
               f"--vdev=net_virtio_user0,path={path}{vdev}",
               "--", "-i", "--total-num-mbufs=4096", "--port-topology=loop"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    try:
        for step in script:
            if callable(step):
                wait_for(step, "no traffic")
            else:
                process.stdin.write(step + "\n")
                process.stdin.flush()
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(f"/var/run/dpdk/{prefix}", ignore_errors=True)
    assert refused or process.returncode == 0, out
    return out


def totals(out):
    """Frames received and sent by the port, of each run."""
    return [tuple(map(int, found)) for found in LINE.findall(out)]


MEMORY = ("--no-huge", "-m", "256")


def run_until(peer, frames):
    """The commands that send frames round and round until the peer has seen so many in all."""
    return ["set fwd io", "start tx_first 2", lambda: peer.count("frames") >= frames, "stop"]


def wait_for(condition, what):
    """Until it holds, for a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)



@pytest.mark.parametrize("vdev", ["", ",mrg_rxbuf=0,in_order=0", ",queue_size=64", ",queues=2"])
def test_frames_come_back(echo, tmp_path, vdev):
    """Frames go round and round until stopped; testpmd sends on what it received."""
    peer = echo("unsealed")
    out = run_pmd(peer.path, tmp_path.name, [*run_until(peer, 3000), "quit"], vdev, MEMORY)
    (received, sent), *_ = totals(out)
    counts = peer.finish()
    assert received > 1000, out
    # What was in the rings when it stopped is all that may be missing.
    assert sent - 512 <= received <= sent, out
    assert counts["frames"] >= received
    assert counts["faults"] == {"hangup": 1}


def test_it_connects_to_a_serving_front_end(echo, tmp_path):
    """virtio-user serves, and starts after us."""
    peer = echo("unsealed", "client")
    time.sleep(0.2)
    out = run_pmd(peer.path, tmp_path.name, [*run_until(peer, 3000), "quit"], ",server=1", MEMORY)
    (received, _), *_ = totals(out)
    assert received > 1000, out
    assert peer.finish()["faults"] == {"hangup": 1}


def test_a_port_may_stop_and_start(echo, tmp_path):
    """On the same connection."""
    peer = echo("unsealed")
    stopped = []

    def more():
        """Frames since the second start; what is still under way of the first run counts little."""
        stopped[:] = stopped or [peer.count("frames")]
        return peer.count("frames") >= stopped[0] + 3000

    out = run_pmd(peer.path, tmp_path.name,
                  [*run_until(peer, 3000), "port stop 0", "port start 0", "start tx_first 2", more, "stop", "quit"],
                  "", MEMORY)
    runs = totals(out)
    assert len(runs) >= 2 and all(received > 0 for received, _ in runs), out
    counts = peer.finish()
    assert counts["faults"] == {"hangup": 1}


def test_memory_that_can_shrink_is_refused(echo, tmp_path):
    """virtio-user's memory is not sealed: without the permission it gets nowhere."""
    peer = echo()
    out = run_pmd(peer.path, tmp_path.name, [], "", MEMORY, refused=True)
    counts = peer.finish()
    assert "replied NACK to request type (5)" in out
    assert counts["starts"] == 0
    assert counts["faults"] == {"mem-fd-seals": 1}


def monitor(path, command):
    """One command to QEMU's monitor."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        heard = b""
        # The second prompt comes when the command has been done.
        while heard.count(b"(qemu)") < 2:
            heard += sock.recv(4096)


@pytest.fixture(name="qemu")
def qemu_fixture(tmp_path):
    """QEMU with nothing but a network card to boot from: iPXE sends DHCP requests through sealed memory."""
    started = []

    def start(path):
        started.append(subprocess.Popen([
            "qemu-system-x86_64", "-M", "q35,memory-backend=m", "-accel", "tcg", "-m", "64", "-display", "none",
            "-nodefaults", "-object", "memory-backend-memfd,id=m,size=64M,share=on",
            "-chardev", f"socket,id=c,path={path},reconnect-ms=200", "-netdev", "vhost-user,id=n,chardev=c",
            "-device", "virtio-net-pci,netdev=n,disable-legacy=on,bootindex=1",
            "-monitor", f"unix:{tmp_path}/mon,server,nowait"]))
        return tmp_path / "mon"

    yield start
    for each in started:
        each.kill()
        each.wait()


def test_qemu_may_reset_its_guest(echo, qemu):
    """A reset stops the rings and starts them again, in one session."""
    peer = echo()
    mon = qemu(peer.path)
    wait_for(lambda: peer.count("frames") >= 2, "no frame")
    before = peer.count("starts")
    assert before >= 2
    monitor(mon, "system_reset")
    wait_for(lambda: peer.count("starts") >= before + 2, "rings did not start again")
    frames = peer.count("frames")
    wait_for(lambda: peer.count("frames") > frames, "no frame after the reset")
    assert peer.finish()["faults"] == {}


def test_qemu_goes_on_when_we_are_killed(echo, qemu):
    """The next back end replaces the socket and finds the rings' positions in the guest's memory."""
    peer = echo()
    qemu(peer.path)
    wait_for(lambda: peer.count("frames") >= 1, "no frame")
    peer.process.kill()
    peer.process.wait()
    peer = echo()
    wait_for(lambda: peer.count("frames") >= 1, "no frame after the restart")
    assert peer.finish()["faults"] == {}
