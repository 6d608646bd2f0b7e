"""A program under fail_nth.so: what is to fail, what did, and where. See fail_nth.h."""

import functools
import mmap
import os
import pathlib
import struct
import subprocess

BUILD = pathlib.Path(os.environ["BUILD_DIR"])
LIBRARY = BUILD / "tests/hostile/fail_nth.so"
ALLOC, SYSCALL = 1, 2  # classes
OWN, NAMED = 1, 2  # scopes: called by the program itself, by a library of LIBRARIES
# Ours to answer for, as they do what our calls ask of them. libnuma exits by itself, and DPDK is
# not ours.
LIBRARIES = "libjansson:libevent:libmicrohttpd:libsqlite3:libcurl:liburing"
MAGIC = 0x4C494146
FRAMES = 32
HEADER = struct.Struct("<IIIIQQQqiI32s")


class Injector:
    """The control file of one program. Used from its start on, or armed while it runs."""

    def __init__(self, directory, program):
        self.program = BUILD / program
        self.path = pathlib.Path(directory) / f"fail-{self.program.name}"
        self.path.write_bytes(bytes(HEADER.size + 8 * FRAMES))
        self.path.chmod(0o666)
        self.last_classes = 0
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.disarm()

    def environment(self):
        """For whoever starts the program, directly or not."""
        env = dict(os.environ, FAIL_NTH=str(self.path), FAIL_NTH_PROGRAM=self.program.name,
                   FAIL_NTH_LIBRARIES=LIBRARIES, LD_PRELOAD=str(LIBRARY))
        env["LSAN_OPTIONS"] = "print_suppressions=0"
        # The preloaded library must see a call before the sanitizer's does.
        env["ASAN_OPTIONS"] = ":".join(filter(None, (env.get("ASAN_OPTIONS"),
                                                     "verify_asan_link_order=0")))
        return env

    def arm(self, n, classes, scopes=OWN, span=1):
        """From now on the n-th call of these fails, and span-1 after it; 0: count them only."""
        blocks = self.blocks()
        HEADER.pack_into(self.memory, 0, MAGIC, 0, scopes, span, n, 0, 0, blocks, 0, 0, b"")
        self.last_classes = classes
        struct.pack_into("<I", self.memory, 4, classes)

    def arm_like(self, fields):
        """As it was armed when memory[:] was this."""
        before = HEADER.unpack_from(fields)
        self.arm(before[4], self.last_classes, before[2], before[3])

    def disarm(self):
        """Nothing fails any more; what did stays readable."""
        if self.memory[:4] == bytes(4):
            struct.pack_into("<I", self.memory, 0, MAGIC)
        struct.pack_into("<I", self.memory, 4, 0)

    def count(self):
        """Calls since arm()."""
        return HEADER.unpack_from(self.memory)[5]

    def failed(self):
        """Whether one was made to fail since arm()."""
        return HEADER.unpack_from(self.memory)[6] > 0

    def blocks(self):
        """Allocations the program has not freed."""
        return HEADER.unpack_from(self.memory)[7]

    def where(self):
        """The call that failed and who made it, innermost first: "malloc < json_x < y"."""
        fields = HEADER.unpack_from(self.memory)
        if not fields[6]:
            return "nothing"
        frames = struct.unpack_from(f"<{fields[9]}Q", self.memory, HEADER.size)
        name = fields[10].rstrip(b"\0").decode()
        # Return addresses: the call is before them.
        places = tuple(frame - 1 for frame in frames if frame)
        return " < ".join([f"{name} ({os.strerror(fields[8])})", *symbols(self.program, places)])

    def close(self):
        """Lets go of the file."""
        self.memory.close()


@functools.lru_cache(maxsize=None)
def symbol(program, place):
    """function file:line, also of what was inlined there."""
    done = subprocess.run(["addr2line", "-f", "-i", "-e", program, hex(place)], check=True,
                          capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return tuple(f"{function} {pathlib.Path(file).name.split(' ')[0]}"
                 for function, file in zip(lines[::2], lines[1::2]))


def symbols(program, places):
    """The program's part of a backtrace."""
    return [text for place in places for text in symbol(program, place)]
