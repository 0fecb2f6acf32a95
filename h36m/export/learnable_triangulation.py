"""learnable-triangulation: labels of the frames that processed/ has, with square boxes, and the boxes of all frames.

extra/human36m-multiview-labels-GTbboxes.npy   cameras, and a row for each frame of four views
extra/bboxes-Human36M-GT.npy                   subject -> sequence -> camera -> (frames, 4): top, left, bottom, right
processed -> ../../processed
"""

from pathlib import Path

import h5py
import numpy as np

from h36m.cli import TaskError, count_of
from h36m.dataset import (
    ANNOTATIONS_FILE,
    BOXES,
    PROCESSED,
    SUBJECTS_WITH_GROUND_TRUTH,
    Sequence,
    sequence_folder,
    unpacked_file,
    unpacked_folder,
)
from h36m.export.pickles import write_npy
from h36m.export.shared import Job, image_size, link_to, sequences
from h36m.segments import BOX_VARIABLE, NO_BOX, count_cells, read_boxes

READ_BY = "learnable-triangulation and its descendants (numpy before 2)"
KINDS = (BOXES,)
USES_PROCESSED = True

# Its 17 keypoints, of the dataset's 32 joints.
KEYPOINTS = (3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19, 14)

CAMERA = np.dtype([("R", "f4", (3, 3)), ("t", "f4", (3, 1)), ("K", "f4", (3, 3)), ("dist", "f4", (5,))])
ROW = np.dtype(
    [
        ("subject_idx", "i1"),
        ("action_idx", "i1"),
        ("frame_idx", "i2"),
        ("keypoints", "f4", (len(KEYPOINTS), 3)),
        ("bbox_by_camera_tlbr", "i2", (4, 4)),
    ]
)


def export(job: Job) -> None:
    """Write labels and boxes, and link processed/. A sequence without its annot.h5 is left out; so is a frame's box."""
    folder = job.unfinished / "extra"
    folder.mkdir()
    actions = action_names(job)
    tables: list[np.ndarray] = []
    boxes: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for sequence in sequences(job, lambda each: annotations_of(job, each).is_file(), PROCESSED):
        rows = rows_of_sequence(job, sequence, actions)
        if rows is not None:
            tables.append(rows)
        boxes_of_views = boxes_of_all_frames(job, sequence)
        if boxes_of_views:
            boxes.setdefault(sequence.subject, {})[sequence.name] = boxes_of_views
    if not tables:
        job.problem(f"no annot.h5 is in {job.root / PROCESSED}: run process_all.py first")
        return
    labels = {
        "subject_names": list(SUBJECTS_WITH_GROUND_TRUTH),
        "camera_names": list(job.metadata.camera_ids),
        "action_names": actions,
        "cameras": cameras(job),
        "table": np.concatenate(tables),
    }
    write_npy(folder / "human36m-multiview-labels-GTbboxes.npy", labels)
    write_npy(folder / "bboxes-Human36M-GT.npy", boxes)
    link_to(job.root / PROCESSED, job.out / PROCESSED)


def action_names(job: Job) -> list[str]:
    """Return the 30 names of sequences, Directions-1 to WalkingTogether-2."""
    return [sequence.name for sequence in job.metadata.sequences_of(SUBJECTS_WITH_GROUND_TRUTH[0])]


def cameras(job: Job) -> np.ndarray:
    """Return the cameras, (7 subjects, 4): X_camera = R X + t, mm."""
    table = np.zeros((len(SUBJECTS_WITH_GROUND_TRUTH), len(job.metadata.camera_ids)), CAMERA)
    for row, subject in enumerate(SUBJECTS_WITH_GROUND_TRUTH):
        for column, camera_id in enumerate(job.metadata.camera_ids):
            camera = job.metadata.cameras[subject, camera_id]
            table[row, column] = (
                camera.rotation, camera.translation[:, None], camera.calibration, camera.distortion
            )  # fmt: skip
    return table


def annotations_of(job: Job, sequence: Sequence) -> Path:
    return sequence_folder(job.root, sequence) / ANNOTATIONS_FILE


def rows_of_sequence(job: Job, sequence: Sequence, actions: list[str]) -> np.ndarray | None:
    """Return a row for each frame that some view of an annot.h5 has; a view without it, or without a box, has zeros."""
    file = annotations_of(job, sequence)
    try:
        with h5py.File(file, "r") as annotations:
            frames, views = annotations["frame"][...] - 1, annotations["camera"][...]
            if "pose/3d-world" not in annotations:
                job.problem(f"{sequence}: left out: its annot.h5 has no pose/3d-world; unpack Poses_D3_Positions")
                return None
            world = annotations["pose/3d-world"][...][:, KEYPOINTS]
            boxes = annotations["bbox"][...] if "bbox" in annotations else np.full((len(frames), 4), NO_BOX)
    except OSError as error:
        job.problem(f"{sequence}: left out: {file} cannot be read ({error}); run process_all.py again")
        return None
    numbers, first, row_of = np.unique(frames, return_index=True, return_inverse=True)
    table = np.zeros(len(numbers), ROW)
    table["subject_idx"] = SUBJECTS_WITH_GROUND_TRUTH.index(sequence.subject)
    table["action_idx"] = actions.index(sequence.name)
    table["frame_idx"] = numbers
    table["keypoints"] = world[first]
    for column, camera_id in enumerate(job.metadata.camera_ids):
        of_view = (views == int(camera_id)) & (boxes[:, 0] != NO_BOX[0])
        table["bbox_by_camera_tlbr"][row_of[of_view], column] = squared(boxes[of_view])
        if of_view.sum() < len(table):
            lacking = f"{len(table) - of_view.sum()} of {count_of(len(table), 'frame')} without an image or a box"
            job.problem(f"{sequence} {camera_id}: {lacking}, left out of this view; run process_all.py again")
    return table


def squared(boxes: np.ndarray) -> np.ndarray:
    """Return square boxes (N, 4), top, left, bottom, right, that may leave the image, as long as the longer side.

    Args:
        boxes: (N, 4), left, top, right, bottom.
    """
    low, high = boxes[:, :2].astype(np.int64), boxes[:, 2:].astype(np.int64)
    side = (high - low).max(axis=1, keepdims=True)
    is_shorter = high - low < side
    low = np.where(is_shorter, np.rint((low + high) / 2 - side / 2).astype(np.int64), low)
    return np.concatenate([low[:, ::-1], low[:, ::-1] + side], axis=1)


def boxes_of_all_frames(job: Job, sequence: Sequence) -> dict[str, np.ndarray]:
    """Return the boxes of each view's mat file, (frames, 4) int32, top, left, bottom, right; 0 where there is none."""
    boxes, absent = {}, []
    for camera_id in job.metadata.camera_ids:
        file = unpacked_file(job.root, sequence, BOXES, camera_id)
        if not file.is_file():
            absent.append(file.name)
            continue
        try:
            frames = np.arange(count_cells(file, BOX_VARIABLE))
        except TaskError as error:
            job.problem(f"{sequence} {camera_id}: no boxes: {error}")
            continue
        found, problems, _ = read_boxes(file, frames, image_size(job, sequence.subject, camera_id))
        for problem in problems:
            job.problem(f"{sequence} {camera_id}: {problem}")
        found[found[:, 0] == NO_BOX[0]] = 0
        boxes[camera_id] = found[:, [1, 0, 3, 2]]
    if absent:
        folder = unpacked_folder(job.root, sequence.subject, BOXES)
        job.problem(
            f"{sequence}: no boxes of all frames: {', '.join(absent)} not in {folder}; unpack its archive again"
        )
    return boxes
