#!/usr/bin/python3
"""vmm-mgmt against ten thousand slow clients and every other shape of harm; one table line each."""

import argparse
import os
import sys

import client_attacks as attack
from clients import RSS_LIMIT_KIB, Target, attacked

HEAD = (f"{'attack':16} {'asked':>8} {'valid':>7} {'p50 ms':>8} {'p99 ms':>8} {'worst':>8} "
        f"{'RSS KiB before/peak/after':>26} {'fds':>9}  answers")


def line(row):
    """One row of the table."""
    rss = "/".join(map(str, row.rss))
    answers = " ".join(f"{status}:{count}" for status, count in sorted(row.outcomes.items()))
    return (f"{row.name:16} {sum(row.outcomes.values()):8} {row.calls:7} {row.p50 * 1e3:8.2f} "
            f"{row.p99 * 1e3:8.2f} {row.worst * 1e3:8.1f} {rss:>26} {row.fds[0]:4}/{row.fds[1]:<4}  "
            f"{answers}")


def options():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="p50, p99 and worst are of valid calls on other connections, made "
        "one after the other by another process meanwhile; all of them must succeed. Ends by itself "
        "after a few minutes; exit status 0: every promise held.")
    parser.add_argument("--idle", type=int, default=1000, metavar="N", help="idle connections (1000)")
    parser.add_argument("--slow", type=int, default=10000, metavar="N", help="slow connections (10000)")
    parser.add_argument("--creates", type=int, default=10000, metavar="N",
                        help="concurrent creates of one name (10000)")
    parser.add_argument("--requests", type=int, default=2000, metavar="N",
                        help="requests of each other attack (2000)")
    parser.add_argument("--vms", type=int, default=300, metavar="N",
                        help="VMs there are, which make lists long (300, at most 990)")
    parser.add_argument("--seconds", type=float, default=15, metavar="S",
                        help="how long an attack lasts that would have no end (15 s)")
    return parser.parse_args()


def attacks(args):
    """(name, function, arguments) of each."""
    count, seconds = args.requests, args.seconds
    return [
        ("idle", attack.idle, (args.idle, seconds)),
        ("slow", attack.slow, (args.slow, seconds)),
        ("slow bodies", attack.slow_bodies, (1000, seconds)),
        ("endless headers", attack.endless_headers, (count,)),
        ("large bodies", attack.large_bodies, (count // 4,)),
        ("JSON tricks", attack.json_tricks, (count // 4,)),
        ("names", attack.names, (count,)),
        ("framings", attack.framings, (count,)),
        ("pipelines", attack.pipelines, (count // 20, 1000)),
        ("half closed", attack.half_closed, (count,)),
        ("unread answers", attack.deaf, (2000, seconds)),
        ("unread streams", attack.streams, (1000, seconds)),
        ("costly", attack.costly, (500, seconds)),
        ("one name", attack.same_name, (args.creates,)),
    ]


def main():
    args = options()
    print(f"build {os.environ['BUILD_DIR']}; at most {RSS_LIMIT_KIB >> 10} MiB resident\n{HEAD}", flush=True)
    host = Target()
    vms = ["witness", *(f"vm{n}" for n in range(args.vms))]
    try:
        for vm in vms[1:]:
            host.ok("POST", "/v1/vms", host.spec(vm, "x" * 2000, nics=[{"id": "net0"}]))
        for name, function, arguments in attacks(args):
            row = attacked(host, name, function, *arguments)
            print(line(row), flush=True)
            if name == "one name":
                assert row.outcomes["201"] == 1, row.outcomes
                vms.append("one")
            host.check_store(vms)
        vms += host.fill(attack.largest_spec)
        print(line(attacked(host, "longest lists", attack.costly, 500, args.seconds)))
        host.check_store(vms)
        text = host.call("GET", "/v1/metrics").text
        print("\n".join(each for each in text.splitlines() if each.startswith("vmm_api_")))
    except AssertionError as error:
        print(f"campaign clients: {error}", file=sys.stderr)
        return 1
    finally:
        host.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
