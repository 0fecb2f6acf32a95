"""Check by names and sizes, without reading, whether an unpacked folder still has everything that was unpacked."""

import os
from pathlib import Path, PurePosixPath

from h36m.archives.members import is_stray

# Some disks (FAT) and tar files keep time stamps no finer than this.
SECONDS_OF_TIME_STAMPS = 2


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder by its path in it, bytes: `{"Walking 1.54138969.mp4": 4200000}`."""
    return {
        Path(place, name).relative_to(folder).as_posix(): Path(place, name).lstat().st_size
        for place, _, names in os.walk(folder)
        for name in names
    }


def lost_files(folder: Path, unpacked: dict[str, int] | None, extension: str) -> list[str]:
    """Return the files of a folder that are not what was unpacked: missing, empty, or shorter.

    A power cut can leave such files where they were not synced: by an older version of these scripts, or by a disk that
    does not do what it confirms. A file that has grown was changed by the user, and is not lost.

    Args:
        unpacked: sizes as of `sizes_in`; None where they were not recorded. Then only empty files are known for lost.
        extension: of the files that are never empty: ".mp4".
    """
    sizes = sizes_in(folder)
    if unpacked is None:
        return sorted(name for name, size in sizes.items() if size == 0 and name.endswith(extension))
    return sorted(name for name, size in unpacked.items() if sizes.get(name, -1) < size)


def holds_other_files(folder: Path, unpacked: Path) -> bool:
    """Return whether a folder has anything that would be lost if the newly unpacked folder replaced it.

    Files with the same name, size and time stamp (which archives keep) count as the same, in whatever folder they
    are: earlier versions unpacked some archives to folders of their own. Empty files and strays are no loss.
    """
    if not folder.is_dir():
        return True
    known: dict[str, list[Path]] = {}
    for name in sizes_in(unpacked):
        known.setdefault(PurePosixPath(name).name, []).append(unpacked / name)
    for name, size in sizes_in(folder).items():
        path = PurePosixPath(name)
        if (
            size
            and not is_stray(path)
            and not any(_are_alike(folder / name, each) for each in known.get(path.name, ()))
        ):
            return True
    return False


def _are_alike(file: Path, other: Path) -> bool:
    one, two = file.lstat(), other.lstat()
    return one.st_size == two.st_size and abs(one.st_mtime - two.st_mtime) <= SECONDS_OF_TIME_STAMPS
