"""vmm-mgmt killed at random instants in the middle of REST activity, and started again.

Every client owns one VM (real vmm, tiny guest that halts) and knows what it was told of it: a set of
possibilities, one where the last request was answered, two where the answer was lost with the
daemon. After each restart the host must have come to rest in one of them: each guest runs once or
not at all, those nobody was changing run on in the very process they had, those whose vmm died
meanwhile are treated by their policy, the switch runs once, also if it died meanwhile, and the run
directory, the switch's ports and the store tell the same.
"""

import contextlib
import http.client
import os
import pathlib
import select
import shutil
import signal
import sqlite3
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "component/mgmt"), str(HERE.parent / "component")]
from daemon import BUILD, Daemon, wait_until  # noqa: E402
from switch_rig import Rpc  # noqa: E402

MGMT_UID = 60999
RESTING = ("stopped", "failed", "running", "paused")
LOST = (OSError, http.client.HTTPException)


class Lost(Exception):
    """No answer: the daemon is gone."""


class Host(Daemon):
    """The real programs, and what they leave in /proc and in their directories."""

    def __init__(self, options=()):
        super().__init__("vmm/vmm", options=options)
        shutil.copy(BUILD / "tests/guest/tiny", self.images / "tiny")
        self.wait_switch()

    def processes(self):
        """Program -> [(pid, name of its directory)] of all that say their say into ours."""
        found = {"vmm-launch": [], "vmm": [], "vswitch": []}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                said = os.readlink(entry / "fd/2")
                if not said.startswith(f"{self.directory}/") or ended(entry):
                    continue
                program = pathlib.Path(os.readlink(entry / "exe")).name
            except OSError:
                continue  # gone, or not one of ours
            if program != "vmm-mgmt":
                found[program].append((int(entry.name), pathlib.Path(said).parent.name))
        return found

    def switch_ports(self):
        """What the switch itself says of its ports, by id."""
        os.seteuid(MGMT_UID)  # whom it lets in
        try:
            rpc = Rpc(self.run / "vswitch/control.sock")
        finally:
            os.seteuid(0)
        try:
            return {port["id"]: port for port in rpc("port.list")}
        finally:
            rpc.close()

    def signal_launch(self, number):
        """To the other half, the privileged one; whom it reached."""
        reached = []
        for pid, _ in self.processes()["vmm-launch"]:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                reached.append(pidfd)
                signal.pidfd_send_signal(pidfd, number)
        return reached

    def store_rows(self):
        """What the store holds, read from a copy: its recovery is the daemon's own to do."""
        with contextlib.ExitStack() as stack:
            copy = self.directory / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.directory / "state", copy)
            stack.callback(shutil.rmtree, copy)
            store = stack.enter_context(contextlib.closing(sqlite3.connect(copy / "vmm.db")))
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return {"vms": dict(store.execute("SELECT id, desired FROM vms")),
                    "ports": {row[0] for row in store.execute("SELECT id FROM ports")},
                    "processes": dict(store.execute("SELECT name, pid FROM processes"))}


def kill(pid):
    """Kill a process that is not our child and wait until it is gone."""
    with os.fdopen(os.pidfd_open(pid), "rb") as pidfd:
        os.kill(pid, signal.SIGKILL)
        assert select.select([pidfd], [], [], 60)[0], f"{pid} does not end"


def go_on(pidfds):
    """Those that were stopped."""
    for pidfd in pidfds:
        with contextlib.suppress(ProcessLookupError), os.fdopen(pidfd, "rb"):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)


def ended(entry):
    """Whether a process is a zombie, waiting for its parent."""
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"


class Client:
    """Owns one VM or one uplink; what it may be is `known`, a set of (there, desired, NICs, restart)."""

    def __init__(self, host, name, rng):
        self.host = host
        self.name = name
        self.rng = rng
        self.known = {self.NONE}
        self.pid = None  # of the vmm, while nothing of ours could have changed it
        self.bereaved = None  # pid of a vmm that died while there was no daemon
        self.answered = self.lost = 0

    NONE = (False, "stopped", 0, "never")

    def request(self, method, path, body=None):
        """One request; Lost when no answer came."""
        try:
            answer = self.host.call(method, path, body)
        except LOST as error:
            self.lost += 1
            raise Lost from error
        self.answered += 1
        return answer

    def try_change(self, method, path, after, body=None):
        """A request that takes the state from the only one known to `after`."""
        before, = self.known
        self.known = {before, after}
        answer = self.request(method, path, body)
        assert 200 <= answer.status < 300, f"{method} {path} of {before}: {answer.text}"
        self.known = {after}
        return answer.json

    def step(self):
        """One random change."""
        there, desired, nics, restart = next(iter(self.known))
        path = f"/v1/vms/{self.name}"
        if not there:
            nics = self.rng.randrange(3)
            self.try_change("POST", "/v1/vms", (True, "stopped", nics, restart), self.spec(nics))
            return
        if self.rng.random() < 0.2:
            restart = self.rng.choice(["never", "always"])
            self.try_change("PATCH", path, (True, desired, nics, restart), {"restart": restart})
            return
        if desired == "stopped":
            if self.rng.random() < 0.25:
                self.pid = None
                self.try_change("DELETE", path, self.NONE)
            else:
                self.pid = None
                self.pid = self.try_change("POST", f"{path}/start",
                                           (True, "running", nics, restart))["pid"]
            return
        action = self.rng.choice(["stop", "stop", "resume" if desired == "paused" else "pause"])
        after = {"stop": "stopped", "pause": "paused", "resume": "running"}[action]
        self.try_change("POST", f"{path}/{action}", (True, after, nics, restart))
        if action == "stop":
            self.pid = None

    def spec(self, nics):
        """A VM that costs nothing once it runs."""
        return {"id": self.name, "memory": {"size_mib": 16},
                "boot": {"kernel": str(self.host.images / "tiny"), "cmdline": "quiet"},
                "nics": [{"id": f"n{number}"} for number in range(nics)]}

    def bereave(self):
        """Its vmm dies while there is no daemon; whether it did, and somebody knows what then."""
        if len(self.known) > 1 or not self.pid:
            return False
        kill(self.pid)
        _, desired, nics, restart = next(iter(self.known))
        if restart == "never":
            self.known = {(True, "stopped", nics, restart)}
        self.bereaved, self.pid = self.pid, None
        return True

    def settle(self, vms):
        """What became of it, judged by what we were told."""
        vm = vms.get(self.name)
        found = (True, vm["desired"], len(vm["nics"]), vm["restart"]) if vm else self.NONE
        assert found in self.known, f"{self.name}: found {found}, told {self.known}: {vm}"
        if self.bereaved:
            assert vm["state"] == ("failed" if found[1] == "stopped" else found[1]), vm
            assert vm["last_exit"]["reason"] == "lost" and vm["pid"] != self.bereaved, vm
            self.bereaved = None
        elif vm and vm["state"] != "failed":
            assert vm["state"] == vm["desired"], vm
        elif vm:
            assert vm["last_exit"]["reason"] == "lost", vm
        if found[1] == "stopped":
            self.pid = None
        elif self.pid:
            assert vm["pid"] == self.pid, f"{self.name} ran on as {self.pid}; now {vm}"
        else:
            self.pid = vm["pid"]
        self.known = {found}

    def at_rest(self, vms):
        """Whether no start or stop of it is under way any more."""
        vm = vms.get(self.name)
        return not vm or vm["state"] in RESTING and vm["state"] == vm["desired"] or \
            vm["state"] == "failed" and vm["desired"] == "stopped"


class Uplinker(Client):
    """The same for an uplink."""

    def step(self):
        if next(iter(self.known))[0]:
            self.try_change("DELETE", f"/v1/ports/{self.name}", self.NONE)
        else:
            self.try_change("POST", "/v1/ports", (True, "stopped", 0, "never"),
                            {"id": self.name, "type": "ethdev", "devargs": "net_null0,no-rx=1"})

    def settle(self, vms):
        found = (self.host.port(self.name) is not None, "stopped", 0, "never")
        assert found in self.known, f"{self.name}: found {found}, told {self.known}"
        self.known = {found}


class Loop:
    """The clients, the killing, and what is looked at afterwards."""

    def __init__(self, rng, clients=4, busy=0.15):
        self.rng = rng
        self.busy = busy  # seconds a daemon may live among its clients
        self.host = Host()
        self.clients = [Client(self.host, f"g{number}", rng) for number in range(clients)]
        self.clients.append(Uplinker(self.host, "up0", rng))
        self.failures = []
        self.timers = []
        self.figures = {"cycles": 0, "killed_at_start": 0, "launch_killed": 0,
                        "launch_slow": 0, "vmms_killed": 0,
                        "switches_killed": 0, "answered": 0,
                        "lost": 0, "readopted": 0, "restart_ms": []}

    def work(self, client):
        """A client, until its daemon is gone."""
        try:
            while True:
                client.step()
        except Lost:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)

    def kill(self):
        """The daemon with its work half done; at times vmm-launch with it, or that is slow to
        finish what it was asked."""
        how = self.rng.random()
        if how < 0.3:
            self.figures["launch_killed"] += 1
            self.host.process.send_signal(signal.SIGSTOP)  # so that no step is between the two
            go_on(self.host.signal_launch(signal.SIGKILL))
        elif how < 0.6:
            self.figures["launch_slow"] += 1
            stopped = self.host.signal_launch(signal.SIGSTOP)
            time.sleep(self.rng.uniform(0, 0.03))
            later = threading.Timer(self.rng.uniform(0, 0.2), go_on, [stopped])
            self.timers.append(later)
            later.start()
        self.host.kill()

    def kill_at_start(self):
        """Another one that does not come far."""
        self.figures["killed_at_start"] += 1
        self.host.start_only()
        time.sleep(self.rng.uniform(0, 0.06))
        self.kill()

    def cycle(self):
        """Work, death, resurrection, inquest."""
        threads = [threading.Thread(target=self.work, args=(client,)) for client in self.clients
                   if self.rng.random() < 0.7]
        for thread in threads:
            thread.start()
        time.sleep(self.rng.uniform(0, self.busy))
        self.kill()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]
        if self.rng.random() < 0.1:
            self.figures["switches_killed"] += 1
            for pid, _ in self.host.processes()["vswitch"]:
                kill(pid)
        for client in self.clients:
            if self.rng.random() < 0.3:
                self.figures["vmms_killed"] += client.bereave()
        while self.rng.random() < 0.25:
            self.kill_at_start()
        rows = self.host.store_rows()
        begun = time.monotonic()
        self.host.start()
        self.host.wait_switch()
        vms = wait_until(self.resting, "all VMs to be at rest")
        self.figures["restart_ms"].append((time.monotonic() - begun) * 1000)
        self.figures["readopted"] += sum(client.pid is not None for client in self.clients)
        for timer in self.timers:
            timer.join()
        self.timers.clear()
        for client in self.clients:
            client.settle(vms)
        self.inspect(vms, rows)
        self.figures["cycles"] += 1

    def resting(self):
        """All VMs by id once nothing is under way, else None."""
        vms = {vm["id"]: vm for vm in self.host.ok("GET", "/v1/vms")["items"]}
        ports = {port["id"]: port["state"] for port in self.host.ok("GET", "/v1/ports")["items"]}
        wired = all(ports.get(nic["port"]) == "up" for vm in vms.values() if vm["pid"]
                    for nic in vm["nics"])
        return vms if wired and all(client.at_rest(vms) for client in self.clients) else None

    def inspect(self, vms, rows):
        """The kernel, the directories, the switch and the store against what REST tells."""
        host = self.host
        up = {vm["id"]: vm for vm in vms.values() if vm["state"] in ("running", "paused")}
        wired = {nic["port"] for vm in up.values() for nic in vm["nics"]}
        found = host.processes()
        assert len(found["vmm-launch"]) == 1, found
        assert [pid for pid, _ in found["vswitch"]] == [host.ok("GET", "/v1/switch")["pid"]], found
        assert sorted(found["vmm"]) == sorted((vm["pid"], vm["id"]) for vm in up.values()), \
            (found, up)
        for vm in up.values():
            assert pathlib.Path(f"/proc/{vm['pid']}").stat().st_uid in (0, vm["uid"])
        directories = {path.name for path in (host.run / "vms").iterdir()}
        assert directories == set(up), (directories, set(up))
        directories = {path.name for path in (host.run / "ports").iterdir()}
        assert directories == wired, (directories, wired)
        uplinks = {port["id"] for port in host.ok("GET", "/v1/ports")["items"]} - wired
        assert set(host.switch_ports()) == wired | uplinks
        assert uplinks <= {"up0"}
        # Before the daemon came: what is there now may have been half done then, but not unknown.
        assert set(rows["vms"]) == set(vms) and rows["ports"] == uplinks, (rows, set(vms))
        now = host.store_rows()
        assert now["processes"].keys() == {"switch", *(f"vm:{vm}" for vm in up)}, now
        assert all(now["processes"][f"vm:{vm['id']}"] == vm["pid"] for vm in up.values())
        assert now["vms"] == {vm["id"]: vm["desired"] for vm in vms.values()}

    def run(self, cycles, progress=lambda figures: None):
        """That many cycles; the figures."""
        try:
            for _ in range(cycles):
                self.cycle()
                progress(self.figures)
        except BaseException:
            print(self.host.log()[-6000:], file=sys.stderr)
            print((self.host.run / "vswitch/log").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            self.figures["answered"] = sum(client.answered for client in self.clients)
            self.figures["lost"] = sum(client.lost for client in self.clients)
            for timer in self.timers:
                timer.join()
            self.host.destroy()
        return self.figures
