#!/usr/bin/env python3
"""Write what other projects' trainers read, from extracted/ and processed/:

    python3 export_all.py videopose3d

writes exported/videopose3d/data_3d_h36m.npz and data_2d_h36m_gt.npz. docs/exports.md says what each format is for. Run
it again after more was unpacked or processed: without changes it does nothing.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from h36m.cli import Progress, Say, argument_parser, count_of, run, speaker
from h36m.dataset import (
    ANNOTATIONS_FILE,
    EXPORTED,
    EXTRACTED,
    PROCESSED,
    SUBJECTS_WITH_GROUND_TRUTH,
    UNFINISHED_EXPORT,
    Sequence,
    sequence_folder,
)
from h36m.errors import TaskError, UsageError
from h36m.export import learnable_triangulation, mmpose, moon, original, pose_baseline, videopose3d
from h36m.export.links import remove_empty, remove_stale, sync_folders
from h36m.export.record import count_names, is_current, made_from, outcome_of, read_record, record_file, write_record
from h36m.export.shared import Job, one_by_one
from h36m.locks import only_run_in
from h36m.metadata import Metadata, load_metadata
from h36m.parallel.cores import available_cores
from h36m.parallel.workers import run_in_processes
from h36m.process.annotations import read_attributes
from h36m.process.s9 import SHIFTED_SUBJECT, is_shifted
from h36m.storage import free_name, is_disk_full, rename_durably

FORMATS: dict[str, ModuleType] = {
    "videopose3d": videopose3d,
    "mmpose": mmpose,
    "3dmppe": moon,
    "learnable-triangulation": learnable_triangulation,
    "3d-pose-baseline": pose_baseline,
    "original": original,
}

# Fewer tasks than this are done before processes for them have started.
TASKS_WORTH_PROCESSES = 8


def main(arguments: argparse.Namespace) -> list[str]:
    say, metadata, root = speaker(arguments.quiet), load_metadata(), arguments.root.resolve()
    format_ = FORMATS[arguments.format]
    subjects = [subject for subject in SUBJECTS_WITH_GROUND_TRUTH if subject in arguments.subjects]
    require_inputs(root, format_, metadata)
    out = (arguments.out or root / EXPORTED / arguments.format).resolve()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: {out} is not a folder; choose another")
    out.mkdir(parents=True, exist_ok=True)
    with only_run_in(out, say):
        record = read_record(record_file(out, arguments.format))
        wanted = made_from(root, out, format_, subjects)
        if is_current(record, wanted, out):
            say(f"nothing to do: {out} is up to date")
        else:
            try:
                record = make(arguments.format, metadata, root, out, record, wanted, arguments.quiet)
            except OSError as error:
                if not is_disk_full(error):
                    raise
                free = shutil.disk_usage(out).free
                raise TaskError(
                    f"{out}: disk is full ({free:,} bytes free), the earlier export is kept; "
                    "free some space and run again"
                ) from error
        for notice in record["notices"]:
            say(notice)
    return record["problems"]


def require_inputs(root: Path, format_: ModuleType, metadata: Metadata) -> None:
    """Stop where nothing can be exported.

    Raises:
        UsageError: a folder or the calibration is missing.
    """
    if not metadata.cameras:
        raise UsageError("metadata.xml has no calibration (<w0>), which exports need; restore the project's own")
    folder, script = (
        (PROCESSED, "process_all.py") if format_ is learnable_triangulation else (EXTRACTED, "extract_all.py")
    )
    if not (root / folder).is_dir():
        raise UsageError(f"there is no folder {root / folder}; run {script}, or give another --root")


# -- make --------------------------------------------------------------------------------------------------------------


def make(
    name: str, metadata: Metadata, root: Path, out: Path, before: dict[str, Any], wanted: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    """Write the files of a format beside their places, and then move them there; return the record of the export.

    If the export cannot be made, the earlier one stays as it is.

    Args:
        before: the record of the earlier export.
        wanted: what this one is made from.
    """
    format_, say, file = FORMATS[name], speaker(quiet), record_file(out, name)
    unfinished = out / UNFINISHED_EXPORT
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    problems: list[str] = []
    notices: list[str] = []
    total = sum(len(metadata.sequences_of(subject)) for subject in wanted["subjects"])
    try:
        if file.exists():  # links are made in place: from here on the earlier export may not be complete
            write_record(file, outcome_of(before))
        with Progress(total=total, desc="exporting", unit="sequences", disable=quiet) as progress:
            job = Job(
                root=root,
                subjects=tuple(wanted["subjects"]),
                metadata=metadata,
                unfinished=unfinished,
                out=out,
                problem=problems.append,
                step=progress.update,
                copied_before=frozenset(before["copied"]),
                run_tasks=in_processes,
            )
            exported = format_.export(job)
        problems += job.missing.lines()
        unneeded = job.unneeded.lines()
        if unneeded and not (root / PROCESSED).is_dir():
            unneeded = [
                f"no images are linked: {PROCESSED}/ does not exist; if you need images, run process_all.py first"
            ]
        notices += [*unneeded, *poses_carried(job, format_)]
        if not exported:
            if file.exists():
                write_record(file, before)
            problems.append(f"nothing to export as {name}; {out} is unchanged")
            return before | {"problems": problems, "notices": []}
        files = put_in_place(unfinished, out, before, file, say)
        remove_stale(job, getattr(format_, "IMAGE_FOLDERS", None), before["links"])
        linked = job.linked
        sync_folders(out, [*files, *linked.links, *(f"{folder}/." for folder in linked.folders), "."])
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    record = wanted | {
        "problems": problems,
        "notices": notices,
        "files": files,
        "links": linked.links,
        "folders": {folder: count_names(out / folder) for folder in linked.folders},
        "copied": linked.copied,
    }
    write_record(file, record)
    images = f", {sum(linked.folders.values()):,} images" if linked.folders else ""
    links = f", {count_of(len(linked.links), 'link')}" if linked.links else ""
    say(f"{count_of(len(files), 'file')}{links}{images} written to {out}")
    return record


def put_in_place(unfinished: Path, out: Path, before: dict[str, Any], record: Path, say: Say) -> dict[str, int]:
    """Move the finished files to their places and remove those of the earlier export that are not made any more.

    A file or folder under such a name that is not this script's is renamed.

    Args:
        before: the record of the earlier export.
        record: the file of the record; from the first move on it has the new names too, in case the run is killed.

    Returns:
        the size of each file, by its path below `out`.
    """
    files = {
        file.relative_to(unfinished).as_posix(): file.stat().st_size
        for file in sorted(unfinished.rglob("*"))
        if file.is_file()
    }
    for name in files:
        place = out / name
        if place.is_dir() or (place.exists() and name not in before["files"]):
            aside = free_name(place.with_name(f"{place.name}.old"))
            place.rename(aside)
            say(f"{place}: the existing file was not created by this script; renamed to {aside.name}")
    write_record(record, outcome_of(before | {"files": before["files"] | files}))
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        rename_durably(unfinished / name, out / name)
    for name in before["files"].keys() - files.keys():
        (out / name).unlink(missing_ok=True)
        remove_empty((out / name).parent, out)
    return files


def poses_carried(job: Job, format_: ModuleType) -> list[str]:
    """Return a line about the poses of S9's shifted sequences, where they are exported.

    Poses from extracted/ are as published; processed/ may have corrected ones.
    """
    if SHIFTED_SUBJECT not in job.subjects or format_ is original:
        return []
    shifted = [sequence for sequence in job.metadata.sequences_of(SHIFTED_SUBJECT) if is_shifted(sequence)]
    if format_ is not learnable_triangulation:
        names = ", ".join(sequence.name for sequence in shifted)
        return [f"poses are as published: those of {SHIFTED_SUBJECT} {names} are offset from the images"]
    corrected = {sequence.name: is_corrected(job.root, sequence) for sequence in shifted}
    lines = []
    for value, text in ((True, "corrected (--correct-s9)"), (False, "as published, offset from the images")):
        names = ", ".join(name for name, is_so in corrected.items() if is_so is value)
        lines += [f"poses of {SHIFTED_SUBJECT} {names} are {text}, as in {PROCESSED}/"] if names else []
    return lines


def is_corrected(root: Path, sequence: Sequence) -> bool | None:
    """Return whether processed/ has a sequence's poses corrected; None where it does not have the sequence."""
    corrected = read_attributes(sequence_folder(root, sequence) / ANNOTATIONS_FILE).get("correct_s9")
    return None if corrected is None else bool(corrected)


def in_processes(work: Callable[[Any], Any], tasks: list) -> Iterator[tuple[Any, Any, str | None]]:
    """Run long tasks on all cores, see h36m.export.shared.RunTasks."""
    if len(tasks) < TASKS_WORTH_PROCESSES:
        yield from one_by_one(work, tasks)
        return
    preload = (work.__module__,)
    for task, result, failure, _ in run_in_processes(work, tasks, min(available_cores(), len(tasks)), preload):
        yield task, result, failure


# -- command line ------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__)
    formats = "\n".join(f"  {name:24} {module.READ_BY}" for name, module in FORMATS.items())
    parser.epilog = f"formats, and who reads them:\n{formats}"
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help="one of the formats below")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {EXPORTED}/FORMAT in --root")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
