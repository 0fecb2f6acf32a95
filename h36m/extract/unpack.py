"""One archive: unpacked in one pass, inside its folder, complete or not there."""

import contextlib
import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from h36m.dataset import subject_of_member
from h36m.gzip_stream import CHUNK_BYTES, BadArchiveError, GzipStream, decompressed

# RFC 1952: the last four bytes of a gzip file are the length of its content, modulo 2**32. RFC 1951: content that
# cannot be compressed grows by 5 bytes in each block, less than a thousandth; and 2 bits stand for 258 bytes at most.
LENGTH_BYTES, LENGTH_MODULUS = 4, 2**32
SMALLEST_FACTOR, LARGEST_FACTOR = 0.999, 1032

# tarfile documents their base class only, which also means the regular end of an archive.
BROKEN_HEADER_ERRORS = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
    tarfile.SubsequentHeaderError,  # type: ignore[attr-defined]
)


@contextlib.contextmanager
def unpacked(archive: Path, folder: Path, subject: str, on_bytes: Callable[[int], None]) -> Iterator[Path]:
    """Unpack an archive beside the folder that it is to become; yield where, without the folders all its files share.

    That is when the gzip stream has been read to its end and its CRC held; then it can be renamed to `folder`. What is
    left of it behind the `with` block is removed. A link becomes a copy of the file that it leads to. Time stamps are
    kept, modes and owners are not.

    Args:
        archive: a gzip'd tar.
        folder: its parent must exist.
        subject: whose files it must hold, "S1".
        on_bytes: called with the number of compressed bytes after each read; it may raise to stop.

    Raises:
        BadArchiveError: damaged, cut off, another subject's, or with members that no harmless archive has.
        OSError: it cannot be read or written.
    """
    unfinished = unfinished_folder(folder)
    unfinished.mkdir()
    try:
        with archive.open("rb", buffering=0) as file:
            pieces = decompressed(file, on_bytes)
            files = write_members(GzipStream(pieces), unfinished, subject)
            for _ in pieces:  # to the CRC at the end
                pass
        yield unfinished / posixpath.commonpath([path.parent.as_posix() for path in files])
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_folder(folder: Path) -> Path:
    """Return where a folder is unpacked before it appears."""
    return folder.with_name(f".{folder.name}.unpacking")


def unpacked_size(archive: Path) -> int:
    """Return about how many bytes the content of an archive takes, from its last bytes and its length.

    Of a file that cannot be a gzip file of one piece, it is what the file itself takes.
    """
    compressed = archive.stat().st_size
    if compressed < LENGTH_BYTES:
        return compressed
    with archive.open("rb") as file:
        file.seek(-LENGTH_BYTES, io.SEEK_END)
        length = int.from_bytes(file.read(), "little")
    missing = max(0, int(compressed * SMALLEST_FACTOR) - length)
    length += -(-missing // LENGTH_MODULUS) * LENGTH_MODULUS
    return length if length <= compressed * LARGEST_FACTOR else compressed


class Member(tarfile.TarInfo):
    """A member of an archive whose broken header is an error; tarfile would take it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "Member":
        try:
            return super().fromtarfile(archive)
        except BROKEN_HEADER_ERRORS as error:
            raise BadArchiveError(f"is no whole tar archive: {error}") from None


def write_members(stream: GzipStream, folder: Path, subject: str) -> list[PurePosixPath]:
    """Write the files of a tar archive into an empty folder.

    Returns:
        their paths in the folder.

    Raises:
        BadArchiveError: a member is outside of the folder or in another subject's; is no file, folder or link to a
            file of the archive; has the name of another; or there is no file.
    """
    files: list[PurePosixPath] = []
    links: dict[PurePosixPath, PurePosixPath] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=Member) as archive:
            for member in archive:
                path = path_inside(member.name)
                if member.isdir():
                    continue
                if subject_of_member(member.name) not in (None, subject):
                    raise BadArchiveError(
                        f"holds the folder {subject_of_member(member.name)} where its name says {subject}"
                    )
                if member.isreg():
                    content = archive.extractfile(member)
                    assert content is not None  # it is a regular file
                    write_file(content, folder, path, member.mtime)
                    files.append(path)
                elif member.islnk() or member.issym():
                    start = posixpath.dirname(member.name) if member.issym() else ""
                    links[path] = path_inside(posixpath.normpath(posixpath.join(start, member.linkname)))
                else:
                    raise BadArchiveError(f"holds {member.name!r}, which is neither file nor folder")
    except tarfile.TarError as error:
        raise BadArchiveError(f"is no whole tar archive: {error}") from None
    for path, target in links.items():
        for _ in links:  # a link may lead to another, but not for ever
            target = links.get(target, target)
        if target not in files:
            raise BadArchiveError(f"holds the link {str(path)!r}, which leads to no file of the archive")
        with (folder / target).open("rb") as source:
            write_file(source, folder, path, (folder / target).stat().st_mtime)
        files.append(path)
    if not files:
        raise BadArchiveError("holds no file")
    return files


def path_inside(name: str) -> PurePosixPath:
    """Return a member's path if it lies inside of the archive's folder, on whatever system it is unpacked.

    Raises:
        BadArchiveError: it does not.
    """
    as_windows_reads_it = PureWindowsPath(name)  # parts at either slash, and knows drives
    if as_windows_reads_it.anchor or ".." in as_windows_reads_it.parts or "\0" in name or not name:
        raise BadArchiveError(f"holds {name!r}, which lies outside of its folder")
    return PurePosixPath(name)


def write_file(source: IO[bytes], folder: Path, path: PurePosixPath, changed: float) -> None:
    """Write a new file into a folder.

    Args:
        source: its content.
        path: of the file in the folder; the folders between are made.
        changed: its time stamp, s since 1970.

    Raises:
        BadArchiveError: a file of that name exists (on a case-insensitive disk, one that differs in case only).
    """
    target = folder / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise BadArchiveError(f"holds {str(path)!r} twice") from None
    with file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
    os.utime(target, (changed, changed))
