"""Small archives in the real ones' layout, and what damage does to them."""

import contextlib
import hashlib
import io
import random
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from h36m.dataset import KIND_FACTS, KINDS, SUBJECTS_WITH_GROUND_TRUTH, Archive
from h36m.extract.unpack import unfinished_folder, unpack
from h36m.sequences import file_names


def small_archive(path: Path, archive: Archive, size: int) -> bytes:
    """Write an archive of the real inner layout, with about `size` bytes of random content; return its bytes."""
    content = random.Random(f"{archive.kind} {archive.subject} {size}").randbytes(size)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        name = next(iter(file_names(archive).values()))
        member = tarfile.TarInfo(f"{archive.subject}/{KIND_FACTS[archive.kind].inner_folder}/{name}")
        member.size = size
        tar.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def small_release(folder: Path, kinds=KINDS, subjects=SUBJECTS_WITH_GROUND_TRUTH, size: int = 20_000) -> Path:
    """Write small archives into a folder, with `checksums.txt` beside them as the project has it; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        for kind in kinds:
            small_archive(folder / Archive(kind, subject).file_name, Archive(kind, subject), size)
    write_checksums(folder)
    return folder


def write_checksums(folder: Path) -> Path:
    """Write `checksums.txt` for the archives of a folder; return its path."""
    paths = sorted(folder.glob("*.tgz"))
    lines = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  archives/{path.name}\n" for path in paths]
    (folder / "checksums.txt").write_text("".join(lines))
    return folder / "checksums.txt"


def spoil(content: bytes, how: str) -> bytes:
    """Return an archive's bytes after damage of the given kind."""
    middle = len(content) // 2
    return {
        "truncated": content[:middle],
        "without its last byte": content[:-1],
        "flipped bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "flipped bit in the CRC": content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],
        "garbage behind it": content + b"garbage",
        "login page": b"<html><body>Please log in to see this page</body></html>",
        "empty file": b"",
    }[how]


@contextlib.contextmanager
def unpacked(file: Path, folder: Path, archive: Archive) -> Iterator[tuple[Path, list[str]]]:
    """Unpack an archive for a `with` block; yield the folder of its files, and its strays."""
    try:
        yield unpack(file, folder, archive, lambda count: None)
    finally:
        shutil.rmtree(unfinished_folder(folder), ignore_errors=True)
