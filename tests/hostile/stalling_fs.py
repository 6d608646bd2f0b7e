"""A file system that answers until it is told not to: FUSE, by hand. Needs root."""

import ctypes
import os
import struct
import threading

LOOKUP, GETATTR, OPEN, STATFS, FLUSH, INIT = 1, 3, 14, 17, 25, 26
HEADER = struct.Struct("<IIQQIIII")
ROOT, FILE = 1, 2
MNT_FORCE, MNT_DETACH = 1, 2
SIZE = 1 << 20


class StallingFs:
    """Mounted at `directory`, with one file in it."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.path = f"{directory}/file"
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0"
        assert self.libc.mount(b"stall", self.directory.encode(), b"fuse", 0, options.encode()) == 0, \
            os.strerror(ctypes.get_errno())
        self.stalled = False
        self.unanswered = []  # (operation, pid)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        """Until it is unmounted."""
        while True:
            try:
                request = os.read(self.device, 1 << 17)
            except OSError:
                return
            _, operation, unique, node, _, _, pid, _ = HEADER.unpack_from(request)
            answer = None if self.stalled else self.answer(operation, node)
            if answer is None:
                self.unanswered.append((operation, pid))
            else:
                os.write(self.device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)

    @staticmethod
    def attributes(node):
        """struct fuse_attr."""
        mode = 0o40755 if node == ROOT else 0o100666
        return struct.pack("<6Q3I7I", node, SIZE, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, operation, node):
        """The bytes behind the header; None: there is none."""
        if operation == INIT:
            return struct.pack("<4I2H2I2HI28x", 7, 31, 4096, 0, 1, 1, 4096, 1, 1, 0, 0)
        if operation == LOOKUP:
            return struct.pack("<4Q2I", FILE, 0, 0, 0, 0, 0) + self.attributes(FILE)
        if operation == GETATTR:
            return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if operation == OPEN:
            return struct.pack("<QII", 0, 0, 0)
        return None

    def close(self):
        """Takes it away: whoever waits for an answer gets an error. No child may do it: that would begin
        by closing what is open here, and wait."""
        assert self.libc.umount2(self.directory.encode(), MNT_FORCE | MNT_DETACH) == 0
        self.thread.join()
        os.close(self.device)
