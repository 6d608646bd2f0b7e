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


def run_pmd(path, prefix, script, vdev="", eal=(), fails=False):
    """Runs testpmd on one virtio-user port with the given commands; its output."""
    command = ["dpdk-testpmd", "--no-pci", "--no-telemetry", f"--file-prefix={prefix}", "-l", "0,1", *eal,
               f"--vdev=net_virtio_user0,path={path}{vdev}",
               "--", "-i", "--total-num-mbufs=4096", "--port-topology=loop"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    try:
        for step in script:
            if isinstance(step, (int, float)):
                time.sleep(step)
            else:
                process.stdin.write(step + "\n")
                process.stdin.flush()
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(f"/var/run/dpdk/{prefix}", ignore_errors=True)
    assert (process.returncode != 0) == fails, out
    return out


def totals(out):
    """Frames received and sent by the port, of each run."""
    return [tuple(map(int, found)) for found in LINE.findall(out)]


MEMORY = ("--no-huge", "-m", "256")
RUN = ["set fwd io", "start tx_first 2", 1, "stop"]


@pytest.mark.parametrize("vdev", ["", ",mrg_rxbuf=0,in_order=0", ",queue_size=64", ",queues=2"])
def test_frames_come_back(echo, tmp_path, vdev):
    """Frames go round and round until stopped; testpmd sends on what it received."""
    peer = echo("unsealed")
    out = run_pmd(peer.path, tmp_path.name, [*RUN, "quit"], vdev, MEMORY)
    (received, sent), *_ = totals(out)
    counts = peer.finish()
    assert received > 1000, out
    # What was in the rings when it stopped is all that may be missing.
    assert sent - 512 <= received <= sent, out
    assert counts["frames"] >= received
    assert counts["faults"] == {"hangup": 1}


def test_a_port_may_stop_and_start(echo, tmp_path):
    """On the same connection."""
    peer = echo("unsealed")
    out = run_pmd(peer.path, tmp_path.name,
                  [*RUN, "port stop 0", "port start 0", *RUN, "quit"], "", MEMORY)
    runs = totals(out)
    assert len(runs) >= 2 and all(received > 1000 for received, _ in runs), out
    counts = peer.finish()
    assert counts["faults"] == {"hangup": 1}


def test_memory_that_can_shrink_is_refused(echo, tmp_path):
    """virtio-user's memory is not sealed: without the permission it gets nowhere."""
    peer = echo()
    out = run_pmd(peer.path, tmp_path.name, [], "", MEMORY, fails=True)
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
        while b"(qemu)" not in sock.recv(4096):
            pass
        # The second prompt comes when the command has been done.
        while b"(qemu)" not in sock.recv(4096):
            pass


def wait_for(condition, what):
    """Until it holds, for a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_qemu_boots_from_the_network(echo, tmp_path):
    """iPXE sends DHCP requests through rings in sealed memory; a reset stops the rings and starts them again."""
    peer = echo()
    qemu = subprocess.Popen([
        "qemu-system-x86_64", "-M", "q35,memory-backend=m", "-accel", "tcg", "-m", "64", "-display", "none",
        "-nodefaults", "-object", "memory-backend-memfd,id=m,size=64M,share=on",
        "-chardev", f"socket,id=c,path={peer.path}", "-netdev", "vhost-user,id=n,chardev=c",
        "-device", "virtio-net-pci,netdev=n,disable-legacy=on,bootindex=1",
        "-monitor", f"unix:{tmp_path}/mon,server,nowait"])
    try:
        wait_for(lambda: peer.count("frames") >= 2, "no frame")
        before = peer.count("starts")
        assert before >= 2
        monitor(tmp_path / "mon", "system_reset")
        wait_for(lambda: peer.count("starts") >= before + 2, "rings did not start again")
        frames = peer.count("frames")
        wait_for(lambda: peer.count("frames") > frames, "no frame after the reset")
    finally:
        qemu.terminate()
        qemu.wait(timeout=20)
    assert peer.finish()["faults"] == {"hangup": 1}
