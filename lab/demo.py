#!/usr/bin/python3
"""The main job, shown: two Debian guests, set up through REST, talk over our switch.

On a machine whose CPU has VT-x or AMD-V all runs there, else in the lab (lab/README.md); the first
lines say which and why. Exit status 0 says that both guests came up, that no frame was lost and
that all was shut down cleanly.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import appliance
import cache
import guests

GUESTS = (1, 2)
BOOT_SECONDS = 240
STARTED = time.monotonic()


def say(text=""):
    """One line for the person who watches, with the time since the start."""
    print(f"[{time.monotonic() - STARTED:6.1f}] {text}" if text else "", flush=True)


def show_console(number):
    """A function that shows one guest's console lines, those that tell of progress."""
    def show(line):
        if line.strip():
            print(f"         guest{number} | {line.strip()[:100]}", flush=True)
    return show


def boot_guests(host, disks):
    """Define and start both guests; their consoles, when their shells are there."""
    for number, disk in zip(GUESTS, disks):
        host.call("POST", "/v1/vms", appliance.debian_spec(number, disk))
    for number in GUESTS:
        host.call("POST", f"/v1/vms/guest{number}/start")
    consoles = [host.console(f"guest{number}", show_console(number)) for number in GUESTS]
    for console in consoles:
        console.wait_for_shell(BOOT_SECONDS)
    for console in consoles:
        console.mute()
    say("both guests are up")
    return consoles


def describe(console):
    """What a guest says of itself: (os-release name, kernel, NIC)."""
    system = console.run(". /etc/os-release; echo $PRETTY_NAME")
    driver = re.search(r"driver: (\S+)", console.run("ethtool -i eth0"))[1]
    address = console.run("cat /sys/class/net/eth0/address")
    return system, console.run("uname -r"), f"{driver} {address}"


def table(headings, rows):
    """Print rows under headings, in columns."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *rows)]
    for row in [headings, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(flush=True)


def frame_rows(results):
    """One row for each direction, from the receiver's count."""
    for sender, receiver in ((0, 1), (1, 0)):
        found = results[receiver]
        yield (f"guest{GUESTS[sender]} -> guest{GUESTS[receiver]}", results[sender]["sent"],
               found["received"], found["lost"], found["duplicated"], found["reordered"],
               found["corrupted"])


def port_rows(ports):
    """One row for each port of the switch."""
    for port in ports:
        counters = port["counters"]
        drops = {name: count for name, count in counters["drops"].items() if count}
        yield (port["id"], counters["rx_frames"], counters["tx_frames"], sum(drops.values()),
               ", ".join(f"{name} {count}" for name, count in drops.items()) or "-")


def measure(host, consoles, count):
    """Let the guests talk, print the tables; True when nothing was lost."""
    described = [describe(console) for console in consoles]
    say(f"{count} frames each way, of 60 to 1514 bytes")
    results = appliance.exchange_frames(consoles, count)
    say("round trips")
    lost, times = appliance.ping(consoles[0], "10.0.0.2")
    say("TCP both ways")
    forth = appliance.throughput(consoles[1], consoles[0], "10.0.0.2")
    back = appliance.throughput(consoles[0], consoles[1], "10.0.0.1")
    ports = host.call("GET", "/v1/ports")["items"]

    print()
    table(["guest", "system", "kernel", "NIC"],
          [[f"guest{number}", *what] for number, what in zip(GUESTS, described)])
    table(["frames", "sent", "received", "lost", "doubled", "disordered", "damaged"],
          frame_rows(results))
    table(["round trip", "min ms", "avg ms", "max ms", "lost"],
          [["guest1 <-> guest2", *times, f"{lost} of 20"]])
    table(["TCP (iperf3)", "Mbit/s", "bytes"],
          [["guest1 -> guest2", f"{forth[1]:.1f}", forth[0]],
           ["guest2 -> guest1", f"{back[1]:.1f}", back[0]]])
    table(["switch port", "received", "sent", "drops", "why"], port_rows(ports))
    if os.environ.get("LAB"):
        print("  (This ran on a simulated CPU: read counts here, not rates.)\n", flush=True)
    return all(result["ok"] for result in results) and lost == 0 and forth[0] > 0 and back[0] > 0


def shut_down(host):
    """Power the guests off by ACPI, end the daemon; True when all of it went cleanly."""
    say("shutting down")
    found = host.call("POST", "/v1/host/stop-guests", {"grace_seconds": 90})["items"]
    good = True
    for vm in found:
        last = vm["last_exit"] or {"reason": "none", "message": ""}
        say(f"{vm['id']} is {vm['state']}: {last['reason']} {last['message']}")
        good &= vm["state"] == "stopped" and last["reason"] == "shutdown"
        host.call("DELETE", f"/v1/vms/{vm['id']}")
    status = host.stop()
    say(f"vmm-mgmt ended with status {status}")
    return good and status == 0


def run_here(build, frames):
    """The demo on the machine we are on; the exit status."""
    with tempfile.TemporaryDirectory(prefix="vmm-demo-") as scratch:
        scratch = pathlib.Path(scratch)
        scratch.chmod(0o755)
        disks = [os.environ.get(f"LAB_DISK_guest{number}") for number in GUESTS]
        if not all(disks):
            disks = [scratch / f"guest{number}.img" for number in GUESTS]
            for disk in disks:
                subprocess.run(["cp", "--reflink=auto", "--sparse=always",
                                os.environ["LAB_DEBIAN_IMAGE"], disk], check=True)
        places = {appliance.debian_image_dir(), *map(os.path.dirname, map(os.path.realpath, disks))}
        host = appliance.Appliance(build, scratch, sorted(places), on_request=say)
        say("starting vmm-mgmt, which starts vmm-launch and vswitch")
        try:
            host.start()
            host.call("GET", "/v1/host")
            good = measure(host, boot_guests(host, disks), frames)
            good &= shut_down(host)
        except Exception:
            print(host.log(), file=sys.stderr)
            raise
        finally:
            host.abandon()
    say("demo: all went well" if good else "demo: NOT as it should be, see above")
    return 0 if good else 1


def has_virtualization():
    """Whether this CPU has VT-x or AMD-V."""
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii")
    return bool(re.search(r"^flags\s*:.*\b(vmx|svm)\b", flags, re.M))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    parser.add_argument("--frames", type=int, default=100000, help="frames each way (%(default)s)")
    parser.add_argument("--lab", action="store_true", help="use the lab whatever the CPU has")
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave nothing behind then, either
        signal.signal(number, lambda found, _frame: sys.exit(128 + found))
    if os.environ.get("LAB"):
        return run_here(args.build, args.frames)
    if args.lab or not has_virtualization():
        why = "as asked" if args.lab else "this machine's CPU has neither VT-x nor AMD-V"
        say(f"running in the lab, a simulated host: {why}; this machine is not touched")
        return subprocess.run([HERE / "boot.py", "--guests", "--timeout", "1200", "--",
                               HERE / "demo.py", f"--build={args.build.resolve()}",
                               f"--frames={args.frames}"], check=False).returncode
    say("running on this machine, its CPU has VT-x or AMD-V. It will use /dev/kvm, files in a")
    say("temporary directory (two copies of a 1 GiB image, removed afterwards) and user ids that")
    say("belong to nobody; no network interface, no setting of this machine is changed. What it")
    say(f"needs to make the guests is kept in {cache.root()}.")
    debian = guests.debian()
    os.environ.update(LAB_DEBIAN_VMLINUZ=str(debian.vmlinuz), LAB_DEBIAN_INITRD=str(debian.initrd),
                      LAB_DEBIAN_IMAGE=str(debian.image))
    return run_here(args.build, args.frames)


if __name__ == "__main__":
    sys.exit(main())
