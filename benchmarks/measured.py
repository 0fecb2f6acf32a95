"""Run a command; write what it and all processes that it started took into a JSON file (see `common.Cost`).

python3 benchmarks/measured.py FILE.json COMMAND ...
"""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: a process that loses its parent becomes a child of this process
SECONDS_BETWEEN_SAMPLES = 0.5
BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


def descendants() -> list[int]:
    """Return the ids of all processes below this one; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state parent ...; a name may contain blanks and parentheses
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def share_of_memory(process: int) -> int:
    """Return the bytes of a process, its share of those that it shares with others (Pss); 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main(file: Path, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ended, together = threading.Event(), [0]

    def sample() -> None:
        while not ended.wait(SECONDS_BETWEEN_SAMPLES):
            together.append(sum(map(share_of_memory, descendants())))

    sampler = threading.Thread(target=sample)
    sampler.start()
    cpu, wall, largest, status = 0.0, 0.0, 0, 0
    started = time.monotonic()
    process = subprocess.Popen(command)
    while True:
        try:
            child, child_status, used = os.wait4(-1, 0)
        except ChildProcessError:
            break  # all have ended
        # This includes the children that a process waited for.
        cpu += used.ru_utime + used.ru_stime
        largest = max(largest, used.ru_maxrss * BYTES_PER_UNIT)
        if child == process.pid:
            wall, status = time.monotonic() - started, os.waitstatus_to_exitcode(child_status)
    ended.set()
    sampler.join()
    cost = {"cpu": cpu, "wall": wall, "memory": largest / 2**20, "together": max(largest, *together) / 2**20}
    file.write_text(json.dumps(cost | {"status": status}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
