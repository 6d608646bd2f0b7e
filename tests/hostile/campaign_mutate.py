#!/usr/bin/python3
"""Delete one bounds check at a time and see whether a test notices: survivors are listed.

Works in copies of the tree, under ASan and UBSan: for each deleted check, builds and runs the unit
tests and corpus replays of that file until one fails. A survivor that mutants.list names (equivalent,
or held elsewhere, with the reason) is known; any other makes the exit status 1.
"""

import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import mutation

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KNOWN = HERE / "mutants.list"
# As "meson test" has it: what the sanitizers see fails a test.
SANITIZERS = {"ASAN_OPTIONS": "halt_on_error=1:abort_on_error=1",
              "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1"}
SECONDS = 120  # until a test that a deleted check keeps busy counts as failed

# Where a guest or a peer decides what is compared, and the tests that hold it; the quickest first.
VRING = ["vhost_vring*", "fuzz_vring", "virtio_blk", "virtio_blk_hostile", "virtio_net", "fuzz_virtio_blk"]
VIRTIO = ["virtio_pci", "virtio_hostile", "virtio_blk", "virtio_blk_hostile", "virtio_net", "fuzz_virtio_pci",
          "fuzz_virtio_blk", "fuzz_virtio_net"]
PCI = ["core_pci", "core_pci_hostile", "core_pci_msix", "core_pci_root_port", "core_irq", "fuzz_pci", "fuzz_board",
       "virtio_pci"]
BACKEND = ["peer_memory", "vhost_msg", "vhost_stream", "vhost_backend*", "vhost_frontend", "fuzz_vhost_*"]
BOARD = ["devemu_*", "fuzz_board"]
BOOT = ["vmm_boot*", "fuzz_boot_*"]
TESTS = {
    "core/io_bus.c": ["core_io_bus"] + PCI,
    "core/pci*.c": PCI,
    "core/guest_memory.c": ["core_guest_memory", "iommu_dma_space", "virtio_blk"],
    "core/dma.c": ["iommu_dma_space", "virtio_blk", "vhost_vring_device"],
    "core/irq.c": ["core_irq", "core_pci_msix"],
    "iommu/*.c": ["iommu_dma_space", "virtio_blk"],
    "devemu/block_file.c": ["devemu_block_file"],
    "devemu/char_*.c": ["devemu_chars"],
    "devemu/*.c": BOARD,
    "vhost-user/vring*.c": VRING,
    "vhost-user/virtio_net*.c": ["virtio_net", "virtio_hostile", "fuzz_virtio_net", "fuzz_virtio_pci"],
    "vhost-user/virtio_blk*.c": ["virtio_blk", "virtio_blk_hostile", "virtio_hostile", "fuzz_virtio_blk"],
    "vhost-user/virtio_*.c": VIRTIO,
    "vhost-user/peer_memory.c": BACKEND + ["fuzz_vring"],
    "vhost-user/vhost_*.c": BACKEND + ["virtio_net"],
    "vmm/boot*.c": BOOT,
}
DEFAULT = ["core/io_bus.c", "core/pci*.c", "core/guest_memory.c", "core/dma.c", "core/irq.c", "iommu/*.c",
           "devemu/uart.c", "devemu/rtc*.c", "devemu/i8042.c", "devemu/lpc*.c", "devemu/host_bridge.c",
           "devemu/block_file.c", "vhost-user/vring*.c", "vhost-user/virtio_*.c", "vhost-user/peer_memory.c",
           "vhost-user/vhost_msg.c", "vhost-user/vhost_stream.c", "vmm/boot*.c"]


def project_files():
    """What git tracks or would, else all but build folders."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], check=False,
                            capture_output=True, text=True)
    names = listed.stdout.splitlines() if listed.returncode == 0 else \
        [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not str(path.relative_to(ROOT)).startswith("build")]
    return sorted(name for name in names if (ROOT / name).is_file())


def chosen_files(patterns):
    """C files that a pattern names."""
    return [name for name in project_files() if name.endswith(".c")
            and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def test_patterns(name):
    """The patterns of the tests that hold a file."""
    return next((tests for pattern, tests in TESTS.items() if fnmatch.fnmatch(name, pattern)), [])


def known_survivors():
    """(file, check) -> reason."""
    known = {}
    for line in KNOWN.read_text(encoding="utf-8").splitlines() if KNOWN.exists() else []:
        if line.strip() and not line.startswith("#"):
            name, rest = line.split(" | ", 1)
            check, reason = rest.rsplit(" | ", 1)
            known[name, check] = reason.strip()
    return known


def one_line(check):
    """A check as mutants.list has it."""
    return " ".join(check.text.split())


class Tree:
    """A copy of the project with a build of its own."""

    def __init__(self, directory, sanitize):
        self.source = directory / "src"
        self.build = directory / "build"
        for name in project_files():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.source / name)
        options = [f"-Db_sanitize={sanitize}", "-Dwerror=false", "-Doptimization=1"]
        subprocess.run(["meson", "setup", *options, str(self.build), str(self.source)], check=True,
                       stdout=subprocess.DEVNULL)
        said = subprocess.run(["meson", "introspect", "--tests", str(self.build)], check=True,
                              capture_output=True, text=True).stdout
        self.tests = {test["name"]: test["cmd"] for test in json.loads(said)}

    def select(self, patterns):
        """Names of the tests that the patterns mean, in their order."""
        names = []
        for pattern in patterns:
            names += [name for name in self.tests if fnmatch.fnmatch(name, pattern) and name not in names]
        return names

    def passes(self, test):
        """Builds the test and runs it; None: it does not build."""
        command = self.tests[test]
        target = os.path.relpath(command[0], self.build)
        made = subprocess.run(["ninja", "-C", str(self.build), "-j1", target], capture_output=True, check=False)
        if made.returncode:
            return None
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=SECONDS, check=False,
                                  env={**os.environ, **SANITIZERS})
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def judge(self, name, check):
        """The test that notices; "" when none does, None when the mutant does not build."""
        path = self.source / name
        source = path.read_text(encoding="utf-8")
        path.write_text(check.deleted(source), encoding="utf-8")
        try:
            for test in self.select(test_patterns(name)):
                passed = self.passes(test)
                if passed is None:
                    return None
                if not passed:
                    return test
            return ""
        finally:
            path.write_text(source, encoding="utf-8")


def thinned(items, limit):
    """At most that many, spread evenly."""
    if not limit or limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


def run(trees, mutants, known):
    """Judges all; returns the survivors."""
    free = queue.SimpleQueue()
    for tree in trees:
        free.put(tree)
    counts = {"killed": 0, "survived": 0, "not built": 0}
    survivors, begun = [], time.monotonic()

    def judge(mutant):
        tree = free.get()
        try:
            return mutant, tree.judge(*mutant)
        finally:
            free.put(tree)

    with concurrent.futures.ThreadPoolExecutor(len(trees)) as pool:
        for number, (mutant, test) in enumerate(pool.map(judge, mutants), 1):
            name, check = mutant
            verdict = "not built" if test is None else "killed" if test else "survived"
            counts[verdict] += 1
            said = f"killed by {test}" if test else verdict.upper()
            if verdict == "survived":
                survivors.append(mutant)
                said += f" (known: {known[name, one_line(check)]})" if (name, one_line(check)) in known else ""
            print(f"[{number}/{len(mutants)} {time.monotonic() - begun:4.0f} s] {name}:{check.line}: "
                  f"{one_line(check)}: {said}", flush=True)
    judged = counts["killed"] + counts["survived"]
    print(f"score: {counts['killed']} of {judged} checks noticed "
          f"({100 * counts['killed'] / max(judged, 1):.1f} %), {counts['not built']} did not build")
    return survivors


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0],
                                     epilog="Default files: " + " ".join(DEFAULT))
    parser.add_argument("--files", nargs="+", default=DEFAULT, metavar="PATTERN", help="C files, from the root")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="this many checks, spread evenly (0: all)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies of the tree at work (1)")
    parser.add_argument("--plain", action="store_true", help="without sanitizers: quicker, and more survive")
    parser.add_argument("--list", action="store_true", help="print the checks and their tests, judge none")
    return parser.parse_args()


def main():
    args = options()
    mutants = [(name, check) for name in chosen_files(args.files)
               for check in mutation.bounds_checks((ROOT / name).read_text(encoding="utf-8"))]
    mutants = thinned(mutants, args.limit)
    if args.list:
        for name, check in mutants:
            print(f"{name}:{check.line}: {one_line(check)}")
        print(f"{len(mutants)} checks")
        return 0
    known = known_survivors()
    # So that the copies go when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="mutate-") as directory:
        sanitize = "none" if args.plain else "address,undefined"
        print(f"{len(mutants)} checks; preparing {args.jobs} copies of the tree", flush=True)
        trees = [Tree(pathlib.Path(directory) / str(job), sanitize) for job in range(args.jobs)]
        for test in trees[0].select(sorted({t for name, _ in mutants for t in test_patterns(name)})):
            if not trees[0].passes(test):
                print(f"mutate: {test} fails as it is", file=sys.stderr)
                return 2
            print(f"{test} passes as it is", flush=True)
        survivors = run(trees, mutants, known)
    unknown = [(name, check) for name, check in survivors if (name, one_line(check)) not in known]
    for name, check in unknown:
        print(f"survivor: {name}:{check.line}: {one_line(check)}")
    print(f"{len(survivors)} survivors, {len(survivors) - len(unknown)} of them known")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
