"""Shared by the formats: a job, its sequences, published poses and names. Links to images are in h36m.export.links."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from h36m.cameras import Camera
from h36m.dataset import (
    EXTRACTED,
    KIND_FACTS,
    POSES_2D,
    POSES_3D_ANGLES,
    POSES_3D_WORLD,
    Archive,
    Sequence,
    kinds_option,
    unpack_again,
    unpacked_file,
    unpacked_folder,
)
from h36m.errors import TaskError
from h36m.export.record import ExportRecord
from h36m.files.poses import read_numbers, read_poses
from h36m.metadata import Metadata
from h36m.progress import Progress, count_of
from h36m.storage import fault_of, is_absent

MM_PER_M = 1000
# Of the four cameras, in their order, pixels; S7's frames are all 1002 high.
IMAGE_HEIGHTS, IMAGE_WIDTH = (1002, 1000, 1000, 1002), 1000

# The video of this view was damaged in the release until 2020: some formats leave it out, or its sequence.
DAMAGED_SUBJECT, DAMAGED_SEQUENCE, DAMAGED_CAMERA = "S11", "Directions-2", "54138969"


@dataclass
class Missing:
    """What is missing, collected so that one line lists all of a kind for a subject: there may be hundreds."""

    found: dict[tuple[str, str, str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, subject: str, noun: str, where: str, remedy: str, name: str, count: int = 1) -> None:
        """Note that something of a subject is missing.

        Args:
            noun: what it is: "file".
            where: where it is missing: "not in extracted/S1/Videos".
            remedy: an imperative: "run extract_all.py".
            name: its own, or that of the sequence it belongs to; a name given several times is printed once.
            count: how many of the noun.
        """
        self.found[subject, noun, where, remedy][name] += count

    def lines(self) -> list[str]:
        """Return a line for each subject and kind of thing."""
        return [
            f"{subject}: {count_of(names.total(), noun)} {where}: {', '.join(names)}; {remedy}"
            for (subject, noun, where, remedy), names in self.found.items()
        ]


@dataclass(frozen=True)
class Job:
    """What is exported, where to, and what came of it."""

    format: str
    root: Path  # the folder of extracted/ and processed/
    subjects: tuple[str, ...]
    metadata: Metadata
    unfinished: Path  # an empty folder: the files of the format are written here, and moved to `out` when all is done
    out: Path  # the format's folder; links are made here at once, since each is complete by itself
    before: ExportRecord  # of the earlier export; without files where there is none
    record: ExportRecord  # of this one, filled on the way
    progress: Progress  # of its sequences
    # For long tasks: takes a function and its arguments; yields argument, result, failure and traceback, in any order.
    run_tasks: Callable[[Callable[[Any], Any], list], Iterable[tuple[Any, Any, str | None, str | None]]]
    started: float = field(default_factory=time.monotonic)  # s
    missing: Missing = field(default_factory=Missing)  # these are problems too, one line for each subject
    unneeded: Missing = field(default_factory=Missing)  # missing, and no problem: a notice for each subject
    unread: set[Sequence] = field(default_factory=set)  # whose images cannot be listed
    images: dict[str, set[str]] = field(default_factory=dict)  # the names of the images that each folder should have


def sequences(job: Job, subject: str, there: list[Sequence], where: str, remedy: str) -> Iterator[Sequence]:
    """Yield a subject's sequences by action and subaction; record those that have no input as missing.

    Args:
        there: those that have what the format is made from, or a part of it.
        where: the folder that lacks the others, below the root, for the message.
        remedy: what to do about them, an imperative.
    """
    for sequence in job.metadata.sequences_of(subject):
        if sequence in there:
            yield sequence
        else:
            job.missing.add(subject, "sequence", f"not in {where}/{subject}", remedy, sequence.name)
        job.progress.update()


def unpacked_sequences(job: Job, kinds: tuple[str, ...]) -> Iterator[Sequence]:
    """Yield the sequences that have files of some kinds, see `sequences`; a subject that lacks a kind is left out.

    Args:
        kinds: of archive, all of which the format is made from.
    """
    for subject in job.subjects:
        folders = {kind: unpacked_folder(job.root, Archive(kind, subject)) for kind in kinds}
        absent = [kind for kind, folder in folders.items() if is_absent(folder)]
        faults = [fault for folder in folders.values() if (fault := fault_of(folder))]
        of_subject = job.metadata.sequences_of(subject)
        if absent or faults:
            scripts = " and ".join(
                f"{script}{kinds_option(*absent)}"
                for script in dict.fromkeys([*(KIND_FACTS[kind].script for kind in absent), "extract_all.py"])
            )
            lack = f"no {', '.join(absent)} in {job.root / EXTRACTED / subject}; run {scripts}"
            job.record.problems.append(f"{subject}: left out, {faults[0] if faults else lack}")
            job.progress.update(len(of_subject))
            continue
        names = {file.name for folder in folders.values() for file in folder.iterdir()}
        bases = {name.partition(".")[0] for name in names}
        there = [sequence for sequence in of_subject if sequence.base in bases]
        remedy = unpack_again(*(folder / "any" for folder in folders.values()))
        yield from sequences(job, subject, there, EXTRACTED, remedy)


def published_poses(job: Job, sequence: Sequence, kind: str, camera: str = "") -> np.ndarray | None:
    """Read all poses of a file in extracted/; None, and a problem, where that cannot be done.

    Returns:
        (frames, 32, 2) pixels or (frames, 32, 3) mm, float64, in the coordinates of that kind; (frames, 78) for angles.
    """
    file = unpacked_file(job.root, sequence, kind, camera)
    if is_absent(file):
        where = f"not in {EXTRACTED}/{sequence.subject}/{kind}, so what needs them is left out"
        job.missing.add(sequence.subject, "file", where, unpack_again(file), file.name)
        return None
    try:
        return read_numbers(file, 78) if kind == POSES_3D_ANGLES else read_poses(file, 2 if kind == POSES_2D else 3)
    except TaskError as error:
        view = f"{sequence} {camera}" if KIND_FACTS[kind].has_views else sequence
        job.record.problems.append(f"{view}: left out: {error}")
        return None


def sequences_in_world(job: Job) -> Iterator[tuple[Sequence, np.ndarray]]:
    """Yield the sequences whose poses in the world can be read, see `unpacked_sequences`, with these poses.

    Yields:
        the sequence; (frames, 32, 3) float64, mm.
    """
    for sequence in unpacked_sequences(job, (POSES_3D_WORLD,)):
        world = published_poses(job, sequence, POSES_3D_WORLD)
        if world is not None:
            yield sequence, world


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
    """Return the position of a camera, (3,), world coordinates, mm."""
    return -camera.rotation.T @ camera.translation


def image_size(job: Job, subject: str, camera_id: str) -> tuple[int, int]:
    """Return height and width of a view's frames, pixels; the official metadata.xml does not contain them."""
    height = IMAGE_HEIGHTS[job.metadata.camera_ids.index(camera_id)]
    return job.metadata.image_sizes.get((subject, camera_id), (height, IMAGE_WIDTH))
