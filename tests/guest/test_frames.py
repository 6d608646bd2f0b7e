"""frames counts exactly what a wire does to frames: nothing, or the faults of a relay in between."""

import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import threading

import pytest

ETHERTYPE = 0x88B5
KIND_OFFSET, SEQ_OFFSET, PAYLOAD_OFFSET = 18, 22, 34
KIND_DATA = 2
COUNT = 1000
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(name="wire")
def make_wire():
    """Two network namespaces with an interface each; the other ends of both are left to us."""
    tag = f"fr{os.getpid()}"
    spaces = [f"{tag}-{side}" for side in "ab"]
    ends = [f"{tag}{side}" for side in "ab"]
    try:
        for space, end, mac in zip(spaces, ends, MACS):
            ip("netns", "add", space)
            ip("link", "add", end, "type", "veth", "peer", "name", "port", "address", mac,
               "netns", space)
            ip("link", "set", end, "up")
            ip("-n", space, "link", "set", "port", "up")
        yield spaces, ends
    finally:
        # The name spaces go later, when the kernel finds the time; the interfaces go now.
        for space, end in zip(spaces, ends):
            subprocess.run(["ip", "link", "del", end], check=False)
            subprocess.run(["ip", "netns", "del", space], check=False)


class Relay(threading.Thread):
    """Carries frames between two interfaces; `fault` turns each into the list of those to go on."""

    def __init__(self, ends, fault):
        super().__init__(daemon=True)
        self._fault = fault
        self._sockets = []
        for end in ends:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
            sock.bind((end, ETHERTYPE))
            self._sockets.append(sock)
        self._stop_read, self._stop_write = os.pipe()

    def run(self):
        while True:
            ready, _, _ = select.select([*self._sockets, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            for sock in ready:
                side = self._sockets.index(sock)
                for frame in self._fault(side, sock.recv(2048)):
                    self._sockets[1 - side].send(frame)

    def stop(self):
        os.write(self._stop_write, b"x")
        self.join()
        for sock in self._sockets:
            sock.close()
        os.close(self._stop_read)
        os.close(self._stop_write)


def run_both(wire, fault, *options):
    """Run frames on both sides through the relay; the two exit statuses and results."""
    spaces, ends = wire
    program = pathlib.Path(os.environ["FRAMES"]).resolve()
    relay = Relay(ends, fault)
    relay.start()
    runs = [subprocess.Popen(["ip", "netns", "exec", space, program, "-t", "60", *options, "port",
                              peer, str(COUNT)], stdout=subprocess.PIPE, text=True)
            for space, peer in zip(spaces, reversed(MACS))]
    outputs = [run.communicate()[0] for run in runs]
    relay.stop()
    return [run.returncode for run in runs], [json.loads(output) for output in outputs]


def data_sequence(frame):
    """The sequence number of a data frame, or None."""
    kind, = struct.unpack_from("!H", frame, KIND_OFFSET)
    return struct.unpack_from("!I", frame, SEQ_OFFSET)[0] if kind == KIND_DATA else None


def test_whole(wire):
    status, results = run_both(wire, lambda side, frame: [frame])
    assert status == [0, 0], results
    for result in results:
        assert result["ok"] and result["sent"] == result["received"] == COUNT


def test_faults_are_counted(wire):
    """Side 0 sends; of its frames one is lost, one doubled, one damaged, and two change places."""
    held = []

    def fault(side, frame):
        seq = data_sequence(frame) if side == 0 else None
        if seq == 100:
            return []
        if seq == 200:
            return [frame, frame]
        if seq == 300:
            return [frame[:PAYLOAD_OFFSET] + bytes([frame[PAYLOAD_OFFSET] ^ 1])
                    + frame[PAYLOAD_OFFSET + 1:]]
        if seq == 400:
            held.append(frame)
            return []
        if seq == 401:
            return [frame, *held]
        return [frame]

    status, (sender, receiver) = run_both(wire, fault)
    assert status == [1, 1]
    assert sender["peer_lost"] == 2 and sender["lost"] == 0  # a damaged frame does not count as come
    counted = {name: receiver[name] for name in ("received", "lost", "duplicated", "corrupted",
                                                 "reordered")}
    assert counted == {"received": COUNT - 2, "lost": 2, "duplicated": 1, "corrupted": 1,
                       "reordered": 1}


def test_more_lost_than_a_window_holds(wire):
    def fault(side, frame):
        seq = data_sequence(frame) if side == 1 else None
        return [] if seq is not None and 100 <= seq < 150 else [frame]

    status, (receiver, sender) = run_both(wire, fault, "-w", "32")
    assert status == [1, 1]
    assert receiver["lost"] == 50 and sender["peer_lost"] == 50 and sender["stalls"] >= 1


def test_no_peer(wire):
    program = pathlib.Path(os.environ["FRAMES"]).resolve()
    found = subprocess.run(["ip", "netns", "exec", wire[0][0], program, "-t", "1", "port", MACS[1],
                            "10"], check=False, capture_output=True, text=True)
    assert found.returncode == 3 and "no peer" in found.stderr
