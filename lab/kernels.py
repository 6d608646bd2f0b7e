"""Debian's kernel packages, fetched and unpacked into the cache, never installed on the machine."""

import lzma
import pathlib
import re
import shutil
import subprocess

import cache

OFTEN_LOADED = ("kvm", "kvm_amd", "irqbypass", "ccp", "tun", "vfio", "vfio_pci", "vfio_pci_core",
                "vfio_iommu_type1", "igb", "igbvf", "dca", "i2c_algo_bit", "ptp", "pps_core")


def _apt_cache(*words):
    return subprocess.run(["apt-cache", *words], check=True, capture_output=True, text=True).stdout


def find_package(meta, suite):
    """The (package, version) that the meta package `meta` stands for in `suite`."""
    for attempt in ("as found", "after an update"):
        if attempt == "after an update":
            subprocess.run(["apt-get", "-q", "update"], check=True, stdin=subprocess.DEVNULL)
        for line in _apt_cache("madison", meta).splitlines():
            _, version, origin = (field.strip() for field in line.split("|"))
            if f" {suite}/" not in origin:
                continue
            fields = _apt_cache("show", f"{meta}={version}")
            depends = re.search(r"^Depends: (linux-image-\S+)(?: \(= ([^)]*)\))?", fields, re.M)
            return depends[1], depends[2] or version
    raise SystemExit(f"no {meta} in {suite}: are its apt sources there (lab/packages.sh)?")


def _unpack(package, version, directory):
    fetched = directory / "deb"
    fetched.mkdir()
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{package}={version}"]
    subprocess.run(command, check=True, cwd=fetched, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    archive, = fetched.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, fetched / "root"], check=True)
    release = package.removeprefix("linux-image-")
    tree, = [path for path in (fetched / "root/lib/modules" / release,
                               fetched / "root/usr/lib/modules" / release) if path.is_dir()]
    (directory / "lib/modules").mkdir(parents=True)
    tree.rename(directory / "lib/modules" / release)
    (fetched / f"root/boot/vmlinuz-{release}").rename(directory / "vmlinuz")
    # Unpacking them again at every boot would cost the lab's slow CPU more than the disk it saves.
    for module in (directory / "lib/modules" / release).rglob("*.ko.xz"):
        if module.name.removesuffix(".ko.xz").replace("-", "_") in OFTEN_LOADED:
            module.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
            module.unlink()
    subprocess.run(["depmod", "-b", directory, release], check=True)
    shutil.rmtree(fetched)


class Kernel:
    """An unpacked kernel: its release, bzImage and module tree."""

    def __init__(self, meta, suite):
        package, version = find_package(meta, suite)
        self.release = package.removeprefix("linux-image-")
        self.directory = cache.entry(f"kernel-{self.release}", [package, version, *OFTEN_LOADED],
                                     lambda where: _unpack(package, version, where))
        self.vmlinuz = self.directory / "vmlinuz"
        self.modules = self.directory / "lib/modules" / self.release

    def load_order(self, names):
        """Module files for `names` with all they depend on, dependencies first."""
        needs, paths = {}, {}
        for line in (self.modules / "modules.dep").read_text(encoding="ascii").splitlines():
            path, _, dependencies = line.partition(":")
            needs[path] = dependencies.split()
            paths[pathlib.Path(path).name.split(".")[0].replace("-", "_")] = path
        builtin = {pathlib.Path(line).stem.replace("-", "_") for line in
                   (self.modules / "modules.builtin").read_text(encoding="ascii").splitlines()}
        order = []
        for name in names:
            name = name.replace("-", "_")
            if name in builtin:
                continue
            # modules.dep lists the nearest dependency first: the reverse is an order of loading.
            for path in [*reversed(needs[paths[name]]), paths[name]]:
                if path not in order:
                    order.append(path)
        return [self.modules / path for path in order]


def module_bytes(path):
    """A module's ELF file; busybox insmod reads no .xz."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def lab_kernel():
    """The kernel of the simulated host."""
    return Kernel("linux-image-amd64", "bookworm-backports")


def guest_kernel():
    """The kernel of the guests: what a Debian 12 guest runs in a cloud."""
    return Kernel("linux-image-cloud-amd64", "bookworm")
