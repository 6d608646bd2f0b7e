"""A cache of things costly to make, keyed by a hash of what they are made from.

Entries are directories under ${XDG_CACHE_HOME:-~/.cache}/vmm-appliance. One is made in a temporary
directory and renamed into place whole, so a reader never sees half an entry and an interrupted
build leaves none; a lock lets a second builder wait for the first instead of doing the work again.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile


def root():
    """The cache's directory, made if it is not there."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = pathlib.Path(base) / "vmm-appliance"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(inputs):
    """Hash a list of strings, bytes and paths (of files or folders, taken by content and mode)."""
    state = hashlib.sha256()
    for item in inputs:
        if isinstance(item, pathlib.Path):
            files = sorted(p for p in item.rglob("*") if p.is_file()) if item.is_dir() else [item]
            for file in files:
                state.update(f"{file.name} {file.stat().st_mode:o}\0".encode())
                state.update(hashlib.sha256(file.read_bytes()).digest())
        else:
            state.update(item if isinstance(item, bytes) else str(item).encode())
        state.update(b"\0")
    return state.hexdigest()[:16]


def entry(name, inputs, build):
    """The directory of `name` made from `inputs`; build(directory) fills it when it is missing."""
    final = root() / f"{name}-{digest(inputs)}"
    if final.is_dir():
        return final
    with open(root() / f".{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            return final
        print(f"lab: making {name}, once; it is kept in {root()}", file=sys.stderr)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root()))
        try:
            build(scratch)
            scratch.chmod(0o755)
            scratch.rename(final)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    return final
