"""What several tests stand on: one run of the demo, and a way to run the scripts as people do."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# Whoever starts the tests in the background has them ignore Ctrl-C, and the scripts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def slow(*values):
    """Return a test's values that are left to the longer tests, since quicker ones are much like them."""
    return pytest.param(*values, marks=pytest.mark.slow)


def run_script(name: str, *options, cwd: Path | None = None, environment: dict | None = None, **more):
    """Run one of the four scripts in a process of its own; return it when it has ended, with its output as text."""
    return subprocess.run(
        [sys.executable, PROJECT / name, *map(str, options)],
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )


def errors_in(standard_error: str) -> list[str]:
    """Return the lines of a script's standard error without those of its progress, which a busy machine brings on."""
    return [line for line in standard_error.splitlines() if not line.startswith("processing: ")]


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """One run of `python -m demo`: its folder, with a blank in the path, and what it printed. Read it, do not write."""
    folder = tmp_path_factory.mktemp("demo run") / "made up"
    ended = subprocess.run(
        [sys.executable, "-m", "demo", folder], cwd=PROJECT, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder.joinpath("output.txt").write_text(ended.stdout)
    return folder


@pytest.fixture
def root(demo_run, tmp_path):
    """A root of one's own with the demo's unpacked files as hard links: put others in their place, never write."""
    root = tmp_path / "a root"
    shutil.copytree(demo_run / "data" / "extracted", root / "extracted", copy_function=os.link)
    return root


def mount(*arguments) -> bool:
    """Run mount, which needs Linux and root; return whether it could."""
    return bool(shutil.which("mount")) and subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A function that returns the folder of a disk of so many megabytes, a real one that fills up."""
    mounted = []

    def make(megabytes: int) -> Path:
        disk = tmp_path / f"a disk of {megabytes} MB"
        disk.mkdir()
        if not mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk):
            pytest.skip("this machine does not let us mount a small disk")
        mounted.append(disk)
        return disk

    yield make
    for disk in mounted:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def read_only():
    """A function that makes a folder one that nobody can write to, not even root."""
    mounted = []

    def make(folder: Path) -> None:
        if not (mount("--bind", folder, folder) and mount("-o", "remount,bind,ro", folder)):
            pytest.skip("this machine does not let us mount a folder read-only")
        mounted.append(folder)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)
