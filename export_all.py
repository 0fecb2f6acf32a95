#!/usr/bin/env python3
"""Write what other projects' trainers read, from extracted/ and processed/:

    python3 export_all.py videopose3d

writes exported/videopose3d/data_3d_h36m.npz and data_2d_h36m_gt.npz. docs/exports.md says what each format is for. Run
it again after more was unpacked or processed: it does nothing where nothing has changed.
"""

import argparse
import contextlib
import json
import shutil
from pathlib import Path
from types import ModuleType

from h36m import __version__
from h36m.cli import Progress, UsageError, argument_parser, run, speaker
from h36m.dataset import ANNOTATIONS_FILE, EXPORTED, EXTRACTED, PROCESSED, unpacked_folder
from h36m.export import learnable_triangulation, mmpose, moon, original, pose_baseline, videopose3d
from h36m.export.shared import Job, remove
from h36m.metadata import Metadata, load_metadata
from h36m.storage import only_run_in, rename_durably, write_atomically

FORMATS: dict[str, ModuleType] = {
    "videopose3d": videopose3d,
    "mmpose": mmpose,
    "3dmppe": moon,
    "learnable-triangulation": learnable_triangulation,
    "3d-pose-baseline": pose_baseline,
    "original": original,
}
RECORD, UNFINISHED = ".exported.json", ".making"


def main(arguments: argparse.Namespace) -> list[str]:
    say, metadata, root = speaker(arguments.quiet), load_metadata(), arguments.root.resolve()
    format_ = FORMATS[arguments.format]
    if not metadata.cameras:
        raise UsageError("metadata.xml has no calibration (<w0>), which exports need: put back the project's own")
    if not (root / EXTRACTED).is_dir():
        raise UsageError(f"there is no folder {root / EXTRACTED}: run extract_all.py first, or say where with --root")
    out = (arguments.out or root / EXPORTED / arguments.format).resolve()
    out.mkdir(parents=True, exist_ok=True)
    wanted = wanted_record(root, format_, arguments.subjects)
    with only_run_in(out, say):
        made = read_record(out / RECORD)
        if made and all(made.get(name) == value for name, value in wanted.items()) and are_there(out, made["files"]):
            say(f"nothing to do: {out} has what would be written")
            return made["problems"]
        problems = make(arguments, format_, metadata, root, out, wanted)
    say(f"written to {out}")
    return problems


def wanted_record(root: Path, format_: ModuleType, subjects: list[str]) -> dict:
    """Return what an export is made from: a later run compares it with what is there then."""
    files = [
        file
        for subject in subjects
        for kind in format_.KINDS
        for file in unpacked_folder(root, subject, kind).glob("*")
    ]
    if format_.USES_PROCESSED:
        files += [file for subject in subjects for file in (root / PROCESSED / subject).glob(f"*/{ANNOTATIONS_FILE}")]
    states = {file.relative_to(root).as_posix(): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"version": __version__, "subjects": subjects, "inputs": states}


def are_there(out: Path, files: dict[str, int]) -> bool:
    """Return whether all files of an export are there, and as long as they were written."""
    return all((out / name).is_file() and (out / name).stat().st_size == size for name, size in files.items())


def read_record(file: Path) -> dict | None:
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(record, dict) and {"problems", "files"} <= record.keys():
            return record
    return None


def make(
    arguments: argparse.Namespace, format_: ModuleType, metadata: Metadata, root: Path, out: Path, record: dict
) -> list[str]:
    """Write the files of a format beside their places, and then move them there; return a line for each problem."""
    unfinished = out / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    (out / RECORD).unlink(missing_ok=True)
    problems: list[str] = []
    count = sum(len(metadata.sequences_of(subject)) for subject in arguments.subjects)
    try:
        with Progress(total=count, desc="exporting", unit="sequences", disable=arguments.quiet) as progress:
            job = Job(
                root=root,
                subjects=tuple(arguments.subjects),
                metadata=metadata,
                unfinished=unfinished,
                out=out,
                problem=problems.append,
                step=progress.update,
            )
            format_.export(job)
        files = [file.relative_to(unfinished) for file in sorted(unfinished.rglob("*")) if file.is_file()]
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            if (out / file).is_dir():
                remove(out / file)
            rename_durably(unfinished / file, out / file)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    record |= {"problems": problems, "files": {file.as_posix(): (out / file).stat().st_size for file in files}}
    write_atomically(out / RECORD, json.dumps(record))
    return problems


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
