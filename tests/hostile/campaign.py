#!/usr/bin/python3
"""Run the long form of a hostile test: campaign.py [NAME [OPTION...]]; without a name, list them all."""

import ast
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def campaigns():
    """Name -> file of each."""
    return {path.stem.removeprefix("campaign_"): path for path in sorted(HERE.glob("campaign_*.py"))}


def main():
    known = campaigns()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        for name, path in known.items():
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"{name:12} {doc.splitlines()[0] if doc else ''}")
        return 0
    name, *options = sys.argv[1:]
    if name not in known:
        print(f"campaign: found {name}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    os.environ.setdefault("BUILD_DIR", str(HERE.parents[1] / "build"))
    os.execv("/usr/bin/python3", ["/usr/bin/python3", str(known[name]), *options])


if __name__ == "__main__":
    sys.exit(main())
