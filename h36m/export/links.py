"""Links of an export into processed/ and extracted/: relative, so that they hold when all of it is moved together.

Where symbolic links are not supported (exFAT), files are copied.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from h36m.dataset import ANNOTATIONS_FILE, IMAGES, PROCESSED, Sequence, image_name, sequence_folder
from h36m.errors import TaskError
from h36m.export.shared import TRAINING_SUBJECTS, Job, Missing
from h36m.storage import fault_of, files_and_folders, is_absent, rename_durably, sync

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
        job.problem(f"{sequence} {camera}: no images are linked: {fault}")
        job.linked.unread.add(sequence)
        return []
    if is_absent(images) or is_absent(sequence_folder(job.root, sequence) / ANNOTATIONS_FILE):
        return []
    names = [image.name for image in images.iterdir()]
    return sorted(int(match[1]) - 1 for name in names if (match := re.fullmatch(r"img_(\d{6,})\.jpg", name)))


def name_missing_images(job: Job, missing: Missing, sequence: Sequence, frames: set[int], every: int) -> None:
    """Note how many images of a view's customary frames processed/ does not have.

    Args:
        missing: of the job: where to note it.
        frames: indices of the customary frames that have no image.
        every: they are every so many-th of the sequence.
    """
    if frames and sequence not in job.linked.unread:
        subject = sequence.subject
        # Every 64th frame of the test subjects is what process_all.py keeps without an option.
        rule = "" if every == 64 and subject not in TRAINING_SUBJECTS else f" --every {every}"
        where = f"of every {every}th frame not in {PROCESSED}/{subject}"
        remedy = f"run process_all.py --subjects {subject}{rule}"
        missing.add(subject, "image", where, remedy, sequence.name, len(frames))


def link_images(
    job: Job, sequence: Sequence, camera: str, frames: Iterable[int], name_of: Callable[[int], str]
) -> None:
    """Link the images of a view's frames. Links that are there stay; those of other frames are removed at the end.

    Args:
        frames: indices of frames whose images are in processed/.
        name_of: takes an index; returns the link's path below images/, in one folder for all frames.

    Raises:
        OSError: a link cannot be made.
    """
    paths = {frame: name_of(frame) for frame in frames}
    if not paths:
        return
    (below,) = {path.rpartition("/")[0] for path in paths.values()}
    names = {path.rpartition("/")[2]: frame for frame, path in paths.items()}
    name_in_export = f"{IMAGES_FOLDER}/{below}"
    folder = job.out / name_in_export
    folder.mkdir(parents=True, exist_ok=True)
    source = sequence_folder(job.root, sequence) / IMAGES / camera
    relative = relative_path(source, folder)
    present = {path.name for path in folder.iterdir()}
    is_copied = name_in_export in job.copied_before
    for name, frame in names.items():
        link = folder / name
        image = image_name(frame)
        if name in present and not is_copied and _is_in_place(link, f"{relative}{os.sep}{image}"):
            continue
        if not (is_copied and _is_copy(source / image, link)) and not _make_link(
            f"{relative}{os.sep}{image}", link, replaces=name in present
        ):
            is_copied = True
            _copy(source / image, link)
    job.linked.folders[name_in_export] = len(names)
    if is_copied:
        job.linked.copied.append(name_in_export)
    job.linked.stale += [folder / name for name in present - names.keys() if _is_ours(folder / name, is_copied)]


def relative_path(target: Path, folder: Path) -> str:
    """Return the path of a target for a link in a folder."""
    # A part of the export may itself be a link to another disk, and `..` goes up from its real location.
    return os.path.relpath(target, os.path.realpath(folder))


def _is_in_place(link: Path, target: str) -> bool:
    """Return whether a link leads to its target; a regular file under its name is the user's own, and stays."""
    try:
        return os.readlink(link) == target  # noqa: PTH115  (Path.readlink is slower by half)
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link
            return True
        raise


def _is_ours(path: Path, is_copied: bool) -> bool:
    """Return whether an image is a link into processed/, or in a folder of copies."""
    if path.is_symlink():
        return PROCESSED in path.readlink().parts
    return is_copied and path.suffix == Path(image_name(0)).suffix


def _make_link(target: str, link: Path, replaces: bool) -> bool:
    """Make a symbolic link; return whether there are links here."""
    try:
        if replaces:
            new = link.with_name(f".{link.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(link)
        else:
            os.symlink(target, link)  # noqa: PTH211  (Path.symlink_to is slower)
    except OSError as error:
        if error.errno in NO_LINKS_ERRNOS:
            return False
        raise
    return True


def _is_copy(source: Path, copy: Path) -> bool:
    try:
        one, other = source.stat(), copy.stat()
    except OSError:
        return False
    return one.st_size == other.st_size and abs(one.st_mtime - other.st_mtime) <= FAT_SECONDS


def _copy(source: Path, copy: Path) -> None:
    """Copy a file so that it appears complete; one that is there already stays."""
    if not _is_copy(source, copy):
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
    link.parent.mkdir(parents=True, exist_ok=True)
    relative, name = relative_path(target, link.parent), link.relative_to(job.out).as_posix()
    is_link, was_copied = link.is_symlink(), name in job.copied_before
    if not is_link and link.exists():
        if link.samefile(target):  # --out names the folder that is exported from
            return
        if link.is_file() and not was_copied:
            return
    job.linked.links[name] = relative
    if is_link and os.readlink(link) == relative:  # noqa: PTH115  (as above)
        return
    if link.is_dir() and not is_link and not was_copied:
        raise TaskError(
            f"{link}: a folder exists where a link to {target} is needed; rename it, or choose another --out"
        )
    if was_copied or not _make_link(relative, link, replaces=is_link):
        job.linked.copied.append(name)
        copy_all(target, link)


def copy_all(target: Path, copy: Path) -> None:
    """Copy a file, or all files below a folder."""
    if not target.is_dir():
        _copy(target, copy)
        return
    for file in files_and_folders(target)[0]:
        if not file.name.startswith("."):
            place = copy / file.relative_to(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(file, place)


def remove_stale(job: Job, image_folders: str | None, links_before: Iterable[str]) -> None:
    """Remove what earlier runs linked and this one has not: programs list folders.

    Args:
        image_folders: a pattern of the folders that the format may have images in, below its own.
        links_before: links of files and folders that an earlier run made.
    """
    if job.linked.unread:  # their images may be the same
        return
    for image in job.linked.stale:
        image.unlink(missing_ok=True)
    for folder in sorted(job.out.glob(image_folders)) if image_folders else ():
        name = folder.relative_to(job.out).as_posix()
        if name not in job.linked.folders and folder.is_dir():
            for image in folder.iterdir():
                if _is_ours(image, name in job.copied_before):
                    image.unlink()
            remove_empty(folder, job.out)
    for name in links_before:
        link = job.out / name
        if name not in job.linked.links and (link.is_symlink() or (name in job.copied_before and link.is_file())):
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
    folders = {parent for path in paths for parent in (out / path).parents}
    for folder in sorted(each for each in folders if each == out.parent or each.is_relative_to(out)):
        sync(folder)
