#!/usr/bin/env python3
"""Write what other projects' trainers read, from extracted/ and processed/:

    python3 export_all.py videopose3d

writes exported/videopose3d/data_3d_h36m.npz and data_2d_h36m_gt.npz. docs/exports.md says what each format is for. Run
it again after more was unpacked or processed: without changes it does nothing.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from h36m.cli import Progress, argument_parser, count_of, require_reachable, run, speaker
from h36m.dataset import (
    ANNOTATIONS_FILE,
    EXPORTED,
    EXTRACTED,
    PROCESSED,
    SUBJECTS_WITH_GROUND_TRUTH,
    UNFINISHED_EXPORT,
    sequence_folder,
)
from h36m.done import State, read_record
from h36m.errors import TaskError, UsageError
from h36m.export import learnable_triangulation, mmpose, moon, original, pose_baseline, videopose3d
from h36m.export.links import remove_empty, remove_stale, sync_folders
from h36m.export.record import (
    NOTHING,
    ExportRecord,
    count_names,
    input_states,
    is_complete,
    settings_of,
    write_record,
)
from h36m.export.shared import Job, one_by_one
from h36m.locks import only_run_in
from h36m.metadata import Metadata, load_metadata
from h36m.parallel.cores import available_cores
from h36m.parallel.workers import run_in_processes
from h36m.process.annotations import read_attributes
from h36m.process.s9 import SHIFTED_SUBJECT, is_shifted
from h36m.storage import cleared, free_name, reason_of, rename_durably

FORMATS: dict[str, ModuleType] = {
    "videopose3d": videopose3d,
    "mmpose": mmpose,
    "3dmppe": moon,
    "learnable-triangulation": learnable_triangulation,
    "3d-pose-baseline": pose_baseline,
    "original": original,
}

# Fewer tasks than this are done before processes for them have started.
TASKS_WORTH_PROCESSES = 2


@dataclass(frozen=True)
class Export:
    """One export of a format, and what an earlier run has left of it."""

    name: str  # of the format
    job: Job
    settings: dict[str, Any]
    inputs: dict[str, State]
    file: Path  # of its record
    before: ExportRecord  # of the earlier export, or NOTHING
    quiet: bool


def main(arguments: argparse.Namespace) -> list[str]:
    say, metadata, root = speaker(arguments.quiet), load_metadata(), arguments.root.resolve()
    format_ = FORMATS[arguments.format]
    subjects = [subject for subject in SUBJECTS_WITH_GROUND_TRUTH if subject in arguments.subjects]
    require_inputs(root, format_, metadata)
    out = arguments.out or root / EXPORTED / arguments.format
    require_reachable(out)
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: {out} is not a folder; choose another")
    out.mkdir(parents=True, exist_ok=True)
    with only_run_in(out, say):
        file = out / f".{arguments.format}.json"  # one folder may hold several formats
        record = read_record(ExportRecord, file) or NOTHING
        settings, inputs = settings_of(root, out, subjects), input_states(root, format_, subjects)
        if record.is_current(settings, inputs) and is_complete(record, out):
            say(f"nothing to do: {out} is up to date")
        else:
            job = Job(
                root=root,
                subjects=tuple(subjects),
                metadata=metadata,
                unfinished=cleared(out / UNFINISHED_EXPORT, say),
                out=out,
                copied_before=frozenset(record.copied),
                run_tasks=in_processes,
            )
            record = make(Export(arguments.format, job, settings, inputs, file, record, arguments.quiet))
        for notice in record.notices:
            say(notice)
    return record.problems


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


def make(export: Export) -> ExportRecord:
    """Build an export, move it to its place and record it; if that fails, the earlier export stays as it is.

    Raises:
        TaskError: the system could not write, or read.
    """
    job = export.job
    try:
        job.unfinished.mkdir()
        files = place(export) if build(export) else {}
    except OSError as error:
        reason = reason_of(error, job.out)
        raise TaskError(f"{job.out}: not exported, the earlier export is kept: {reason}") from error
    finally:
        shutil.rmtree(job.unfinished, ignore_errors=True)
    return record_export(export, files)


def build(export: Export) -> bool:
    """Write the files of the format to a folder of their own, and make its links; return whether there are any."""
    if export.before is not NOTHING:  # links are made in place: from here on the earlier export may not be complete
        write_record(export.file, replace(export.before, settings={}))
    job = export.job
    total = sum(len(job.metadata.sequences_of(subject)) for subject in job.subjects)
    with Progress(total=total, desc="exporting", unit="sequences", disable=export.quiet) as progress:
        exported = FORMATS[export.name].export(replace(job, step=progress.update))
    return exported > 0


def place(export: Export) -> dict[str, int]:
    """Move the files to their places, and remove those of the earlier export that are not made any more.

    A file or folder under such a name that is not this script's is renamed.

    Returns:
        the size of each file, by its path below the export's folder.
    """
    job, out, before, say = export.job, export.job.out, export.before, speaker(export.quiet)
    files = {
        file.relative_to(job.unfinished).as_posix(): file.stat().st_size
        for file in sorted(job.unfinished.rglob("*"))
        if file.is_file()
    }
    for name in files:
        path = out / name
        if path.is_dir() or (path.exists() and name not in before.files):
            aside = free_name(path.with_name(f"{path.name}.old"))
            path.rename(aside)
            say(f"{path}: the existing file was not created by this script; renamed to {aside.name}")
    # From the first move on, the record has the new names too: this run may be killed.
    write_record(export.file, replace(before, settings={}, files=before.files | files))
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        rename_durably(job.unfinished / name, out / name)
    for name in before.files.keys() - files.keys():
        (out / name).unlink(missing_ok=True)
        remove_empty((out / name).parent, out)
    remove_stale(job, getattr(FORMATS[export.name], "IMAGE_FOLDERS", None), before.links)
    sync_folders(out, [*files, *job.linked.links, *(f"{folder}/." for folder in job.linked.folders), "."])
    return files


def record_export(export: Export, files: dict[str, int]) -> ExportRecord:
    """Record an export and say what it consists of; without files, the earlier export's record stays.

    Returns:
        the record, with the problems of this run.
    """
    job, say, linked = export.job, speaker(export.quiet), export.job.linked
    problems = job.problems + job.missing.lines()
    if not files:
        if export.before is not NOTHING:
            write_record(export.file, export.before)
        problems.append(f"nothing to export as {export.name}; {job.out} is unchanged")
        return replace(export.before, problems=problems, notices=[])
    record = ExportRecord(
        settings=export.settings,
        inputs=export.inputs,
        problems=problems,
        notices=notices_of(export),
        files=files,
        links=linked.links,
        folders={folder: count_names(job.out / folder) for folder in linked.folders},
        copied=linked.copied,
    )
    write_record(export.file, record)
    images = f", {sum(linked.folders.values()):,} images" if linked.folders else ""
    links = f", {count_of(len(linked.links), 'link')}" if linked.links else ""
    say(f"{count_of(len(files), 'file')}{links}{images} written to {job.out}")
    return record


def notices_of(export: Export) -> list[str]:
    """Return a line about each kind of images that are not linked, and about the poses of S9's shifted sequences.

    Poses from extracted/ are as published; processed/ may have corrected ones.
    """
    job, name = export.job, export.name
    notices = job.unneeded.lines()
    if notices and not (job.root / PROCESSED).is_dir():
        notices = [f"no images are linked: {PROCESSED}/ does not exist; if you need images, run process_all.py first"]
    if SHIFTED_SUBJECT not in job.subjects or name == "original":
        return notices
    shifted = [sequence for sequence in job.metadata.sequences_of(SHIFTED_SUBJECT) if is_shifted(sequence)]
    if name != "learnable-triangulation":
        names = ", ".join(sequence.name for sequence in shifted)
        return [*notices, f"poses are as published: those of {SHIFTED_SUBJECT} {names} are offset from the images"]
    files = {sequence.name: sequence_folder(job.root, sequence) / ANNOTATIONS_FILE for sequence in shifted}
    corrected = {name: read_attributes(file).get("correct_s9") for name, file in files.items()}  # None: not processed
    for value, text in ((True, "corrected (--correct-s9)"), (False, "as published, offset from the images")):
        names = ", ".join(name for name, is_so in corrected.items() if is_so is not None and bool(is_so) == value)
        notices += [f"poses of {SHIFTED_SUBJECT} {names} are {text}, as in {PROCESSED}/"] if names else []
    return notices


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
    parser = argument_parser(__doc__, (EXTRACTED, PROCESSED, EXPORTED))
    formats = "\n".join(f"  {name:24} {module.READ_BY}" for name, module in FORMATS.items())
    parser.epilog = f"formats, and who reads them:\n{formats}"
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help="one of the formats below")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {EXPORTED}/FORMAT in --root")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
