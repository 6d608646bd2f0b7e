#!/usr/bin/python3
"""The hostile vhost-user peer of `peers` against DPDK's eth_vhost: a control that tells whether it bites.

dpdk-testpmd serves four ports: two honest neighbours, the hostile peer, and one nobody uses. What happens is
printed; the status is 0 when the run could be made, whatever came of it. The conditions are not our
switch's: testpmd is a test program, and accepts memory that nobody sealed.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from peers import NEIGHBOURS, PEER
from switch_rig import wait_for

PATIENCE = 40  # seconds for somebody to end


class Testpmd:
    """dpdk-testpmd that forwards between port 0 and 1, and between 2 and 3."""

    def __init__(self, directory):
        self.prefix = f"control-{os.getpid()}"
        self.sockets = [f"{directory}/v{i}.sock" for i in range(4)]
        devices = [f"--vdev=net_vhost{i},iface={path}" for i, path in enumerate(self.sockets)]
        self.log = pathlib.Path(directory) / "testpmd.log"
        words = ["dpdk-testpmd", "--lcores", "0@0,1@0", "--no-pci", "--no-huge", "--no-shconf", "-m", "512",
                 "--file-prefix", self.prefix, *devices, "--", "--no-mlockall",
                 "--total-num-mbufs=8192", "--forward-mode=io", "--stats-period=1000"]
        print(" ".join(words), flush=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
        wait_for(lambda: all(map(os.path.exists, self.sockets)), PATIENCE, "testpmd's sockets")

    def descriptors(self):
        """How many are open; None when it is gone."""
        if self.process.poll() is not None:
            return None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        """How it ends when asked to."""
        words = "asked to end, it did"
        if self.process.poll() is not None:
            words = f"it had ended by itself with {self.process.returncode}"
        else:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                words = f"asked to end, it did not within {PATIENCE} s"
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()
        shutil.rmtree(f"/run/dpdk/{self.prefix}", ignore_errors=True)
        return words


def half_a_message(path):
    """A header, and ten seconds of silence."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(struct.pack("<III", 2, 1, 8))
        time.sleep(10)
    return {"what": "the header of a message, then 10 s of silence"}


def hostile_peer(path, options):
    """The generator; what it says of itself."""
    words = [PEER, "--socket", path, "--messages", str(options.messages), "--seed", str(options.seed)]
    if options.unsealed:
        words.append("--unsealed")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"what": words[3:], "said": done.stderr.splitlines()[-1]}
    return {"what": words[3:], **json.loads(done.stdout.splitlines()[-1])}


def stage(name, act):
    """One act against a testpmd of its own."""
    with tempfile.TemporaryDirectory() as directory:
        testpmd = Testpmd(directory)
        try:
            honest = subprocess.Popen([NEIGHBOURS, str(testpmd.process.pid), *testpmd.sockets[:2]],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert honest.stdout.readline() == "ready\n"
            before = testpmd.descriptors()
            found = {"peer": act(testpmd.sockets[2])}
            time.sleep(1)
            found["descriptors"] = [before, testpmd.descriptors()]
            try:
                found["neighbours"] = honest.communicate("", timeout=PATIENCE)[0].strip()
            except subprocess.TimeoutExpired:
                honest.kill()
                found["neighbours"] = "did not end: no answers"
                honest.communicate()
        finally:
            end = testpmd.end()
        print(f"{name}: {json.dumps({**found, 'end': end}, indent=1)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=7, help="default %(default)s")
    parser.add_argument("--unsealed", action="store_true", help="cut memory off, too")
    options = parser.parse_args()
    print(subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True,
                         check=False).stdout.strip())
    stage("half a message", half_a_message)
    stage("every message in every state", lambda path: hostile_peer(path, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
