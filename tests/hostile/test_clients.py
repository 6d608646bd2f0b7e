"""vmm-mgmt under clients by the thousand: a valid call is answered, memory and descriptors stay
bounded, nothing unauthorised happens, the store is sound. Needs root and /dev/kvm."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import client_attacks as attack  # noqa: E402
from clients import DEADLINE, FORK, RSS_LIMIT_KIB, Target, attacked, in_a_process, result_of  # noqa: E402

# A sanitizer keeps what was freed, and shadows the rest.
RSS = RSS_LIMIT_KIB * (1 if os.environ.get("SANITIZE", "none") == "none" else 6)


@pytest.fixture(scope="module")
def host():
    daemon = Target()
    yield daemon
    daemon.destroy()


def survived(host, function, *arguments):
    """What became of the requests of an attack that did no harm."""
    row = attacked(host, function.__name__, function, *arguments, rss_limit=RSS)
    host.check_store(["witness"])
    print(row)
    return row.outcomes


def test_idle(host):
    outcomes = survived(host, attack.idle, 1000, 2)
    assert outcomes["503"] + outcomes["closed"] >= 1000 - 512, outcomes
    assert sum(outcomes.values()) == 1000


def test_slow(host):
    outcomes = survived(host, attack.slow, 1000, 3)
    assert outcomes["503"] > 0


def test_slow_bodies(host):
    assert survived(host, attack.slow_bodies, 300, 3)["503"] > 0


def test_endless_headers(host):
    outcomes = survived(host, attack.endless_headers, 60)
    assert set(outcomes) <= {"400", "408", "414", "431", "closed"}, outcomes


def test_large_bodies(host):
    outcomes = survived(host, attack.large_bodies, 50)
    assert outcomes["413"] == 40, outcomes


def test_json(host):
    outcomes = survived(host, attack.json_tricks, 2 * len(attack.JSON))
    assert set(outcomes) <= {"400", "422", "503"} and outcomes["400"] > 0, outcomes


def test_names(host):
    assert set(survived(host, attack.names, 200)) <= {"404", "422", "414", "400"}


def test_framings(host):
    assert set(survived(host, attack.framings, 90)) <= {"400", "413"}


def test_pipelines(host):
    survived(host, attack.pipelines, 20, 100)


def test_half_closed(host):
    assert survived(host, attack.half_closed, 400)["200"] == 100


def test_answers_nobody_reads(host):
    survived(host, attack.deaf, 600, 2)


def test_streams_nobody_reads(host):
    survived(host, attack.streams, 100, 2)


def test_one_name(host):
    row = attacked(host, "one name", attack.same_name, 500, rss_limit=RSS)
    assert row.outcomes["201"] == 1 and set(row.outcomes) <= {"201", "409", "503"}, row
    host.check_store(["one", "witness"])
    assert host.call("DELETE", "/v1/vms/one").status == 204


def test_costly_requests(host):
    assert survived(host, attack.costly, 300, 3)["200"] > 0


def turns_are_taken(host):
    """What costs little, and another process's request, come before the many of one process."""
    begun, looked = FORK.Event(), FORK.Event()
    asking = in_a_process(attack.burst, host.sock, 40, begun, looked)
    assert begun.wait(DEADLINE)
    assert host.vm("witness") and host.ok("PATCH", "/v1/vms/witness", {"restart": "never"})
    looked.set()
    assert result_of(asking) < 20


def test_as_much_as_can_be_defined(host):
    vms = host.fill(attack.largest_spec)
    turns_are_taken(host)
    row = attacked(host, "longest lists", attack.costly, 100, 2, rss_limit=RSS)
    host.check_store(["witness", *vms])
    host.stop()
    host.start()
    host.check_store(["witness", *vms])
    for vm in vms:
        assert host.call("DELETE", f"/v1/vms/{vm}").status == 204
    print(row)
