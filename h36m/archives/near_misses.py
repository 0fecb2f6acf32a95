"""Find files in archives/ that are nearly the wanted ones, as browsers and other programs leave them.

They are recognised by their names (`Videos_S1 (1).tgz`), else by their first members (`SubjectSpecific_6.tgz`, the
site's own name). Nothing is renamed or deleted here: a line says what to do.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from h36m.archives.content import (
    BEGINNING_BYTES,
    COMPRESSED_TWICE,
    fault_in_beginning,
    is_tar,
    member_names,
)
from h36m.archives.members import archive_of_member
from h36m.dataset import (
    ARCHIVE_EXTENSION,
    CHANGED_EXTENSION,
    KIND_FACTS,
    KINDS,
    PARTIAL_EXTENSION,
    REJECTED_EXTENSION,
    SITE_SUBJECT_NUMBERS,
    STATE_EXTENSION,
    VERSION_EXTENSION,
    Archive,
)
from h36m.errors import BadArchiveError

ARCHIVE_FILE_NAMES = {Archive(kind, subject).file_name for kind in KINDS for subject in SITE_SUBJECT_NUMBERS}

# Appended to an unfinished file's name: by Chrome and Edge, Safari (a folder), Firefox, old Edge, Opera, aria2.
UNFINISHED_EXTENSIONS = (".crdownload", ".download", PARTIAL_EXTENSION, ".partial", ".opdownload", ".aria2")
# Appended to a copy's name by browsers, file managers of several languages, and wget: ` (1)`, `-1`, ` - Copy`, `.1`.
COPY_MARK = r"[ _-]*\(\d+\)|[-_.]\d+|[ _-]*\(?(?:another )?(?:copy|kopie|copie|copia)(?: \d+)?\)?"
COMPRESSION_EXTENSION = r"\.tgz|\.tar|\.gz"
# What Firefox and old Edge put in between, while a file is unfinished: `Videos_S1.x3Zk9_aB.tgz.part`.
RANDOM_WORD = r"\.[\w-]{5,12}"


def near_misses(folder: Path, absent: Iterable[Archive]) -> list[str]:
    """Return a line for each file that is nearly one of the archives that are absent: what it is, and what to do.

    Args:
        folder: `archives/`.
        absent: archives that are not there.
    """
    wanted = set(absent)
    paths = sorted(folder.iterdir()) if wanted and folder.is_dir() else []
    lines = (_line(path, wanted) for path in paths if not _is_our_own(path.name))
    return [line for line in lines if line]


def unfinished_download(archive: Path, kind: str) -> str | None:
    """Return what an archive is and what to do, if it is no bad archive but an unfinished one; None if it is not."""
    if archive.with_name(archive.name + STATE_EXTENSION).exists():
        state, script = archive.name + STATE_EXTENSION, KIND_FACTS[kind].script
        return f"{archive.name}: an unfinished download (axel's {state} is beside it); run {script} to finish it"
    return browser_download(archive)


def browser_download(archive: Path) -> str | None:
    """Return what to do about an empty archive that Firefox reserves the name with; None if it is not that."""
    if archive.stat().st_size:
        return None
    is_our_own = archive.with_name(archive.name + PARTIAL_EXTENSION + VERSION_EXTENSION).exists()
    pattern = rf"{archive.stem}({RANDOM_WORD})?{ARCHIVE_EXTENSION}{PARTIAL_EXTENSION}"
    parts = [path.name for path in sorted(archive.parent.iterdir()) if re.fullmatch(pattern, path.name)]
    parts = [part for part in parts if not (is_our_own and part == archive.name + PARTIAL_EXTENSION)]
    if not parts:
        return None
    return (
        f"{archive.name}: an unfinished browser download ({parts[0]}); finish it in the browser, or remove both files, "
        "and run again"
    )


def _is_our_own(name: str) -> bool:
    """Return whether a file is an archive under its right name, or one that the scripts keep beside it."""
    our_extensions = (PARTIAL_EXTENSION, STATE_EXTENSION, CHANGED_EXTENSION, REJECTED_EXTENSION)
    archive, extension, rest = name.partition(ARCHIVE_EXTENSION)
    is_named_right = archive + extension in ARCHIVE_FILE_NAMES
    return name.startswith(".") or (
        is_named_right and (not rest or rest.startswith(our_extensions)) and rest != ".partial"
    )


def _line(path: Path, wanted: set[Archive]) -> str | None:
    name = path.name.casefold()
    extension = next((each for each in UNFINISHED_EXTENSIONS if name.endswith(each)), "")
    archive = _by_name(name.removesuffix(extension), bool(extension), wanted)
    if path.is_dir():  # Safari's folder around an unfinished file; other folders are the user's own
        return _unfinished_line(path, archive) if archive and extension == ".download" else None
    if not path.is_file():
        return None
    if archive and extension:
        return _unfinished_line(path, archive)
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING_BYTES)
    except OSError as error:
        return f"{path.name}: named like {archive.file_name}, but {error.strerror}" if archive else None
    if archive:
        return _named_line(path, archive, beginning)
    is_foreign = re.search(rf"(?:{COMPRESSION_EXTENSION})(?:{COPY_MARK})*$", name.removesuffix(extension)) or extension
    archive = _by_content(beginning) if is_foreign else None
    if archive not in wanted:
        return None
    return _unfinished_line(path, archive) if extension else _good_line(path, archive)


def _by_name(name: str, is_unfinished: bool, wanted: set[Archive]) -> Archive | None:
    """Return the archive that a file is named like; a name in lower case, without what marks it as unfinished."""
    ending = "|".join([COPY_MARK, COMPRESSION_EXTENSION, *([RANDOM_WORD] if is_unfinished else [])])
    for archive in wanted:
        stem = "[ _-]+".join(archive.name.casefold().split("_"))
        if re.fullmatch(rf"(?:copy of )?{stem}(?:{ending}){{0,4}}", name):
            return archive
    return None


def _by_content(beginning: bytes) -> Archive | None:
    """Return the archive that first bytes are of, as far as the names of its members tell."""
    try:
        found = {archive_of_member(name) for name in member_names(beginning)} - {None}
    except BadArchiveError:
        return None
    return found.pop() if len(found) == 1 else None


def _unfinished_line(path: Path, archive: Archive) -> str:
    name = archive.file_name
    return (
        f"{path.name}: an unfinished browser download of {name}; finish it in the browser, or remove it, and run again"
    )


def _good_line(path: Path, archive: Archive) -> str:
    name = archive.file_name
    return f"{path.name}: looks like {name} under another name; rename it to {name} and run again"


def _named_line(path: Path, archive: Archive, beginning: bytes) -> str:
    """Describe a file that is named like an archive: by its first bytes it may be that, or something else."""
    name = archive.file_name
    if not beginning:
        return f"{path.name}: named like {name}, but empty; remove it"
    if is_tar(beginning):
        return (
            f"{path.name}: {name} already decompressed, as Safari does; download it again, with 'Open safe "
            "files after downloading' off in Safari's settings"
        )
    fault = fault_in_beginning(beginning, archive)
    if fault == COMPRESSED_TWICE:
        return f"{path.name}: {name} compressed twice; decompress it once, name that {name}, and run again"
    found = _by_content(beginning)
    if fault and found and found != archive:
        return f"{path.name}: named like {name}, but it contains {found.file_name}; rename it to that"
    return f"{path.name}: named like {name}, but it {fault}; remove it" if fault else _good_line(path, archive)
