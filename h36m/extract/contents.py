"""What is in an unpacked folder, and whether it is still all that was unpacked: by names and sizes, without reading."""

import os
from pathlib import Path


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
    promises more than it does. A file that has grown is a user's own, and is none of them.

    Args:
        unpacked: sizes as of `sizes_in`; None where they were not recorded. Then only empty files are known for lost.
        extension: of the files that are never empty: ".mp4".
    """
    sizes = sizes_in(folder)
    if unpacked is None:
        return sorted(name for name, size in sizes.items() if size == 0 and name.endswith(extension))
    return sorted(name for name, size in unpacked.items() if sizes.get(name, -1) < size)


def holds_other_files(folder: Path, unpacked: dict[str, int]) -> bool:
    """Return whether a folder holds anything that is lost if the same archive, unpacked again, takes its place.

    Args:
        unpacked: the sizes of the archive's files, as of `sizes_in`.
    """
    return not folder.is_dir() or any(size not in (0, unpacked.get(name)) for name, size in sizes_in(folder).items())
