"""vmm and vswitch while their calls fail."""

import socket

import switch_rig
import vhost_guest
import vmm_rig
from failures import BAD_WORDS, LIMIT, Ended, Living, Scenario, Wrong, clear, said, wait_for

DISK_BYTES = (b"tiny" * 128).ljust(2 << 20, b"\0")


def vm_config(vmm, cmdline, **more):
    """A tiny guest with a disk, and a NIC on the switch beside it."""
    disk = vmm.tmp / "disk"
    disk.write_bytes(DISK_BYTES)
    return vmm.config(cmdline, disks=[{"id": "disk0", "mode": "virtio-blk", "file": str(disk)}],
                      nics=[{"id": "net0", "mode": "vhost-user", "mac": "52:54:00:00:00:01",
                             "socket": str(vmm.tmp / "port.sock")}], **more)


class WithSwitch(Scenario):
    """A vmm's switch, whose own calls do not fail."""

    program = "vmm/vmm"

    def __init__(self):
        super().__init__()
        self.switch = switch_rig.Switch(self.tmp)
        self.switch.add_vhost("port")
        self.vmm = vmm_rig.Vmm(self.tmp)
        self.vmm.environment = self.environment

    def fresh(self):
        """Before a start: nothing is left of the one before."""
        for path in (self.vmm.record_file, self.vmm.console_file, self.tmp / "control"):
            path.unlink(missing_ok=True)

    def close(self):
        self.vmm.close()
        self.switch.stop()
        super().close()


class VmmLife(WithSwitch):
    """vmm from its start to the guest's power-off: frames and disk requests in between."""

    name = "vmm-life"
    short = 8

    def attempt(self):
        self.fresh()
        self.vmm.start(vm_config(self.vmm, "quiet nic disk end=off"))
        status, errors = self.vmm.end()
        if status not in (0, 1, 2):
            raise Wrong(f"status {status}: {errors[-3000:]}")
        if status:
            said(errors)
        record = self.vmm.record_file
        if record.exists() and record.stat().st_size:
            reason = self.vmm.record()["reason"]
            clear(self.vmm.record()["message"], "exit record")
            if (reason in ("shutdown", "stop")) != (status == 0):
                raise Wrong(f"status {status}, but the record says {reason}")
        elif status == 0:
            said(errors, "no exit record, and standard error")
        return f"status {status}"


class VmmControl(WithSwitch, Living):
    """Requests to a vmm whose guest has used its disk and its NIC: among them pause and reset."""

    name = "vmm-control"
    short = 3
    deaths = (1,)
    guest = "quiet nic disk end=spin"

    def start(self):
        self.vmm.close()
        self.fresh()
        self.vmm.start(vm_config(self.vmm, self.guest))
        self.process = self.vmm.process
        self.control = self.vmm.control()
        self.boots = 0
        self.wait_boot()

    def wait_boot(self):
        """The guest has done what it does after a reset."""
        self.boots += 1
        wait_for(lambda: self.process.poll() is not None or
                 self.vmm.console().count("looked around") >= self.boots, "the guest to boot")
        if self.process.poll() is not None:
            raise Ended

    def ask(self, method):
        """One request; None when the vmm has gone, or failed with a reason."""
        if self.control is None:
            self.control = self.connect()
        if self.control is None:
            return None
        try:
            return self.control.call(method)
        except vmm_rig.Failure as error:
            clear(str(error), method)
        except (OSError, AttributeError, TypeError):  # it hung up on us, or has ended
            self.control = None
        return None

    def connect(self):
        """A new client; None when it does not listen any more."""
        try:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(LIMIT)
            client.connect(str(self.tmp / "control"))
            client.close()
            return self.vmm.control()
        except OSError:
            return None

    def operate(self):
        for method in ("vm.info", "vm.counters", "vm.pause", "vm.reset", "vm.resume", "vm.reset"):
            self.ask(method)

    def ended(self):
        try:
            return self.process.wait(0.3 if self.control is None else 0) is not None
        except Exception:  # pylint: disable=broad-except
            return False

    def errors(self):
        return self.vmm.end()[1]

    def bury(self):
        status = self.process.wait(LIMIT)
        errors = self.errors()
        if status not in self.deaths:
            raise Wrong(f"status {status}: {errors[-3000:]}")
        clear(self.vmm.record()["message"], "exit record")
        said(errors)
        self.begin()
        return f"ended with status {status}"

    def heal(self):
        for client in self.vmm.controls:
            client.close()
        self.vmm.controls.clear()
        self.control = self.connect()
        try:
            self.use_devices()
        except (OSError, AttributeError, TypeError) as error:  # no answer: it is ending, or worse
            self.process.wait(LIMIT)
            raise Ended from error

    def use_devices(self):
        """Once more through the guest's program."""
        if self.control.call("vm.info")["state"] == "paused":
            self.control.call("vm.resume")
        self.boots = 0
        self.vmm.console_file.write_bytes(b"")
        self.control.call("vm.reset")
        self.wait_boot()
        # What came first may have been the end of an earlier boot.
        wait_for(lambda: all(text in self.vmm.console()
                             for text in ("nic-sent 00000001", "disk-flush 00000000")),
                 "the guest's devices to work")

    def kill(self):
        self.vmm.close()
        self.process = None


class SwitchLife(Scenario):
    """vswitch from its start to SIGTERM, its own calls; DPDK's set-up is DPDK's."""

    name = "vswitch-life"
    short = 3
    program = "vswitch/vswitch"
    own_only = True

    def attempt(self):
        (self.tmp / "vswitch.log").unlink(missing_ok=True)
        try:
            switch = switch_rig.Switch(self.tmp, environment=self.environment)
        except (AssertionError, OSError):  # it has ended, or will
            return self.failed_to_start()
        try:
            switch.add_vhost("a")
            switch.remove("a")
        except switch_rig.RpcError as error:
            clear(str(error), "answer")
        except (OSError, ValueError):
            pass
        switch.process.terminate()
        status = switch.process.wait(LIMIT)
        errors = switch.log.read_text()
        if status not in (0, 1):
            raise Wrong(f"status {status}: {errors[-3000:]}")
        if status:
            said(errors)
        return f"status {status}"

    def failed_to_start(self):
        """It must have said why."""
        said((self.tmp / "vswitch.log").read_text())
        return "did not start"


class SwitchControl(Living):
    """Requests to a vswitch, peers that come and go, and their frames; its own calls."""

    name = "vswitch-control"
    program = "vswitch/vswitch"
    own_only = True

    def start(self):
        for path in self.tmp.glob("*.sock"):
            path.unlink()
        self.switch = switch_rig.Switch(self.tmp, environment=self.environment)
        self.process = self.switch.process

    def ask(self, method, **params):
        """One request: its result, or None when it failed with a reason, or the switch hung up."""
        try:
            if self.switch.call is None:
                self.switch.call = self.switch.connect()
            return self.switch.call(method, **params)
        except switch_rig.RpcError as error:
            clear(str(error), method)
        except (OSError, ValueError):
            self.switch.call = None
        return None

    def guest(self, name):
        """A peer at the port, or None when it was turned away."""
        try:
            return vhost_guest.Guest(str(self.tmp / f"{name}.sock"))
        except (OSError, AssertionError):
            return None

    def operate(self, must=False):
        for name in "ab":
            self.ask("port.add", id=name, type="vhost-user", socket=str(self.tmp / f"{name}.sock"))
        self.ask("port.add", id="n", type="ethdev", devargs="net_null0,copy=1")
        guests = [self.guest(name) for name in "ab"]
        if all(guests):
            self.exchange(*guests, must)
        elif must:
            raise Wrong("no peer can connect")
        for method in ("switch.info", "port.list", "fdb.list", "fdb.flush"):
            self.ask(method)
        self.ask("port.counters", id="a")
        for guest in filter(None, guests):
            guest.close()
        for name in "abn":
            self.ask("port.remove", id=name)

    def exchange(self, one, other, must):
        """A frame each way; they may be lost while calls fail, but not `must`."""
        for guest, peer, src, dst in ((one, other, 1, 2), (other, one, 2, 1)):
            end = 20 if must else 0.05
            for _ in range(50 if must else 1):
                try:
                    guest.send(switch_rig.frame(dst, src, b"x" * 60))
                    if peer.receive(0.2 if must else end):
                        break
                except (OSError, AssertionError) as error:
                    if must:
                        raise Wrong(f"a peer was hung up on: {error}") from error
            else:
                if must:
                    raise Wrong("frames are not forwarded any more")

    def heal(self):
        if self.switch.call:
            self.switch.call.close()
        self.switch.call = switch_rig.wait_for(self.switch.connect, what="control socket")
        for port in self.switch.call("port.list"):
            self.switch.remove(port["id"])
        self.operate(must=True)
        if self.switch.call("port.list"):
            raise Wrong("a port cannot be removed")
        self.switch.check_books()
        if BAD_WORDS.search(self.switch.log.read_text()):
            raise Wrong(self.switch.log.read_text()[-3000:])

    def errors(self):
        return self.switch.log.read_text()
