"""Fixtures of several test files; what is not a fixture is in helpers/."""

import os
import signal
from pathlib import Path

import pytest
from helpers.demos import shared_demo
from helpers.disks import can_mount, unmount
from helpers.releases import linked

# Whoever starts the tests in the background has them ignore Ctrl-C, or SIGHUP (nohup), and the scripts would inherit
# that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The fake site is on this machine, and no proxy of whoever runs the tests can reach it.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """One run of the demo: its folder, and in output.txt what it printed. Read it, do not write."""
    base = tmp_path_factory.getbasetemp()
    # With pytest-xdist each process has a folder of its own in the one of the test run.
    return shared_demo(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def root(demo_run, tmp_path):
    """A root of one's own with the demo's unpacked files as hard links: put others in their place, never write."""
    return linked(demo_run / "data", tmp_path / "a root")


@pytest.fixture
def small_disk(tmp_path):
    """A function that returns the folder of a disk of so many megabytes, a real one that fills up."""
    mounted = []

    def make(megabytes: int) -> Path:
        disk = tmp_path / f"a disk of {megabytes} MB"
        disk.mkdir()
        if not can_mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk):
            pytest.skip("this machine does not let us mount a small disk")
        mounted.append(disk)
        return disk

    yield make
    for disk in mounted:
        unmount(disk)


@pytest.fixture
def read_only():
    """A function that makes a folder one that nobody can write to, not even root."""
    mounted = []

    def make(folder: Path) -> None:
        if not (can_mount("--bind", folder, folder) and can_mount("-o", "remount,bind,ro", folder)):
            pytest.skip("this machine does not let us mount a folder read-only")
        mounted.append(folder)

    yield make
    for folder in mounted:
        unmount(folder)
