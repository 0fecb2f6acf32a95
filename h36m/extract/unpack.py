"""Unpack one archive in one pass, inside its folder, completely or not at all; look at what is in such a folder."""

import contextlib
import io
import itertools
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from h36m.archives.content import read_archive
from h36m.archives.gzip_stream import CHUNK_BYTES
from h36m.archives.unpacked import sizes_in
from h36m.dataset import Archive
from h36m.storage import free_name, start_writing

# RFC 1952: the last four bytes of a gzip file are the length of its content, modulo 2**32. RFC 1951: content that
# cannot be compressed grows by 5 bytes in each block, less than a thousandth; and 2 bits encode 258 bytes at most.
LENGTH_BYTES, LENGTH_MODULUS = 4, 2**32
SMALLEST_FACTOR, LARGEST_FACTOR = 0.999, 1032
# Some disks (FAT) and tar files keep time stamps no finer than this.
SECONDS_OF_TIME_STAMPS = 2


def unpack(file: Path, folder: Path, archive: Archive, on_bytes: Callable[[int], None]) -> tuple[Path, list[str]]:
    """Unpack an archive next to the folder that it is to become, each file in its place; return where, and the strays.

    The places are those of h36m.archives.members.places_of; strays are skipped. What is returned is complete: the gzip
    stream was read to its end and its CRC matches; rename it to `folder`. The caller removes `unfinished_folder`, on an
    error too. Time stamps are kept, modes and owners are not.

    Args:
        file: a gzip'd tar.
        folder: its parent must exist.
        archive: that it must be.
        on_bytes: called with the number of compressed bytes after each read; it may raise to stop.

    Raises:
        BadArchiveError: damaged, cut off, or no archive; see h36m.archives.content.read_archive.
        OSError: it cannot be read or written.
    """
    unfinished = free_name(unfinished_folder(folder))
    complete = unfinished / "complete"
    unfinished.mkdir()
    numbers = itertools.count()  # names of files until their places are known, so that no two can be one

    def write(member: tarfile.TarInfo, content: IO[bytes]) -> None:
        write_file(content, unfinished / str(next(numbers)), member.mtime)

    with file.open("rb", buffering=0) as opened:
        places, strays = read_archive(opened, archive, write, on_bytes)
    for number, place in enumerate(places):
        (complete / place).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / str(number)).rename(complete / place)
    return complete, strays


def unfinished_folder(folder: Path) -> Path:
    """Return the path under which a folder is unpacked before it appears."""
    return folder.with_name(f".{folder.name}.unpacking")


def unpacked_size(archive: Path) -> int:
    """Return about how many bytes the content of an archive takes, from its last bytes and its length.

    For a file that cannot be a single gzip member, it is the size of the file itself.
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


def write_file(source: IO[bytes], path: Path, changed: float) -> None:
    """Write a new file.

    Args:
        source: its content.
        changed: its time stamp, s since 1970.
    """
    with path.open("xb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
        file.flush()
        start_writing(file.fileno())  # the disk writes while the next files are decompressed
    # The system may not have such a time stamp, or the user may not set any (CIFS, gcsfuse).
    with contextlib.suppress(OSError, OverflowError, ValueError):
        os.utime(path, (changed, changed))


# -- what is in an unpacked folder -------------------------------------------------------------------------------------


def holds_other_files(folder: Path, unpacked: Path, earlier: dict[str, int]) -> bool:
    """Return whether a folder has anything that would be lost if the newly unpacked folder replaced it.

    Files with the same name, size and time stamp (which archives keep) count as the same. Empty files and what was
    unpacked from an earlier version of the archive are no loss.

    Args:
        earlier: sizes of the files that were unpacked from an earlier version, as of `sizes_in`.
    """
    if folder.is_symlink() or not folder.is_dir():
        return True
    return any(
        size and earlier.get(name) != size and not _are_alike(folder / name, unpacked / name)
        for name, size in sizes_in(folder).items()
    )


def _are_alike(file: Path, other: Path) -> bool:
    if not other.exists():
        return False
    one, two = file.lstat(), other.lstat()
    return one.st_size == two.st_size and abs(one.st_mtime - two.st_mtime) <= SECONDS_OF_TIME_STAMPS
