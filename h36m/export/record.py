"""The record of an export: its inputs and its files, so that a later run can skip it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from h36m import __version__
from h36m.dataset import ANNOTATIONS_FILE, IMAGES, PROCESSED, Archive, unpacked_folder
from h36m.export import links, pickles, shared, stored
from h36m.metadata import METADATA_FILE
from h36m.storage import write_atomically

# The outcome of an export, beside what `made_from` returns.
OUTCOME = ("problems", "notices", "files", "links", "folders", "copied")

State = list[int]


def record_file(out: Path, name: str) -> Path:
    """Return the record of a format: one folder may hold several formats."""
    return out / f".{name}.json"


def made_from(root: Path, out: Path, format_: ModuleType, subjects: Iterable[str]) -> dict[str, Any]:
    """Return what determines the contents of an export. Only metadata.xml is read for this."""
    modules = [Path(str(module.__file__)) for module in (format_, shared, links, pickles, stored)]
    contents = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (METADATA_FILE, *modules)]
    return {
        "version": __version__,
        "contents": contents,  # an edited module writes something else, and so does another metadata.xml
        "subjects": list(subjects),
        "root": links.relative_path(root, out),  # links are relative: all may be moved together
        "inputs": input_states(root, format_, subjects),
    }


def input_states(root: Path, format_: ModuleType, subjects: Iterable[str]) -> dict[str, State]:
    """Return the state of each file that a format is made from, and of each folder of images, by their paths.

    A file's state is its size, when it was written, and when anything about it was changed (ns); a folder's is when
    a name in it appeared or went.
    """
    states: dict[str, State] = {}
    for subject in subjects:
        folders = [unpacked_folder(root, Archive(kind, subject)) for kind in format_.KINDS]
        if format_.USES_PROCESSED:
            processed = root / PROCESSED / subject
            folders += processed.glob("*")
            for folder in processed.glob(f"*/{IMAGES}/*"):
                states[folder.relative_to(root).as_posix()] = [folder.stat().st_mtime_ns]
        for folder in folders:
            states |= {f"{folder.relative_to(root).as_posix()}/{name}": state for name, state in file_states(folder)}
    return states


def file_states(folder: Path) -> Iterable[tuple[str, State]]:
    """Yield name and state of each file in a folder that may not exist; of a sequence's folder only annot.h5 counts."""
    is_sequence = folder.parent.parent.name == PROCESSED
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and (entry.name == ANNOTATIONS_FILE or not is_sequence):
                state = entry.stat()
                yield entry.name, [state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def read_record(file: Path) -> dict[str, Any]:
    """Return a record; one of nothing where there is none to read."""
    record: Any = None
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(file.read_text(encoding="utf-8"))
    empty: dict[str, Any] = {"problems": [], "notices": [], "files": {}, "links": {}, "folders": {}, "copied": []}
    if not isinstance(record, dict) or any(type(record.get(key)) is not type(empty[key]) for key in OUTCOME):
        return empty
    return record


def write_record(file: Path, record: dict[str, Any]) -> None:
    """Write a record durably, and remove what a run that was killed while it wrote one has left."""
    write_atomically(file, json.dumps(record))
    for leftover in file.parent.glob(f"{file.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def outcome_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what the export was made from: that of an export that is not complete."""
    return {key: record[key] for key in OUTCOME}


def is_current(record: dict[str, Any], wanted: dict[str, Any], out: Path) -> bool:
    """Return whether an export was made from what is there now, and is complete.

    That a file was changed without another size or time, or made readable, counts only where there was a problem:
    copying a whole tree looks the same.
    """
    if any(record.get(key) != value for key, value in wanted.items() if key != "inputs"):
        return False
    compared = None if record["problems"] else 2
    before, now = ({path: state[:compared] for path, state in each["inputs"].items()} for each in (record, wanted))
    return before == now and is_complete(record, out)


def is_complete(record: dict[str, Any], out: Path) -> bool:
    """Return whether all files of an export are there, as long as they were written, and all its links."""
    try:
        return (
            all((out / name).stat().st_size == size for name, size in record["files"].items())
            and all((out / name).exists() for name in record["links"])
            and all(count_names(out / folder) == count for folder, count in record["folders"].items())
        )
    except OSError:
        return False


def count_names(folder: Path) -> int:
    """Return how many names a folder has; dot files are none."""
    return sum(not name.startswith(".") for name in os.listdir(folder))  # noqa: PTH208  (names alone: half a million)
