"""Fixtures of several test files; other shared code is in helpers/."""

import os
import signal
from pathlib import Path

import pytest
from helpers.demos import shared_demo
from helpers.disks import can_mount, unmount
from helpers.releases import linked

# Tests that are started in the background ignore Ctrl-C, or SIGHUP (nohup), and the scripts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The fake server is on this machine, and a proxy in the user's environment cannot reach it.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """One run of the demo: its folder, with what it printed in output.txt. Do not write to it."""
    base = tmp_path_factory.getbasetemp()
    # With pytest-xdist each process has a folder of its own in the one of the test run.
    return shared_demo(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def root(demo_run, tmp_path):
    """A root for one test, with the demo's unpacked files as hard links: replace files, never write to them."""
    return linked(demo_run / "data", tmp_path / "a root")


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a real disk of some megabytes and returns its folder."""
    mounted = []

    def make(megabytes: int, options: str = "") -> Path:
        disk = tmp_path / f"a disk of {megabytes} MB"
        disk.mkdir()
        if not can_mount("-t", "tmpfs", "-o", f"size={megabytes}m,{options}".rstrip(","), "tmpfs", disk):
            pytest.skip("this machine does not allow to mount a small disk")
        mounted.append(disk)
        return disk

    yield make
    for disk in mounted:
        unmount(disk)


@pytest.fixture
def read_only():
    """A function that makes a folder read-only, even for root."""
    mounted = []

    def make(folder: Path) -> None:
        if not (can_mount("--bind", folder, folder) and can_mount("-o", "remount,bind,ro", folder)):
            pytest.skip("this machine does not allow to mount a folder read-only")
        mounted.append(folder)

    yield make
    for folder in mounted:
        unmount(folder)
