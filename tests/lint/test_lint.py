"""Every check of lint.py finds the fault it is there for, and lets the sound file pass."""

import pathlib
import subprocess
import sys

import pytest

LINT = pathlib.Path(__file__).with_name("lint.py")

FAULTS = {
    "floors": [("core/a.c", '#include "vmm/kvm_vm.h"\n'), ("devemu/a.c", '#include "vfio/sriov.h"\n'),
               ("vmm/a.h", "#include <rte_mbuf.h>\n"), ("core/b.c", '#include "../core/a.h"\n'),
               ("launch/a.c", '#include "mgmt/store.h"\n'), ("vswitch/a.c", '#include "vmm/x.h"\n')],
    "sizes": [("core/long.c", "int x;\n" * 701),
              ("core/deep.c", "int deep(void)\n{\n" + "\tx();\n" * 90 + "}\n"),
              ("lab/deep.py", "def deep():\n" + "    x = 1\n" * 90),
              ("core/big.bin", "x" * (1 << 20) + "x")],
    "marks": [("core/a.c", "/* TO" "DO: later */\n"), ("run", "#!/bin/sh\n# FIX" "ME\n")],
    "exits": [("vswitch/fdb.c", "\trte_panic(\"x\");\n"), ("devemu/a.c", "\tif (x)\n\t\tabort();\n"),
              ("vfio/a.c", "\texit(1);\n")],
    "readmes": [("core/a.c", "int a;\n"), ("tests/unit/core/a.c", "int a;\n")],
    "shell": [("lab/a.sh", "#!/bin/bash\ncd $1 || [ $? = 0 -a x ]\nlocal y=1\n")],
    "text": [("core/a.c", "int a; \n"), ("core/b.c", "    int b;\n"), ("core/c.c", "x" * 121 + "\n")],
}

SOUND = {
    "floors": [("vmm/a.c", '#include "core/io_bus.h"\n#include "vfio/sriov.h"\n#include <rte.h>\n'),
               ("vswitch/a.c", '#include <rte_mbuf.h>\n#include "vhost-user/vring.h"\n'),
               ("tests/unit/core/a.c", '#include "vmm/ept.h"\n'), ("vmm/b.c", '#include "dsdt.hex"\n')],
    "sizes": [("core/a.c", "int a(void)\n{\n" + "\tx();\n" * 50 + "}\n")],
    "marks": [("core/a.c", "/* mktemp XXXXXX */\n")],
    "exits": [("vswitch/main.c", "\texit(1);\n"), ("vfio/a.c", "\tloop_exit(x); /* exit(1) */\n"),
              ("vmm/a.c", "\texit(1);\n"), ("iommu/b.c", "\tdo_exit(\"abort()\");\n")],
    "readmes": [("core/README.md", "a\n" * 10), ("core/a.c", "")],
    "shell": [("lab/a.sh", "#!/bin/bash\nset -e\ncd \"$1\"\n")],
    "text": [("core/a.c", "\tint a;\n/*\n * text\n */\n")],
}


def run_check(root, check):
    return subprocess.run([sys.executable, LINT, "--root", root, check], capture_output=True,
                          text=True, check=False)


def put(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("check,name,text", [pytest.param(check, *fault, id=f"{check}-{number}")
                                             for check in FAULTS
                                             for number, fault in enumerate(FAULTS[check])])
def test_fault_is_found(tmp_path, check, name, text):
    put(tmp_path, name, text)
    result = run_check(tmp_path, check)
    assert result.returncode == 1, result.stdout + result.stderr
    folder = name if check != "readmes" else name.split("/", maxsplit=1)[0]
    assert folder in result.stdout


@pytest.mark.parametrize("check", SOUND)
def test_sound_passes(tmp_path, check):
    for name, text in SOUND[check]:
        put(tmp_path, name, text)
    result = run_check(tmp_path, check)
    assert result.returncode == 0, result.stdout + result.stderr
