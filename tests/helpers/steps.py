"""What is written to the disk, and in which order."""

import os
from pathlib import Path


def watch_steps(monkeypatch) -> list[tuple[str, int]]:
    """Return the list of what is synced and renamed from now on, by inode; all of it is really done."""
    steps = []
    fsync = os.fsync

    def noted_fsync(handle):
        steps.append(("sync", os.fstat(handle).st_ino))
        fsync(handle)

    def noting(rename):
        def noted_rename(source, target):
            steps.append(("rename", Path(source).stat().st_ino))
            return rename(source, target)

        return noted_rename

    monkeypatch.setattr(os, "fsync", noted_fsync)
    # Not those of os, which Python 3.10 binds when pathlib is imported.
    monkeypatch.setattr(Path, "replace", noting(Path.replace))
    monkeypatch.setattr(Path, "rename", noting(Path.rename))
    return steps


def happen_in_order(steps: list[tuple[str, int]], *expected: tuple[str, int]) -> bool:
    """Return whether some steps happen one after the other, with others between them."""
    rest = iter(steps)
    return all(step in rest for step in expected)
