"""Put a finished sequence in the place of an earlier one, and leave alone what this script did not write.

A crash in between leaves a list of what is still to be moved: the next run moves it.
"""

import json
import os
import re
import signal
from pathlib import Path

from h36m.dataset import (
    ANNOTATIONS_FILE,
    IMAGES,
    PART_LABEL_IMAGES,
    PREVIEW_FILE,
    SEQUENCE_RECORD,
    UNFINISHED_SEQUENCE,
)
from h36m.done import read_record
from h36m.errors import TaskError
from h36m.process.annotations import read_frames
from h36m.process.record import SequenceRecord, image_names, image_sizes
from h36m.process.resume import Decision, Work
from h36m.storage import is_absent, sync, sync_parents, sync_tree, write_atomically

# In an unfinished folder: what is to be moved where. While it is there with annot.h5, the move is not complete.
MOVES_FILE = ".moves.json"

OWN_IMAGE = re.compile(r"\w+/\d+/img_\d{6,}\.(jpg|png)")


def frames_in(folder: Path) -> dict[str, list[int]]:
    """Return the frames of each camera that a sequence's annot.h5 has; none without an annot.h5."""
    if is_absent(folder / ANNOTATIONS_FILE):
        return {}
    record = read_record(SequenceRecord, folder / SEQUENCE_RECORD)
    return record.frames if record else read_frames(folder / ANNOTATIONS_FILE)


def own_files(folder: Path) -> set[str]:
    """Return the paths in a sequence's folder of the files that this script wrote, and of the folders they are in.

    Those are the images of annot.h5. Without an annot.h5 they are what an interrupted run left: by their names.
    """
    record = read_record(SequenceRecord, folder / SEQUENCE_RECORD)
    if is_absent(folder / ANNOTATIONS_FILE):
        images = {name for name in _images_in(folder) if OWN_IMAGE.fullmatch(name)}
    elif record and not record.has_images:
        images = set()
    else:
        images = {name for kind in (IMAGES, PART_LABEL_IMAGES) for name in image_names(frames_in(folder), kind)}
    folders = {name.rpartition("/")[0] for name in images}
    return images | folders | {name.partition("/")[0] for name in folders} | {PREVIEW_FILE, SEQUENCE_RECORD}


def lost_by(unfinished: Path, folder: Path, decision: Decision) -> list[str]:
    """Return the cameras and images that are to stay and that the new sequence lacks."""
    cameras = (frames_in(folder).keys() & {*decision.options.cameras}) - frames_in(unfinished).keys()
    lost = [f"camera {camera}" for camera in sorted(cameras)]
    if decision.work == Work.EXTEND and not decision.is_changed:  # else its frames may be others
        lost += sorted((_images_in(folder) & own_files(folder)) - _images_in(unfinished))
    return lost


def put_in_place(unfinished: Path, folder: Path) -> None:
    """Replace the earlier result with the new one, in a moment, as nothing is deleted here.

    Raises:
        TaskError: a file that this script did not write has the name of a new one; nothing was moved.
    """
    own, aside, moves = own_files(folder), [], []

    def plan(name: str) -> None:
        new, old = unfinished / name, folder / name
        if _is_own(folder, name, own):
            aside.append(name)
        elif old.is_dir() and (new.is_dir() or name in own):  # with files of users among ours
            for child in sorted({*_names_in(old), *_names_in(new)}):
                plan(f"{name}/{child}")
            return
        elif os.path.lexists(old):
            if os.path.lexists(new):
                raise TaskError(f"{old}: this file is in the way, and this script did not write it; rename it")
            return
        if os.path.lexists(new):
            moves.append(name)

    for name in (IMAGES, PART_LABEL_IMAGES, PREVIEW_FILE, SEQUENCE_RECORD):
        plan(name)
    sync_tree(unfinished)
    write_atomically(unfinished / MOVES_FILE, json.dumps({"aside": aside, "moves": moves}))
    _move(unfinished, folder)


def is_moving(unfinished: Path) -> bool:
    """Return whether an unfinished folder has a complete sequence, a part of which may be in place already."""
    return (unfinished / MOVES_FILE).exists() and (unfinished / ANNOTATIONS_FILE).exists()


def finish_moves(folder: Path) -> None:
    """Put in place what a run had begun to move when it was killed."""
    for unfinished in folder.glob(f"{UNFINISHED_SEQUENCE}*"):
        if is_moving(unfinished):
            _move(unfinished, folder)


def _move(unfinished: Path, folder: Path) -> None:
    """Move what MOVES_FILE says and has not been moved yet.

    The old annot.h5 goes first and the new one comes last, on the disk too: none is ever seen without its images, by a
    reader or after a power cut.
    """
    listed = json.loads((unfinished / MOVES_FILE).read_text(encoding="utf-8"))
    old = unfinished / "old"
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop in between would leave no annot.h5
    try:
        _set_aside(folder, old, ANNOTATIONS_FILE)
        sync(folder)
        for name in listed["aside"]:
            _set_aside(folder, old, name)
        for name in listed["moves"]:
            if os.path.lexists(unfinished / name):
                (unfinished / name).rename(folder / name)
        for place in {(folder / name).parent for name in [*listed["aside"], *listed["moves"]]} - {folder}:
            sync(place)
        sync(folder)
        sync_parents(folder)
        (unfinished / ANNOTATIONS_FILE).rename(folder / ANNOTATIONS_FILE)
        sync(folder)
    finally:
        signal.signal(signal.SIGTERM, handler)


def _set_aside(folder: Path, old: Path, name: str) -> None:
    """Move an old file or folder out of the way, if that was not done before: then a new one may be in its place."""
    if os.path.lexists(folder / name) and not os.path.lexists(old / name):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(old / name)


def _is_own(folder: Path, name: str, own: set[str]) -> bool:
    """Return whether a file, or all that is in a folder, was written by this script."""
    if name not in own or not os.path.lexists(folder / name):
        return False
    if (folder / name).is_symlink():
        return True
    for place, folders, files in os.walk(folder / name):
        below = Path(place).relative_to(folder).as_posix()
        if not {f"{below}/{each}" for each in [*folders, *files]} <= own:
            return False
    return True


def _images_in(folder: Path) -> set[str]:
    return {*image_sizes(folder, IMAGES), *image_sizes(folder, PART_LABEL_IMAGES)}


def _names_in(path: Path) -> list[str]:
    return os.listdir(path) if path.is_dir() else []  # noqa: PTH208  (with thousands of names)
