"""The n-th allocation and system call made to fail, for a few n of every scenario: campaign_failures.py in short."""

import os
import pathlib
import random
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "component"),
                str(pathlib.Path(__file__).resolve().parents[1] / "component/mgmt")]
from failure_scenarios import SCENARIOS  # noqa: E402
from failures import CLASSES, SCOPES  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK),
                                reason="no /dev/kvm to run a guest with")
SEED = int(os.environ.get("FAILURES_SEED") or random.randrange(1 << 32))


@pytest.mark.parametrize("name", SCENARIOS)
def test_failures(name):
    """A stride through n for each class and scope; FAILURES_SEED repeats it."""
    print(f"FAILURES_SEED={SEED}")
    choice = random.Random(f"{SEED} {name}")
    scenario = SCENARIOS[name]()
    try:
        for classes in CLASSES.values():
            for scope, scopes in SCOPES.items():
                if scenario.own_only and scope != "own":
                    continue
                count = scenario.calls(classes, scopes)
                stride = max(1, count // scenario.short)
                ns = range(1 + choice.randrange(stride), min(count, stride * scenario.short) + 1, stride)
                outcomes = [scenario.walk(n, classes, scopes) for n in ns]
                assert any(outcomes) or count < scenario.short, "no call was made to fail"
    finally:
        scenario.close()
