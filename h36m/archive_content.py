"""Is this the archive that its name says? Its first bytes and the names of its members tell.

An archive is a gzip'd tar of one folder, such as `S1/Videos/`. A login page, a compressed page or another archive is
none, whatever its name, HTTP status and content type say.
"""

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

from h36m.dataset import KIND_FACTS, PART_LABELS, subject_of_member
from h36m.gzip_stream import GZIP_MAGIC, GZIP_WINDOW, BadArchiveError, describe_page, page_text

# Enough for the headers of the folders and of the first file, and quickly decompressed.
BEGINNING_BYTES = 1 << 14
# Of which a page is known: its tags come early, and other files may hold such words somewhere.
PAGE_BYTES = 1 << 11
# Decompressed at most, so that a beginning of zeros (which grows 1032 times) costs no more than others.
MOST_CONTENT_BYTES = 1 << 18

# The folder of the part labels is not published, so it contradicts no other kind.
_KNOWN_FOLDERS = {
    kind: PurePosixPath(facts.inner_folder).parts for kind, facts in KIND_FACTS.items() if kind != PART_LABELS
}
_TOP_FOLDERS = {kind: PurePosixPath(facts.inner_folder).parts[0] for kind, facts in KIND_FACTS.items()}


def fault_in_beginning(beginning: bytes, kind: str, subject: str) -> str | None:
    """Return why bytes cannot be the beginning of an archive; None if they can, or are too few to tell.

    Args:
        beginning: the first bytes of a file or of an HTTP body; up to BEGINNING_BYTES of them help.
        kind: of h36m.dataset.KINDS.
        subject: such as "S1".

    Returns:
        one line that goes on after the archive's name: "is a compressed HTML page: 'Please log in'".
    """
    if not beginning.startswith(GZIP_MAGIC):
        is_too_short = GZIP_MAGIC.startswith(beginning)
        return None if is_too_short else f"is not a gzip file; {_description(beginning)}"
    try:
        content, is_all = _decompress(beginning)
    except zlib.error:
        return "is damaged: its gzip stream cannot be decompressed"
    if not _begins_with_tar_header(content):
        text = page_text(content[:PAGE_BYTES])
        if text is not None:
            return f"is a compressed HTML page: {text!r}"
        if len(content) < tarfile.BLOCKSIZE and not is_all:
            return None
        if content and not content.strip(b"\0"):
            return "holds no file"
        return f"is gzip, but holds no tar archive; {_description(content)}"
    faults = (fault_of_member(name, kind, subject) for name in _member_names(content))
    return next((fault for fault in faults if fault), None)


def page_fault(beginning: bytes) -> str | None:
    """Return why bytes cannot be from the middle of an archive; None if they can.

    They can be anything but a page, compressed or not, that a site sends in place of the range it was asked for.
    """
    try:
        content, _ = _decompress(beginning)
    except zlib.error:
        content = b""
    for page, name in ((beginning, "an HTML page"), (content, "a compressed HTML page")):
        if page.lstrip().startswith(b"<") and (text := page_text(page[:PAGE_BYTES])) is not None:
            return f"is {name}: {text!r}"
    return None


def fault_of_member(name: str, kind: str, subject: str) -> str | None:
    """Return why an archive with a member of this name is not the one that its own name says; None if it may be.

    A member that names no subject, or a folder that is not known, is no contradiction.

    Args:
        name: as in the tar header, `S1/Videos/Walking 1.54138969.mp4`; a folder's name counts, too.
        kind: of h36m.dataset.KINDS.
        subject: such as "S1".

    Returns:
        one line that goes on after the archive's name: "holds the folder S11 where its name says S1".
    """
    try:
        path = path_inside(name)
    except BadArchiveError as fault:
        return str(fault)
    found = subject_of_member(path.as_posix())
    if found is None:
        return None
    if found != subject:
        return f"holds the folder {found} where its name says {subject}"
    folder = _folder_of_other_kind(path.parts[1:], kind)
    return f"holds {found}/{folder} where its name says {kind}" if folder else None


def path_inside(name: str) -> PurePosixPath:
    """Return a member's path if it is inside of the archive's folder, on whatever system it is unpacked.

    Raises:
        BadArchiveError: it is not.
    """
    as_windows_reads_it = PureWindowsPath(name)  # parts at either slash, and knows drives
    if as_windows_reads_it.anchor or ".." in as_windows_reads_it.parts or "\0" in name or not name:
        raise BadArchiveError(f"holds {name!r}, which lies outside of its folder")
    return PurePosixPath(name)


def _folder_of_other_kind(parts: tuple[str, ...], kind: str) -> str | None:
    """Return the folder, below the subject's, that only archives of other kinds hold; None if there is none."""
    for other, folder in _KNOWN_FOLDERS.items():
        if other != kind and parts[: len(folder)] == folder:
            return "/".join(folder)
    # Poses, videos and segments have different top folders; two kinds of one top folder are told apart above only.
    if parts and parts[0] in _TOP_FOLDERS.values() and parts[0] != _TOP_FOLDERS[kind]:
        return parts[0]
    return None


def _decompress(beginning: bytes) -> tuple[bytes, bool]:
    """Return the content of the first bytes of a gzip file, and whether the file seems to end there.

    Raises:
        zlib.error: they are damaged.
    """
    content = b""
    while beginning.startswith(GZIP_MAGIC) and len(content) < MOST_CONTENT_BYTES:
        member = zlib.decompressobj(GZIP_WINDOW)
        content += member.decompress(beginning, MOST_CONTENT_BYTES)
        if not member.eof:
            return content, False
        beginning = member.unused_data.lstrip(b"\0")
    return content, True


def _begins_with_tar_header(content: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(content[: tarfile.BLOCKSIZE], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:  # too short, all zeros, or a checksum that does not match
        return False
    return True


def _member_names(content: bytes) -> Iterator[str]:
    """Yield the names of the members whose headers are within the first bytes of a tar archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                yield member.name
    except tarfile.TarError:  # the headers end in the middle of one, or behind it
        return


def _description(beginning: bytes) -> str:
    if _begins_with_tar_header(beginning):
        return "it is a tar archive that is not compressed"
    return describe_page(beginning[:PAGE_BYTES])
