#!/usr/bin/python3
"""Where this machine gets Debian from: the URI and the key its own apt sources name."""

import argparse
import glob
import re


def stanzas():
    """Yield every stanza of the deb822 sources as a dict with lower-case keys."""
    for name in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(name, encoding="utf-8") as source:
            for block in re.split(r"\n\s*\n", source.read()):
                lines = [line for line in block.splitlines() if not line.startswith("#")]
                fields = dict(line.split(":", 1) for line in lines if re.match(r"\w[\w-]*:", line))
                yield {key.lower(): value.strip() for key, value in fields.items()}


def one_line_sources():
    """The same for the old one-line format of sources.list."""
    for name in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*.list")):
        try:
            with open(name, encoding="utf-8") as source:
                text = source.read()
        except FileNotFoundError:
            continue
        for match in re.finditer(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)", text, re.M):
            signed = re.search(r"signed-by=(\S+)", match[1] or "")
            yield {"uris": match[2], "suites": match[3], "signed-by": signed[1] if signed else ""}


def debian_source(suite="bookworm"):
    """(URI, Signed-By) of the sources which carry `suite`."""
    for fields in list(stanzas()) + list(one_line_sources()):
        if suite in fields.get("suites", "").split():
            return fields["uris"].split()[0], fields.get("signed-by", "")
    raise SystemExit(f"no apt source with suite {suite}: is this Debian 12?")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stanza", metavar="SUITE", help="print an apt source stanza for SUITE")
    args = parser.parse_args()
    uri, key = debian_source()
    if not args.stanza:
        print(uri)
        return
    print(f"Types: deb\nURIs: {uri}\nSuites: {args.stanza}\nComponents: main")
    if key:
        print(f"Signed-By: {key}")


if __name__ == "__main__":
    main()
