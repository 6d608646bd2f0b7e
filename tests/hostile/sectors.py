"""The disk that tests/guest/tiny_writer.c writes: which round of which stream is in each sector, and whether what was
promised is there."""

import re
import struct

STREAMS, SECTORS, ROUNDS = 4, 4, 8
SECTOR = 512
MAGIC = 0x74697277
DISK_BYTES = 1 << 20


def told(console):
    """Stream -> the last round it was told is on disk, by what the guest has printed."""
    found = dict.fromkeys(range(STREAMS), 0)
    for stream, number in re.findall(r"^on-disk (\w{8}) (\w{8})$", console, re.M):
        assert int(number, 16) > found[int(stream, 16)], "it went back"
        found[int(stream, 16)] = int(number, 16)
    return found


def place(stream, number, k):
    """The sector where a stream's round keeps its k-th."""
    return number % ROUNDS * STREAMS * SECTORS + stream * SECTORS + k


def life_of(number, firsts):
    """The first round of the life that a round belongs to."""
    return max((first for first in firsts if first <= number), default=1)


class Disk:
    """What is in the sectors; rounds that were never written are 0."""

    def __init__(self, image=b""):
        self.rounds = {}
        self.write(0, image)

    def write(self, first, data):
        """`data` from sector `first` on."""
        for offset in range(0, len(data) - SECTOR + 1, SECTOR):
            sector = first + offset // SECTOR
            if sector < ROUNDS * STREAMS * SECTORS:
                self.rounds[sector] = self.round_of(sector, data[offset:offset + SECTOR])

    @staticmethod
    def round_of(sector, data):
        """The round a sector holds; it must be whole, and where it belongs."""
        words = struct.unpack("<128I", data)
        if not any(words):
            return 0
        magic, stream, k, number = words[:4]
        assert magic == MAGIC and place(stream, number, k) == sector, f"sector {sector}: {words[:4]}"
        assert words[4:] == tuple((number + i) & 0xFFFFFFFF for i in range(4, 128)), \
            f"sector {sector} of round {number} is torn"
        return number

    def newest(self, stream):
        """The last round of which anything is there."""
        return max(self.rounds.get(place(stream, number, k), 0)
                   for number in range(ROUNDS) for k in range(SECTORS))

    def missing(self, stream, number, first):
        """Sectors of rounds from `first` up to `number` that hold neither these nor later ones."""
        return [(stream, wanted, k) for wanted in range(max(first, number - ROUNDS + 1), number + 1)
                for k in range(SECTORS) if self.rounds.get(place(stream, wanted, k), 0) < wanted]

    def check_told(self, rounds, firsts=(1,)):
        """What the guest was told is there. firsts: where each of the writer's lives began."""
        lost = [sector for stream, number in rounds.items()
                for sector in self.missing(stream, number, life_of(number, firsts))]
        assert not lost, f"told {rounds}; lost (stream, round, sector): {lost}"

    def check_causes(self, firsts=(1,)):
        """No stream begins a round before it is told that the last one is safe."""
        newest = {stream: self.newest(stream) for stream in range(STREAMS)}
        lost = [sector for stream, number in newest.items()
                for sector in self.missing(stream, number - 1, life_of(number, firsts))]
        assert not lost, f"begun {newest}; lost (stream, round, sector): {lost}"
