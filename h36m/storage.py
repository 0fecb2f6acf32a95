"""Records, and files that appear complete, for runs that share a folder."""

import contextlib
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from h36m.done import CHECK_DISK, CHECK_PERMISSIONS, LIMIT_REMEDY, RUN_AGAIN, is_unchanged, state_of

PRIVATE = 0o600  # for the owner only
FOR_EVERYBODY = 0o666  # less the user's umask

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)  # no space, quota exceeded
READ_ONLY_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)
# Errors of fsync() on network and FUSE file systems that do not support it.
NO_SYNC_ERRNOS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
# Cause and remedy of errors; the system's own words where there is no cause.
FAULTS = {
    errno.EACCES: ("", CHECK_PERMISSIONS),
    errno.EPERM: ("", CHECK_PERMISSIONS),
    errno.EIO: ("", CHECK_DISK),
    errno.ESTALE: ("", CHECK_DISK),
    errno.EMFILE: ("", LIMIT_REMEDY),
    errno.ENFILE: ("", LIMIT_REMEDY),
    errno.ENOSPC: ("", "free some space and run again"),
    errno.EDQUOT: ("your quota on this disk is exceeded", "free some space and run again"),
    errno.EFBIG: ("file size limit exceeded", "choose a disk that allows larger files, or raise the limit (ulimit -f)"),
}
# 2000 small files take 1.7 s on XFS one after the other, 0.76 s with 4 at a time, 0.67 s with 16. On a network file
# system each waits for a reply.
SYNCS_AT_A_TIME = 8


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error says that the disk is full or the user's quota is exceeded."""
    return isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS


def is_read_only(error: OSError) -> bool:
    """Return whether an error says that the user may not write."""
    return error.errno in READ_ONLY_ERRNOS


def reason_of(error: OSError, disk: Path) -> str:
    """Return why the system could not read or write, and what to do: "a.mp4: Permission denied; check its permissions".

    Args:
        disk: a folder that was written to, or is to be.
    """
    cause, remedy = FAULTS.get(error.errno or 0, ("", RUN_AGAIN))
    if error.errno == errno.ENOSPC:
        disk = next(folder for folder in (disk, *disk.parents) if folder.exists())
        free = f"{shutil.disk_usage(disk).free:,} bytes free"
        has_no_inodes = hasattr(os, "statvfs") and os.statvfs(disk).f_files and not os.statvfs(disk).f_favail
        cause = f"disk is full: no inodes left for more files ({free})" if has_no_inodes else f"disk is full ({free})"
    path = "" if cause or not error.filename else f"{error.filename}: "
    return f"{path}{cause or error.strerror or error}; {remedy}"


def is_absent(path: Path) -> bool:
    """Return whether there is no such file or folder; False if the system cannot tell. Path.exists() mixes up both."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def fault_of(path: Path) -> str | None:
    """Return a line about a file that the system cannot read, or a folder that it cannot list; None for all others.

    Libraries that read files do not tell such a fault from damage.
    """
    try:
        if path.is_dir():
            os.scandir(path).close()
        elif not is_absent(path):
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
    except OSError as error:
        error.filename = str(path)  # which read() does not name
        return reason_of(error, path)
    return None


class Record:
    """Archives by name with the state in which they were read, so that none is read twice.

    Threads of one run may share it; runs take turns by the folder's lock.
    """

    def __init__(self, path: Path):
        self.path = path
        self.lock = threading.Lock()
        try:
            found = dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # none yet, or not ours: then everything is read again
            found = {}
        self.entries = {
            name: entry for name, entry in found.items() if isinstance(entry, dict) and entry.keys() >= {"state", "md5"}
        }

    def md5(self, archive: Path) -> str | None:
        """Return the MD5 that was found in an archive; None if it was not looked for or the file has changed since."""
        return self.entries[archive.name]["md5"] if self.holds(archive) else None

    def holds(self, archive: Path, md5: str | None = None) -> bool:
        """Return whether an archive is unchanged since it was recorded, and has this MD5 if one is given."""
        entry = self.entries.get(archive.name)
        try:
            now = state_of(archive.stat())
        except OSError:
            return False
        return entry is not None and is_unchanged(entry["state"], now) and md5 in (None, entry["md5"])

    def files(self, archive: Path) -> dict[str, int] | None:
        """Return the size of each file that was unpacked from an archive, by its path; None if that is not recorded."""
        return self.entries.get(archive.name, {}).get("files")

    def add(self, archive: Path, md5: str | None = None, files: dict[str, int] | None = None) -> None:
        """Remember that an archive was read to its end, its MD5 if computed, and the files unpacked from it, if any.

        The archive is on the disk before it is recorded: a record that survives a power cut is true. The caller sees to
        it that the unpacked files are.
        """
        sync(archive)
        sync(archive.parent)
        with self.lock:
            self.entries[archive.name] = {"state": state_of(archive.stat()), "md5": md5, "files": files}
            write_atomically(self.path, json.dumps(self.entries, indent=1, sort_keys=True) + "\n")


def free_bytes(folder: Path) -> int:
    """Return how many bytes are free on the disk of a folder that may not exist yet."""
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free


def free_name(path: Path) -> Path:
    """Return the path, or the first of path-2, path-3 ... that does not exist yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def cleared(path: Path, say: Callable[[str], object] = lambda line: None) -> Path:
    """Remove what interrupted runs have left under a name; return a path for new files.

    A folder that has open files on NFS (`.nfs...`) cannot be removed: it is named and stays, and the path is another.
    """
    of_runs = re.compile(rf"{re.escape(path.name)}(-\d+)?")  # see free_name()
    for leftover in sorted(each for each in path.parent.glob(f"{path.name}*") if of_runs.fullmatch(each.name)):
        try:
            shutil.rmtree(leftover)
        except OSError as error:
            shutil.rmtree(leftover, ignore_errors=True)  # all else in it
            say(f"{leftover}: cannot remove this leftover of an interrupted run: {error.strerror}; remove it")
    return free_name(path)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk and survive a power cut.

    Does nothing on Windows, where the file system does not support it, and for a folder without read permission.

    Raises:
        OSError: the disk failed or is full; it names the path.
    """
    if os.name == "nt":  # it opens no folders, and syncs only what is open for writing
        return
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in NO_SYNC_ERRNOS or (error.errno == errno.EACCES and path.is_dir()):
            return
        error.filename = str(path)  # fsync has only a number to name
        raise


def start_writing(handle: int) -> None:
    """Make the system start writing an open file to the disk, without waiting: a later `sync` is then faster."""
    if hasattr(os, "posix_fadvise"):  # not on macOS and Windows
        with contextlib.suppress(OSError):  # this is only a hint
            # Linux starts to write a file's changed pages when they are declared unneeded; it drops none before that.
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def started_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of a folder that is to be synced, and make the system start writing it to the disk on closing it."""
    with path.open("wb") as file:
        yield file
        file.flush()
        start_writing(file.fileno())


def sync_tree(folder: Path) -> None:
    """Wait until all files and folders below a folder, and their names in it, are on the disk and survive a power cut.

    It is faster where their writers have started this, see `start_writing`.

    Not by one syncfs(2), although that is as fast: it waits for what other programs have written to the same file
    system, reports no errors before Linux 5.8, and does nothing on most FUSE file systems.

    Raises:
        OSError: the disk failed or is full; it names the path.
    """
    files, folders = files_and_folders(folder)
    # Several at a time: the file system's journal and file servers handle them together.
    with ThreadPoolExecutor(SYNCS_AT_A_TIME) as pool:
        for _ in pool.map(sync, files):
            pass
    for place in folders:
        sync(place)


def files_and_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files below a folder; the folders below it, inner ones first, and itself; OSError if that fails."""

    def fail(error: OSError) -> None:
        raise error

    files: list[Path] = []
    folders: list[Path] = []
    for place, _, names in os.walk(folder, topdown=False, onerror=fail):
        files += [Path(place, name) for name in names]
        folders.append(Path(place))
    return files, folders


def sync_parents(folder: Path) -> None:
    """Wait until the name of a folder in extracted/S1 or processed/S1 is on the disk, and those of all it is in."""
    for parent in list(folder.parents)[:3]:  # extracted/S1, extracted, and the root, which has that name
        sync(parent)


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file in its folder, replacing the target, so that the new name never has other content.

    After a power cut at any time, the target is what it was before, or the whole file. On return it is the file.
    """
    sync(source)
    source.replace(target)
    sync(target.parent)


def write_atomically(path: Path, content: str | bytes, mode: int = FOR_EVERYBODY) -> None:
    """Write a small file so that a reader, or a run after a crash or power cut, finds the old or the new one whole.

    Args:
        content: text is written as UTF-8.
        mode: of the file, less the umask.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", errors="surrogateescape")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a killed run that had the same process number
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        rename_durably(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
