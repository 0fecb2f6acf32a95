"""Check whether a file is the archive that its name says, by its first bytes and the names of its members.

An archive is a gzip'd tar of one folder, such as `S1/Videos/`. A login page, a compressed page or another archive is
not, whatever its name, HTTP status and content type say. The download and the extract scripts judge by the same rules:
those of `read_archive`, which reads all of a file, and of `fault_in_beginning`.
"""

import contextlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import IO

from h36m.archives.gzip_stream import GZIP_MAGIC, GZIP_WINDOW, GzipStream, decompressed
from h36m.archives.members import is_stray, listed, places_of, require_member
from h36m.dataset import Archive
from h36m.errors import BadArchiveError, OtherArchiveError, UnsafeArchiveError

# Enough for the headers of the folders and of the first file, and quickly decompressed.
BEGINNING_BYTES = 1 << 14
# Bytes searched for the tags of an HTML page: they come early, and other files may contain such words later.
PAGE_BYTES = 1 << 11
# Decompressed at most, so that a beginning of zeros (which grows 1032 times) costs no more than others.
MOST_CONTENT_BYTES = 1 << 18

# tarfile documents only the base class of the first three, which also means the regular end of an archive. It does not
# catch errors of fields that hold no number, or one that is too large.
_BROKEN_HEADER_ERRORS = (
    ValueError,
    OverflowError,
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
    tarfile.SubsequentHeaderError,  # type: ignore[attr-defined]
)


# -- the first bytes ---------------------------------------------------------------------------------------------------


def fault_in_beginning(beginning: bytes, archive: Archive) -> str | None:
    """Return why bytes cannot be the beginning of an archive; None if they can, or are too few to tell.

    Args:
        beginning: the first bytes of a file or of an HTTP body; up to BEGINNING_BYTES of them help.
        archive: that the name says.

    Returns:
        one line that follows the archive's name: "is not a gzip file; it begins with b'PK'".
    """
    try:
        for name in member_names(beginning):
            require_member(name, archive)
    except BadArchiveError as fault:
        return str(fault)
    return None


def member_names(beginning: bytes) -> list[str]:
    """Return the names of the members whose headers are in the first bytes of an archive; [] for too few bytes.

    Raises:
        BadArchiveError: they cannot be the first bytes of any archive.
    """
    if not beginning.startswith(GZIP_MAGIC):
        if GZIP_MAGIC.startswith(beginning):
            return []
        raise BadArchiveError(f"is not a gzip file; {describe(beginning)}")
    stream = zlib.decompressobj(GZIP_WINDOW)
    try:
        content = stream.decompress(beginning, MOST_CONTENT_BYTES)
    except zlib.error:
        raise BadArchiveError("is damaged: its gzip stream cannot be decompressed") from None
    names: list[str] = []
    if is_tar(content):
        # The bytes end within a header, or it is a broken one.
        with (
            contextlib.suppress(tarfile.TarError, ValueError, OverflowError),
            tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar,
        ):
            for member in tar:
                names.append(member.name)
        return names
    is_all = stream.eof and not stream.unused_data
    if len(content) < tarfile.BLOCKSIZE and not is_all and page_text(content) is None:
        return []
    raise BadArchiveError(f"is gzip, but contains no tar archive; {describe(content)}")


def page_fault(beginning: bytes) -> str | None:
    """Return why bytes cannot be from the middle of an archive: they are a page; None if they can."""
    text = page_text(beginning) if beginning.lstrip().startswith(b"<") else None
    return None if text is None else f"is an HTML page: {text!r}"


def page_text(beginning: bytes) -> str | None:
    """Return the first words that an HTML page shows, printable and without tags; None for something else."""
    text = beginning[:PAGE_BYTES].decode("ascii", errors="replace")
    if not re.search(r"<!doctype|<html|<head|<body", text, re.IGNORECASE):
        return None
    return " ".join(re.sub(r"<[^>]*>?|[^ -~]", " ", text).split())[:60]


def describe(beginning: bytes) -> str:
    """Describe the first bytes of something that is not an archive, in a few printable words."""
    if is_tar(beginning):
        return "it is a tar archive that is not compressed"
    if (text := page_text(beginning)) is not None:
        return f"it looks like an HTML page: {text!r}"
    return f"it begins with {beginning[:8]!r}" if beginning else "it is empty"


def is_tar(beginning: bytes) -> bool:
    """Return whether bytes are the beginning of a tar that is not compressed."""
    try:
        tarfile.TarInfo.frombuf(beginning[: tarfile.BLOCKSIZE], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:  # too short, all zeros, or a checksum that does not match
        return False
    return True


# -- all of a file -----------------------------------------------------------------------------------------------------


class _Member(tarfile.TarInfo):
    """A member of an archive whose broken header is an error; tarfile would take it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(archive)
        except _BROKEN_HEADER_ERRORS as error:
            raise BadArchiveError(f"is not a complete tar archive: {error}") from None


def read_archive(
    file: io.RawIOBase,
    archive: Archive,
    on_file: Callable[[tarfile.TarInfo, IO[bytes]], None] = lambda member, content: None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> tuple[list[PurePosixPath], list[str]]:
    """Read an archive to the CRC at its end; if this returns, the archive is good.

    Args:
        file: open for reading at its beginning, without a buffer of its own.
        archive: that it must be.
        on_file: called with the member and content (reading it is optional) of each regular file except strays.
        on_bytes: called with the number of compressed bytes after each read; it may raise to stop.

    Returns:
        the place of each file in the order of their members, see h36m.archives.members.places_of; the names of strays.

    Raises:
        OtherArchiveError: of another subject or kind, or without any file that process_all.py reads.
        UnsafeArchiveError: a member is outside of the folder, has the place of another, or is not a file or folder.
        BadArchiveError: damaged, cut off, no archive at all, or without a file.
    """
    beginning = file.read(BEGINNING_BYTES) or b""
    if not beginning:
        raise BadArchiveError("is empty")
    member_names(beginning)  # tells what else it is
    file.seek(0)
    pieces = decompressed(file, on_bytes)
    try:
        with tarfile.open(fileobj=GzipStream(pieces), mode="r:", tarinfo=_Member) as tar:
            files, strays = _read_members(tar, archive, on_file)
    except tarfile.TarError as error:
        raise BadArchiveError(f"is not a complete tar archive: {error}") from None
    for _ in pieces:  # to the CRC at the end
        pass
    if not files and strays:
        raise OtherArchiveError(f"contains only files created by operating systems: {listed(strays)}")
    if not files:
        raise BadArchiveError("contains no file")
    return places_of(files, archive), strays


def _read_members(
    tar: tarfile.TarFile, archive: Archive, on_file: Callable[[tarfile.TarInfo, IO[bytes]], None]
) -> tuple[list[PurePosixPath], list[str]]:
    """Return the paths of the files of a tar, and the names of its strays."""
    files: dict[PurePosixPath, None] = {}
    strays: list[str] = []
    for member in tar:
        path = require_member(member.name, archive)
        if member.isdir():
            continue
        if is_stray(path):
            strays.append(member.name)
            continue
        content = tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise UnsafeArchiveError(f"contains {member.name!r}, which is neither a file nor a folder")
        if path in files:
            raise UnsafeArchiveError(f"contains {str(path)!r} twice")
        on_file(member, content)
        files[path] = None
    return list(files), strays
