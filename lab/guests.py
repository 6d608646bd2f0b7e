#!/usr/bin/python3
"""Make the guests the tests and the demo boot, and print where they are.

debian: a Debian 12 userland by debootstrap with Debian's own kernel and initrd, as a raw ext4 image.
busybox: the same kernel with a small initramfs, for tests that need a kernel and a NIC, not more.
Both carry tests/guest/frames. All is kept in the cache.
"""

import argparse
import collections
import json
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import apt_source
import cache
import initramfs
import kernels

SUITE = "bookworm"
PACKAGES = ["systemd-sysv", "udev", "dbus", "kmod", "iproute2", "iputils-ping", "iperf3", "ethtool",
            "netcat-openbsd", "initramfs-tools", "lz4", "pciutils", "e2fsprogs"]
BUSYBOX_MODULES = ["virtio_pci", "virtio_net", "virtio_blk", "virtio_console", "ext4", "af_packet"]
# Nothing to do for them in a virtual machine that lives for a minute.
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
          "e2scrub_reap.service", "fstrim.timer", "systemd-tmpfiles-clean.timer",
          "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
          "systemd-pstore.service", "modprobe@drm.service", "modprobe@efi_pstore.service",
          "modprobe@fuse.service", "modprobe@configfs.service", "modprobe@dm_mod.service",
          "modprobe@loop.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
          "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "dev-mqueue.mount",
          "dev-hugepages.mount", "proc-sys-fs-binfmt_misc.automount", "getty@tty1.service",
          "systemd-binfmt.service", "systemd-sysusers.service", "console-getty.service"]
IMAGE_SIZE = "1G"

Guest = collections.namedtuple("Guest", "vmlinuz initrd image")


def _run(*words):
    """Run a program quietly; when it fails, show what it said."""
    ran = subprocess.run([str(word) for word in words], check=False, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        print(ran.stdout, file=sys.stderr)
        raise SystemExit(f"lab: exit status {ran.returncode} of {' '.join(map(str, words))}")


def frames_program():
    """The frame counter, a static program."""
    source = HERE.parent / "tests/guest/frames.c"
    def build(where):
        _run("gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
             "-o", where / "frames", source)
    return cache.entry("frames", [source], build) / "frames"


def busybox():
    """The small guest; it has no disk."""
    kernel, frames, init = kernels.guest_kernel(), frames_program(), HERE / "guest/busybox_init.sh"
    def build(where):
        archive = initramfs.busybox_archive(init)
        archive.modules(kernel, BUSYBOX_MODULES)
        archive.file("bin/frames", frames.read_bytes(), 0o755)
        archive.write(where / "initrd.img")
    inputs = [kernel.directory, frames, init, HERE / "initramfs.py", initramfs.BUSYBOX,
              *BUSYBOX_MODULES]
    return Guest(kernel.vmlinuz, cache.entry("busybox-guest", inputs, build) / "initrd.img", None)


def _debian_tree(kernel_package):
    """The root directory of a fresh Debian with our packages, as debootstrap leaves it."""
    uri, keyring = apt_source.debian_source(SUITE)
    packages = ",".join([*PACKAGES, kernel_package])
    trust = [f"--keyring={keyring}"] if keyring.startswith("/") else []
    def build(where):
        _run("debootstrap", "--variant=minbase", *trust, f"--include={packages}", SUITE,
             where / "tree", uri)
    return cache.entry("debian-tree", [SUITE, packages], build) / "tree"


def _configure(tree, frames):
    """What an administrator would set in a small virtual machine."""
    shutil.copytree(HERE / "guest/debian", tree, dirs_exist_ok=True)
    shutil.copy(frames, tree / "usr/local/bin/frames")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 rw,relatime 0 1\n", encoding="ascii")
    (tree / "etc/hostname").write_text("guest\n", encoding="ascii")
    (tree / "etc/machine-id").write_text("00000000000000000000000000000001\n", encoding="ascii")
    (tree / "etc/initramfs-tools/conf.d/small").write_text("MODULES=list\nCOMPRESS=lz4\n",
                                                           encoding="ascii")
    (tree / "etc/initramfs-tools/modules").write_text("virtio_pci\nvirtio_blk\nvirtio_net\next4\n",
                                                      encoding="ascii")
    journal = tree / "etc/systemd/journald.conf.d/volatile.conf"
    journal.parent.mkdir(exist_ok=True)
    journal.write_text("[Journal]\nStorage=volatile\n", encoding="ascii")
    _run("chroot", tree, "passwd", "-d", "root")
    _run("chroot", tree, "systemctl", "mask", *MASKED)
    _run("chroot", tree, "systemctl", "enable", "guest-net.service", "serial-getty@ttyS0.service")
    _run("chroot", tree, "update-initramfs", "-u", "-k", "all")


def debian():
    """The Debian 12 guest."""
    package = kernels.find_package("linux-image-cloud-amd64", SUITE)[0]
    frames, tree = frames_program(), _debian_tree(package)
    def build(where):
        root = where / "root"
        _run("cp", "-a", tree, root)
        _configure(root, frames)
        for name, found in (("vmlinuz", "vmlinuz-*"), ("initrd.img", "initrd.img-*")):
            source, = (root / "boot").glob(found)
            shutil.copy(source, where / name)
        _run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, where / "debian.img", IMAGE_SIZE)
        shutil.rmtree(root)
    inputs = [str(tree), frames, HERE / "guest/debian", HERE / "guests.py", IMAGE_SIZE]
    where = cache.entry("debian-guest", inputs, build)
    return Guest(where / "vmlinuz", where / "initrd.img", where / "debian.img")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", help="busybox, debian; default: both")
    makers = {"busybox": busybox, "debian": debian}
    names = parser.parse_args().which or list(makers)
    if set(names) - set(makers):
        parser.error(f"there are {' '.join(makers)}")
    found = {name: makers[name]()._asdict() for name in names}
    print(json.dumps(found, indent=2, default=str))


if __name__ == "__main__":
    main()
