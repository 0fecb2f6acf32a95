"""Whether a folder of extracted/ is whole: what was unpacked into it is there.

The extract script unpacks again what is not, and the download scripts download it again where its archive was deleted.
"""

from pathlib import Path

from h36m.archives.members import is_in_place
from h36m.dataset import Archive
from h36m.storage import Record, files_and_folders


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder by its path in it, bytes: `{"Walking 1.54138969.mp4": 4200000}`."""
    files, _ = files_and_folders(folder)
    return {file.relative_to(folder).as_posix(): file.lstat().st_size for file in files}


def lost_files(folder: Path, archive: Archive, record: Record) -> list[str] | None:
    """Return the files of a folder that are not what was unpacked: missing, empty, or shorter.

    Users delete files, and disks that do not do what they confirm lose them in a power cut. A file that has grown was
    changed by the user, and is not lost.

    Args:
        record: of what was unpacked.

    Returns:
        None where there is no folder, or none with files that process_all.py reads.
    """
    if not (folder.is_dir() and is_in_place(folder, archive)):
        return None
    sizes, unpacked = sizes_in(folder), record.files(Path(archive.file_name)) or {}
    return sorted(name for name, size in unpacked.items() if sizes.get(name, -1) < size)
