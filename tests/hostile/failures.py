"""What is done while the n-th call fails, and how one tells that a program dies or goes on well.

A Scenario does one thing to one program. Its happy path is walked first, then once for every n.
Whatever n is, the program must not crash, hang, complain of itself (sanitizers), lose a descriptor or
a block of memory, or fail without a word; and one that lives on must do the happy path again.
"""

import os
import pathlib
import re
import tempfile
import time

from injector import ALLOC, NAMED, OWN, SYSCALL, Injector

LIMIT = 20  # seconds until something that must happen is given up
CLASSES = {"alloc": ALLOC, "syscall": SYSCALL}
SCOPES = {"own": OWN, "libraries": NAMED}
BAD_WORDS = re.compile(r"Sanitizer|runtime error:|Assertion|stack smashing|free\(\)|corrupted")
# What an error must not be: no reason, or the reason of something that succeeded.
NO_REASON = re.compile(r"Success|\(null\)|Unknown error|(: *)$")


class Wrong(Exception):
    """A promise broken."""


def clear(text, what):
    """An error somebody can do something with."""
    if not text or len(text) < 8 or NO_REASON.search(text):
        raise Wrong(f"{what}: no clear error: {text!r}")
    return text


def said(errors, what="standard error"):
    """What a program that failed has said: its last error. Chatter does not count."""
    if BAD_WORDS.search(errors):
        raise Wrong(errors[-4000:])
    lines = [line for line in errors.splitlines()
             if line and not re.match(r"[\w-]+: (info|debug): ", line)]
    return clear(lines[-1] if lines else "", what)


def wait_for(condition, what):
    """Until condition() is true; its value."""
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > end:
            raise Wrong(f"waited in vain for {what}")
        time.sleep(0.01)
    return value


class Ended(Exception):
    """The program has gone while it was used."""


class Scenario:
    """One thing done to one program. attempt() walks the path once and judges it."""

    name = ""
    program = ""
    own_only = False  # its libraries' calls are not made to fail, with reason
    short = 10  # so many ns of each class and scope are tried by the short form

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="fail-")  # pylint: disable=consider-using-with
        self.tmp = pathlib.Path(self.directory.name)
        self.tmp.chmod(0o755)
        self.injector = Injector(self.tmp, self.program)
        self.environment = self.injector.environment()

    def attempt(self):
        """The path, with the injector armed; what came of it in a word or two. Raises Wrong."""
        raise NotImplementedError

    def calls(self, classes, scopes):
        """How many calls the path makes when none fails; the threads' turns vary it a little."""
        self.injector.arm(0, classes, scopes)
        self.attempt()
        self.injector.disarm()
        return self.injector.count()

    def walk(self, n, classes, scopes, span=1):
        """Arms, attempts, disarms: the outcome, or None when there were fewer calls than n."""
        self.injector.arm(n, classes, scopes, span)
        try:
            outcome = self.attempt()
        except Exception as error:  # pylint: disable=broad-except
            where = self.injector.where()
            raise Wrong(f"{self.name}: call {n}: {where}\n{type(error).__name__}: {error}") from error
        finally:
            self.injector.disarm()
        return outcome if self.injector.failed() else None

    def close(self):
        """Leaves nothing behind."""
        self.injector.close()
        self.directory.cleanup()


class Living(Scenario):
    """A program that serves request after request, and must outlive the failure of one.

    operate() is done armed; heal() brings everything back, unarmed; start() makes a new one.
    """

    process = None
    deaths = ()  # exit statuses it may have instead of living on

    def start(self):
        """A program ready to be asked: sets self.process."""
        raise NotImplementedError

    def operate(self):
        """The requests. Whatever they answer must be right or a clear error."""
        raise NotImplementedError

    def heal(self):
        """Back to where operate() began; must succeed."""
        raise NotImplementedError

    def errors(self):
        """What the program has written to standard error, once it is dead."""
        raise NotImplementedError

    def attempt(self):
        self.operate()
        self.injector.disarm()
        try:
            if self.ended():
                raise Ended
            self.heal()
        except Ended:
            return self.bury()
        return self.check_leaks()

    def ended(self):
        """Whether the program has gone."""
        return self.process.poll() is not None

    def begin(self):
        """A new program, and the happy path walked thrice: what is made once is made then."""
        self.injector.disarm()
        self.start()
        for _ in range(3):
            self.operate()
            self.heal()
        self.base = self.resources()

    def bury(self):
        """It has ended: as it may?"""
        status = self.process.wait(LIMIT)
        if status not in self.deaths:
            raise Wrong(f"it ended with status {status}: {self.errors()[-3000:]}")
        said(self.errors())
        self.begin()
        return f"ended with status {status}"

    def resources(self):
        """Descriptors and blocks in use, when all is quiet."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd")), self.injector.blocks()

    def check_leaks(self):
        """Nothing may be in use that was not before; what stays but once is no leak."""
        fields = self.injector.memory[:]
        end = time.monotonic() + 2
        while (now := self.resources()) > self.base or now[1] > self.base[1]:
            if time.monotonic() > end:
                break
            time.sleep(0.01)
        if now[0] > self.base[0] or now[1] > self.base[1]:
            self.repeat(fields, now)
            self.injector.memory[:] = fields
        return "lived on"

    def repeat(self, fields, before):
        """Once more, five times: does every time cost as much?"""
        turns = 5
        for _ in range(turns):
            self.injector.arm_like(fields)
            self.operate()
            self.injector.disarm()
            try:
                if self.ended():
                    raise Ended
                self.heal()
            except Ended:
                self.bury()
                return
        time.sleep(0.2)
        now = self.resources()
        lost = [after - earlier for after, earlier in zip(now, before)]
        self.base = now
        if max(lost) >= turns:
            self.injector.memory[:] = fields
            raise Wrong(f"leaked in {turns} turns: {lost[0]} descriptors, {lost[1]} blocks")

    def calls(self, classes, scopes):
        if self.process is None or self.ended():
            self.begin()
        return super().calls(classes, scopes)

    def walk(self, n, classes, scopes, span=1):
        if self.process is None or self.ended():
            self.begin()
        try:
            return super().walk(n, classes, scopes, span)
        except Wrong:
            self.kill()  # the next begins afresh
            raise

    def kill(self):
        """The program, if it still is."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def close(self):
        self.kill()
        super().close()
