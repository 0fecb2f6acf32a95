"""Run a command; write what it and all processes that it started took, second by second, into a JSON file.

    python3 benchmarks/sampled.py FILE.json FOLDER COMMAND ...

Linux only. FOLDER tells which disk to look at. Bytes read and written are those of that disk, by all programs,
until everything is written; the rest is of the command's processes alone.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from measured import adopt_orphans, wait_for_children

SECONDS_BETWEEN_SAMPLES = 0.5
SECTOR_BYTES = 512  # the unit of /sys/dev/block, whatever the disk's own
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def descendants() -> list[int]:
    """Return the ids of all processes below this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                # pid (name) state parent ...; a name may contain blanks and parentheses
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def memory_of(process: int) -> tuple[int, int]:
    """Return a process's resident bytes, and its share of them where pages are shared with others (Rss and Pss)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return kilobytes["Rss"] * 1024, kilobytes["Pss"] * 1024


def busy_seconds() -> float:
    """Return the CPU seconds that all cores have used since the machine started."""
    user, nice, system, _, _, interrupts, soft_interrupts, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft_interrupts) / TICKS_PER_SECOND


def disk_bytes(folder: str) -> tuple[int, int]:
    """Return how many bytes the disk of a folder has read and written since the machine started."""
    device = Path(folder).stat().st_dev
    fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(fields[2]) * SECTOR_BYTES, int(fields[6]) * SECTOR_BYTES


def used_bytes(folder: str) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


class Sampler(threading.Thread):
    """Sample the processes twice a second until asked to stop."""

    def __init__(self, folder: str):
        super().__init__(daemon=True)
        self.folder = folder
        self.ended = threading.Event()
        self.largest = self.together = self.files = 0  # bytes, bytes, open files of the process with most
        self.samples: list[tuple[float, float, int]] = []  # seconds, cores busy, bytes used on the disk

    def run(self) -> None:
        started = before = time.monotonic()
        busy = busy_seconds()
        while not self.ended.wait(SECONDS_BETWEEN_SAMPLES):
            together = 0
            for process in descendants():
                try:
                    resident, share = memory_of(process)
                    files = len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208  (the fastest)
                except (OSError, KeyError):
                    continue  # it has ended
                together += share
                self.largest, self.files = max(self.largest, resident), max(self.files, files)
            self.together = max(self.together, together)
            now, busy_now = time.monotonic(), busy_seconds()
            self.samples.append((now - started, (busy_now - busy) / (now - before), used_bytes(self.folder)))
            before, busy = now, busy_now


def main(file: str, folder: str, command: list[str]) -> None:
    adopt_orphans()
    os.sync()
    read_before, written_before = disk_bytes(folder)
    sampler = Sampler(folder)
    sampler.start()
    started, cpu, wall, status = time.monotonic(), 0.0, 0.0, 0
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for ended, its_status, usage in wait_for_children():
        # This includes the processes that the ended one waited for.
        cpu += usage.ru_utime + usage.ru_stime
        sampler.largest = max(sampler.largest, usage.ru_maxrss * 1024)
        if ended == process.pid:
            wall, status = time.monotonic() - started, os.waitstatus_to_exitcode(its_status)
    sampler.ended.set()
    sampler.join()
    os.sync()
    read, written = disk_bytes(folder)
    figures = {
        "status": status,
        "wall": wall,
        "cpu": cpu,
        "largest": sampler.largest,
        "together": max(sampler.together, sampler.largest),
        "files": sampler.files,
        "read": read - read_before,
        "written": written - written_before,
        "used": used_bytes(folder),
        "samples": sampler.samples,
    }
    Path(file).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
