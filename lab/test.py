#!/usr/bin/python3
"""Build, run the test suites and count: the closing line is "N passed, N failed, N skipped".

Suites: unit, component, lint, fuzz, hostile (by meson; unit, component and fuzz once more under ASan and
UBSan) and lab (pytest in the simulated host). A skip must be in tests/skips.list; lab tests may not skip.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

REPO = pathlib.Path(__file__).resolve().parents[1]
MESON_SUITES = ("unit", "component", "lint", "fuzz", "hostile")
SUITES = (*MESON_SUITES, "lab")
SANITIZED = ("unit", "component", "fuzz")
LAB_TIMEOUT = 2400
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def say(text):
    """Progress for who watches."""
    print(f"==> {text}", flush=True)


def meson_results(build, suites, label):
    """Run meson's suites in `build`; yields (name, outcome) of each test."""
    say(f"{label}: {' '.join(suites)}")
    log = build / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    words = [f"--suite={suite}" for suite in suites]
    ran = subprocess.run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs",
                          # A busy machine is slow, and no reason to fail.
                          "--timeout-multiplier", "4", *words],
                         check=False, stdin=subprocess.DEVNULL)
    entries = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    outcomes = {"OK": PASSED, "EXPECTEDFAIL": PASSED, "SKIP": SKIPPED}
    bad = False
    for entry in map(json.loads, entries):
        name = re.sub(r"^[^:]*:", "", entry["name"]).replace(" / ", "/")
        outcome = outcomes.get(entry["result"], FAILED)
        bad |= outcome == FAILED
        yield f"{label}/{name}", outcome
    if ran.returncode and not bad:
        yield f"{label}/meson itself (exit status {ran.returncode})", FAILED


def junit_results(path, label):
    """(name, outcome) of each test of a pytest report."""
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        name = f"{label}/{case.get('classname')}.{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            yield name, FAILED
        else:
            yield name, SKIPPED if "skipped" in kinds else PASSED


def lab_results():
    """Run tests/lab, all of it in one boot of the simulated host."""
    say("lab")
    with tempfile.TemporaryDirectory(prefix="lab-out-") as out:
        status = subprocess.run([REPO / "lab/boot.py", "--guests", "--timeout", str(LAB_TIMEOUT),
                                 "--out", out, REPO / "tests/lab"], check=False, stdin=subprocess.DEVNULL).returncode
        report = pathlib.Path(out) / "junit.xml"
        bad = False
        for name, outcome in junit_results(report, "lab") if report.exists() else ():
            bad |= outcome == FAILED
            yield name, outcome
        if status and not bad:
            yield f"lab/the lab itself (exit status {status})", FAILED


def agreed_skips():
    """The names in tests/skips.list."""
    lines = (REPO / "tests/skips.list").read_text(encoding="utf-8").splitlines()
    return {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}


def build(where, *options):
    """Bring a build folder up to date; False when that fails."""
    say(f"building {where.name}")
    ran = subprocess.run([REPO / "run", "build", *options], check=False, stdin=subprocess.DEVNULL)
    return ran.returncode == 0


def run_suites(suites):
    """Build what the suites need and run them; yields (name, outcome)."""
    plain, sanitized = REPO / "build", REPO / "build-asan"
    if not build(plain):
        yield "build", FAILED
        return
    meson = [suite for suite in suites if suite in MESON_SUITES]
    if meson:
        yield from meson_results(plain, meson, "plain")
    meson = [suite for suite in meson if suite in SANITIZED]
    if meson:
        if build(sanitized, "--asan"):
            yield from meson_results(sanitized, meson, "asan")
        else:
            yield "build-asan", FAILED
    if "lab" in suites:
        yield from lab_results()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="*", help=f"any of: {' '.join(SUITES)} (default: all)")
    suites = parser.parse_args().suite or SUITES
    if set(suites) - set(SUITES):
        parser.error(f"suites are: {' '.join(SUITES)}")
    os.environ.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    started, agreed = time.monotonic(), agreed_skips()
    results = list(run_suites(suites))
    count = {outcome: [name for name, found in results if found == outcome]
             for outcome in (PASSED, FAILED, SKIPPED)}
    wrong = [name for name in count[SKIPPED] if name not in agreed or name.startswith("lab/")]
    for name in count[FAILED]:
        print(f"failed: {name}")
    for name in count[SKIPPED]:
        print(f"skipped{' without agreement' if name in wrong else ''}: {name}")
    if not results:
        print("no test ran")
    say(f"in {time.monotonic() - started:.0f} s")
    print(", ".join(f"{len(count[outcome])} {outcome}" for outcome in count))
    return 1 if count[FAILED] or wrong or not count[PASSED] else 0


if __name__ == "__main__":
    sys.exit(main())
