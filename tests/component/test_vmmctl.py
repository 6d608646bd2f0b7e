"""vmmctl against the real daemon: what it does, prints and returns. Needs root and /dev/kvm."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "mgmt"))
from daemon import BUILD, DEADLINE, Daemon, wait_until  # noqa: E402

VMMCTL = BUILD / "mgmt/vmmctl"


@pytest.fixture(scope="module")
def host():
    daemon = Daemon()
    daemon.wait_switch()
    yield daemon
    daemon.destroy()


def ctl(host, *arguments, status=0, stdin=""):
    """Run it; what it printed. With another status: what it complained of, on one line."""
    done = subprocess.run([VMMCTL, "--socket", host.run / "api.sock", *arguments], check=False,
                          capture_output=True, text=True, timeout=DEADLINE, input=stdin,
                          errors="replace")
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.startswith("vmmctl: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    assert not done.stderr
    return done.stdout


def row(table, first):
    """The row of a table that begins with a word, by headings."""
    lines = table.splitlines()
    found = [line for line in lines if line.split()[:1] == [first]]
    assert len(found) == 1, table
    return dict(zip(lines[0].split(), found[0].split()))


def test_a_vms_life(host):
    kernel = host.image("kernel")
    ctl(host, "vm", "create", "g1", "--memory", "64", "--kernel", kernel, "--vcpus", "2",
        "--cmdline", "console=ttyS0 quiet", "--nic", "net0,mac=52:54:00:00:00:09,mtu=9000",
        "--disk", f"d0,{host.image('disk', bytes(4096))},read_only=yes", "--restart", "on-failure",
        "--autostart")
    vm = json.loads(ctl(host, "--json", "vm", "show", "g1"))
    assert vm == host.vm("g1")
    assert (vm["vcpus"], vm["memory"]["size_mib"], vm["boot"]["cmdline"]) == \
        (2, 64, "console=ttyS0 quiet")
    assert (vm["nics"][0]["mac"], vm["nics"][0]["mtu"]) == ("52:54:00:00:00:09", 9000)
    assert vm["disks"][0]["read_only"] is True
    assert (vm["restart"], vm["autostart"]) == ("on-failure", True)
    ctl(host, "vm", "set", "g1", "restart=never", "autostart=no")
    ctl(host, "vm", "start", "g1")
    seen = row(ctl(host, "vm", "list"), "g1")
    assert (seen["STATE"], seen["VCPUS"], seen["MIB"], seen["AUTOSTART"]) == \
        ("running", "2", "64", "no")
    assert int(seen["PID"]) == host.vm("g1")["pid"]
    assert row(ctl(host, "port", "list"), "g1-net0")["STATE"] == "up"
    assert "memory.size_mib              64\n" in ctl(host, "vm", "show", "g1")
    assert "pid " in ctl(host, "vm", "info", "g1")
    ctl(host, "vm", "counters", "g1")
    ctl(host, "vm", "pause", "g1")
    ctl(host, "vm", "reset", "g1")
    ctl(host, "vm", "resume", "g1")
    ctl(host, "vm", "shutdown", "g1")
    host.wait_state("g1", "stopped")
    ctl(host, "vm", "start", "g1")
    ctl(host, "vm", "stop", "g1")
    ctl(host, "vm", "delete", "g1")
    assert host.call("GET", "/v1/vms/g1").status == 404


def test_create_from_a_file(host, tmp_path):
    spec = host.spec("fromfile")
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    ctl(host, "vm", "create", "--file", str(tmp_path / "spec.json"))
    spec["id"] = "fromstdin"
    ctl(host, "vm", "create", "--file", "-", stdin=json.dumps(spec))
    assert {"fromfile", "fromstdin"} <= {vm["id"] for vm in
                                         json.loads(ctl(host, "--json", "vm", "list"))["items"]}
    assert "line 1" in ctl(host, "vm", "create", "--file", "-", stdin="{", status=2)


def test_several_at_once(host):
    for vm in ("s1", "s2"):
        host.ok("POST", "/v1/vms", host.spec(vm))
    ctl(host, "vm", "start", "s1", "s2")
    ctl(host, "vm", "start", "s1", status=1)
    ctl(host, "host", "stop-guests", "0")
    assert host.vm("s1")["state"] == host.vm("s2")["state"] == "stopped"
    # The first fails, the second is done nevertheless.
    assert "no VM" in ctl(host, "vm", "delete", "nobody", "s1", status=1)
    assert host.call("GET", "/v1/vms/s1").status == 404


def test_devices(host):
    host.ok("POST", "/v1/vms", host.spec("dev"))
    ctl(host, "nic", "add", "dev", "net0", "mac=52:54:00:00:00:0a", "mtu=2000")
    ctl(host, "disk", "add", "dev", "d0", "/nowhere", "read_only=yes", "serial=0123")
    assert row(ctl(host, "nic", "list", "dev"), "net0")["MTU"] == "2000"
    assert host.vm("dev")["disks"][0]["serial"] == "0123"
    assert "/nowhere" in ctl(host, "disk", "list", "dev")
    ctl(host, "nic", "remove", "dev", "net0")
    ctl(host, "disk", "remove", "dev", "d0")
    assert host.vm("dev")["nics"] == host.vm("dev")["disks"] == []


def test_host_and_switch(host):
    assert "kernel " in ctl(host, "host", "show")
    assert "state                        running\n" in ctl(host, "switch", "show")
    ctl(host, "port", "add", "up0", "net_null0,copy=0")
    assert row(ctl(host, "port", "list"), "up0")["TYPE"] == "ethdev"
    assert "counters.drops." in ctl(host, "port", "show", "up0")
    ctl(host, "switch", "fdb")
    ctl(host, "switch", "flush")
    ctl(host, "port", "remove", "up0")
    assert "vmm_switch_up 1\n" in ctl(host, "metrics")


def test_pci(host):
    table = ctl(host, "pci", "list")
    devices = json.loads(ctl(host, "--json", "pci", "list"))["items"]
    assert len(table.splitlines()) == len(devices) + 1
    for device in devices:
        shown = row(table, device["bdf"])
        assert shown["DRIVER"] == (device["driver"] or "-") and shown["HOLDER"] == "-"
        name = device["interfaces"][0]["name"] if device["interfaces"] else "-"
        assert shown["INTERFACE"] == name
    assert ctl(host, "sriov", "list").startswith("PF ")


def test_doctor(host):
    shown = row(ctl(host, "host", "doctor"), "kvm")
    assert (shown["SUBJECT"], shown["STATUS"]) == ("-", "ok")
    checks = json.loads(ctl(host, "--json", "host", "doctor"))["items"]
    assert [(check["id"], check["subject"]) for check in checks] == \
        [(check["id"], check["subject"]) for check in host.ok("GET", "/v1/host/doctor")["items"]]


def test_events(host):
    with subprocess.Popen([VMMCTL, "--socket", host.run / "api.sock", "events"],
                          stdout=subprocess.PIPE, text=True) as follower:
        heard = []
        number = 0
        while not any("ev-" in line for line in heard):
            # It is not known when it listens: something happens until it is heard.
            host.ok("POST", "/v1/vms", host.spec(f"ev-{number}"))
            number += 1
            while not heard or heard[-1].strip() != "":
                heard.append(follower.stdout.readline())
            heard.append("next\n")
        follower.send_signal(signal.SIGINT)


def test_console(host):
    host.ok("POST", "/v1/vms", host.spec("con"))
    assert "is stopped" in ctl(host, "vm", "console", "con", status=1)
    host.ok("POST", "/v1/vms/con/start")
    ours, theirs = pty.openpty()
    with subprocess.Popen([VMMCTL, "--socket", host.run / "api.sock", "vm", "console", "con"],
                          stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL) as joined:
        said = b""
        while b"hello from the console" not in said:
            said += os.read(ours, 4096)
        os.write(ours, b"\x1d")
        assert joined.wait(DEADLINE) == 0
    os.close(ours)
    os.close(theirs)
    # Not a terminal: over with standard input.
    wait_until(lambda: ctl(host, "vm", "console", "con") is not None, "the console")
    host.ok("POST", "/v1/vms/con/stop")


@pytest.mark.parametrize("arguments", [
    [], ["vm"], ["vm", "fly"], ["vm", "start"], ["vm", "show", "a/../b"], ["--loud", "vm", "list"],
    ["vm", "set", "x", "colour=red"], ["vm", "create", "x", "--memory", "much"],
    ["vm", "create", "a", "b"], ["vm", "create", "--colour", "x"], ["vm", "create", "x", "--memory"],
    ["vm", "create", "--file", "/dev/null", "--memory", "64"], ["vm", "create", "x", "--nic", "n,mac"],
    ["vm", "create", "x", "--disk", "d,/f,read_only"], ["vm", "create", "x", "--cmdline", b"\xff"],
    ["disk", "add", "x", "d", "/f", b"serial=\xff"], ["host", "stop-guests", "soon"], ["nic", "add", "x", "y", "z"]])
def test_wrong_usage(host, arguments):
    ctl(host, *arguments, status=2)


def test_refusals(host):
    assert "no VM \"nobody\"" in ctl(host, "vm", "show", "nobody", status=1)
    assert "boot.kernel" in ctl(host, "vm", "create", "x", "--memory", "64", status=1)
    assert "memory.size_mib" in ctl(host, "vm", "create", "x", "--kernel", "/k", status=1)
    # A word that is nearly right must not make a disk writable.
    small = ("--memory", "64", "--kernel", "/k")
    assert "disks[0].read_only" in ctl(host, "vm", "create", "x", *small, "--disk",
                                       "d,/f,read_only=true", status=1)


def test_output_that_goes_nowhere(host):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([VMMCTL, "--socket", host.run / "api.sock", "vm", "list"], check=False,
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr


def complaint(path, status, *arguments, **more):
    """What it says of a daemon that does not serve it, on one line."""
    done = subprocess.run([VMMCTL, *(arguments or ("vm", "list"))], capture_output=True, text=True,
                          check=False, env={**os.environ, "VMMCTL_SOCKET": str(path)},
                          timeout=DEADLINE, **more)
    assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
    return done.stderr


def test_no_daemon(tmp_path):
    path = tmp_path / "sock"
    assert "there is no socket" in complaint(path, 3)
    assert "too long" in complaint("/" + "x" * 200, 3)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert "nobody listens" in complaint(path, 3)
        assert "nobody listens" in complaint(path, 3, "events")


def test_somebody_elses_daemon():
    """Of a copy, as a build beneath /root is for root alone."""
    with tempfile.TemporaryDirectory(prefix="vmmctl-") as place:
        os.chmod(place, 0o755)
        copy = shutil.copy(VMMCTL, place)
        assert "not for user 1" in complaint("/root/sock", 3, user=1, group=1, extra_groups=[],
                                             executable=copy)


@pytest.mark.parametrize("answer,status,words", [
    (b"", 3, "before a whole answer came"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", 3, "before a whole answer came"),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 1, "another program")])
@pytest.mark.parametrize("arguments", [("vm", "list"), ("events",)])
def test_daemon_that_is_none(tmp_path, answer, status, words, arguments):
    with socket.socket(socket.AF_UNIX) as listener, concurrent.futures.ThreadPoolExecutor() as pool:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        heard = pool.submit(complaint, tmp_path / "sock", status, *arguments)
        listener.accept()[0].close()  # it only looks whether somebody listens
        with listener.accept()[0] as client:
            client.recv(65536)
            client.sendall(answer)
        assert words in heard.result()


def test_events_are_refused(host):
    with contextlib.ExitStack() as readers:
        for _ in range(32):
            connection = readers.enter_context(contextlib.closing(host.connection()))
            connection.request("GET", "/v1/events")
            assert connection.getresponse().status == 200
        assert "32 readers" in ctl(host, "events", status=1)


def test_help():
    done = subprocess.run([VMMCTL, "--help"], capture_output=True, text=True, check=True)
    for command in ("vm create", "vm start", "vm list", "vm console", "port list", "exit status"):
        assert command in done.stdout
