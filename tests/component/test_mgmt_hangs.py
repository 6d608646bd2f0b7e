"""Processes that live and do not answer, or die at the worst moment: the daemon notices, says so,
and gets over it. Needs root and /dev/kvm."""

import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "mgmt"))
from daemon import Daemon, wait_until  # noqa: E402


@contextlib.contextmanager
def daemon(*options, **more):
    """One with these options; gone at the end."""
    host = Daemon(options=options, **more)
    try:
        host.wait_switch()
        yield host
    finally:
        host.destroy()


@contextlib.contextmanager
def stopped(pid):
    """A process that does not get to run."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def metric(host, name):
    """One without labels."""
    lines = host.call("GET", "/v1/metrics").text.splitlines()
    return int(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def vmms(host, vm):
    """The pids of its vmms: they say their say into its log."""
    log, found = str(host.run / f"vms/{vm}/log"), []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.readlink(entry / "fd/2") == log:
                found.append(int(entry.name))
    return found


def launch_of(host):
    """Its vmm-launch."""
    children = pathlib.Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children")
    return int(children.read_text().split()[0])


def until_event(host, wanted):
    """The events up to one of which `wanted` is true; connected when it yields first."""
    connection = host.connection()
    connection.request("GET", "/v1/events")
    response = connection.getresponse()
    yield response.status
    for line in response:
        if line.startswith(b"data:"):
            event = json.loads(line[5:])
            if wanted(event):
                yield event
                break
    connection.close()


def test_switch_that_hangs():
    """It is noticed by its silence, told, counted and restarted; all its ports come back."""
    with daemon("--switch-timeout", "3") as host:
        for n in range(3):
            host.ok("POST", "/v1/ports", {"id": f"up{n}", "type": "ethdev", "devargs": f"net_null{n}"})
        host.ok("POST", "/v1/vms", host.spec("g1", nics=[{"id": "net0"}]))
        vm = host.ok("POST", "/v1/vms/g1/start")
        before = host.ok("GET", "/v1/switch")
        hangs = metric(host, "vmm_switch_hangs_total")
        events = until_event(host, lambda event: "has not answered" in event.get("reason", ""))
        assert next(events) == 200
        with stopped(before["pid"]):
            event = next(events)
            assert event["state"] == "failed" and "for 3 s" in event["reason"], event
            wait_until(lambda: host.ok("GET", "/v1/switch")["pid"] not in (None, before["pid"]),
                       "another switch")
        events.close()
        after = host.wait_switch()
        assert after["restarts"] > before["restarts"]
        assert metric(host, "vmm_switch_hangs_total") > hangs
        for port in ("up0", "up1", "up2", "g1-net0"):
            wait_until(lambda port=port: host.port(port)["state"] == "up", port)
        assert host.vm("g1")["pid"] == vm["pid"]
        assert not os.path.exists(f"/proc/{before['pid']}")


def test_switch_that_hangs_and_nobody_noted():
    """The daemon died before it could store which process its switch is, and that one hangs."""
    with daemon("--switch-timeout", "3") as host:
        first = host.ok("GET", "/v1/switch")["pid"]
        host.kill()
        with contextlib.closing(sqlite3.connect(host.directory / "state/vmm.db")) as store:
            store.execute("DELETE FROM processes WHERE name = 'switch'")
            store.commit()
        with stopped(first):
            host.start()
            wait_until(lambda: host.ok("GET", "/v1/switch")["pid"] not in (None, first), "another switch")
        assert host.wait_switch()["restarts"] >= 1
        with contextlib.suppress(FileNotFoundError):  # at most a zombie: its parent is gone
            stat = pathlib.Path(f"/proc/{first}/stat").read_text()
            assert stat.rpartition(")")[2].split()[0] == "Z", stat


def test_vmm_that_comes_too_late():
    """vmm-launch is slow: the start fails in time, and the vmm that comes after all is no orphan."""
    with daemon("--spawn-timeout", "1") as host:
        host.ok("POST", "/v1/vms", host.spec("late", restart="on-failure"))
        with stopped(launch_of(host)):
            answer = host.call("POST", "/v1/vms/late/start")
            assert answer.status == 503 and "within 1 s" in answer.json["detail"], answer.text
            assert host.vm("late")["state"] == "starting"
            assert host.call("DELETE", "/v1/vms/late").status == 409
            assert not vmms(host, "late")
        vm = host.wait_state("late", "failed")
        assert vm["last_exit"]["reason"] == "start-failed" and vm["restarts"] == 0
        assert not vmms(host, "late") and not (host.run / "vms/late").exists()
        vm = host.ok("POST", "/v1/vms/late/start")
        assert vmms(host, "late") == [vm["pid"]]


def test_late_vmm_of_a_daemon_that_died():
    """The next daemon finds the vmm that its predecessor had asked for."""
    with daemon("--spawn-timeout", "1") as host:
        host.ok("POST", "/v1/vms", host.spec("late"))
        launch = launch_of(host)
        with stopped(launch):
            assert host.call("POST", "/v1/vms/late/start").status == 503
            host.kill()
        host.start()
        host.wait_switch()
        vm = host.wait_state("late", "running")  # as the store says; adopted or started
        assert vmms(host, "late") == [vm["pid"]]
        assert host.ok("POST", "/v1/vms/late/stop")["state"] == "stopped"
        assert not vmms(host, "late")


def test_switch_that_dies_of_a_port():
    """A VM that comes with the daemon comes with the next switch, whatever its policy; one that a
    person starts does not, and the person is told."""
    with daemon(vswitch="tests/component/switch_peer") as host:
        spec = host.spec("g1", "unplugged", nics=[{"id": "net0"}], autostart=True, restart="never")
        host.ok("POST", "/v1/vms", spec)
        assert host.call("POST", "/v1/vms/g1/start").status == 503
        assert host.wait_state("g1", "failed")["last_exit"]["reason"] == "start-failed"
        host.stop()
        (host.run / "vswitch/run/died").unlink()
        host.start()
        vm = host.wait_state("g1", "running")
        assert host.wait_switch()["restarts"] == 1 and vm["restarts"] == 0
