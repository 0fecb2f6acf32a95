"""Run a command; print what it and all processes that it started took: CPU seconds, wall seconds, MB of the largest."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: a process that loses its parent becomes a child of this process


def adopt_orphans() -> None:
    """Become the parent of each descendant that loses its parent (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_children() -> Iterator:
    """Yield id, status and usage of each child as it ends, until there is none, as `os.wait4`."""
    while True:
        try:
            yield os.wait4(-1, 0)
        except ChildProcessError:
            return


def main(command: list[str]) -> None:
    adopt_orphans()
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    cpu, wall, memory, status = 0.0, 0.0, 0, 0
    for ended, its_status, used in wait_for_children():
        # This includes the children that a process waited for; the server that forks the workers outlives its parent.
        cpu += used.ru_utime + used.ru_stime
        memory = max(memory, used.ru_maxrss)
        if ended == process.pid:
            wall, status = time.monotonic() - started, os.waitstatus_to_exitcode(its_status)
    print(cpu, wall, memory / (2**20 if sys.platform == "darwin" else 2**10))
    raise SystemExit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
