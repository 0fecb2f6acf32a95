"""Shared by the formats: a job, its sequences, published poses and names. Links to images are in h36m.export.links."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from h36m.cameras import Camera
from h36m.cli import count_of
from h36m.dataset import (
    EXTRACTED,
    KIND_FACTS,
    POSES_2D,
    POSES_3D_WORLD,
    Archive,
    Sequence,
    unpacked_file,
    unpacked_folder,
)
from h36m.errors import TaskError
from h36m.files.poses import read_poses
from h36m.metadata import Metadata
from h36m.storage import fault_of, is_absent

# The split used by nearly all papers and programs.
TRAINING_SUBJECTS, TEST_SUBJECTS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")

MM_PER_M = 1000
# Of the four cameras, in their order, pixels; S7's frames are all 1002 high.
IMAGE_HEIGHTS, IMAGE_WIDTH = (1002, 1000, 1000, 1002), 1000

# The video of this view was damaged in the release until 2020: some formats leave it out, or its sequence.
DAMAGED_SUBJECT, DAMAGED_SEQUENCE, DAMAGED_CAMERA = "S11", "Directions-2", "54138969"


@dataclass
class Missing:
    """What is missing, collected so that one line lists all of a kind for a subject: there may be hundreds."""

    found: dict[tuple[str, str, str, str], tuple[int, dict[str, None]]] = field(default_factory=dict)

    def add(self, subject: str, noun: str, where: str, remedy: str, name: str, count: int = 1) -> None:
        """Note that something of a subject is missing.

        Args:
            noun: what it is: "file".
            where: where it is missing: "not in extracted/S1/Videos".
            remedy: an imperative: "run extract_all.py".
            name: its own, or that of the sequence it belongs to; a name given several times is printed once.
            count: how many of the noun.
        """
        before, names = self.found.get((subject, noun, where, remedy), (0, {}))
        self.found[subject, noun, where, remedy] = (before + count, names | {name: None})

    def lines(self) -> list[str]:
        """Return a line for each subject and kind of thing."""
        return [
            f"{subject}: {count_of(count, noun)} {where}: {', '.join(names)}; {remedy}"
            for (subject, noun, where, remedy), (count, names) in self.found.items()
        ]


@dataclass
class Linked:
    """The links that an export has made, or found made, by their paths relative to its folder."""

    links: dict[str, str] = field(default_factory=dict)  # of files and folders: where they lead to
    folders: dict[str, int] = field(default_factory=dict)  # of images: how many each folder has
    copied: list[str] = field(default_factory=list)  # folders of images that are copies
    stale: list[Path] = field(default_factory=list)  # images of frames that processed/ has no more, removed at the end
    unread: set[Sequence] = field(default_factory=set)  # whose images cannot be listed


# Takes a function and its arguments; yields argument, result (None if it failed) and failure, in any order.
RunTasks = Callable[[Callable[[Any], Any], list], Iterable[tuple[Any, Any, str | None]]]


def one_by_one(work: Callable[[Any], Any], tasks: list) -> Iterator[tuple[Any, Any, str | None]]:
    """Run tasks in this process, one after another, see RunTasks."""
    for task in tasks:
        yield task, work(task), None


@dataclass(frozen=True)
class Job:
    """What is exported, and where to."""

    root: Path  # the folder of extracted/ and processed/
    subjects: tuple[str, ...]
    metadata: Metadata
    unfinished: Path  # an empty folder: the files of the format are written here, and moved to `out` when all is done
    out: Path  # the format's folder; links to images are made here at once, since each is complete by itself
    step: Callable[[], object] = lambda: None  # called after each sequence of `sequences`
    problems: list[str] = field(default_factory=list)  # lines about what is missing or broken
    missing: Missing = field(default_factory=Missing)  # these are problems too, one line for each subject
    unneeded: Missing = field(default_factory=Missing)  # missing, and no problem: a notice for each subject
    linked: Linked = field(default_factory=Linked)
    copied_before: frozenset[str] = frozenset()  # folders of images that an earlier run copied
    run_tasks: RunTasks = one_by_one  # for long tasks: export_all.py runs them in several processes

    def problem(self, line: str) -> None:
        """Note a line about what is missing or broken."""
        self.problems.append(line)


def sequences(job: Job, is_there: Callable[[Sequence], bool], where: str, remedy: str) -> Iterator[Sequence]:
    """Yield the sequences by subject, action and subaction; record those that have no input as missing.

    Args:
        is_there: whether a sequence has what the format is made from, or a part of it.
        where: the folder that lacks them, below the root, for the message.
        remedy: what to do about them, an imperative.
    """
    for subject in job.subjects:
        for sequence in job.metadata.sequences_of(subject):
            if is_there(sequence):
                yield sequence
            else:
                job.missing.add(subject, "sequence", f"not in {where}/{subject}", remedy, sequence.name)
            job.step()


def unpacked_sequences(job: Job, kinds: tuple[str, ...]) -> Iterator[Sequence]:
    """Yield the sequences that have files of some kinds, see `sequences`; a subject that lacks a kind is left out.

    Args:
        kinds: of archive, all of which the format is made from.
    """
    for subject in job.subjects:
        folders = {kind: unpacked_folder(job.root, Archive(kind, subject)) for kind in kinds}
        absent = [kind for kind, folder in folders.items() if is_absent(folder)]
        faults = [fault for folder in folders.values() if (fault := fault_of(folder))]
        if absent or faults:
            scripts = " and ".join(dict.fromkeys([*(KIND_FACTS[kind].script for kind in absent), "extract_all.py"]))
            lack = f"no {', '.join(absent)} in {job.root / EXTRACTED / subject}; run {scripts}"
            job.problem(f"{subject}: left out, {faults[0] if faults else lack}")
            for _ in job.metadata.sequences_of(subject):
                job.step()
            continue
        names = {file.name for folder in folders.values() for file in folder.iterdir()}
        bases = {name.partition(".")[0] for name in names}
        of_subject = replace(job, subjects=(subject,))
        yield from sequences(of_subject, partial(_has_base, bases), EXTRACTED, "run extract_all.py")


def _has_base(bases: set[str], sequence: Sequence) -> bool:
    return sequence.base in bases


def published_poses(job: Job, sequence: Sequence, kind: str, camera: str = "") -> np.ndarray | None:
    """Read all poses of a file in extracted/; None, and a problem, where that cannot be done.

    Returns:
        (frames, 32, 2) pixels or (frames, 32, 3) mm, float64, in the coordinates of that kind.
    """
    file = unpacked_file(job.root, sequence, kind, camera)
    if is_absent(file):
        where = f"not in {EXTRACTED}/{sequence.subject}/{kind}, so what needs them is left out"
        job.missing.add(sequence.subject, "file", where, f"unpack {kind}_{sequence.subject} again", file.name)
        return None
    try:
        return read_poses(file, 2 if kind == POSES_2D else 3)
    except TaskError as error:
        view = f"{sequence} {camera}" if kind != POSES_3D_WORLD else sequence
        job.problem(f"{view}: left out: {error}")
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
