"""The lab runs a job, brings back what it wrote, and ends, whatever the job does."""

import os
import pathlib
import signal
import shutil
import subprocess
import sys
import tempfile
import time

LAB = pathlib.Path(__file__).resolve().parents[2] / "lab"
BOOT = LAB / "boot.py"
sys.path.insert(0, str(LAB))
import appliance  # noqa: E402


def run_lab(*words):
    return subprocess.run([BOOT, *words], check=False, capture_output=True, text=True, timeout=280,
                          stdin=subprocess.DEVNULL)


def test_job_comes_back(tmp_path):
    """Output, exit status and files; and the machine's own files stay as they were."""
    witness = tmp_path / "witness"
    witness.write_text("old", encoding="ascii")
    job = tmp_path / "job.sh"
    job.write_text(f'cat {witness}; echo new >{witness}; echo "$1 $WHO" | tee "$LAB_OUT/told"\n'
                   'ls -C /dev/kvm /dev/net/tun; exit 7\n', encoding="ascii")
    out = tmp_path / "out"
    ran = run_lab("--timeout", "240", "--env", "WHO=you and me", "--out", out, "bash", job, "hello")
    assert ran.returncode == 7, ran.stdout + ran.stderr
    assert "oldhello you and me" in ran.stdout and "/dev/kvm" in ran.stdout
    assert (out / "told").read_text(encoding="ascii") == "hello you and me\n"
    assert witness.read_text(encoding="ascii") == "old"


def test_time_is_up():
    ran = run_lab("--timeout", "2", "sleep", "1000")
    assert ran.returncode == 124 and "ended by force, its time was up (2.0 s" in ran.stderr


def machine_of(boot):
    """The process id of the QEMU that boot.py started, or None so far."""
    children = pathlib.Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text(encoding="ascii")
    for pid in map(int, children.split()):
        try:
            if "qemu-system" in os.readlink(f"/proc/{pid}/exe"):
                return pid
        except FileNotFoundError:
            pass
    return None


def test_killed_lab_takes_its_machine_along(tmp_path):
    """Nobody is left behind by a boot.py that could not clean up."""
    with subprocess.Popen([BOOT, "sleep", "1000"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": tmp_path}) as boot:
        while (qemu := machine_of(boot)) is None:
            assert boot.poll() is None
            time.sleep(0.05)
        boot.kill()
        boot.wait()
        for _ in range(200):
            if not pathlib.Path(f"/proc/{qemu}").exists():
                return
            time.sleep(0.05)
        os.kill(qemu, signal.SIGKILL)
        raise AssertionError("QEMU outlived boot.py")


def test_appliance_leaves_nothing_behind():
    """Not even when its daemon was killed, and nobody can be asked any more."""
    build = pathlib.Path(os.environ["BUILD_DIR"])
    with tempfile.TemporaryDirectory(prefix="vmm-") as place:
        os.chmod(place, 0o755)
        shutil.copy(build / "tests/guest/tiny", place)
        host = appliance.Appliance(build, place, [place])
        try:
            host.start()
            host.call("POST", "/v1/vms", {
                "id": "g1", "memory": {"size_mib": 64}, "restart": "always",
                "boot": {"kernel": f"{place}/tiny", "cmdline": "quiet end=button"}})
            pids = [host.call("POST", "/v1/vms/g1/start")["pid"], host.call("GET", "/v1/switch")["pid"]]
            host.kill()
            assert all(pathlib.Path(f"/proc/{pid}/exe").exists() for pid in pids)
        finally:
            host.abandon()
        assert not any(pathlib.Path(f"/proc/{pid}/exe").exists() for pid in pids)  # or a zombie
