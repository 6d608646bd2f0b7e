#!/usr/bin/python3
"""The house rules a machine can check. usage: lint.py [--root DIR] [CHECK...]; without one, all.

Each violation is a line "file:line: what is wrong"; the exit status is 1 if there is any, and 77
(skipped) when the tool a check needs is not installed. Notes (what to aim at) do not fail.
"""

import argparse
import ast
import pathlib
import re
import shutil
import subprocess
import sys

# What a folder may include besides itself; tests/ and lab/ stand beside the floors.
FLOORS = {
    "core": (),
    "iommu": ("core",),
    "devemu": ("core", "iommu"),
    "vhost-user": ("core", "iommu"),
    "vfio": ("core", "iommu"),
    "vmm": ("core", "iommu", "devemu", "vhost-user", "vfio"),
    "vswitch": ("core", "vhost-user"),
    "mgmt": ("core",),
    "launch": ("core", "vfio"),
    "bench": ("core", "vhost-user"),
}
DPDK_FOLDERS = ("vswitch", "bench", "tests")
NEVER_EXIT = ("iommu", "devemu", "vhost-user", "vfio", "vswitch")
FILE_AIM, FILE_LIMIT = 500, 700
FUNCTION_AIM, FUNCTION_LIMIT = 60, 80
BINARY_LIMIT = 1 << 20
# Written apart so that this file does not accuse itself.
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|not (yet )?impl" r"emented|unimpl"
                   r"emented")
EXITS = re.compile(r"(?<![\w.>])(abort|exit|_exit|_Exit|quick_exit|rte_panic|rte_exit)\s*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
# Folders in which anybody may keep a clone: finding their names in a file means nothing.
COMMON_PARENTS = {"/", "/root", "/home", "/tmp", "/usr", "/usr/src", "/usr/local", "/opt", "/srv",
                  "/var", "/mnt", "/run", "/src", "/build", "/data"}


class Tree:
    """The project's files: what git tracks or would, else all but build folders."""

    def __init__(self, root):
        self.root = root
        listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                                capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            names = listed.stdout.splitlines()
        else:
            names = [str(path.relative_to(root)) for path in root.rglob("*")]
        self.files = sorted({name for name in names if (root / name).is_file()
                             and not re.match(r"(\.git|build[^/]*)/|.*__pycache__/", name)})

    def lines(self, name):
        """Numbered lines of a text file."""
        text = (self.root / name).read_text(encoding="utf-8", errors="replace")
        return list(enumerate(text.splitlines(), 1))

    def sources(self, *suffixes, folders=None):
        """Files with one of the suffixes, in the folders if given."""
        return [name for name in self.files if name.endswith(suffixes)
                and (folders is None or name.split("/")[0] in folders)]

    def shell_scripts(self):
        """Files that say they are run by a shell."""
        found = []
        for name in self.files:
            with open(self.root / name, "rb") as source:
                if re.match(rb"#! ?/(usr/)?bin/(env )?(ba)?sh\b", source.readline(80)):
                    found.append(name)
        return found

    def code(self):
        """Everything somebody has to read as a program."""
        return sorted({*self.sources(".c", ".h", ".py", ".S", ".asl"), *self.shell_scripts()})


def check_floors(tree):
    """A file includes only its own folder and lower floors, by paths from the root."""
    for name in tree.sources(".c", ".h", folders=FLOORS):
        folder = name.split("/")[0]
        allowed = {folder, *FLOORS[folder]}
        for number, line in tree.lines(name):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match[1] or match[2]
            above = target.split("/")[0]
            if match[1] and "/" not in target and not (tree.root / folder / target).exists():
                continue  # generated at build time
            if match[1] and ("/" not in target or above in (".", "..")):
                yield f"{name}:{number}: write the include from the root, not \"{target}\""
            elif above in FLOORS and "/" in target and above not in allowed:
                yield f"{name}:{number}: {folder}/ may not include {above}/"
            elif target.startswith("rte_") and folder not in DPDK_FOLDERS:
                yield f"{name}:{number}: DPDK belongs to vswitch/ and bench/"


def c_functions(lines):
    """(name, first line, length) of the functions of a C file in kernel style."""
    start, heading, name = None, [], ""
    for number, line in lines:
        if line == "{" and start is None:
            start = number
            found = re.search(r"(\w+)\(", " ".join(heading))
            name = found[1] if found else "?"
        elif line.startswith("}") and start is not None:
            yield name, start, number - start + 1
            start, heading = None, []
        elif start is None:
            heading = [] if not line.strip() or line.startswith(("#", "}", " *")) else heading + [line]


def python_functions(text):
    """The same for Python."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def check_sizes(tree):
    """Files and functions of a size one can take in."""
    for name in tree.code():
        lines = tree.lines(name)
        if len(lines) > FILE_LIMIT:
            yield f"{name}:1: {len(lines)} lines, at most {FILE_LIMIT}"
        elif len(lines) > FILE_AIM:
            print(f"note: {name}: {len(lines)} lines, aim at {FILE_AIM}")
        functions = ()
        if name.endswith(".c"):
            functions = c_functions(lines)
        elif name.endswith(".py"):
            functions = python_functions((tree.root / name).read_text(encoding="utf-8"))
        for function, start, length in functions:
            if length > FUNCTION_LIMIT:
                yield f"{name}:{start}: {function} has {length} lines, at most {FUNCTION_LIMIT}"
            elif length > FUNCTION_AIM:
                print(f"note: {name}:{start}: {function}: {length} lines, aim at {FUNCTION_AIM}")
    for name in tree.files:
        if (tree.root / name).stat().st_size > BINARY_LIMIT:
            yield f"{name}:1: larger than 1 MiB: fetch or build it instead"


def check_marks(tree):
    """Nothing unfinished."""
    for name in tree.code():
        for number, line in tree.lines(name):
            match = MARKS.search(line)
            if match:
                yield f"{name}:{number}: unfinished: {match[0]}"


def check_exits(tree):
    """Only main() ends a process: no guest or peer may."""
    for name in tree.sources(".c", folders=NEVER_EXIT):
        if pathlib.PurePath(name).name == "main.c":
            continue
        for number, line in tree.lines(name):
            match = EXITS.search(re.sub(r"//.*|/\*.*?\*/|\"(\\.|[^\"])*\"", "", line))
            if match and not re.match(r"\s*(/?\*)", line):
                yield f"{name}:{number}: {match[1]}() outside main()"


def check_readmes(tree):
    """Every folder says what it is for."""
    folders = {name.split("/")[0] for name in tree.files if "/" in name}
    folders |= {"/".join(name.split("/")[:2]) for name in tree.files
                if name.startswith("tests/") and name.count("/") > 1}
    for folder in sorted(folder for folder in folders if not folder.startswith(".")):
        readme = tree.root / folder / "README.md"
        if not readme.is_file():
            yield f"{folder}/README.md:1: missing"
        elif not 4 <= len(readme.read_text(encoding="utf-8").splitlines()) <= 80:
            yield f"{folder}/README.md:1: role, floor and the road of one piece of data, in 4-80 lines"


def check_machine(tree):
    """No names of one machine: where it keeps the clone, whence it gets its packages."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lab"))
    import apt_source
    uris = [uri for fields in [*apt_source.stanzas(), *apt_source.one_line_sources()]
            for uri in fields.get("uris", "").split()]
    names = {re.sub(r"^\w+:/*([^/]*).*", r"\1", uri) for uri in uris} - {""}
    pattern = "|".join(re.escape(name) for name in sorted(names))
    parent = str(tree.root.parent)
    if parent not in COMMON_PARENTS:
        pattern += ("|" if pattern else "") + r"(?<![\w.])" + re.escape(parent) + "/"
    for name in tree.files if pattern else ():
        for number, line in tree.lines(name):
            match = re.search(pattern, line)
            if match:
                yield f"{name}:{number}: {match[0]}: a name of this machine"


def check_shell(tree):
    """Shell scripts pass shellcheck."""
    if not shutil.which("shellcheck"):
        print("skipped: shellcheck is not installed")
        sys.exit(77)
    scripts = tree.shell_scripts()
    found = subprocess.run(["shellcheck", "-f", "gcc", "-S", "warning", *scripts], cwd=tree.root,
                           capture_output=True, text=True, check=False) if scripts else None
    yield from found.stdout.splitlines() if found else ()


def check_text(tree):
    """C is indented by tabs; no line ends in blanks or goes beyond the page."""
    for name in tree.code():
        for number, line in tree.lines(name):
            if line != line.rstrip():
                yield f"{name}:{number}: blanks at the end of the line"
            if len(line.expandtabs(8)) > 120:
                yield f"{name}:{number}: longer than 120 columns"
            if name.endswith((".c", ".h")) and re.match(r" {2,}(?!\*)\S", line):
                yield f"{name}:{number}: indented by spaces"


CHECKS = {name.removeprefix("check_"): function for name, function in list(globals().items())
          if name.startswith("check_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=" ".join(CHECKS))
    args = parser.parse_args()
    unknown = set(args.checks) - set(CHECKS)
    if unknown:
        parser.error(f"no such check: {' '.join(unknown)}")
    tree = Tree(args.root.resolve())
    found = [line for name in args.checks or CHECKS for line in CHECKS[name](tree)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
