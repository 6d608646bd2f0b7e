"""vmm-launch with real processes: what the programs it starts are given, and what it refuses.

A probe stands for vmm and vswitch. Needs root; needs /dev/kvm only to be opened.
"""

import fcntl
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

BUILD = pathlib.Path(os.environ["BUILD_DIR"])
MGMT, SWITCH, VM = 60999, 60998, 61007
SYS_ADMIN = 1 << 21  # CAP_SYS_ADMIN
INVALID, EXISTS, REFUSED, NOT_FOUND, BUSY = -32602, -32002, -32003, -32001, -32005
DEADLINE = 20  # seconds until a test gives up on something that must happen


class Failure(Exception):
    """An error answer."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.field = (error.get("data") or {}).get("field")


class Launch:
    """A vmm-launch and its client's end of the socketpair."""

    def __init__(self, tmp, *options, bin_dir=None, environment=None, log=subprocess.DEVNULL):
        self.run = tmp / "run"
        self.images = tmp / "images"
        self.images.mkdir()
        self.bin = bin_dir or tmp / "bin"
        if not bin_dir:
            self.bin.mkdir()
            for program in ("vmm", "vswitch"):
                shutil.copy(BUILD / "tests/component/launch_probe", self.bin / program)
        self.options = options
        self.environment = environment  # None: ours
        self.log_file = log
        self.started = []
        self.next_id = 0
        self.notes = []
        self.start()

    def start(self):
        """(Re)start the program itself."""
        ours, theirs = socket.socketpair()
        command = [BUILD / "launch/vmm-launch", "--run-dir", self.run, "--bin-dir", self.bin,
                   "--image-dir", self.images, *self.options]
        # Descriptor 3 must be the socket; ours could be any number.
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{theirs.fileno()} {theirs.fileno()}<&-', "sh", *command],
            pass_fds=[theirs.fileno()], stderr=self.log_file, env=self.environment)
        theirs.close()
        ours.settimeout(DEADLINE)
        self.stream = ours.makefile("rwb")
        self.socket = ours

    def stop(self):
        """Close its socket, as a dying vmm-mgmt does."""
        self.stream.close()
        self.socket.close()
        return self.process.wait(DEADLINE)

    def close(self):
        """Leave nothing behind, however the test went."""
        if self.process.poll() is None:
            self.stop()
        for pid in self.started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def message(self):
        """The next line from it."""
        line = self.stream.readline()
        assert line, "vmm-launch closed the connection"
        return json.loads(line)

    def call(self, method, **params):
        """One request; its result, or Failure."""
        self.next_id += 1
        request = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        self.stream.write(json.dumps(request).encode() + b"\n")
        self.stream.flush()
        while "id" not in (answer := self.message()):
            self.notes.append(answer)
        if "error" in answer:
            raise Failure(answer["error"])
        if method.endswith(".spawn"):
            self.started.append(answer["result"]["pid"])
        return answer["result"]

    def exited(self, pid):
        """The notification that this process ended."""
        while True:
            for note in self.notes:
                if note["method"] == "process.exited" and note["params"]["pid"] == pid:
                    if pid in self.started:
                        self.started.remove(pid)
                    return note["params"]
            self.notes.append(self.message())

    def image(self, name, size=512):
        """Make a file beneath the image directory."""
        path = self.images / name
        path.write_bytes(b"\0" * size)
        return str(path)

    def config(self, **more):
        """The least a VM needs."""
        return {"memory": {"size_mib": 64}, "boot": {"kernel": self.image("kernel")}, **more}

    def spawn(self, name="g1", uid=VM, **more):
        """vm.spawn with a good configuration."""
        return self.call("vm.spawn", id=name, uid=uid, config=self.config(**more))

    def log(self, where, until="ready"):
        """A program's standard error, when it has said `until`."""
        path = self.run / where / "log"
        end = time.monotonic() + DEADLINE
        while until not in (text := path.read_text()):
            assert time.monotonic() < end, text
            time.sleep(0.01)
        return text


@pytest.fixture(name="launch")
def fixture_launch(tmp_path):
    """A running vmm-launch; whatever it started is gone afterwards."""
    os.chmod(tmp_path, 0o755)
    launch = Launch(tmp_path)
    yield launch
    launch.close()


def status(pid):
    """/proc/PID/status as a dict."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def owner_and_mode(path):
    """(uid, gid, mode) of a path itself."""
    info = os.lstat(path)
    return info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)


def raised(kind, wanted):
    """What a limit can be set to: all that is wanted, if root may raise limits here."""
    hard = resource.getrlimit(kind)[1]
    may = int(status("self")["CapEff"], 16) >> 24 & 1 or hard == resource.RLIM_INFINITY
    return wanted if may else min(wanted, hard)


def refused(code, field=None):
    """Expect an error answer."""
    context = pytest.raises(Failure)

    class Check:
        """Checks the code and the field as well."""

        def __enter__(self):
            self.info = context.__enter__()

        def __exit__(self, *args):
            handled = context.__exit__(*args)
            assert (self.info.value.code, self.info.value.field) == (code, field), self.info.value
            return handled
    return Check()


def link(pid, name):
    """A link of /proc/PID as the process sees it: its mounts are its own, so where we stand in a chroot the
    kernel tells the way from the real root."""
    root, found = os.readlink(f"/proc/{pid}/root"), os.readlink(f"/proc/{pid}/{name}")
    return found if root == "/" else found.removeprefix(root) or "/"


def test_vmm_has_nothing_but_its_own(launch):
    disk = launch.image("disk")
    result = launch.spawn(disks=[{"id": "d", "mode": "virtio-blk", "file": disk}])
    pid = result["pid"]
    launch.log("vms/g1")
    said = status(pid)
    assert said["Uid"].split() == [str(VM)] * 4
    assert said["Gid"].split() == [str(VM)] * 4
    assert said["Groups"].split() == []
    # To enter its root with, which the probe does not do; it can gain no other.
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(said[kind], 16) == SYS_ADMIN, kind
    assert int(said["CapBnd"], 16) == 0
    assert said["NoNewPrivs"] == "1"
    assert int(said["SigBlk"], 16) == 0 and int(said["SigIgn"], 16) == 0
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(fields[3]) == pid  # a session of its own
    assert int(fields[19]) == result["start_time"]
    assert link(pid, "cwd") == "/"
    for kind in ("mnt", "net", "pid", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    assert said["NSpid"].split() == [str(pid), "1"]


def argument(text, option):
    """The value of an option in what the probe said."""
    words = [l[4:] for l in text.splitlines() if l.startswith("arg ")]
    return words[words.index(option) + 1]


def test_vmm_gets_just_its_descriptors(launch):
    disk = launch.image("disk")
    pid = launch.spawn(disks=[{"id": "d", "file": disk}])["pid"]
    text = launch.log("vms/g1")
    config = json.loads(next(l for l in text.splitlines() if l.startswith("config "))[7:])
    links = {int(n): link(pid, f"fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}

    def named(value):
        assert value.startswith("fd:")
        return links.pop(int(value[3:]))
    assert links.pop(0) == "/dev/null"
    assert links.pop(1) == links.pop(2) == str(launch.run / "vms/g1/log")
    assert links.pop(3).startswith("/memfd:vm-config")
    assert named(config["boot"]["kernel"]) == str(launch.images / "kernel")
    assert named(config["disks"][0]["file"]) == disk
    assert named(config["kvm"]) == "/dev/kvm"
    assert named(config["exit_record"]) == str(launch.run / "vms/g1/exit.json")
    assert named(config["control"]).startswith("socket:")
    assert named(config["console"]["file"]).startswith("socket:")
    assert named(argument(text, "--root")) == "/"
    assert config["console"]["type"] == "socket" and config["id"] == "g1"
    assert list(links.values()) == [disk]  # the lock


def test_vmm_arguments_environment_and_limits(launch):
    pid = launch.spawn()["pid"]
    lines = launch.log("vms/g1").splitlines()
    assert [l[4:] for l in lines if l.startswith("arg ")] == [
        "vmm", "--config", "fd:3", "--root", "fd:9", "--control-uid", str(MGMT), "--log-level", "info"]
    names = {l[4:].split("=")[0] for l in lines if l.startswith("env ")}
    assert names <= {"PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"}
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    wanted = {"Max locked memory": raised(resource.RLIMIT_MEMLOCK, (64 + 64) << 20),
              "Max core file size": 0, "Max open files": 1024, "Max processes": 1 + 64,
              "Max msgqueue size": 0, "Max nice priority": 0,
              "Max realtime priority": 0}
    if "address" not in os.environ.get("SANITIZE", ""):
        wanted["Max address space"] = (64 + 2 + 256 + 16) << 20
    assert limits.split("Max file size")[1].split()[:2] == [str(8 << 20), str(64 << 20)]
    for name, value in wanted.items():
        assert limits.split(name)[1].split()[:2] == [str(value)] * 2, name


def test_limits_by_request(launch):
    pid = launch.call("vm.spawn", id="g1", uid=VM, config=launch.config(),
                      limits={"memlock_mib": 3, "nofile": 100})["pid"]
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert limits.split("Max locked memory")[1].split()[0] == str(3 << 20)
    assert limits.split("Max open files")[1].split()[0] == "100"
    with refused(INVALID, "nofile"):
        launch.call("vm.spawn", id="g2", uid=VM + 1, config=launch.config(), limits={"nofile": 1})


def test_directories_and_sockets(launch):
    launch.spawn()
    launch.call("switch.spawn")
    launch.call("port.prepare", id="g1.net0", gid=VM)
    run = launch.run
    assert owner_and_mode(run) == (0, 0, 0o755)
    assert owner_and_mode(run / "vms/g1") == (0, MGMT, 0o750)
    assert owner_and_mode(run / "vms/g1/exit.json") == (0, MGMT, 0o640)
    assert owner_and_mode(run / "vms/g1/log") == (0, MGMT, 0o640)
    for name in ("vms/g1/control.sock", "vms/g1/console.sock", "vswitch/control.sock"):
        assert owner_and_mode(run / name) == (MGMT, MGMT, 0o600)
        assert stat.S_ISSOCK(os.lstat(run / name).st_mode)
    assert owner_and_mode(run / "vswitch/run") == (SWITCH, SWITCH, 0o700)
    assert owner_and_mode(run / "ports/g1.net0") == (SWITCH, VM, 0o2750)


def test_switch(launch):
    pid = launch.call("switch.spawn")["pid"]
    text = launch.log("vswitch")
    said = status(pid)
    assert said["Uid"].split() == [str(SWITCH)] * 4
    assert int(said["CapEff"], 16) == int(said["CapBnd"], 16) == 0
    assert "arg --control\narg fd:3\n" in text
    assert f"env XDG_RUNTIME_DIR={launch.run}/vswitch/run" in text
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2", "3"]
    with refused(EXISTS):
        launch.call("switch.spawn")


def test_switch_options_come_from_the_operator(tmp_path):
    os.chmod(tmp_path, 0o755)
    launch = Launch(tmp_path, "--switch-args", "--lcores 1 -- --no-huge", "--switch-caps", "net_raw,net_admin")
    try:
        pid = launch.call("switch.spawn")["pid"]
        assert "arg --lcores\narg 1\narg --\narg --no-huge\n" in launch.log("vswitch")
        said = status(pid)
        for kind in ("CapPrm", "CapEff", "CapAmb", "CapInh"):
            assert int(said[kind], 16) == 1 << 12 | 1 << 13, kind
        assert int(said["CapBnd"], 16) == 0  # and it can gain no other
        with refused(INVALID, "args"):
            launch.call("switch.spawn", args=["-d", "evil.so"])
        launch.call("process.kill", pid=pid, start_time=starttime(pid), signal=9)
        assert launch.exited(pid)["signal"] == 9
    finally:
        launch.close()


def starttime(pid):
    """Field 22 of its stat."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


def test_exit_is_told(launch):
    first = launch.spawn("exit-7")
    assert launch.exited(first["pid"]) == {**first, "status": 7}
    second = launch.spawn("g2")
    launch.log("vms/g2")  # it is there to hear the signal
    launch.call("process.kill", **second, signal=15)
    assert launch.exited(second["pid"]) == {**second, "status": 15}  # the probe's own handler
    assert not os.path.exists(f"/proc/{second['pid']}")
    third = launch.spawn("g3")
    launch.call("process.kill", **third, signal=9)
    assert launch.exited(third["pid"]) == {**third, "signal": 9}


def test_kill_is_for_the_right_process(launch):
    vm = launch.spawn()
    with refused(NOT_FOUND, "start_time"):
        launch.call("process.kill", pid=vm["pid"], start_time=vm["start_time"] + 1, signal=9)
    with refused(REFUSED, "pid"):  # ours, and not the client's to kill
        launch.call("process.kill", pid=os.getpid(), start_time=starttime(os.getpid()), signal=9)
    with refused(INVALID, "signal"):
        launch.call("process.kill", **vm, signal=11)
    with refused(INVALID, "pid"):
        launch.call("process.kill", pid=-1, start_time=1, signal=9)
    launch.call("process.kill", **vm, signal=9)
    launch.exited(vm["pid"])
    with refused(NOT_FOUND, "pid"):
        launch.call("process.kill", **vm, signal=9)


def test_processes_outlive_launch_and_are_found_again(launch):
    vm = launch.spawn()
    switch = launch.call("switch.spawn")
    assert launch.stop() == 0
    assert status(vm["pid"])["Uid"].split()[0] == str(VM)
    launch.start()
    with refused(EXISTS):
        launch.spawn()
    with refused(EXISTS):
        launch.call("switch.spawn")
    with refused(BUSY, "id"):
        launch.call("vm.release", id="g1")
    launch.call("process.kill", **vm, signal=9)
    launch.call("process.kill", **switch, signal=9)
    end = time.monotonic() + DEADLINE
    while os.path.exists(f"/proc/{vm['pid']}") and status(vm["pid"])["State"][0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)
    again = launch.spawn()  # over the directory and the sockets of its predecessor
    assert again["pid"] != vm["pid"]


def test_launch_itself(launch):
    """Root with the least of it, and nobody listened to but who is at the other end of its socket."""
    launch.spawn()
    launch.call("switch.spawn")
    said = status(launch.process.pid)
    names = "chown dac_override fowner fsetid kill setgid setuid setpcap sys_admin sys_resource"
    numbers = {"chown": 0, "dac_override": 1, "fowner": 3, "fsetid": 4, "kill": 5, "setgid": 6, "setuid": 7,
               "setpcap": 8, "sys_admin": 21, "sys_resource": 24}
    wanted = sum(1 << numbers[name] for name in names.split()) & int(status("self")["CapPrm"], 16)
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert int(said[kind], 16) == wanted, kind
    assert int(said["CapInh"], 16) == int(said["CapAmb"], 16) == 0
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
    links = {fd: os.readlink(f"/proc/{launch.process.pid}/fd/{fd}")
             for fd in os.listdir(f"/proc/{launch.process.pid}/fd")}
    sockets = [fd for fd, link in links.items() if link.startswith("socket:")]
    assert sockets == ["3"], links
    inode = links["3"][8:-1]
    lines = pathlib.Path(f"/proc/{launch.process.pid}/net/unix").read_text().splitlines()
    line = next(words for words in map(str.split, lines) if words[6] == inode)
    assert (line[3], line[5], len(line)) == ("00000000", "03", 7), line  # connected, no listener, no name


def test_one_at_a_time(launch):
    """A successor waits for the one that still has a request to finish."""
    launch.spawn()
    vms = os.open(launch.run / "vms", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(vms, fcntl.LOCK_EX | fcntl.LOCK_NB)
    launch.stop()
    fcntl.flock(vms, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what it started does not hold it
    os.close(vms)


def test_one_whose_client_died_waits_for_nobody(launch):
    """Else it would be there as long as its successor."""
    launch.call("launch.ready")
    first = launch.process, launch.stream, launch.socket
    launch.start()
    launch.socket.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "launch.ready"}\n')
    assert not select.select([launch.socket], [], [], 0.2)[0]  # it has to wait
    assert launch.stop() == 0
    launch.process, launch.stream, launch.socket = first
    launch.call("launch.ready")


def test_one_uid_one_vm(launch):
    launch.spawn("g1")
    with refused(REFUSED, "uid"):
        launch.spawn("g2")


def test_release(launch):
    vm = launch.spawn()
    with refused(BUSY, "id"):
        launch.call("vm.release", id="g1")
    launch.call("process.kill", **vm, signal=9)
    launch.exited(vm["pid"])
    launch.call("vm.release", id="g1")
    assert not (launch.run / "vms/g1").exists()
    with refused(NOT_FOUND, "id"):
        launch.call("vm.release", id="g1")
    launch.call("port.prepare", id="p", gid=VM)
    victim = launch.images / "victim"
    victim.write_text("kept")
    os.symlink(victim, launch.run / "ports/p/sock")
    launch.call("port.release", id="p")
    assert not (launch.run / "ports/p").exists() and victim.read_text() == "kept"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "A", "a b", "x" * 33, "a\n", "é", 7, None])
def test_refused_ids(launch, name):
    with refused(INVALID, "id"):
        launch.call("vm.spawn", id=name, uid=VM, config=launch.config())
    with refused(INVALID, "id"):
        launch.call("vm.release", id=name)
    if name not in ("x" * 33,):
        with refused(INVALID, "id"):
            launch.call("port.prepare", id=name, gid=VM)


@pytest.mark.parametrize("uid", [0, 1000, SWITCH, MGMT, 60000, 65000, -1, 61000.5, "61000", 2 ** 40])
def test_refused_uids(launch, uid):
    with refused(INVALID, "uid"):
        launch.call("vm.spawn", id="g1", uid=uid, config=launch.config())
    with refused(INVALID, "gid"):
        launch.call("port.prepare", id="p", gid=uid)


def test_refused_files(launch):
    inside = launch.image("good")
    os.symlink("/etc/passwd", launch.images / "link-out")
    os.symlink(inside, launch.images / "link-in")
    os.mkfifo(launch.images / "fifo")
    os.mkdir(launch.images / "dir")
    os.mknod(launch.images / "char", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    bad = ["/etc/passwd", "relative", "fd:0", "", str(launch.images), str(launch.images) + "-other/x",
           str(launch.images / "../../../../../../../../etc/passwd"), "/proc/self/fd/3", 7]
    bad += [str(launch.images / name) for name in ("link-out", "link-in", "fifo", "dir", "char", "absent")]
    for path in bad:
        with refused(INVALID, "boot.kernel"):
            launch.spawn(boot={"kernel": path})
        with refused(INVALID, "boot.initrd"):
            launch.spawn(boot={"kernel": inside, "initrd": path})
        with refused(INVALID, "boot.modules.1.file"):
            launch.spawn(boot={"kernel": inside, "modules": [{"file": inside}, {"file": path}]})
        with refused(INVALID, "disks.0.file"):
            launch.spawn(disks=[{"id": "d", "file": path}])
    for path in ("fd:3", "/etc/passwd", f"{launch.run}/vswitch/control.sock", f"{launch.run}/ports/absent/sock",
                 f"{launch.run}/ports/../vswitch/sock", f"{launch.run}/ports/p/other", f"{launch.run}/ports//sock"):
        with refused(INVALID, "nics.0.socket"):
            launch.spawn(nics=[{"id": "n", "socket": path}])
    assert launch.spawn()["pid"]  # nothing of all that is left behind


def test_its_root_has_its_ports_and_nothing_else(launch):
    for port, gid in (("mine", VM), ("also-mine", VM), ("another", VM + 1)):
        launch.call("port.prepare", id=port, gid=gid)
        (launch.run / "ports" / port / "sock").touch()

    def nic(port):
        return {"id": port, "socket": f"{launch.run}/ports/{port}/sock"}
    with refused(REFUSED, "nics.1.socket"):
        launch.spawn(nics=[nic("mine"), nic("another")])
    pid = launch.spawn(nics=[nic("mine"), nic("also-mine")])["pid"]
    text = launch.log("vms/g1")
    root = f"/proc/{pid}/fd/{argument(text, '--root')[3:]}"
    found = {os.path.relpath(os.path.join(where, name), root)
             for where, dirs, files in os.walk(root) for name in dirs + files}
    ports = (launch.run / "ports").relative_to("/")
    above = {str(p) for p in (ports, *ports.parents)} - {"."}
    assert found == above | {str(ports / p) for p in ("mine", "also-mine")} | {
        str(ports / p / "sock") for p in ("mine", "also-mine")}
    # As its mount table has it; what is above belongs to the host and goes when the root is entered.
    mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    ours = [(l.split()[4], set(l.split()[5].split(","))) for l in mounts
            if f"/{ports}/" in l.split()[4] or (l.split()[4] == "/" and " - tmpfs " in l)]
    assert sorted(at for at, _ in ours) == ["/", f"/{ports}/also-mine", f"/{ports}/mine"]
    assert all({"ro", "nosuid", "nodev", "noexec"} <= options for _, options in ours)
    # The switch's side goes on as before.
    (launch.run / "ports/mine/sock").unlink()
    assert not os.path.exists(f"{root}/{ports}/mine/sock")
    launch.call("port.release", id="also-mine")


def test_a_written_disk_belongs_to_one_vm(launch):
    disk = launch.image("disk")
    writer = launch.spawn("w", uid=VM, disks=[{"id": "d", "file": disk}])
    for read_only in (False, True):
        with refused(REFUSED, "disks.0.file"):
            launch.spawn("x", uid=VM + 1, disks=[{"id": "d", "file": disk, "read_only": read_only}])
    launch.call("process.kill", **writer, signal=9)
    launch.exited(writer["pid"])
    for number in (1, 2):
        launch.spawn(f"r{number}", uid=VM + number, disks=[{"id": "d", "file": disk, "read_only": True}])
    with refused(REFUSED, "disks.0.file"):
        launch.spawn("w", uid=VM, disks=[{"id": "d", "file": disk}])
    with open(disk, "rb") as f, pytest.raises(OSError):  # others see it, too
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_read_only_disk_cannot_be_written(launch):
    disk = launch.image("disk")
    pid = launch.spawn(disks=[{"id": "d", "file": disk, "read_only": True}])["pid"]
    launch.log("vms/g1")  # it has done what opens and closes files
    flags = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        info = pathlib.Path(f"/proc/{pid}/fdinfo/{number}").read_text()
        flags[os.readlink(f"/proc/{pid}/fd/{number}")] = int(info.split("flags:")[1].split()[0], 8)
    assert flags[disk] & os.O_ACCMODE == os.O_RDONLY
    assert flags[str(launch.images / "kernel")] & os.O_ACCMODE == os.O_RDONLY


def test_bad_requests(launch):
    with refused(INVALID, "colour"):
        launch.call("vm.spawn", id="g1", uid=VM, config=launch.config(), colour="red")
    with refused(INVALID, "config"):
        launch.call("vm.spawn", id="g1", uid=VM, config=[])
    with refused(-32601):
        launch.call("vm.explode")
    launch.spawn(boot=7, disks="none", nics={}, memory=None)  # nonsense is the vmm's to refuse


def test_questions_about_the_host(launch):
    for question in ("pci.list", "host.doctor"):
        with refused(INVALID, "colour"):
            launch.call(question, colour="red")
    answer = launch.call("pci.list")
    sysfs = pathlib.Path("/sys/bus/pci/devices")
    assert [device["bdf"] for device in answer["items"]] == \
        sorted(path.name for path in (sysfs.iterdir() if sysfs.exists() else ()))
    memlock, = [check for check in launch.call("host.doctor")["items"] if check["id"] == "memlock"]
    may_raise = int(status(launch.process.pid)["CapEff"], 16) >> 24 & 1  # CAP_SYS_RESOURCE
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY
    assert (memlock["status"] == "ok") == bool(may_raise or unlimited), memlock
    assert launch.spawn()["pid"]  # asking has changed nothing of ourselves


def test_program_missing(launch):
    (launch.bin / "vmm").unlink()
    with refused(-32004):
        launch.spawn()
    (launch.bin / "vmm").write_text("not a program")
    with refused(-32004):
        launch.spawn()


def assert_confined(pid):
    """A vmm whose guest runs has given up all it could."""
    threads = [status(f"{pid}/task/{thread}") for thread in os.listdir(f"/proc/{pid}/task")]
    # io_uring's and KVM's threads are the kernel's.
    threads = [said for said in threads if not said["Name"].startswith(("iou-", "kvm-"))]
    assert sorted(said["Name"] for said in threads) == ["vcpu0", "vmm"]
    for said in threads:
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(said[kind], 16) == 0, kind
        # Its own list, and what vmm-launch has forbidden to all.
        assert (said["NoNewPrivs"], said["Seccomp"], said["Seccomp_filters"]) == ("1", "2", "2")
    assert os.listdir(f"/proc/{pid}/root") == [] and os.listdir(f"/proc/{pid}/cwd") == []
    assert not [n for n in os.listdir(f"/proc/{pid}/fd") if os.path.isdir(f"/proc/{pid}/fd/{n}")]
    mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    assert len(mounts) == 1 and {"ro", "nosuid", "nodev", "noexec"} <= set(mounts[0].split()[5].split(","))
    if "address" not in os.environ.get("SANITIZE", ""):
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0  # not dumpable: its own user may not look


def test_the_real_programs(tmp_path):
    """vmm runs a guest and vswitch forwards with what they are given, and no more."""
    os.chmod(tmp_path, 0o755)
    launch = Launch(tmp_path, bin_dir=BUILD)
    try:
        switch = launch.call("switch.spawn")
        launch.log("vswitch", "ready")
        shutil.copy(BUILD / "tests/guest/tiny", launch.images / "kernel")
        disk = launch.image("disk", 2 << 20)
        config = {"memory": {"size_mib": 64}, "disks": [{"id": "d", "mode": "virtio-blk", "file": disk}],
                  "boot": {"kernel": str(launch.images / "kernel"), "cmdline": "end=button"}}
        vm = launch.call("vm.spawn", id="g1", uid=VM, config=config)
        launch.log("vms/g1", "running")
        assert_confined(vm["pid"])
        launch.call("process.kill", **vm, signal=15)  # presses the guest's power button
        assert launch.exited(vm["pid"])["status"] == 0, launch.log("vms/g1", "")
        assert "error" not in launch.log("vms/g1", "")
        record = json.loads((launch.run / "vms/g1/exit.json").read_text())
        assert (record["id"], record["reason"], record["pid"]) == ("g1", "shutdown", vm["pid"])
        launch.call("process.kill", **switch, signal=15)
        assert launch.exited(switch["pid"])["status"] == 0
    finally:
        launch.close()


def run_plainly(*args, **kwargs):
    """vmm-launch without a client."""
    return subprocess.run([BUILD / "launch/vmm-launch", *args], capture_output=True, text=True,
                          timeout=DEADLINE, check=False, stdin=subprocess.DEVNULL, **kwargs)


def test_command_line(tmp_path):
    shown = run_plainly("--help")
    assert shown.returncode == 0
    for option in ("--run-dir", "--bin-dir", "--mgmt-uid", "--image-dir", "--switch-args",
                   "--switch-caps", "--log-level"):
        assert option in shown.stdout
    for bad in (["--mgmt-uid", "0"], ["--mgmt-uid", "61000"], ["--mgmt-uid", "x"], ["--image-dir", "x"],
                ["--switch-caps", "sys_admin"], ["--run-dir", "x"], ["--log-level", "x"], ["x"], ["--x"]):
        said = run_plainly(*bad)
        assert said.returncode == 2 and said.stderr.count("\n") == 1, said.stderr
    said = run_plainly("--run-dir", str(tmp_path / "run"))
    assert said.returncode == 2 and "started by vmm-mgmt" in said.stderr


def test_run_directory_of_another(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    os.chown(run, MGMT, MGMT)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        said = subprocess.run(
            ["/bin/bash", "-c", f'exec "$@" 3<&{theirs.fileno()}', "sh", BUILD / "launch/vmm-launch",
             "--run-dir", run], pass_fds=[theirs.fileno()], capture_output=True, text=True,
            timeout=DEADLINE, check=False)
    assert said.returncode == 1 and "must be root's" in said.stderr
