#!/usr/bin/env python3
"""Unpack archives/ into extracted/, one folder an archive:

    python3 extract_all.py
    python3 extract_all.py --subjects S1 S9 --delete-archives

A folder such as extracted/S1/Videos/ appears when all of its archive is in it, or not at all. Run it again after a stop
or when more is fetched: it does only what is missing, and what has changed.
"""

import argparse
import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from h36m.archives import BOXES, KINDS, PART_LABELS, archive_name
from h36m.console import Problem, Progress, WrongUse, argument_parser, positive_integer, run, say
from h36m.folders import UNPACKED_RECORD, Record, free_name, only_run_in
from h36m.gzip_stream import BadArchive
from h36m.unpack import unfinished_folder, unpacked, unpacked_size
from h36m.workers import available_cores


class Unit(NamedTuple):
    """One archive and the folder that it becomes."""

    kind: str
    subject: str
    archive: Path  # archives/Videos_S1.tgz
    folder: Path  # extracted/S1/Videos


class Stopped(Exception):
    """The run is being stopped; what is unfinished goes."""


def main(arguments: argparse.Namespace) -> list[str]:
    archives, extracted = arguments.root / "archives", arguments.root / "extracted"
    if not archives.is_dir():
        raise WrongUse(f"there is no folder {archives}: run download_all.py first, or say where with --root")
    units = [
        Unit(kind, subject, archives / f"{archive_name(kind, subject)}.tgz", extracted / subject / kind)
        for subject in dict.fromkeys(arguments.subjects)
        for kind in KINDS
    ]
    extracted.mkdir(exist_ok=True)
    with only_run_in(extracted, lambda line: say(arguments, line)):
        record = Record(extracted / UNPACKED_RECORD)
        to_do, done, absent = [], [], []
        for unit in units:
            remove_leftovers(unit)
            if unit.archive.is_file() and not (unit.folder.is_dir() and record.holds(unit.archive)):
                to_do.append(unit)
            elif unit.folder.is_dir():
                done.append(unit)
            else:
                absent.append(unit)
        problems = tell_absent(arguments, absent)
        if to_do:
            require_space(arguments, extracted, to_do)
            problems += unpack_all(arguments, record, to_do)
        elif done:
            say(arguments, f"nothing to do: {len(done)} archives are unpacked in {extracted}")
        if arguments.delete_archives:
            for unit in done:
                delete_archive(unit)
    return problems


def tell_absent(arguments: argparse.Namespace, absent: list[Unit]) -> list[str]:
    """Name the archives that are not there, a line a kind; return the lines that count as problems.

    Many people want no boxes or no part labels: that all archives of such a kind are absent is told, and no problem.
    """
    problems = []
    for kind in KINDS:
        missing = [unit.archive for unit in absent if unit.kind == kind]
        if not missing:
            continue
        is_optional = kind in (BOXES, PART_LABELS)
        script = "download_seg_mat_gt_pl.py" if is_optional else "download_all.py"
        names = " ".join(archive.name for archive in missing)
        line = f"not in {missing[0].parent}: {names}; {script} fetches what is missing"
        if is_optional and len(missing) == len(set(arguments.subjects)):
            say(arguments, line)
        else:
            problems.append(line)
    return problems


def require_space(arguments: argparse.Namespace, extracted: Path, to_do: list[Unit]) -> None:
    """Stop before anything is unpacked that cannot all fit.

    Raises:
        Problem: with what it needs and what the disk has.
    """
    frees = arguments.delete_archives and to_do[0].archive.stat().st_dev == extracted.stat().st_dev
    needed = most = 0
    for number, unit in enumerate(to_do):
        if frees and number >= arguments.jobs:  # so many are at work, and not deleted yet
            needed -= to_do[number - arguments.jobs].archive.stat().st_size
        needed += unpacked_size(unit.archive)
        most = max(most, needed)
    free = shutil.disk_usage(extracted).free
    if most > free:
        raise Problem(
            f"unpacking {len(to_do)} archives needs about {most:,} bytes, and {free:,} are free in {extracted}: make "
            "room, take some --subjects only, or have archives deleted as it goes (--delete-archives)"
        )


def unpack_all(arguments: argparse.Namespace, record: Record, to_do: list[Unit]) -> list[str]:
    """Unpack archives, `--jobs` at a time; return a line for each that could not be."""
    total = sum(unit.archive.stat().st_size for unit in to_do)
    stop, lock = threading.Event(), threading.Lock()
    problems = []
    with Progress(total=total, desc="unpacking", unit="B", unit_scale=True, disable=arguments.quiet) as progress:

        def on_bytes(count: int) -> None:
            if stop.is_set():
                raise Stopped
            with lock:
                progress.update(count)

        # Threads do: nearly all the time goes into zlib and the disk, which let others run meanwhile.
        with ThreadPoolExecutor(arguments.jobs) as pool:
            tasks = {pool.submit(unpack_one, unit, record, on_bytes): unit for unit in to_do}
            try:
                for task in as_completed(tasks):
                    unit = tasks[task]
                    problem, notice = task.result()
                    if problem:
                        problems.append(problem)
                        continue
                    say(arguments, f"{unit.archive.name}: unpacked{notice}")
                    if arguments.delete_archives:
                        delete_archive(unit)
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    say(arguments, f"{len(to_do) - len(problems)} of {len(to_do)} archives unpacked")
    return problems


def unpack_one(unit: Unit, record: Record, on_bytes: Callable[[int], None]) -> tuple[str | None, str]:
    """Unpack an archive to its place.

    Returns:
        why that could not be done, None if it was; what the person should know besides.
    """
    notice = ""
    try:
        unit.folder.parent.mkdir(exist_ok=True)
        with unpacked(unit.archive, unit.folder, unit.subject, on_bytes) as complete:
            if unit.folder.exists():
                aside = replaced_folder(unit)
                if unit.archive.name not in record.entries:  # who knows whose it is, and what else is in it
                    aside = free_name(unit.folder.with_name(f"{unit.kind}.old"))
                    notice = f"; the folder that was there, of unknown origin, is {aside} now"
                unit.folder.rename(aside)
            record.add(unit.archive)  # before the folder appears: one that is there is always a recorded one
            complete.rename(unit.folder)
        remove_leftovers(unit)
    except BadArchive as fault:
        return f"{unit.archive.name} {fault}: not unpacked; remove it and run the download script again", ""
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(unit.folder.parent.parent).free
            return f"{unit.archive.name}: not unpacked: the disk is full, {free:,} bytes are free; make room", ""
        return f"{unit.archive.name}: not unpacked: {error}", ""
    return None, notice


def replaced_folder(unit: Unit) -> Path:
    """Return where a folder goes that another edition of its archive replaces, before it is removed."""
    return unit.folder.with_name(f".{unit.kind}.replaced")


def remove_leftovers(unit: Unit) -> None:
    """Remove what a run, killed perhaps, has left beside a folder."""
    for leftover in (unfinished_folder(unit.folder), replaced_folder(unit)):
        if leftover.exists():
            shutil.rmtree(leftover)


def delete_archive(unit: Unit) -> None:
    """Delete an archive when what was unpacked is on the disk, and not only on its way there."""
    if hasattr(os, "sync"):
        os.sync()
    unit.archive.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--jobs", type=positive_integer, default=available_cores(), metavar="N", help="default: the cores"
    )
    parser.add_argument(
        "--delete-archives", action="store_true", help="delete each archive when its folder stands, to save disk"
    )
    run(main, parser)
