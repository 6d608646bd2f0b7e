"""Two Debian guests set up through REST: they talk without loss, and go on when parts are killed.

The tests share two running guests and come in order: what ends a guest comes last. Guest 1 has one
vCPU and 4K memory, guest 2 four vCPUs and 2M memory.
"""

import hashlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import pytest

import appliance

MIB = 1 << 20
FRAMES = 100000
BOOT_SECONDS = 300
DISK_FILES = 20


@pytest.fixture(scope="module", name="place")
def make_place():
    """A folder with a short name, where the daemon's own user may go."""
    with tempfile.TemporaryDirectory(prefix="vmm-", dir="/run") as place:
        os.chmod(place, 0o755)
        yield pathlib.Path(place)


@pytest.fixture(scope="module", name="scratch_disk")
def make_scratch_disk(place):
    """An empty disk image for guest 1."""
    path = place / "scratch.img"
    path.touch()
    os.truncate(path, 64 * MIB)
    return path


@pytest.fixture(scope="module", name="host")
def start_host(build, place, scratch_disk):
    """The appliance with both guests defined and started."""
    host = appliance.Appliance(build, place, [appliance.debian_image_dir(), "/dev", place])
    try:
        host.start()
        disks = [os.environ[f"LAB_DISK_guest{number}"] for number in (1, 2)]
        first = appliance.debian_spec(1, disks[0])
        first["disks"].append({"id": "scratch", "file": str(scratch_disk)})
        second = appliance.debian_spec(2, disks[1], vcpus=4, restart="on-failure",
                                       memory={"size_mib": 384, "page_size": "2M"})
        for spec in (first, second):
            host.call("POST", "/v1/vms", spec)
        for spec in (first, second):
            host.call("POST", f"/v1/vms/{spec['id']}/start")
        yield host
    finally:
        print(host.log())
        host.abandon()


@pytest.fixture(scope="module", name="consoles")
def boot_guests(host):
    """The consoles of both guests, with a shell on each."""
    consoles = [host.console(f"guest{number}") for number in (1, 2)]
    for console in consoles:
        console.wait_for_shell(BOOT_SECONDS)
    return consoles


@pytest.fixture(autouse=True)
def explain_failure(request, host, consoles):
    """After a failed test: what the switch, the VMs and the guests count."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        host.explain()
        for console in consoles:
            console.explain("ip -s link show eth0; grep -E 'virtio|CPU' /proc/interrupts; ip neigh; "
                            "dmesg | tail -n 5")


def ports_of(host):
    """The switch's ports by id."""
    return {port["id"]: port for port in host.call("GET", "/v1/ports")["items"]}


def assert_whole(results):
    for result in results:
        assert result["ok"] and result["lost"] == 0 and result["socket_drops"] == 0, results


def test_guests_are_what_was_asked_for(consoles):
    for console, vcpus in zip(consoles, (1, 4)):
        assert "Debian GNU/Linux 12" in console.run("cat /etc/os-release")
        assert console.run("nproc") == str(vcpus)
        assert "driver: virtio_net" in console.run("ethtool -i eth0")
        assert console.run("systemctl --failed --no-legend --plain") == ""


def test_memory_is_mapped_by_its_page_size(host):
    first, second = [host.call("GET", f"/v1/vms/guest{number}/info") for number in (1, 2)]
    print(first, second)
    assert first["second_level"]["pages_4k"] > 0 and second["second_level"]["pages_2m"] > 10


def groups_of(host):
    """The control groups of this host's VMs, by VM."""
    return {path.name.rpartition("-")[2]: path
            for path in pathlib.Path("/sys/fs/cgroup").glob("vmm-*") if host.socket.parent.name in path.name}


def test_memory_and_threads_are_bound_by_control_groups(host):
    """Guest RAM and its mappings, 256 MiB beside; the vCPUs and 64 threads beside."""
    for vm, vcpus in (("guest1", 1), ("guest2", 4)):
        group = groups_of(host)[vm]
        ram = host.call("GET", f"/v1/vms/{vm}/info")["memory"]["size_mib"] << 20
        limits = {name: int((group / name).read_text()) for name in
                  ("memory.max", "memory.current", "pids.max", "pids.current", "cgroup.procs")}
        print(vm, limits)
        assert limits["memory.max"] == ram + ram // 64 + (256 << 20)
        assert limits["pids.max"] == vcpus + 64 and limits["pids.current"] > vcpus
        assert limits["cgroup.procs"] == host.vm(vm)["pid"]


def test_frames_both_ways(host, consoles):
    before = ports_of(host)
    results = appliance.exchange_frames(consoles, FRAMES)
    print(results)
    assert_whole(results)
    assert [result["received"] for result in results] == [FRAMES, FRAMES]
    after = ports_of(host)
    for number, peer in ((1, 2), (2, 1)):
        port, other = f"guest{number}-net0", f"guest{peer}-net0"
        came = after[port]["counters"]["rx_frames"] - before[port]["counters"]["rx_frames"]
        went = after[other]["counters"]["tx_frames"] - before[other]["counters"]["tx_frames"]
        assert came >= FRAMES and went >= FRAMES, (before, after)


def test_ping_and_tcp_both_ways(consoles):
    lost, times = appliance.ping(consoles[0], "10.0.0.2")
    assert lost == 0 and times[0] > 0
    for server, client, address in ((1, 0, "10.0.0.2"), (0, 1, "10.0.0.1")):
        received, rate = appliance.throughput(consoles[server], consoles[client], address)
        print(f"to guest{server + 1}: {received} bytes, {rate:.1f} Mbit/s (emulated time)")
        assert received > MIB


def test_a_file_sent_over_tcp_arrives_whole(consoles):
    """Offloads and segments on the road change no byte."""
    consoles[0].run("head -c 8M /dev/urandom >/tmp/sent", 120)
    begun = consoles[1].start("timeout 120 nc -l 9000 </dev/null | sha256sum")
    sent = consoles[0].run("until nc -N 10.0.0.2 9000 </tmp/sent; do sleep 0.2; done; "  # it listens soon
                           "sha256sum </tmp/sent", 120)
    assert consoles[1].finish(begun, 150) == (0, sent)


def test_disk_holds_what_was_written(consoles, scratch_disk):
    """A file system made and filled by the guest is sound, and whole when the host reads it."""
    guest = consoles[0]
    guest.run("mkfs.ext4 -q /dev/vdb && mkdir -p /mnt/s && mount /dev/vdb /mnt/s", 120)
    guest.run(f"for i in $(seq {DISK_FILES}); do head -c ${{i}}31072 /dev/urandom >/mnt/s/f$i; done", 120)
    sums = dict(reversed(line.split()) for line in guest.run("cd /mnt/s; sha256sum f*; cd /",
                                                             120).splitlines())
    guest.run("umount /mnt/s && mount /dev/vdb /mnt/s && (cd /mnt/s; sha256sum f* | wc -l) && "
              "umount /mnt/s && blockdev --flushbufs /dev/vdb", 120)
    assert len(sums) == DISK_FILES
    subprocess.run(["e2fsck", "-fn", scratch_disk], check=True)
    for name, expected in sums.items():
        data = subprocess.run(["debugfs", "-R", f"cat {name}", scratch_disk], check=True,
                              capture_output=True).stdout
        assert hashlib.sha256(data).hexdigest() == expected, name


def test_switch_killed_under_traffic(host, consoles):
    """The switch is started again, the guests connect to it and go on talking."""
    switch = host.call("GET", "/v1/switch")
    consoles[1].run("iperf3 -s -1 -D")
    begun = consoles[0].start("iperf3 -c 10.0.0.2 -t 20")
    host.wait_until(lambda: ports_of(host)["guest1-net0"]["counters"]["rx_bytes"] > MIB, 30, "traffic")
    os.kill(switch["pid"], signal.SIGKILL)
    host.wait_until(lambda: host.call("GET", "/v1/switch", quiet=True)["pid"]
                    not in (None, switch["pid"]), 60, "another switch")
    status, output = consoles[0].finish(begun, 120)
    assert status == 0, f"the TCP connection did not live through it:\n{output}"
    assert_whole(appliance.exchange_frames(consoles, FRAMES // 10))


def test_vmm_killed_under_traffic(host, consoles):
    """A killed guest is marked failed with the reason, its port goes, its policy starts it again."""
    old = host.vm("guest2")
    begun = consoles[0].start(f"frames -t 20 eth0 {appliance.mac(2)} 1000000")
    consoles[1].start(f"frames -t 20 eth0 {appliance.mac(1)} 1000000")
    mark = len(consoles[1].log)
    os.kill(old["pid"], signal.SIGKILL)
    new = host.wait_until(lambda: (vm := host.vm("guest2"))["pid"] not in (None, old["pid"])
                          and vm["state"] == "running" and vm, 60, "guest2 to be started again")
    assert new["restarts"] == old["restarts"] + 1 and new["last_exit"]["reason"] == "killed", new
    consoles[0].finish(begun, 120)
    consoles[1].wait_for_shell(BOOT_SECONDS, mark)
    assert_whole(appliance.exchange_frames(consoles, FRAMES // 10))


def test_mgmt_killed_under_traffic(host, consoles):
    """Guests and switch run on without vmm-mgmt; the next one adopts them."""
    before = [host.vm(f"guest{number}") for number in (1, 2)]
    switch = host.call("GET", "/v1/switch")
    begun = [console.start(f"frames eth0 {appliance.mac(peer)} {FRAMES}")
             for console, peer in zip(consoles, (2, 1))]
    host.kill()
    host.start()
    for console, started in zip(consoles, begun):
        status, output = console.finish(started, 300)
        assert status == 0 and '"ok": true' in output, output
    after = [host.vm(f"guest{number}") for number in (1, 2)]
    for old, new in zip(before, after):
        assert new["state"] == "running" and new["pid"] == old["pid"]
    assert host.call("GET", "/v1/switch")["pid"] == switch["pid"]


def test_adopted_vmm_killed_without_a_policy(host, consoles):
    """Nobody can tell any more what ended a process that was adopted, but gone it is."""
    old = host.vm("guest1")
    os.kill(old["pid"], signal.SIGKILL)
    failed = host.wait_for_state("guest1", "failed")
    assert failed["pid"] is None and failed["last_exit"]["reason"] == "lost", failed
    host.wait_until(lambda: "guest1-net0" not in ports_of(host), 30, "its port to go")
    assert not pathlib.Path(f"/proc/{old['pid']}").exists()
    consoles[1].run("true")


def test_shutdown_is_clean(host, consoles):
    """The power button, answered by the guest's systemd."""
    assert consoles[1].run("systemctl is-active systemd-logind") == "active"
    found = host.call("POST", "/v1/host/stop-guests", {"grace_seconds": 120}, seconds=180)["items"]
    vms = {vm["id"]: vm for vm in found}
    assert vms["guest2"]["state"] == "stopped"
    assert vms["guest2"]["last_exit"]["reason"] == "shutdown", vms["guest2"]
    assert re.search(r"Power down|Powering off|Reached target.*[Pp]ower", consoles[1].log)
    for number in (1, 2):
        host.call("DELETE", f"/v1/vms/guest{number}")
    assert not groups_of(host)
    assert host.stop() == 0
