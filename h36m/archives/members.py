"""The names of an archive's members: which archive they are from, which are strays, and where each is unpacked to.

The download and the extract scripts judge members by the same rules, those of `require_member` and `places_of`.
"""

import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from h36m.dataset import BOXES, KIND_FACTS, PART_LABELS, SILHOUETTES, Archive, subject_of_member
from h36m.errors import OtherArchiveError, UnsafeArchiveError
from h36m.sequences import file_names

_INNER_FOLDERS = {kind: PurePosixPath(facts.inner_folder).parts for kind, facts in KIND_FACTS.items()}
# What operating systems add to users' files, besides names that begin with a dot; of a folder, everything in it.
STRAY_NAMES = ("__macosx", "thumbs.db", "desktop.ini")
# The most names that a message lists.
NAMES_IN_MESSAGE = 3


def require_member(name: str, archive: Archive) -> PurePosixPath:
    """Return the path of an archive's member.

    A member without a subject, with an unknown folder, or a stray contradicts nothing. A backslash separates folders
    like a slash: some programs on Windows write it, and no file of the dataset has one.

    Args:
        name: as in the tar header, `S1/Videos/Walking 1.54138969.mp4`; a folder's name counts, too.
        archive: that its name says.

    Raises:
        UnsafeArchiveError: the member is outside of the archive's folder on some operating system.
        OtherArchiveError: only archives of another subject or kind have such a member.
    """
    as_windows_reads_it = PureWindowsPath(name)  # parts at either slash, and knows drives
    if as_windows_reads_it.anchor or ".." in as_windows_reads_it.parts or "\0" in name or not name:
        raise UnsafeArchiveError(f"contains {name!r}, which is outside of its folder")
    path = PurePosixPath(name.replace("\\", "/"))
    subject, folder, kinds = _origin(path)
    if subject not in (None, archive.subject):
        raise OtherArchiveError(f"contains the folder {subject}, but its name says {archive.subject}")
    if archive.kind not in kinds:
        raise OtherArchiveError(f"contains {subject}/{folder}, but its name says {archive.kind}")
    return path


def archive_of_member(name: str) -> Archive | None:
    """Return the archive that has a member of this name; None where the name does not tell."""
    path = PurePosixPath(name.replace("\\", "/"))
    subject, folder, kinds = _origin(path)
    # It is in a folder, and not in the known ones of boxes and silhouettes.
    if kinds == [BOXES, PART_LABELS, SILHOUETTES] and path.name != folder:
        kinds = [PART_LABELS]
    return Archive(kinds[0], subject) if subject and len(kinds) == 1 else None


def is_stray(path: PurePosixPath) -> bool:
    """Return whether an operating system has left a file or folder, or a folder that it is in."""
    return any(part.startswith(".") or part.casefold() in STRAY_NAMES for part in path.parts)


def _origin(path: PurePosixPath) -> tuple[str | None, str, list[str]]:
    """Return the subject of a member, the folder that tells its kind, and the kinds of archive that may have it."""
    subject = None if is_stray(path) else subject_of_member(path.as_posix())
    if subject is None:
        return None, "", list(KIND_FACTS)
    parts = path.parts[path.parts.index(subject) + 1 :]
    for kind, folder in _INNER_FOLDERS.items():
        if kind != PART_LABELS and parts[: len(folder)] == folder:  # the folder of part labels is not published
            return subject, "/".join(folder), [kind]
    kinds = [kind for kind, folder in _INNER_FOLDERS.items() if parts[:1] == folder[:1]]
    return subject, "".join(parts[:1]), kinds or list(KIND_FACTS)


def places_of(files: Sequence[PurePosixPath], archive: Archive) -> list[PurePosixPath]:
    """Return where each file of an archive is unpacked to: its path in the archive's folder of extracted/.

    The files that process_all.py reads are at the top of that folder, under the names that it looks for, wherever the
    archive has them. Every other file keeps its path, without the folders that all files share.

    Args:
        files: all files of the archive without its strays.
        archive: that its name says.

    Raises:
        OtherArchiveError: it contains no file that process_all.py reads.
        UnsafeArchiveError: it has two files for one place, on a disk that ignores upper and lower case.
    """
    names = file_names(archive)
    if not any(path.name.casefold() in names for path in files):
        example = next(iter(names.values()), archive.kind)
        raise OtherArchiveError(f"contains no file of its kind, such as {example!r}, but {listed(files)}")
    shared = posixpath.commonpath([path.parent.as_posix() for path in files])
    places = [PurePosixPath(names.get(path.name.casefold()) or path.relative_to(shared or ".")) for path in files]
    taken: dict[str, PurePosixPath] = {}  # by place
    for path, place in zip(files, places, strict=True):
        if (other := taken.setdefault(_folded(place), path)) is not path:
            raise UnsafeArchiveError(f"contains {place.name!r} twice: {str(other)!r} and {str(path)!r}")
    for place in places:
        for folder in map(_folded, place.parents):
            if folder in taken:
                raise UnsafeArchiveError(f"contains {str(taken[folder])!r} twice, as a file and as a folder")
    return places


def _folded(place: PurePosixPath) -> str:
    """Return a key that is equal for places that are one on a disk that ignores upper and lower case."""
    return place.as_posix().casefold()


def is_in_place(folder: Path, archive: Archive) -> bool:
    """Return whether an unpacked folder has a file that process_all.py reads at its top; only names are looked at."""
    names = set(file_names(archive).values())
    return any(path.name in names for path in folder.iterdir())


def listed(paths: Sequence[PurePosixPath | str]) -> str:
    """Return the first names of several, and how many more there are: `'S1/a', 'S1/b', 'S1/c' and 4 more`."""
    first = ", ".join(repr(str(path)) for path in paths[:NAMES_IN_MESSAGE])
    more = len(paths) - NAMES_IN_MESSAGE
    return f"{first} and {more} more" if more > 0 else first
