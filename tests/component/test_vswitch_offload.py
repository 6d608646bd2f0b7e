"""Checksums and segments: untouched to those who take them, finished in software for others."""

import os
import struct

import pytest

import vhost_guest as vg
from switch_rig import Switch, Tap, wait_for

TCP, UDP = 6, 17
OFFER_CSUM = vg.F_CSUM | vg.F_GUEST_CSUM
OFFER_ALL = OFFER_CSUM | vg.F_MRG_RXBUF | vg.F_GUEST_TSO4 | vg.F_GUEST_TSO6 | \
    vg.F_HOST_TSO4 | vg.F_HOST_TSO6


TAP = f"vso-{os.getpid() % 10000}"


@pytest.fixture(name="switch")
def fixture_switch(tmp_path, request):
    """A switch (parameter: its arguments) whose books must balance at the end."""
    switch = Switch(tmp_path, *getattr(request, "param", ()))
    yield switch
    switch.check_books()
    switch.stop()


@pytest.fixture(name="guests")
def fixture_guests(switch):
    """guests(name, features...) adds a port and a guest on it."""
    made = []

    def make(name, features=0, **more):
        guest = vg.Guest(switch.add_vhost(name), features, **more)
        made.append(guest)
        switch.wait_rings(name, len(guest.rings))
        return guest

    yield make
    for guest in made:
        guest.close()


def ones_sum(data):
    """RFC 1071, folded."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(packet, l4, protocol):
    """The pseudo header of an IPv4 or IPv6 frame."""
    length = len(packet) - l4
    if packet[12:14] == b"\x08\x00":
        return packet[26:34] + struct.pack(">HH", protocol, length)
    return packet[22:54] + struct.pack(">II", length, protocol)


def build(dst, payload, ipv6=False, protocol=TCP, flags=0x18, seq=1000):
    """(frame, start of its L4 header), the checksum field holding the pseudo header's sum."""
    if protocol == TCP:
        head, at = struct.pack(">HHIIBBHHH", 5000, 80, seq, 1, 0x50, flags, 8192, 0, 0), 16
    else:
        head, at = struct.pack(">HHHH", 5000, 80, 8 + len(payload), 0), 6
    size = len(head) + len(payload)
    ethernet = bytes([2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, 1])
    if ipv6:
        ip = struct.pack(">IHBB", 0x60000000, size & 0xFFFF, protocol, 64) + bytes(range(32))
        data = ethernet + b"\x86\xdd" + ip
    else:
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, (20 + size) & 0xFFFF, 7, 0x4000, 64, protocol, 0,
                         b"\x0a\0\0\1", b"\x0a\0\0\2")
        ip = ip[:10] + struct.pack(">H", 0xFFFF ^ ones_sum(ip)) + ip[12:]
        data = ethernet + b"\x08\x00" + ip
    l4 = len(data)
    data = bytearray(data + head + payload)
    data[l4 + at:l4 + at + 2] = struct.pack(">H", ones_sum(pseudo(data, l4, protocol)))
    return bytes(data), l4


def check_checksums(packet, l4, protocol=TCP):
    """Both the IPv4 header's and the transport's."""
    assert ones_sum(pseudo(packet, l4, protocol) + packet[l4:]) == 0xFFFF
    if packet[12:14] == b"\x08\x00":
        assert ones_sum(packet[14:34]) == 0xFFFF
        assert struct.unpack(">H", packet[16:18])[0] == len(packet) - 14


def joined(segments, l4, mss):
    """Payload of TCP segments after checking each; their numbers must follow on."""
    data = b""
    for i, segment in enumerate(segments):
        check_checksums(segment, l4)
        assert struct.unpack(">I", segment[l4 + 4:l4 + 8])[0] == 1000 + len(data)
        assert bool(segment[l4 + 13] & 0x08) == (i == len(segments) - 1)
        assert len(segment) - l4 - 20 <= mss
        data += segment[l4 + 20:]
    return data


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_partial_checksum(guests, ipv6, protocol):
    """Passed on where it is taken, completed where it is not."""
    source = guests("a", OFFER_CSUM)
    taker, other = guests("b", OFFER_CSUM), guests("c", vg.F_CSUM)
    data, l4 = build(255, os.urandom(777), ipv6, protocol)
    data = b"\xff" * 6 + data[6:]
    at = 16 if protocol == TCP else 6
    source.send(data, header=source.header(vg.NEEDS_CSUM, csum_start=l4, csum_offset=at))
    assert taker.receive() == ((vg.NEEDS_CSUM, 0, 0, 0, l4, at), data)
    header, finished = other.receive()
    assert header == (0,) * 6
    check_checksums(finished, l4, protocol)
    assert finished[:l4 + at] + data[l4 + at:l4 + at + 2] + finished[l4 + at + 2:] == data


@pytest.mark.parametrize("ipv6", [False, True])
def test_segments(switch, guests, ipv6):
    """64 KiB cross in one piece to a guest that takes it; cut to one that does not."""
    source = guests("a", OFFER_ALL)
    taker, other = guests("b", OFFER_ALL), guests("c", OFFER_CSUM)
    payload = os.urandom(60000)
    mss = 1400
    data, l4 = build(255, payload, ipv6)
    data = b"\xff" * 6 + data[6:]
    header = source.header(vg.NEEDS_CSUM, vg.GSO_TCPV6 if ipv6 else vg.GSO_TCPV4, mss, l4, 16,
                           l4 + 20)
    source.send(data, header=header, cuts=(l4 + 20, 4096, 8192))
    got, whole = taker.receive()
    assert got == struct.unpack("<BBHHHHH", header)[:6] and whole == data
    segments = other.receive_all(43)
    assert joined(segments, l4, mss) == payload
    assert switch.counters("c")["copies"] == 42
    assert switch.counters("b")["copies"] == 0


def test_segments_without_room(switch, guests):
    """What does not fit any more is counted, segment by segment."""
    source, other = guests("a", OFFER_ALL), guests("c")
    data, l4 = build(2, os.urandom(60000))
    for _ in range(4):
        source.send(data, header=source.header(vg.NEEDS_CSUM, vg.GSO_TCPV4, 1400, l4, 16))
        source.wait_sent()
    counters = switch.counters("c")
    assert counters["tx_frames"] == 128 and counters["drops"] == {"full": 4 * 43 - 128}
    assert len(other.receive_all(200, seconds=0.2)) == 128


def test_lying_segment(switch, guests):
    """UDP dressed up as a TCP segment is not cut into nonsense."""
    source = guests("a", OFFER_ALL)
    guests("c")
    data, l4 = build(2, os.urandom(3000), protocol=UDP)
    source.send(data, header=source.header(vg.NEEDS_CSUM, vg.GSO_TCPV4, 1400, l4, 16))
    source.wait_sent()
    wait_for(lambda: switch.counters("c")["drops"], what="the drop")
    assert switch.counters("c")["drops"] == {"unsegmentable": 1}


@pytest.mark.parametrize("switch", [["--uplink", f"t=net_tap0,iface={TAP}"]], indirect=True)
def test_to_a_device(guests):
    """A kernel tap gets finished frames only."""
    tap = Tap(TAP)
    try:
        tap.attach()
        source = guests("a", OFFER_ALL)
        payload = os.urandom(20000)
        data, l4 = build(9, payload)
        source.send(data, header=source.header(vg.NEEDS_CSUM, vg.GSO_TCPV4, 1448, l4, 16))
        segments = tap.receive(14, wanted=lambda packet: packet[12:14] == b"\x08\x00")
        assert joined(segments, l4, 1448) == payload
        data, l4 = build(9, b"short", protocol=UDP)
        source.send(data, header=source.header(vg.NEEDS_CSUM, csum_start=l4, csum_offset=6))
        packet = tap.receive(1, wanted=lambda packet: packet[12:14] == b"\x08\x00")[0]
        check_checksums(packet, l4, UDP)
    finally:
        tap.close()
