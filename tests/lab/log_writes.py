"""What dm-log-writes leaves on its log device: the writes of another one, in the order in which flushes made them safe.

The format is the kernel's (Documentation/admin-guide/device-mapper/log-writes.rst): a block that says how many entries
there are; then for each a block about it, followed by what was written. A mark's text is in its own block."""

import collections
import struct

MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

Entry = collections.namedtuple("Entry", "sector data flags mark")


def read_log(path):
    """All entries."""
    with open(path, "rb") as log:
        magic, version, count, block = struct.unpack("<QQQI", log.read(28))
        assert (magic, version) == (MAGIC, VERSION), "no log of dm-log-writes"
        log.seek(block)
        entries = []
        for _ in range(count):
            head = log.read(block)
            sector, sectors, flags, length = struct.unpack_from("<QQQQ", head)
            mark = head[32:32 + length].decode() if flags & MARK else None
            data = b"" if flags & DISCARD else log.read(sectors * block)
            entries.append(Entry(sector, data, flags, mark))
    return entries
