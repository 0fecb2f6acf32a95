"""Small releases of the dataset in extracted/, what is made of them, and copies of the scripts to edit."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
from helpers.scripts import PROJECT

from demo import release
from demo.release import Recording
from h36m.dataset import KIND_FACTS, KINDS, SEQUENCE_LOCKS, SEQUENCE_RECORD, UNFINISHED_SEQUENCE


def make_extracted(root: Path, recordings: Sequence[Recording]) -> Path:
    """Write some recordings of four cameras into root/extracted, as extract_all.py leaves them; return the root."""
    for recording in recordings:
        for view in range(4):
            release.make_view(root / "unpacked", recording, view)
    for subject in release.subjects(recordings):
        for kind in KINDS:
            folder = root / "extracted" / subject / kind
            folder.parent.mkdir(parents=True, exist_ok=True)
            (root / "unpacked" / subject / KIND_FACTS[kind].inner_folder).rename(folder)
    shutil.rmtree(root / "unpacked")
    return root


def linked(root: Path, to: Path) -> Path:
    """Return a root of one's own with the same extracted/ as hard links: replace files there, never write to them."""
    shutil.copytree(root / "extracted", to / "extracted", copy_function=os.link)
    return to


def copy_of_scripts(folder: Path, rule: str = "", size: tuple[int, int] | None = None) -> Path:
    """Copy process_all.py, extract_all.py and what they need, to edit; return the copy of process_all.py.

    Args:
        folder: for the copies.
        rule: lines for the beginning of the rule for frames.
        size: width and height that the copy's metadata.xml gives each view, for small videos.
    """
    shutil.copytree(PROJECT / "h36m", folder / "h36m", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("process_all.py", "extract_all.py", "metadata.xml", "requirements.txt"):
        shutil.copy(PROJECT / name, folder)
    script = folder / "process_all.py"
    if size:
        metadata = folder / "metadata.xml"
        text, sizes = re.subn(r"<td>\d+ x \d+</td>", f"<td>{size[0]} x {size[1]}</td>", metadata.read_text("utf-8"))
        assert sizes == 11 * 4
        metadata.write_text(text, encoding="utf-8")
    if rule:
        where = "    # To keep every frame:\n"
        edit(script, where, "".join(f"    {line}\n" for line in rule.splitlines()))
    return script


def edit(script: Path, old: str, new: str) -> None:
    """Replace a text that a script has once."""
    text = script.read_text(encoding="utf-8")
    assert text.count(old) == 1
    script.write_text(text.replace(old, new), encoding="utf-8")


def times_of_files(folder: Path) -> dict[Path, int]:
    """Return when each file below a folder was written, without locks and records."""
    own = {SEQUENCE_LOCKS, SEQUENCE_RECORD}
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and not own & {*path.parts}}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size of each file and folder below a folder, and when it was last changed: a dry run changes none."""
    states = {path.relative_to(folder).as_posix(): path.lstat() for path in [folder, *folder.rglob("*")]}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


def leftovers_in_extracted(root: Path) -> list[str]:
    """Return what is in the subjects' folders of extracted/ beside the folders of archives."""
    extracted = root / "extracted"
    known = {f"S1/{kind}" for kind in KINDS}
    found = {path.relative_to(extracted).as_posix() for path in extracted.glob("S*/*")}
    return sorted(found - known)


def leftovers_in_processed(root: Path) -> list[Path]:
    """Return what only an unfinished run has: its folders and half images, folders without their annot.h5."""
    processed = root / "processed"
    unfinished = [file for file in processed.rglob("*") if file.name == ".making" or file.suffix == ".part"]
    folders = [folder for folder in processed.glob("S*/*") if not (folder / "annot.h5").is_file()]
    return unfinished + folders


def contents(processed: Path) -> dict[str, object]:
    """Return each file's bytes by its path; of each annot.h5 its datasets' types, shapes and bytes.

    Records are left out, which hold the time stamps of the files that were read, and what a stop left unfinished.
    """
    found = {}
    for file in sorted(processed.rglob("*")):
        name = file.relative_to(processed).as_posix()
        if {SEQUENCE_LOCKS, SEQUENCE_RECORD, UNFINISHED_SEQUENCE} & {*file.parts}:
            continue
        if file.name == "annot.h5":
            with h5py.File(file) as annotations:

                def add(key, item, name=name):
                    if isinstance(item, h5py.Dataset):
                        found[f"{name}/{key}"] = (item.dtype.str, item.shape, item[...].tobytes())

                annotations.visititems(add)
        elif file.is_file():
            found[name] = file.read_bytes()
    return found
