"""Is this archive what it should be? The published MD5, the gzip stream, and a record of what was checked before."""

import contextlib
import gzip
import hashlib
import json
import os
import re
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from h36m.console import WrongUse

# One read of this size keeps a disk busy and stays in a processor's cache.
CHUNK_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"

# In `archives/`: size, time stamp and MD5 of what was checked, so that tens of GB are not read again at each run.
RECORD_NAME = ".checked.json"


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
        WrongUse: the file cannot be read or a line is no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"checksums: cannot read {path}: {error}") from error
    checksums = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{32}) [ *](?:.*/)?([^/]+\.tgz)\s*", line)
        if not match:
            raise WrongUse(f"checksums: line {number} of {path} is not 'MD5  archives/NAME.tgz'")
        checksums[match[2]] = match[1].lower()
    return checksums


def check_archive(path: Path, name: str, expected_md5: str | None) -> Verdict:
    """Read an archive once and say whether it is what its name says.

    Args:
        path: the file, which may still have another name.
        name: the archive's name without its ending, `Videos_S1`.
        expected_md5: the published MD5; None to read the gzip stream to its end instead.
    """
    with path.open("rb") as file:
        beginning = file.read(512)
    if not beginning.startswith(GZIP_MAGIC):
        return Verdict(f"is not a gzip file; {describe_page(beginning)}")
    subject = name.rpartition("_")[2]
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


def describe_page(beginning: bytes) -> str:
    """Say what the first bytes of something that is no archive look like, in a few printable words."""
    text = beginning.decode("ascii", errors="replace")
    words = " ".join(re.sub(r"<[^>]*>?|[^ -~]", " ", text).split())
    kind = "HTML page" if re.search(r"<!doctype|<html|<head|<body", text, re.IGNORECASE) else "file"
    if not beginning:
        return "it is empty"
    return f"it looks like an {kind}: {words[:60]!r}" if kind == "HTML page" else f"it begins with {beginning[:8]!r}"


def inner_subject(path: Path) -> str | None:
    """Return the subject that an archive's first member lies under, `S1`; None where there is none to see."""
    try:
        with tarfile.open(path, mode="r|gz") as archive:
            member = archive.next()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        return None
    match = re.match(r"(?:\./)*(S\d+)(?:/|$)", member.name) if member else None
    return match[1] if match else None


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
        with gzip.open(path) as stream:
            while stream.read(CHUNK_BYTES):
                pass
    except EOFError:
        return f"is cut off: its gzip stream does not end within its {path.stat().st_size} bytes"
    except (zlib.error, gzip.BadGzipFile):
        return "is damaged: its gzip stream does not hold its own CRC"
    return None


def _is_entry(entry) -> bool:
    return isinstance(entry, dict) and entry.keys() == {"size", "mtime_ns", "md5"}


class Record:
    """Which archives of a folder were checked, kept in the folder as `.checked.json`.

    Threads of one run may share it if they hold a lock around each call; runs take turns by the folder's lock.
    """

    def __init__(self, folder: Path):
        self.path = folder / RECORD_NAME
        try:
            found = dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # none yet, or not ours: then everything is read once more
            found = {}
        self.entries = {name: entry for name, entry in found.items() if _is_entry(entry)}

    def md5(self, path: Path) -> str | None:
        """Return the MD5 that was found in a file, None if it was not looked for or the file has changed since."""
        return self.entries[path.name]["md5"] if self._is_current(path) else None

    def is_checked(self, path: Path, expected_md5: str | None) -> bool:
        """Say whether a file, by its size and time stamp, is one that was found good against this MD5."""
        return self._is_current(path) and (expected_md5 is None or self.entries[path.name]["md5"] == expected_md5)

    def add(self, path: Path, md5: str | None) -> None:
        """Remember that a file was read to its end, and its MD5 if that was computed."""
        stat = path.stat()
        self.entries[path.name] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "md5": md5}
        write_atomically(self.path, json.dumps(self.entries, indent=1, sort_keys=True) + "\n")

    def _is_current(self, path: Path) -> bool:
        entry = self.entries.get(path.name)
        try:
            stat = path.stat()
        except OSError:
            return False
        return entry is not None and (entry["size"], entry["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that a reader, or a run after a crash, finds the old or the new one whole.

    The new file can be read and written by its owner only.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
