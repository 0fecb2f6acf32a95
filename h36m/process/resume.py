"""What is already done: compare a sequence's annot.h5 with what a run asks for and with the files it was made from.

This module imports nothing heavy, so that a run with nothing to do ends at once.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.dataset import (
    ANNOTATIONS_FILE,
    EXTRACTED,
    IMAGES,
    KIND_FACTS,
    PART_LABEL_IMAGES,
    POSES_3D_UNIVERSAL,
    PREVIEW_FILE,
    SAME_FRAMES,
    UNFINISHED_SEQUENCE,
    Sequence,
    sequence_folder,
    unpacked_file,
)
from h36m.errors import TaskError
from h36m.files.poses import read_poses
from h36m.process import annotations
from h36m.process.s9 import is_shifted
from h36m.process.selection import FrameRule, chosen_frames
from h36m.storage import write_atomically

IMAGE_EXTENSIONS = {IMAGES: ".jpg", PART_LABEL_IMAGES: ".png"}
# ITU-T T.81: the marker EOI. PNG specification: the chunk IEND, which is empty, and its CRC.
IMAGE_ENDINGS = {".jpg": b"\xff\xd9", ".png": b"IEND\xae\x42\x60\x82"}
# Raised by h5py, depending on what is damaged in an annot.h5.
DAMAGED_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError)


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


def settings_of(sequence: Sequence, options: Options) -> dict:
    """Return what determines the contents of a sequence's annot.h5; it is recorded there and compared by later runs."""
    return {
        "format": annotations.FORMAT,
        "frame_selection": options.rule.label,
        "cameras": list(options.cameras),
        "correct_s9": options.correct_s9 and is_shifted(sequence),
        "segments": options.segments,
    }


def input_files(sequence: Sequence, options: Options) -> dict[str, list[int]]:
    """Return the state of each unpacked file of a sequence that exists, by its path under extracted/.

    The state is its size in bytes, when it was written, and when anything about it was changed (both ns).
    """
    states = {}
    for kind, facts in KIND_FACTS.items():
        if facts.is_optional and not options.segments:
            continue
        for camera in options.cameras:
            file = unpacked_file(options.root, sequence, kind, camera)
            if file.is_file():
                state = file.stat()
                name = file.relative_to(options.root / EXTRACTED).as_posix()
                states[name] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    return states


def done_before(sequence: Sequence, options: Options) -> Outcome | None:
    """Return the outcome of a sequence in an earlier run, or None if it is still to be done.

    It is to be done if there is no annot.h5, or one made with other options or from other files (files that were
    deleted since do not count), or if images are missing, empty or truncated. No video is read to find out, and poses
    only where the rule that chooses frames may have been edited.
    """
    try:
        return _outcome_before(sequence, options)
    except DAMAGED_HDF5_ERRORS:  # or another run moves files at this moment
        return None


def _outcome_before(sequence: Sequence, options: Options) -> Outcome | None:
    folder = sequence_folder(options.root, sequence)
    if (folder / UNFINISHED_SEQUENCE).exists():  # a run was killed, or is still at work
        return None
    attributes = annotations.read_attributes(folder / ANNOTATIONS_FILE)
    if attributes.get("made_with") != settings_of(sequence, options):
        return None
    # A file unpacked again or made readable may have the size and time that it had; only where there was a problem is
    # that worth another try, because copying a whole tree looks the same.
    compared = 3 if len(attributes["problems"]) else 2
    for name, state in input_files(sequence, options).items():
        if attributes["inputs"].get(name, [])[:compared] != state[:compared]:
            return None
    if options.preview and not is_whole_image(folder / PREVIEW_FILE):
        return None
    if not has_all_images(folder, attributes):
        return None
    if attributes["rule_files"] != options.rule.edited_files and not chooses_same_frames(sequence, options, attributes):
        return None
    return Outcome(0, 0, list(attributes["problems"]), [])


def has_all_images(folder: Path, attributes: dict) -> bool:
    """Return whether all images and part labels of an annot.h5 exist, and none is empty or truncated.

    Their sizes are compared. The last bytes of images are read only if they take less than was written: a user
    may have compressed them again.
    """
    images, labels = image_sizes(folder, IMAGES), image_sizes(folder, PART_LABEL_IMAGES)
    wanted = annotations.read_images(folder / ANNOTATIONS_FILE)
    sizes = [*(images.get(name, 0) for name in wanted), *labels.values()]
    if not all(sizes) or len(labels) < attributes["part_label_images"]:
        return False
    # The first versions did not record how many bytes they wrote.
    return sum(sizes) >= attributes.get("image_bytes", 0) or all(
        is_whole_image(folder / name) for name in [*wanted, *labels]
    )


def image_sizes(folder: Path, kind: str) -> dict[str, int]:
    """Return the size in bytes of each image of a sequence by its path in the sequence's folder.

    Args:
        kind: IMAGES or PART_LABEL_IMAGES.
    """
    sizes = {}
    extension = IMAGE_EXTENSIONS[kind]
    for place in filter(Path.is_dir, (folder / kind).glob("*")):
        start = f"{kind}/{place.name}/"
        with _entries(place) as entries:
            for image in entries:
                if image.name.endswith(extension):
                    sizes[start + image.name] = image.stat().st_size
    return sizes


@contextlib.contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry]]:
    """List a folder as os.scandir() does: several times as fast as pathlib, for there may be two million images.

    Where the system has handles of folders, each file is looked up from there: a fifth less CPU than by its whole path.
    """
    if os.scandir not in os.supports_fd:
        with os.scandir(folder) as entries:
            yield entries
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with os.scandir(handle) as entries:
            yield entries
    finally:
        os.close(handle)


def is_whole_image(file: Path) -> bool:
    """Return whether a JPEG or PNG file exists and ends as one does."""
    ending = IMAGE_ENDINGS[file.suffix]
    try:
        with file.open("rb") as image:
            image.seek(-len(ending), os.SEEK_END)
            return image.read() == ending
    except OSError:  # absent, or too short to have it
        return False


def chooses_same_frames(sequence: Sequence, options: Options, attributes: dict) -> bool:
    """Return whether the rule, which users edit, would still choose the frames that annot.h5 has.

    The frames are compared and not the text, because a rule may use whatever else its file holds, and because a
    new comment is no reason to repeat days of work. If the poses were deleted, the text is compared. A rule that
    chooses the same frames is recorded, so that its next run reads no poses.
    """
    file = sequence_folder(options.root, sequence) / ANNOTATIONS_FILE
    state = file.stat()
    record = file.with_name(SAME_FRAMES)
    compared = f"{options.rule.edited_files} {state.st_size} {state.st_mtime_ns}".encode()
    with contextlib.suppress(OSError):  # there is none yet
        if record.read_bytes() == compared:
            return True
    annotated = annotations.read_frames(file)
    try:
        for camera, frames in annotated.items():
            poses = unpacked_file(options.root, sequence, POSES_3D_UNIVERSAL, camera)
            if not poses.is_file():
                return attributes["frame_selection"] == options.rule.text
            universal = read_poses(poses, coordinates=3)
            if not np.array_equal(chosen_frames(options.rule, sequence.subject, universal), frames):
                return False
    except TaskError:  # reported when the sequence is processed
        return False
    with contextlib.suppress(OSError):  # in a read-only folder they are compared each time
        write_atomically(record, compared)
    return True
