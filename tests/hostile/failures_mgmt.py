"""vmm-launch, vmm-mgmt and vmmctl while their calls fail."""

import json
import pathlib
import shutil
import signal
import socket
import subprocess

import daemon
import test_launch as launch_rig
from failures import BAD_WORDS, LIMIT, Ended, Living, Scenario, Wrong, clear, said, wait_for
from injector import BUILD

VMMCTL = BUILD / "mgmt/vmmctl"
EVENTS_KEPT = 256  # mgmt/events.h


class LaunchControl(Living):
    """Requests to vmm-launch; a probe stands for what it starts. Its children's own part counts, too."""

    name = "launch-control"
    program = "launch/vmm-launch"
    deaths = (0,)  # with its only client's connection it ends, by design
    turn = 0

    def start(self):
        self.turn += 1
        directory = self.tmp / f"launch-{self.turn}"
        directory.mkdir()
        directory.chmod(0o755)
        self.log = open(directory / "log", "w+b")  # pylint: disable=consider-using-with
        self.launch = launch_rig.Launch(directory, environment=self.environment, log=self.log)
        self.process = self.launch.process

    def ask(self, method, **params):
        """Its result, or None when it failed with a reason."""
        try:
            return self.launch.call(method, **params)
        except launch_rig.Failure as error:
            clear(str(error), method)
        except (OSError, AssertionError):
            self.process.wait(LIMIT)
        return None

    def operate(self):
        launch = self.launch
        launch.notes.clear()
        self.ask("port.prepare", id="g1-net0", gid=launch_rig.VM)
        disk = {"id": "d", "mode": "virtio-blk", "file": launch.image("disk", 4096)}
        started = [self.ask("vm.spawn", id="g1", uid=launch_rig.VM, config=launch.config(disks=[disk])),
                   self.ask("switch.spawn")]
        for process in filter(None, started):
            self.ask("process.kill", pid=process["pid"], start_time=process["start_time"], signal=9)
        self.reap(started)
        self.ask("vm.release", id="g1")
        self.ask("port.release", id="g1-net0")

    def reap(self, started):
        """They end, be it by our hand."""
        for process in filter(None, started):
            pidfd = None
            try:
                pidfd = daemon.os.pidfd_open(process["pid"])
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            finally:
                if pidfd is not None:
                    daemon.os.close(pidfd)
            stat = pathlib.Path(f"/proc/{process['pid']}/stat")
            wait_for(lambda: not stat.exists(), "a killed child to be reaped")  # noqa: B023
            if process["pid"] in self.launch.started:
                self.launch.started.remove(process["pid"])

    def heal(self):
        launch = self.launch
        # One whose pid was not told because memory ran out for the answer.
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.reap([{"pid": int(pid)} for pid in children.read_text().split()])
        for method, name in (("vm.release", "g1"), ("port.release", "g1-net0")):
            self.ask(method, id=name)
        launch.call("port.prepare", id="g1-net0", gid=launch_rig.VM)
        started = [launch.spawn(), launch.call("switch.spawn")]
        for process in started:
            launch.call("process.kill", pid=process["pid"], start_time=process["start_time"], signal=9)
        for process in started:
            launch.exited(process["pid"])
        launch.call("vm.release", id="g1")
        launch.call("port.release", id="g1-net0")
        text = self.errors()
        if BAD_WORDS.search(text):
            raise Wrong(text[-3000:])

    def errors(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.launch.close()
            self.log.close()
        super().kill()


class MgmtLife(Scenario):
    """vmm-mgmt from its start, with a store that knows a VM, to SIGTERM."""

    name = "mgmt-life"
    short = 2
    program = "mgmt/vmm-mgmt"

    def __init__(self):
        super().__init__()
        self.daemon = daemon.Daemon()
        self.daemon.ok("POST", "/v1/vms", self.daemon.spec("g1", nics=[{"id": "net0", "mode": "vhost-user"}]))
        self.daemon.ok("POST", "/v1/vms", self.daemon.spec("g2"))
        self.daemon.wait_switch()
        self.daemon.ok("POST", "/v1/vms/g2/start")
        self.daemon.stop()

    def attempt(self):
        (self.daemon.directory / "log").unlink()
        self.daemon.environment = self.environment
        self.daemon.start_only()
        process = self.daemon.process
        try:
            wait_for(lambda: process.poll() is not None or self.answers(), "an answer or an end")
            status = self.daemon.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors = self.daemon.log()
        if BAD_WORDS.search(errors) or status not in (0, 1):
            raise Wrong(f"status {status}: {errors[-3000:]}")
        if status:
            said(errors)
        return f"status {status}"

    def started(self):
        """Whether one more can be started."""
        try:
            self.daemon.start()
        except AssertionError:
            return False
        return True

    def answers(self):
        """Whether it serves."""
        try:
            return self.daemon.call("GET", "/v1/vms").status > 0
        except (OSError, ValueError, daemon.http.client.HTTPException):
            return False

    def close(self):
        self.injector.disarm()
        self.daemon.environment = None
        # A child of the last one may not have got as far as letting go of its lock.
        wait_for(self.started, "vmm-mgmt to start")
        self.daemon.destroy()
        super().close()


class MgmtRest(Living):
    """Every kind of REST request to vmm-mgmt."""

    name = "mgmt-rest"
    deaths = (1,)  # it ends when it loses vmm-launch, and a new one goes on from there
    short = 2
    program = "mgmt/vmm-mgmt"
    daemon = None

    def start(self):
        if self.daemon:
            self.daemon.destroy()
        self.daemon = daemon.Daemon(environment=self.environment)
        self.process = self.daemon.process
        self.daemon.wait_switch()
        for _ in range(EVENTS_KEPT // 2):  # the memory of what happened is full: it grows no more
            self.daemon.ok("POST", "/v1/vms", self.daemon.spec("g1"))
            self.daemon.ok("DELETE", "/v1/vms/g1")

    def ask(self, method, path, body=None):
        """Its answer's JSON; None when it failed with a reason, or the connection broke."""
        try:
            answer = self.daemon.call(method, path, body)
        except (OSError, ValueError, daemon.http.client.HTTPException):
            return None
        if answer.status >= 400:
            if answer.type == "application/problem+json":
                clear(answer.json["detail"], f"{method} {path}")
            elif answer.status != 503:
                raise Wrong(f"{method} {path}: {answer.status} {answer.text!r}")
        return answer.json if answer.status < 400 else None

    def follow(self):
        """Listens to events for as long as it takes to be told that it may."""
        connection = self.daemon.connection()
        try:
            connection.request("GET", "/v1/events")
            connection.getresponse()
        except (OSError, ValueError, daemon.http.client.HTTPException):
            pass
        connection.close()

    def operate(self):
        nics = [{"id": "net0", "mode": "vhost-user"}]
        self.ask("POST", "/v1/vms", self.daemon.spec("g1", nics=nics))
        self.ask("PATCH", "/v1/vms/g1", {"vcpus": 2})
        self.ask("POST", "/v1/vms/g1/disks", {"id": "d0", "mode": "virtio-blk",
                                              "file": self.daemon.image("disk")})
        self.ask("POST", "/v1/vms/g1/start")
        for path in ("host", "vms", "vms/g1", "vms/g1/info", "vms/g1/counters", "vms/g1/nics", "ports",
                     "ports/g1-net0", "switch", "switch/fdb", "openapi.yaml", "nothing"):
            self.ask("GET", f"/v1/{path}")
        try:
            self.daemon.call("GET", "/v1/metrics")
        except (OSError, ValueError, daemon.http.client.HTTPException):
            pass
        self.follow()
        for action in ("pause", "reset", "resume", "stop"):
            self.ask("POST", f"/v1/vms/g1/{action}")
        self.ask("POST", "/v1/ports", {"id": "up0", "devargs": "net_null0"})
        self.ask("DELETE", "/v1/ports/up0")
        self.ask("DELETE", "/v1/vms/g1/disks/d0")
        self.ask("DELETE", "/v1/vms/g1")

    def heal(self):
        try:
            self.use()
        except (OSError, AssertionError) as error:
            if not isinstance(error, OSError) and self.process.poll() is None:
                raise
            self.process.wait(LIMIT)
            raise Ended from error

    def use(self):
        """Clears away what was left, and goes once through a VM's life."""
        self.daemon.wait_switch()
        if self.ask("GET", "/v1/vms/g1"):
            self.ask("POST", "/v1/vms/g1/stop")
            wait_for(lambda: self.daemon.vm("g1")["state"] in ("stopped", "failed"), "g1 to be down")
            self.daemon.ok("DELETE", "/v1/vms/g1")
        if self.ask("GET", "/v1/ports/up0"):
            self.daemon.ok("DELETE", "/v1/ports/up0")
        wait_for(lambda: not self.daemon.ok("GET", "/v1/ports")["items"], "the ports to be gone")
        self.daemon.ok("POST", "/v1/vms", self.daemon.spec("g1", nics=[{"id": "net0",
                                                                        "mode": "vhost-user"}]))
        # The switch may just have been lost, and be called again.
        wait_for(lambda: self.ask("POST", "/v1/vms/g1/start"), "a VM to start")
        self.daemon.wait_state("g1", "running")
        self.daemon.ok("POST", "/v1/vms/g1/stop")
        self.daemon.ok("DELETE", "/v1/vms/g1")
        if BAD_WORDS.search(self.daemon.log()):
            raise Wrong(self.daemon.log()[-3000:])

    def errors(self):
        return self.daemon.log()

    def kill(self):
        if self.daemon:
            self.process.kill()
            self.process.wait()
            self.daemon.destroy()
            self.daemon = None
        self.process = None


class Vmmctl(Scenario):
    """Commands of vmmctl against a daemon that is well."""

    name = "vmmctl"
    program = "mgmt/vmmctl"
    words = ("vm list", "vm show g1", "--json vm info g1", "vm counters g1", "vm set g1 autostart=no",
             "nic list g1", "host show", "switch show", "port list", "metrics", "vm show nobody",
             "vm delete new", "vm create --file -")

    def __init__(self):
        super().__init__()
        self.daemon = daemon.Daemon()
        self.daemon.wait_switch()
        self.daemon.ok("POST", "/v1/vms", self.daemon.spec("g1"))
        self.daemon.ok("POST", "/v1/vms/g1/start")
        self.spec = json.dumps(self.daemon.spec("new"))
        self.expected = {}
        self.calls_of = {}  # (command, classes, scopes): how many
        self.now = "vm delete new"
        self.prepare()
        self.now = ""

    def calls(self, classes, scopes):
        total = 0
        for self.now in self.words:
            self.calls_of[self.now, classes, scopes] = super().calls(classes, scopes)
            total += self.calls_of[self.now, classes, scopes]
        return total

    def walk(self, n, classes, scopes, span=1):
        """n counts through all commands, of which only the one it falls into is done."""
        if (self.words[0], classes, scopes) not in self.calls_of:
            self.calls(classes, scopes)
        for self.now in self.words:
            count = self.calls_of[self.now, classes, scopes]
            if n <= count:
                return super().walk(n, classes, scopes, span) or "not reached"
            n -= count
        return None

    def attempt(self):
        outcome = self.command(self.now)
        if "new" in self.now or "create" in self.now:
            self.prepare()
        return outcome

    def prepare(self):
        """What "vm create" makes is not there, what "vm delete" takes is."""
        made = self.daemon.call("GET", "/v1/vms/new").status == 200
        if "create" in self.now and made:
            self.daemon.ok("DELETE", "/v1/vms/new")
        elif "delete" in self.now and not made:
            self.daemon.ok("POST", "/v1/vms", json.loads(self.spec))

    def command(self, words):
        """One of them."""
        done = subprocess.run([VMMCTL, "--socket", self.daemon.run / "api.sock", *words.split()],
                              input=self.spec, env=self.environment, capture_output=True, text=True,
                              timeout=LIMIT, check=False)
        if BAD_WORDS.search(done.stderr) or done.returncode not in (0, 1, 2, 3):
            raise Wrong(f"vmmctl {words}: status {done.returncode}: {done.stderr[-3000:]}")
        if done.returncode:
            said(done.stderr, f"vmmctl {words}")
        elif not self.injector.failed():
            self.expected[words] = len(done.stdout.splitlines())
        elif len(done.stdout.splitlines()) < self.expected.get(words, 0) / 2:
            raise Wrong(f"vmmctl {words}: status 0, but it printed only {done.stdout!r}")
        return f"status {done.returncode}"

    def close(self):
        self.injector.disarm()
        self.daemon.destroy()
        super().close()
