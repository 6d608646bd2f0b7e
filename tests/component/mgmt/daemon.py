"""vmm-mgmt with all it starts, on directories of a test's own, and a REST client for it."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

BUILD = pathlib.Path(os.environ["BUILD_DIR"])
DEADLINE = 60  # seconds until a test gives up on something that must happen


def wait_until(condition, what):
    """Poll `condition` until it holds; its value."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        # A socket with Python's time-out would not wait for its turn to be accepted.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                             struct.pack("@ll", int(self.timeout), 0))
        self.sock.connect(self._path)
        self.sock.settimeout(self.timeout)


class Answer:
    """What came back."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.type = (response.headers.get("Content-Type") or "").split(";")[0]
        self.text = response.read().decode()
        self.json = json.loads(self.text) if self.type.endswith("json") else None


class Daemon:
    """One vmm-mgmt. `vmm` and `vswitch` name the programs that serve it."""

    def __init__(self, vmm="tests/component/vmm_peer", vswitch="vswitch/vswitch", options=(),
                 environment=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="mgmt-"))
        self.directory.chmod(0o755)
        self.run = self.directory / "run"
        self.images = self.directory / "images"
        self.images.mkdir()
        binaries = self.directory / "bin"
        binaries.mkdir()
        for name, program in (("vmm-launch", "launch/vmm-launch"), ("vmm", vmm),
                              ("vswitch", vswitch)):
            (binaries / name).symlink_to(BUILD / program)
        self.command = [BUILD / "mgmt/vmm-mgmt", "--run-dir", self.run, "--state-dir",
                        self.directory / "state", "--bin-dir", binaries, "--image-dir",
                        self.images, *options]
        self.environment = environment  # None: ours
        self.process = None
        try:
            self.start()
        except BaseException:
            self.destroy()
            raise

    def start_only(self):
        """Start it."""
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment)

    def start(self):
        """Start it and wait until it answers."""
        self.start_only()
        wait_until(self._answers, "vmm-mgmt to answer")

    def _answers(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.call("GET", "/v1/host").status == 200
        except (FileNotFoundError, ConnectionError):
            return False

    def log(self):
        """What it and vmm-launch have said."""
        return (self.directory / "log").read_text(errors="replace")

    def connection(self):
        """A connection of one's own."""
        return UnixConnection(self.run / "api.sock")

    def call(self, method, path, body=None, headers=None):
        """One request; body: text as it is, else made JSON."""
        connection = self.connection()
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, data, headers or {})
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def ok(self, method, path, body=None):
        """One request that must succeed; its JSON."""
        answer = self.call(method, path, body)
        assert 200 <= answer.status < 300, (method, path, answer.text)
        return answer.json

    def image(self, name, content=b"no kernel, but nobody looks\n"):
        """A file a VM may name."""
        path = self.images / name
        path.write_bytes(content)
        return str(path)

    def spec(self, vm, cmdline="", **more):
        """A small VM."""
        return {"id": vm, "memory": {"size_mib": 64},
                "boot": {"kernel": self.image("kernel"), "cmdline": cmdline}, **more}

    def vm(self, vm):
        """One VM."""
        return self.ok("GET", f"/v1/vms/{vm}")

    def wait_state(self, vm, state):
        """Wait until a VM is in a state; the VM."""
        try:
            wait_until(lambda: self.vm(vm)["state"] == state, f"{vm} to be {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.vm(vm)}\n{self.log()}") from None
        return self.vm(vm)

    def wait_switch(self):
        """Wait until the switch answers; the switch."""
        wait_until(lambda: self.ok("GET", "/v1/switch")["state"] == "running", "the switch")
        return self.ok("GET", "/v1/switch")

    def port(self, port):
        """One port, or None."""
        answer = self.call("GET", f"/v1/ports/{port}")
        return answer.json if answer.status == 200 else None

    def stop(self):
        """End it as an operator does; what it started lives on."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def kill(self):
        """Let it die at once."""
        self.process.kill()
        self.process.wait()

    def destroy(self):
        """Leave nothing behind, whatever went wrong; and it must end cleanly."""
        status = self.stop() if self.process.poll() is None else 0
        log = self.log()
        wait_until(self._kill_all, "what was started to be gone")
        shutil.rmtree(self.directory, ignore_errors=True)
        assert status == 0 and "Sanitizer" not in log and "runtime error" not in log, log

    def _kill_all(self):
        """Kill what says its say into our directory (all we start does); True when none is left."""
        found = 0
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                pidfd = os.pidfd_open(int(entry.name))
            except ProcessLookupError:
                continue
            with os.fdopen(pidfd, "rb"):
                try:
                    if os.readlink(entry / "fd/2").startswith(f"{self.directory}/"):
                        found += 1
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                except (FileNotFoundError, PermissionError, ProcessLookupError):
                    pass  # gone, a zombie, or not one of ours
        return not found
