"""A client of vmm-launch that means harm: vmm-mgmt taken over, on the socketpair that is all it has.
Nothing root does for it may reach beyond the run directory, the images and the VMs' own users."""

import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "component"))
from test_launch import (  # noqa: E402, F401 pylint: disable=unused-import
    EXISTS, INVALID, MGMT, NOT_FOUND, REFUSED, SWITCH, VM, Failure, Launch, fixture_launch, refused,
    starttime, status)

DIRS_MAX = 1024  # launch/dirs.h
DEPTH = -32600, -32700  # what is no request, or no JSON


def holdings(launch):
    """(descriptors, KiB of memory) of vmm-launch, which has begun its work."""
    launch.call("launch.ready")
    said = status(launch.process.pid)
    return len(os.listdir(f"/proc/{launch.process.pid}/fd")), int(said["VmRSS"].split()[0])


def vmms(launch):
    """The processes that say their say into a VM's log of this run directory."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "fd/2").startswith(f"{launch.run}/vms/"):
                found.append(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            pass
    return found


@pytest.fixture(name="other")
def fixture_other(tmp_path):
    """Another vmm-launch of this host, with a run directory of its own."""
    directory = tmp_path / "other"
    directory.mkdir()
    launch = Launch(directory)
    yield launch
    launch.close()


def test_files_that_are_no_images(launch, tmp_path):
    """Whatever the path: only regular files, and block devices for disks, beneath --image-dir."""
    good = launch.image("good")
    outside = tmp_path / "secret"
    outside.write_text("not yours")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(launch.images / "socket"))
    os.mkfifo(launch.images / "fifo")
    os.mkdir(launch.images / "dir")
    os.symlink(tmp_path, launch.images / "dir/out")
    os.symlink("/proc/self/fd/3", launch.images / "magic")
    os.symlink("/proc/self", launch.images / "process")
    os.mknod(launch.images / "mem", 0o666 | stat.S_IFCHR, os.makedev(1, 1))
    os.mknod(launch.images / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    inside = ["socket", "fifo", "dir", "dir/", "dir/out/secret", "dir/../../secret", "magic", "process/exe",
              "process/fd/3", "mem", "null", "good/", "good/x", "..", ".", "", "x" * 5000]
    paths = [f"{launch.images}/{name}" for name in inside] + [
        str(outside), f"{launch.images}-x/good", f"{launch.images}/../secret", "/dev/mem", "/dev/kvm",
        "/dev/null", "/etc/shadow", "/proc/1/mem", "/proc/self/mem", "/proc/self/root/etc/shadow",
        f"/proc/self/root{good}", f"/./{good}", "good", "~/x", "fd:3", "fd:0", "\n", "%s%s%n"]
    before = holdings(launch)[0]
    for path in paths:
        with refused(INVALID, "boot.kernel"):
            launch.spawn(boot={"kernel": path})
        for read_only in (True, False):
            with refused(INVALID, "disks.0.file"):
                launch.spawn(disks=[{"id": "d", "file": path, "read_only": read_only}])
    os.mknod(launch.images / "block", 0o600 | stat.S_IFBLK, os.makedev(259, 1 << 19))  # none such
    with refused(INVALID, "boot.kernel"):
        launch.spawn(boot={"kernel": f"{launch.images}/block"})
    assert holdings(launch)[0] == before and not vmms(launch)


def test_a_file_is_written_by_one(launch):
    """Not by two disks of one VM, by no other name, not by another VM."""
    disk = launch.image("disk")
    os.link(disk, launch.images / "alias")
    alias = f"{launch.images}/alias"
    for second in (disk, alias):
        with refused(REFUSED, "disks.1.file"):
            launch.spawn(disks=[{"id": "a", "file": disk}, {"id": "b", "file": second}])
    launch.spawn("one", disks=[{"id": "a", "file": disk}])
    with refused(REFUSED, "disks.0.file"):
        launch.spawn("two", VM + 1, disks=[{"id": "a", "file": alias, "read_only": True}])


def test_users_that_are_not_its_to_give(launch):
    """uid 0, the daemon's, the switch's, another living VM's; also after a restart."""
    for uid in (0, 1, MGMT, SWITCH, 60997, 65534, -1, 2 ** 32, 2 ** 32 + VM, 2 ** 63, True, "61007"):
        with refused(*((INVALID, "uid") if uid != 2 ** 63 else (-32700, None))):
            launch.call("vm.spawn", id="g", uid=uid, config=launch.config())
    first = launch.spawn("first")
    for _ in range(2):
        with refused(REFUSED, "uid"):
            launch.spawn("second")
        assert vmms(launch) == [first["pid"]]
        launch.stop()
        launch.start()
    launch.call("process.kill", **first, signal=9)


def test_processes_that_are_not_its_to_end(launch, other):
    """Only those that were started for this run directory."""
    theirs = other.spawn("g1", VM + 1)
    with subprocess.Popen(["setpriv", "--reuid=61900", "--clear-groups", "sleep", "600"]) as stranger:
        ours = launch.spawn()
        for pid in (1, 2, os.getpid(), launch.process.pid, other.process.pid, theirs["pid"], stranger.pid):
            if os.path.exists(f"/proc/{pid}"):
                with refused(*((REFUSED, "pid") if pid > 1 else (INVALID, "pid"))):
                    launch.call("process.kill", pid=pid, start_time=starttime(pid), signal=9)
        for pid in (0, -1, -ours["pid"], 2 ** 31, 2 ** 32 + ours["pid"]):
            with refused(INVALID, "pid"):
                launch.call("process.kill", pid=pid, start_time=ours["start_time"], signal=9)
        for number in (0, 1, 10, 14, 19, 31, 64, -9, 9.0, "9"):
            with refused(INVALID, "signal"):
                launch.call("process.kill", **ours, signal=number)
        assert stranger.poll() is None and vmms(other) == [theirs["pid"]]
        launch.call("process.kill", **ours, signal=9)
        launch.exited(ours["pid"])
        stranger.kill()


def test_ids_that_are_paths(launch):
    """No id becomes a name outside its directory."""
    ids = ["..", ".", "", "/", "a/b", "../../etc", "a\nb", "a" * 33, "a" * 500000, "A", "g1 ", "é", "-" * 40,
           "%n", "\u2025", "\x7f", 0, -1, None, [], {}, True]
    for name in ids:
        for method, more in (("vm.spawn", {"uid": VM, "config": launch.config()}), ("vm.release", {})):
            with refused(INVALID, "id"):
                launch.call(method, id=name, **more)
        if name not in ("a" * 33, "-" * 40):  # a port's may have 65
            for method, more in (("port.prepare", {"gid": VM}), ("port.release", {})):
                with refused(INVALID, "id"):
                    launch.call(method, id=name, **more)
    for gid in (0, MGMT, SWITCH, 60000, 2 ** 32):
        with refused(INVALID, "gid"):
            launch.call("port.prepare", id="p", gid=gid)
    assert os.listdir(launch.run / "vms") == [] and os.listdir(launch.run / "ports") == []


def raw(launch, text):
    """One line as it is; the answer's error code."""
    launch.stream.write(text + b"\n")
    launch.stream.flush()
    return launch.message()["error"]["code"]


def test_lines_that_are_no_requests(launch):
    """NUL, duplicates, halves: an error, and the next request is answered."""
    request = b'{"jsonrpc":"2.0","id":1,"method":"vm.release","params":%s}'
    for params in (b'{"id":"g1\\u0000/../x"}', b'{"id":"a","id":"b"}', b'{"id":"\xff\xfe"}', b'{"id":"\x00"}',
                   b'{"id":1e400}',
                   b'{"id":' + b"9" * 400 + b"}", b'{"id":"x"', b"\\", b""):
        assert raw(launch, request % params) in DEPTH, params[:40]
    for text in (b"{}", b"[]", b"7", b"null", b'"x"', b'{"jsonrpc":"1.0","id":1,"method":"launch.ready"}'):
        assert raw(launch, text) in DEPTH, text
    with refused(-32601):
        launch.call("vm.spawn; rm")
    half = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "vm.release", "params": {"id": "none"}}).encode()
    for byte in half:
        launch.stream.write(bytes([byte]))
        launch.stream.flush()
    launch.stream.write(b"\n")
    launch.stream.flush()
    assert launch.message()["error"]["code"] == NOT_FOUND


@pytest.mark.parametrize("line", [b"[" * 100000 + b"]" * 100000, b'{"a":' * 50000 + b"1" + b"}" * 50000,
                                  b'"' + b"x" * (2 << 20) + b'"'], ids=["arrays", "objects", "long"])
def test_lines_that_end_it(launch, line):
    """Too deep or too long: vmm-launch is through with such a client; what runs goes on."""
    vm = launch.spawn()
    try:
        assert raw(launch, line) in DEPTH
    except (BrokenPipeError, ConnectionResetError):
        pass  # it did not wait for the end of the line
    assert launch.process.wait(20) == 0
    assert vmms(launch) == [vm["pid"]]
    launch.socket.close()
    launch.start()
    with refused(EXISTS):
        launch.spawn()
    launch.call("process.kill", **vm, signal=9)


def test_limits_without_measure(launch):
    """What is beyond all reason is refused, or bounded for the VM alone."""
    for limits in ({"nofile": 2 ** 31}, {"nofile": 0}, {"nofile": -1}, {"memlock_mib": -1}, {"memlock_mib": 2 ** 60},
                   {"nproc": 1}, {"nofile": None}, {"memlock_mib": "all"}):
        with refused(INVALID, next(iter(limits))):
            launch.call("vm.spawn", id="g1", uid=VM, config=launch.config(), limits=limits)
    with refused(INVALID, "limits"):
        launch.call("vm.spawn", id="g1", uid=VM, config=launch.config(), limits=[])
    pids = []
    for number, memory in enumerate((2 ** 62, -2 ** 62, 0, "all", None, [], {"size_mib": 1})):
        config = {**launch.config(), "memory": {"size_mib": memory}, "vcpus": memory}
        try:
            pids.append(launch.call("vm.spawn", id=f"g{number}", uid=VM + number, config=config)["pid"])
        except Failure as failure:
            assert failure.code in (INVALID, REFUSED), failure
    for pid in pids:
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        for name in ("processes", "open files", "locked memory", "address space"):
            assert limits.split(f"Max {name}")[1].split()[0] != "unlimited" or \
                (name == "address space" and os.environ.get("SANITIZE", "none") != "none"), (pid, name)
        os.kill(pid, signal.SIGKILL)


def test_more_files_than_a_vm_may_have(launch):
    """Descriptors run out for the request, not for vmm-launch."""
    files = [launch.image(f"f{number}") for number in range(120)]
    before = holdings(launch)[0]
    with pytest.raises(Failure):
        launch.spawn(disks=[{"id": f"d{number}", "file": file} for number, file in enumerate(files)])
    with pytest.raises(Failure):
        launch.spawn(boot={"kernel": files[0], "modules": [{"file": files[1]}] * 10000})
    launch.spawn(boot={"kernel": files[0], "cmdline": "x" * 900000})
    assert holdings(launch)[0] <= before + 1  # the pidfd of the one that runs


def burst(launch, method, every):
    """Many requests at once, a hundred on the way at a time; their error codes (0: none)."""
    codes = []
    for first in range(0, len(every), 100):
        lines = [json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
                 for params in every[first:first + 100]]
        launch.socket.sendall(b"\n".join(lines) + b"\n")
        codes += [launch.message().get("error", {"code": 0})["code"] for _ in lines]
    return codes


def test_ten_thousand_requests(launch):
    """Of one name: one process. Of names without end: directories up to a bound, and no process."""
    launch.spawn("same")
    same = {"id": "same", "uid": VM, "config": launch.config()}
    launch.spawn("warm", VM + 1)
    burst(launch, "vm.spawn", [same] * 200)
    before = holdings(launch)
    assert burst(launch, "vm.spawn", [same] * 10000) == [EXISTS] * 10000
    bad = {"memory": {"size_mib": 64}, "boot": {"kernel": "/nowhere"}}
    codes = burst(launch, "vm.spawn", [{"id": f"n{number}", "uid": VM + 2 + number % 1000, "config": bad}
                                       for number in range(1100)])
    assert codes == [INVALID] * (DIRS_MAX - 2) + [REFUSED] * (1100 - DIRS_MAX + 2)
    codes = burst(launch, "port.prepare", [{"id": f"p{number}", "gid": VM} for number in range(1100)])
    assert codes == [0] * DIRS_MAX + [REFUSED] * (1100 - DIRS_MAX)
    assert len(os.listdir(launch.run / "vms")) == len(os.listdir(launch.run / "ports")) == DIRS_MAX
    assert len(vmms(launch)) == 2
    after = holdings(launch)
    assert after[0] == before[0]
    if os.environ.get("SANITIZE", "none") == "none":
        assert after[1] <= before[1] + 2048, f"KiB: {before[1]}, then {after[1]}"
    launch.call("vm.release", id="n0")  # and it goes on
    with refused(INVALID, "boot.kernel"):
        launch.call("vm.spawn", id="fresh", uid=VM + 3, config=bad)
