"""What outlives what: VMs, switch and daemon killed, found again and restarted; with the real
programs, and a tiny guest under this machine's KVM. Needs root and /dev/kvm."""

import contextlib
import os
import pathlib
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "mgmt"))
from daemon import BUILD, DEADLINE, Daemon, wait_until  # noqa: E402

WAITS = "quiet end=button"  # a guest that does nothing until its power button is pressed
MGMT = BUILD / "mgmt/vmm-mgmt"


class Host(Daemon):
    """The real programs; VMs run the tiny guest."""

    def __init__(self, options=(), vmm="vmm/vmm"):
        super().__init__(vmm, options=options)
        shutil.copy(BUILD / "tests/guest/tiny", self.images / "tiny")
        self.wait_switch()

    def tiny(self, vm, cmdline=WAITS, **more):
        """Define a VM."""
        return self.ok("POST", "/v1/vms", {
            "id": vm, "memory": {"size_mib": 64},
            "boot": {"kernel": str(self.images / "tiny"), "cmdline": cmdline}, **more})

    def started(self, vm, cmdline=WAITS, **more):
        """Define and start one."""
        self.tiny(vm, cmdline, **more)
        return self.ok("POST", f"/v1/vms/{vm}/start")

    def again(self):
        """Start the daemon again and wait for the switch."""
        self.start()
        self.wait_switch()

    @contextlib.contextmanager
    def store(self):
        """The database, while the daemon is down."""
        with contextlib.closing(sqlite3.connect(self.directory / "state/vmm.db")) as database:
            yield database
            database.commit()


@pytest.fixture
def host():
    daemon = Host()
    yield daemon
    daemon.destroy()


def alive(pid):
    """Whether it runs (a zombie does not)."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid):
    """Kill a process and wait until it is gone, with all its threads."""
    with os.fdopen(os.pidfd_open(pid), "rb") as pidfd:
        os.kill(pid, signal.SIGKILL)
        assert select.select([pidfd], [], [], DEADLINE)[0], f"{pid} does not end"


def status_of(pid):
    """/proc/PID/status."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def console(host, vm, until):
    """Read the console until `until` was said."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(host.vm(vm)["console"])
        said = ""
        while until not in said:
            piece = sock.recv(4096)
            assert piece, said
            said += piece.decode(errors="replace")
    return said


def test_a_guests_life(host):
    (host.images / "disk").write_bytes(b"tiny".ljust(2 << 20, b"\0"))
    vm = host.started("g1", WAITS, nics=[{"id": "net0"}],
                      disks=[{"id": "disk0", "file": str(host.images / "disk")}])
    assert vm["state"] == "running"
    assert "waiting" in console(host, "g1", "waiting")
    info = host.ok("GET", "/v1/vms/g1/info")
    assert (info["id"], info["state"], info["pid"]) == ("g1", "running", vm["pid"])
    assert host.ok("GET", "/v1/vms/g1/counters")["devices"]
    port = host.port("g1-net0")
    assert (port["state"], port["faults"]) == ("up", {})
    assert host.ok("POST", "/v1/vms/g1/pause")["state"] == "paused"
    host.ok("POST", "/v1/vms/g1/reset")
    assert host.vm("g1")["state"] == "paused"
    assert host.ok("POST", "/v1/vms/g1/resume")["state"] == "running"
    console(host, "g1", "waiting")
    host.ok("POST", "/v1/vms/g1/shutdown")
    vm = host.wait_state("g1", "stopped")
    assert (vm["last_exit"]["reason"], vm["restarts"]) == ("shutdown", 0)
    assert host.port("g1-net0") is None


def test_kernel_that_is_none(host):
    (host.images / "tiny").write_bytes(b"\x7fELF but no more")
    host.tiny("g1")
    answer = host.call("POST", "/v1/vms/g1/start")
    assert answer.status == 422 and "kernel" in answer.json["detail"], answer.text
    assert host.vm("g1")["last_exit"]["reason"] == "config"


@pytest.mark.parametrize("policy,restarts", [("never", False), ("on-failure", False),
                                             ("always", True)])
def test_guest_that_powers_off(host, policy, restarts):
    host.started("g1", "quiet end=off", restart=policy)
    if restarts:
        wait_until(lambda: host.vm("g1")["restarts"] >= 2, "restarts")
        host.ok("PATCH", "/v1/vms/g1", {"restart": "never"})
    vm = host.wait_state("g1", "stopped")
    wait_until(lambda: host.vm("g1")["desired"] == "stopped", "the guest's own wish to count")
    assert vm["last_exit"]["reason"] == "shutdown"
    assert bool(host.vm("g1")["restarts"]) == restarts


@pytest.mark.parametrize("policy,restarts", [("never", False), ("on-failure", True)])
def test_guest_fault(host, policy, restarts):
    host.tiny("g1", "quiet end=fault", restart=policy)
    host.call("POST", "/v1/vms/g1/start")  # it may be over before it is found running
    if restarts:
        wait_until(lambda: host.vm("g1")["restarts"] >= 1, "a restart")
        answer = host.call("POST", "/v1/vms/g1/stop")
        assert answer.status == 200, answer.text
        assert host.vm("g1")["state"] == "stopped"
    else:
        vm = host.wait_state("g1", "failed")
        assert vm["last_exit"]["reason"] == "guest-fault" and vm["restarts"] == 0


def test_debug_exit_is_no_failure(host):
    host.tiny("g1", "quiet end=debug", restart="on-failure", debug_exit=True)
    host.call("POST", "/v1/vms/g1/start")
    wait_until(lambda: host.vm("g1")["pid"] is None and host.vm("g1")["last_exit"], "its end")
    assert host.vm("g1")["last_exit"]["reason"] == "debug-exit"
    assert host.vm("g1")["last_exit"]["status"] == 0x21 << 1 | 1


def test_vmm_is_killed(host):
    vm = host.started("g1", nics=[{"id": "net0"}])
    kill(vm["pid"])
    vm = host.wait_state("g1", "failed")
    assert (vm["desired"], vm["last_exit"]["reason"]) == ("stopped", "killed")
    assert "signal 9" in vm["reason"]
    assert host.port("g1-net0") is None
    assert host.ok("GET", "/v1/switch")["restarts"] == 0
    host.ok("POST", "/v1/vms/g1/start")


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_disk_of_a_vmm_that_ended_is_free_at_once(host, end):
    """Although io_uring lets go of its file later than the process."""
    (host.images / "disk").write_bytes(bytes(1 << 20))
    host.tiny("g1", "quiet end=write first=1",
              disks=[{"id": "disk0", "file": str(host.images / "disk")}])
    for _ in range(8):
        pid = host.ok("POST", "/v1/vms/g1/start")["pid"]
        if end == "killed":
            kill(pid)
            host.wait_state("g1", "failed")
        else:
            host.ok("POST", "/v1/vms/g1/stop")


def test_vmm_is_killed_and_restarted(host):
    first = host.started("g1", nics=[{"id": "net0"}], restart="on-failure")
    kill(first["pid"])
    wait_until(lambda: host.vm("g1")["restarts"] == 1 and host.vm("g1")["state"] == "running",
               "the restart")
    assert host.vm("g1")["pid"] != first["pid"]
    assert host.port("g1-net0")["state"] == "up"


def test_daemon_is_killed(host):
    host.ok("POST", "/v1/ports", {"id": "up0", "type": "ethdev", "devargs": "net_null0,copy=0"})
    runs = host.started("runs", nics=[{"id": "net0"}], restart="always")
    paused = host.started("paused")
    host.ok("POST", "/v1/vms/paused/pause")
    switch = host.ok("GET", "/v1/switch")["pid"]
    host.kill()
    assert alive(runs["pid"]) and alive(switch)
    host.again()
    assert host.ok("GET", "/v1/switch")["pid"] == switch
    for vm, state in ((runs, "running"), (paused, "paused")):
        now = host.vm(vm["id"])
        assert (now["pid"], now["state"], now["started_at"], now["restarts"]) == \
            (vm["pid"], state, vm["started_at"], 0)
    wait_until(lambda: host.port("runs-net0")["state"] == "up", "the NIC's port")
    assert host.port("up0")["state"] == "up"
    assert host.ok("POST", "/v1/vms/paused/resume")["state"] == "running"
    # An adopted one's end is seen as well.
    kill(runs["pid"])
    wait_until(lambda: host.vm("runs")["restarts"] == 1 and host.vm("runs")["state"] == "running",
               "the restart")
    assert host.ok("POST", "/v1/vms/paused/stop")["last_exit"]["reason"] == "stop"


def test_switch_is_killed(host):
    host.ok("POST", "/v1/ports", {"id": "up0", "type": "ethdev", "devargs": "net_null0,copy=0"})
    vm = host.started("g1", nics=[{"id": "net0"}])
    for restarts in (1, 2):
        first = host.ok("GET", "/v1/switch")
        kill(first["pid"])
        wait_until(lambda old=first["pid"]: host.ok("GET", "/v1/switch")["pid"] not in (None, old),
                   "another switch")
        assert host.wait_switch()["restarts"] == restarts
        for port in ("g1-net0", "up0"):
            wait_until(lambda port=port: host.port(port)["state"] == "up", port)
    assert host.vm("g1")["pid"] == vm["pid"] and host.vm("g1")["state"] == "running"


def test_tap_comes_back_with_the_switch():
    """An uplink that needs a capability, both declared by the operator; it dies with the switch,
    and the capability is gone as soon as the switch is ready."""
    tap = f"t{os.getpid()}"
    devargs = f"net_tap0,iface={tap}"
    host = Host(["--switch-caps", "net_admin", "--switch-args", f"--uplink up0={devargs}"])
    interface = pathlib.Path("/sys/class/net") / tap
    try:
        wait_until(lambda: host.port("up0"), "the uplink")
        port = host.port("up0")
        assert (port["state"], port["declared"], port["devargs"]) == ("up", True, devargs)
        assert int(status_of(host.ok("GET", "/v1/switch")["pid"])["CapPrm"], 16) == 0
        first = (interface / "ifindex").read_text()
        kill(host.ok("GET", "/v1/switch")["pid"])
        wait_until(lambda: host.ok("GET", "/v1/switch")["restarts"] == 1, "the switch's end to be seen")
        host.wait_switch()
        wait_until(lambda: host.port("up0")["state"] == "up", "the uplink")
        assert (interface / "ifindex").read_text() != first
        assert host.call("DELETE", "/v1/ports/up0").status == 409
        more = {"id": "up1", "type": "ethdev", "devargs": f"net_tap1,iface={tap}b"}
        answer = host.call("POST", "/v1/ports", more)
        assert answer.status == 422 and "--uplink" in answer.json["detail"], answer.text
        assert answer.json["field"] == "devargs"
        assert host.call("POST", "/v1/ports", {**more, "id": "up0"}).status == 409
    finally:
        host.destroy()


def test_switch_is_killed_while_the_daemon_is_down(host):
    host.started("g1", nics=[{"id": "net0"}])
    switch = host.ok("GET", "/v1/switch")["pid"]
    host.kill()
    kill(switch)
    host.again()
    assert host.ok("GET", "/v1/switch")["pid"] != switch
    wait_until(lambda: host.port("g1-net0")["state"] == "up", "the NIC's port")


@pytest.mark.parametrize("policy,state", [("never", "failed"), ("always", "running")])
def test_vmm_dies_while_the_daemon_is_down(host, policy, state):
    vm = host.started("g1", nics=[{"id": "net0"}], restart=policy)
    host.kill()
    os.kill(vm["pid"], signal.SIGKILL)  # gone or dying when the daemon comes: all one
    host.again()
    wait_until(lambda: host.vm("g1")["last_exit"] and host.vm("g1")["pid"] != vm["pid"], "its end")
    now = host.wait_state("g1", state)
    assert now["last_exit"]["reason"] == "lost"
    if state == "running":
        assert host.port("g1-net0")["state"] == "up"
    else:
        assert host.port("g1-net0") is None
        assert "g1-net0" not in [port["id"] for port in host.ok("GET", "/v1/ports")["items"]]


def test_guest_powers_off_while_the_daemon_is_down(host):
    vm = host.started("g1")
    host.kill()
    os.kill(vm["pid"], signal.SIGTERM)  # which presses the button
    wait_until(lambda: not alive(vm["pid"]), "the guest to be off")
    host.again()
    now = host.wait_state("g1", "stopped")
    assert now["last_exit"]["reason"] in ("shutdown", "signal") and now["desired"] == "stopped"


def test_daemon_dies_before_it_noted_the_process(host):
    vm = host.started("g1", nics=[{"id": "net0"}])
    host.kill()
    with host.store() as store:
        store.execute("UPDATE processes SET pid = 0, start_time = 0 WHERE name = 'vm:g1'")
    host.again()
    assert host.wait_state("g1", "running")["pid"] == vm["pid"]
    assert host.ok("POST", "/v1/vms/g1/stop")["state"] == "stopped"
    assert not alive(vm["pid"])


def test_daemon_dies_before_it_noted_the_switch(host):
    host.started("g1", nics=[{"id": "net0"}])
    switch = host.ok("GET", "/v1/switch")["pid"]
    host.kill()
    with host.store() as store:
        store.execute("DELETE FROM processes WHERE name = 'switch'")
    for _ in range(2):  # found the first time, known the second
        host.again()
        assert host.ok("GET", "/v1/switch")["pid"] == switch
        wait_until(lambda: host.port("g1-net0")["state"] == "up", "the NIC's port")
        host.kill()
    host.start()


def test_daemon_dies_before_the_first_step(host):
    host.tiny("g1")
    host.kill()
    with host.store() as store:
        store.execute("UPDATE vms SET desired = 'running'")
    host.again()
    host.wait_state("g1", "running")


def note_start(host, desired):
    """As if the daemon had died between the note that g1 starts and the answer of vmm-launch."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with host.store() as store:
        store.execute("INSERT INTO processes VALUES ('vm:g1', 0, 0, ?, 'then')", (boot,))
        store.execute("UPDATE vms SET desired = ?", (desired,))


def test_daemon_dies_before_the_vmm_is_spawned(host):
    """Nothing ran, so nothing has ended: the start goes on."""
    host.tiny("g1", nics=[{"id": "net0"}])
    host.kill()
    note_start(host, "running")
    host.again()
    assert host.wait_state("g1", "running")["last_exit"] is None


def test_daemon_dies_while_a_start_is_called_off(host):
    """Its ports go although no process was ever there."""
    host.tiny("g1", nics=[{"id": "net0"}])
    host.kill()
    note_start(host, "stopped")
    (host.run / "ports/g1-net0").mkdir()
    host.again()
    vm = host.wait_state("g1", "stopped")
    assert vm["last_exit"] is None and not (host.run / "ports/g1-net0").exists()
    assert host.ok("POST", "/v1/vms/g1/start")["state"] == "running"


def test_switch_has_a_port_of_a_life_that_is_over(host):
    """The daemon died after the switch had added the port, and before it noted more."""
    vm = host.started("g1", nics=[{"id": "net0"}])
    host.kill()
    kill(vm["pid"])
    with host.store() as store:
        store.execute("DELETE FROM processes WHERE name = 'vm:g1'")
    host.again()
    assert host.wait_state("g1", "running")["pid"] != vm["pid"]
    assert host.port("g1-net0")["state"] == "up"


def test_daemon_dies_while_a_vm_stops(host):
    vm = host.started("g1")
    host.kill()
    with host.store() as store:
        store.execute("UPDATE vms SET desired = 'stopped', forced = 1")
    host.again()
    assert host.wait_state("g1", "stopped")["last_exit"]["reason"] == "stop"
    assert not alive(vm["pid"])


def test_pid_of_somebody_else(host):
    """The pid is in use, but the start time or the boot tells that it is another process."""
    host.tiny("g1", autostart=False)
    with subprocess.Popen(["sleep", "600"]) as other:
        host.kill()
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        with host.store() as store:
            store.execute("INSERT INTO processes VALUES ('vm:g1', ?, 1, ?, 'then')",
                          (other.pid, boot))
            store.execute("UPDATE processes SET boot_id = 'another' WHERE name = 'switch'")
        host.start()
        vm = host.wait_state("g1", "stopped")
        assert vm["pid"] is None and other.poll() is None
        other.kill()


def test_host_was_restarted(host):
    """Another boot: nothing of then runs, whatever the pids say."""
    vm = host.started("g1", restart="always")
    host.ok("POST", "/v1/host/stop-guests", {"grace_seconds": 0})
    host.kill()
    with host.store() as store:
        store.execute("INSERT INTO processes VALUES ('vm:g1', ?, 1, 'another', 'then')",
                      (vm["pid"],))
        store.execute("UPDATE vms SET desired = 'running'")
    host.again()
    assert host.wait_state("g1", "running")["pid"] != vm["pid"]


def test_autostart(host):
    host.tiny("wired", autostart=True, nics=[{"id": "net0"}])
    host.tiny("plain", autostart=True)
    host.tiny("not")
    assert host.stop() == 0
    host.start()
    host.wait_state("wired", "running")
    host.wait_state("plain", "running")
    assert host.vm("not")["state"] == "stopped"
    # Also one that ended meanwhile, although its policy would not have it.
    pid = host.vm("plain")["pid"]
    host.kill()
    kill(pid)
    host.again()
    assert host.wait_state("plain", "running")["pid"] != pid


def test_pending_restart_is_called_off(host):
    vm = host.started("g1", restart="always")
    for _ in range(4):  # the pauses grow
        kill(vm["pid"])
        host.wait_state("g1", "failed")
        if host.vm("g1")["restarts"] < 3:
            vm = host.wait_state("g1", "running")
    restarts = host.vm("g1")["restarts"]
    assert host.ok("POST", "/v1/vms/g1/stop")["desired"] == "stopped"
    vm = host.ok("POST", "/v1/vms/g1/start")
    assert vm["restarts"] == restarts


@pytest.mark.parametrize("path", ["/v1/vms/g1/stop", "/v1/host/stop-guests"])
def test_pending_restart_of_a_clean_end_is_called_off(host, path):
    host.started("g1", "quiet end=off", restart="always")
    wait_until(lambda: host.vm("g1")["restarts"] >= 3, "restarts")
    host.wait_state("g1", "stopped")  # for some seconds
    host.ok("POST", path)
    assert (host.vm("g1")["state"], host.vm("g1")["desired"]) == ("stopped", "stopped")


def test_sigterm_leaves_the_guests(host):
    vm = host.started("g1")
    switch = host.ok("GET", "/v1/switch")["pid"]
    assert host.stop() == 0
    assert alive(vm["pid"]) and alive(switch)
    host.again()
    assert host.vm("g1")["pid"] == vm["pid"]


def test_sigterm_stops_the_guests_when_told_so():
    host = Host(["--stop-guests"])
    try:
        vm = host.started("g1")
        switch = host.ok("GET", "/v1/switch")["pid"]
        assert host.stop() == 0, host.log()
        assert not alive(vm["pid"]) and not alive(switch)
    finally:
        host.destroy()


def test_launch_is_killed(host):
    vm = host.started("g1")
    children = pathlib.Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children")
    kill(int(children.read_text().split()[0]))
    assert host.process.wait(DEADLINE) == 1
    assert "vmm-launch has died" in host.log() and alive(vm["pid"])
    host.again()
    assert host.vm("g1")["pid"] == vm["pid"]


def contained(host):
    """The daemon, the switch and VM g1 have what they are to have left, and no more; the last two's pids."""
    vm, switch = host.vm("g1"), host.ok("GET", "/v1/switch")["pid"]
    for pid, uid in ((host.process.pid, 60999), (switch, 60998), (vm["pid"], vm["uid"])):
        status = status_of(pid)
        assert status["Uid"].split() == [str(uid)] * 4
        assert status["Gid"].split() == [str(uid)] * 4 and not status["Groups"].split()
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert int(status["CapBnd"], 16) == int(status["CapInh"], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    return vm["pid"], switch


def test_least_privilege(host):
    host.started("g1", nics=[{"id": "net0"}], restart="always")
    first = contained(host)
    for pid in first:  # those that come after them are as contained
        kill(pid)
    host.kill()
    host.again()
    wait_until(lambda: host.vm("g1")["pid"] not in (None, first[0]), "another vmm")
    host.wait_state("g1", "running")
    host.wait_switch()
    second = contained(host)
    assert not set(first) & set(second)
    api = (host.run / "api.sock").stat()
    assert (api.st_uid, api.st_mode & 0o777) == (0, 0o600)
    state = (host.directory / "state").stat()
    assert (state.st_uid, state.st_mode & 0o777) == (60999, 0o700)
    assert (host.directory / "state/vmm.db").stat().st_mode & 0o077 == 0


def run(*arguments):
    """vmm-mgmt, to its end."""
    return subprocess.run([MGMT, *arguments], capture_output=True, text=True, timeout=DEADLINE,
                          check=False)


def test_second_daemon(host):
    second = subprocess.run(host.command, capture_output=True, text=True, timeout=DEADLINE,
                            check=False)
    assert second.returncode == 1
    assert second.stderr == f"vmm-mgmt: error: another vmm-mgmt serves {host.run}\n"
    elsewhere = [host.directory / "run2" if word == host.run else word for word in host.command]
    second = subprocess.run(elsewhere, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert second.returncode == 1
    assert second.stderr == f"vmm-mgmt: error: another vmm-mgmt serves {host.directory}/state\n"
    host.ok("GET", "/v1/host")


def test_store_of_the_future(host):
    host.stop()
    with host.store() as store:
        store.execute("PRAGMA user_version = 99")
    again = subprocess.run(host.command, capture_output=True, text=True, timeout=DEADLINE,
                           check=False)
    assert again.returncode == 1 and "version 99" in again.stderr


def test_store_that_is_none(host):
    """What is wrong, with which file, and what to do."""
    host.stop()
    for name in ("vmm.db-wal", "vmm.db-shm"):
        (host.directory / "state" / name).unlink(missing_ok=True)
    (host.directory / "state/vmm.db").write_bytes(b"this is no database" * 1000)
    again = subprocess.run(host.command, capture_output=True, text=True, timeout=DEADLINE,
                           check=False)
    assert again.returncode == 1 and "not a database" in again.stderr
    assert f"{host.directory}/state/vmm.db cannot be used; put" in again.stderr


def test_store_that_cannot_grow(host):
    """Its disk is full: what is not stored is not done, and it says so."""
    host.tiny("old")
    host.stop()
    host.command = ["/bin/sh", "-c", "trap '' XFSZ; exec prlimit --fsize=65536 \"$@\"", "sh",
                    *host.command]
    host.start()
    spec = host.spec("more", "x" * 4000)
    for _ in range(40):
        answer = host.call("POST", "/v1/vms", spec)
        if answer.status != 201:
            break
        assert host.call("DELETE", "/v1/vms/more").status in (204, 503)
    for answer in (host.call("POST", "/v1/vms", {**spec, "id": "last"}),
                   host.call("POST", "/v1/vms/old/start")):
        assert answer.status == 503, answer.text
        assert "the store cannot be written: disk I/O error" in answer.json["detail"]
    assert host.call("GET", "/v1/vms/last").status == 404
    assert host.vm("old")["state"] == "stopped"


@pytest.mark.parametrize("arguments,option", [
    (["--run-dir", "relative"], "--run-dir"), (["--run-dir", "/" + "x" * 80], "--run-dir"),
    (["--state-dir", "x"], "--state-dir"), (["--mgmt-uid", "0"], "--mgmt-uid"),
    (["--mgmt-uid", "root"], "--mgmt-uid"), (["--log-level", "loud"], "--log-level"),
    (["--image-dir", "x"], "--image-dir"), (["more"], "arguments")])
def test_option_that_is_wrong(arguments, option):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and option in done.stderr


def test_help():
    done = run("--help")
    assert done.returncode == 0
    for option in ("--run-dir", "--state-dir", "--bin-dir", "--stop-guests", "--log-level"):
        assert option in done.stdout
