"""What a download run has to do, as far as the disk and the site's sizes tell; nothing is verified or written here."""

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from h36m.archives.members import listed
from h36m.archives.unpacked import lost_files
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
from h36m.download.verify import Verdict
from h36m.errors import TaskError
from h36m.progress import count_of, size_text
from h36m.storage import Record, free_bytes, reason_of

# What becomes of an archive, in the words of the plan and in its order.
PRESENT, UNPACKED = "already present", "already unpacked (archive deleted)"
TO_VERIFY, TO_DOWNLOAD = "to verify", "to download"
CHANGED, DOWNLOADED, FAILED = "changed on the server", "downloaded", "failed"
STATES = (PRESENT, UNPACKED, TO_VERIFY, TO_DOWNLOAD, CHANGED, DOWNLOADED, FAILED)

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
        verdicts: on a file under its name that is not the archive.
    """

    archive: Archive
    file: Path
    state: str
    size: int | None = None
    done: int = 0
    note: str = ""
    verdicts: list[Verdict] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        """Note why the archive cannot be verified or downloaded."""
        self.state, self.note = FAILED, str(error)
        if isinstance(error, OSError):
            self.note = f"{self.file.name}: {reason_of(error, self.file.parent)}"

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
        lost = lost_files(folder, archive, unpacked)
        if lost == []:
            return Task(archive, file, UNPACKED)
        if lost:
            note = f"{file.name}: downloading it again: {folder} has lost {count_of(len(lost), 'file')}: {listed(lost)}"
    except OSError as error:
        return Task(archive, file, FAILED, note=f"{file.name}: {reason_of(error, folder)}")
    task = Task(archive, file, TO_DOWNLOAD, note=note)
    task.read_partial()
    return task


def of_state(tasks: Sequence[Task], *states: str) -> list[Task]:
    """Return the tasks that are in one of some states."""
    return [task for task in tasks if task.state in states]


def ask_sizes(site: Site, tasks: Sequence[Task]) -> None:
    """Ask the site for the sizes that are not known, for some seconds at most; what it does not say stays unknown."""
    deadline = time.monotonic() + SECONDS_FOR_SIZES

    def ask(task: Task) -> None:
        with contextlib.suppress(TemporaryError, TaskError, OSError):
            if (left := deadline - time.monotonic()) > 0:
                task.size = site.size_of(task.archive, left)

    with ThreadPoolExecutor(SIZES_AT_A_TIME) as pool:
        list(pool.map(ask, [task for task in tasks if task.size is None]))


def counts_text(tasks: Sequence[Task]) -> str:
    """Return how many archives are in which state: `35 archives: 29 already present, 6 to download`."""
    counts = Counter(task.state for task in tasks)
    words = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{count_of(len(tasks), 'archive')}: {words}"


def plan_lines(tasks: Sequence[Task], folder: Path) -> list[str]:
    """Return the two lines of the plan, and one for each archive that is downloaded again.

    The two are how many archives are in which state; bytes, and free space in `archives/`.
    """
    to_verify, to_download = of_state(tasks, TO_VERIFY), of_state(tasks, TO_DOWNLOAD)
    unknown = len([task for task in to_download if task.size is None])
    sizes = [f"{size_text(sum(task.size or 0 for task in to_verify))} to verify"] if to_verify else []
    if unknown < len(to_download) or not (to_verify or to_download):
        sizes.append(f"{size_text(sum(task.size or 0 for task in to_download))} to download")
    if unknown:
        sizes.append(f"{count_of(unknown, 'archive')} of unknown size")
    if done := sum(task.done for task in to_download):
        sizes.append(f"of which {size_text(done)} are already there")
    free = f"{size_text(free_bytes(folder))} free in {folder}"
    if (short := bytes_short(tasks, folder)) > 0:
        free += f", {size_text(short)} too few; free some space, or choose fewer --subjects or --kinds"
    notes = [task.note for task in to_download if task.note]
    return [f"plan: {counts_text(tasks)}", f"      {', '.join(sizes)}; {free}", *notes]


def bytes_short(tasks: Sequence[Task], folder: Path) -> int:
    """Return how many bytes more the downloads need than are free; negative if all fit, as far as sizes are known."""
    missing = sum(max(0, (task.size or 0) - task.done) for task in of_state(tasks, TO_DOWNLOAD))
    return missing - free_bytes(folder)
