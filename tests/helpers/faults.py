"""System calls that fail on chosen paths, and permissions that hold for root too: for scripts in their own process."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
# From linux/prctl.h and linux/capability.h.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2

needs_faults = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("gcc"), reason="needs Linux and gcc to let system calls fail"
)


def failing(folder: Path, *rules: tuple[str, int, str]) -> dict[str, str]:
    """Return the variables for a script whose system calls fail where a rule says so.

    Args:
        folder: for the library that is compiled.
        rules: call (open, read, write, list, stat, fsync, utime, unlink), errno, and a part of the paths.
    """
    library = folder / "faults.so"
    if not library.exists():
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "FAULTS": "|".join(f"{call} {number} {part}" for call, number, part in rules)}


def obey_modes() -> None:
    """Make the modes of files hold for what this process starts, even as root (for Popen's `preexec_fn`)."""
    system = ctypes.CDLL(None)
    for right in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if os.geteuid() == 0 and system.prctl(PR_CAPBSET_DROP, right, 0, 0, 0):
            os._exit(77)
