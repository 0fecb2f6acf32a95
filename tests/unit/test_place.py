"""h36m/process/place.py: a new sequence takes the place of an old one, users' files stay, and a crash costs neither."""

import itertools
from pathlib import Path

import pytest
from helpers.steps import happen_in_order, watch_steps

from h36m.dataset import (
    ANNOTATIONS_FILE,
    IMAGES,
    PART_LABEL_IMAGES,
    PREVIEW_FILE,
    SEQUENCE_RECORD,
    UNFINISHED_SEQUENCE,
)
from h36m.errors import TaskError
from h36m.process.annotations import write_annotations
from h36m.process.place import MOVES_FILE, finish_moves, put_in_place
from h36m.process.record import SequenceRecord, image_names

OLD = {"54138969": [0, 1, 7], "60457274": [0, 1, 7]}
NEW = {"54138969": [0, 5], "55011271": [0, 5]}
USERS = (
    "notes.txt",
    "mine/img_000001.jpg",
    f"{IMAGES}/list.txt",
    f"{IMAGES}/mine/img_000001.jpg",
    f"{IMAGES}/54138969/img_000001_keypoints.json",
    f"{IMAGES}/54138969/mine/x",
    f"{PART_LABEL_IMAGES}/55011271/x.png",
    f"{IMAGES}/60457274/img_000003.jpg",  # another frame than those of annot.h5; without one it would be a leftover
)


def put(folder: Path, frames: dict, text: str, has_preview=True) -> dict[str, str]:
    """Write a sequence with this text in each of its files; return the texts by path."""
    record = SequenceRecord({}, {}, [], text, "", frames, 0, 0, 0)
    files = {name: text for kind in (IMAGES, PART_LABEL_IMAGES) for name in image_names(frames, kind)}
    files |= {ANNOTATIONS_FILE: text, SEQUENCE_RECORD: record.as_json()} | ({PREVIEW_FILE: text} if has_preview else {})
    return write(folder, files)


def write(folder: Path, files: dict[str, str]) -> dict[str, str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return files


def texts_in(folder: Path) -> dict[str, str]:
    """Return what `write` wrote into a folder, but for the unfinished one."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in files.items() if not name.startswith(UNFINISHED_SEQUENCE)}


@pytest.fixture
def folder(tmp_path):
    """The folder of a sequence, in which nothing is."""
    folder = tmp_path / "processed" / "S1" / "Walking-1"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("has_preview", [True, False])
@pytest.mark.parametrize("old", [OLD, NEW, None])
@pytest.mark.parametrize("users", [USERS, USERS[:1], USERS[2:3], USERS[4:5], ()])
def test_new_files_take_the_place_of_all_old_ones(folder, old, users, has_preview):
    theirs = write(folder, dict.fromkeys(users if old else users[:7], "a user's"))
    if old:
        put(folder, old, "old")
    new = put(folder / UNFINISHED_SEQUENCE, NEW, "new", has_preview)
    put_in_place(folder / UNFINISHED_SEQUENCE, folder)
    assert texts_in(folder) == theirs | new


def test_leftovers_without_annotations_are_replaced(folder):
    theirs = write(folder, dict.fromkeys(USERS[:7], "a user's"))
    for name in put(folder, OLD, "old"):
        if name in (ANNOTATIONS_FILE, SEQUENCE_RECORD):
            (folder / name).unlink()
    new = put(folder / UNFINISHED_SEQUENCE, NEW, "new")
    put_in_place(folder / UNFINISHED_SEQUENCE, folder)
    assert texts_in(folder) == theirs | new


@pytest.mark.parametrize("is_readable", [True, False])
def test_annotations_of_another_program_tell_which_images_are_its_own(folder, is_readable):
    theirs = write(folder, dict.fromkeys(USERS, "a user's"))
    images = write(folder, dict.fromkeys(image_names(OLD, IMAGES), "old"))
    (folder / ANNOTATIONS_FILE).write_text("not HDF5")
    if is_readable:
        rows = [(int(camera), frame + 1) for camera, frames in OLD.items() for frame in frames]
        cameras, numbers = zip(*rows, strict=True)
        write_annotations(folder / ANNOTATIONS_FILE, {"camera": cameras, "frame": numbers}, {})
    new = put(folder / UNFINISHED_SEQUENCE, {"58860488": [0]}, "new")
    put_in_place(folder / UNFINISHED_SEQUENCE, folder)
    assert texts_in(folder) == theirs | new | ({} if is_readable else images)


def test_users_file_with_the_name_of_a_new_image_is_in_the_way(folder):
    (name,) = write(folder, {f"{IMAGES}/54138969/img_000006.jpg": "a user's"})
    old = put(folder, OLD, "old")
    put(folder / UNFINISHED_SEQUENCE, NEW, "new")
    with pytest.raises(TaskError, match=name):
        put_in_place(folder / UNFINISHED_SEQUENCE, folder)
    assert texts_in(folder) == old | {name: "a user's"}


@pytest.mark.parametrize(("users", "old"), [(USERS, OLD), ((), OLD), (USERS[:7], None), ((), None)])
def test_a_crash_leaves_the_old_or_the_new(tmp_path, monkeypatch, users, old):
    """Stop before any of the renames, as a kill would: an annot.h5 that exists has all its images beside it.

    The next run finds the old one as it was, or makes the new one complete.
    """
    rename = Path.rename
    for renames in itertools.count():
        folder, done = tmp_path / f"{renames}" / "S1" / "Walking-1", []
        theirs = write(folder, dict.fromkeys(users, "a user's"))
        before = theirs | (put(folder, old, "old") if old else {})
        after = theirs | put(folder / UNFINISHED_SEQUENCE, NEW, "new")

        def rename_or_stop(path, target, done=done, renames=renames):
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(path)
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", rename_or_stop)
        try:
            put_in_place(folder / UNFINISHED_SEQUENCE, folder)
            break
        except KeyboardInterrupt:
            monkeypatch.undo()
        found = texts_in(folder)
        assert found in (before, after) if ANNOTATIONS_FILE in found else renames > 0 or not old
        assert theirs.items() <= found.items()
        finish_moves(folder)
        assert texts_in(folder) == after
    assert renames > (15 if users and old else 4)
    finish_moves(folder)  # what is complete stays, with the leftover of it
    assert texts_in(folder) == after


@pytest.mark.parametrize("old", [None, OLD])
def test_images_are_on_the_disk_before_their_annotations(folder, tmp_path, monkeypatch, old):
    new = folder / UNFINISHED_SEQUENCE
    if old:
        put(folder, old, "old")
    put(new, NEW, "new")
    image = new / image_names(NEW, IMAGES)[0]
    paths = {"image": image, "camera": image.parent, "images": new / IMAGES, "annotations": new / ANNOTATIONS_FILE}
    paths |= {"folder": folder, "subject": folder.parent, "root": tmp_path}
    number = {name: path.stat().st_ino for name, path in paths.items()}
    old_annotations = (folder / ANNOTATIONS_FILE).stat().st_ino if old else None
    steps = watch_steps(monkeypatch)
    put_in_place(new, folder)
    assert happen_in_order(
        steps,
        ("sync", number["image"]),
        ("sync", number["camera"]),
        ("sync", number["images"]),
        ("rename", number["images"]),
        ("sync", number["folder"]),
        ("sync", number["subject"]),
        ("sync", number["root"]),
        ("rename", number["annotations"]),
        ("sync", number["folder"]),
    )
    assert happen_in_order(steps, ("sync", number["annotations"]), ("rename", number["annotations"]))
    moves = (new / MOVES_FILE).stat().st_ino
    assert happen_in_order(steps, ("sync", number["image"]), ("sync", moves), ("rename", number["images"]))
    if old:
        assert happen_in_order(
            steps, ("rename", old_annotations), ("sync", number["folder"]), ("rename", number["images"])
        ), "the old annot.h5 is gone before the images change"


def test_names_of_images_next_to_users_files_are_on_the_disk(folder, monkeypatch):
    """Those are moved one by one, into folders that stay."""
    write(folder, dict.fromkeys(USERS, "a user's"))
    new = folder / UNFINISHED_SEQUENCE
    put(new, NEW, "new")
    image = image_names(NEW, IMAGES)[0]
    numbers = [path.stat().st_ino for path in (new / image, (folder / image).parent, new / ANNOTATIONS_FILE)]
    steps = watch_steps(monkeypatch)
    put_in_place(new, folder)
    assert happen_in_order(steps, *zip(("rename", "sync", "rename"), numbers, strict=True))
