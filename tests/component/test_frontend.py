"""Our front end against back ends: DPDK's vhost PMD, Open vSwitch, and our own switch."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

BUILD = pathlib.Path(os.environ["BUILD_DIR"])
GUEST = BUILD / "tests/component/frontend_guest"
VSWITCH = BUILD / "vswitch/vswitch"
OVS_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
OVS_VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"


class Guest:
    """frontend_guest: two drivers, whose frames must come out at the other."""

    def __init__(self, *sockets):
        self.process = subprocess.Popen([GUEST, *map(str, sockets)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def do(self, command):
        """One command; the answer."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "frontend_guest went away"
        return json.loads(line)

    def link(self, state):
        """Waits for both links."""
        answer = self.do(state)
        assert answer["reached"], answer
        return answer

    def ready(self):
        """Links up, and the back end forwards."""
        self.link("up")
        answer = self.do("probe")
        assert all(answer["probes"]), answer

    def exchange(self, count, size):
        """Frames each way: all arrive, in order and intact."""
        answer = self.do(f"exchange {count} {size}")
        assert answer["received"] == [count, count], answer
        assert answer["corrupt"] == 0 and answer["faults"] == 0, answer
        assert all(answer["interrupts"]), answer

    def finish(self):
        """It must leave cleanly."""
        self.process.communicate("quit\n", timeout=30)
        assert self.process.returncode == 0


def wait_for(condition, what, seconds=60):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"timed out: {what}"
        time.sleep(0.05)


def stop(process, how=signal.SIGTERM):
    """Ends a process we started."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def prefix(path):
    """A DPDK process's own."""
    return f"{path.name}-{os.getpid()}"


class Testpmd:
    """Two vhost ports, forwarding each to the other."""

    __test__ = False

    def __init__(self, path, role, queues=1):
        self.path = path
        self.sockets = [path / "a", path / "b"]
        self.client = role == "client"
        self.queues = queues
        self.start()

    def start(self):
        """A fresh process on the same sockets."""
        words = ["dpdk-testpmd", "--lcores", "0@0,1@1", "--no-pci", "--no-huge", "--no-shconf", "-m", "256",
                 "--no-telemetry", "--file-prefix", prefix(self.path)]
        for i, name in enumerate(self.sockets):
            words += ["--vdev", f"net_vhost{i},iface={name},queues={self.queues},client={int(self.client)}"]
        words += ["--", "-i", "--no-mlockall", "--total-num-mbufs=8192", "--auto-start", "--forward-mode=io",
                  f"--rxq={self.queues}", f"--txq={self.queues}"]
        if not self.client:
            for name in self.sockets:
                name.unlink(missing_ok=True)
        with open(self.path / "testpmd.log", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
        if not self.client:
            wait_for(lambda: all(name.exists() for name in self.sockets), "testpmd")

    def where(self):
        """Arguments for the guest."""
        return [f"listen:{name}" if self.client else name for name in self.sockets]

    def kill(self):
        """As a crash would."""
        stop(self.process, signal.SIGKILL)

    close = kill


class OpenVswitch:
    """A bridge on the userspace datapath with two vhost-user ports; a database and sockets of its own."""

    def __init__(self, path, role):
        self.path = path
        self.client = role == "client"
        self.sockets = [path / "a", path / "b"]
        self.env = dict(os.environ, OVS_RUNDIR=str(path), OVS_LOGDIR=str(path), OVS_DBDIR=str(path))
        self.process = self.database = None
        try:
            self.set_up()
        except BaseException:
            self.close()
            raise

    def set_up(self):
        """The database, the bridge, its ports."""
        path = self.path
        subprocess.run(["ovsdb-tool", "create", path / "conf.db", OVS_SCHEMA], check=True)
        self.database = subprocess.Popen(
            ["ovsdb-server", path / "conf.db", f"--remote=punix:{path}/db.sock",
             f"--unixctl={path}/db.ctl"], env=self.env, stderr=subprocess.DEVNULL)
        wait_for((path / "db.sock").exists, "ovsdb-server")
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   "other_config:dpdk-extra=--no-huge --legacy-mem --no-shconf --no-pci --no-telemetry -m 512"
                   f" --file-prefix {prefix(path)}",
                   "other_config:pmd-cpu-mask=2", "other_config:dpdk-lcore-mask=1",
                   "other_config:per-port-memory=true")
        self.start()
        bridge = f"br{os.getpid()}"  # the name of a tap, which others may have too
        self.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
        for name in self.sockets:
            kind = "dpdkvhostuserclient" if self.client else "dpdkvhostuser"
            options = [f"options:vhost-server-path={name}"] if self.client else []
            self.vsctl("add-port", bridge, name.name, "--", "set", "Interface", name.name, f"type={kind}", *options)

    def vsctl(self, *words):
        """ovs-vsctl on our database."""
        subprocess.run(["ovs-vsctl", f"--db=unix:{self.path}/db.sock", "--retry", "--timeout=60", *words],
                       check=True, env=self.env)

    def start(self):
        """ovs-vswitchd on the database as it is."""
        if not self.client:
            for name in self.sockets:
                name.unlink(missing_ok=True)
        with open(self.path / "vswitchd.log", "ab") as log:
            self.process = subprocess.Popen(
                [OVS_VSWITCHD, f"unix:{self.path}/db.sock", f"--unixctl={self.path}/vs.ctl"],
                env=self.env, stdout=log, stderr=log)

    def where(self):
        """Arguments for the guest."""
        return [f"listen:{name}" if self.client else name for name in self.sockets]

    def kill(self):
        """As a crash would."""
        stop(self.process, signal.SIGKILL)

    def close(self):
        """All of it."""
        for process in (self.process, self.database):
            if process:
                stop(process)


class OurSwitch:
    """vswitch with two vhost-user ports."""

    def __init__(self, path, role):
        self.path = path
        self.role = role
        self.sockets = [path / "a", path / "b"]
        self.start()

    def listens(self):
        """Bound is not yet listening."""
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.path / "control")) == 0

    def call(self, method, **params):
        """One JSON-RPC request."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.path / "control"))
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(sock.makefile().readline())
        assert "result" in answer, answer
        return answer["result"]

    def start(self):
        """A fresh switch with the same ports."""
        (self.path / "control").unlink(missing_ok=True)
        with open(self.path / "vswitch.log", "ab") as log:
            self.process = subprocess.Popen(
                [VSWITCH, "--control", self.path / "control", "--lcores", "1", "--",
                 "--no-huge", "--no-shconf", "-m", "256", "--no-pci", "--file-prefix", prefix(self.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # DPDK keeps until exit what it allocates: not ours to report.
                env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
        wait_for(self.listens, "vswitch")
        for name in self.sockets:
            self.call("port.add", id=name.name, type="vhost-user", socket=str(name), role=self.role)

    def where(self):
        """Arguments for the guest."""
        return [f"listen:{name}" if self.role == "client" else name for name in self.sockets]

    def kill(self):
        """As a crash would."""
        stop(self.process, signal.SIGKILL)

    def close(self):
        """SIGTERM must do."""
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0


BACKENDS = {"testpmd": Testpmd, "ovs": OpenVswitch, "vswitch": OurSwitch}


@pytest.fixture(name="both", params=[(name, role) for name in BACKENDS for role in ("server", "client")],
                ids=lambda param: "-".join(param))
def both_fixture(request, tmp_path):
    name, role = request.param
    guest = backend = None
    try:
        if role == "client":  # the back end connects to us: be there first, or later, as it comes
            guest = Guest(f"listen:{tmp_path}/a", f"listen:{tmp_path}/b")
        backend = BACKENDS[name](tmp_path, role)
        guest = guest or Guest(*backend.where())
        yield guest, backend
        guest.finish()
    finally:
        if guest:
            stop(guest.process)
        if backend:
            backend.close()


def test_frames_and_restarts(both):
    """Frames both ways; through a pause, a driver that starts over, and a back end killed and started again."""
    guest, backend = both
    guest.ready()
    for size in (60, 1000, 1514):
        guest.exchange(2000, size)
    assert guest.do("pause")["losses"] == [0, 0]
    guest.ready()
    guest.exchange(2000, 600)
    guest.do("reset")
    guest.ready()
    guest.exchange(2000, 600)
    for _ in range(2):
        backend.kill()
        assert all(guest.link("down")["reasons"])
        backend.start()
        guest.ready()
        guest.exchange(2000, 600)


def test_the_guest_does_not_need_the_back_end_to_start(tmp_path):
    """Drivers come up, the links stay down; they rise when the back end appears."""
    guest = Guest(tmp_path / "a", tmp_path / "b")
    backend = None
    try:
        assert "cannot connect" in guest.link("down")["reasons"][0]
        backend = OurSwitch(tmp_path, "server")
        guest.ready()
        guest.exchange(500, 100)
        guest.finish()
    finally:
        stop(guest.process)
        if backend:
            backend.close()
