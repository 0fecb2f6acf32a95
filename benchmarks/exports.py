#!/usr/bin/env python3
"""Measure export_all.py at full size against reading the CDF files:

    python3 benchmarks/exports.py

makes a release of poses only, with all 210 sequences and as many frames as the real videos have; exports it; and prints
seconds, memory and sizes. It needs 8 GB in the temporary folder, and takes some minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from frame_counts import read_frame_counts
from machine import ROOT, machine

from demo.release import write_cdf
from h36m.dataset import (
    JOINTS,
    POSES_2D,
    POSES_3D,
    POSES_3D_WORLD,
    SUBJECTS_WITH_GROUND_TRUTH,
    unpacked_file,
)
from h36m.metadata import load_metadata

# The kinds that each format reads.
FORMATS = {
    "videopose3d": (POSES_3D_WORLD, POSES_2D),
    "3d-pose-baseline": (POSES_3D_WORLD,),
    "mmpose": (POSES_2D, POSES_3D),
}
MOST_MEGABYTES = 150
MOST_READINGS = 2  # an export may take as long as reading its files twice

READ_ALL = """
import sys
from pathlib import Path
from h36m.files.poses import read_poses
for kind in sys.argv[2:]:
    for file in sorted(Path(sys.argv[1]).glob(f"extracted/*/{kind}/*.cdf")):
        read_poses(file, 2 if kind == "Poses_D2_Positions" else 3)
"""


def frame_counts() -> dict[tuple[str, int, int], int]:
    """Return how many frames the shortest of a sequence's four videos has, by subject, action and subaction."""
    return {sequence: min(views.values()) for sequence, views in read_frame_counts().items()}


def make_poses(root: Path, counts: dict[tuple[str, int, int], int]) -> None:
    """Write the CDF files of all sequences, with arbitrary float32 numbers."""
    metadata, chance = load_metadata(), np.random.default_rng(0)
    longest = max(counts.values())
    pixels = chance.uniform(200, 800, (longest, JOINTS, 2)).astype(np.float32)
    mm = chance.uniform(-2000, 2000, (longest, JOINTS, 3)).astype(np.float32)
    for subject in SUBJECTS_WITH_GROUND_TRUTH:
        for sequence in metadata.sequences_of(subject):
            count = counts[subject, sequence.action, sequence.subaction]
            views = [(kind, camera) for kind in (POSES_2D, POSES_3D) for camera in metadata.camera_ids]
            for kind, camera in [(POSES_3D_WORLD, ""), *views]:
                file = unpacked_file(root, sequence, kind, camera)
                file.parent.mkdir(parents=True, exist_ok=True)
                write_cdf(file, (pixels if kind == POSES_2D else mm)[:count])


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return its wall seconds, CPU seconds and peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the release is made, or is from an earlier run")
    arguments = parser.parse_args()
    print(machine())
    met = True
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as name:
        root = arguments.folder or Path(name)
        counts = frame_counts()
        if not (root / "extracted").exists():
            make_poses(root, counts)
        total = {
            subjects: 4 * sum(count for (subject, *_), count in counts.items() if subject in subjects.split())
            for subjects in ("S1 S5 S6 S7 S8", "S9 S11")
        }
        print(" ".join(f"{subjects}: {count:,} frames of four cameras;" for subjects, count in total.items()))
        print("\n| | wall s | CPU s | memory MB | files MB | of reading |\n|---|---|---|---|---|---|")
        for format_, kinds in FORMATS.items():
            measure([sys.executable, "-c", READ_ALL, str(root), *kinds])  # so that both find the files in memory
            reading = measure([sys.executable, "-c", READ_ALL, str(root), *kinds])
            out = root / "exported" / format_
            wall, cpu, memory = measure([sys.executable, "export_all.py", format_, "--root", str(root), "--quiet"])
            size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
            print(f"| reading for {format_} | {reading[0]:.1f} | {reading[1]:.1f} | {reading[2]:.0f} | | |")
            ratio = wall / reading[0]
            print(f"| {format_} | {wall:.1f} | {cpu:.1f} | {memory:.0f} | {size:.0f} | {ratio:.2f} |", flush=True)
            met &= memory <= MOST_MEGABYTES and ratio <= MOST_READINGS
    print("met" if met else f"MISSED: at most {MOST_MEGABYTES} MB and {MOST_READINGS} times reading")
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
