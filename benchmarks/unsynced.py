"""Copies of the scripts that do not wait for the disk: the difference is the cost of durability."""

from pathlib import Path

from machine import copy_of_scripts

WITHOUT_SYNCING = """
import os
os.fsync = lambda handle: None
if hasattr(os, "posix_fadvise"):
    del os.posix_fadvise
"""


def unsynced_scripts(folder: Path) -> Path:
    """Copy the scripts into a new folder and take the syncing out of the copies; return the folder."""
    copy_of_scripts(folder)
    with (folder / "h36m" / "__init__.py").open("a") as file:  # imported by every process
        file.write(WITHOUT_SYNCING)
    return folder
