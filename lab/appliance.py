"""The appliance as its user sees it: vmm-mgmt started from a build folder, its REST interface by
curl, and the consoles of its guests. Used by the demo and by the lab tests."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

from console import Console


# In a build folder each program is in its own folder; vmm-mgmt wants them side by side, as installed.
PROGRAMS = ("mgmt/vmm-mgmt", "launch/vmm-launch", "vmm/vmm", "vswitch/vswitch")


class RestError(Exception):
    """The daemon answered with a problem; `status` and `problem` say which."""

    def __init__(self, request, status, problem):
        super().__init__(f"{request}: {status} {problem}")
        self.status = status
        self.problem = problem


class Appliance:
    """vmm-mgmt and all it starts; sockets, store and log are in `directory` (a short path), kernels,
    initrds and disks beneath `image_dirs`."""

    def __init__(self, build, directory, image_dirs, on_request=None):
        self._image_dirs = [f"--image-dir={path}" for path in image_dirs]
        self._build = pathlib.Path(build).resolve()
        self._bin_dir = pathlib.Path(directory) / "bin"
        self._run_dir = pathlib.Path(directory).resolve() / "run"
        self._state_dir = pathlib.Path(directory) / "state"
        self._log = pathlib.Path(directory) / "vmm-mgmt.log"
        self._on_request = on_request
        self._consoles = {}
        self.socket = self._run_dir / "api.sock"
        self.daemon = None

    def start(self):
        """Start the daemon and wait until it answers, and its switch runs."""
        command = [self._bin_dir / "vmm-mgmt", "--run-dir", self._run_dir, "--state-dir",
                   self._state_dir, "--bin-dir", self._bin_dir, "--stop-guests", *self._image_dirs]
        for directory in (self._bin_dir, self._run_dir, self._state_dir):
            directory.mkdir(exist_ok=True)
        for program in PROGRAMS:
            link = self._bin_dir / pathlib.Path(program).name
            if not link.exists():
                link.symlink_to(self._build / program)
        with open(self._log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=subprocess.STDOUT)
        self.wait_until(self.ready, 60, "vmm-mgmt to answer")
        self.wait_until(lambda: self.call("GET", "/v1/switch", quiet=True)["state"] == "running",
                        120, "the switch to run")

    def ready(self):
        """True when the daemon answers; its early end is an error."""
        if self.daemon.poll() is not None:
            raise RuntimeError(f"vmm-mgmt ended with status {self.daemon.returncode}:\n{self.log()}")
        try:
            return self.socket.exists() and bool(self.call("GET", "/v1/host", quiet=True))
        except subprocess.CalledProcessError:
            return False

    def log(self):
        """The end of the daemon's log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-40:])

    def stop(self, seconds=60):
        """Ask the daemon to end; its exit status."""
        for console in self._consoles.values():
            console.close()
        self._consoles.clear()
        if self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(seconds)

    def explain(self):
        """Print what helps to understand a failure."""
        paths = ["/v1/switch", "/v1/ports"]
        try:
            vms = self.call("GET", "/v1/vms", quiet=True)["items"]
            paths += [f"/v1/vms/{vm['id']}/{what}" for vm in vms if vm["state"] == "running"
                      for what in ("info", "counters")]
            for path in paths:
                print(path, json.dumps(self.call("GET", path, quiet=True)))
        except (subprocess.CalledProcessError, RestError) as error:
            print("no more from the daemon:", error)
        for log in sorted(self._run_dir.glob("vms/*/log")):
            print(log, log.read_text(errors="replace")[-4000:])
        print(self.log(), flush=True)

    def kill(self):
        """Let the daemon die at once; what it started lives on."""
        self.daemon.kill()
        self.daemon.wait()

    def vm(self, vm):
        """One VM."""
        return self.call("GET", f"/v1/vms/{vm}", quiet=True)

    def abandon(self):
        """After a failure: leave nothing running, gently or not."""
        if self.daemon is None:
            return
        try:
            self.stop(30)
        except subprocess.TimeoutExpired:
            self.kill()
        deadline = time.monotonic() + 30
        while self._kill_leftovers() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _kill_leftovers(self):
        """Kill what a dead daemon left running: guests and switch, known by the logs they write
        in our directory. How many there were."""
        found = 0
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                with os.fdopen(os.pidfd_open(int(entry.name)), "rb") as pidfd:
                    if os.readlink(entry / "fd/2").startswith(f"{self._run_dir}/"):
                        found += 1
                        signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                pass  # gone, or not one of ours
        return found

    def call(self, method, path, body=None, quiet=False, seconds=120):
        """Issue one REST call by curl, as a person could; the decoded answer."""
        command = ["curl", "-sS", "--unix-socket", str(self.socket)]
        if method != "GET":
            command += ["-X", method]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        command.append(f"http://localhost{path}")
        if self._on_request and not quiet:
            self._on_request(shlex.join(command))
        told = ["--max-time", str(seconds), "-w", "\n%{http_code}"]
        ran = subprocess.run([*command, *told], check=True, capture_output=True, text=True)
        answer, _, status = ran.stdout.rpartition("\n")
        if int(status) >= 400:
            raise RestError(f"{method} {path}", int(status), answer)
        return json.loads(answer) if answer[:1] in "{[" and answer else answer

    def wait_until(self, condition, seconds, what):
        """Poll `condition` until it holds; its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds} s in vain for {what}\n{self.log()}")
            time.sleep(0.1)

    def wait_for_state(self, vm, state, seconds=60):
        """Wait until a VM is in `state`; the VM."""
        def reached():
            found = self.vm(vm)
            return found if found["state"] == state else None
        return self.wait_until(reached, seconds, f"{vm} to be {state}")

    def console(self, vm, on_line=None):
        """The console of a VM that runs."""
        self._consoles[vm] = Console(self.vm(vm)["console"], on_line)
        return self._consoles[vm]


def debian_spec(number, disk, **changes):
    """The REST definition of Debian guest `number` (1, 2, ...) on the disk file or device."""
    spec = {
        "id": f"guest{number}",
        "vcpus": 1,
        "memory": {"size_mib": 384},
        "boot": {
            "kernel": os.environ["LAB_DEBIAN_VMLINUZ"],
            "initrd": os.environ["LAB_DEBIAN_INITRD"],
            "cmdline": "console=ttyS0 root=/dev/vda rw net.ifnames=0 quiet systemd.show_status=1 "
                       f"guest.name=guest{number} guest.addr=10.0.0.{number}/24",
        },
        "nics": [{"id": "net0", "mac": mac(number)}],
        "disks": [{"id": "disk0", "file": os.path.realpath(disk)}],
    }
    return {**spec, **changes}


def debian_image_dir():
    """Where the Debian guest's kernel and initrd are."""
    return os.path.dirname(os.environ["LAB_DEBIAN_VMLINUZ"])


def mac(number):
    """The MAC address of guest `number`'s NIC."""
    return f"02:00:00:00:00:{number:02x}"


def exchange_frames(consoles, count, seconds=300):
    """Run `frames` in two guests at the same time; the two results."""
    started = [console.start(f"frames -t {seconds} eth0 {mac(peer)} {count}")
               for console, peer in zip(consoles, (2, 1))]
    results = []
    for console, begun in zip(consoles, started):
        _, output = console.finish(begun, seconds + 30)
        found = re.search(r"^\{.*\}$", output, re.M)
        if not found:
            raise RuntimeError(f"frames printed no result:\n{output}")
        results.append(json.loads(found[0]))
    return results


def ping(console, address, count=20):
    """Ping from a guest; (packets lost, [min, avg, max] in ms)."""
    output = console.run(f"ping -q -i 0.2 -c {count} {address}", 30 + count)
    sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", output).groups()
    times = re.search(r"rtt [^=]*= ([\d.]+)/([\d.]+)/([\d.]+)", output)
    return int(sent) - int(received), [float(value) for value in times.groups()]


def throughput(server, client, address, seconds=5):
    """TCP from `client` to `server` by iperf3; (bytes received, Mbit/s)."""
    server.run("iperf3 -s -1 -D && until ss -Htln 'sport = 5201' | grep -q .; do sleep 0.1; done", 60)
    output = client.run(f"iperf3 -J -t {seconds} -c {address}", 60 + 4 * seconds)
    total = json.loads(output[output.index("{"):])["end"]["sum_received"]
    return total["bytes"], total["bits_per_second"] / 1e6
