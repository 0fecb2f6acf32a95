"""The record of a sequence: what it was made from, with which options, and whether its images are all there.

This module imports nothing heavy, so that a run with nothing to do ends at once.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from h36m.dataset import (
    ANNOTATIONS_FILE,
    EXTRACTED,
    IMAGES,
    KIND_FACTS,
    KINDS,
    PART_LABEL_IMAGES,
    PART_LABELS,
    SEQUENCE_RECORD,
    VIDEOS,
    Sequence,
    image_name,
    unpacked_file,
)
from h36m.done import ResultRecord, State, state_of
from h36m.errors import TaskError
from h36m.process.selection import FrameRule
from h36m.s9 import is_shifted
from h36m.storage import is_absent, is_disk_full, reason_of

# Increased when the written content changes, so that sequences are processed again.
FORMAT = 2

# Encoding an image takes about as long as decoding 3 frames of H.264, and so do its box and part labels.
FRAMES_PER_IMAGE = 3

IMAGE_EXTENSIONS = {IMAGES: ".jpg", PART_LABEL_IMAGES: ".png"}
# ITU-T T.81: the marker EOI. PNG specification: the chunk IEND, which is empty, and its CRC.
IMAGE_ENDINGS = {".jpg": b"\xff\xd9", ".png": b"IEND\xae\x42\x60\x82"}


class Options(NamedTuple):
    """What a run asks for, the same for all sequences."""

    root: Path
    cameras: tuple[str, ...]
    rule: FrameRule
    correct_s9: bool
    images: bool
    segments: bool  # boxes and part labels
    preview: bool
    replace: bool  # lose what an earlier run has made beyond this
    all_cameras: tuple[str, ...]  # of the dataset, in its order


class Outcome(NamedTuple):
    """The result of processing one sequence."""

    views: int  # written by this run
    frames: int  # written by this run, of all views
    problems: list[str]  # what failed
    notices: list[str]  # what the user should know
    image_bytes: int = 0  # of these frames, with their part labels
    is_disk_full: bool = False  # so that no other sequence can be written either


def failed(sequence: Sequence, folder: Path, error: TaskError | OSError) -> Outcome:
    """Return the outcome of a sequence that could not be locked, or written to its folder."""
    reason = reason_of(error, folder) if isinstance(error, OSError) else ""
    problem = f"{sequence} could not be written to {folder}: {reason}" if reason else f"{sequence}: {error}"
    return Outcome(0, 0, [problem], [], is_disk_full=is_disk_full(error if reason else error.__cause__))


@dataclass(frozen=True)
class SequenceRecord(ResultRecord):
    """What a sequence was made from. It moves into place with annot.h5, which comes last."""

    rule: str  # for frames, in words or as its source
    rule_files: str  # digest of the files that an edit of the rule may change; empty for a rule that nobody edits
    frames: dict[str, list[int]]  # of each camera that was processed, indices from 0
    part_labels: int  # how many of their images there are
    image_bytes: int  # of images and part labels together
    annotations_bytes: int  # of annot.h5
    chosen_by: str = ""  # the camera whose poses chose the frames of all views

    @property
    def has_images(self) -> bool:
        """Whether it was processed without --no-images."""
        return self.settings.get("images", True)


def settings_of(sequence: Sequence, options: Options) -> dict[str, Any]:
    """Return what determines the contents of a sequence's annot.h5, besides its frames and the unpacked files."""
    return {
        "format": FORMAT,
        "frame_selection": options.rule.label,
        "cameras": list(options.cameras),
        "correct_s9": options.correct_s9 and is_shifted(sequence),
        "images": options.images,
        "segments": options.segments,
    }


def is_wanted(kind: str, options: Options) -> bool:
    """Return whether a run reads the archives of a kind, where they are unpacked."""
    if kind in (VIDEOS, PART_LABELS) and not options.images:
        return False
    return options.segments or not KIND_FACTS[kind].is_optional


def input_files(sequence: Sequence, options: Options) -> dict[str, State]:
    """Return the state of each unpacked file of a sequence that exists, by its path under extracted/."""
    kinds = [kind for kind in KINDS if is_wanted(kind, options)]
    files = [unpacked_file(options.root, sequence, kind, camera) for kind in kinds for camera in options.cameras]
    return states_of(options.root, [file.relative_to(options.root / EXTRACTED).as_posix() for file in files])


def states_of(root: Path, paths: Iterable[str]) -> dict[str, State]:
    """Return the state of each file that exists, by its path under extracted/."""
    states = {}
    for path in paths:
        with contextlib.suppress(OSError):  # what cannot be read is named when the sequence is processed
            states[path] = state_of((root / EXTRACTED / path).stat())
    return states


def record_sequence(
    folder: Path,
    sequence: Sequence,
    options: Options,
    inputs: dict[str, State],
    frames: dict[str, list[int]],
    chosen_by: str,
    problems: list[str],
) -> SequenceRecord:
    """Write the record of a sequence into a folder that has its images and annot.h5; return it."""
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
        chosen_by=chosen_by,
    )
    (folder / SEQUENCE_RECORD).write_text(record.as_json(), encoding="utf-8")
    return record


def has_all_images(folder: Path, record: SequenceRecord) -> bool:
    """Return whether all images and part labels of a sequence exist, and none is empty or truncated.

    Their sizes are compared. The last bytes of images are read only if they take less than was written: a user
    may have compressed them again.
    """
    if not record.has_images:
        return True
    images, labels = image_sizes(folder, IMAGES), image_sizes(folder, PART_LABEL_IMAGES)
    wanted = image_names(record.frames, IMAGES)
    own_labels = [name for name in image_names(record.frames, PART_LABEL_IMAGES) if name in labels]
    sizes = [*(images.get(name, 0) for name in wanted), *(labels[name] for name in own_labels)]
    if not all(sizes) or len(own_labels) < record.part_labels:
        return False
    return sum(sizes) >= record.image_bytes or all(is_whole_image(folder / name) for name in wanted + own_labels)


def image_names(frames: dict[str, list[int]], kind: str) -> list[str]:
    """Return the paths, in a sequence's folder, of the images of the frames of each camera; see `image_sizes`."""
    extension = IMAGE_EXTENSIONS[kind]
    return [f"{kind}/{camera}/{image_name(frame, extension)}" for camera, of in frames.items() for frame in of]


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
