"""The views of a sequence: their chosen frames, and the rows of annot.h5 that they become."""

from typing import NamedTuple

import numpy as np

from h36m.cameras import Camera, project
from h36m.dataset import POSES_3D_WORLD, Sequence, unpacked_file
from h36m.errors import TaskError
from h36m.files.poses import read_poses
from h36m.files.segments import NO_BOX
from h36m.metadata import Metadata
from h36m.process.record import Options
from h36m.s9 import correct_boxes, correct_camera_poses, correct_world_poses, is_shifted


class View(NamedTuple):
    """One camera's share of a sequence: N chosen frames."""

    camera: str
    frames: np.ndarray  # (N,), indices from 0
    pose_2d: np.ndarray  # (N, 32, 2), pixels
    pose_3d: np.ndarray  # (N, 32, 3), mm, camera coordinates
    pose_3d_universal: np.ndarray  # the same, universal skeleton
    intrinsics: np.ndarray  # (4,), see h36m.files.poses.fit_intrinsics
    intrinsics_universal: np.ndarray  # (4,)
    boxes: np.ndarray | None  # (N, 4), or None where the subject has none
    size: tuple[int, int]  # height, width of its images
    pose_count: int  # poses of the whole view
    problems: list[str]  # about boxes and part labels
    notices: list[str]
    counts: list[str]  # what has many more or fewer frames than there are poses


def corrected_view(view: View, camera: Camera) -> View:
    """Move a view's poses and boxes onto the images (`--correct-s9`), and project the poses again.

    Intrinsics and chosen frames, which depend on the published poses, stay.
    """
    pose_3d = correct_camera_poses(view.pose_3d, camera)
    boxes = view.boxes
    if boxes is not None:
        boxes = correct_boxes(boxes, view.pose_3d, pose_3d, camera, view.size)
    return view._replace(
        pose_2d=project(pose_3d, camera),
        pose_3d=pose_3d,
        pose_3d_universal=correct_camera_poses(view.pose_3d_universal, camera),
        boxes=boxes,
    )


def compare_views(sequence: Sequence, views: list[View]) -> list[str]:
    """Return a notice where views have different numbers of poses: each of them is of the same movement."""
    counts = {view.camera: view.pose_count for view in views}
    if len(set(counts.values())) == 1:
        return []
    found = ", ".join(f"{count} in {camera}" for camera, count in counts.items())
    return [f"{sequence}: its views have different numbers of poses: {found}"]


def world_poses(sequence: Sequence, views: list[View], options: Options) -> np.ndarray:
    """Return the poses of all rows in world coordinates, (N, 32, 3), mm.

    Raises:
        TaskError: the file is missing or broken, or has another number of poses than the views.
    """
    file = unpacked_file(options.root, sequence, POSES_3D_WORLD, camera="")
    world = read_poses(file, coordinates=3)
    for view in views:
        if view.pose_count != len(world):
            raise TaskError(f"{file}: expected {view.pose_count} poses as in {view.camera}'s files, found {len(world)}")
    if options.correct_s9 and is_shifted(sequence):
        world = correct_world_poses(world)
    return np.concatenate([world[view.frames] for view in views])


def datasets_of(
    sequence: Sequence, views: list[View], world: np.ndarray | None, metadata: Metadata
) -> dict[str, np.ndarray]:
    """Return the datasets of annot.h5 as `annotations.DATASETS` lists them: one view after the other, in order."""
    rows = [len(view.frames) for view in views]
    count = sum(rows)
    datasets = {
        "pose/2d": np.concatenate([view.pose_2d for view in views]),
        "pose/3d": np.concatenate([view.pose_3d for view in views]),
        "pose/3d-univ": np.concatenate([view.pose_3d_universal for view in views]),
        "frame": np.concatenate([view.frames for view in views]) + 1,
        "camera": np.repeat([int(view.camera) for view in views], rows),
        "subject": np.full(count, int(sequence.subject.removeprefix("S"))),
        "action": np.full(count, sequence.action),
        "subaction": np.full(count, sequence.subaction),
    }
    datasets = {name: values if "/" in name else values.astype(np.int64) for name, values in datasets.items()}
    if world is not None:
        datasets["pose/3d-world"] = world
    if any(view.boxes is not None for view in views):
        without = [np.full((count, 4), NO_BOX, dtype=np.int32) for count in rows]
        datasets["bbox"] = np.concatenate(
            [empty if view.boxes is None else view.boxes for view, empty in zip(views, without, strict=True)]
        )
    for view in views:
        datasets[f"intrinsics/{view.camera}"] = view.intrinsics
        datasets[f"intrinsics-univ/{view.camera}"] = view.intrinsics_universal
        camera = metadata.cameras.get((sequence.subject, view.camera))
        if camera:
            datasets[f"extrinsics/{view.camera}"] = camera.extrinsics
            datasets[f"calibration/{view.camera}"] = camera.calibration
            datasets[f"distortion/{view.camera}"] = camera.distortion
    return datasets
