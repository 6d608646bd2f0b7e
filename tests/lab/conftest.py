"""What the lab tests share."""

import os
import pathlib
import sys

import pytest

REPO = pathlib.Path(os.environ["LAB_REPO"])
sys.path.insert(0, str(REPO / "lab"))


@pytest.fixture(scope="session", name="build")
def build_folder():
    """Where the programs under test were built."""
    return pathlib.Path(os.environ.get("LAB_BUILD", REPO / "build"))


def pytest_runtest_logreport(report):
    """Show a failure when it happens: the lab may be ended by force before pytest sums up."""
    if report.failed:
        print(f"\n{report.nodeid} ({report.when}):\n{report.longreprtext}\n{report.capstdout}",
              file=sys.__stderr__, flush=True)
