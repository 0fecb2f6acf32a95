#!/usr/bin/env python3
"""Measure what a second run of process_all.py takes to find out that nothing is to be done:

    python3 benchmarks/second_run.py

makes processed/ as a whole run leaves it, once with as many frames as the default rule chooses and once with all 2.1
million, and each with three of the seven subjects for comparison. The files are sparse: they have names and sizes, but
no content, since a second run looks at nothing else. Needs 3 million free inodes, and some minutes. Linux, as root: it
empties the system's cache of files, so that the first figure of each row is that of a run after a restart.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from frame_counts import read_frame_counts
from machine import ROOT, machine

from h36m.dataset import (
    ANNOTATIONS_FILE,
    IMAGES,
    KIND_FACTS,
    POSES_3D_WORLD,
    SUBJECTS_WITH_GROUND_TRUTH,
    image_name,
    sequence_folder,
    unpacked_file,
)
from h36m.metadata import load_metadata
from h36m.process.annotations import write_annotations
from h36m.process.resume import Options, input_files, record_sequence
from h36m.process.selection import rule_of_options
from process_all import select_frame_indices_to_include

IMAGE_BYTES, INPUT_BYTES = 150_000, 5_000_000
# Of the default rule, of those to train on and those to test on.
TRAINING_STEP, TEST_STEP = 8, 64
MOST_SECONDS = {"default rule": 5, "--all-frames": 20}
CACHE = Path("/proc/sys/vm/drop_caches")
MEASURED = str(Path(__file__).with_name("measured.py"))


def main() -> None:
    print(machine())
    print("\n| | sequences | images | cold, wall s | warm, wall s | warm, CPU s | us for each image | MB |")
    print("|---|---|---|---|---|---|---|---|")
    met = True
    for name, step in (("default rule", None), ("--all-frames", 1)):
        for subjects in (SUBJECTS_WITH_GROUND_TRUTH[:3], SUBJECTS_WITH_GROUND_TRUTH):
            with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as folder:
                images = make_processed(Path(folder), subjects, step)
                options = ["--root", folder, "--subjects", *subjects, *(["--all-frames"] if step else [])]
                os.sync()
                CACHE.write_text("3")
                (_, cold, _), (cpu, warm, memory) = measure(options), measure(options)
                print(
                    f"| {name} | {30 * len(subjects)} | {images:,} | {cold:.1f} | {warm:.1f} | {cpu:.1f} "
                    f"| {1e6 * cpu / images:.1f} | {memory:.0f} |",
                    flush=True,
                )
                met &= warm <= MOST_SECONDS[name]
    print("\nwarm, at most 5 s by the default rule and 20 s with --all-frames:", "met" if met else "MISSED")
    raise SystemExit(not met)


def make_processed(root: Path, subjects: tuple[str, ...], step: int | None) -> int:
    """Lay out extracted/ and processed/ of some subjects; return the number of images.

    Args:
        step: `--every`; None for the default rule.
    """
    metadata, counts, images = load_metadata(), read_frame_counts(), 0
    rule = rule_of_options(step, None, select_frame_indices_to_include)
    options = Options(root, tuple(metadata.camera_ids), rule, correct_s9=False, segments=True, preview=False)
    for subject in subjects:
        for sequence in metadata.sequences_of(subject):
            for kind, facts in KIND_FACTS.items():
                for camera in ("",) if kind == POSES_3D_WORLD else () if facts.is_optional else metadata.camera_ids:
                    make_sparse(unpacked_file(root, sequence, kind, camera), INPUT_BYTES)
            frames = min(counts[subject, sequence.action, sequence.subaction].values())
            chosen = np.arange(0, frames, step or (TEST_STEP if subject in ("S9", "S11") else TRAINING_STEP))
            folder = sequence_folder(root, sequence)
            for camera in metadata.camera_ids:
                (folder / IMAGES / camera).mkdir(parents=True)
                for frame in chosen:
                    make_sparse(folder / IMAGES / camera / image_name(frame), IMAGE_BYTES)
            images += len(chosen) * len(metadata.camera_ids)
            datasets = {
                "frame": np.tile(chosen + 1, len(metadata.camera_ids)),
                "camera": np.repeat(np.array(metadata.camera_ids, dtype=np.int64), len(chosen)),
            }
            write_annotations(folder / ANNOTATIONS_FILE, datasets, {})
            frames = dict.fromkeys(metadata.camera_ids, chosen.tolist())
            record_sequence(folder, sequence, options, input_files(sequence, options), frames, [])
    return images


def make_sparse(file: Path, size: int) -> None:
    """Make a file of a given size that uses no disk space."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as empty:
        empty.truncate(size)


def measure(options: list[str]) -> tuple[float, float, float]:
    """Run process_all.py, which must have nothing to do; return its CPU seconds, wall seconds and MB."""
    command = [sys.executable, str(ROOT / "process_all.py"), *options]
    said = subprocess.run([*command[:1], MEASURED, *command], capture_output=True, text=True, check=True)
    cpu, wall, memory = map(float, said.stdout.split())
    return cpu, wall, memory


if __name__ == "__main__":
    main()
