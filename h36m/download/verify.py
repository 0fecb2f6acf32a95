"""Is this archive what it should be? The published MD5, or the gzip stream read to its end."""

import hashlib
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from h36m.cli import UsageError
from h36m.dataset import ARCHIVE_EXTENSION, ARCHIVES, subject_of_member
from h36m.gzip_stream import CHUNK_BYTES, GZIP_MAGIC, BadArchiveError, GzipStream, decompressed, describe_page


@dataclass(frozen=True)
class Verdict:
    """What reading an archive showed.

    Attributes:
        fault: why it cannot be accepted, one line; None for a good one.
        md5: of the whole file; None where no MD5 was asked for, or the file is no archive at all.
        is_whole: its gzip stream is complete, so the bytes are someone's archive, even if not the listed one.
    """

    fault: str | None
    md5: str | None = None
    is_whole: bool = False


def read_checksums(path: Path) -> dict[str, str]:
    """Read lines `MD5  archives/NAME.tgz`, as md5sum writes them, and return MD5s by file name.

    Raises:
        UsageError: the file cannot be read or a line is no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"checksums: cannot read {path}: {error}") from error
    checksums = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(rf"([0-9a-fA-F]{{32}}) [ *](?:.*/)?([^/]+{re.escape(ARCHIVE_EXTENSION)})\s*", line)
        if not match:
            raise UsageError(f"checksums: line {number} of {path} is not 'MD5  {ARCHIVES}/NAME{ARCHIVE_EXTENSION}'")
        checksums[match[2]] = match[1].lower()
    return checksums


def check_archive(path: Path, subject: str, expected_md5: str | None) -> Verdict:
    """Read an archive once and say whether it is what its name says.

    Args:
        path: the file, which may still have another name.
        subject: whose files the archive has to hold, `S1`.
        expected_md5: the published MD5; None to read the gzip stream to its end instead.
    """
    with path.open("rb") as file:
        beginning = file.read(512)
    if not beginning.startswith(GZIP_MAGIC):
        return Verdict(f"is not a gzip file; {describe_page(beginning)}")
    inner = inner_subject(path)
    if inner not in (None, subject):
        return Verdict(f"holds the folder {inner} where its name says {subject}", is_whole=True)
    if expected_md5 is None:
        fault = gzip_fault(path)
        return Verdict(fault, is_whole=fault is None)
    md5 = md5_of(path)
    if md5 == expected_md5:
        return Verdict(None, md5, is_whole=True)
    # A cut or garbled file differs too; only a whole one can be a new edition of the archive.
    fault = gzip_fault(path)
    return Verdict(fault or f"has the MD5 {md5}, and {expected_md5} was expected", md5, is_whole=fault is None)


def inner_subject(path: Path) -> str | None:
    """Return the subject that an archive's first member lies under, `S1`; None where there is none to see."""
    try:
        with path.open("rb", buffering=0) as file:
            stream = GzipStream(decompressed(file))
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                member = archive.next()
    except (tarfile.TarError, BadArchiveError):
        return None
    return subject_of_member(member.name) if member else None


def md5_of(path: Path) -> str:
    """Return a file's MD5 in hexadecimal."""
    # The site publishes MD5s, so MD5 it is; it guards against accidents, not against an attacker.
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            md5.update(chunk)
    return md5.hexdigest()


def gzip_fault(path: Path) -> str | None:
    """Read a gzip stream to its end; return what is wrong with it, None for nothing."""
    try:
        with path.open("rb", buffering=0) as file:
            for _ in decompressed(file):
                pass
    except BadArchiveError as fault:
        return str(fault)
    return None
