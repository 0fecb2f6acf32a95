"""mmpose's Human36mDataset: rows of one view and frame, at 10 and at 50 frames/s, with statistics, cameras and images.

annotation_body3d/fps50/h36m_train.npz   imgname, center, scale, part, S: one row for each view and frame
annotation_body3d/fps10/h36m_train.npz   the same of every fifth frame
annotation_body3d/fps10/joint3d_stats.pkl ...
annotation_body3d/cameras.pkl
images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg
"""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.dataset import (
    ANNOTATIONS_FILE,
    MOVING_JOINTS,
    POSES_2D,
    POSES_3D,
    TEST_SUBJECTS,
    TRAINING_SUBJECTS,
    Sequence,
    unpack_again,
    unpacked_file,
)
from h36m.export.links import link_images, note_missing_images, numbered
from h36m.export.pickles import write_pickle
from h36m.export.shared import (
    IMAGE_HEIGHTS,
    IMAGE_WIDTH,
    MM_PER_M,
    Job,
    camera_center,
    published_poses,
    unpacked_sequences,
)

READ_BY = "mmpose (Human36mDataset: VideoPose3D, MotionBERT, SimpleBaseline3D; 0.x top-down configs)"
KINDS = (POSES_2D, POSES_3D)
USES_PROCESSED = True
OPTIONAL = (ANNOTATIONS_FILE,)  # lifters read no images
IMAGE_FOLDERS = "images/S*/*"

STEPS = {"fps50": 1, "fps10": 5}  # of the dataset's 50 frames/s
SETS = {"train": TRAINING_SUBJECTS, "test": TEST_SUBJECTS}
BOX_MARGIN, SCALE_PIXELS = 1.2, 200  # mmpose's scale of a subject: the box with a margin, in units of 200 pixels


class View(NamedTuple):
    """What one camera has of a sequence, N frames."""

    sequence: Sequence
    camera: str
    frames: range  # indices from 0
    pose_2d: np.ndarray  # (N, 17, 2) float32, pixels
    pose_3d: np.ndarray  # (N, 17, 3) float32, mm, camera coordinates


def export(job: Job) -> int:
    """Write rows, statistics and cameras, and link the images that processed/ has.

    A view whose files do not agree is left out of all arrays, so that rows stay aligned.

    Returns:
        how many views were exported.
    """
    folder = job.unfinished / "annotation_body3d"
    folder.mkdir()
    write_pickle(folder / "cameras.pkl", cameras(job))
    return sum(export_set(job, name, subjects, folder) for name, subjects in SETS.items())


def export_set(job: Job, name: str, subjects: tuple[str, ...], folder: Path) -> int:
    """Write the rows of the training or the test set, and link their images; return how many views it has."""
    of_set = replace(job, subjects=tuple(subject for subject in job.subjects if subject in subjects))
    views = [
        view
        for sequence in unpacked_sequences(of_set, KINDS)
        for camera in job.metadata.camera_ids
        if (view := read_view(job, sequence, camera)) is not None
    ]
    for rate, step in STEPS.items() if views else ():
        (folder / rate).mkdir(exist_ok=True)
        chosen = [every(view, step) for view in views]
        write_rows(folder / rate / f"h36m_{name}.npz", chosen)
        if name == "train":
            write_statistics(folder / rate, chosen)
    for view in views:
        frames = link_images(job, view.sequence, view.camera, len(view.frames), beginning_of_names(view))
        # What is missing is not a problem: lifters read no images, and training from images may use another rate.
        note_missing_images(job, job.unneeded, view.sequence, view.frames[:: STEPS["fps10"]], frames)
    return len(views)


def read_view(job: Job, sequence: Sequence, camera: str) -> View | None:
    """Read all frames of a view; None where its files are missing or do not agree."""
    pose_2d = published_poses(job, sequence, POSES_2D, camera)
    pose_3d = published_poses(job, sequence, POSES_3D, camera)
    if pose_2d is None or pose_3d is None:
        return None
    if len(pose_2d) != len(pose_3d):
        remedy = unpack_again(*(unpacked_file(job.root, sequence, kind, camera) for kind in KINDS))
        counts = f"{len(pose_2d)} poses in {POSES_2D}, {len(pose_3d)} in {POSES_3D}"
        job.record.problems.append(f"{sequence} {camera}: left out: {counts}; {remedy}")
        return None
    small_2d, small_3d = (poses[:, MOVING_JOINTS].astype(np.float32) for poses in (pose_2d, pose_3d))
    return View(sequence, camera, range(len(pose_2d)), small_2d, small_3d)


def every(view: View, step: int) -> View:
    """Return every `step`-th frame of a view, from the first."""
    return view._replace(frames=view.frames[::step], pose_2d=view.pose_2d[::step], pose_3d=view.pose_3d[::step])


def beginning_of_names(view: View) -> str:
    """Return the beginning of the view's names in `imgname`, which mmpose parses; the base is that of the file."""
    name = f"{view.sequence.subject}_{view.sequence.base.replace(' ', '_')}.{view.camera}"
    return f"{view.sequence.subject}/{name}/{name}_"


# -- rows --------------------------------------------------------------------------------------------------------------


def names(view: View) -> np.ndarray:
    beginning = beginning_of_names(view)
    return np.array([numbered(beginning, frame) for frame in view.frames])


def centers(view: View) -> np.ndarray:
    low, high = corners(view)
    return (low + high) / 2


def scales(view: View) -> np.ndarray:
    low, high = corners(view)
    return BOX_MARGIN * (high - low).max(axis=1) / SCALE_PIXELS


def corners(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (N, 2) of the box around the joints, pixels."""
    joints_first = np.ascontiguousarray(view.pose_2d.transpose(1, 0, 2))  # numpy is six times as fast in this order
    return joints_first.min(axis=0).astype(np.float64), joints_first.max(axis=0).astype(np.float64)


def parts(view: View) -> np.ndarray:
    return with_ones(view.pose_2d)


def poses_in_metres(view: View) -> np.ndarray:
    return with_ones(view.pose_3d.astype(np.float64) / MM_PER_M)


def with_ones(poses: np.ndarray) -> np.ndarray:
    """Return poses (N, 17, d) with a further coordinate that is 1: visible."""
    return np.concatenate([poses, np.ones((*poses.shape[:2], 1))], axis=2)


# The arrays of an npz: each function returns the rows of a view.
COLUMNS = {"imgname": names, "center": centers, "scale": scales, "part": parts, "S": poses_in_metres}


def write_rows(file: Path, views: list[View]) -> None:
    """Write an uncompressed npz, one array after another: together they would take over 2 GB of memory."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as npz:
        for name, rows_of in COLUMNS.items():
            with npz.open(f"{name}.npy", "w", force_zip64=True) as array:
                np.lib.format.write_array(array, np.concatenate([rows_of(view) for view in views]))


def write_statistics(folder: Path, views: list[View]) -> None:
    """Write mean and standard deviation of the joints, for users: `joint3d_stats.pkl` in m, `joint2d_stats.pkl` in px.

    The files with `rel` are of joints 1 to 16 as seen from joint 0.
    """
    count = sum(len(view.frames) for view in views)

    def values(view: View, name: str) -> np.ndarray:
        is_2d, is_relative = name.startswith("joint2d"), name.endswith("rel")
        joints = view.pose_2d.astype(np.float64) if is_2d else view.pose_3d.astype(np.float64) / MM_PER_M
        return joints[:, 1:] - joints[:, :1] if is_relative else joints

    for name in ("joint2d", "joint2d_rel", "joint3d", "joint3d_rel"):
        pivot = values(views[0], name).mean(axis=0)  # near the mean, so that the sums of squares lose no digits
        total = squares = np.zeros(pivot.shape)
        for view in views:
            apart = values(view, name) - pivot
            total, squares = total + apart.sum(axis=0), squares + (apart**2).sum(axis=0)
        statistics = {"mean": pivot + total / count, "std": np.sqrt(squares / count - (total / count) ** 2)}
        write_pickle(folder / f"{name}_stats.pkl", statistics)


def cameras(job: Job) -> dict[tuple[str, str], dict]:
    """Return all cameras; R is ours transposed and T the camera's position in m: X = R^T (world - T)."""
    # As in mmpose's own file, which normalizes by them, though all of S7's frames are 1002 pixels high.
    numbers = {camera_id: number for number, camera_id in enumerate(job.metadata.camera_ids)}
    return {
        (subject, camera_id): {
            "R": camera.rotation.T,
            "T": camera_center(camera)[:, None] / MM_PER_M,
            "c": camera.principal_point[:, None],
            "f": camera.focal_length[:, None],
            "k": camera.radial[:, None],
            "p": camera.tangential[:, None],
            "w": IMAGE_WIDTH,
            "h": IMAGE_HEIGHTS[numbers[camera_id]],
            "name": f"camera{numbers[camera_id] + 1}",
            "id": camera_id,
        }
        for (subject, camera_id), camera in job.metadata.cameras.items()
    }
