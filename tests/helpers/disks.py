"""Real disks, small or read-only; they need Linux and root."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CANNOT_CUT_POWER = "cannot mount an {0} file system from a file: that needs Linux with {0}, root, loop devices, mkfs"

# With commit=600 ext4 writes only what a program syncs, within the minutes that a test takes. XFS does so for 30 s.
# A copy of an XFS disk has the same UUID, and is not mounted beside it without nouuid.
MOUNT_OPTIONS = {"ext4": "loop,commit=600", "xfs": "loop,nouuid"}
MKFS_OPTIONS = {"ext4": ["-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0"], "xfs": ["-f"]}
SMALLEST_XFS = 300  # megabytes, the least that mkfs.xfs accepts; as a sparse file it uses few


def can_mount(*arguments) -> bool:
    """Run mount, which needs Linux and root; return whether it succeeded."""
    return bool(shutil.which("mount")) and subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    """Unmount a folder, even while a process uses it."""
    subprocess.run(["umount", "--lazy", folder], check=True)


def grow(disk: Path, megabytes: int) -> None:
    """Make a small disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", disk], check=True)


@contextlib.contextmanager
def nobody_may_write(disk: Path) -> Iterator[None]:
    """Make a small disk read-only while the `with` block runs, even for root, whom file modes do not stop."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


# -- power cuts --------------------------------------------------------------------------------------------------------
# A disk in a file, as a loop device. A power cut loses what the file system has not written to the device yet, and that
# is not in the file either: a copy of it is what a power cut leaves.


def make_disk(image: Path, megabytes: int, file_system: str = "ext4") -> None:
    """Make a file with an empty file system that nothing but a test writes to."""
    if not shutil.which(f"mkfs.{file_system}"):
        pytest.skip(CANNOT_CUT_POWER.format(file_system))
    with image.open("wb") as file:
        file.truncate((max(megabytes, SMALLEST_XFS) if file_system == "xfs" else megabytes) << 20)
    subprocess.run([f"mkfs.{file_system}", "-q", *MKFS_OPTIONS[file_system], image], check=True)


@contextlib.contextmanager
def mounted(image: Path, folder: Path, file_system: str = "ext4") -> Iterator[Path]:
    """Mount a disk that is a file while the `with` block runs; skip the test where that cannot be done."""
    folder.mkdir()
    if not can_mount("-t", file_system, "-o", MOUNT_OPTIONS[file_system], image, folder):
        pytest.skip(CANNOT_CUT_POWER.format(file_system))
    try:
        yield folder
    finally:
        unmount(folder)


def sync_disk(disk: Path) -> None:
    """Write all data to a disk: the state in which a test begins."""
    subprocess.run(["sync", "-f", disk], check=True)


def commit_names(disk: Path) -> None:
    """Write the names, sizes and times of all files to the disk, but no content that was not synced.

    These file systems do so when a program syncs any file, and ext4 every 5 seconds.
    """
    file = os.open(disk / "of another program", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"words")
    os.fsync(file)
    os.close(file)


def copy_after_power_cut(disk: Path, image: Path, copy: Path) -> None:
    """Copy the file of a mounted disk as a power cut would leave it now.

    A copy during which the device was written to would mix two moments: it is made again.
    """
    number = disk.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
    while True:
        before = counters.read_text().split()
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        after = counters.read_text().split()
        writes, in_flight = 4, 8  # fields of the kernel's Documentation/block/stat.rst
        if before[writes] == after[writes] and before[in_flight] == after[in_flight] == "0":
            return
