#!/usr/bin/env python3
"""Measure export_all.py at full size against reading the CDF files:

    python3 benchmarks/exports.py

makes a release of poses only, with all 210 sequences and as many poses as the real files have; exports it; and prints
seconds, memory and sizes. It needs 12 GB in the temporary folder, and takes some minutes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, machine, measure, read_frame_counts

from demo.release import write_cdf
from h36m.dataset import (
    JOINTS,
    KIND_FACTS,
    POSES_2D,
    POSES_3D,
    POSES_3D_ANGLES,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    SUBJECTS_WITH_GROUND_TRUTH,
    unpacked_file,
)
from h36m.export.motion_prediction import joint_quaternions, positions, rotation_vectors
from h36m.metadata import load_metadata

# The kinds that each format reads.
FORMATS = {
    "videopose3d": (POSES_3D_WORLD, POSES_2D),
    "semgcn": (POSES_3D_WORLD, POSES_2D),
    "3d-pose-baseline": (POSES_3D_WORLD,),
    "mmpose": (POSES_2D, POSES_3D),
    "h36m-toolbox": (POSES_2D, POSES_3D_UNIVERSAL, POSES_3D),
    "motion-prediction": (POSES_3D_ANGLES, POSES_3D_WORLD),
}
MOST_MEGABYTES = 150
MOST_READINGS = 2  # an export may take as long as reading its files twice

READ_ALL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from h36m.files.poses import read_numbers
for kind in sys.argv[3:]:
    for file in sorted(Path(sys.argv[2]).glob(f"extracted/*/{kind}/*.cdf")):
        read_numbers(file, {"Poses_D2_Positions": 64, "Poses_D3_Angles": 78}.get(kind, 96))
"""


def pose_counts(divisor: int) -> dict[tuple[str, int, int], int]:
    """Return how many poses a sequence has, by subject, action and subaction."""
    return {sequence: counts.poses for sequence, counts in read_frame_counts(divisor).items()}


def make_poses(root: Path, counts: dict[tuple[str, int, int], int]) -> None:
    """Write the CDF files of all sequences, with arbitrary float32 numbers; those of the world are of the angles."""
    metadata, chance = load_metadata(), np.random.default_rng(0)
    longest = max(counts.values())
    pixels = chance.uniform(200, 800, (longest, JOINTS, 2)).astype(np.float32)
    mm = chance.uniform(-2000, 2000, (longest, JOINTS, 3)).astype(np.float32)
    angles = chance.uniform(-180, 180, (longest, 78)).astype(np.float32)
    for joint in (2, 4, 7, 9, 18, 26):  # in the dataset, these turn about x only
        angles[:, metadata.angle_channels[joint][1:]] = 0
    for joint in (20, 22, 28, 30):
        angles[:, metadata.angle_channels[joint]] = 0
    vectors, lengths = rotation_vectors(joint_quaternions(angles, metadata)), np.full(JOINTS, 200)
    world = positions(angles[:, :3], vectors, lengths, metadata).astype(np.float32)
    numbers_of_kinds = {
        POSES_2D: pixels,
        POSES_3D: mm,
        POSES_3D_UNIVERSAL: mm,
        POSES_3D_ANGLES: angles,
        POSES_3D_WORLD: world,
    }
    for subject in SUBJECTS_WITH_GROUND_TRUTH:
        for sequence in metadata.sequences_of(subject):
            count = counts[subject, sequence.action, sequence.subaction]
            for kind, numbers in numbers_of_kinds.items():
                for camera in metadata.camera_ids if KIND_FACTS[kind].has_views else ("",):
                    file = unpacked_file(root, sequence, kind, camera)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_cdf(file, numbers[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--divide", type=int, default=1, metavar="N", help="make an N-th of the frames")
    parser.add_argument("--folder", type=Path, help="where the release is made, or is from an earlier run")
    arguments = parser.parse_args()
    print(machine())
    met = True
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as name:
        root = arguments.folder or Path(name)
        counts = pose_counts(arguments.divide)
        if not (root / "extracted").exists():
            make_poses(root, counts)
        total = {
            subjects: 4 * sum(count for (subject, *_), count in counts.items() if subject in subjects.split())
            for subjects in ("S1 S5 S6 S7 S8", "S9 S11")
        }
        print(" ".join(f"{subjects}: {count:,} poses of four cameras;" for subjects, count in total.items()))
        print("\n| | wall s | CPU s | memory MB | files MB | of reading |\n|---|---|---|---|---|---|")
        for format_, kinds in FORMATS.items():
            read_all = [sys.executable, "-c", READ_ALL, ROOT, root, *kinds]
            measure(*read_all)  # so that both find the files in memory
            reading = measure(*read_all)
            words = [sys.executable, ROOT / "export_all.py", format_, "--root", root, "--quiet"]
            ours = measure(*words, statuses=(0, 1))  # h36m-toolbox names the images that are missing
            size = sum(file.stat().st_size for file in (root / "exported" / format_).rglob("*") if file.is_file()) / 1e6
            ratio = ours.wall / reading.wall
            print(f"| reading for {format_} | {reading.wall:.1f} | {reading.cpu:.1f} | {reading.memory:.0f} | | |")
            print(f"| {format_} | {ours.wall:.1f} | {ours.cpu:.1f} | {ours.memory:.0f} | {size:.0f} | {ratio:.2f} |")
            met &= ours.memory <= MOST_MEGABYTES and ratio <= MOST_READINGS
    print("met" if met else f"MISSED: at most {MOST_MEGABYTES} MB and {MOST_READINGS} times reading")
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
