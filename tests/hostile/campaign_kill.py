#!/usr/bin/python3
"""Kill vmm-mgmt, vswitch or vmm at random instants, start it again, and look what is left."""

import argparse
import json
import os
import pathlib
import random
import sys
import time

os.environ.setdefault("BUILD_DIR", str(pathlib.Path(__file__).resolve().parents[2] / "build"))

import kill_mgmt  # noqa: E402
import kill_switch  # noqa: E402
import kill_vmm  # noqa: E402


def percentile(values, share):
    """Of a list; None of an empty one."""
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 1) if values else None


def mgmt(args, progress):
    """The figures of a mgmt campaign."""
    figures = kill_mgmt.Loop(random.Random(args.seed), clients=args.clients).run(args.cycles, progress)
    times = figures.pop("restart_ms")
    return {**figures, "restart_ms_p50": percentile(times, 0.5), "restart_ms_p99": percentile(times, 0.99)}


def switch(args, progress):
    """The figures of a switch campaign."""
    loop = kill_switch.Loop(random.Random(args.seed), ports=args.ports)
    figures = loop.run(args.cycles, progress)
    for name in ("outage_ms", "outage_again_ms"):  # the latter: soon after another one
        times = figures.pop(name)
        figures |= {f"{name}_p50": percentile(times, 0.5), f"{name}_p99": percentile(times, 0.99)}
    return figures


def vmm(args, progress):
    """The figures of a vmm campaign."""
    return kill_vmm.Loop(random.Random(args.seed)).run(args.cycles, progress)


WHATS = {"mgmt": mgmt, "switch": switch, "vmm": vmm}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=WHATS, required=True, help="the program that is killed")
    parser.add_argument("--cycles", type=int, default=2000, metavar="N", help="kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="S",
                        help="of all that is random (the time)")
    parser.add_argument("--clients", type=int, default=4, metavar="N",
                        help="mgmt: VMs being changed at once (%(default)s)")
    parser.add_argument("--ports", type=int, default=32, metavar="N",
                        help="switch: ports under load, an even number up to 64 (%(default)s)")
    return parser.parse_args()


def main():
    args = parse_arguments()
    print(f"kill {args.what}: seed {args.seed}", flush=True)
    told = time.monotonic()

    def progress(figures):
        nonlocal told
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{figures['cycles']} of {args.cycles}", flush=True)

    print(json.dumps(WHATS[args.what](args, progress)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
