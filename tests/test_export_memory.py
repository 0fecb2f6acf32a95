"""The memory of an export does not grow with the number of sequences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.poses import CAMERA_IDS, make_poses, sequences
from helpers.scripts import PROJECT, environment_without_settings

from h36m.dataset import sequence_folder
from h36m.metadata import load_metadata
from h36m.process.annotations import write_annotations

FRAMES = 1000  # of each sequence: their poses are 1 MB as VideoPose3D has them
PROCESSED_FRAMES = 4000  # of each view of a sequence: their labels are 1 MB as learnable-triangulation has them
MOST_GROWTH = 10  # MB, from 2 to 30 sequences; what the allocator makes of the same work
# The system's figure for this process alone: that of getrusage() begins with its parent's memory.
REPORT_MEMORY = """
import re, runpy
try:
    runpy.run_path("export_all.py", run_name="__main__")
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def megabytes_of_export(root: Path, format_: str) -> float:
    """Export S1, and return the most memory that the process had."""
    command = [sys.executable, "-c", REPORT_MEMORY, format_, "--root", root, "--subjects", "S1", "--quiet"]
    ended = subprocess.run(command, cwd=PROJECT, env=environment_without_settings(), capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stderr  # sequences and images are missing
    return int(ended.stdout) / 1024


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> list[Path]:
    """Folders with the poses of 2 and of 30 sequences."""
    found = []
    for chosen in (sequences("S1")[:2], sequences("S1")):
        found.append(tmp_path_factory.mktemp("root"))
        make_poses(found[-1] / "extracted", dict.fromkeys(chosen, FRAMES), speed=0)
        for sequence in load_metadata().sequences_of("S1")[: len(chosen)]:
            write_annotations_of(sequence_folder(found[-1], sequence))
    return found


def write_annotations_of(folder: Path) -> None:
    """Write an annot.h5 with what learnable-triangulation has of it, and no image."""
    folder.mkdir(parents=True)
    datasets = {
        "camera": np.repeat([int(camera) for camera in CAMERA_IDS], PROCESSED_FRAMES),
        "frame": np.tile(np.arange(PROCESSED_FRAMES) + 1, len(CAMERA_IDS)),
        "pose/3d-world": np.zeros((len(CAMERA_IDS) * PROCESSED_FRAMES, 32, 3)),
    }
    write_annotations(folder / "annot.h5", datasets, {})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
@pytest.mark.parametrize("format_", ["videopose3d", "mmpose", "3dmppe", "learnable-triangulation", "3d-pose-baseline"])
def test_memory_of_an_export_does_not_grow_with_sequences(roots, format_):
    few, many = (megabytes_of_export(root, format_) for root in roots)
    assert many - few < MOST_GROWTH, (few, many)
    assert (roots[1] / "exported" / format_).is_dir()
