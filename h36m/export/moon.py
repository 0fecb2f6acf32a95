"""3DMPPE and later programs of Moon: COCO's JSON, a set of files for each subject, and images.

annotations/Human36M_subject1_data.json       images, annotations
annotations/Human36M_subject1_camera.json     "1" to "4": R, t, f, c
annotations/Human36M_subject1_joint_3d.json   action -> subaction -> frame -> 17 x [x, y, z], world, mm
images/s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from h36m.cameras import Camera, to_camera
from h36m.dataset import MOVING_JOINTS, POSES_3D_WORLD, TRAINING_SUBJECTS, Sequence
from h36m.export.links import link_images, note_missing_images, numbered
from h36m.export.shared import (
    Job,
    canonical_base,
    image_size,
    is_damaged,
    sequences_in_world,
    subject_number,
)

READ_BY = "3DMPPE PoseNet and RootNet; with SMPL fits I2L-MeshNet, 3DCrowdNet, Hand4Whole, OSX, SMPLer-X"
KINDS = (POSES_3D_WORLD,)
USES_PROCESSED = True
IMAGE_FOLDERS = "images/s_*"

# The loaders take frames whose index can be divided by 5 to train, and by 64 to test.
LOADED_EVERY = (5, 64)
BOX_FACTOR = 1.2
IDS_OF_SUBJECT = 10_000_000  # ids are unique over all subjects' files, whichever are exported together


def export(job: Job) -> int:
    """Write a subject's files when its sequences have been read; frames that no loader takes are left out.

    Returns:
        how many sequences were exported.
    """
    folder = job.unfinished / "annotations"
    folder.mkdir()
    return sum(export_subject(job, subject, folder) for subject in job.subjects)


def export_subject(job: Job, subject: str, folder: Path) -> int:
    """Write a subject's files.

    Returns:
        how many sequences were exported; without any there are no files.
    """
    entries: list[tuple[dict[str, Any], dict[str, Any]]] = []
    joint_3d: dict[str, dict[str, dict[str, list]]] = {}
    for sequence, world in sequences_in_world(replace(job, subjects=(subject,))):
        joints = world[:, MOVING_JOINTS]
        frames, views = link_views(job, sequence, len(joints))
        of_action = joint_3d.setdefault(str(sequence.action), {})
        of_action[str(sequence.subaction)] = {str(frame): joints[frame].tolist() for frame in frames}
        entries += entries_of(job, sequence, joints, frames, views, first=len(entries))
    data = {"images": [image for image, _ in entries], "annotations": [annotation for _, annotation in entries]}
    contents = {"data": data, "camera": cameras_of(job, subject), "joint_3d": joint_3d}
    for name, content in contents.items() if joint_3d else ():
        file = folder / f"Human36M_subject{subject_number(subject)}_{name}.json"
        file.write_text(json.dumps(content))
    return sum(map(len, joint_3d.values()))


def cameras_of(job: Job, subject: str) -> dict[str, dict[str, list]]:
    """Return a subject's cameras: X_camera = R X + t, mm; no distortion."""
    cameras = {}
    for number, camera_id in enumerate(job.metadata.camera_ids, start=1):
        camera = job.metadata.cameras[subject, camera_id]
        cameras[str(number)] = {
            "R": camera.rotation.tolist(),
            "t": camera.translation.tolist(),
            "f": camera.focal_length.tolist(),
            "c": camera.principal_point.tolist(),
        }
    return cameras


def link_views(job: Job, sequence: Sequence, count: int) -> tuple[list[int], list[tuple[int, str]]]:
    """Link a sequence's images.

    Args:
        count: of its poses.

    Returns:
        the frames that some loader takes, or that have an image, in order; number (from 1) and id of each camera.
    """
    frames = {frame for step in LOADED_EVERY for frame in range(0, count, step)}
    every = LOADED_EVERY[sequence.subject not in TRAINING_SUBJECTS]
    ids = enumerate(job.metadata.camera_ids, start=1)
    views = [(number, camera_id) for number, camera_id in ids if not is_damaged(sequence, camera_id)]
    for number, camera_id in views:
        there = link_images(job, sequence, camera_id, count, beginning_of_names(sequence, number))
        # A missing image is a problem: the loaders fail at an entry without it.
        note_missing_images(job, job.missing, sequence, range(0, count, every), there)
        frames.update(there)
    return sorted(frames), views


def entries_of(
    job: Job, sequence: Sequence, joints: np.ndarray, frames: list[int], views: list[tuple[int, str]], first: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the image and the annotation of each view and frame of a sequence.

    Args:
        joints: (all frames, 17, 3), world, mm.
        frames, views: as returned by `link_views`.
        first: how many entries the subject has before these, which its ids continue.
    """
    number_of_subject = subject_number(sequence.subject)
    identity = number_of_subject * IDS_OF_SUBJECT + first
    for number, camera_id in views:
        camera = job.metadata.cameras[sequence.subject, camera_id]
        points = pixels_without_distortion(to_camera(joints[frames], camera), camera)
        beginning = beginning_of_names(sequence, number)
        height, width = image_size(job, sequence.subject, camera_id)
        visible = np.all((points >= 0) & (points < (width, height)), axis=-1)
        for frame, box, inside in zip(frames, boxes_around(points), visible, strict=True):
            image = {
                "id": identity,
                "file_name": numbered(beginning, frame),
                "width": width,
                "height": height,
                "subject": number_of_subject,
                "action_name": canonical_base(sequence).split(" ")[0],
                "action_idx": sequence.action,
                "subaction_idx": sequence.subaction,
                "cam_idx": number,
                "frame_idx": frame,
            }
            annotation = {"id": identity, "image_id": identity, "bbox": box.tolist(), "keypoints_vis": inside.tolist()}
            yield image, annotation
            identity += 1


def pixels_without_distortion(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Project points (..., 3), camera coordinates in mm, by focal length and principal point alone, to pixels."""
    return points[..., :2] / points[..., 2:] * camera.focal_length + camera.principal_point


def boxes_around(points: np.ndarray) -> np.ndarray:
    """Return boxes x, y, width, height (frames, 4), pixels, around points (frames, 17, 2), with a margin, not clipped.

    As the format has it, a box is a pixel smaller than the distance of its outermost points before the margin, and has
    their middle.
    """
    low, high = points.min(axis=1), points.max(axis=1)
    size = high - low - 1
    center = (low + high) / 2
    return np.concatenate([center - BOX_FACTOR * size / 2, BOX_FACTOR * size], axis=1)


def beginning_of_names(sequence: Sequence, camera_number: int) -> str:
    """Return the beginning of the names of a view's images, see `numbered`."""
    view = (
        f"s_{subject_number(sequence.subject):02d}_act_{sequence.action:02d}_subact_{sequence.subaction:02d}"
        f"_ca_{camera_number:02d}"
    )
    return f"{view}/{view}_"
