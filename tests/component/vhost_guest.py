"""A guest's virtio-net device in a few lines of Python, speaking vhost-user as a front end.

It is slow, and it can do everything wrong that a test wants done wrong: rings and buffers are
plain bytes of a shared memory file. (vhost-user protocol; virtio 1.2 §2.7, §5.1.)
"""

import array
import fcntl
import mmap
import os
import select
import socket
import struct
import time

F_CSUM, F_GUEST_CSUM, F_MRG_RXBUF = 1 << 0, 1 << 1, 1 << 15
F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_TSO4, F_HOST_TSO6 = 1 << 7, 1 << 8, 1 << 11, 1 << 12
F_MQ, F_INDIRECT, F_EVENT_IDX = 1 << 22, 1 << 28, 1 << 29
F_PROTOCOL, F_VERSION_1 = 1 << 30, 1 << 32

NEEDS_CSUM, GSO_TCPV4, GSO_TCPV6 = 1, 1, 4

DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4

RING_SIZE = 256
RING_BYTES = 0x4000
RX_BUFFERS = 0x100000
TX_BUFFERS = 0x200000
TABLES = 0x3F0000
MEMORY = 0x400000
GPA = 0x40000000  # where the file is in the guest's physical address space
USER = 0x7F0000000000  # and in ours, as we tell the switch

(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE,
 SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL, SET_PROTOCOL, SET_VRING_ENABLE) = \
    (1, 2, 3, 5, 8, 9, 10, 12, 13, 15, 16, 18)
PROTOCOL_MQ = 1


class Ring:
    """A split ring, the driver's side. Descriptors are given out in turn and never run out."""

    def __init__(self, memory, index):
        self.memory = memory
        # Indices are read and written as 16-bit words, which struct does byte by byte.
        self.words = memoryview(memory).cast("H")
        self.base = index * RING_BYTES
        self.avail = self.base + 0x1000
        self.used = self.base + 0x2000
        self.next_avail = 0
        self.next_used = 0
        self.next_desc = 0
        self.kick = os.eventfd(0, os.EFD_NONBLOCK)
        self.call = os.eventfd(0, os.EFD_NONBLOCK)

    def descriptor(self, index, addr, length, flags=0, following=0):
        """Writes one entry of the table."""
        struct.pack_into("<QIHH", self.memory, self.base + 16 * index, addr, length, flags, following)

    def offer(self, head):
        """Makes a chain available."""
        self.words[self.avail // 2 + 2 + self.next_avail % RING_SIZE] = head
        self.next_avail = (self.next_avail + 1) & 0xFFFF
        self.words[self.avail // 2 + 1] = self.next_avail

    def chain(self, pieces, flags=0):
        """Writes a chain of (addr, length) pieces into the table; its head."""
        first = self.next_desc
        if first + len(pieces) > RING_SIZE:
            first = 0
        for i, (addr, length) in enumerate(pieces):
            last = i == len(pieces) - 1
            self.descriptor(first + i, addr, length, flags | (0 if last else DESC_NEXT),
                            0 if last else first + i + 1)
        self.next_desc = first + len(pieces)
        return first

    def notify(self):
        """Kicks, whether asked to or not."""
        os.eventfd_write(self.kick, 1)

    def used_index(self):
        """What the device has published."""
        return self.words[self.used // 2 + 1]

    def take_used(self):
        """(head, length) of the next chain that came back, or None."""
        if self.used_index() == self.next_used:
            return None
        at = self.used + 4 + 8 * (self.next_used % RING_SIZE)
        self.next_used = (self.next_used + 1) & 0xFFFF
        # Event index: tell about every one.
        self.words[self.avail // 2 + 2 + RING_SIZE] = self.next_used
        return struct.unpack_from("<II", self.memory, at)

    def close(self):
        """Closes both eventfds, lets go of the memory."""
        self.words.release()
        os.close(self.kick)
        os.close(self.call)


class Guest:
    """One device with `pairs` queue pairs, connected to the switch's socket and started."""

    def __init__(self, path, features=0, buffer_size=2048, pairs=1, sealed=True):
        self.buffer_size = buffer_size
        self.memfd = os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memfd, MEMORY)
        if sealed:
            fcntl.fcntl(self.memfd, fcntl.F_ADD_SEALS,
                        fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.memory = mmap.mmap(self.memfd, MEMORY)
        self.rings = [Ring(self.memory, i) for i in range(2 * pairs)]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.tx_at = TX_BUFFERS
        self.pending = []
        self.start(features | F_VERSION_1 | F_PROTOCOL)

    def message(self, request, payload=b"", fds=()):
        """Sends one request."""
        data = struct.pack("<III", request, 1, len(payload)) + payload
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], ancillary)

    def ask(self, request):
        """A request answered by one 64-bit number."""
        self.message(request)
        answer = b""
        while len(answer) < 20:
            data = self.socket.recv(20 - len(answer))
            assert data, "the switch hung up"
            answer += data
        return struct.unpack("<IIIQ", answer)[3]

    def start(self, features):
        """The usual sequence, as QEMU has it."""
        self.message(SET_OWNER)
        offered = self.ask(GET_FEATURES)
        assert features & ~offered == 0, f"not offered: {features & ~offered:#x}"
        self.message(SET_PROTOCOL, struct.pack("<Q", self.ask(GET_PROTOCOL) & PROTOCOL_MQ))
        self.features = features
        self.message(SET_FEATURES, struct.pack("<Q", features))
        region = struct.pack("<IIQQQQ", 1, 0, GPA, MEMORY, USER, 0)
        self.message(SET_MEM_TABLE, region, [self.memfd])
        for i, ring in enumerate(self.rings):
            if i % 2 == 0:
                self.fill(ring, i // 2)
            self.message(SET_VRING_NUM, struct.pack("<II", i, RING_SIZE))
            self.message(SET_VRING_BASE, struct.pack("<II", i, 0))
            self.message(SET_VRING_ADDR, struct.pack("<IIQQQQ", i, 0, USER + ring.base,
                                                     USER + ring.used, USER + ring.avail, 0))
            self.message(SET_VRING_CALL, struct.pack("<Q", i), [ring.call])
            self.message(SET_VRING_KICK, struct.pack("<Q", i), [ring.kick])
        for i in range(len(self.rings)):
            self.message(SET_VRING_ENABLE, struct.pack("<II", i, 1))

    def fill(self, ring, pair):
        """Offers receive buffers: as many as their part of memory holds, 128 at most."""
        self.rx_count = min(128, 0x100000 // self.buffer_size // (len(self.rings) // 2))
        for i in range(self.rx_count):
            addr = RX_BUFFERS + (pair * self.rx_count + i) * self.buffer_size
            ring.descriptor(i, GPA + addr, self.buffer_size, DESC_WRITE)
            ring.offer(i)

    def header(self, flags=0, gso=0, gso_size=0, csum_start=0, csum_offset=0, header_len=0):
        """struct virtio_net_hdr_v1."""
        return struct.pack("<BBHHHHH", flags, gso, header_len, gso_size, csum_start, csum_offset, 0)

    def place(self, data):
        """Puts bytes somewhere into the part of memory for sending; their address."""
        if self.tx_at + len(data) > TABLES:
            self.tx_at = TX_BUFFERS
        at = self.tx_at
        self.memory[at:at + len(data)] = data
        self.tx_at = at + (len(data) + 63) // 64 * 64
        return GPA + at

    def send(self, data, header=None, cuts=(), indirect=False, pair=0, kick=True):
        """Offers one frame, cut into pieces at `cuts` (offsets behind the header)."""
        header = self.header() if header is None else header
        whole = header + data
        addr = self.place(whole)
        edges = [0, *(len(header) + cut for cut in cuts), len(whole)]
        pieces = [(addr + a, b - a) for a, b in zip(edges, edges[1:])]
        ring = self.rings[2 * pair + 1]
        if indirect:
            for i, (piece, length) in enumerate(pieces):
                last = i == len(pieces) - 1
                struct.pack_into("<QIHH", self.memory, TABLES + 16 * i, piece, length,
                                 0 if last else DESC_NEXT, 0 if last else i + 1)
            head = ring.chain([(GPA + TABLES, 16 * len(pieces))], DESC_INDIRECT)
        else:
            head = ring.chain(pieces)
        ring.offer(head)
        if kick:
            ring.notify()

    def wait_sent(self, pair=0, seconds=10):
        """Until the switch has given everything back."""
        ring = self.rings[2 * pair + 1]
        end = time.monotonic() + seconds
        while ring.next_used != ring.next_avail:
            if ring.take_used() is None:
                assert time.monotonic() < end, "the switch does not give buffers back"
                time.sleep(0.001)

    def take_buffer(self, pair, seconds):
        """Bytes of the next used receive buffer, which is offered anew; None after the time."""
        ring = self.rings[2 * pair]
        end = time.monotonic() + seconds
        while (entry := ring.take_used()) is None:
            left = end - time.monotonic()
            if left <= 0:
                return None
            if select.select([ring.call], [], [], left)[0]:
                os.eventfd_read(ring.call)
        head, length = entry
        at = RX_BUFFERS + (pair * self.rx_count + head) * self.buffer_size
        data = self.memory[at:at + length]
        ring.offer(head)
        return data

    def receive(self, seconds=10, pair=0):
        """(header, frame) of the next frame, or None; header as the tuple header() packs."""
        data = self.take_buffer(pair, seconds)
        if data is None:
            return None
        header = struct.unpack_from("<BBHHHHH", data)
        data = data[12:]
        if self.features & F_MRG_RXBUF:
            for _ in range(header[6] - 1):
                data += self.take_buffer(pair, seconds)
        return header[:6], data

    def receive_all(self, count, seconds=10, pair=0):
        """Frames without their headers, at most `count`."""
        frames = []
        while len(frames) < count and (got := self.receive(seconds, pair)):
            frames.append(got[1])
        return frames

    def closed(self, seconds=10):
        """Whether the switch hangs up."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except (TimeoutError, ConnectionResetError) as error:
            return isinstance(error, ConnectionResetError)

    def close(self):
        """Gone, as by a crash."""
        self.socket.close()
        for ring in self.rings:
            ring.close()
        self.memory.close()
        os.close(self.memfd)
