"""A vmm under test: configuration, process, control socket. Used by test_vmm.py."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

BUILD = pathlib.Path(os.environ["BUILD_DIR"])
TINY = BUILD / "tests/guest/tiny"
DEADLINE = 60  # seconds until a test gives up on something that must happen


class Failure(Exception):
    """An error answer."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error.get("data") or {}


class Control:
    """A client of the control socket."""

    def __init__(self, path):
        self.socket = connect(path)
        self.lines = self.socket.makefile()
        self.notes = []
        self.next_id = 0

    def receive(self):
        """One message, or None when the vmm is gone."""
        line = self.lines.readline()
        return json.loads(line) if line else None

    def call(self, method, **params):
        """The result; raises Failure."""
        return self.call_all((method, params))[0]

    def call_all(self, *calls):
        """The results of several (method, params), sent at once; raises Failure."""
        first = self.next_id + 1
        self.next_id += len(calls)
        requests = [{"jsonrpc": "2.0", "id": number, "method": method, "params": params}
                    for number, (method, params) in enumerate(calls, first)]
        self.socket.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in requests))
        results = []
        while len(results) < len(calls):
            message = self.receive()
            if "error" in message:
                raise Failure(message["error"])
            if "id" in message:
                results.append(message["result"])
            else:
                self.notes.append(message["params"])
        return results

    def rest(self):
        """The notifications until the vmm closes the connection."""
        while message := self.receive():
            self.notes.append(message["params"])
        return self.notes

    def close(self):
        """Both ends of it."""
        self.lines.close()
        self.socket.close()


class Vmm:
    """One vmm process in a directory of its own."""

    def __init__(self, tmp):
        self.tmp = tmp
        self.process = None
        self.controls = []
        self.environment = None  # ours
        self.record_file = tmp / "exit.json"
        self.console_file = tmp / "console"

    def config(self, cmdline="", **changes):
        """A configuration of the tiny guest; None as a value leaves a key out."""
        config = {"id": "tiny", "memory": {"size_mib": 16},
                  "boot": {"kernel": str(TINY), "cmdline": cmdline},
                  "console": {"type": "file", "file": str(self.console_file)},
                  "exit_record": str(self.record_file), "control": str(self.tmp / "control"),
                  "debug_exit": True}
        config.update(changes)
        return {key: value for key, value in config.items() if value is not None}

    def start(self, config, *options, pass_fds=()):
        """With a configuration: a value, or the text of one; or without."""
        command = [str(BUILD / "vmm/vmm"), *options]
        if config is not None:
            path = self.tmp / "vm.json"
            path.write_text(config if isinstance(config, str) else json.dumps(config))
            command += ["--config", str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, pass_fds=pass_fds,
                                        env=self.environment,
                                        # under nohup it is ignored, and vmm honours that
                                        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        return self

    def control(self):
        """A new client."""
        client = Control(self.tmp / "control")
        self.controls.append(client)
        return client

    def end(self):
        """Waits for the process; its status and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, errors

    def record(self):
        """The exit record."""
        return json.loads(self.record_file.read_text())

    def console(self):
        """What the guest has printed."""
        return self.console_file.read_text() if self.console_file.exists() else ""

    def wait_console(self, text):
        """Until the guest has printed it."""
        wait_for(lambda: text in self.console())

    def close(self):
        """Ends whatever is still there."""
        for client in self.controls:
            client.close()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()


def connect(path):
    """A connection, as soon as somebody listens there."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE)

    def listens():
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    wait_for(listens)
    return client


def wait_for(condition):
    """Until it is true."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def values(console):
    """The "name value" lines of the tiny guest."""
    lines = [line.split() for line in console.splitlines()]
    return {line[0]: int(line[1], 16) for line in lines if len(line) == 2 and len(line[1]) == 8}
