"""Check by names, sizes and time stamps, without reading, what is in an unpacked folder."""

import os
from pathlib import Path

# Some disks (FAT) and tar files keep time stamps no finer than this.
SECONDS_OF_TIME_STAMPS = 2


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder by its path in it, bytes: `{"Walking 1.54138969.mp4": 4200000}`."""
    return {
        Path(place, name).relative_to(folder).as_posix(): Path(place, name).lstat().st_size
        for place, _, names in os.walk(folder)
        for name in names
    }


def lost_files(folder: Path, unpacked: dict[str, int]) -> list[str]:
    """Return the files of a folder that are not what was unpacked: missing, empty, or shorter.

    Users delete files, and disks that do not do what they confirm lose them in a power cut. A file that has grown was
    changed by the user, and is not lost.

    Args:
        unpacked: sizes as of `sizes_in`.
    """
    sizes = sizes_in(folder)
    return sorted(name for name, size in unpacked.items() if sizes.get(name, -1) < size)


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
