"""Names and facts of the dataset: subjects, kinds of archive, joints, and every folder and file on disk.

    archives/Videos_S1.tgz -> extracted/S1/Videos/Walking 1.54138969.mp4 -> processed/S1/Walking-1/annot.h5

Every other module takes these names from here. What `metadata.xml` says (sequences, cameras, skeleton) is in
h36m.metadata.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

# The folder of the scripts, where `metadata.xml` and `checksums.txt` are.
PROJECT = Path(__file__).resolve().parent.parent

# The subjects whose poses are published; the others are held back as the site's own test set.
SUBJECTS_WITH_GROUND_TRUTH = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
SUBJECTS_WITHOUT_POSES = ("S2", "S3", "S4", "S10")
# The split used by nearly all papers and programs.
TRAINING_SUBJECTS, TEST_SUBJECTS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")

# -- kinds of archive --------------------------------------------------------------------------------------------------

POSES_2D = "Poses_D2_Positions"
POSES_3D_WORLD = "Poses_D3_Positions"
POSES_3D = "Poses_D3_Positions_mono"
POSES_3D_UNIVERSAL = "Poses_D3_Positions_mono_universal"
VIDEOS = "Videos"
BOXES = "Segments_mat_gt_bb"
PART_LABELS = "Segments_mat_gt_pl"
POSES_3D_ANGLES = "Poses_D3_Angles"
SILHOUETTES = "Segments_mat_gt_bs"


class Kind(NamedTuple):
    """Facts about the archives of one kind."""

    script: str  # the script that downloads them
    site_path: str  # the `filepath` that the site's file browser expects
    inner_folder: str  # the folder below the subject's inside the archive
    extension: str  # of the files in it
    has_views: bool = True  # whether a sequence has a file for each camera
    is_by_name_only: bool = False  # whether only --kinds selects them; process_all.py reads none of these

    @property
    def is_optional(self) -> bool:
        """Whether frames and poses can be processed without them: many users need neither boxes nor part labels."""
        return self.script == SEGMENTS_SCRIPT


POSES_AND_VIDEOS_SCRIPT, SEGMENTS_SCRIPT = "download_all.py", "download_seg_mat_gt_pl.py"

KIND_FACTS = {
    POSES_2D: Kind(POSES_AND_VIDEOS_SCRIPT, "Poses/D2_Positions", "MyPoseFeatures/D2_Positions", ".cdf"),
    POSES_3D_WORLD: Kind(
        POSES_AND_VIDEOS_SCRIPT, "Poses/D3_Positions", "MyPoseFeatures/D3_Positions", ".cdf", has_views=False
    ),
    POSES_3D: Kind(POSES_AND_VIDEOS_SCRIPT, "Poses/D3_Positions_mono", "MyPoseFeatures/D3_Positions_mono", ".cdf"),
    POSES_3D_UNIVERSAL: Kind(
        POSES_AND_VIDEOS_SCRIPT,
        "Poses/D3_Positions_mono_universal",
        "MyPoseFeatures/D3_Positions_mono_universal",
        ".cdf",
    ),
    VIDEOS: Kind(POSES_AND_VIDEOS_SCRIPT, "Videos", "Videos", ".mp4"),
    BOXES: Kind(SEGMENTS_SCRIPT, "Segments/mat_gt_bb", "MySegmentsMat/ground_truth_bb", ".mat"),
    # The name of the last inner folder is not published; the synthetic archives of tests and demo use this one.
    PART_LABELS: Kind(SEGMENTS_SCRIPT, "Segments/mat_gt_pl", "MySegmentsMat/ground_truth_pl", ".mat"),
    POSES_3D_ANGLES: Kind(
        POSES_AND_VIDEOS_SCRIPT,
        "Poses/D3_Angles",
        "MyPoseFeatures/D3_Angles",
        ".cdf",
        has_views=False,
        is_by_name_only=True,
    ),
    "Poses_D3_Angles_mono": Kind(
        POSES_AND_VIDEOS_SCRIPT,
        "Poses/D3_Angles_mono",
        "MyPoseFeatures/D3_Angles_mono",
        ".cdf",
        is_by_name_only=True,
    ),
    "Poses_RawAngles": Kind(
        POSES_AND_VIDEOS_SCRIPT,
        "Poses/RawAngles",
        "MyPoseFeatures/RawAngles",
        ".cdf",
        has_views=False,
        is_by_name_only=True,
    ),
    SILHOUETTES: Kind(
        SEGMENTS_SCRIPT, "Segments/mat_gt_bs", "MySegmentsMat/ground_truth_bs", ".mat", is_by_name_only=True
    ),
}
KINDS = tuple(kind for kind, facts in KIND_FACTS.items() if not facts.is_by_name_only)
# Without one of these, no images of a subject can be made.
NEEDED_KINDS = tuple(kind for kind in KINDS if kind != POSES_3D_WORLD and not KIND_FACTS[kind].is_optional)


def kinds_of_script(script: str) -> tuple[str, ...]:
    """Return the kinds of archive that a script downloads without `--kinds`: `kinds_of_script("download_all.py")`."""
    return tuple(kind for kind in KINDS if KIND_FACTS[kind].script == script)


def kinds_option(*kinds: str) -> str:
    """Return what a command needs to deal with some kinds: ` --kinds Poses_D3_Angles`, or nothing for usual kinds."""
    is_needed = any(kind in KIND_FACTS and KIND_FACTS[kind].is_by_name_only for kind in kinds)
    return f" --kinds {' '.join(kinds)}" if is_needed else ""


# The site's own numbering of the subjects.
SITE_SUBJECT_NUMBERS = {"S1": 1, "S5": 6, "S6": 7, "S7": 2, "S8": 3, "S9": 4, "S11": 5}

# -- frames ------------------------------------------------------------------------------------------------------------

# The longest video has 6353 frames: a file that claims more than this is damaged, and is not to fill the memory.
MOST_FRAMES = 100_000
# Videos are up to some ten frames longer than their poses, but for some, which have this many poses (source: the table
# `frames` of the official metadata.xml).
FRAMES_WITHOUT_POSE = 10
POSES_OF_LONGER_VIDEOS = {
    ("S1", "SittingDown-1"): 3023,
    ("S1", "SittingDown-2"): 2742,
    ("S9", "Greeting-2"): 1447,
    ("S9", "Phoning-2"): 3319,
    ("S9", "SittingDown-2"): 1554,
    ("S9", "Waiting-1"): 1612,
    ("S9", "Walking-2"): 1612,
}

# -- joints ------------------------------------------------------------------------------------------------------------

JOINTS = 32
ROOT_JOINT = 0  # Hips
# The 17 of the 32 joints that move on their own, used for training (VideoPose3D leaves out the same 15). The
# others repeat one of them, or are ends of hands, feet and fingers.
MOVING_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)

# -- archives/ ---------------------------------------------------------------------------------------------------------

ARCHIVES = "archives"
ARCHIVE_EXTENSION = ".tgz"
# Appended to `NAME.tgz`: an unfinished download; one that the site has changed; one that failed its check.
PARTIAL_EXTENSION, CHANGED_EXTENSION, REJECTED_EXTENSION = ".part", ".changed", ".rejected"
# Appended to an unfinished download's name: axel's state file; which version of the archive it comes from.
STATE_EXTENSION, VERSION_EXTENSION = ".st", ".about"
VERIFIED_RECORD = ".checked.json"  # which archives were verified, see h36m.storage.Record


class Archive(NamedTuple):
    """One archive of the site: all files of one kind of one subject."""

    kind: str  # of KIND_FACTS: Videos
    subject: str  # S1

    @property
    def name(self) -> str:
        """Its name without extension: Videos_S1."""
        return f"{self.kind}_{self.subject}"

    @property
    def file_name(self) -> str:
        """The name of its file: Videos_S1.tgz."""
        return f"{self.name}{ARCHIVE_EXTENSION}"


def archive_file(root: Path, archive: Archive) -> Path:
    """Return the path of a complete archive: root/archives/Videos_S1.tgz."""
    return root / ARCHIVES / archive.file_name


def subject_of_member(name: str) -> str | None:
    """Return the subject whose folder an archive's member is in: S1 for `S1/Videos/a.mp4`; None for no subject.

    That is the outermost folder named like a subject, since repacked archives may have another folder around it.
    """
    match = re.search(r"(?:^|/)(S\d+)(?:/|$)", name)
    return match[1] if match else None


# -- extracted/ --------------------------------------------------------------------------------------------------------

EXTRACTED = "extracted"
UNPACKED_RECORD = ".unpacked.json"  # which archive each folder was unpacked from, see h36m.storage.Record


def unpacked_folder(root: Path, archive: Archive) -> Path:
    """Return the folder that an archive is unpacked to: root/extracted/S1/Videos."""
    return root / EXTRACTED / archive.subject / archive.kind


def unpack_again(*files: Path) -> str:
    """Return the remedy for files in extracted/ that are damaged or missing.

    While a damaged file is there with its size, extract_all.py has nothing to do; and while a folder is there whose
    archive was deleted, neither have the download scripts. Some archives are known to lack files, or to have damaged
    ones.

    Args:
        files: as of `unpacked_file`; they need not exist.
    """
    folders = list(dict.fromkeys(file.parent for file in files))
    archives = {folder: Archive(folder.name, folder.parent.name) for folder in folders if folder.name in KIND_FACTS}
    gone = [folder for folder, archive in archives.items() if not _exists(archive_file(folder.parents[2], archive))]
    by_name = kinds_option(*(archive.kind for archive in archives.values()))
    if not gone:
        it = "it" if len(files) == 1 else "them"
        beginning = f"unpack {it} again: delete {it} and " if any(map(_exists, files)) else ""
        end = " (if that changes nothing, the fault is in the archive)" if all(map(_exists, folders)) else ""
        return f"{beginning}run extract_all.py{by_name}{end}"
    names = dict.fromkeys([*(KIND_FACTS[folder.name].script for folder in gone), "extract_all.py"])
    scripts = " and ".join(f"{name}{by_name}" for name in names)
    present = [str(folder) for folder in gone if _exists(folder)]
    word = "folder" if len(present) == 1 else "folders"
    return f"remove the {word} {' and '.join(present)}, then run {scripts}" if present else f"run {scripts}"


def _exists(path: Path) -> bool:
    """Return whether there is a file or folder; raise no error where the system cannot tell."""
    return os.access(path, os.F_OK)


class Sequence(NamedTuple):
    """One recording of a subject, seen by the four cameras."""

    subject: str  # S1
    action: int  # 14
    subaction: int  # 1
    name: str  # Walking-1, the name of its folder in processed/
    base: str  # Walking 1, the beginning of its files' names in extracted/

    def __str__(self) -> str:
        return f"{self.subject} {self.name}"


def unpacked_file_name(sequence: Sequence, kind: str, camera: str) -> str:
    """Return the name of a sequence's file: `Walking 1.54138969.mp4`; `Walking 1.cdf` for a kind without views."""
    stem = f"{sequence.base}.{camera}" if KIND_FACTS[kind].has_views else sequence.base
    return f"{stem}{KIND_FACTS[kind].extension}"


def unpacked_file(root: Path, sequence: Sequence, kind: str, camera: str) -> Path:
    """Return the path of a sequence's unpacked file: root/extracted/S1/Videos/Walking 1.54138969.mp4."""
    return unpacked_folder(root, Archive(kind, sequence.subject)) / unpacked_file_name(sequence, kind, camera)


# -- processed/ --------------------------------------------------------------------------------------------------------

PROCESSED = "processed"
ANNOTATIONS_FILE = "annot.h5"
IMAGES, PART_LABEL_IMAGES, PREVIEW_FILE = "imageSequence", "partLabels", "preview.jpg"
SEQUENCE_LOCKS = ".locks"  # in processed/: one lock per sequence
UNFINISHED_SEQUENCE = ".making"  # in a sequence's folder: what is written before it appears
SEQUENCE_RECORD = ".done.json"  # in a sequence's folder: what it was made from, see h36m.process.resume


def sequence_folder(root: Path, sequence: Sequence) -> Path:
    """Return the folder of a sequence's images and annot.h5: root/processed/S1/Walking-1."""
    return root / PROCESSED / sequence.subject / sequence.name


def image_name(index: int, extension: str = ".jpg") -> str:
    """Return the name of a frame's image; its number is the frame's index + 1: `image_name(0) == "img_000001.jpg"`."""
    return f"img_{index + 1:06d}{extension}"


# -- exported/ ---------------------------------------------------------------------------------------------------------

EXPORTED = "exported"
UNFINISHED_EXPORT = ".making"  # in a format's folder: files that are written, before they appear
