"""The dataset's archives: what they are called here, what the site calls them, and whose they say they are inside."""

import re

# The subjects whose poses are published; S2, S3, S4 and S10 are held back as the site's own test set.
SUBJECTS_WITH_GROUND_TRUTH = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")

# The site numbers the subjects in an order of its own.
SITE_SUBJECT_NUMBERS = {"S1": 1, "S5": 6, "S6": 7, "S7": 2, "S8": 3, "S9": 4, "S11": 5}

POSES_2D = "Poses_D2_Positions"
POSES_3D_WORLD = "Poses_D3_Positions"
POSES_3D = "Poses_D3_Positions_mono"
POSES_3D_UNIVERSAL = "Poses_D3_Positions_mono_universal"
VIDEOS = "Videos"
BOXES = "Segments_mat_gt_bb"
PART_LABELS = "Segments_mat_gt_pl"

# Kind of archive -> the `filepath` the site's file browser wants for it.
SITE_FILE_PATHS = {
    POSES_2D: "Poses/D2_Positions",
    POSES_3D_WORLD: "Poses/D3_Positions",
    POSES_3D: "Poses/D3_Positions_mono",
    POSES_3D_UNIVERSAL: "Poses/D3_Positions_mono_universal",
    VIDEOS: "Videos",
    BOXES: "Segments/mat_gt_bb",
    PART_LABELS: "Segments/mat_gt_pl",
}
KINDS = tuple(SITE_FILE_PATHS)


def archive_name(kind: str, subject: str) -> str:
    """Return an archive's name on disk, without its ending: `archive_name("Videos", "S1") == "Videos_S1"`."""
    return f"{kind}_{subject}"


def subject_of_member(name: str) -> str | None:
    """Return the subject whose folder a file of an archive lies in, None for another: `S1/Videos/a.mp4` is S1's."""
    match = re.match(r"(?:\./)*(S\d+)(?:/|$)", name)
    return match[1] if match else None
