#!/usr/bin/env python3
"""Write what other projects' trainers read, from extracted/ and processed/.

    python3 export_all.py videopose3d
    python3 export_all.py mmpose --out ../mmpose/data/h36m

The first command writes data_3d_h36m.npz and data_2d_h36m_gt.npz into
exported/videopose3d/. docs/exports.md says what each format is for. Run it
again after more was unpacked or processed: without changes it does nothing.
"""

import h36m  # noqa: F401, I001  (first, see there)

import argparse
import contextlib
import shutil
import textwrap
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from h36m.cli import StoreNames, argument_parser, require_reachable, run
from h36m.dataset import (
    ANNOTATIONS_FILE,
    EXPORTED,
    EXTRACTED,
    PROCESSED,
    SUBJECTS_WITH_GROUND_TRUTH,
    UNFINISHED_EXPORT,
    Archive,
    Sequence,
    sequence_folder,
    unpack_again,
    unpacked_folder,
)
from h36m.done import read_record
from h36m.errors import TaskError, UsageError
from h36m.export import (
    h36m_toolbox,
    learnable_triangulation,
    mmpose,
    moon,
    motion_prediction,
    original,
    pose_baseline,
    semgcn,
    videopose3d,
)
from h36m.export.links import remove_empty, remove_stale, sync_folders
from h36m.export.record import (
    ExportRecord,
    count_names,
    input_states,
    is_complete,
    missing_inputs,
    settings_of,
    write_record,
)
from h36m.export.shared import Job
from h36m.locks import only_run_in
from h36m.metadata import Metadata, load_metadata
from h36m.parallel.cores import available_cores
from h36m.parallel.workers import run_in_processes
from h36m.process.annotations import read_attributes
from h36m.progress import Progress, Say, count_of, size_text, speaker, time_text
from h36m.s9 import SHIFTED_SUBJECT, is_shifted
from h36m.storage import cleared, free_bytes, free_name, reason_of, rename_durably

FORMATS: dict[str, ModuleType] = {
    "videopose3d": videopose3d,
    "semgcn": semgcn,
    "mmpose": mmpose,
    "3dmppe": moon,
    "learnable-triangulation": learnable_triangulation,
    "h36m-toolbox": h36m_toolbox,
    "3d-pose-baseline": pose_baseline,
    "motion-prediction": motion_prediction,
    "original": original,
}


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
    if not arguments.dry_run:
        out.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if arguments.dry_run else only_run_in(out, say):
        before = read_record(ExportRecord, record_file(out, arguments.format)) or ExportRecord({}, {}, [])
        record = ExportRecord(settings_of(root, out, subjects), input_states(root, format_, subjects), [])
        if before.is_current(record.settings, record.inputs) and is_complete(before, out):
            say(f"nothing to do: {out} is up to date")
            record = before
        else:
            sequences = [sequence for subject in subjects for sequence in metadata.sequences_of(subject)]
            say_plan(arguments.format, sequences, record, out, say)
            if arguments.dry_run:
                return list_subjects(arguments.format, root, sequences, record, say)
            job = Job(
                format=arguments.format,
                root=root,
                subjects=tuple(subjects),
                metadata=metadata,
                unfinished=cleared(out / UNFINISHED_EXPORT, say),
                out=out,
                before=before,
                record=record,
                progress=SequenceProgress("exporting", len(sequences), quiet=arguments.quiet),
                run_tasks=partial(run_in_processes, jobs=available_cores()),
            )
            record = make(job, say)
        for notice in record.notices:
            say(notice)
        if record.files:
            say(f"next: run the program that reads these files, see {arguments.format} in docs/exports.md")
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


# -- plan --------------------------------------------------------------------------------------------------------------


class SequenceProgress(Progress):
    """Progress in sequences: `3 of 210 sequences`.

    Most formats write their files after the last sequence, so that nothing tells the time left before `start_at`.
    """

    has_time_left = False

    def start_at(self, done: int, total: int | None) -> None:
        self.has_time_left = True
        super().start_at(done, total)

    def text(self) -> list[str]:
        self.say_words(f"{self.n:,} of {count_of(int(self.total or 0), 'sequence')}")
        return super().text() if self.has_time_left else [self.desc]


def say_plan(name: str, sequences: list[Sequence], record: ExportRecord, out: Path, say: Say) -> None:
    """Print in two lines what a run will export, what is missing for that, and what is free.

    Args:
        name: of the format.
        sequences: of the chosen subjects.
        record: with the inputs.
    """
    subjects = count_of(len({sequence.subject for sequence in sequences}), "subject")
    lacks = Counter(place for _, place in missing_inputs(record.inputs, sequences, FORMATS[name]).elements())
    lack = "".join(f", {count:,} without {place}" for place, count in lacks.items())
    say(f"plan: {name}: {count_of(len(sequences), 'sequence')} of {subjects}{lack}")
    sizes = [state[0] for state in record.inputs.values() if len(state) > 1]  # of files, not of folders of images
    free = f"{size_text(free_bytes(out))} free in {out}"
    say(f"      made from {count_of(len(sizes), 'file')} ({size_text(sum(sizes))}); {free}")


def list_subjects(name: str, root: Path, sequences: list[Sequence], record: ExportRecord, say: Say) -> list[str]:
    """Print a line for each subject of a plan; return a line for each thing that is missing."""
    for subject, count in Counter(sequence.subject for sequence in sequences).items():
        say(f"{subject}: {count_of(count, 'sequence')}")
    problems = []
    for (subject, place), count in missing_inputs(record.inputs, sequences, FORMATS[name]).items():
        any_file = unpacked_folder(root, Archive(place, subject)) / "any file"
        remedy = "run process_all.py" if place == ANNOTATIONS_FILE else unpack_again(any_file)
        problems.append(f"{subject}: {count_of(count, 'sequence')} without {place}; {remedy}")
    return problems


# -- make --------------------------------------------------------------------------------------------------------------


def make(job: Job, say: Say) -> ExportRecord:
    """Build an export, move it to its place and record it; if that fails, the earlier export stays as it is.

    Raises:
        TaskError: the system could not write, or read.
    """
    try:
        job.unfinished.mkdir()
        if build(job):
            place(job, say)
    except OSError as error:
        reason = reason_of(error, job.out)
        raise TaskError(f"{job.out}: not exported, the earlier export is kept: {reason}") from error
    finally:
        shutil.rmtree(job.unfinished, ignore_errors=True)
    return record_export(job, say)


def record_file(out: Path, name: str) -> Path:
    """Return the path of a format's record; one folder may hold several formats."""
    return out / f".{name}.json"


def build(job: Job) -> bool:
    """Write the files of the format to a folder of their own, and make its links; return whether there are any."""
    if job.before.files:  # links are made in place: from here on the earlier export may not be complete
        write_record(record_file(job.out, job.format), replace(job.before, settings={}))
    with job.progress:
        exported = FORMATS[job.format].export(job)
    return exported > 0


def place(job: Job, say: Say) -> None:
    """Move the files to their places, and remove those of the earlier export that are not made any more.

    A file or folder under such a name that is not this script's is renamed.
    """
    out, before, files = job.out, job.before, job.record.files
    for file in sorted(job.unfinished.rglob("*")):
        if file.is_file():
            files[file.relative_to(job.unfinished).as_posix()] = file.stat().st_size
    for name in files:
        path = out / name
        if path.is_dir() or (path.exists() and name not in before.files):
            first, *rest = Path(name).parts
            aside = free_name(out.joinpath(f"{first}.old", *rest))  # some programs read every file of a folder
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
            say(f"{path}: the existing file was not created by this script; renamed to {aside.relative_to(out)}")
    # From the first move on, the record has the new names too: this run may be killed.
    write_record(record_file(out, job.format), replace(before, settings={}, files=before.files | files))
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        rename_durably(job.unfinished / name, out / name)
    for name in before.files.keys() - files.keys():
        (out / name).unlink(missing_ok=True)
        remove_empty((out / name).parent, out)
    remove_stale(job, getattr(FORMATS[job.format], "IMAGE_FOLDERS", None))
    sync_folders(out, [*files, *job.record.links, *(f"{folder}/." for folder in job.images), "."])


def record_export(job: Job, say: Say) -> ExportRecord:
    """Record an export and say what it consists of; without files, the earlier export's record stays.

    Returns:
        the record, with the problems of this run; without files where nothing was exported.
    """
    record, file = job.record, record_file(job.out, job.format)
    record.problems.extend(job.missing.lines())
    if not record.files:
        if job.before.files:
            write_record(file, job.before)
        record.problems.append(f"nothing to export as {job.format}; {job.out} is unchanged")
        return replace(job.before, problems=record.problems, notices=[], files={})
    record.notices.extend(notices_of(job))
    record.folders.update({folder: count_names(job.out / folder) for folder in job.images})
    write_record(file, record)
    images = f", {sum(map(len, job.images.values())):,} images" if job.images else ""
    links = f", {count_of(len(record.links), 'link')}" if record.links else ""
    files = f"{count_of(len(record.files), 'file')} ({size_text(sum(record.files.values()))})"
    seconds = time.monotonic() - job.started
    say(f"{files}{links}{images} written to {job.out} in {time_text(seconds)}")
    return record


def notices_of(job: Job) -> list[str]:
    """Return a line about each kind of images that are not linked, and about the poses of S9's shifted sequences.

    Poses from extracted/ are as published; processed/ may have corrected ones.
    """
    notices = job.unneeded.lines()
    if notices and not (job.root / PROCESSED).is_dir():
        notices = [f"no images are linked: {PROCESSED}/ does not exist; if you need images, run process_all.py first"]
    if SHIFTED_SUBJECT not in job.subjects or job.format in ("motion-prediction", "original"):
        return notices
    shifted = [sequence for sequence in job.metadata.sequences_of(SHIFTED_SUBJECT) if is_shifted(sequence)]
    if job.format != "learnable-triangulation":
        names = ", ".join(sequence.name for sequence in shifted)
        return [*notices, f"poses are as published: those of {SHIFTED_SUBJECT} {names} are offset from the images"]
    files = {sequence.name: sequence_folder(job.root, sequence) / ANNOTATIONS_FILE for sequence in shifted}
    corrected = {name: read_attributes(file).get("correct_s9") for name, file in files.items()}  # None: not processed
    for value, text in ((True, "corrected (--correct-s9)"), (False, "as published, offset from the images")):
        names = ", ".join(name for name, is_so in corrected.items() if is_so is not None and bool(is_so) == value)
        notices += [f"poses of {SHIFTED_SUBJECT} {names} are {text}, as in {PROCESSED}/"] if names else []
    return notices


# -- command line ------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__, (EXTRACTED, PROCESSED, EXPORTED))
    wrap = partial(textwrap.fill, width=78, subsequent_indent=" " * 27, break_on_hyphens=False)
    formats = [wrap(f"  {name:24} {module.READ_BY}") for name, module in FORMATS.items()]
    parser.epilog = "\n".join(["formats, and who reads them:", *formats])
    parser.usage = "%(prog)s FORMAT [options]"  # options may take all the words that follow
    parser.add_argument(
        "format", action=StoreNames, names=[*FORMATS], metavar="FORMAT", help="Write this format, see the list below."
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"Write into DIR. Default: {EXPORTED}/FORMAT in --root."
    )
    return parser


if __name__ == "__main__":
    run(main, build_parser())
