#!/usr/bin/python3
"""Boot the lab, a whole simulated host with SVM, VT-d and an SR-IOV NIC, and run a job inside it.

The lab's root file system is this machine's (read-only beneath an overlay in memory), so the job
runs the very programs just built, by their usual paths. The job's output is streamed; what it
writes to $LAB_OUT is found in --out afterwards; its exit status is ours. 124 says that the time
was up, 125 that the lab died before the job ended.

A job named *.py whose name begins with test_, or a directory, is given to pytest.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import cache
import guests
import initramfs
import kernels

TIMED_OUT, DIED = 124, 125
# Rarely, on a busy machine, the simulated host loses a timer interrupt before its job begins and
# hangs, or QEMU falls over an assertion of its own (iotlb_to_section); seconds are usual. That says
# nothing of the job, so it is booted anew.
BOOT_SECONDS, BOOTS = 150, 3
L1_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console", "virtio_blk",
              "virtio_rng"]


def build_initrd(kernel):
    """The initramfs of the lab's host, from the cache."""
    def build(where):
        archive = initramfs.busybox_archive(HERE / "l1_init.sh")
        archive.modules(kernel, L1_MODULES)
        archive.write(where / "initrd.img")
    inputs = [kernel.directory, HERE / "l1_init.sh", HERE / "initramfs.py", initramfs.BUSYBOX,
              *L1_MODULES]
    return cache.entry("l1-initrd", inputs, build) / "initrd.img"


def qemu_command(args, kernel, share):
    """The QEMU command line of the simulated host."""
    append = [f"lab.setup={HERE}/l1_setup.sh", "console=ttyS0", "panic=-1", "quiet", "loglevel=4",
              "intel_iommu=on", "iommu=nopt", "mitigations=off",
              # On a busy machine the simulated clocks stutter; the kernel shall not doubt them.
              "no_timer_check", "tsc=reliable", "rcupdate.rcu_cpu_stall_timeout=120",
              # Nor shall it stand on one timer interrupt alone: QEMU 10.0 may lose it while the CPU
              # enters a guest (README.md). A periodic tick comes again.
              "nohz=off", "highres=off",
              "nowatchdog", f"hugepages={args.hugepages}", *args.append]
    command = [
        "qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi",
        "-cpu", "max,+svm,phys-bits=36", "-smp", str(args.cpus), "-m", str(args.memory),
        "-display", "none", "-no-reboot", "-nodefaults", "-monitor", "none",
        "-d", "cpu_reset", "-D", f"{share}/resets.log",
        "-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=39",
        # BARs of VFs work below 4 GiB only (see README.md), hence phys-bits and pref32-reserve.
        "-device", "pcie-root-port,id=rp1,slot=1,mem-reserve=16M,pref32-reserve=16M",
        "-netdev", "user,id=n0,restrict=on", "-device", "igb,bus=rp1,netdev=n0",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap,readonly=on",
        "-virtfs", f"local,path={share},mount_tag=out,security_model=none",
        "-device", "virtio-rng-pci",
        "-chardev", f"file,id=kernel,path={share}/console.log", "-serial", "chardev:kernel",
        "-device", "virtio-serial-pci", "-chardev", "stdio,id=job,signal=off",
        "-device", "virtconsole,chardev=job",
        "-kernel", str(kernel.vmlinuz), "-initrd", str(build_initrd(kernel)),
        "-append", " ".join(append),
    ]
    for number, disk in enumerate(args.disk):
        name, _, path = disk.partition("=")
        path = path.replace(",", ",,")
        command += ["-drive", f"file={path},format=raw,if=none,id=disk{number},snapshot=on",
                    "-device", f"virtio-blk-pci,drive=disk{number},serial={name}"]
    return command


def job_words(job):
    """The command to run inside: pytest for test files and directories, else what was given."""
    if not job:
        return ["bash", "-i"]
    path = pathlib.Path(job[0])
    if path.is_dir() or (path.name.startswith("test_") and path.suffix == ".py"):
        return ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-v", "--color=no",
                "--durations=8", "-s", "--tb=short", "--junitxml=/run/lab/junit.xml", *job]
    if path.exists() and "/" not in job[0]:
        return [f"./{job[0]}", *job[1:]]
    return job


def add_guests(args):
    """Make the guests; name their files in the job's environment, add disks guest0 to guest3."""
    for name, guest in (("DEBIAN", guests.debian()), ("BUSYBOX", guests.busybox())):
        args.env += [f"LAB_{name}_VMLINUZ={guest.vmlinuz}", f"LAB_{name}_INITRD={guest.initrd}"]
        if guest.image:
            args.disk += [f"guest{number}={guest.image}" for number in range(4)]


def write_job(args, kernel, share):
    """Leave in the shared directory what the set-up script reads."""
    variables = {
        "LAB_OUT": "/run/lab",
        "LAB_REPO": str(HERE.parent),
        "LAB_MODULES": str(kernel.modules),
        "LAB_INTERACTIVE": "" if args.job else "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **dict(word.split("=", 1) for word in args.env),
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    (share / "job.env").write_text("".join(lines), encoding="utf-8")
    script = f"cd {shlex.quote(os.getcwd())}\nexec {shlex.join(job_words(args.job))}\n"
    (share / "job.sh").write_text(script, encoding="utf-8")


def relay(stream, log):
    """Copy the job's output to our own and to a file until the lab closes it."""
    while data := os.read(stream.fileno(), 65536):
        os.write(sys.stdout.fileno(), data)
        log.write(data)
        log.flush()


def wait_for_end(qemu, share, timeout):
    """Wait for QEMU to end: True, or False when the time is up, also the time to boot."""
    begun = time.monotonic()
    while True:
        limit = timeout if (share / "booted").exists() else BOOT_SECONDS
        if limit is not None and time.monotonic() - begun > limit:
            return False
        try:
            qemu.wait(1)
            return True
        except subprocess.TimeoutExpired:
            pass


def run_lab(command, share, timeout, interactive):
    """Run QEMU to its end, or for at most `timeout` seconds; its status if it ended by itself."""
    # setpriv: should we be killed ourselves, the lab goes with us. taskset: on one CPU of ours, QEMU's
    # threads seldom race (README.md).
    command = ["taskset", "-c", str(max(os.sched_getaffinity(0))),
               "setpriv", "--pdeathsig", "KILL", *command]
    stdin = None if interactive else subprocess.DEVNULL
    output = None if interactive else subprocess.PIPE
    terminal = sys.stdin.isatty() if interactive else False
    modes = subprocess.run(["stty", "-g"], check=True, capture_output=True,
                           text=True).stdout.strip() if terminal else None
    with open(share / "output.log", "wb") as log, \
            subprocess.Popen(command, stdin=stdin, stdout=output) as qemu:
        def end(number, _frame):
            qemu.kill()
            raise SystemExit(128 + number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, end)
        reader = None
        if not interactive:
            reader = threading.Thread(target=relay, args=(qemu.stdout, log), daemon=True)
            reader.start()
        try:
            return qemu.returncode if wait_for_end(qemu, share, timeout) else None
        finally:
            qemu.kill()
            qemu.wait()
            if reader:
                reader.join(5)
            if modes:
                subprocess.run(["stty", modes], check=False)


def last_lines(log, lines):
    """The last lines of what may not be there."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n  ".join(text.splitlines()[-lines:])


def death(share, status):
    """How QEMU ended, and whether the simulated host had reset itself before."""
    faults = last_lines(share / "resets.log", 100).count("Triple fault")
    return (f"QEMU ended by signal {-status}" if status < 0 else f"QEMU ended with {status}") + \
        (", after a triple fault of the host" if faults else "")


def result(share, ended, timeout):
    """The job's exit status, or ours with the reason and the end of the kernel's console."""
    status = share / "status"
    if status.exists():
        return int(status.read_text(encoding="ascii"))
    why = f"died before the job ended ({death(share, ended)})" if ended is not None else \
        f"ended by force, its time was up ({timeout} s; {BOOT_SECONDS} s to boot)"
    print(f"lab: {why}; end of its kernel's console:",
          last_lines(share / "console.log", 25), sep="\n  ",
          file=sys.stderr)
    return TIMED_OUT if ended is None else DIED


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=int, default=4, help="CPUs of the host (%(default)s)")
    parser.add_argument("--memory", type=int, default=6144, metavar="MIB",
                        help="memory of the host in MiB (%(default)s)")
    parser.add_argument("--hugepages", type=int, default=512, metavar="N",
                        help="2 MiB pages to set aside at boot (%(default)s)")
    parser.add_argument("--disk", action="append", default=[], metavar="NAME=PATH",
                        help="a raw image as $LAB_DISK_NAME and /dev/disk/by-id/virtio-NAME; "
                             "what is written to it is forgotten")
    parser.add_argument("--guests", action="store_true",
                        help="make the guests; $LAB_DEBIAN_VMLINUZ, $LAB_DEBIAN_INITRD, the same "
                             "for BUSYBOX, and the Debian image as disks guest0 to guest3")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="a variable of the job's environment")
    parser.add_argument("--append", action="append", default=[], metavar="WORD",
                        help="a further argument for the host's kernel")
    parser.add_argument("--timeout", type=float, metavar="S",
                        help="end the lab by force after S seconds (default 1200; "
                             "none with a terminal)")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        help="keep what the job wrote, output.log and console.log there")
    parser.add_argument("job", nargs=argparse.REMAINDER,
                        help="command and arguments; none: a shell on this terminal")
    args = parser.parse_args()
    if args.timeout is None and args.job:
        args.timeout = 1200
    return args


def main():
    args = parse_arguments()
    kernel = kernels.lab_kernel()
    if args.guests:
        add_guests(args)
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        share = pathlib.Path(scratch)
        write_job(args, kernel, share)
        command = qemu_command(args, kernel, share)
        try:
            for boot in range(1, BOOTS + 1):
                ended = run_lab(command, share, args.timeout, not args.job)
                if (share / "booted").exists() or boot == BOOTS:
                    break
                why = f"died ({death(share, ended)})" if ended is not None else \
                    f"did not come up in {BOOT_SECONDS} s"
                print(f"lab: the simulated host {why}, boot {boot} of {BOOTS}; its kernel's last "
                      "words:", last_lines(share / "console.log", 3), sep="\n  ", file=sys.stderr,
                      flush=True)
            return result(share, ended, args.timeout)
        finally:
            if args.out:
                shutil.copytree(share, args.out, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
