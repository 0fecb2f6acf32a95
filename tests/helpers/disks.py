"""Small disks and read-only ones, real ones; they need Linux and root."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


def can_mount(*arguments) -> bool:
    """Run mount, which needs Linux and root; return whether it could."""
    return bool(shutil.which("mount")) and subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    """Take a mounted folder away, even while somebody uses it."""
    subprocess.run(["umount", "--lazy", folder], check=True)


def grow(disk: Path, megabytes: int) -> None:
    """Make a small disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", disk], check=True)


@contextlib.contextmanager
def nobody_may_write(disk: Path) -> Iterator[None]:
    """Let nobody write to a small disk while the `with` block runs; not even root, whom modes do not stop."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
