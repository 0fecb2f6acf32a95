"""H36M-Toolbox: a dictionary for each view and frame, and images.

annot/h36m_train.pkl        a list of the rows of S1 S5 S6 S7 S8
annot/h36m_validation.pkl   of S9 S11
images/s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from h36m.cameras import Camera
from h36m.dataset import (
    POSES_2D,
    POSES_3D,
    POSES_3D_UNIVERSAL,
    ROOT_JOINT,
    SUBJECTS_WITH_GROUND_TRUTH,
    TEST_SUBJECTS,
    TRAINING_SUBJECTS,
    Sequence,
)
from h36m.export.links import link_images, note_missing_images, numbered
from h36m.export.moon import beginning_of_names
from h36m.export.pickles import write_list
from h36m.export.shared import (
    Job,
    camera_center,
    published_poses,
    subject_number,
    unpacked_sequences,
)

READ_BY = "microsoft multiview-human-pose-estimation, TransFusion-Pose, epipolar-transformers"
KINDS = (POSES_2D, POSES_3D_UNIVERSAL, POSES_3D)
USES_PROCESSED = True
IMAGE_FOLDERS = "images/s_*"

# Of the 32 joints. The toolbox has 16 for the neck, which is where 13 is.
JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 16, 14, 15, 17, 18, 19, 25, 26, 27)

# Readers group a file's rows by frame, drop groups without all four cameras, and take every N-th of the whole list.
SETS = {"train": (TRAINING_SUBJECTS, 5), "validation": (TEST_SUBJECTS, 64)}

# The box about the root joint: mm to the left, above, to the right and below, at its depth.
BOX_MM = np.array([[-1000, -900], [1000, 1100]])
SCALE_PIXELS = 200
# Positions of frames run on from sequence to sequence, so no other rule is sure to have them. 2.1 million images take
# some 200 GB, by a report of all frames at the quality of process_all.py.
RULE = " --all-frames (some 200 GB for all subjects)"


def export(job: Job) -> int:
    """Write the rows of each set that has subjects, and link the images that processed/ has.

    Returns:
        how many rows were exported.
    """
    folder = job.unfinished / "annot"
    folder.mkdir()
    return sum(export_set(job, folder / f"h36m_{name}.pkl", *of_set) for name, of_set in SETS.items())


def export_set(job: Job, file: Path, subjects: tuple[str, ...], every: int) -> int:
    """Write the file of the training or the test set; without rows there is none. Return how many rows it has."""
    of_set = replace(job, subjects=tuple(subject for subject in job.subjects if subject in subjects))
    count = write_list(file, views_of_set(of_set, every))
    if not count:
        file.unlink()
    return count


def views_of_set(job: Job, every: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one view after the other, and link the images of a sequence when it has been read.

    A view has rows of as many frames as all its files have. A missing image is a problem: the readers fail at it.

    Args:
        every: N, where readers take every N-th group.
    """
    groups_before = 0
    for sequence in unpacked_sequences(job, KINDS):
        counts = {}
        for index, camera_id in enumerate(job.metadata.camera_ids):
            poses = [published_poses(job, sequence, kind, camera_id) for kind in KINDS]
            there = [of_kind for of_kind in poses if of_kind is not None]
            if len(there) == len(KINDS):
                counts[index] = min(map(len, there))
                yield rows_of_view(job, sequence, index, [of_kind[: counts[index]] for of_kind in there])
        groups = min(counts.values()) if len(counts) == len(job.metadata.camera_ids) else 0
        wanted = range(-groups_before % every, groups, every)
        for index, count in counts.items():
            beginning = beginning_of_names(sequence, index + 1)
            frames = link_images(job, sequence, job.metadata.camera_ids[index], count, beginning)
            note_missing_images(job, job.missing, sequence, wanted, frames, "group of the list", RULE)
        groups_before += groups


def rows_of_view(job: Job, sequence: Sequence, index: int, poses: list[np.ndarray]) -> list[dict[str, Any]]:
    """Return the rows of a view's frames; they share one dictionary of the camera.

    Args:
        index: of the camera, from 0.
        poses: (frames, 32, 2 or 3) of each of KINDS.
    """
    camera = job.metadata.cameras[sequence.subject, job.metadata.camera_ids[index]]
    boxes = boxes_around_root(poses[-1][:, ROOT_JOINT], camera)
    centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    beginning = beginning_of_names(sequence, index + 1)
    common = {
        "video_id": number_of_video(job, sequence, index),
        "subject": subject_number(sequence.subject),
        "action": sequence.action,
        "subaction": sequence.subaction,
        "camera_id": index,
        "source": "h36m",
        "camera": columns_of(camera),
    }
    columns = [of_kind[:, JOINTS].astype(np.float32) for of_kind in poses]
    columns += [boxes.astype(np.float32), centers.tolist(), (sizes / SCALE_PIXELS).tolist()]
    return [
        {
            "image": numbered(beginning, frame),
            "joints_2d": pose_2d,
            "joints_3d": universal,
            "joints_3d_camera": seen,
            "joints_vis": np.ones((len(JOINTS), 3)),
            "image_id": frame + 1,
            "box": box,
            "center": tuple(center),
            "scale": tuple(scale),
            **common,
        }
        for frame, (pose_2d, universal, seen, box, center, scale) in enumerate(zip(*columns, strict=True))
    ]


def boxes_around_root(roots: np.ndarray, camera: Camera) -> np.ndarray:
    """Return boxes left, top, right, bottom (frames, 4), pixels, not clipped, around root joints, without distortion.

    Args:
        roots: (frames, 3), mm, coordinates of `camera`.
    """
    corners = roots[:, None, :2] + BOX_MM
    return (corners / roots[:, None, 2:] * camera.focal_length + camera.principal_point).reshape(-1, 4)


def number_of_video(job: Job, sequence: Sequence, index: int) -> int:
    """Return the number of a view among all views of the release, whichever are exported.

    Args:
        index: of the camera, from 0.
    """
    release = [each for subject in SUBJECTS_WITH_GROUND_TRUTH for each in job.metadata.sequences_of(subject)]
    return release.index(sequence) * len(job.metadata.camera_ids) + index


def columns_of(camera: Camera) -> dict[str, np.ndarray]:
    """Return a camera as the format has it: X_camera = R (X - T), T being its position, mm."""
    (fx, fy), (cx, cy) = camera.focal_length[:, None], camera.principal_point[:, None]
    return {
        "R": camera.rotation,
        "T": camera_center(camera)[:, None],
        "fx": fx,
        "fy": fy,
        "cx": cx,
        "cy": cy,
        "k": camera.radial[:, None],
        "p": camera.tangential[:, None],
    }
