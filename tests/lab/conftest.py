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
