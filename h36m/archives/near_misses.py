"""Find files in archives/ that are nearly the wanted ones, as browsers leave them.

They are recognised by their first members (`SubjectSpecific_6.tgz`, the site's own name), else by their names
(`Videos_S1 (1).tgz`). Nothing is renamed or deleted here: a line says what to do.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from h36m.archives.content import BEGINNING_BYTES, fault_in_beginning, is_tar, member_names
from h36m.archives.members import archive_of_member
from h36m.dataset import (
    KIND_FACTS,
    PARTIAL_EXTENSION,
    SITE_SUBJECT_NUMBERS,
    STATE_EXTENSION,
    VERSION_EXTENSION,
    Archive,
    kinds_option,
)
from h36m.errors import BadArchiveError
from h36m.storage import fault_of

# Archives under their right names, and what the scripts keep next to them: Videos_S1.tgz.part.about.
_NAMES = "|".join(Archive(kind, subject).name for kind in KIND_FACTS for subject in SITE_SUBJECT_NUMBERS)
_OUR_OWN = re.compile(rf"\..*|({_NAMES})\.tgz(\.(part|st|changed|rejected)\b.*)?")
# Appended to an unfinished file's name by Chrome and Edge, Safari (to a folder's), Firefox, old Edge, Opera.
UNFINISHED_EXTENSIONS = (".crdownload", ".download", PARTIAL_EXTENSION, ".partial", ".opdownload")
# The end of an archive's name; browsers append ` (1)` to a copy's.
_ARCHIVE_ENDING = re.compile(r"\.(tgz|tar|gz)[ ._-]*(\(?\d+\)?)?$")


def near_misses(folder: Path, absent: Iterable[Archive]) -> list[str]:
    """Return a line for each file that is nearly one of the archives that are absent: what it is, and what to do.

    Args:
        folder: `archives/`.
        absent: archives that are not there.
    """
    wanted = set(absent)
    if wanted and (fault := fault_of(folder)):
        return [fault]
    paths = sorted(folder.iterdir()) if wanted and folder.is_dir() else []
    lines = (_line(path, wanted) for path in paths if not _OUR_OWN.fullmatch(path.name))
    return [line for line in lines if line]


def unfinished_download(archive: Path, kind: str) -> str | None:
    """Return what an archive is and what to do, if it is an unfinished download; None if it is not."""
    state = archive.with_name(archive.name + STATE_EXTENSION)
    if state.exists():
        script = f"{KIND_FACTS[kind].script}{kinds_option(kind)}"
        return f"{archive.name}: an unfinished download (axel's {state.name} is next to it); run {script} to finish it"
    return browser_download(archive)


def browser_download(archive: Path) -> str | None:
    """Return what to do about an empty archive that Firefox reserves the name with; None if it is not that."""
    if archive.stat().st_size:
        return None
    parts = {path.name for path in archive.parent.glob(f"{archive.stem}.*{PARTIAL_EXTENSION}")}
    if archive.with_name(archive.name + PARTIAL_EXTENSION + VERSION_EXTENSION).exists():  # our own partial download
        parts.discard(archive.name + PARTIAL_EXTENSION)
    if not parts:
        return None
    return (
        f"{archive.name}: an unfinished browser download ({min(parts)}); finish it in the browser, or remove both "
        "files, and run again"
    )


def _line(path: Path, wanted: set[Archive]) -> str | None:
    is_unfinished = path.name.casefold().endswith(UNFINISHED_EXTENSIONS)
    named = _archive_named_like(path.name.casefold(), is_unfinished, wanted)
    beginning = b""
    try:
        if path.is_file():
            with path.open("rb") as file:
                beginning = file.read(BEGINNING_BYTES)
        elif not is_unfinished:  # of folders, only the one that Safari makes is looked at
            return None
    except OSError as error:
        return f"{path.name}: named like {named.file_name}, but {error.strerror}" if named else None
    found = _archive_of(beginning)
    archive = found if found in wanted else named
    if archive is None:
        return None
    name = archive.file_name
    if is_unfinished:
        return (
            f"{path.name}: an unfinished browser download of {name}; finish it in the browser, or remove it, and run "
            "again"
        )
    if is_tar(beginning):
        return (
            f"{path.name}: {name} already decompressed, as Safari does; download it again, with 'Open safe "
            "files after downloading' off in Safari's settings"
        )
    fault = fault_in_beginning(beginning, archive) if beginning else "is empty"
    if fault:
        return f"{path.name}: named like {name}, but it {fault}; remove it"
    return f"{path.name}: looks like {name} under another name; rename it to {name} and run again"


def _archive_named_like(name: str, is_unfinished: bool, wanted: set[Archive]) -> Archive | None:
    """Return the archive whose name is within a file's, whatever separates its words; None if there is none."""
    if not is_unfinished and not _ARCHIVE_ENDING.search(name):
        return None
    words = re.sub(r"[\W_]+", "_", f"_{name}_")
    return next((archive for archive in wanted if f"_{archive.name.casefold()}_" in words), None)


def _archive_of(beginning: bytes) -> Archive | None:
    """Return the archive that first bytes are of, as far as the names of its members tell."""
    try:
        found = {archive_of_member(name) for name in member_names(beginning)} - {None}
    except BadArchiveError:
        return None
    return found.pop() if len(found) == 1 else None
