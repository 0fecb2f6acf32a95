"""What is already done: compare a sequence's record with what a run asks for and with the files it was made from.

This module imports nothing heavy, so that a run with nothing to do ends at once.
"""

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from h36m.dataset import (
    ANNOTATIONS_FILE,
    EXTRACTED,
    IMAGES,
    KIND_FACTS,
    KINDS,
    PART_LABEL_IMAGES,
    POSES_3D_UNIVERSAL,
    PREVIEW_FILE,
    PROCESSED,
    SEQUENCE_LOCKS,
    SEQUENCE_RECORD,
    UNFINISHED_SEQUENCE,
    Sequence,
    image_name,
    sequence_folder,
    unpacked_file,
)
from h36m.done import ResultRecord, State, read_record, state_of
from h36m.errors import TaskError
from h36m.files.poses import read_poses
from h36m.locks import locked
from h36m.process.selection import FrameRule, chosen_frames
from h36m.s9 import is_shifted
from h36m.storage import is_absent, is_disk_full, reason_of, write_atomically

# Increased when the written content changes, so that sequences are processed again.
FORMAT = 1

IMAGE_EXTENSIONS = {IMAGES: ".jpg", PART_LABEL_IMAGES: ".png"}
# ITU-T T.81: the marker EOI. PNG specification: the chunk IEND, which is empty, and its CRC.
IMAGE_ENDINGS = {".jpg": b"\xff\xd9", ".png": b"IEND\xae\x42\x60\x82"}


class Options(NamedTuple):
    """What a run asks for, the same for all sequences."""

    root: Path
    cameras: tuple[str, ...]
    rule: FrameRule
    correct_s9: bool
    segments: bool  # boxes and part labels
    preview: bool


class Outcome(NamedTuple):
    """The result of processing one sequence."""

    views: int  # written by this run
    frames: int  # written by this run, of all views
    problems: list[str]  # what failed
    notices: list[str]  # what the user should know
    is_disk_full: bool = False  # so that no other sequence can be written either


def failed(sequence: Sequence, folder: Path, error: TaskError | OSError) -> Outcome:
    """Return the outcome of a sequence that could not be locked, or written to its folder."""
    reason = reason_of(error, folder) if isinstance(error, OSError) else ""
    problem = f"{sequence} could not be written to {folder}: {reason}" if reason else f"{sequence}: {error}"
    return Outcome(0, 0, [problem], [], is_disk_full(error if reason else error.__cause__))


@dataclass(frozen=True)
class SequenceRecord(ResultRecord):
    """What a sequence was made from. It moves into place with annot.h5, which comes last."""

    rule: str  # for frames, in words or as its source
    rule_files: str  # digest of the files that an edit of the rule may change; empty for a rule that nobody edits
    frames: dict[str, list[int]]  # of each camera that was processed, indices from 0
    part_labels: int  # how many of their images there are
    image_bytes: int  # of images and part labels together
    annotations_bytes: int  # of annot.h5


def settings_of(sequence: Sequence, options: Options) -> dict[str, Any]:
    """Return what determines the contents of a sequence's annot.h5, besides the frames that an edited rule chooses."""
    return {
        "format": FORMAT,
        "frame_selection": options.rule.label,
        "cameras": list(options.cameras),
        "correct_s9": options.correct_s9 and is_shifted(sequence),
        "segments": options.segments,
    }


def input_files(sequence: Sequence, options: Options) -> dict[str, State]:
    """Return the state of each unpacked file of a sequence that exists, by its path under extracted/."""
    states = {}
    for kind in KINDS:
        if KIND_FACTS[kind].is_optional and not options.segments:
            continue
        for camera in options.cameras:
            file = unpacked_file(options.root, sequence, kind, camera)
            with contextlib.suppress(OSError):  # what cannot be read is named when the sequence is processed
                states[file.relative_to(options.root / EXTRACTED).as_posix()] = state_of(file.stat())
    return states


def record_sequence(
    folder: Path,
    sequence: Sequence,
    options: Options,
    inputs: dict[str, State],
    frames: dict[str, list[int]],
    problems: list[str],
) -> None:
    """Write the record of a sequence into a folder that has its images and annot.h5; see SequenceRecord."""
    images, labels = image_sizes(folder, IMAGES), image_sizes(folder, PART_LABEL_IMAGES)
    record = SequenceRecord(
        settings=settings_of(sequence, options),
        inputs=inputs,
        problems=problems,
        rule=options.rule.text,
        rule_files=options.rule.edited_files,
        frames=frames,
        part_labels=len(labels),
        image_bytes=sum(images.values()) + sum(labels.values()),
        annotations_bytes=(folder / ANNOTATIONS_FILE).stat().st_size,
    )
    (folder / SEQUENCE_RECORD).write_text(record.as_json(), encoding="utf-8")


def done_before(sequence: Sequence, options: Options, is_locked: bool = False) -> Outcome | None:
    """Return the outcome of a sequence in an earlier run, or None if it is still to be done.

    It is to be done if it has no record, or one of other options or other files (files that were deleted since do not
    count), or if annot.h5 or images are missing, empty or truncated. No video is read to find out, and poses only
    where the rule that chooses frames may have been edited. With the sequence's lock, an unfinished folder is not of
    a run, but a leftover that cannot be removed.
    """
    folder = sequence_folder(options.root, sequence)
    record = read_record(SequenceRecord, folder / SEQUENCE_RECORD)
    if record is None or not (is_locked or is_absent(folder / UNFINISHED_SEQUENCE)):  # a run was killed, or is at work
        return None
    try:
        is_done = (
            record.is_current(settings_of(sequence, options), record.inputs | input_files(sequence, options))
            and (folder / ANNOTATIONS_FILE).stat().st_size >= record.annotations_bytes
            and (not options.preview or is_whole_image(folder / PREVIEW_FILE))
            and has_all_images(folder, record)
            and (record.rule_files == options.rule.edited_files or chooses_same_frames(sequence, options, record))
        )
    except FileNotFoundError:  # there is no annot.h5, or another run moves files at this moment
        return None
    except OSError as error:
        return Outcome(0, 0, [f"{sequence}: {reason_of(error, folder)}"], [])
    return Outcome(0, 0, record.problems, []) if is_done else None


def has_all_images(folder: Path, record: SequenceRecord) -> bool:
    """Return whether all images and part labels of a sequence exist, and none is empty or truncated.

    Their sizes are compared. The last bytes of images are read only if they take less than was written: a user
    may have compressed them again.
    """
    images, labels = image_sizes(folder, IMAGES), image_sizes(folder, PART_LABEL_IMAGES)
    wanted = [f"{IMAGES}/{camera}/{image_name(frame)}" for camera, of in record.frames.items() for frame in of]
    sizes = [*(images.get(name, 0) for name in wanted), *labels.values()]
    if not all(sizes) or len(labels) < record.part_labels:
        return False
    return sum(sizes) >= record.image_bytes or all(is_whole_image(folder / name) for name in [*wanted, *labels])


def image_sizes(folder: Path, kind: str) -> dict[str, int]:
    """Return the size in bytes of each image of a sequence by its path in the sequence's folder.

    Args:
        kind: IMAGES or PART_LABEL_IMAGES.
    """
    sizes = {}
    for place in () if is_absent(folder / kind) else filter(Path.is_dir, (folder / kind).iterdir()):
        # Several times as fast as pathlib: there may be two million images.
        with os.scandir(place) as entries:
            for image in entries:
                if image.name.endswith(IMAGE_EXTENSIONS[kind]):
                    sizes[f"{kind}/{place.name}/{image.name}"] = image.stat().st_size
    return sizes


def is_whole_image(file: Path) -> bool:
    """Return whether a JPEG or PNG file exists and ends as one does."""
    ending = IMAGE_ENDINGS[file.suffix]
    try:
        with file.open("rb") as image:
            image.seek(-len(ending), os.SEEK_END)
            return image.read() == ending
    except OSError:  # absent, or too short to have it
        return False


def chooses_same_frames(sequence: Sequence, options: Options, record: SequenceRecord) -> bool:
    """Return whether the rule, which users edit, would still choose the frames that annot.h5 has.

    The frames are compared and not the text, because a rule may use whatever else its file holds, and because a
    new comment is no reason to repeat days of work. If the poses were deleted, the text is compared. A rule that
    chooses the same frames is recorded, so that its next run reads no poses.
    """
    try:
        for camera, frames in record.frames.items():
            poses = unpacked_file(options.root, sequence, POSES_3D_UNIVERSAL, camera)
            if is_absent(poses):
                return record.rule == options.rule.text
            universal = read_poses(poses, coordinates=3)
            if not np.array_equal(chosen_frames(options.rule, sequence.subject, universal), frames):
                return False
    except TaskError:  # reported when the sequence is processed
        return False
    file = sequence_folder(options.root, sequence) / SEQUENCE_RECORD
    lock = options.root / PROCESSED / SEQUENCE_LOCKS / f"{sequence}.lock"
    # Not in a read-only folder, nor while another run has the sequence: then they are compared again.
    with contextlib.suppress(OSError, TaskError), locked(lock, before_waiting=_give_up):
        if read_record(SequenceRecord, file) == record:
            write_atomically(file, replace(record, rule_files=options.rule.edited_files).as_json())
    return True


def _give_up() -> None:
    raise TaskError("in use by another run")
