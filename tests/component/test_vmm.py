"""vmm with the tiny guest under this machine's KVM: the board as a guest sees it, and every end."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

import vmm_rig
from vmm_rig import DEADLINE, Failure, wait_for

pytestmark = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK),
                                reason="no /dev/kvm to run a guest with")

WRONG_STATE, INVALID, HOST_FAILURE, NO_METHOD = -32000, -32602, -32004, -32601
SANITIZED = os.environ.get("SANITIZE", "none") != "none"
NIC = {"id": "net0", "mode": "vhost-user", "socket": "/nonexistent/switch.sock",
       "mac": "52:54:00:00:00:01"}
DISK = {"id": "disk0", "mode": "virtio-blk"}
# Asks for vm.info at an abstract socket's name.
CLIENT = """import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect("\\0" + sys.argv[1])
client.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "vm.info"}\\n')
print(client.recv(4096))
"""


@pytest.fixture
def vmm(tmp_path):
    """Not started."""
    made = vmm_rig.Vmm(tmp_path)
    yield made
    made.close()


def make_disk(path):
    """Two MiB: "tiny" in the first sector."""
    path.write_bytes((b"tiny" * 128).ljust(2 << 20, b"\0"))
    return {"id": "disk0", "mode": "virtio-blk", "file": str(path)}


@pytest.mark.parametrize("protocol", ["auto", "pvh", "multiboot"])
def test_board(vmm, protocol):
    boot = {"kernel": str(vmm_rig.TINY), "cmdline": "end=off", "protocol": protocol}
    assert vmm.start(vmm.config(boot=boot)).end()[0] == 0
    said = "multiboot" if protocol == "multiboot" else "pvh"
    assert vmm.console().startswith(f"tiny: {said}\n")
    assert vmm_rig.values(vmm.console()) == {
        "memory-map": 1, "uart-scratch": 0x5a, "host-bridge-cf8": 0x29c08086,
        "host-bridge-ecam": 0x29c08086, "lpc-ecam": 0x29188086, "root-port": 0xffffffff,
        "behind-root-port": 0xffffffff, "absent": 0xffffffff, "rtc-valid": 0x80,
        "rtc-century": 0x20, "i8042-selftest": 0x55, "pm-timer-moves": 1, "apic-id": 0,
        "no-device-port": 0xff}


@pytest.mark.parametrize("how", ["i8042", "cf9", "triple"])
def test_reset(vmm, how):
    assert vmm.start(vmm.config(f"quiet reset={how}")).end()[0] == 0
    assert vmm.console().count("tiny: pvh") == 2
    assert "boot 00000002" in vmm.console()
    assert vmm.record()["reason"] == "shutdown"


def test_a_guest_that_asked_for_a_reset_does_not_go_on(vmm):
    vmm.start(vmm.config("quiet reset=always"))
    control = vmm.control()
    end = time.monotonic() + DEADLINE
    for count in range(1, 60):  # some find a reset just asked for, some one that is planned
        while vmm.console().count("looked around") < count:
            assert time.monotonic() < end
        control.call_all(("vm.pause", {}), ("vm.resume", {}))
    control.call("vm.stop")
    assert vmm.end()[0] == 0
    assert "went on" not in vmm.console()


@pytest.mark.parametrize("end, reason, status", [
    ("off", "shutdown", 0), ("debug", "debug-exit", 0x21 << 1 | 1), ("fault", "guest-fault", 3)])
def test_exit_record(vmm, end, reason, status):
    vmm.start(vmm.config(f"quiet end={end}"))
    assert vmm.end()[0] == status
    record = vmm.record()
    assert (record["id"], record["reason"], record["status"]) == ("tiny", reason, status)
    assert record["pid"] == vmm.process.pid
    assert record["time"].endswith("Z")
    if end == "fault":
        assert "rip=d0000000" in record["message"]


def test_virtio_disk(vmm, tmp_path):
    config = vmm.config("quiet disk end=off", disks=[make_disk(tmp_path / "disk")])
    assert vmm.start(config).end()[0] == 0
    found = vmm_rig.values(vmm.console())
    assert found["disk-read"] == found["disk-write"] == found["disk-flush"] == 0
    assert found["disk-data"] == int.from_bytes(b"tiny", "little")
    second = (tmp_path / "disk").read_bytes()[512:1024]
    assert second == bytes(~byte & 0xff for byte in b"tiny" * 128)


@pytest.mark.parametrize("how", ["ecam", "ports"])
def test_a_hostile_guest_finds_all_at_home_after_its_reset(vmm, tmp_path, how):
    """What it does to the chipset's windows, to every port, the timer's too, and to BARs."""
    disk = make_disk(tmp_path / "disk")
    vmm.start(vmm.config(f"disk hostile={how}", disks=[disk]))
    assert vmm.end()[0] == 0
    first, second = vmm.console().split("tiny: pvh")[1:]
    if how == "ecam":
        assert vmm_rig.values(first)["ecam-moved"] == 0x29c08086
        assert vmm_rig.values(first)["bar-in-its-place"] == 1
    else:
        assert vmm_rig.values(first)["ram-changed"] == 0
    found = vmm_rig.values(second)
    assert found["boot"] == 2
    for name in ("host-bridge-cf8", "host-bridge-ecam"):
        assert found[name] == 0x29c08086
    assert found["behind-root-port"] == 0x10421af4
    assert found["disk-read"] == found["disk-write"] == found["disk-flush"] == 0
    assert vmm.record()["reason"] == "shutdown"


def test_reset_and_pause_with_a_disk_in_use(vmm, tmp_path):
    disk = make_disk(tmp_path / "disk")
    vmm.start(vmm.config("quiet disk end=spin", disks=[disk]))
    control = vmm.control()
    for count in range(1, 4):
        wait_for(lambda: vmm.console().count("looked around") >= count)
        assert vmm.console().count("disk-flush 00000000") == count
        control.call("vm.pause")
        if count == 2:  # a reset of a paused guest, too
            control.call("vm.reset")
        control.call("vm.resume")
        if count != 2:
            control.call("vm.reset")
    counters = control.call("vm.counters")["devices"]["disk0"]
    assert counters["flushes"] >= 3 and counters["guest_faults"] == 0
    control.call("vm.stop")
    assert vmm.end()[0] == 0


def test_life_by_rpc(vmm):
    vmm.start(None, "--control", str(vmm.tmp / "control"))
    control = vmm.control()
    assert control.call("vm.info")["state"] == "unconfigured"
    for method in ("start", "pause", "resume", "reset", "shutdown"):
        with pytest.raises(Failure) as caught:
            control.call("vm." + method)
        assert caught.value.code == WRONG_STATE
        assert caught.value.data["state"] == "unconfigured"
    with pytest.raises(Failure) as caught:
        control.call("vm.configure", config={"id": "tiny"})
    assert caught.value.code == INVALID
    assert "memory" in str(caught.value)
    config = vmm.config("quiet end=spin", control=None)
    assert control.call("vm.configure", config=config)["state"] == "configured"
    with pytest.raises(Failure):
        control.call("vm.configure", config=config)
    assert control.call("vm.start")["state"] == "running"
    vmm.wait_console("looked around")
    with pytest.raises(Failure):
        control.call("vm.resume")
    assert control.call("vm.pause")["state"] == "paused"
    assert control.call("vm.reset")["state"] == "paused"
    assert control.call("vm.resume")["state"] == "running"
    wait_for(lambda: vmm.console().count("looked around") == 2)
    assert control.call("vm.counters")["devices"]["com1"]["tx_bytes"] > 0
    with pytest.raises(Failure) as caught:
        control.call("vm.explode")
    assert caught.value.code == NO_METHOD
    assert control.call("vm.stop")["state"] == "stopped"
    states = [note["state"] for note in control.rest()]
    assert states == ["configured", "running", "paused", "paused", "running", "stopped"]
    assert vmm.end()[0] == 0
    assert vmm.record()["reason"] == "stop"


def test_host_failure_by_rpc(vmm):
    vmm.start(None, "--control", str(vmm.tmp / "control"))
    control = vmm.control()
    control.call("vm.configure", config=vmm.config(kvm="/dev/null", control=None))
    with pytest.raises(Failure) as caught:
        control.call("vm.start")
    assert caught.value.code == HOST_FAILURE
    assert control.call("vm.info")["state"] == "configured"


def test_power_button(vmm):
    vmm.start(vmm.config("quiet end=button"))
    vmm.wait_console("waiting")
    assert vmm.control().call("vm.shutdown")["state"] == "running"
    assert vmm.end()[0] == 0
    assert "button" in vmm.console()
    assert vmm.record()["reason"] == "shutdown"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_the_guest_power_off(vmm, number):
    vmm.start(vmm.config("quiet end=button"))
    vmm.wait_console("waiting")
    vmm.process.send_signal(number)
    assert vmm.end()[0] == 0
    assert vmm.record()["reason"] == "shutdown"


@pytest.mark.parametrize("grace, signals", [("0", 1), ("1", 1), ("3600", 2)])
def test_sigterm_ends_a_deaf_guest(vmm, grace, signals):
    vmm.start(vmm.config("quiet end=spin"), "--grace", grace)
    vmm.wait_console("looked around")
    for n in range(signals):
        if n:  # two of the same signal at once would be one
            control.call("vm.info")
        else:
            control = vmm.control()
        vmm.process.send_signal(signal.SIGTERM)
    assert vmm.end()[0] == 0
    assert vmm.record()["reason"] == "signal"


def test_several_vcpus_pause(vmm):
    vmm.start(vmm.config("quiet end=spin", vcpus=4))
    vmm.wait_console("looked around")
    control = vmm.control()
    for _ in range(20):
        control.call("vm.pause")
        control.call("vm.resume")
    info = control.call("vm.info")
    assert info["vcpus"] == 4
    assert info["exits"]["exits"] > 0
    assert set(info["second_level"]) >= {"pages_4k", "pages_2m", "pages_1g"}


def test_bound_to_a_host_node(vmm):
    memory = {"size_mib": 128, "nodes": 2, "host_nodes": [0, 0], "prefault": True}
    vmm.start(vmm.config("quiet end=spin", memory=memory))
    vmm.wait_console("looked around")
    maps = pathlib.Path(f"/proc/{vmm.process.pid}/numa_maps").read_text()
    bound = [line for line in maps.splitlines() if "memfd:guest-ram" in line]
    assert len(bound) == 2
    assert all(" bind:0 " in line and "N0=16384" in line for line in bound)
    vmm.control().call("vm.stop")
    assert vmm.end()[0] == 0


def test_console_that_nobody_reads(vmm):
    os.mkfifo(vmm.console_file)
    vmm.start(vmm.config("quiet end=off"))
    status, errors = vmm.end()
    assert status == 1
    assert str(vmm.console_file) in errors


def test_overhead(vmm, tmp_path, capsys):
    disk = make_disk(tmp_path / "disk")
    vmm.start(vmm.config("disk end=spin", nics=[NIC], disks=[disk]))
    vmm.wait_console("looked around")
    info = vmm.control().call("vm.info")
    with capsys.disabled():
        print("beyond the guest's RAM:", info["overhead"])
    assert [device["id"] for device in info["devices"]][-4:] == \
        ["root-port-1", "net0", "root-port-2", "disk0"]
    # A sanitizer's shadow memory is not ours to keep small.
    assert 0 < info["overhead"]["pss_kib"] <= (1 << 20 if SANITIZED else 6 * 1024)
    assert vmm_rig.values(vmm.console())["behind-root-port"] == 0x10411af4


def test_inherited_descriptors(vmm, tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control"))
    listener.listen()
    kernel = os.open(vmm_rig.TINY, os.O_RDONLY)
    record = os.open(vmm.record_file, os.O_RDWR | os.O_CREAT)
    kvm = os.open("/dev/kvm", os.O_RDWR)
    config = vmm.config(boot={"kernel": f"fd:{kernel}", "cmdline": "quiet end=spin"},
                        exit_record=f"fd:{record}", kvm=f"fd:{kvm}",
                        control=f"fd:{listener.fileno()}")
    memfd = os.memfd_create("config", os.MFD_ALLOW_SEALING)
    os.write(memfd, json.dumps(config).encode())
    os.lseek(memfd, 0, os.SEEK_SET)
    fds = (listener.fileno(), kernel, record, kvm, memfd)
    vmm.start(None, "--config", f"fd:{memfd}", pass_fds=fds)
    for fd in fds[1:]:
        os.close(fd)
    vmm.wait_console("looked around")
    control = vmm.control()
    control.call("vm.reset")  # loads the kernel again
    wait_for(lambda: vmm.console().count("looked around") == 2)
    control.call("vm.stop")
    assert vmm.end()[0] == 0
    assert vmm.record()["reason"] == "stop"
    listener.close()


def test_console_socket(vmm, tmp_path):
    path = tmp_path / "console.sock"
    vmm.start(vmm.config("quiet end=button", console={"type": "socket", "file": str(path)}))
    control = vmm.control()
    client = vmm_rig.connect(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    lines = client.makefile()
    assert lines.readline() == "tiny: pvh\n"
    while lines.readline() != "waiting\n":
        pass
    control.call("vm.shutdown")
    assert vmm.end()[0] == 0


@pytest.mark.parametrize("change, words", [
    ({"vcpus": 65}, ["vcpus", "65", "1 to 64"]),
    ({"colour": "red"}, ["colour", "unknown key"]),
    ({"memory": {"size_mib": "16"}}, ["memory.size_mib", '"16"', "an integer"]),
    ({"boot": {"kernel": "/nonexistent"}}, ["boot.kernel", "/nonexistent", "can be read"]),
    ({"boot": {"kernel": "/etc/passwd"}}, ["/etc/passwd"]),
    ({"nics": [NIC, NIC]}, ["nics[1].id", "net0", "no other"]),
    ({"nics": [NIC | {"socket": "/" + 107 * "x"}]}, ["nics[0].socket", "107"]),
    ({"disks": [DISK | {"file": "/nonexistent"}]}, ["disk0", "file", "/nonexistent", "No such"]),
    ({"disks": [DISK | {"file": "/dev/null"}]}, ["disk0", "file", "/dev/null", "neither"]),
    ({"exit_record": "/nonexistent/x"}, ["exit_record", "/nonexistent/x"]),
])
def test_bad_configuration(vmm, change, words):
    vmm.start({**vmm.config(), **change})
    status, errors = vmm.end()
    assert status == 2
    lines = [line for line in errors.splitlines() if "error" in line]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("key", ["kernel", "initrd", "module", "disk", "exit_record"])
def test_a_fifo_is_refused_not_waited_for(vmm, key, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    boot = {"kernel": str(vmm_rig.TINY)}
    disk = {"id": "disk0", "mode": "virtio-blk", "file": fifo, "read_only": True}
    change = {"kernel": {"boot": {"kernel": fifo}}, "initrd": {"boot": boot | {"initrd": fifo}},
              "module": {"boot": boot | {"modules": [{"file": fifo}]}},
              "disk": {"disks": [disk]}, "exit_record": {"exit_record": fifo}}[key]
    vmm.start({**vmm.config(), **change})
    status, errors = vmm.end()
    assert status != 0
    assert fifo in errors


def test_strangers_are_turned_away(vmm):
    """The socket is one that everybody may connect to: the uid decides."""
    name = f"vmm-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        vmm.start(None, "--control", f"fd:{listener.fileno()}", "--control-uid", "60998",
                  pass_fds=(listener.fileno(),))
    for uid, served in ((60998, True), (60997, False), (0, True)):
        client = subprocess.run(["/usr/bin/python3", "-c", CLIENT, name], user=uid, group=uid,
                                extra_groups=[], capture_output=True, check=False)
        assert (b"unconfigured" in client.stdout) == served, (uid, client)


def test_configuration_that_is_no_json(vmm):
    vmm.start('{"id": "g1",\n "vcpus": }')
    status, errors = vmm.end()
    assert status == 2
    assert "line 2" in errors


def test_bad_kernel_leaves_a_record(vmm, tmp_path):
    cut = tmp_path / "cut"
    cut.write_bytes(vmm_rig.TINY.read_bytes()[:4200])
    vmm.start(vmm.config(boot={"kernel": str(cut)}))
    assert vmm.end()[0] == 2
    assert vmm.record()["reason"] == "config"
    assert str(cut) in vmm.record()["message"]


def test_host_failures_are_named(vmm):
    vmm.start(vmm.config(kvm="/dev/null"))
    status, errors = vmm.end()
    assert status == 1
    assert "KVM" in errors
    assert vmm.record()["reason"] == "host-failure"


def test_unbacked_huge_pages_are_refused(vmm):
    vmm.start(vmm.config(memory={"size_mib": 1 << 20, "page_size": "1G"}))
    status, errors = vmm.end()
    assert status == 1
    assert "need" in errors and "have" in errors


@pytest.mark.parametrize("options, words", [
    ([], "--config, --control"), (["--grace", "x"], "--grace"), (["--what"], "--what"),
    (["--config", "fd:x"], "--config"),
    (["--control-uid", "-1"], "--control-uid"),
    (["--control", "/x", "more"], "more")])
def test_bad_options(vmm, options, words):
    vmm.start(None, *options)
    status, errors = vmm.end()
    assert status == 2
    assert words in errors


def test_help_names_every_option(vmm):
    vmm.start(None, "--help")
    said, _ = vmm.process.communicate(timeout=vmm_rig.DEADLINE)
    assert vmm.process.returncode == 0
    for option in ("--config", "--control", "--control-uid", "--grace", "--log-level", "--help", "vcpus",
                   "page_size", "exit_record", "debug_exit"):
        assert option in said
