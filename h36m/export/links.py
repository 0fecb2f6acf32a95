"""Links of an export into processed/ and extracted/: relative, so that they hold when all of it is moved together.

Where symbolic links are not supported (exFAT), files are copied.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from h36m.dataset import ANNOTATIONS_FILE, IMAGES, PROCESSED, TRAINING_SUBJECTS, Sequence, image_name, sequence_folder
from h36m.errors import TaskError
from h36m.export.shared import Job, Missing
from h36m.storage import fault_of, is_absent, rename_durably, sync

IMAGES_FOLDER = "images"  # of the formats that have one

# The errors of os.symlink() where links are not supported; a full disk or a read-only folder is another matter.
NO_LINKS_ERRNOS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

FAT_SECONDS = 2  # in which FAT counts the time stamps of files


def processed_frames(job: Job, sequence: Sequence, camera: str) -> list[int]:
    """Return the indices, from 0, of the frames of a view whose images are in processed/, in order.

    A sequence without its annot.h5 has none: it is not complete. If the images cannot be listed, that is a problem.
    """
    images = sequence_folder(job.root, sequence) / IMAGES / camera
    if fault := fault_of(images):
        job.record.problems.append(f"{sequence} {camera}: no images are linked: {fault}")
        job.unread.add(sequence)
        return []
    if is_absent(images) or is_absent(sequence_folder(job.root, sequence) / ANNOTATIONS_FILE):
        return []
    names = [image.name for image in images.iterdir()]
    return sorted(int(match[1]) - 1 for name in names if (match := re.fullmatch(r"img_(\d{6,})\.jpg", name)))


def link_images(job: Job, sequence: Sequence, camera: str, count: int, beginning: str) -> list[int]:
    """Link the images that processed/ has of a view.

    Args:
        count: of the view's poses; images of later frames are not linked.
        beginning: of the links' names, see `numbered`, below images/: `S1/S1_Walking.54138969/S1_Walking.54138969_`.

    Returns:
        indices of the frames that have an image, in order.

    Raises:
        OSError: a link cannot be made.
    """
    frames = [frame for frame in processed_frames(job, sequence, camera) if frame < count]
    if not frames:
        return []
    below, _, start = f"{IMAGES_FOLDER}/{beginning}".rpartition("/")
    folder = job.out / below
    folder.mkdir(parents=True, exist_ok=True)
    source = sequence_folder(job.root, sequence) / IMAGES / camera
    target = relative_path(source, folder)
    for frame in frames:
        image = image_name(frame)
        _link_or_copy(job, below, folder / numbered(start, frame), f"{target}{os.sep}{image}", source / image)
    job.images[below] = {numbered(start, frame) for frame in frames}
    return frames


def note_missing_images(
    job: Job, missing: Missing, sequence: Sequence, wanted: range, there: list[int], of: str = "frame", rule: str = ""
) -> None:
    """Note how many of the frames of a view that programs read have no image.

    Args:
        missing: of the job: where to note it.
        wanted: every N-th frame, of those that have a pose.
        there: the frames that have an image.
        of: what every N-th is read of: "frame".
        rule: the options of process_all.py that write these images and keep the others; by default those for every N-th
            frame, and where other frames are there, for those of the other customary rules too.
    """
    without, subject = len(set(wanted) - set(there)), sequence.subject
    if without and sequence not in job.unread:
        others = " --every 5 64 --movement 40" if subject in TRAINING_SUBJECTS else " --every 5 64"
        rule = rule or (others if set(there) - set(wanted) else f" --every {wanted.step}")
        where = f"of every {wanted.step}th {of} not in {PROCESSED}/{subject}"
        missing.add(subject, "image", where, f"run process_all.py --subjects {subject}{rule}", sequence.name, without)


def numbered(beginning: str, frame: int) -> str:
    """Return the name of a frame's image; it counts from 1, `frame` from 0."""
    return f"{beginning}{frame + 1:06d}.jpg"


def relative_path(target: Path, folder: Path) -> str:
    """Return the path of a target for a link in a folder."""
    # A part of the export may itself be a link to another disk, and `..` goes up from its real location.
    return os.path.relpath(target, os.path.realpath(folder))


def _link_or_copy(job: Job, name: str, link: Path, target: str, source: Path) -> None:
    """Make a symbolic link, or a copy where the system has no links. A link that leads elsewhere is replaced.

    Args:
        name: under which the records say that it is a copy; without that, a regular file is the user's own, and stays.
        target: where the link should lead to, a relative path.
        source: the same file or folder.
    """
    was_copied = name in job.before.copied
    try:
        if os.readlink(link) == target:  # noqa: PTH115  (Path.readlink is slower by half)
            return
        link.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:  # that one says: not a link
            raise
        if not was_copied:
            return
    if not was_copied:
        try:
            os.symlink(target, link)  # noqa: PTH211  (Path.symlink_to is slower)
            return
        except OSError as error:
            if error.errno not in NO_LINKS_ERRNOS:
                raise
    if name not in job.record.copied:
        job.record.copied.append(name)
    _copy(source, link)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file so that it appears complete, or all files below a folder; a copy that is there already stays."""
    if source.is_dir():
        copy.mkdir(exist_ok=True)
        for path in source.iterdir():
            if not path.name.startswith("."):
                _copy(path, copy / path.name)
        return
    one = source.stat()
    with contextlib.suppress(FileNotFoundError):
        other = copy.stat()
        if one.st_size == other.st_size and abs(one.st_mtime - other.st_mtime) <= FAT_SECONDS:
            return
    unfinished = copy.with_name(f".{copy.name}.new")
    shutil.copy2(source, unfinished)
    rename_durably(unfinished, copy)


def link_to(job: Job, target: Path, link: Path) -> None:
    """Make a relative symbolic link to a file or folder, or copy it where the system has no links.

    A link that leads elsewhere is replaced. A file stays, and a folder is an error: they may be the user's own.

    Raises:
        TaskError: a folder is where the link belongs.
        OSError: the link cannot be made.
    """
    name = link.relative_to(job.out).as_posix()
    if link.exists() and not link.is_symlink() and name not in job.before.copied:
        if link.is_dir() and not link.samefile(target):  # --out may be the folder that is exported from
            raise TaskError(
                f"{link}: a folder exists where a link to {target} is needed; rename it, or choose another --out"
            )
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    job.record.links.append(name)
    _link_or_copy(job, name, link, relative_path(target, link.parent), target)


def remove_stale(job: Job, image_folders: str | None) -> None:
    """Remove what earlier runs linked or copied and this one has not: programs list folders.

    Args:
        image_folders: a pattern of the folders that the format may have images in, below its own.
    """
    if job.unread:  # their images may be the same
        return
    copied = job.before.copied
    for folder in sorted(job.out.glob(image_folders)) if image_folders else ():
        name = folder.relative_to(job.out).as_posix()
        for image in folder.iterdir() if folder.is_dir() else ():
            if image.name in job.images.get(name, ()):
                continue
            is_copy = name in copied and image.suffix == ".jpg"
            if PROCESSED in image.readlink().parts if image.is_symlink() else is_copy:
                image.unlink()
        remove_empty(folder, job.out)
    for name in set(job.before.links) - set(job.record.links):
        link = job.out / name
        if link.is_symlink() or (name in copied and link.is_file()):
            link.unlink()
            remove_empty(link.parent, job.out)


def remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder if it is empty, and then those above it below the top."""
    with contextlib.suppress(OSError):  # it is not empty, so it stays
        while folder != top:
            folder.rmdir()
            folder = folder.parent


def sync_folders(out: Path, paths: Iterable[str]) -> None:
    """Wait until the names of an export's files and links are on the disk.

    Args:
        paths: of files, links and folders of images, below the export's folder.
    """
    for folder in {parent for path in paths for parent in (out / path).parents if parent.is_relative_to(out.parent)}:
        sync(folder)
