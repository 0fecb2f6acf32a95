"""learnable-triangulation: labels of the frames that processed/ has, with square boxes, and the boxes of all frames.

extra/human36m-multiview-labels-GTbboxes.npy   cameras, and a row for each frame of four views
extra/bboxes-Human36M-GT.npy                   subject -> sequence -> camera -> (frames, 4): top, left, bottom, right
processed -> ../../processed
"""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.cameras import Camera
from h36m.dataset import (
    ANNOTATIONS_FILE,
    BOXES,
    EXTRACTED,
    KIND_FACTS,
    POSES_3D,
    POSES_3D_WORLD,
    PROCESSED,
    SUBJECTS_WITH_GROUND_TRUTH,
    Archive,
    Sequence,
    sequence_folder,
    unpack_again,
    unpacked_file,
    unpacked_folder,
)
from h36m.errors import TaskError
from h36m.export.links import link_to, processed_frames
from h36m.export.pickles import write_npy
from h36m.export.shared import Job, image_size, sequences
from h36m.files.hdf5 import reading
from h36m.files.poses import read_poses
from h36m.files.segments import BOX_VARIABLE, NO_BOX, count_cells, read_boxes
from h36m.s9 import correct_boxes, correct_camera_poses, is_shifted
from h36m.storage import fault_of, is_absent

READ_BY = "learnable-triangulation"
KINDS = (BOXES, POSES_3D)  # the second for the boxes of corrected sequences
OPTIONAL = (POSES_3D,)
USES_PROCESSED = True

# Its 17 keypoints, of the dataset's 32 joints.
KEYPOINTS = (3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19, 14)

BOXES_FILE = "bboxes-Human36M-GT.npy"

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


def export(job: Job) -> int:
    """Write labels and boxes, and link processed/. A sequence without its annot.h5 is left out; so is a frame's box.

    Returns:
        how many sequences were exported.
    """
    folder = job.unfinished / "extra"
    folder.mkdir()
    actions = [sequence.name for sequence in job.metadata.sequences_of(SUBJECTS_WITH_GROUND_TRUTH[0])]
    tables: dict[Sequence, np.ndarray] = {}
    for subject in job.subjects:
        there = [each for each in job.metadata.sequences_of(subject) if not is_absent(annotations_of(job, each))]
        for sequence in sequences(job, subject, there, PROCESSED, "run process_all.py"):
            rows = rows_of_sequence(job, sequence, actions)
            if rows is not None:
                tables[sequence] = rows
    if not tables:
        return 0
    labels = {
        "subject_names": list(SUBJECTS_WITH_GROUND_TRUTH),
        "camera_names": list(job.metadata.camera_ids),
        "action_names": actions,
        "cameras": cameras(job),
        "table": np.concatenate(list(tables.values())),
    }
    write_npy(folder / "human36m-multiview-labels-GTbboxes.npy", labels)
    write_npy(folder / BOXES_FILE, boxes_of_all_frames(job, tables))
    link_to(job, job.root / PROCESSED, job.out / PROCESSED)
    return len(tables)


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
        with reading(file) as annotations:
            frames, views = annotations["frame"][...] - 1, annotations["camera"][...]
            if "pose/3d-world" not in annotations:
                where = f"of {PROCESSED}/{sequence.subject} without pose/3d-world, left out"
                remedy = f"unpack {POSES_3D_WORLD}_{sequence.subject} and run process_all.py"
                job.missing.add(sequence.subject, "sequence", where, remedy, sequence.name)
                return None
            world = annotations["pose/3d-world"][...][:, KEYPOINTS]
            boxes = annotations["bbox"][...] if "bbox" in annotations else np.full((len(frames), 4), NO_BOX)
    except (OSError, KeyError) as error:
        damage = f"{file} cannot be read ({str(error).splitlines()[0]}); remove it and run process_all.py again"
        job.record.problems.append(f"{sequence}: left out, {fault_of(file) or damage}")
        return None
    note_missing(job, sequence, frames, views, boxes)
    numbers, first, row_of = np.unique(frames, return_index=True, return_inverse=True)
    table = np.zeros(len(numbers), ROW)
    table["subject_idx"] = SUBJECTS_WITH_GROUND_TRUTH.index(sequence.subject)
    table["action_idx"] = actions.index(sequence.name)
    table["frame_idx"] = numbers
    table["keypoints"] = world[first]
    for column, camera_id in enumerate(job.metadata.camera_ids):
        of_view = (views == int(camera_id)) & (boxes[:, 0] != NO_BOX[0])
        table["bbox_by_camera_tlbr"][row_of[of_view], column] = squared(boxes[of_view])
    return table


def is_corrected(job: Job, sequence: Sequence) -> bool:
    """Return whether processed/ has the poses and boxes of a sequence as --correct-s9 moves them."""
    if not is_shifted(sequence):
        return False
    with reading(annotations_of(job, sequence)) as annotations:
        return bool(annotations.attrs.get("correct_s9", False))


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


def note_missing(job: Job, sequence: Sequence, frames: np.ndarray, views: np.ndarray, boxes: np.ndarray) -> None:
    """Record the views, boxes and images that a sequence lacks; the loader skips views without a box.

    Args:
        frames, views, boxes: of each row of its annot.h5; frames from 0.
    """
    subject, again = sequence.subject, f"run process_all.py --subjects {sequence.subject} again"
    by_camera = {camera: frames[views == int(camera)].tolist() for camera in job.metadata.camera_ids}
    for camera, of_camera in by_camera.items():
        if not of_camera:
            job.missing.add(subject, "view", f"not in {PROCESSED}/{subject}", again, f"{sequence.name} {camera}")
        images = set(of_camera) - set(processed_frames(job, sequence, camera))
        if images and sequence not in job.unread:
            job.missing.add(subject, "image", f"not in {PROCESSED}/{subject}", again, sequence.name, len(images))
    if len({tuple(of_camera) for of_camera in by_camera.values() if of_camera}) > 1:
        job.record.problems.append(
            f"{sequence}: its cameras have different frames, but the format has one list for all four; {again}"
        )
    without = int((boxes[:, 0] == NO_BOX[0]).sum())
    if without:
        remedy = f"unpack {BOXES}_{subject} and {again}"
        job.missing.add(subject, "image", "without a box, so the loader skips them", remedy, sequence.name, without)


class BoxView(NamedTuple):
    """A file of boxes to read."""

    camera: str
    file: Path
    size: tuple[int, int]  # height, width of its frames
    correction: tuple[Path, Camera] | None  # of a sequence with corrected poses: the published ones and the camera


class BoxTask(NamedTuple):
    """The boxes of a sequence to read."""

    sequence: Sequence
    views: list[BoxView]


def boxes_of_all_frames(job: Job, labelled: Iterable[Sequence]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Read the boxes of sequences from their .mat files: subject -> sequence -> camera -> (frames, 4) int32.

    A view without its file, or with a broken one, is named and left out.
    """
    tasks = box_tasks(job, labelled)
    boxes: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for sequence, _ in tasks:  # in order, whichever is read first
        boxes.setdefault(sequence.subject, {})[sequence.name] = {}
    job.progress.start_at(0, len(tasks))  # boxes take hours, and everything else seconds
    for (sequence, _), result, failure, _ in job.run_tasks(boxes_of_sequence, tasks):
        found, problems = result or ({}, [f"{sequence}: no boxes: {failure}"])
        boxes[sequence.subject][sequence.name] = found
        job.record.problems.extend(problems)
        job.progress.update()
    return boxes


def box_tasks(job: Job, labelled: Iterable[Sequence]) -> list[BoxTask]:
    """Return a task for each sequence that has files of boxes; name the files and folders that are missing."""
    tasks = []
    remedy = f"run {KIND_FACTS[BOXES].script} and extract_all.py"
    for subject, of_subject in groupby(labelled, lambda sequence: sequence.subject):
        folder = unpacked_folder(job.root, Archive(BOXES, subject))
        fault = fault_of(folder)
        if fault or is_absent(folder):
            lack = f"no {BOXES} in {job.root / EXTRACTED / subject}; {remedy}"
            job.record.problems.append(f"{subject}: left out of {BOXES_FILE}: {fault or lack}")
            continue
        where = f"not in {EXTRACTED}/{subject}/{BOXES}, so {BOXES_FILE} lacks them"
        for sequence in of_subject:
            task, is_moved = BoxTask(sequence, []), is_corrected(job, sequence)
            for camera in job.metadata.camera_ids:
                file = unpacked_file(job.root, sequence, BOXES, camera)
                if not is_absent(file):
                    poses = unpacked_file(job.root, sequence, POSES_3D, camera)
                    correction = (poses, job.metadata.cameras[subject, camera]) if is_moved else None
                    task.views.append(BoxView(camera, file, image_size(job, subject, camera), correction))
                else:
                    job.missing.add(subject, "file", where, unpack_again(file), file.name)
            if task.views:
                tasks.append(task)
    return tasks


def boxes_of_sequence(task: BoxTask) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the boxes of a sequence's views from their .mat files.

    Returns:
        of each camera whose file can be read: (frames, 4) int32, top, left, bottom, right, 0 where there is none; a
        line for each problem.
    """
    boxes, problems = {}, []
    for camera, file, size, correction in task.views:
        try:
            frames = np.arange(count_cells(file, BOX_VARIABLE))
            published = read_poses(correction[0], 3)[: len(frames)] if correction else None
        except TaskError as error:
            problems.append(f"{task.sequence} {camera}: no boxes: {error}")
            continue
        found, of_view, _ = read_boxes(file, frames, size)
        if correction and published is not None:
            corrected = correct_camera_poses(published, correction[1])
            count = len(published)
            found[:count] = correct_boxes(found[:count], published, corrected, correction[1], size)
            found[count:] = NO_BOX  # nothing tells how far a frame without a pose is off
        found[found[:, 0] == NO_BOX[0]] = 0
        boxes[camera] = found[:, [1, 0, 3, 2]]
        problems += [f"{task.sequence} {camera}: {problem}" for problem in of_view]
    return boxes, problems
