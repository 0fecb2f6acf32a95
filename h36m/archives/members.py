"""The names of an archive's members: which archive they are from, which are strays, and where each is unpacked to.

The download and the extract scripts judge members by the same rules, those of `require_member` and `places_of`.
"""

import fnmatch
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from h36m.dataset import KIND_FACTS, PART_LABELS, Archive, subject_of_member
from h36m.errors import OtherArchiveError, UnsafeArchiveError
from h36m.sequences import file_names

# The folder of the part labels is not published, so it contradicts no other kind.
_KNOWN_FOLDERS = {
    kind: PurePosixPath(facts.inner_folder).parts for kind, facts in KIND_FACTS.items() if kind != PART_LABELS
}
_TOP_FOLDERS = {kind: PurePosixPath(facts.inner_folder).parts[0] for kind, facts in KIND_FACTS.items()}

# What operating systems, network disks and archivers add to users' files; of folders, everything in them.
# Compared without regard to upper and lower case.
STRAY_NAMES = (
    # macOS; the name of a folder's icon ends with a carriage return
    *(".DS_Store", "._*", "__MACOSX", ".AppleDouble", ".AppleDB", ".AppleDesktop", ".apdisk", "Icon\r", ".localized"),
    *(".Spotlight-V100", ".Trashes", ".fseventsd", ".TemporaryItems", ".DocumentRevisions-V100", ".VolumeIcon.icns"),
    *("Network Trash Folder", "Temporary Items"),
    # Windows
    *("Thumbs.db", "ehthumbs*.db", "desktop.ini", "$RECYCLE.BIN", "RECYCLER", "System Volume Information"),
    "*:Zone.Identifier",
    # Linux: desktops, ext4, NFS, FUSE, Samba
    *(".directory", ".Trash", ".Trash-*", "lost+found", ".nfs*", ".fuse_hidden*", ".smbdelete*"),
    # network disks of Synology and QNAP
    *("@eaDir", "*@SynoEAStream", "*@SynoResource", "#recycle", "#snapshot", "@Recycle", ".@__thumb", "@__thumb"),
    # tar programs that do not know pax or GNU headers write these as files
    *("PaxHeader", "PaxHeaders", "PaxHeaders.*", "@LongLink", "pax_global_header"),
)
_STRAY = re.compile("|".join(map(fnmatch.translate, STRAY_NAMES)), re.IGNORECASE)

# The most names that a message lists.
NAMES_IN_MESSAGE = 3


# -- one member --------------------------------------------------------------------------------------------------------


def require_member(name: str, archive: Archive) -> PurePosixPath:
    """Return the path of an archive's member.

    A member without a subject, with an unknown folder, or a stray contradicts nothing.

    Args:
        name: as in the tar header, `S1/Videos/Walking 1.54138969.mp4`; a folder's name counts, too.
        archive: that its name says.

    Raises:
        UnsafeArchiveError: the member is outside of the archive's folder.
        OtherArchiveError: only archives of another subject or kind have such a member.
    """
    path = path_inside(name)
    if is_stray(path):
        return path
    found, parts = _in_folder_of_subject(path)
    if found not in (None, archive.subject):
        raise OtherArchiveError(f"contains the folder {found}, but its name says {archive.subject}")
    folder = _folder_of_other_kind(parts, archive.kind) if found else None
    if folder:
        raise OtherArchiveError(f"contains {found}/{folder}, but its name says {archive.kind}")
    return path


def path_inside(name: str) -> PurePosixPath:
    """Return a member's path if it is inside the archive's folder on every operating system.

    A backslash separates folders like a slash: some programs on Windows write it, and no file of the dataset has one.

    Raises:
        UnsafeArchiveError: it is not.
    """
    as_windows_reads_it = PureWindowsPath(name)  # parts at either slash, and knows drives
    if as_windows_reads_it.anchor or ".." in as_windows_reads_it.parts or "\0" in name or not name:
        raise UnsafeArchiveError(f"contains {name!r}, which is outside of its folder")
    return PurePosixPath(name.replace("\\", "/"))


def is_stray(path: PurePosixPath) -> bool:
    """Return whether an operating system or an archiver has left a file or folder, or a folder that it is in."""
    return any(map(_STRAY.match, path.parts))


def archive_of_member(name: str) -> Archive | None:
    """Return the archive that has a member of this name; None where the name does not tell."""
    path = PurePosixPath(name.replace("\\", "/"))
    subject, parts = _in_folder_of_subject(path)
    if subject is None or is_stray(path):
        return None
    for kind, folder in _KNOWN_FOLDERS.items():
        if parts[: len(folder)] == folder:
            return Archive(kind, subject)
    # Of the two kinds with this top folder, the other one's folder is known.
    is_part_labels = len(parts) > 1 and parts[0] == _TOP_FOLDERS[PART_LABELS]
    return Archive(PART_LABELS, subject) if is_part_labels else None


def _in_folder_of_subject(path: PurePosixPath) -> tuple[str | None, tuple[str, ...]]:
    """Return the subject whose folder a member is in, and the parts of its path below that folder."""
    subject = subject_of_member(path.as_posix())
    return subject, path.parts[path.parts.index(subject) + 1 :] if subject else ()


def _folder_of_other_kind(parts: tuple[str, ...], kind: str) -> str | None:
    """Return the folder, below the subject's, that only archives of other kinds hold; None if there is none."""
    for other, folder in _KNOWN_FOLDERS.items():
        if other != kind and parts[: len(folder)] == folder:
            return "/".join(folder)
    # Poses, videos and segments have different top folders; two kinds with the same one are distinguished above.
    if parts and parts[0] in _TOP_FOLDERS.values() and parts[0] != _TOP_FOLDERS[kind]:
        return parts[0]
    return None


# -- all members -------------------------------------------------------------------------------------------------------


def places_of(files: Sequence[PurePosixPath], archive: Archive) -> dict[PurePosixPath, PurePosixPath]:
    """Return where each file of an archive is unpacked to: its path in the archive's folder of extracted/.

    The files that process_all.py reads are at the top of that folder, under the names that it looks for, wherever the
    archive has them. Files beside and below them stay so, if that gives each file a place of its own. Every other file
    keeps its path, without the folders that all files share.

    Args:
        files: all files of the archive without its strays, each once.
        archive: that its name says.

    Raises:
        OtherArchiveError: it contains no file that process_all.py reads.
        UnsafeArchiveError: it holds two files for one place.
    """
    names = file_names(archive)
    wanted = {path: PurePosixPath(names[path.name.casefold()]) for path in files if path.name.casefold() in names}
    if not wanted:
        example = next(iter(names.values()), archive.kind)
        raise OtherArchiveError(f"contains no file of its kind, such as {example!r}, but {listed(files)}")
    homes = {path.parent for path in wanted}
    shared = posixpath.commonpath([path.parent.as_posix() for path in files])
    without_shared = {path: path.relative_to(shared or ".") for path in files} | wanted
    # The innermost of several such folders comes last, and counts.
    beside = {path: path.relative_to(home) for path in files for home in reversed(path.parents) if home in homes}
    places = without_shared | beside | wanted
    if _two_of_one_place(places, _on_any_disk) is None:
        return places
    two = _two_of_one_place(without_shared, PurePosixPath.as_posix)
    if two:
        raise UnsafeArchiveError(f"contains {without_shared[two[1]].name!r} twice: {str(two[0])!r} and {str(two[1])!r}")
    return without_shared


def _two_of_one_place(
    places: dict[PurePosixPath, PurePosixPath], key: Callable[[PurePosixPath], str]
) -> tuple[PurePosixPath, PurePosixPath] | None:
    """Return two files that cannot both be unpacked to their places; None if all can.

    Args:
        key: the same for places that are one.
    """
    files: dict[str, PurePosixPath] = {}
    for path, place in places.items():
        other = files.setdefault(key(place), path)
        if other != path:
            return other, path
    for path, place in places.items():  # a file cannot be where another needs a folder
        for folder in map(key, place.parents):
            if folder in files:
                return files[folder], path
    return None


def _on_any_disk(path: PurePosixPath) -> str:
    """Return a key that is equal for paths that are the same file on some disk: macOS and Windows ignore case."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def is_in_place(folder: Path, archive: Archive) -> bool:
    """Return whether an unpacked folder has its files where process_all.py looks: all at its top, none deeper.

    Only names are looked at, so this is cheap. Earlier versions left the files in folders of their own where an archive
    held anything beside them.
    """
    names = file_names(archive)
    at_top: set[str] = set()
    deeper: set[str] = set()
    for where, _, files in os.walk(folder):
        for file in files:
            name = names.get(file.casefold())
            if name and Path(where) != folder:
                deeper.add(name)
            elif name and (name == file or (folder / name).exists()):  # that is so on disks that ignore case
                at_top.add(name)
    return bool(at_top) and deeper <= at_top


def listed(paths: Sequence[PurePosixPath | str]) -> str:
    """Return the first names of several, and how many more there are: `'S1/a', 'S1/b', 'S1/c' and 4 more`."""
    first = ", ".join(repr(str(path)) for path in paths[:NAMES_IN_MESSAGE])
    more = len(paths) - NAMES_IN_MESSAGE
    return f"{first} and {more} more" if more > 0 else first
