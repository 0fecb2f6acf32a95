"""What a download run has to do, as far as the disk and the site's sizes tell; nothing is verified or written here."""

import contextlib
import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from h36m.archives.members import listed
from h36m.archives.unpacked import is_unpacked, lost_files
from h36m.dataset import (
    ARCHIVES,
    CHANGED_EXTENSION,
    EXTRACTED,
    PARTIAL_EXTENSION,
    UNPACKED_RECORD,
    VERIFIED_RECORD,
    Archive,
    archive_file,
    unpacked_folder,
)
from h36m.download.archive import changed_message, with_extension
from h36m.download.partial import PartialDownload
from h36m.download.retry import TemporaryError
from h36m.download.site import Site
from h36m.errors import TaskError
from h36m.progress import count_of, size_text
from h36m.storage import Record, reason_of

# What becomes of an archive, in the words of the plan and in its order.
PRESENT, UNPACKED = "already present", "already unpacked (archive deleted)"
TO_VERIFY, TO_DOWNLOAD = "to verify", "to download"
CHANGED, UNREADABLE = "changed on the server", "with an unreadable folder in extracted/"
STATES = (PRESENT, UNPACKED, TO_VERIFY, TO_DOWNLOAD, CHANGED, UNREADABLE)

# Sizes of 35 archives take 9 round trips with 4 requests at a time, 3 s from another continent. Those that a slow site
# does not send in time become known when the downloads begin.
SIZES_AT_A_TIME, SECONDS_FOR_SIZES = 4, 5


@dataclass
class Task:
    """One archive, and what becomes of it.

    Attributes:
        file: its path in `archives/`.
        state: one of the above.
        size: bytes of the archive; None while it is not known.
        done: bytes of it that are already there.
        note: why it is to be downloaded again, or cannot be; one line.
    """

    archive: Archive
    file: Path
    state: str
    size: int | None = None
    done: int = 0
    note: str = ""

    def read_partial(self) -> None:
        """Take size and bytes that are already there from the partial download, if there is one."""
        partial = PartialDownload(with_extension(self.file, PARTIAL_EXTENSION))
        self.size, self.done = partial.size, partial.bytes_done

    def __str__(self) -> str:
        """Return the archive's line of the whole plan: `Videos_S1.tgz: to download, 2.90 GB`."""
        pieces = [f"{self.file.name}: {self.state}"]
        if self.state in (TO_VERIFY, TO_DOWNLOAD):
            pieces.append("size unknown" if self.size is None else size_text(self.size))
        if self.done and self.state == TO_DOWNLOAD:
            pieces.append(f"of which {size_text(self.done)} are already there")
        return ", ".join(pieces)


def plan_download(root: Path, wanted: Sequence[Archive], checksums: dict[str, str], checksums_file: Path) -> list[Task]:
    """Find out what is to do about some archives; no archive is opened for that.

    Args:
        checksums: the published MD5s by file name, read from `checksums_file`.
    """
    verified = Record(root / ARCHIVES / VERIFIED_RECORD)
    unpacked = Record(root / EXTRACTED / UNPACKED_RECORD)
    tasks = []
    for archive in wanted:
        file = archive_file(root, archive)
        expected, changed = checksums.get(file.name), with_extension(file, CHANGED_EXTENSION)
        if verified.holds(file, expected):
            task = Task(archive, file, PRESENT)
        elif not file.exists() and expected and verified.md5(changed) not in (None, expected):
            message = changed_message(file, expected, verified.md5(changed), checksums_file)
            task = Task(archive, file, CHANGED, note=message)
        elif existing := next((path for path in (file, changed) if path.exists()), None):
            task = Task(archive, file, TO_VERIFY, existing.stat().st_size)
        else:
            task = _task_without_archive(archive, file, unpacked_folder(root, archive), unpacked)
        tasks.append(task)
    return tasks


def _task_without_archive(archive: Archive, file: Path, folder: Path, unpacked: Record) -> Task:
    """Return what becomes of an archive that is not there: it may have been unpacked and deleted."""
    note = ""
    try:
        if is_unpacked(folder, archive):
            lost = lost_files(folder, unpacked.files(file) or {})
            if not lost:
                return Task(archive, file, UNPACKED)
            note = f"{file.name}: downloading it again: {folder} has lost {count_of(len(lost), 'file')}: {listed(lost)}"
    except OSError as error:
        return Task(archive, file, UNREADABLE, note=f"{file.name}: {reason_of(error, folder)}")
    task = Task(archive, file, TO_DOWNLOAD, note=note)
    task.read_partial()
    return task


def ask_sizes(site: Site, tasks: Sequence[Task]) -> None:
    """Ask the site for the sizes that are not known, for some seconds at most; what it does not say stays unknown."""
    unknown = [task for task in tasks if task.state == TO_DOWNLOAD and task.size is None]
    waiting = iter(unknown)  # shared by the threads
    answers: queue.SimpleQueue = queue.SimpleQueue()
    deadline = time.monotonic() + SECONDS_FOR_SIZES

    def ask() -> None:
        for task in waiting:
            size = None
            with contextlib.suppress(TemporaryError, TaskError, OSError):
                if (left := deadline - time.monotonic()) > 0:
                    size = site.size_of(task.archive, left)
            answers.put((task, size))

    for _ in range(min(SIZES_AT_A_TIME, len(unknown))):
        threading.Thread(target=ask, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        for _ in unknown:
            task, size = answers.get(timeout=max(0, deadline - time.monotonic()))
            task.size = size


def counts_text(tasks: Sequence[Task]) -> str:
    """Return how many archives are in which state: `35 archives: 29 already present, 6 to download`."""
    counts = Counter(task.state for task in tasks)
    words = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{count_of(len(tasks), 'archive')}: {words}"


def plan_lines(tasks: Sequence[Task], folder: Path) -> list[str]:
    """Return the two lines of the plan: how many archives are in which state; bytes, and free space in `archives/`."""
    sizes = []
    if to_verify := [task for task in tasks if task.state == TO_VERIFY]:
        sizes.append(f"{size_text(sum(task.size or 0 for task in to_verify))} to verify")
    to_download = [task for task in tasks if task.state == TO_DOWNLOAD]
    known = [task for task in to_download if task.size is not None]
    if known or not (to_verify or to_download):
        sizes.append(f"{size_text(sum(task.size or 0 for task in known))} to download")
    if len(known) < len(to_download):
        sizes.append(f"{count_of(len(to_download) - len(known), 'archive')} of unknown size")
    if done := sum(task.done for task in to_download):
        sizes.append(f"of which {size_text(done)} are already there")
    free = f"{size_text(free_bytes(folder))} free in {folder}"
    if (short := bytes_short(tasks, folder)) > 0:
        free += f", {size_text(short)} too few; free some space, or choose fewer --subjects or --kinds"
    return [f"plan: {counts_text(tasks)}", f"      {', '.join(sizes)}; {free}"]


def bytes_short(tasks: Sequence[Task], folder: Path) -> int:
    """Return how many bytes more the downloads need than are free; negative if all fit, as far as sizes are known."""
    missing = sum(max(0, (task.size or 0) - task.done) for task in tasks if task.state == TO_DOWNLOAD)
    return missing - free_bytes(folder)


def free_bytes(folder: Path) -> int:
    """Return how many bytes are free on the disk of a folder that may not exist yet."""
    return shutil.disk_usage(folder if folder.exists() else folder.parent).free
