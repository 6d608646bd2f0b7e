"""A small busybox initramfs: cpio "newc" archive written without the help of cpio or root rights."""

import gzip
import pathlib
import stat

import kernels

BUSYBOX = pathlib.Path("/bin/busybox")


class Archive:
    """Collects files for one initramfs."""

    def __init__(self):
        self._parts = []
        self._count = 0
        self._directories = set()

    def _add(self, name, mode, data=b"", rdev=(0, 0)):
        self._count += 1
        encoded = name.encode() + b"\0"
        fields = [self._count, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1],
                  len(encoded), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + encoded, data):
            self._parts.append(part + b"\0" * (-len(part) % 4))

    def directory(self, name):
        """Add a directory and those above it, once."""
        for above in [*reversed(pathlib.PurePath(name).parents), pathlib.PurePath(name)]:
            if str(above) != "." and above not in self._directories:
                self._directories.add(above)
                self._add(str(above), stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        """Add a regular file with the bytes `data`."""
        self.directory(str(pathlib.PurePath(name).parent))
        self._add(name, stat.S_IFREG | mode, data)

    def symlink(self, name, target):
        """Add a symbolic link."""
        self.directory(str(pathlib.PurePath(name).parent))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        """Add a character device."""
        self.directory(str(pathlib.PurePath(name).parent))
        self._add(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def modules(self, kernel, names):
        """Add modules and what they need, uncompressed, with their order in modules/order."""
        order = kernel.load_order(names)
        stems = [path.name.split(".")[0] for path in order]
        for stem, path in zip(stems, order):
            self.file(f"modules/{stem}.ko", kernels.module_bytes(path))
        self.file("modules/order", "".join(f"{stem}\n" for stem in stems).encode())

    def write(self, path, compress=False):
        """Write the archive to `path`."""
        self._add("TRAILER!!!", 0)
        data = b"".join(self._parts)
        path.write_bytes(gzip.compress(data, 6) if compress else data)


def busybox_archive(init):
    """An archive with busybox, a console and the shell script `init` (a path) as its /init."""
    archive = Archive()
    for name in ("proc", "sys", "dev", "tmp", "run", "mnt"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", BUSYBOX.read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("init", init.read_bytes(), 0o755)
    return archive
