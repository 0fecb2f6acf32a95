"""Process one sequence: from its unpacked files to its images and annot.h5, completely or not at all."""

import contextlib
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m import __version__
from h36m.cameras import Camera, project
from h36m.dataset import (
    ANNOTATIONS_FILE,
    BOXES,
    FRAMES_WITHOUT_POSE,
    IMAGES,
    MOVING_JOINTS,
    PART_LABEL_IMAGES,
    PART_LABELS,
    POSES_2D,
    POSES_3D,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    PREVIEW_FILE,
    PROCESSED,
    SEQUENCE_LOCKS,
    SEQUENCE_RECORD,
    UNFINISHED_SEQUENCE,
    VIDEOS,
    Archive,
    Sequence,
    sequence_folder,
    unpack_again,
    unpacked_file,
    unpacked_folder,
)
from h36m.errors import TaskError
from h36m.files.poses import fit_intrinsics, read_poses
from h36m.files.segments import BOX_VARIABLE, NO_BOX, PART_LABEL_VARIABLE, compare_count, read_boxes
from h36m.locks import locked
from h36m.metadata import Metadata
from h36m.process import annotations
from h36m.process.part_labels import write_part_labels
from h36m.process.preview import draw_preview
from h36m.process.resume import Options, Outcome, done_before, failed, input_files, record_sequence
from h36m.process.selection import FrameRuleError, chosen_frames
from h36m.process.video import write_images
from h36m.progress import Count
from h36m.s9 import correct_boxes, correct_camera_poses, correct_world_poses, is_shifted
from h36m.storage import cleared, fault_of, rename_durably, sync, sync_parents, sync_tree

# Encoding an image takes about as long as decoding 3 frames of H.264, and so do its box and part labels.
FRAMES_PER_IMAGE = 3


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


def process_sequence(sequence: Sequence, options: Options, metadata: Metadata, count: Count) -> Outcome:
    """Write images and annot.h5 of a sequence; a view that fails costs that view only.

    Everything is written to a temporary folder and then moved into place. Runs take turns: a second one waits,
    and finds it done.

    Args:
        count: called during the work; what it counts is in the end about the number of the views' poses.
    """
    folder = sequence_folder(options.root, sequence)
    locks = options.root / PROCESSED / SEQUENCE_LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with locked(locks / f"{sequence}.lock"):
            leftovers: list[str] = []
            unfinished = cleared(folder / UNFINISHED_SEQUENCE, leftovers.append)
            before = done_before(sequence, options._replace(preview=False), is_locked=True)
            if before:
                if options.preview:
                    write_preview(folder)
                return before._replace(notices=leftovers)
            try:
                unfinished.mkdir(parents=True)
                outcome = make_sequence(sequence, options, metadata, unfinished, count)
                if outcome.views:
                    put_in_place(unfinished, folder)
            except OSError as error:  # explained while the disk is still as full
                return failed(sequence, folder, error)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
                with contextlib.suppress(OSError):  # the result of an earlier run stays
                    folder.rmdir()
            return outcome._replace(notices=leftovers + outcome.notices)
    except (TaskError, OSError) as error:
        return failed(sequence, folder, error)


def put_in_place(unfinished: Path, folder: Path) -> None:
    """Replace the earlier result with the new one, in a moment, as nothing is deleted here.

    The old annot.h5 goes first and the new one comes last, on the disk too: none is ever seen without its images, by a
    reader or after a power cut.
    """
    sync_tree(unfinished)
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop in between would cost both results
    try:
        old = unfinished / "old"
        old.mkdir()
        if (folder / ANNOTATIONS_FILE).exists():
            (folder / ANNOTATIONS_FILE).rename(old / ANNOTATIONS_FILE)
            sync(folder)
        for name in (IMAGES, PART_LABEL_IMAGES, PREVIEW_FILE, SEQUENCE_RECORD):
            if (folder / name).exists():
                (folder / name).rename(old / name)
            if (unfinished / name).exists():
                (unfinished / name).rename(folder / name)
        sync(folder)
        sync_parents(folder)
        (unfinished / ANNOTATIONS_FILE).rename(folder / ANNOTATIONS_FILE)
        sync(folder)
    finally:
        signal.signal(signal.SIGTERM, handler)


def make_sequence(sequence: Sequence, options: Options, metadata: Metadata, folder: Path, count: Count) -> Outcome:
    """Write images, part labels, annot.h5 and preview of a sequence into an empty folder."""
    inputs = input_files(sequence, options)
    kinds, problems = unpacked_kinds(sequence, options)
    views: list[View] = []
    notices: list[str] = []
    for camera in options.cameras:
        try:
            view, view_problems, view_notices = make_view(sequence, camera, options, metadata, folder, kinds, count)
        except FrameRuleError as problem:  # not the fault of a view, so it is reported once
            return Outcome(0, 0, [f"{sequence}: {problem}"], [])
        except TaskError as problem:
            fault = fault_of(unpacked_file(options.root, sequence, VIDEOS, camera))  # which FFmpeg takes for damage
            problems.append(f"{sequence} {camera}: {fault or problem}")
            shutil.rmtree(folder / IMAGES / camera, ignore_errors=True)
            continue
        views.append(view)
        problems += [f"{sequence} {camera}: {problem}" for problem in view_problems]
        notices += [f"{sequence} {camera}: {notice}" for notice in view_notices]
    if not views:
        return Outcome(0, 0, problems, notices)
    notices += compare_views(sequence, views)

    try:
        world = world_poses(sequence, views, options) if POSES_3D_WORLD in kinds else None
    except TaskError as problem:
        world = None
        problems.append(f"{sequence}: {problem}; pose/3d-world is left out")
    annotations.write_annotations(
        folder / ANNOTATIONS_FILE,
        datasets_of(sequence, views, world, metadata),
        {
            "version": f"h36m-fetch {__version__}",
            "sequence": str(sequence),
            "frame_selection": options.rule.text,
            "correct_s9": options.correct_s9 and is_shifted(sequence),
            "joint_names": list(metadata.joint_names),
            "joint_parents": list(metadata.joint_parents),
            "moving_joints": list(MOVING_JOINTS),
            "units": annotations.units(),
            "problems": problems,
        },
    )
    record_sequence(folder, sequence, options, inputs, {view.camera: view.frames.tolist() for view in views}, problems)
    if options.preview:
        write_preview(folder)
    return Outcome(len(views), sum(len(view.frames) for view in views), problems, notices)


def unpacked_kinds(sequence: Sequence, options: Options) -> tuple[set[str], list[str]]:
    """Return which kinds that can be left out are unpacked; a line for each that cannot be listed."""
    wanted = (POSES_3D_WORLD, BOXES, PART_LABELS) if options.segments else (POSES_3D_WORLD,)
    folders = {kind: unpacked_folder(options.root, Archive(kind, sequence.subject)) for kind in wanted}
    faults = {kind: fault for kind, folder in folders.items() if (fault := fault_of(folder))}
    return {kind for kind in wanted if kind not in faults and folders[kind].is_dir()}, list(faults.values())


def write_preview(folder: Path) -> None:
    """Draw preview.jpg of a folder with images and annot.h5, completely or not at all."""
    unfinished = folder / f".{PREVIEW_FILE}"
    draw_preview(folder).save(unfinished, quality=80)
    rename_durably(unfinished, folder / PREVIEW_FILE)


def make_view(
    sequence: Sequence, camera: str, options: Options, metadata: Metadata, folder: Path, kinds: set[str], count: Count
) -> tuple[View, list[str], list[str]]:
    """Write one camera's images and part labels; return its annotations, and problems and notices about its segments.

    Raises:
        TaskError: poses or video of this view are missing or broken. Broken segments cost themselves only.
    """

    def file(kind: str) -> Path:
        return unpacked_file(options.root, sequence, kind, camera)

    pose_2d = read_poses(file(POSES_2D), coordinates=2)
    pose_3d = read_poses(file(POSES_3D), coordinates=3)
    universal = read_poses(file(POSES_3D_UNIVERSAL), coordinates=3)
    if not len(pose_2d) == len(pose_3d) == len(universal):
        remedy = unpack_again(file(POSES_2D), file(POSES_3D), file(POSES_3D_UNIVERSAL))
        raise TaskError(
            f"expected as many poses in each of its files, found {len(pose_2d)} in {POSES_2D}, {len(pose_3d)} in "
            f"{POSES_3D}, {len(universal)} in {POSES_3D_UNIVERSAL}; {remedy}"
        )
    frames = chosen_frames(options.rule, sequence.subject, universal)
    images = folder / IMAGES / camera
    images.mkdir(parents=True)
    sizes = metadata.sizes_of(sequence.subject, camera)
    # As many frames as it has poses are counted for a view: for the video as far as it is needed, and for part labels.
    cost_of_images = FRAMES_PER_IMAGE * len(frames)
    cost_of_labels = cost_of_images if PART_LABELS in kinds else 0
    counted_for_labels = len(universal) * cost_of_labels / (len(universal) + cost_of_images + cost_of_labels)
    each_frame = (len(universal) - counted_for_labels) / (frames[-1] + 1)
    each_label = counted_for_labels / len(frames)
    video_frames, size, notices = write_images(
        file(VIDEOS), frames.tolist(), images, len(universal), sizes, count=lambda passed: count(passed * each_frame)
    )

    boxes = None
    problems: list[str] = []
    if video_frames > len(universal) + FRAMES_WITHOUT_POSE:
        notices.append(f"{file(VIDEOS).name} has {video_frames} frames for {len(universal)} poses")
    if BOXES in kinds:
        boxes, problems, box_notices = read_boxes(file(BOXES), frames, size)
        notices += box_notices + compare_count(file(BOXES), BOX_VARIABLE, len(universal))
    if PART_LABELS in kinds:
        labels = folder / PART_LABEL_IMAGES / camera
        label_problems, label_notices = write_part_labels(
            file(PART_LABELS), frames, size, labels, count=lambda read: count(read * each_label)
        )
        problems, notices = problems + label_problems, notices + label_notices
        notices += compare_count(file(PART_LABELS), PART_LABEL_VARIABLE, len(universal))

    view = View(
        camera=camera,
        frames=frames,
        pose_2d=pose_2d[frames],
        pose_3d=pose_3d[frames],
        pose_3d_universal=universal[frames],
        intrinsics=fit_intrinsics(pose_2d, pose_3d),
        intrinsics_universal=fit_intrinsics(pose_2d, universal),
        boxes=boxes,
        size=size,
        pose_count=len(pose_2d),
    )
    if options.correct_s9 and is_shifted(sequence):
        view = corrected_view(view, metadata.cameras[sequence.subject, camera])
    return view, problems, notices


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
