"""Small releases of the dataset as they lie in extracted/, and copies of the scripts to edit."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
from conftest import PROJECT

from demo import release
from demo.release import Recording
from h36m.dataset import KIND_FACTS


def make_extracted(root: Path, recordings: Sequence[Recording]) -> Path:
    """Write some recordings of four cameras into root/extracted, as extract_all.py leaves them; return the root."""
    for recording in recordings:
        for view in range(4):
            release.make_view(root / "unpacked", recording, view)
    for subject in release.subjects(recordings):
        for kind, facts in KIND_FACTS.items():
            folder = root / "extracted" / subject / kind
            folder.parent.mkdir(parents=True, exist_ok=True)
            (root / "unpacked" / subject / facts.inner_folder).rename(folder)
    shutil.rmtree(root / "unpacked")
    return root


def linked(root: Path, to: Path) -> Path:
    """Return a root of one's own with the same extracted/ as hard links: replace files there, never write to them."""
    shutil.copytree(root / "extracted", to / "extracted", copy_function=os.link)
    return to


def copy_of_scripts(folder: Path) -> Path:
    """Copy process_all.py and what it needs, to edit; return the copy of the script."""
    shutil.copytree(PROJECT / "h36m", folder / "h36m", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("process_all.py", "metadata.xml"):
        shutil.copy(PROJECT / name, folder)
    return folder / "process_all.py"


def contents(processed: Path) -> dict[str, object]:
    """Return each file's bytes by its path; of each annot.h5 its datasets' types, shapes and bytes.

    The attributes are left out: they hold the time stamps of the files that were read.
    """
    found = {}
    for file in sorted(processed.rglob("*")):
        name = file.relative_to(processed).as_posix()
        if file.name == "annot.h5":
            with h5py.File(file) as annotations:

                def add(key, item, name=name):
                    if isinstance(item, h5py.Dataset):
                        found[f"{name}/{key}"] = (item.dtype.str, item.shape, item[...].tobytes())

                annotations.visititems(add)
        elif file.is_file() and ".locks" not in file.parts:
            found[name] = file.read_bytes()
    return found
