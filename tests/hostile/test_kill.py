"""The short form of campaign_kill.py: what dies by kill -9 at a random instant comes back whole."""

import random
import sys

import kill_mgmt
import kill_switch
import kill_vmm


def make_rng():
    """Another road each time, but one that can be gone again."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", file=sys.stderr)
    return random.Random(seed)


def test_mgmt():
    figures = kill_mgmt.Loop(make_rng()).run(25)
    print(figures)
    assert figures["cycles"] == 25 and figures["lost"] > 25 and figures["readopted"] > 0


def test_switch():
    figures = kill_switch.Loop(make_rng(), ports=16).run(6)
    print(figures)
    assert figures["cycles"] == 6 and figures["received"] > 0


def test_vmm():
    figures = kill_vmm.Loop(make_rng()).run(10)
    print(figures)
    assert figures["cycles"] == 10 and figures["flushes"] > 0
