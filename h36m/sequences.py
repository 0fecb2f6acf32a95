"""One sequence: from its unpacked files to its images and annot.h5, all of it or nothing."""

import contextlib
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from h36m import __version__, annotations
from h36m.archives import BOXES, KINDS, PART_LABELS, POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, POSES_3D_WORLD, VIDEOS
from h36m.console import Problem
from h36m.frames import every_frame, frames_with_movement, image_name
from h36m.metadata import MOVING_JOINTS, Camera, Metadata, project

# The ground truth of these S9 sequences is shifted against the images. The correction is PosePile's, which the
# community uses: so much in world coordinates, and everything else moves with it.
SHIFTED_SEQUENCES = ("Greeting-2", "SittingDown-2", "Waiting-1")
SHIFT_MM = np.array([-200.0, 0.0, 0.0])

# Goes up when what is written changes, so that an older annot.h5 is made anew.
FORMAT = 2

# Where a sequence is made, in its own folder: what is moved out of it is moved within one disk.
MAKING = ".making"

ENDINGS = {VIDEOS: "mp4", BOXES: "mat", PART_LABELS: "mat"}
POSE_ENDING = "cdf"


class Sequence(NamedTuple):
    """What one unit of work is about."""

    subject: str  # S1
    action: int  # 14
    subaction: int  # 1
    name: str  # Walking-1, its folder's name in processed/
    base: str  # Walking 1, what its files' names begin with

    def __str__(self) -> str:
        return f"{self.subject} {self.name}"


class Options(NamedTuple):
    """What is asked for, the same for all sequences."""

    root: Path
    cameras: tuple[str, ...]
    every: int | None  # every so many frames, or
    movement: float | None  # whenever a joint has moved by so many mm, or
    select: Callable[[str, np.ndarray], np.ndarray]  # what this says of a subject and its poses (frames, 32, 3)
    rule: str  # which of them it is, in words or as the source of `select`
    rule_files: str  # a digest of the files `select` stands in; empty where it is not asked
    correct_s9: bool
    segments: bool
    preview: bool


class Outcome(NamedTuple):
    """What came of a sequence."""

    views: int
    frames: int
    problems: list[str]  # what could not be done
    notices: list[str]  # what the person should know


class BrokenRule(Problem):
    """The rule that chooses frames, which people edit, does not."""


class View(NamedTuple):
    """One camera's share of a sequence: N chosen frames."""

    camera: str
    frames: np.ndarray  # (N,), indices from 0
    pose_2d: np.ndarray  # (N, 32, 2), pixels
    pose_3d: np.ndarray  # (N, 32, 3), mm, camera coordinates
    pose_3d_universal: np.ndarray  # the same, universal skeleton
    intrinsics: np.ndarray  # (4,), see h36m.poses.fit_intrinsics
    intrinsics_universal: np.ndarray  # (4,)
    boxes: np.ndarray | None  # (N, 4), or None where the subject has none
    size: tuple[int, int]  # height, width of its images
    pose_count: int  # poses of the whole view


def file_of(sequence: Sequence, kind: str, camera: str, root: Path) -> Path:
    """Return where an unpacked file of a sequence lies; that of the world coordinates has no camera in its name."""
    stem = sequence.base if kind == POSES_3D_WORLD else f"{sequence.base}.{camera}"
    return root / "extracted" / sequence.subject / kind / f"{stem}.{ENDINGS.get(kind, POSE_ENDING)}"


def folder_of(sequence: Sequence, root: Path) -> Path:
    """Return where a sequence's images and annot.h5 go."""
    return root / "processed" / sequence.subject / sequence.name


def input_files(sequence: Sequence, options: Options) -> dict[str, list[int]]:
    """Return the state of each file of a sequence that is there, by its path under extracted/.

    That is its size, when it was written, and when anything about it was changed (ns).
    """
    states = {}
    for kind in KINDS:
        if kind in (BOXES, PART_LABELS) and not options.segments:
            continue
        for camera in options.cameras:
            file = file_of(sequence, kind, camera, options.root)
            if file.is_file():
                state = file.stat()
                name = file.relative_to(options.root / "extracted").as_posix()
                states[name] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    return states


def is_shifted(sequence: Sequence) -> bool:
    """Tell whether `--correct-s9` is about this sequence."""
    return sequence.subject == "S9" and sequence.name in SHIFTED_SEQUENCES


def made_with(sequence: Sequence, options: Options) -> dict:
    """Return what decides the contents of a sequence's annot.h5, as it is recorded there."""
    return {
        "format": FORMAT,
        "frame_selection": options.select.__name__ if options.rule_files else options.rule,
        "cameras": list(options.cameras),
        "correct_s9": options.correct_s9 and is_shifted(sequence),
        "segments": options.segments,
    }


def done_before(sequence: Sequence, options: Options) -> Outcome | None:
    """Return what came of a sequence in an earlier run, or None if it is still to be done.

    It is to be done where there is no annot.h5, or one made with other options or from other files (files that were
    deleted since do not count), and where images are gone. No video is read to find out, and poses only where the rule
    that chooses frames may have been edited.
    """
    folder = folder_of(sequence, options.root)
    if (folder / MAKING).exists():  # a run was killed, or is still at it
        return None
    attributes = annotations.read_attributes(folder / annotations.FILE_NAME)
    if attributes.get("made_with") != made_with(sequence, options):
        return None
    # A file unpacked again or made readable may have the size and time that it had; only where there was a problem is
    # that worth another try, because copying a whole tree looks the same.
    compared = 3 if len(attributes["problems"]) else 2
    for name, state in input_files(sequence, options).items():
        if attributes["inputs"].get(name, [])[:compared] != state[:compared]:
            return None
    if options.preview and not (folder / "preview.jpg").is_file():
        return None
    images = {image.relative_to(folder).as_posix() for image in folder.glob("imageSequence/*/*.jpg")}
    if not annotations.read_images(folder / annotations.FILE_NAME) <= images:
        return None
    if sum(1 for _ in folder.glob("partLabels/*/*.png")) < attributes["part_label_images"]:
        return None
    if attributes["rule_files"] != options.rule_files and not chose_the_same(sequence, options, attributes):
        return None
    return Outcome(0, 0, list(attributes["problems"]), [])


def chose_the_same(sequence: Sequence, options: Options, attributes: dict) -> bool:
    """Tell whether the rule, which people edit, would still choose the frames that annot.h5 has.

    The frames are compared and not the text, because a rule may use whatever else stands in its file, and because a
    new comment is no reason to do days of work again. Where the poses are deleted the text has to do.
    """
    from h36m import poses

    annotated = annotations.read_frames(folder_of(sequence, options.root) / annotations.FILE_NAME)
    try:
        for camera, frames in annotated.items():
            file = file_of(sequence, POSES_3D_UNIVERSAL, camera, options.root)
            if not file.is_file():
                return attributes["frame_selection"] == options.rule
            universal = poses.read_poses(file, coordinates=3)
            if not np.array_equal(chosen_frames(sequence.subject, universal, options), frames):
                return False
    except Problem:  # told when the sequence is processed
        return False
    return True


def process_sequence(sequence: Sequence, options: Options, metadata: Metadata) -> Outcome:
    """Write images and annot.h5 of a sequence; a view that cannot be done costs that view only.

    Everything is made in a folder of its own and then moved into place. One run at a time does so: a second one waits,
    and finds it done.
    """
    folder = folder_of(sequence, options.root)
    making = folder / MAKING
    locks = options.root / "processed" / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{sequence}.lock"):
            shutil.rmtree(making, ignore_errors=True)
            before = done_before(sequence, options._replace(preview=False))
            if before:
                if options.preview:
                    write_preview(folder)
                return before
            try:
                making.mkdir(parents=True)
                outcome = make_sequence(sequence, options, metadata, making)
                if outcome.views:
                    put_in_place(making, folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
                with contextlib.suppress(OSError):  # what an earlier run made stays
                    folder.rmdir()
            return outcome
    except OSError as error:  # the disk is full, or the folder read-only
        # HDF5 tells in several lines what the number says in one.
        reason = os.strerror(error.errno) if error.errno else error
        return Outcome(0, 0, [f"{sequence} could not be written to {folder} ({reason}): run again to do it"], [])


def put_in_place(making: Path, folder: Path) -> None:
    """Exchange what was made with what stands where people look for it, and in a moment, as nothing is deleted here.

    The old annot.h5 goes first and the new one comes last, so none is ever seen without its images.
    """
    old = making / "old"
    old.mkdir()
    for name in (annotations.FILE_NAME, "imageSequence", "partLabels", "preview.jpg"):
        if (folder / name).exists():
            (folder / name).rename(old / name)
    for name in ("imageSequence", "partLabels", "preview.jpg", annotations.FILE_NAME):
        if (making / name).exists():
            (making / name).rename(folder / name)


def make_sequence(sequence: Sequence, options: Options, metadata: Metadata, making: Path) -> Outcome:
    """Write images, part labels, annot.h5 and preview of a sequence into an empty folder."""
    inputs = input_files(sequence, options)
    views, problems, notices = [], [], []
    for camera in options.cameras:
        try:
            view, view_problems, view_notices = make_view(sequence, camera, options, metadata, making)
        except BrokenRule as problem:  # not the fault of a view, so it is told once
            return Outcome(0, 0, [f"{sequence}: {problem}"], [])
        except Problem as problem:
            problems.append(f"{sequence} {camera}: {problem}")
            shutil.rmtree(making / "imageSequence" / camera, ignore_errors=True)
            continue
        views.append(view)
        problems += [f"{sequence} {camera}: {problem}" for problem in view_problems]
        notices += [f"{sequence} {camera}: {notice}" for notice in view_notices]
    if not views:
        return Outcome(0, 0, problems, notices)

    try:
        world = world_poses(sequence, views, options)
    except Problem as problem:
        world = None
        problems.append(f"{sequence}: {problem}; pose/3d-world is left out")
    annotations.write_annotations(
        making / annotations.FILE_NAME,
        datasets_of(sequence, views, world, metadata),
        {
            "version": f"h36m-fetch {__version__}",
            "sequence": str(sequence),
            "frame_selection": options.rule,
            "correct_s9": options.correct_s9 and is_shifted(sequence),
            "joint_names": list(metadata.joint_names),
            "joint_parents": list(metadata.joint_parents),
            "moving_joints": list(MOVING_JOINTS),
            "units": annotations.units(),
            # What a later run needs to find out whether there is anything to do.
            "made_with": made_with(sequence, options),
            "inputs": inputs,
            "problems": problems,
            "part_label_images": sum(1 for _ in making.glob("partLabels/*/*.png")),
            "rule_files": options.rule_files,
        },
    )
    if options.preview:
        write_preview(making)
    return Outcome(len(views), sum(len(view.frames) for view in views), problems, notices)


def write_preview(folder: Path) -> None:
    """Draw preview.jpg of a folder with images and annot.h5, whole or not at all."""
    from h36m.preview import draw_preview

    unfinished = folder / ".preview.jpg"
    draw_preview(folder).save(unfinished, quality=80)
    unfinished.replace(folder / "preview.jpg")


def make_view(
    sequence: Sequence, camera: str, options: Options, metadata: Metadata, making: Path
) -> tuple[View, list[str], list[str]]:
    """Write one camera's images and part labels; return its annotations, and problems and notices about its segments.

    Raises:
        Problem: poses or video of this view are missing or broken. Broken segments cost themselves only.
    """
    from PIL import Image

    from h36m import poses, segments, video

    def file(kind: str) -> Path:
        return file_of(sequence, kind, camera, options.root)

    pose_2d = poses.read_poses(file(POSES_2D), coordinates=2)
    pose_3d = poses.read_poses(file(POSES_3D), coordinates=3)
    universal = poses.read_poses(file(POSES_3D_UNIVERSAL), coordinates=3)
    if not len(pose_2d) == len(pose_3d) == len(universal):
        raise Problem(
            f"expected as many poses in each of its files, found {len(pose_2d)} in {POSES_2D}, {len(pose_3d)} in "
            f"{POSES_3D}, {len(universal)} in {POSES_3D_UNIVERSAL}: unpack these archives again"
        )
    frames = chosen_frames(sequence.subject, universal, options)
    images = making / "imageSequence" / camera
    images.mkdir(parents=True)
    video.write_images(file(VIDEOS), frames.tolist(), images)
    with Image.open(images / image_name(int(frames[0]))) as image:
        size = image.height, image.width

    boxes, problems, notices = None, [], []
    if options.segments and file(BOXES).parent.is_dir():
        boxes, problems, notices = segments.read_boxes(file(BOXES), frames, size)
    if options.segments and file(PART_LABELS).parent.is_dir():
        label_problems, label_notices = segments.write_part_labels(
            file(PART_LABELS), frames, size, making / "partLabels" / camera
        )
        problems, notices = problems + label_problems, notices + label_notices

    view = View(
        camera=camera,
        frames=frames,
        pose_2d=pose_2d[frames],
        pose_3d=pose_3d[frames],
        pose_3d_universal=universal[frames],
        intrinsics=poses.fit_intrinsics(pose_2d, pose_3d),
        intrinsics_universal=poses.fit_intrinsics(pose_2d, universal),
        boxes=boxes,
        size=size,
        pose_count=len(pose_2d),
    )
    if options.correct_s9 and is_shifted(sequence):
        view = shifted_back(view, metadata.cameras[sequence.subject, camera])
    return view, problems, notices


def chosen_frames(subject: str, universal: np.ndarray, options: Options) -> np.ndarray:
    """Return the indices of the frames to keep, ascending and each once.

    Raises:
        BrokenRule: the rule, which people edit, failed, chose none or some that are not there, or returned no numbers.
    """
    if options.every is not None:
        return every_frame(universal, options.every)
    if options.movement is not None:
        return frames_with_movement(universal, options.movement)
    rule = f"{options.select.__name__}()"
    try:
        # A copy, because an edited rule may well center the poses in place.
        chosen = np.asarray(options.select(subject, universal.copy()))
    except Exception as error:
        script = options.select.__code__.co_filename
        lines = [place.lineno for place in traceback.extract_tb(error.__traceback__) if place.filename == script]
        where = f" in line {lines[-1]} of {Path(script).name}" if lines else ""
        message = " ".join(str(error).split())  # in one line
        raise BrokenRule(f"{rule} failed{where}: {type(error).__name__}: {message}") from error
    if not chosen.size:
        raise BrokenRule(f"{rule} has to choose at least one of {len(universal)} frames, it chose none")
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
        raise BrokenRule(
            f"{rule} has to return whole numbers in a row, as np.flatnonzero() does, it returned "
            f"{chosen.dtype} of shape {chosen.shape}"
        )
    first, last = chosen.min(), chosen.max()
    if first < 0 or last >= len(universal):
        raise BrokenRule(f"{rule} has to choose frames from 0 to {len(universal) - 1}, it chose {first} to {last}")
    return np.unique(chosen).astype(np.int64)


def world_poses(sequence: Sequence, views: list[View], options: Options) -> np.ndarray | None:
    """Return the poses of all rows in world coordinates, (N, 32, 3), mm; None where that archive is not unpacked.

    Raises:
        Problem: the file is missing from it or broken, or has not as many poses as the views.
    """
    from h36m import poses

    file = file_of(sequence, POSES_3D_WORLD, "", options.root)
    if not file.parent.is_dir():
        return None
    world = poses.read_poses(file, coordinates=3)
    for view in views:
        if view.pose_count != len(world):
            raise Problem(f"{file}: expected {view.pose_count} poses as in {view.camera}'s files, found {len(world)}")
    if options.correct_s9 and is_shifted(sequence):
        world = world + SHIFT_MM
    return np.concatenate([world[view.frames] for view in views])


def shifted_back(view: View, camera: Camera) -> View:
    """Move a view's poses by SHIFT_MM in the world, project them anew, and let the boxes go with the root joint.

    What is fitted to or chosen by the published poses (intrinsics, frames) stays.
    """
    from h36m.poses import ROOT_JOINT
    from h36m.segments import NO_BOX

    shift = camera.rotation @ SHIFT_MM
    pose_3d = view.pose_3d + shift
    boxes = view.boxes
    if boxes is not None:
        before, after = (project(pose[:, ROOT_JOINT], camera) for pose in (view.pose_3d, pose_3d))
        height, width = view.size
        moved = boxes + np.tile(np.rint(after - before), 2)
        moved = moved.clip(0, [width, height, width, height]).astype(boxes.dtype)
        # None stays none, and one that is moved out of the picture becomes none.
        has_box = (boxes != NO_BOX).any(axis=1) & (moved[:, :2] < moved[:, 2:]).all(axis=1)
        boxes = np.where(has_box[:, None], moved, np.int32(NO_BOX))
    return view._replace(
        pose_2d=project(pose_3d, camera),
        pose_3d=pose_3d,
        pose_3d_universal=view.pose_3d_universal + shift,
        boxes=boxes,
    )


def datasets_of(
    sequence: Sequence, views: list[View], world: np.ndarray | None, metadata: Metadata
) -> dict[str, np.ndarray]:
    """Return the datasets of annot.h5 as `annotations.DATASETS` lists them: one view after the other, in order."""
    from h36m.segments import NO_BOX

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
