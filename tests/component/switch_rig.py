"""What the switch's tests stand on: the switch itself, taps in network namespaces, and testpmd."""

import ctypes
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("BUILD_DIR", "build"))
VSWITCH = BUILD / "vswitch/vswitch"
CLONE_NEWNET = 0x40000000
ETHERTYPE = 0x88B5  # local experimental: no kernel answers it


class RpcError(Exception):
    """An error the switch answered with."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.field = error.get("data", {}).get("field") if error.get("data") else None


class Rpc:
    """A JSON-RPC client of a control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rwb")
        self.count = 0

    def __call__(self, method, **params):
        self.count += 1
        request = {"jsonrpc": "2.0", "id": self.count, "method": method, "params": params}
        self.file.write(json.dumps(request).encode() + b"\n")
        self.file.flush()
        answer = json.loads(self.file.readline())
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def close(self):
        """Hang up."""
        self.file.close()
        self.socket.close()


def wait_for(condition, seconds=20, what="condition"):
    """Until condition() is true; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.02)


class Switch:
    """A running vswitch."""

    def __init__(self, directory, *args, environment=None):
        self.directory = directory
        self.control = directory / "control.sock"
        self.log = directory / "vswitch.log"
        # DPDK's libraries leak by design what lives until exit; ours is covered by the unit tests.
        env = dict(environment or os.environ)
        env["ASAN_OPTIONS"] = ":".join(filter(None, (env.get("ASAN_OPTIONS"), "detect_leaks=0")))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([VSWITCH, "--control", self.control, *args], env=env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.control.exists() or self.process.poll() is not None, what="vswitch")
        self.call = wait_for(self.connect, what="control socket")

    def connect(self):
        """A client, or None when nobody listens yet."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return Rpc(self.control)
        except ConnectionRefusedError:
            return None

    def add_vhost(self, name, **more):
        """A vhost-user port; returns its socket's path."""
        path = str(self.directory / f"{name}.sock")
        self.call("port.add", id=name, type="vhost-user", socket=path, **more)
        return path

    def add_ethdev(self, name, devargs, **more):
        """An ethdev port."""
        return self.call("port.add", id=name, type="ethdev", devargs=devargs, **more)

    def remove(self, name):
        """Removes a port."""
        self.call("port.remove", id=name)

    def port(self, name):
        """One of port.list."""
        return next(port for port in self.call("port.list") if port["id"] == name)

    def counters(self, name):
        """Of a port; drops that did not happen are left out."""
        counters = self.call("port.counters", id=name)
        counters["drops"] = {why: n for why, n in counters["drops"].items() if n}
        return counters

    def wait_link(self, name, state="up"):
        """Until the port's link is so."""
        wait_for(lambda: self.port(name)["link"] == state, what=f"link of {name} {state}")

    def wait_rings(self, name, count):
        """Until so many rings of the port run."""
        wait_for(lambda: self.port(name)["rings"] == count, what=f"rings of {name}")

    def check_books(self):
        """Received + copies = sent + drops + queued; the total of port.list agrees when idle."""
        info = self.call("switch.info")
        total = info["counters"]
        assert info["imbalance"] == 0
        assert total["rx_frames"] + total["copies"] == \
            total["tx_frames"] + sum(total["drops"].values()) + total["queued"]
        return total

    def cpu_seconds(self):
        """User and system time used so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """SIGTERM; it must leave cleanly."""
        if self.process.poll() is None:
            self.call.close()
            self.process.terminate()
        status = self.process.wait(30)
        assert status == 0, self.log.read_text()
        text = self.log.read_text()
        assert "ERROR: AddressSanitizer" not in text and "runtime error" not in text, text


def run(*words):
    """A command that must succeed."""
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Tap:
    """The kernel's end of a net_tap port, in a network namespace of its own."""

    def __init__(self, name):
        self.name = name
        self.namespace = f"ns-{name}"
        run("ip", "netns", "add", self.namespace)
        self.socket = None

    def attach(self):
        """After the port was added: moves the device there and opens a packet socket on it."""
        run("ip", "link", "set", self.name, "netns", self.namespace)
        run("ip", "netns", "exec", self.namespace, "sysctl", "-qw",
            f"net.ipv6.conf.{self.name}.disable_ipv6=1")
        run("ip", "-n", self.namespace, "link", "set", self.name, "up")
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        assert libc.setns(there, CLONE_NEWNET) == 0
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self.socket.bind((self.name, 0))
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0
            os.close(home)
            os.close(there)

    def send(self, frame):
        """One frame into the switch."""
        self.socket.send(frame)

    def receive(self, count, seconds=10, wanted=lambda frame: True):
        """Up to `count` frames that came out of the switch, of those wanted."""
        frames = []
        end = time.monotonic() + seconds
        while len(frames) < count:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                break
            data, address = self.socket.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING and wanted(data):
                frames.append(data)
        return frames

    def close(self):
        """Takes the namespace away."""
        if self.socket:
            self.socket.close()
        run("ip", "netns", "del", self.namespace)


def frame(dst, src, payload, ethertype=ETHERTYPE):
    """An Ethernet frame between the stations 02:...:dst and 02:...:src (dst None: broadcast)."""
    to = b"\xff" * 6 if dst is None else bytes([2, 0, 0, 0, 0, dst])
    return to + bytes([2, 0, 0, 0, 0, src]) + ethertype.to_bytes(2, "big") + payload


def is_ours(data):
    """Not something the kernel says by itself."""
    return data[12:14] == ETHERTYPE.to_bytes(2, "big")


class Testpmd:
    """DPDK's own virtio-user device: a foreign front end, driven at its prompt."""

    __test__ = False  # not a test class, whatever its name
    PROMPT = b"testpmd> "

    def __init__(self, name, path, station, peer, devargs="", args=()):
        mac = "02:00:00:00:00:%02x"
        self.prefix = f"{name}-{os.getpid()}"
        # It prompts by write() but answers by printf(): line by line, or they come in disorder.
        words = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", "0@0,1@0", "--no-pci", "--no-huge", "--no-shconf",
                 "-m", "256", "--file-prefix", self.prefix,
                 "--vdev", f"net_virtio_user0,path={path},mac={mac % station}{devargs}",
                 "--", "-i", "--no-mlockall", "--total-num-mbufs=8192",
                 f"--eth-peer=0,{mac % peer}", *args]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.read_prompt()

    def read_prompt(self):
        """What it says until it wants the next command."""
        text = b""
        end = time.monotonic() + 60
        while not text.endswith(self.PROMPT):
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"testpmd went away or is silent: {text.decode()[-2000:]}"
            text += data
        return text.decode()

    def do(self, *commands):
        """Commands, one after the other; the last answer."""
        answer = ""
        for command in commands:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
            answer = self.read_prompt()
        return answer

    def statistics(self):
        """(received, sent) frames."""
        text = self.do("show port stats 0")
        received = re.search(r"RX-packets:\s*(\d+)", text)
        sent = re.search(r"TX-packets:\s*(\d+)", text)
        return int(received.group(1)), int(sent.group(1))

    def extended(self, pattern):
        """The xstats whose names match."""
        text = self.do("show port xstats 0")
        return {name: int(value) for name, value in re.findall(r"(\w+): (\d+)", text)
                if re.fullmatch(pattern, name)}

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.communicate()
        self.clean()

    def clean(self):
        """The EAL leaves its directory behind, and root cannot tell it where else to make it."""
        shutil.rmtree(f"/run/dpdk/{self.prefix}", ignore_errors=True)

    def quit(self):
        """A clean end."""
        if self.process.poll() is None:
            self.process.stdin.write(b"quit\n")
            self.process.stdin.close()
            self.process.stdout.read()
        self.clean()
        assert self.process.wait(30) == 0
