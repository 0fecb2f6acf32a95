"""Run a command; print what it and all processes that it started took: CPU seconds, wall seconds, MB of the largest."""

import ctypes
import os
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: whoever loses its parent becomes a child of this process


def main(command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    cpu, wall, memory, status = 0.0, 0.0, 0, 0
    while True:
        try:
            ended, its_status, used = os.wait4(-1, 0)
        except ChildProcessError:
            break
        # What a process waited for is counted with it; the server that forks the workers outlives its parent.
        cpu += used.ru_utime + used.ru_stime
        memory = max(memory, used.ru_maxrss)
        if ended == process.pid:
            wall, status = time.monotonic() - started, os.waitstatus_to_exitcode(its_status)
    print(cpu, wall, memory / (2**20 if sys.platform == "darwin" else 2**10))
    raise SystemExit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
