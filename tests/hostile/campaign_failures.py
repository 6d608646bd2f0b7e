#!/usr/bin/python3
"""The n-th allocation and the n-th system call made to fail, for every n of start, hot paths, reset and REST."""

import argparse
import collections
import pathlib
import random
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parents[1] / "component"),
                str(pathlib.Path(__file__).resolve().parents[1] / "component/mgmt")]
from failure_scenarios import SCENARIOS  # noqa: E402
from failures import CLASSES, SCOPES, Wrong  # noqa: E402
from injector import BUILD  # noqa: E402


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios: " + ", ".join(SCENARIOS) +
        "\nBUILD_DIR (default build/) is what is tested: build-asan/ finds what a plain build hides.")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), metavar="NAME",
                        help="only this one; may be given several times (default: all)")
    parser.add_argument("--class", dest="classes", action="append", choices=list(CLASSES),
                        help="only these calls (default: both)")
    parser.add_argument("--scope", action="append", choices=list(SCOPES),
                        help="only calls made by the program itself, or by its libraries (default: both)")
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="N",
                        help="the first n (default: 1)")
    parser.add_argument("--to", type=int, default=1 << 30, metavar="N", help="the last n (default: all)")
    parser.add_argument("--every", type=int, default=1, metavar="COUNT",
                        help="only each so many-th n, beginning at a random one (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="of that choice (default: random, printed)")
    parser.add_argument("--span", type=int, default=1, metavar="COUNT",
                        help="so many calls fail in a row (default: 1)")
    parser.add_argument("--max-wrong", type=int, default=20, metavar="COUNT",
                        help="gives a row up after so many failures (default: 20)")
    parser.add_argument("--verbose", action="store_true", help="where each n was, and what came of it")
    return parser.parse_args(arguments)


def row(scenario, options, class_name, scope_name):
    """One scenario, one class, one scope: outcomes counted; the broken promises."""
    outcomes, wrong = collections.Counter(), []
    shown = time.monotonic()
    n = options.first + options.random.randrange(options.every)
    while n <= options.to and len(wrong) < options.max_wrong:
        try:
            outcome = scenario.walk(n, CLASSES[class_name], SCOPES[scope_name], options.span)
            if outcome is None:
                break
            outcomes[outcome] += 1
            if options.verbose:
                print(f"  {n}: {outcome}: {scenario.injector.where()}", flush=True)
        except Wrong as error:
            wrong.append(str(error))
            print(f"WRONG {error}", flush=True)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"  {scenario.name} {class_name} {scope_name}: n = {n}", flush=True)
        n += options.every
    return outcomes, wrong


def main():
    """All rows; the table; 0 when nothing was wrong."""
    options = parse(sys.argv[1:])
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    options.random = random.Random(seed)
    print(f"seed {seed}, {BUILD}", flush=True)
    table, total_wrong = [], 0
    for name in options.scenario or SCENARIOS:
        for class_name in options.classes or CLASSES:
            for scope_name in options.scope or SCOPES:
                if scope_name != "own" and SCENARIOS[name].own_only:
                    continue
                began = time.monotonic()
                scenario = SCENARIOS[name]()
                try:
                    outcomes, wrong = row(scenario, options, class_name, scope_name)
                finally:
                    scenario.close()
                seconds = time.monotonic() - began
                total_wrong += len(wrong)
                table.append((name, class_name, scope_name, sum(outcomes.values()) + len(wrong),
                              len(wrong), f"{seconds:.0f} s", dict(outcomes.most_common())))
                print(*table[-1], flush=True)
    print(f"\n{'scenario':16} {'class':8} {'called by':10} {'ns':>6} {'wrong':>6} {'time':>7}  outcomes")
    for name, class_name, scope_name, count, wrong, seconds, outcomes in table:
        text = ", ".join(f"{what}: {times}" for what, times in outcomes.items())
        print(f"{name:16} {class_name:8} {scope_name:10} {count:6} {wrong:6} {seconds:>7}  {text}")
    return 1 if total_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
