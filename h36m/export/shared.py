"""What the formats share: a job, its sequences, published poses, names, and links to images."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.cameras import Camera
from h36m.cli import TaskError
from h36m.dataset import (
    EXTRACTED,
    IMAGES,
    POSES_2D,
    POSES_3D_WORLD,
    Sequence,
    sequence_folder,
    unpacked_file,
    unpacked_folder,
)
from h36m.metadata import Metadata
from h36m.poses import read_poses

# The split of nearly all papers and programs.
TRAINING_SUBJECTS, TEST_SUBJECTS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")

# The video of this view was damaged in the release until 2020: some formats leave it out, or its sequence.
DAMAGED_SUBJECT, DAMAGED_SEQUENCE, DAMAGED_CAMERA = "S11", "Directions-2", "54138969"


class Job(NamedTuple):
    """What is exported, and where to."""

    root: Path  # the folder of extracted/ and processed/
    subjects: tuple[str, ...]
    metadata: Metadata
    unfinished: Path  # an empty folder: the files of the format are written here, and moved to `out` when all is done
    out: Path  # the format's folder; links to images are made here at once, since each is complete by itself
    problem: Callable[[str], None]  # takes a line about what is missing or broken
    step: Callable[[], object]  # called after each sequence of `sequences`


def sequences(job: Job, is_there: Callable[[Sequence], bool], where: str) -> Iterator[Sequence]:
    """Yield the sequences in the order of subject, action and subaction; those of which nothing is there are named.

    Args:
        is_there: whether a sequence has what the format is made from, or a part of it.
        where: what that is called, for the line about those that have not.
    """
    for subject in job.subjects:
        absent = []
        for sequence in job.metadata.sequences_of(subject):
            if is_there(sequence):
                yield sequence
            else:
                absent.append(sequence.name)
            job.step()
        if absent:
            job.problem(f"{subject}: left out, for they are not in {where}: {' '.join(absent)}")


def unpacked_sequences(job: Job, kinds: tuple[str, ...]) -> Iterator[Sequence]:
    """Yield the sequences that have files of some kinds, see `sequences`; a subject that lacks a kind is left out.

    Args:
        kinds: of archive, all of which the format is made from.
    """
    for subject in job.subjects:
        absent = [kind for kind in kinds if not unpacked_folder(job.root, subject, kind).is_dir()]
        if absent:
            job.problem(f"{subject}: left out: no {', '.join(absent)} in {job.root / EXTRACTED / subject}")
            for _ in job.metadata.sequences_of(subject):
                job.step()
            continue
        names = {file.name for kind in kinds for file in unpacked_folder(job.root, subject, kind).iterdir()}
        bases = {name.partition(".")[0] for name in names}
        yield from sequences(job._replace(subjects=(subject,)), partial(_has_base, bases), f"{EXTRACTED}/{subject}")


def _has_base(bases: set[str], sequence: Sequence) -> bool:
    return sequence.base in bases


def published_poses(job: Job, sequence: Sequence, kind: str, camera: str = "") -> np.ndarray | None:
    """Read all poses of a file in extracted/; None, and a problem, where that cannot be done.

    Returns:
        (frames, 32, 2) pixels or (frames, 32, 3) mm, float64, in the coordinates of that kind.
    """
    try:
        return read_poses(unpacked_file(job.root, sequence, kind, camera), 2 if kind == POSES_2D else 3)
    except TaskError as error:
        view = f"{sequence} {camera}" if kind != POSES_3D_WORLD else sequence
        job.problem(f"{view}: left out: {error}")
        return None


def is_damaged(sequence: Sequence, camera: str = DAMAGED_CAMERA) -> bool:
    """Return whether a view is the one whose video was damaged; without a camera, whether the sequence has it."""
    return (sequence.subject, sequence.name, camera) == (DAMAGED_SUBJECT, DAMAGED_SEQUENCE, DAMAGED_CAMERA)


def canonical_base(sequence: Sequence) -> str:
    """Return the beginning of a sequence's file names as all subjects but S1 have it: Photo, WalkDog."""
    return sequence.base.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


def subject_number(subject: str) -> int:
    """Return 1 for S1."""
    return int(subject.removeprefix("S"))


def camera_center(camera: Camera) -> np.ndarray:
    """Return where a camera stands, (3,), world coordinates, mm."""
    return -camera.rotation.T @ camera.translation


def image_size(job: Job, subject: str, camera_id: str) -> tuple[int, int]:
    """Return height and width of a view's frames, pixels; the official metadata.xml does not tell them."""
    heights = dict(zip(job.metadata.camera_ids, (1002, 1000, 1000, 1002), strict=True))
    return job.metadata.image_sizes.get((subject, camera_id), (heights[camera_id], 1000))


# -- images ------------------------------------------------------------------------------------------------------------


def processed_frames(job: Job, sequence: Sequence, camera: str) -> list[int]:
    """Return the indices, from 0, of the frames of a view whose images are in processed/, in order."""
    folder = sequence_folder(job.root, sequence) / IMAGES / camera
    return sorted(int(image.stem.removeprefix("img_")) - 1 for image in folder.glob("img_*.jpg"))


def link_to(target: Path, link: Path) -> None:
    """Make a relative symbolic link to a file or folder, or copy it where the system has no links.

    A link that is there and leads to the target stays as it is; whatever else has its name is replaced.
    """
    relative = os.path.relpath(target, link.parent)
    if link.is_symlink() and os.readlink(link) == relative:  # noqa: PTH115  (Path.readlink is slower by half)
        return
    remove(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(relative, target_is_directory=target.is_dir())
    except (OSError, NotImplementedError):
        if target.is_dir():
            shutil.copytree(target, link)
        else:
            shutil.copy2(target, link)


def remove(path: Path) -> None:
    """Remove a file, link or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
