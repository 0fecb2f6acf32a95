#!/usr/bin/env python3
"""Unpack archives/ into extracted/, one folder per archive.

    python3 extract_all.py
    python3 extract_all.py --subjects S1 S9 --delete-archives

A folder such as extracted/S1/Videos/ appears when all of its archive is in it,
or not at all. Run it again after an interruption or after more was downloaded:
it does only what is missing or has changed.
"""

import h36m  # noqa: F401, I001  (first, see there)

import argparse
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from h36m.archives.members import listed
from h36m.archives.near_misses import near_misses, unfinished_download
from h36m.archives.unpacked import lost_files, sizes_in
from h36m.cli import add_kinds_option, argument_parser, next_command, positive_integer, run
from h36m.dataset import (
    ARCHIVES,
    EXTRACTED,
    KIND_FACTS,
    KINDS,
    NEEDED_KINDS,
    UNPACKED_RECORD,
    Archive,
    archive_file,
    kinds_option,
    unpack_again,
    unpacked_folder,
)
from h36m.errors import BadArchiveError, OtherArchiveError, RunStoppedError, UnsafeArchiveError, UsageError
from h36m.extract.plan import Plan, Task, archive_lines, lack_of_space, plan_lines
from h36m.extract.unpack import holds_other_files, unfinished_folder, unpack, unpacked_size
from h36m.locks import only_run_in
from h36m.parallel.cores import available_cores
from h36m.progress import Progress, Say, count_of, is_or_are, size_text, speaker, time_text
from h36m.storage import Record, cleared, free_name, is_absent, reason_of, sync_parents, sync_tree


def main(arguments: argparse.Namespace) -> list[str]:
    say, root, jobs = speaker(arguments.quiet), arguments.root, arguments.jobs
    extracted, kinds = root / EXTRACTED, arguments.kinds or KINDS
    if not (root / ARCHIVES).is_dir() and not extracted.is_dir():
        raise UsageError(f"there is no folder {root / ARCHIVES}; run download_all.py first, or set --root")
    if not arguments.dry_run:
        extracted.mkdir(exist_ok=True)
    with contextlib.nullcontext() if arguments.dry_run else only_run_in(extracted, say):
        record = Record(extracted / UNPACKED_RECORD)
        plan = plan_run(root, arguments.subjects, record, kinds, say, arguments.dry_run)
        lines = plan_lines(plan, extracted) if plan.to_do or arguments.dry_run else []
        lines += archive_lines(plan, arguments.delete_archives) if arguments.dry_run else []
        for line in lines:
            say(line)
        problems = report_absent(plan.absent, arguments.subjects, say, arguments.kinds or ()) + plan.problems
        lack = lack_of_space(extracted if extracted.exists() else root, plan.to_do, jobs, arguments.delete_archives)
        if lack or arguments.dry_run:
            return problems + lack
        unpacked = plan.done
        if plan.to_do:
            unpacked, found = unpack_all(plan.to_do, record, jobs, arguments.delete_archives, arguments.quiet)
            problems += found
        elif plan.done:
            archives = count_of(len(plan.done), "archive")
            say(f"nothing to do: {archives} {is_or_are(len(plan.done))} unpacked in {extracted}")
        if arguments.delete_archives:
            problems += [line for task in plan.done for line in delete_archive(task)]
    if any(can_be_processed(root, task.archive) for task in unpacked):
        say(f"next: {next_command(arguments, 'process_all.py')}")
    return problems


# -- plan --------------------------------------------------------------------------------------------------------------


def plan_run(
    root: Path,
    subjects: list[str],
    record: Record,
    kinds: Sequence[str] = KINDS,
    say: Say = lambda line: None,
    is_dry: bool = False,
) -> Plan:
    """Find out which archives of some kinds are to be unpacked, and remove what a killed run has left of them.

    Args:
        is_dry: remove nothing.
    """
    plan = Plan([], [], [], [])
    for subject in dict.fromkeys(subjects):
        for kind in kinds:
            archive = Archive(kind, subject)
            task = Task(archive, archive_file(root, archive), unpacked_folder(root, archive))
            if not is_dry:
                remove_leftovers(task, say)
            try:
                lost = lost_files(task.folder, archive, record)
                is_to_do = not is_absent(task.file) and not (lost == [] and record.holds(task.file))
                if is_to_do:
                    unpacked_size(task.file)  # it can be read
            except OSError as error:
                plan.problems.append(f"{archive.file_name}: not unpacked: {reason_of(error, root)}")
                continue
            # If the archive is gone, files may have been deleted on purpose; truncated ones were not.
            truncated = [name for name in lost or () if (task.folder / name).exists()]
            if is_to_do:
                plan.to_do.append(task)
            elif lost is None:
                plan.absent.append(task)
            elif truncated:
                plan.problems.append(
                    f"{task.folder}: {count_of(len(truncated), 'file')} {is_or_are(len(truncated))} empty or truncated "
                    f"({listed(truncated)}); {unpack_again(task.folder / truncated[0])}"
                )
            else:
                plan.done.append(task)
    return plan


def report_absent(absent: list[Task], subjects: list[str], say: Say, asked_for: Sequence[str] = ()) -> list[str]:
    """Name the archives that do not exist, one line per kind; return the lines that count as problems.

    Many users need no boxes or no part labels: if all archives of such a kind are absent, that is only a notice.

    Args:
        asked_for: the kinds named with `--kinds`; absent archives of these are always problems.
    """
    problems = []
    for kind, facts in KIND_FACTS.items():
        missing = [task for task in absent if task.archive.kind == kind]
        if not missing:
            continue
        folder, names = missing[0].file.parent, " ".join(task.file.name for task in missing)
        script = f"{facts.script}{kinds_option(kind)}"
        lines = [f"not in {folder}: {names}; run {script} to download missing archives"]
        lines += near_misses(folder, [task.archive for task in missing])
        misplaced = [
            f"{task.folder}: its {facts.extension} files are not at the top of this folder, where process_all.py looks;"
            f" move them there, or remove the folder and run {script} and this script"
            for task in missing
            if task.folder.is_dir()
        ]
        lines += misplaced
        if facts.is_optional and kind not in asked_for and len(missing) == len(set(subjects)) and not misplaced:
            say("\n".join(lines))
        else:
            problems += lines
    return problems


# -- run ---------------------------------------------------------------------------------------------------------------


def unpack_all(
    to_do: list[Task], record: Record, jobs: int, delete_archives: bool, quiet: bool
) -> tuple[list[Task], list[str]]:
    """Unpack archives, `jobs` at a time; return those that are unpacked, and a line for each failure."""
    say, started, archives = speaker(quiet), time.monotonic(), count_of(len(to_do), "archive")
    total = sum(task.file.stat().st_size for task in to_do)
    stop, lock = threading.Event(), threading.Lock()
    unpacked: list[Task] = []
    problems, left = [], []
    with Progress(f"0 of {archives}", total, "B", quiet=quiet) as progress:

        def on_bytes(count: int) -> None:
            if stop.is_set():
                raise RunStoppedError
            with lock:
                progress.update(count)

        # Threads suffice: nearly all the time is spent in zlib and the disk, without the interpreter's lock.
        with ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(unpack_one, task, record, on_bytes): task for task in to_do}
            try:
                for future in as_completed(futures):
                    task = futures[future]
                    problem, notice = future.result()
                    if problem:
                        problems.append(problem)
                        continue
                    say(f"{task.file.name}: unpacked{notice}")
                    unpacked.append(task)
                    progress.say_words(f"{len(unpacked)} of {archives}")
                    if delete_archives:
                        left += delete_archive(task)
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    size = size_text(sum(sum((record.files(task.file) or {}).values()) for task in unpacked))
    say(f"{len(unpacked)} of {archives} unpacked, {size} in {time_text(time.monotonic() - started)}")
    return unpacked, problems + left


def unpack_one(task: Task, record: Record, on_bytes: Callable[[int], None]) -> tuple[str | None, str]:
    """Unpack an archive to its place.

    After a power cut at any time, the folder is the old one, the whole new one, or absent, and the record says no more
    than that: files, folders, name and record are written to the disk in this order.

    Returns:
        why that failed, None if it did not; a notice for the user.
    """
    notice = ""
    try:
        task.folder.parent.mkdir(exist_ok=True)
        complete, strays = unpack(task.file, task.folder, task.archive, on_bytes)
        files = sizes_in(complete)
        sync_tree(complete)
        if task.folder.exists():
            aside = free_name(replaced_folder(task))
            earlier = {} if record.holds(task.file) else record.files(task.file) or {}
            # The folder may be the user's own, or hold files of the user's.
            if holds_other_files(task.folder, complete, earlier):
                aside = free_name(task.folder.with_name(f"{task.archive.kind}.old"))
                notice = f"; the existing folder has other files and was renamed to {aside}"
            task.folder.rename(aside)
        complete.rename(task.folder)
        sync_parents(task.folder)
        record.add(task.file, files=files)
        if strays:
            count = count_of(len(strays), "file")
            notice += f"; skipped {count} created by operating systems: {listed(strays)}"
    except BadArchiveError as fault:
        unfinished = unfinished_download(task.file, task.archive.kind)
        if unfinished:
            return unfinished, ""
        return f"{task.file.name} {fault} (not unpacked); {remedy(task, fault)}", ""
    except OSError as error:
        return f"{task.file.name}: not unpacked: {reason_of(error, task.folder)}", ""
    finally:
        remove_leftovers(task)
    return None, notice


def delete_archive(task: Task) -> list[str]:
    """Delete an archive that has been unpacked; return a line if that fails."""
    try:
        task.file.unlink(missing_ok=True)
    except OSError as error:
        return [f"{task.file.name}: not deleted: {reason_of(error, task.file)}"]
    return []


def remedy(task: Task, fault: BadArchiveError) -> str:
    """Return the remedy for a bad archive: to download it again only if that gives another file."""
    script = f"{KIND_FACTS[task.archive.kind].script}{kinds_option(task.archive.kind)}"
    if isinstance(fault, UnsafeArchiveError):
        return "the official archives do not contain this; check its source"
    if isinstance(fault, OtherArchiveError):
        return f"rename it to match its content, or remove it, and run {script} again"
    return f"remove it and run {script} again"


def can_be_processed(root: Path, archive: Archive) -> bool:
    """Return whether process_all.py reads this kind of archive, and has what it needs of its subject."""
    folders = [unpacked_folder(root, archive._replace(kind=kind)) for kind in NEEDED_KINDS]
    return archive.kind in KINDS and not any(map(is_absent, folders))


def replaced_folder(task: Task) -> Path:
    """Return where a folder is moved that another version of its archive replaces, before it is removed."""
    return task.folder.with_name(f".{task.archive.kind}.replaced")


def remove_leftovers(task: Task, say: Say = lambda line: None) -> None:
    """Remove what a killed run, or a failure, has left next to a folder."""
    for leftover in (unfinished_folder(task.folder), replaced_folder(task)):
        cleared(leftover, say)


# -- command line ------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__, (ARCHIVES, EXTRACTED))
    add_kinds_option(parser, KINDS)
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        default=available_cores(),
        metavar="N",
        help="Unpack N archives at a time. Default: the number of cores.",
    )
    parser.add_argument(
        "--delete-archives",
        action="store_true",
        help="Delete each archive once it has been unpacked, to save disk. Default: keep it.",
    )
    return parser


if __name__ == "__main__":
    run(main, build_parser())
