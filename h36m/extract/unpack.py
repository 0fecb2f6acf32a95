"""Unpack one archive in one pass, inside its folder, completely or not at all."""

import contextlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from h36m.archives.content import Files, read_archive
from h36m.archives.gzip_stream import CHUNK_BYTES
from h36m.dataset import Archive
from h36m.errors import UnsafeArchiveError
from h36m.storage import free_name, start_writing

# RFC 1952: the last four bytes of a gzip file are the length of its content, modulo 2**32. RFC 1951: content that
# cannot be compressed grows by 5 bytes in each block, less than a thousandth; and 2 bits encode 258 bytes at most.
LENGTH_BYTES, LENGTH_MODULUS = 4, 2**32
SMALLEST_FACTOR, LARGEST_FACTOR = 0.999, 1032


@contextlib.contextmanager
def unpacked(
    file: Path,
    folder: Path,
    archive: Archive,
    on_bytes: Callable[[int], None],
    on_strays: Callable[[list[str]], None] = lambda names: None,
) -> Iterator[Path]:
    """Unpack an archive beside the folder that it is to become; yield where, each file in its place in that folder.

    The places are those of h36m.archives.members.places_of; strays are skipped. What is yielded is complete: the gzip
    stream was read to its end and its CRC matches; rename it to `folder`. The rest is removed after the `with` block.
    A link becomes a copy of the file that it leads to. Time stamps are kept, modes and owners are not.

    Args:
        file: a gzip'd tar.
        folder: its parent must exist.
        archive: that it must be.
        on_bytes: called with the number of compressed bytes after each read; it may raise to stop.
        on_strays: called with the names of the strays, if there are any.

    Raises:
        BadArchiveError: damaged, cut off, or no archive; see h36m.archives.content.read_archive.
        OSError: it cannot be read or written.
    """
    unfinished = unfinished_folder(folder)
    unfinished.mkdir()
    try:
        with file.open("rb", buffering=0) as opened:
            found = write_members(opened, unfinished, archive, on_bytes)
        if found.strays:
            on_strays(found.strays)
        yield put_in_place(unfinished, found.places)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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


def write_members(file: io.RawIOBase, folder: Path, archive: Archive, on_bytes: Callable[[int], None]) -> Files:
    """Write the files of an open archive into an empty folder, each under its path in the archive.

    Raises: as `unpacked`.
    """

    def write(path: PurePosixPath, member: tarfile.TarInfo, content: IO[bytes]) -> None:
        write_file(content, folder, path, member.mtime)

    found = read_archive(file, archive, write, on_bytes)
    for path, target in found.links.items():
        with (folder / target).open("rb") as source:
            write_file(source, folder, path, (folder / target).stat().st_mtime)
    return found


def put_in_place(folder: Path, places: dict[PurePosixPath, PurePosixPath]) -> Path:
    """Move the files of a folder to their places; return the folder in it that then holds them and nothing else.

    Args:
        places: of all files in the folder, by their paths there.
    """
    path, place = next(iter(places.items()))
    top = PurePosixPath(*path.parts[: len(path.parts) - len(place.parts)])
    if all(top / place == path for path, place in places.items()):  # as in the site's archives
        return folder / top
    complete = free_name(folder / "complete")
    for path, place in places.items():
        target = complete / place
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / path).rename(target)
    return complete


def write_file(source: IO[bytes], folder: Path, path: PurePosixPath, changed: float) -> None:
    """Write a new file into a folder.

    Args:
        source: its content.
        path: of the file in the folder; the folders between are made.
        changed: its time stamp, s since 1970.

    Raises:
        UnsafeArchiveError: a file of that name exists (on a case-insensitive disk, one that differs in case only).
    """
    target = folder / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise UnsafeArchiveError(f"contains {str(path)!r} twice") from None
    with file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
        file.flush()
        start_writing(file.fileno())  # the disk writes while the next files are decompressed
    os.utime(target, (changed, changed))
