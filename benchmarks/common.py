"""What benchmarks share: the machine, the cost of a command, verdicts, frame counts, and scripts without syncing."""

import csv
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from h36m.parallel.cores import available_cores  # noqa: E402

HERE = Path(__file__).parent
WITHOUT_SYNCING = """
import os
os.fsync = lambda handle: None
if hasattr(os, "posix_fadvise"):
    del os.posix_fadvise
"""


class Cost(NamedTuple):
    """What a command and all processes that it started took."""

    cpu: float  # seconds, user and system
    wall: float  # seconds
    memory: float  # MB, peak of the largest process
    together: float  # MB, peak of all processes, pages that they share counted once
    status: int


def machine(*packages: str) -> str:
    """Return date, cores, processor, system, and the versions of Python and of some packages."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [line.partition(":")[2] for line in information.read_text().splitlines() if "model name" in line]
        model = names[0].strip() if names else model
    return ", ".join(
        [
            f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            f"{available_cores()} cores",
            model,
            platform.system(),
            f"Python {platform.python_version()}",
            *[f"{package} {importlib.metadata.version(package)}" for package in packages],
        ]
    )


def measure(*command, statuses: tuple[int, ...] = (0,), log: Path | None = None) -> Cost:
    """Run a command to its end; any other exit status ends the benchmark.

    A small process runs it: the peak memory of a process begins with that of the one that forked it.

    Args:
        command: the program and its arguments.
        statuses: with which it may end.
        log: gets what it prints; None to discard it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cost.json")
        output = log or Path(folder, "log")
        with output.open("w") as written:
            measured = [sys.executable, HERE / "measured.py", file, *command]
            subprocess.run(
                list(map(str, measured)), stdin=subprocess.DEVNULL, stdout=written, stderr=written, check=True
            )
        cost = Cost(**json.loads(file.read_text()))
        if cost.status not in statuses:
            lines = output.read_text(errors="replace").splitlines()[-5:]
            raise SystemExit("\n".join([f"{' '.join(map(str, command))} ended with status {cost.status}:", *lines]))
    return cost


def verdict(what: str, value: float, target: float) -> bool:
    """Print whether a value is at most its target; return it."""
    print(f"- {what}: {value:.3g}, at most {target}: {'met' if value <= target else 'MISSED'}", flush=True)
    return value <= target


class Counts(NamedTuple):
    """How long a sequence of the real dataset is: published facts."""

    frames: dict[str, int]  # of the video of each camera ("54138969")
    poses: int  # at most as many as each video has frames


def read_frame_counts(divisor: int = 1) -> dict[tuple[str, int, int], Counts]:
    """Return the counts of each subject ("S1"), action (2 to 16) and subaction, divided for a smaller dataset.

    Action 1, which has no published poses, is left out.
    """
    with (HERE / "frame_counts.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        (row["subject"], int(row["action"]), int(row["subaction"])): Counts(
            {camera: -(-int(count) // divisor) for camera, count in row.items() if camera.isdecimal()},
            -(-int(row["poses"]) // divisor),
        )
        for row in rows
        if int(row["action"]) > 1
    }


def unsynced_scripts(folder: Path) -> Path:
    """Copy the scripts into a new folder and take the waiting for the disk out of the copies; return the folder."""
    shutil.copytree(ROOT / "h36m", folder / "h36m", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("extract_all.py", "process_all.py", "metadata.xml", "checksums.txt"):
        shutil.copy(ROOT / name, folder)
    with (folder / "h36m" / "__init__.py").open("a") as file:  # imported by every process
        file.write(WITHOUT_SYNCING)
    return folder
