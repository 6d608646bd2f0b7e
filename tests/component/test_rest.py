"""Every operation and every documented error of mgmt/openapi.yaml, against the real daemon,
vmm-launch and switch; each answer is checked against its schema. Needs root and /dev/kvm."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "mgmt"))
from daemon import DEADLINE, Daemon, wait_until  # noqa: E402
from schema import Mismatch, OpenApi  # noqa: E402

API = OpenApi()
SEEN = set()  # (method, path template, status)
VM = "/v1/vms/{}"
HOST_QUERIES = ["/v1/pci/devices", "/v1/sriov/pfs", "/v1/host/doctor"]  # what vmm-launch is asked


class Checked(Daemon):
    """A daemon whose every answer is held against the contract."""

    def call(self, method, path, body=None, headers=None):
        answer = super().call(method, path, body, headers)
        API.check_answer(method, path, answer)
        template, operation = API.find(method, path)
        if operation:
            SEEN.add((method, template, answer.status))
            if answer.status < 300 and isinstance(body, dict):
                API.check(body, operation["requestBody"]["content"]["application/json"]["schema"])
        return answer


@pytest.fixture(scope="module")
def host():
    """The daemon most tests share; each uses VMs of its own."""
    daemon = Checked()
    daemon.wait_switch()
    yield daemon
    daemon.destroy()


@pytest.fixture(scope="module")
def broken():
    """One whose switch does not come up."""
    daemon = Checked(vswitch="/bin/false")
    yield daemon
    daemon.destroy()


def refused(answer, status, field=None):
    """It was refused with this status, naming this field."""
    assert answer.status == status, answer.text
    assert answer.json.get("field") == field, answer.text
    return answer.json["detail"]


def test_the_checker_can_fail():
    """Else it proves nothing."""
    problem = {"$ref": "#/components/schemas/Problem"}
    good = {"type": "about:blank", "title": "x", "status": 404, "detail": "x"}
    API.check(good, problem)
    for bad in ({**good, "status": "404"}, {**good, "status": 200}, {**good, "more": 1},
                {"type": "about:blank"}, [], None, True):
        with pytest.raises(Mismatch):
            API.check(bad, problem)
    for bad in ("", "A", "-a", "a-", "a" * 33):
        with pytest.raises(Mismatch):
            API.check(bad, {"$ref": "#/components/schemas/Id"})


def test_host(host):
    answer = host.ok("GET", "/v1/host")
    assert answer["kvm"] is True
    assert answer["run_dir"] == str(host.run)
    assert answer["boot_id"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_vm_is_created_with_defaults(host):
    answer = host.call("POST", "/v1/vms", host.spec("plain", nics=[{"id": "net0"}],
                                                    disks=[{"id": "d0", "file": "/nowhere"}]))
    assert answer.status == 201
    assert answer.headers["Location"] == "/v1/vms/plain"
    vm = host.ok("GET", "/v1/vms/plain")
    assert vm == answer.json
    assert (vm["vcpus"], vm["memory"]["page_size"], vm["restart"], vm["autostart"]) == \
        (1, "4K", "never", False)
    assert (vm["state"], vm["desired"], vm["pid"], vm["last_exit"]) == \
        ("stopped", "stopped", None, None)
    assert vm["nics"][0]["mode"] == "vhost-user" and vm["nics"][0]["port"] == "plain-net0"
    assert re.fullmatch("52:54:00(:[0-9a-f]{2}){3}", vm["nics"][0]["mac"])
    assert vm["disks"][0]["mode"] == "virtio-blk"
    assert "plain" in [each["id"] for each in host.ok("GET", "/v1/vms")["items"]]


def test_uids_differ(host):
    uids = [host.ok("POST", "/v1/vms", host.spec(f"uid{n}"))["uid"] for n in range(3)]
    assert len(set(uids)) == 3 and all(61000 <= uid < 62000 for uid in uids)


@pytest.mark.parametrize("body", ["", "{", "nonsense", '{"id": "x"} {}', '{"a": 1, "a": 2}',
                                  "[" * 100 + "]" * 100, b'{"id": "\xff"}', '{"id": "a\\u0000b"}'])
def test_body_that_is_no_json(host, body):
    refused(host.call("POST", "/v1/vms", body), 400)
    for path in ("/v1/vms/plain/nics", "/v1/vms/plain/disks", "/v1/ports"):
        refused(host.call("POST", path, body), 400)
    refused(host.call("PATCH", "/v1/vms/plain", body), 400)
    if body:
        refused(host.call("POST", "/v1/host/stop-guests", body), 400)


def test_body_too_large(host):
    body = json.dumps({"id": "x" * (1 << 20)})
    for method, path in (("POST", "/v1/vms"), ("PATCH", "/v1/vms/plain"), ("POST", "/v1/ports"),
                         ("POST", "/v1/vms/plain/nics"), ("POST", "/v1/vms/plain/disks"),
                         ("POST", "/v1/host/stop-guests")):
        refused(host.call(method, path, body), 413)
    # Without a length beforehand, and just within the limit.
    connection = host.connection()
    connection.request("POST", "/v1/vms", iter([b"x" * 65536] * 17), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 413
    refused(host.call("POST", "/v1/vms", " " * ((1 << 20) - 2) + "[]"), 422)


BAD = [
    ([], None),
    (7, None),
    ({}, "id"),
    ({"id": 7}, "id"),
    ({"id": ""}, "id"),
    ({"id": "UPPER"}, "id"),
    ({"id": "a/b"}, "id"),
    ({"id": "x" * 33}, "id"),
    ({"memory": None}, "memory"),
    ({"memory": {}}, "memory.size_mib"),
    ({"memory": {"size_mib": 0}}, "memory.size_mib"),
    ({"memory": {"size_mib": -5}}, "memory.size_mib"),
    ({"memory": {"size_mib": 64.5}}, "memory.size_mib"),
    ({"memory": {"size_mib": 1 << 40}}, "memory.size_mib"),
    ({"memory": {"size_mib": "64"}}, "memory.size_mib"),
    ({"memory": {"size_mib": 3, "page_size": "2M"}}, "memory.size_mib"),
    ({"memory": {"size_mib": 64, "page_size": "8K"}}, "memory.page_size"),
    ({"memory": {"size_mib": 64, "nodes": 9}}, "memory.nodes"),
    ({"memory": {"size_mib": 64, "prefault": 1}}, "memory.prefault"),
    ({"memory": {"size_mib": 64, "colour": "red"}}, "memory.colour"),
    ({"boot": {}}, "boot.kernel"),
    ({"boot": {"kernel": "relative"}}, "boot.kernel"),
    ({"boot": {"kernel": "/" + "x" * 2000}}, "boot.kernel"),
    ({"boot": {"kernel": "/k", "protocol": "bios"}}, "boot.protocol"),
    ({"boot": {"kernel": "/k", "cmdline": "a\nb"}}, "boot.cmdline"),
    ({"boot": {"kernel": "/k", "modules": [{"file": "/m"}, {}]}}, "boot.modules[1].file"),
    ({"vcpus": 0}, "vcpus"),
    ({"vcpus": 65}, "vcpus"),
    ({"vcpus": True}, "vcpus"),
    ({"restart": "sometimes"}, "restart"),
    ({"autostart": "yes"}, "autostart"),
    ({"more": 1}, "more"),
    ({"nics": {}}, "nics"),
    ({"nics": [7]}, "nics[0]"),
    ({"nics": [{"id": "n", "mac": "53:54:00:00:00:01"}]}, "nics[0].mac"),
    ({"nics": [{"id": "n", "mac": "52-54-00-00-00-01"}]}, "nics[0].mac"),
    ({"nics": [{"id": "n", "mtu": 60}]}, "nics[0].mtu"),
    ({"nics": [{"id": "n", "mode": "carrier-pigeon"}]}, "nics[0].mode"),
    ({"nics": [{"id": "n", "queue_pairs": 0}]}, "nics[0].queue_pairs"),
    ({"nics": [{"id": "n"}, {"id": "n"}]}, "nics[1].id"),
    ({"nics": [{"id": "n", "mac": "52:54:00:00:00:01"},
               {"id": "m", "mac": "52:54:00:00:00:01"}]}, "nics[1].mac"),
    ({"nics": [{"id": "n" * 32}]}, "nics[0].id"),
    ({"nics": [{"id": f"n{n}"} for n in range(25)]}, "nics"),
    ({"disks": [{"id": "d"}]}, "disks[0].file"),
    ({"disks": [{"id": "d", "file": "/f", "serial": "x" * 21}]}, "disks[0].serial"),
    ({"nics": [{"id": "same"}], "disks": [{"id": "same", "file": "/f"}]}, "disks[0].id"),
]


@pytest.mark.parametrize("change,field", BAD, ids=[f"{n}-{bad[1]}" for n, bad in enumerate(BAD)])
def test_vm_that_is_refused(host, change, field):
    body = change if not change or not isinstance(change, dict) else {**host.spec("bad"), **change}
    if change == {}:
        body = {}
    refused(host.call("POST", "/v1/vms", body), 422, field)
    assert host.call("GET", "/v1/vms/bad").status == 404


def test_ids_are_taken_once(host):
    host.ok("POST", "/v1/vms", host.spec("a", nics=[{"id": "b-c"}]))
    refused(host.call("POST", "/v1/vms", host.spec("a")), 409, "id")
    # Another VM, but its NIC's port would have the same name.
    refused(host.call("POST", "/v1/vms", host.spec("a-b", nics=[{"id": "c"}])), 409, "nics[0].id")
    refused(host.call("POST", "/v1/ports", {"id": "a-b-c", "type": "ethdev",
                                            "devargs": "net_null8"}), 409, "id")


def test_policy(host):
    host.ok("POST", "/v1/vms", host.spec("policy"))
    vm = host.ok("PATCH", "/v1/vms/policy", {"restart": "always"})
    assert (vm["restart"], vm["autostart"]) == ("always", False)
    vm = host.ok("PATCH", "/v1/vms/policy", {"autostart": True})
    assert (vm["restart"], vm["autostart"]) == ("always", True)
    refused(host.call("PATCH", "/v1/vms/policy", {}), 422)
    refused(host.call("PATCH", "/v1/vms/policy", {"vcpus": 2}), 422, "vcpus")
    refused(host.call("PATCH", "/v1/vms/nobody", {"restart": "never"}), 404)


def test_vm_is_deleted(host):
    host.ok("POST", "/v1/vms", host.spec("gone"))
    host.ok("POST", "/v1/vms/gone/start")
    refused(host.call("DELETE", "/v1/vms/gone"), 409)
    host.ok("POST", "/v1/vms/gone/stop")
    assert host.call("DELETE", "/v1/vms/gone").status == 204
    refused(host.call("DELETE", "/v1/vms/gone"), 404)
    refused(host.call("GET", "/v1/vms/gone"), 404)


def test_start_and_stop(host):
    host.ok("POST", "/v1/vms", host.spec("life", nics=[{"id": "net0"}]))
    vm = host.ok("POST", "/v1/vms/life/start")
    assert (vm["state"], vm["desired"]) == ("running", "running")
    assert pathlib.Path(f"/proc/{vm['pid']}").exists() and vm["started_at"]
    port = host.port("life-net0")
    assert (port["type"], port["state"], port["vm"], port["nic"]) == \
        ("vhost-user", "up", "life", "net0")
    refused(host.call("POST", "/v1/vms/life/start"), 409)
    refused(host.call("DELETE", "/v1/ports/life-net0"), 409)
    assert host.ok("GET", "/v1/vms/life/info")["pid"] == vm["pid"]
    host.ok("GET", "/v1/vms/life/counters")
    vm = host.ok("POST", "/v1/vms/life/stop")
    assert (vm["state"], vm["desired"], vm["pid"]) == ("stopped", "stopped", None)
    assert vm["last_exit"]["reason"] == "stop"
    assert host.port("life-net0") is None
    assert not (host.run / "ports/life-net0").exists() and not (host.run / "vms/life").exists()
    refused(host.call("POST", "/v1/vms/life/stop"), 409)


def test_slow_start_is_waited_for(host):
    host.ok("POST", "/v1/vms", host.spec("tardy", "slow"))
    assert host.ok("POST", "/v1/vms/tardy/start")["state"] == "running"
    host.ok("POST", "/v1/vms/tardy/stop")


def test_stop_while_starting(host):
    host.ok("POST", "/v1/vms", host.spec("stuck", "never"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        start = pool.submit(host.call, "POST", "/v1/vms/stuck/start")
        wait_until(lambda: host.vm("stuck")["pid"], "the start to get stuck")
        assert host.vm("stuck")["state"] == "starting"
        refused(host.call("GET", "/v1/vms/stuck/info"), 409)
        refused(host.call("POST", "/v1/vms/stuck/start"), 409)
        assert host.ok("POST", "/v1/vms/stuck/stop")["state"] == "stopped"
        assert "stopped while" in refused(start.result(), 409)


def test_guest_that_is_over_at_once(host):
    host.ok("POST", "/v1/vms", host.spec("brief", "over-well", restart="on-failure"))
    vm = host.ok("POST", "/v1/vms/brief/start")
    assert (vm["state"], vm["desired"], vm["last_exit"]["reason"]) == \
        ("stopped", "stopped", "shutdown")
    host.ok("POST", "/v1/vms", host.spec("clumsy", "over-badly", restart="on-failure"))
    vm = host.ok("POST", "/v1/vms/clumsy/start")
    assert (vm["state"], vm["desired"], vm["last_exit"]["reason"]) == \
        ("failed", "running", "guest-fault")
    wait_until(lambda: host.vm("clumsy")["restarts"] >= 1, "its policy")
    wait_until(lambda: host.call("POST", "/v1/vms/clumsy/stop").status == 200, "it to stop")


def test_pause_resume_reset_shutdown(host):
    host.ok("POST", "/v1/vms", host.spec("moody"))
    for action in ("pause", "resume", "reset", "shutdown"):
        refused(host.call("POST", f"/v1/vms/moody/{action}"), 409)
    for query in ("info", "counters"):
        refused(host.call("GET", f"/v1/vms/moody/{query}"), 409)
    host.ok("POST", "/v1/vms/moody/start")
    refused(host.call("POST", "/v1/vms/moody/resume"), 409)
    vm = host.ok("POST", "/v1/vms/moody/pause")
    assert (vm["state"], vm["desired"]) == ("paused", "paused")
    refused(host.call("POST", "/v1/vms/moody/pause"), 409)
    refused(host.call("POST", "/v1/vms/moody/shutdown"), 409)
    host.ok("POST", "/v1/vms/moody/reset")
    vm = host.ok("POST", "/v1/vms/moody/resume")
    assert (vm["state"], vm["desired"]) == ("running", "running")
    assert host.call("POST", "/v1/vms/moody/shutdown").status == 202
    vm = host.wait_state("moody", "stopped")
    assert (vm["desired"], vm["last_exit"]["reason"]) == ("stopped", "shutdown")


def test_deaf_guest_is_stopped(host):
    host.ok("POST", "/v1/vms", host.spec("deaf", "deaf"))
    host.ok("POST", "/v1/vms/deaf/start")
    vm = host.ok("POST", "/v1/vms/deaf/shutdown")
    assert vm["state"] == "stopping"
    assert host.ok("POST", "/v1/vms/deaf/shutdown")["state"] == "stopping"
    assert host.ok("POST", "/v1/vms/deaf/stop")["state"] == "stopped"


def test_stubborn_vmm_is_killed(host):
    host.ok("POST", "/v1/vms", host.spec("mule", "stubborn"))
    host.ok("POST", "/v1/vms/mule/start")
    vm = host.ok("POST", "/v1/vms/mule/stop")
    assert (vm["state"], vm["last_exit"]["reason"]) == ("stopped", "killed")


def test_vmm_that_refuses(host):
    host.ok("POST", "/v1/vms", host.spec("sulky", "unwilling pausable"))
    host.ok("POST", "/v1/vms/sulky/start")
    for query in ("info", "counters"):
        assert "unwilling" in refused(host.call("GET", f"/v1/vms/sulky/{query}"), 503)
    for action in ("reset", "shutdown"):
        refused(host.call("POST", f"/v1/vms/sulky/{action}"), 503)
    assert host.vm("sulky")["desired"] == "running"
    host.ok("POST", "/v1/vms/sulky/pause")
    refused(host.call("POST", "/v1/vms/sulky/resume"), 503)
    assert host.vm("sulky")["desired"] == "paused"
    host.ok("POST", "/v1/vms/sulky/stop")
    host.ok("POST", "/v1/vms", host.spec("sullen", "unwilling"))
    host.ok("POST", "/v1/vms/sullen/start")
    refused(host.call("POST", "/v1/vms/sullen/pause"), 503)
    assert host.vm("sullen")["desired"] == "running"
    host.ok("POST", "/v1/vms/sullen/stop")


@pytest.mark.parametrize("action", ["start", "stop", "pause", "resume", "reset", "shutdown"])
def test_action_on_no_vm(host, action):
    refused(host.call("POST", f"/v1/vms/nobody/{action}"), 404)


@pytest.mark.parametrize("what", ["info", "counters", "nics", "disks", "nics/n", "disks/d"])
def test_query_of_no_vm(host, what):
    refused(host.call("GET", f"/v1/vms/nobody/{what}"), 404)


def test_start_that_fails(host):
    host.ok("POST", "/v1/vms", host.spec("flawed", "bad-config", nics=[{"id": "net0"}]))
    assert "found no kernel" in refused(host.call("POST", "/v1/vms/flawed/start"), 422)
    vm = host.vm("flawed")
    assert (vm["state"], vm["desired"], vm["last_exit"]["reason"]) == \
        ("failed", "stopped", "config")
    assert "found no kernel" in vm["reason"]
    assert host.port("flawed-net0") is None
    refused(host.call("POST", "/v1/vms/flawed/start"), 422)  # it may be tried again
    assert host.call("DELETE", "/v1/vms/flawed").status == 204


@pytest.mark.parametrize("kernel", ["/etc/hostname", "{images}/missing"])
def test_kernel_vmm_launch_does_not_open(host, kernel):
    spec = host.spec("nokernel")
    spec["boot"]["kernel"] = kernel.format(images=host.images)
    host.ok("POST", "/v1/vms", spec)
    refused(host.call("POST", "/v1/vms/nokernel/start"), 422, "boot.kernel")
    vm = host.vm("nokernel")
    assert (vm["state"], vm["last_exit"]["reason"]) == ("failed", "start-failed")
    host.call("DELETE", "/v1/vms/nokernel")


def check_devices(host, kind, good, bad):
    """nics and disks alike: list, add, get, remove, and the refusals."""
    vm = f"dev-{kind}"
    host.ok("POST", "/v1/vms", host.spec(vm))
    path = f"/v1/vms/{vm}/{kind}"
    answer = host.call("POST", path, good)
    assert (answer.status, answer.headers["Location"]) == (201, f"{path}/x0")
    assert host.ok("GET", path)["items"] == [answer.json]
    assert host.ok("GET", f"{path}/x0") == answer.json
    refused(host.call("POST", path, good), 409, "id")
    refused(host.call("POST", path, {**good, **bad}), 422, next(iter(bad)))
    refused(host.call("POST", f"/v1/vms/nobody/{kind}", good), 404)
    refused(host.call("GET", f"{path}/x1"), 404)
    refused(host.call("DELETE", f"{path}/x1"), 404)
    if kind == "disks":
        host.image("disk", b"\0" * 4096)
    host.ok("POST", f"/v1/vms/{vm}/start")
    refused(host.call("POST", path, {**good, "id": "x1"}), 409)
    refused(host.call("DELETE", f"{path}/x0"), 409)
    host.ok("POST", f"/v1/vms/{vm}/stop")
    assert host.call("DELETE", f"{path}/x0").status == 204
    assert host.ok("GET", path)["items"] == []


def test_nics(host):
    check_devices(host, "nics", {"id": "x0", "mac": "52:54:00:AA:00:01"}, {"mtu": 1})


def test_disks(host):
    check_devices(host, "disks", {"id": "x0", "file": f"{host.images}/disk"}, {"serial": ""})


def test_room_for_devices(host):
    host.ok("POST", "/v1/vms", host.spec("full", nics=[{"id": f"n{n}"} for n in range(24)]))
    refused(host.call("POST", "/v1/vms/full/nics", {"id": "more"}), 422)


def test_uplinks(host):
    spec = {"id": "up0", "type": "ethdev", "devargs": "net_null0"}
    answer = host.call("POST", "/v1/ports", spec)
    assert (answer.status, answer.headers["Location"]) == (201, "/v1/ports/up0")
    port = host.ok("GET", "/v1/ports/up0")
    assert (port["state"], port["vm"], port["devargs"]) == ("up", None, "net_null0")
    assert port["counters"]["drops"]
    assert "up0" in [each["id"] for each in host.ok("GET", "/v1/ports")["items"]]
    refused(host.call("POST", "/v1/ports", spec), 409, "id")
    with concurrent.futures.ThreadPoolExecutor() as pool:  # each is told of its own
        several = [{**spec, "id": f"many{n}", "devargs": f"net_null{n + 1}"} for n in range(4)]
        for body, made in zip(several, pool.map(lambda b: host.call("POST", "/v1/ports", b), several)):
            assert (made.headers["Location"], made.json["id"]) == (f"/v1/ports/{body['id']}", body["id"])
            assert host.call("DELETE", f"/v1/ports/{body['id']}").status == 204
    refused(host.call("POST", "/v1/ports", {**spec, "id": "up1", "type": "token-ring"}), 422,
            "type")
    refused(host.call("POST", "/v1/ports", {**spec, "id": "up1", "devargs": ""}), 422, "devargs")
    wrong = {**spec, "id": "up1", "devargs": "net_null7,colour=red"}
    refused(host.call("POST", "/v1/ports", wrong), 503)
    said = refused(host.call("POST", "/v1/ports", {**wrong, "devargs": "nonsense"}), 422, "devargs")
    assert "--uplink" in said
    assert host.port("up1") is None
    assert host.call("DELETE", "/v1/ports/up0").status == 204
    refused(host.call("DELETE", "/v1/ports/up0"), 404)
    refused(host.call("GET", "/v1/ports/up0"), 404)


def test_switch(host):
    switch = host.ok("GET", "/v1/switch")
    assert switch["state"] == "running" and switch["info"]["pid"] == switch["pid"]
    assert isinstance(host.ok("GET", "/v1/switch/fdb")["items"], list)
    assert host.call("DELETE", "/v1/switch/fdb").status == 204


def test_without_a_switch(broken):
    wait_until(lambda: broken.ok("GET", "/v1/switch")["restarts"] > 0, "the switch to fail")
    assert broken.ok("GET", "/v1/switch")["info"] is None
    refused(broken.call("GET", "/v1/switch/fdb"), 503)
    refused(broken.call("DELETE", "/v1/switch/fdb"), 503)
    refused(broken.call("POST", "/v1/ports", {"id": "up0", "type": "ethdev", "devargs": "x"}), 503)
    broken.ok("POST", "/v1/vms", broken.spec("wired", nics=[{"id": "net0"}]))
    refused(broken.call("POST", "/v1/vms/wired/start"), 503)
    assert broken.vm("wired")["state"] == "failed"
    broken.ok("POST", "/v1/vms", broken.spec("unwired"))
    assert broken.ok("POST", "/v1/vms/unwired/start")["state"] == "running"
    broken.ok("POST", "/v1/vms/unwired/stop")
    assert broken.ok("GET", "/v1/ports")["items"] == []


def read_events(host, last, headers=None):
    """Events as (id, type, data), up to and with the first that `last` is true of."""
    connection = host.connection()
    connection.request("GET", "/v1/events", headers=headers or {})
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream"
    SEEN.add(("GET", "/v1/events", response.status))
    events, fields, deadline = [], {}, time.monotonic() + DEADLINE
    while not events or not last(events[-1]):
        assert time.monotonic() < deadline, events
        line = response.readline().decode().rstrip("\n")
        if not line and fields:
            events.append((fields.get("id"), fields["event"], json.loads(fields["data"])))
            fields = {}
        elif line and not line.startswith(":"):
            key, _, value = line.partition(": ")
            fields[key] = value
    connection.sock.close()
    return events


def test_events(host):
    host.ok("POST", "/v1/vms", host.spec("told"))
    host.ok("POST", "/v1/vms/told/start")
    host.ok("POST", "/v1/vms/told/stop")
    host.call("DELETE", "/v1/vms/told")
    every = read_events(host, lambda event: event[2].get("state") == "removed"
                        and event[2].get("vm") == "told", {"Last-Event-ID": "0"})
    if every[0][1] == "lost":
        every = every[1:]
    numbers = [int(event[0]) for event in every]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for _, _, data in every:
        API.check(data, {"$ref": "#/components/schemas/Event"})
    states = [data["state"] for _, _, data in every if data.get("vm") == "told"]
    assert states[:3] == ["stopped", "starting", "running"] and states[-2:] == ["stopped", "removed"]
    # From a number we have not given yet: somebody remembers another life of the daemon.
    assert read_events(host, lambda event: True, {"Last-Event-ID": "999999"})[0][1] == "lost"


def test_events_as_they_happen(host):
    host.ok("POST", "/v1/vms", host.spec("live"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # Nobody says when the stream is open: something happens until it is heard.
        reading = pool.submit(read_events, host, lambda event: event[2].get("vm") == "live" and
                              event[2]["state"] == "running")
        while not reading.done():
            host.ok("POST", "/v1/vms/live/start")
            host.ok("POST", "/v1/vms/live/stop")
        assert reading.result()


def test_too_many_readers_of_events(host):
    with contextlib.ExitStack() as readers:
        for _ in range(32):
            connection = readers.enter_context(contextlib.closing(host.connection()))
            connection.request("GET", "/v1/events")
            assert connection.getresponse().status == 200
        refused(host.call("GET", "/v1/events"), 503)

    def place_again():
        """They are missed when they are to be told something."""
        host.ok("POST", "/v1/vms", host.spec("noise"))
        host.call("DELETE", "/v1/vms/noise")
        with contextlib.closing(host.connection()) as connection:
            connection.request("GET", "/v1/events")
            return connection.getresponse().status == 200
    wait_until(place_again, "their places")


def test_what_is_not_stored_is_not_done(host):
    """The store refuses, as it does when its disk is full: so is the request, and nothing changed."""
    host.ok("POST", "/v1/vms", host.spec("kept", nics=[{"id": "n"}], disks=[{"id": "d", "file": "/f"}]))
    host.ok("POST", "/v1/vms", host.spec("lives"))
    host.ok("POST", "/v1/vms/lives/start")
    host.ok("POST", "/v1/ports", {"id": "wire", "type": "ethdev", "devargs": "net_null9"})
    before = [host.vm("kept"), host.vm("lives"), host.port("wire")["state"]]
    triggers = [(f"{event}_{table}", event, table) for table in ("vms", "ports")
                for event in ("INSERT", "UPDATE", "DELETE")]
    with contextlib.closing(sqlite3.connect(host.directory / "state/vmm.db")) as store:
        for name, event, table in triggers:
            store.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} "
                          "BEGIN SELECT RAISE(FAIL, 'no room'); END")
        for method, path, body in (
                ("POST", "/v1/vms", host.spec("new")), ("DELETE", "/v1/vms/kept", None),
                ("PATCH", "/v1/vms/kept", {"restart": "always"}), ("POST", "/v1/vms/kept/start", None),
                ("POST", "/v1/vms/lives/stop", None), ("POST", "/v1/vms/lives/pause", None),
                ("POST", "/v1/vms/kept/nics", {"id": "n2"}), ("DELETE", "/v1/vms/kept/nics/n", None),
                ("POST", "/v1/vms/kept/disks", {"id": "d2", "file": "/f"}),
                ("DELETE", "/v1/vms/kept/disks/d", None), ("DELETE", "/v1/ports/wire", None)):
            assert "no room" in refused(host.call(method, path, body), 503), path
        assert before == [host.vm("kept"), host.vm("lives"), host.port("wire")["state"]]
        assert host.call("GET", "/v1/vms/new").status == 404
        for name, _, _ in triggers:
            store.execute(f"DROP TRIGGER {name}")
    host.ok("POST", "/v1/vms/lives/stop")
    assert host.call("DELETE", "/v1/ports/wire").status == 204


def test_metrics(host):
    host.ok("POST", "/v1/vms", host.spec("counted", nics=[{"id": "net0"}]))
    host.ok("POST", "/v1/vms/counted/start")
    text = host.call("GET", "/v1/metrics").text
    line = r'[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? -?[0-9]+'
    for each in text.splitlines():
        assert each.startswith("# ") or re.fullmatch(line, each), each
    assert 'vmm_vm_state{vm="counted",state="running"} 1' in text
    assert 'vmm_vm_state{vm="counted",state="stopped"} 0' in text
    assert 'vmm_port_rx_frames_total{port="counted-net0"} 0' in text
    assert "vmm_switch_up 1" in text
    host.ok("POST", "/v1/vms/counted/stop")


def test_pci_devices(host):
    """What sysfs has, asked by another road."""
    answer = host.ok("GET", "/v1/pci/devices")
    sysfs = pathlib.Path("/sys/bus/pci/devices")
    found = {path.name for path in sysfs.iterdir()} if sysfs.exists() else set()
    assert {device["bdf"] for device in answer["items"]} == found and not answer["truncated"]
    for device in answer["items"]:
        where = sysfs / device["bdf"]
        assert int(device["vendor_id"], 16) == int((where / "vendor").read_text(), 16)
        assert int(device["class_id"], 16) == int((where / "class").read_text(), 16)
        assert device["driver"] == ((where / "driver").resolve().name
                                    if (where / "driver").exists() else None)
        assert {each["name"] for each in device["interfaces"]} == \
            {path.name for path in pathlib.Path("/sys/class/net").iterdir()
             if re.findall(r"/(\w{4,}:\w\w:\w\w\.\d)", str(path.resolve()))[-1:] == [device["bdf"]]}
    pfs = host.ok("GET", "/v1/sriov/pfs")["items"]
    assert {pf["pf"]["bdf"] for pf in pfs} == {path.parent.name for path in sysfs.glob("*/sriov_numvfs")}


def test_doctor(host):
    """What this machine has or has not; every group of checks says something."""
    answer = host.ok("GET", "/v1/host/doctor")
    checks = {check["id"]: check for check in answer["items"]}
    assert {"cpu-virtualization", "kvm", "iommu", "interrupt-remapping", "vfio-module", "sriov",
            "memlock", "huge-pages"} <= set(checks) and not answer["truncated"]
    assert checks["kvm"]["status"] == "ok"
    units = pathlib.Path("/sys/class/iommu")
    there = units.exists() and any(units.iterdir())
    assert (checks["iommu"]["status"] == "ok") == there, checks["iommu"]
    assert all(check["fix"] is None for check in answer["items"] if check["status"] == "ok")


def test_vmm_launch_does_not_answer():
    """What only it can read is missing, and the client is told."""
    slow = Checked(options=("--spawn-timeout", "1"))
    try:
        slow.wait_switch()
        launch = int(pathlib.Path(f"/proc/{slow.process.pid}/task/{slow.process.pid}/children")
                     .read_text().split()[0])
        os.kill(launch, signal.SIGSTOP)
        for path in HOST_QUERIES:
            assert "vmm-launch" in refused(slow.call("GET", path), 503)
        os.kill(launch, signal.SIGCONT)
        for path in HOST_QUERIES:
            slow.ok("GET", path)
    finally:
        slow.destroy()


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/vms/", "/v1/vms/x/y", "/v2/vms",
                                  "/v1/vms/" + "x" * 300, "/v1/vms/%2e%2e/start/x"])
def test_path_that_is_none(host, path):
    refused(host.call("GET", path), 404)


@pytest.mark.parametrize("method,path,allowed", [
    ("DELETE", "/v1/vms", "GET, POST"), ("PUT", "/v1/vms/plain", "GET, PATCH, DELETE"),
    ("GET", "/v1/vms/plain/start", "POST"), ("POST", "/v1/metrics", "GET")])
def test_method_that_is_none(host, method, path, allowed):
    answer = host.call(method, path)
    refused(answer, 405)
    assert answer.headers["Allow"] == allowed


def test_stop_guests(host):
    refused(host.call("POST", "/v1/host/stop-guests", {"grace_seconds": -1}), 422, "grace_seconds")
    for vm, cmdline in (("polite", ""), ("hardened", "deaf"), ("frozen", "")):
        host.ok("POST", "/v1/vms", host.spec(vm, cmdline))
        host.ok("POST", f"/v1/vms/{vm}/start")
    host.ok("POST", "/v1/vms/frozen/pause")
    vms = {vm["id"]: vm for vm in
           host.ok("POST", "/v1/host/stop-guests", {"grace_seconds": 1})["items"]}
    assert all(vm["pid"] is None for vm in vms.values())
    assert vms["polite"]["last_exit"]["reason"] == "shutdown"
    assert vms["hardened"]["last_exit"]["reason"] == "stop"
    assert vms["frozen"]["state"] == "stopped"
    host.ok("POST", "/v1/host/stop-guests")  # nothing to do, and no body


def test_everything_was_exercised():
    """The last one: an operation or a documented error nobody asked for has no test."""
    wanted = {(method, template, int(status)) for method, template, operation in API.operations()
              for status in operation["responses"]}
    assert not wanted - SEEN
