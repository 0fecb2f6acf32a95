"""What a run of extract_all.py has to do, in lines for the user, and whether the disk is large enough for it."""

from pathlib import Path
from typing import NamedTuple

from h36m.dataset import ARCHIVES, Archive
from h36m.extract.unpack import unpacked_size
from h36m.progress import count_of, size_text
from h36m.storage import free_bytes, is_absent


class Task(NamedTuple):
    """One archive and the folder that it is unpacked to."""

    archive: Archive
    file: Path  # archives/Videos_S1.tgz
    folder: Path  # extracted/S1/Videos


class Plan(NamedTuple):
    """What a run has to do."""

    to_do: list[Task]
    done: list[Task]  # unpacked by an earlier run
    absent: list[Task]  # there is neither an archive nor an unpacked folder
    problems: list[str]  # a line for each archive or folder that cannot be read, or has truncated files


def plan_lines(plan: Plan, extracted: Path) -> list[str]:
    """Return in two lines what a run will do, and what is free."""
    words = ("to unpack", "already unpacked", f"not in {ARCHIVES}/", "that cannot be unpacked")
    counts = [len(plan.to_do), len(plan.done), len(plan.absent), len(plan.problems)]
    parts = [f"{count:,} {word}" for count, word in zip(counts, words, strict=True) if count]
    packed = sum(task.file.stat().st_size for task in plan.to_do)
    size = sum(unpacked_size(task.file) for task in plan.to_do)
    work = f"{size_text(size)} to write, from {size_text(packed)} of archives" if plan.to_do else "nothing to unpack"
    return [
        f"plan: {count_of(sum(counts), 'archive')}: {', '.join(parts)}",
        f"      {work}; {size_text(free_bytes(extracted))} free in {extracted}",
    ]


def archive_lines(plan: Plan, delete_archives: bool) -> list[str]:
    """Return a line for each archive of a plan, without those with problems, which are named as in every run."""
    lines = [f"{task.file.name}: to unpack, {size_text(unpacked_size(task.file))}" for task in plan.to_do]
    for task in plan.done:
        archive = "deleted" if is_absent(task.file) else "to delete" if delete_archives else ""
        lines.append(f"{task.file.name}: already unpacked{archive and f' (archive {archive})'}")
    return lines + [f"{task.file.name}: not in {ARCHIVES}/" for task in plan.absent]


def lack_of_space(folder: Path, to_do: list[Task], jobs: int, delete_archives: bool) -> list[str]:
    """Return a line where the disk is too small for all archives: then nothing is unpacked."""
    frees = delete_archives and to_do and to_do[0].file.stat().st_dev == folder.stat().st_dev
    needed = most = 0
    for number, task in enumerate(to_do):
        if frees and number >= jobs:  # these are being unpacked, and not deleted yet
            needed -= to_do[number - jobs].file.stat().st_size
        needed += unpacked_size(task.file)
        most = max(most, needed)
    free = free_bytes(folder)
    if most <= free:
        return []
    return [
        f"unpacking {count_of(len(to_do), 'archive')} needs about {most:,} bytes, but {free:,} are free in {folder}: "
        "free some space, choose fewer --subjects or --kinds, or delete archives once unpacked (--delete-archives)"
    ]
