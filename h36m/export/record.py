"""The record of an export: its inputs and its files, so that a later run can skip it."""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from h36m import __version__
from h36m.dataset import ANNOTATIONS_FILE, EXTRACTED, IMAGES, PROCESSED, Archive, Sequence, unpacked_folder
from h36m.done import ResultRecord, State, digest_of, state_of
from h36m.metadata import METADATA_FILE
from h36m.storage import write_atomically


@dataclass(frozen=True)
class ExportRecord(ResultRecord):
    """What an export was made from, and what it consists of; paths are relative to its folder."""

    notices: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)  # their sizes; there are some in every export
    links: list[str] = field(default_factory=list)  # to files and folders
    folders: dict[str, int] = field(default_factory=dict)  # of images: how many names each has
    copied: list[str] = field(default_factory=list)  # links and folders of images that are copies


def write_record(file: Path, record: ExportRecord) -> None:
    """Write a record durably, and remove what a run that was killed while it wrote one has left."""
    write_atomically(file, record.as_json())
    for leftover in file.parent.glob(f"{file.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def settings_of(root: Path, out: Path, subjects: list[str]) -> dict[str, Any]:
    """Return what determines the contents of an export, besides its input files."""
    return {
        "version": __version__,
        # An edited module writes something else, and so does another metadata.xml.
        "contents": digest_of([METADATA_FILE, *sorted(Path(__file__).parent.glob("*.py"))]),
        "subjects": subjects,
        "root": os.path.relpath(root, out),  # links are relative: all may be moved together
    }


def input_states(root: Path, format_: ModuleType, subjects: list[str]) -> dict[str, State]:
    """Return the state of each file that a format is made from, and of each folder of images, by their paths.

    The state of a folder of images is when a name in it appeared or went (ns). What cannot be read has none; it is
    named when it is exported.
    """
    states: dict[str, State] = {}
    for subject in subjects:
        for folder in [unpacked_folder(root, Archive(kind, subject)) for kind in format_.KINDS]:
            name = folder.relative_to(root).as_posix()
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                states |= {f"{name}/{entry.name}": state_of(entry.stat()) for entry in entries if entry.is_file()}
        processed = (root / PROCESSED).glob
        with contextlib.suppress(OSError):
            for file in processed(f"{subject}/*/{ANNOTATIONS_FILE}") if format_.USES_PROCESSED else ():
                states[file.relative_to(root).as_posix()] = state_of(file.stat())
            for folder in processed(f"{subject}/*/{IMAGES}/*") if format_.USES_PROCESSED else ():
                states[folder.relative_to(root).as_posix()] = [folder.stat().st_mtime_ns]
    return states


def missing_inputs(
    inputs: dict[str, State], sequences: list[Sequence], format_: ModuleType
) -> Counter[tuple[str, str]]:
    """Count the sequences without any file of a kind that a format needs (its OPTIONAL ones are not needed).

    Args:
        inputs: as of `input_states`.

    Returns:
        the counts by subject and kind of archive, or annot.h5.
    """
    # extracted/S1/Videos/Walking 1 and processed/S1/Walking-1/annot
    there = {f"{folder}/{file.partition('.')[0]}" for folder, _, file in (name.rpartition("/") for name in inputs)}
    optional = getattr(format_, "OPTIONAL", ())
    missing: Counter[tuple[str, str]] = Counter()
    for each in sequences:
        needed = {kind: f"{EXTRACTED}/{each.subject}/{kind}/{each.base}" for kind in format_.KINDS}
        if format_.USES_PROCESSED:
            needed[ANNOTATIONS_FILE] = f"{PROCESSED}/{each.subject}/{each.name}/{Path(ANNOTATIONS_FILE).stem}"
        lacking = (place for place, path in needed.items() if path not in there and place not in optional)
        missing.update((each.subject, place) for place in lacking)
    return missing


def is_complete(record: ExportRecord, out: Path) -> bool:
    """Return whether all files of an export are there, as long as they were written, and all its links."""
    try:
        return (
            all((out / name).stat().st_size == size for name, size in record.files.items())
            and all((out / name).exists() for name in record.links)
            and all(count_names(out / folder) == count for folder, count in record.folders.items())
        )
    except OSError:
        return False


def count_names(folder: Path) -> int:
    """Return how many names a folder has, without those that begin with a dot."""
    return sum(not name.startswith(".") for name in os.listdir(folder))  # noqa: PTH208  (names alone: half a million)
