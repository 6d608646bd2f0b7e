"""A guest's serial console behind a Unix socket: what it says, and commands run in its shell."""

import os
import re
import socket
import threading
import time


class ConsoleError(Exception):
    """The guest did not say what was waited for."""


class Console:
    """Reads the console in a thread of its own; `log` holds all that came since connecting.

    The socket may not be there yet, and may go and come back when the VMM is restarted.
    """

    def __init__(self, path, on_line=None):
        self._path = str(path)
        self._on_line = on_line
        self._socket = None
        self._closed = False
        self._more = threading.Condition()
        self.log = ""
        self._number = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self):
        """Stop reading."""
        self._closed = True
        with self._more:
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(2)

    def _connect(self):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            return False
        with self._more:
            self._socket = sock
            self._more.notify_all()
        return True

    def _read(self):
        while not self._closed:
            if not self._connect():
                time.sleep(0.05)
                continue
            line = b""
            while data := self._receive():
                with self._more:
                    self.log += data.decode(errors="replace").replace("\r", "")
                    self._more.notify_all()
                *lines, line = (line + data).split(b"\n")
                on_line = self._on_line
                for whole in lines if on_line else ():
                    on_line(plain(whole.decode(errors="replace")))
            with self._more:
                self._socket.close()
                self._socket = None

    def _receive(self):
        try:
            return self._socket.recv(4096)
        except OSError:
            return b""

    def mute(self):
        """Hand lines on no longer."""
        self._on_line = None

    def send(self, text):
        """Type `text`."""
        with self._more:
            if not self._more.wait_for(lambda: self._socket, 10):
                raise ConsoleError(f"{self._path}: nobody listens")
            sock = self._socket
        sock.sendall(text.encode())

    def wait_for(self, pattern, seconds, since=0):
        """Wait until the log from `since` matches; the match."""
        deadline = time.monotonic() + seconds
        with self._more:
            while True:
                match = re.compile(pattern, re.M).search(self.log, since)
                if match:
                    return match
                left = deadline - time.monotonic()
                if left <= 0:
                    tail = plain(self.log)[-2000:]
                    raise ConsoleError(f"not in {seconds} s: {pattern!r}; the console ends:\n{tail}")
                self._more.wait(left)

    def wait_for_shell(self, seconds, since=0):
        """Wait for the Debian guest's login, and make its shell one for programs."""
        found = self.wait_for(r"root@[\w-]+:~#", seconds, since)
        # No line editing, no echo, no prompt: what comes is what the commands say.
        self.send("exec sh\n")
        self.send("stty -echo; PS1=; PS2=; dmesg -n 1; echo ready-$((1 + 1))\n")
        return self.wait_for(r"ready-2", 30, found.end())

    def start(self, command):
        """Begin a command; finish() collects it."""
        self._number += 1
        with self._more:
            mark = len(self.log)
        self.send(f"{command}\nprintf '\\n@%s %s@\\n' {os.getpid()}-{self._number} $?\n")
        return self._number, mark

    def finish(self, started, seconds=60):
        """Wait for a begun command; its exit status and output."""
        number, mark = started
        found = self.wait_for(rf"\n@{os.getpid()}-{number} (\d+)@\n", seconds, mark)
        with self._more:
            return int(found[1]), plain(self.log[mark:found.start()]).strip("\n")

    def explain(self, command):
        """Print what a command says, or that nobody answers; never fails."""
        # Whatever runs in front goes first.
        try:
            self.send("\x03\x03\n")
            print(self.finish(self.start(command), 30)[1], flush=True)
        except (ConsoleError, OSError) as error:
            print("no answer from the guest:", error, flush=True)

    def run(self, command, seconds=60):
        """Run a command that must succeed; its output."""
        status, output = self.finish(self.start(command), seconds)
        if status:
            raise ConsoleError(f"exit status {status} of {command!r}:\n{output}")
        return output


def plain(text):
    """Text without terminal control sequences."""
    return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>78c]|\][^\x07]*\x07)|[\x00-\x08\x0b-\x1f]", "", text)
