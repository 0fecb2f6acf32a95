"""Verify an archive by its first bytes and the published MD5, or by reading its whole content."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from h36m.archives.content import BEGINNING_BYTES, fault_in_beginning, read_archive
from h36m.archives.gzip_stream import CHUNK_BYTES
from h36m.dataset import ARCHIVE_EXTENSION, ARCHIVES, KIND_FACTS, SUBJECTS_WITH_GROUND_TRUTH, Archive
from h36m.errors import BadArchiveError, UsageError
from h36m.progress import Progress, Say

OnBytes = Callable[[int], None]  # called with the number of bytes after each read


@dataclass(frozen=True)
class Verdict:
    """What reading an archive showed.

    Attributes:
        fault: why it cannot be accepted, one line; None for a good one.
        md5: of the whole file; None where no MD5 was asked for, or the file is not this archive at all.
        is_whole: it is a complete archive of this kind and subject, even if not the listed one.
    """

    fault: str | None
    md5: str | None = None
    is_whole: bool = False


def read_checksums(path: Path, say: Say) -> dict[str, str]:
    """Read lines `MD5  archives/NAME.tgz`, as md5sum writes them; return MD5s by file name, and warn of unknown names.

    Raises:
        UsageError: the file cannot be read, or a line has another form.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"checksums: cannot read {path}: {error}") from error
    checksums = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        # md5sum writes a backslash in a name as two, and begins the line with one.
        match = re.fullmatch(
            rf"\\?([0-9a-fA-F]{{32}}) [ *](?:.*[/\\])?([^/\\]+{re.escape(ARCHIVE_EXTENSION)})\s*", line
        )
        if not match:
            raise UsageError(f"checksums: line {number} of {path} is not 'MD5  {ARCHIVES}/NAME{ARCHIVE_EXTENSION}'")
        checksums[match[2]] = match[1].lower()
    known = {Archive(kind, subject).file_name for kind in KIND_FACTS for subject in SUBJECTS_WITH_GROUND_TRUTH}
    if unknown := sorted(checksums.keys() - known):
        say(f"{path}: ignoring unknown archives: {', '.join(unknown)}; check their names")
    return checksums


def check_archive(path: Path, archive: Archive, expected_md5: str | None, bar: Progress | None = None) -> Verdict:
    """Read an archive once and check whether it is what its name says.

    Args:
        path: the file, which may still have another name.
        archive: what the file has to hold.
        expected_md5: the published MD5; None to read the archive to its end instead.
        bar: of the bytes that are read.
    """
    on_bytes = bar.update if bar is not None else lambda count: None
    fault = beginning_fault(path, archive)
    if fault:
        return Verdict(fault)
    md5 = md5_of(path, on_bytes) if expected_md5 else None
    if md5 and md5 == expected_md5:
        return Verdict(None, md5, is_whole=True)
    # A truncated or damaged file differs too; only a complete one can be a new version of the archive.
    if md5 and bar is not None:
        bar.update(-path.stat().st_size)
    fault = archive_fault(path, archive, on_bytes)
    mismatch = f"has a checksum mismatch (expected {expected_md5}, got {md5})" if md5 else None
    return Verdict(fault or mismatch, md5, is_whole=fault is None)


def beginning_fault(path: Path, archive: Archive) -> str | None:
    """Return why a file cannot be the archive, as far as its first bytes show; None if it can."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING_BYTES)
    return fault_in_beginning(beginning, archive) if beginning else "is empty"


def archive_fault(path: Path, archive: Archive, on_bytes: OnBytes) -> str | None:
    """Read an archive to its end by the rules of unpacking; return what is wrong with it, None for nothing."""
    try:
        with path.open("rb", buffering=0) as file:
            read_archive(file, archive, on_bytes=on_bytes)
    except BadArchiveError as fault:
        return str(fault)
    return None


def md5_of(path: Path, on_bytes: OnBytes) -> str:
    """Return a file's MD5 in hexadecimal."""
    # The published checksums are MD5s; they protect against accidents, not against an attacker.
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            md5.update(chunk)
            on_bytes(len(chunk))
    return md5.hexdigest()
