#!/usr/bin/python3
"""Makes a C header of a text file. usage: embed.py NAME INPUT OUTPUT"""

import json
import pathlib
import sys

name, source, target = sys.argv[1:]
lines = pathlib.Path(source).read_text(encoding="ascii").splitlines(keepends=True)
pathlib.Path(target).write_text(
    f"static const char {name}[] =\n" + "\n".join(json.dumps(line) for line in lines) + ";\n",
    encoding="ascii")
