"""Process one sequence: from its unpacked files to its images and annot.h5, completely or not at all."""

import contextlib
import shutil
from pathlib import Path

from h36m import __version__
from h36m.dataset import (
    ANNOTATIONS_FILE,
    BOXES,
    EXTRACTED,
    FRAMES_WITHOUT_POSE,
    IMAGES,
    MOVING_JOINTS,
    PART_LABEL_IMAGES,
    PART_LABELS,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    POSES_OF_LONGER_VIDEOS,
    PREVIEW_FILE,
    PROCESSED,
    SEQUENCE_LOCKS,
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
from h36m.files.poses import fit_intrinsics
from h36m.files.segments import BOX_VARIABLE, PART_LABEL_VARIABLE, compare_count, read_boxes
from h36m.locks import locked
from h36m.metadata import Metadata
from h36m.process import annotations
from h36m.process.part_labels import write_part_labels
from h36m.process.place import finish_moves, is_moving, lost_by, put_in_place
from h36m.process.preview import draw_preview
from h36m.process.record import (
    FRAMES_PER_IMAGE,
    Options,
    Outcome,
    failed,
    input_files,
    is_wanted,
    record_sequence,
    states_of,
)
from h36m.process.resume import Work, decide, lines_of
from h36m.process.selection import Choice, FrameRuleError, choose_for_sequence, read_view_poses
from h36m.process.video import write_images
from h36m.process.views import View, compare_views, corrected_view, datasets_of, world_poses
from h36m.progress import Count, count_of
from h36m.s9 import is_shifted
from h36m.storage import cleared, fault_of, rename_durably


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
            finish_moves(folder)
            leftovers: list[str] = []
            unfinished = cleared(folder / UNFINISHED_SEQUENCE, leftovers.append)
            decision = decide(sequence, options, is_locked=True)
            if decision.work == Work.DRAW:
                write_preview(folder)
            if decision.work in (Work.NOTHING, Work.DRAW, Work.REFUSE):
                refused = [f"{sequence}: {line}" for line in lines_of([decision])]
                return Outcome(0, 0, decision.problems + refused, leftovers)
            try:
                unfinished.mkdir(parents=True)
                outcome = make_sequence(sequence, decision.options, metadata, unfinished, count, decision.chosen_by)
                lost = lost_by(unfinished, folder, decision) if outcome.views else []
                if lost:
                    problem = f"{sequence}: the earlier result stays, as {lost[0]} could not be made again"
                    outcome = Outcome(0, 0, [*outcome.problems, problem], outcome.notices)
                elif outcome.views:
                    put_in_place(unfinished, folder)
            except OSError as error:  # explained while the disk is still as full
                return failed(sequence, folder, error)
            finally:
                if not is_moving(unfinished):  # else the next run moves the rest
                    shutil.rmtree(unfinished, ignore_errors=True)
                with contextlib.suppress(OSError):  # the result of an earlier run stays
                    folder.rmdir()
            return outcome._replace(notices=leftovers + outcome.notices)
    except (TaskError, OSError) as error:
        return failed(sequence, folder, error)


def make_sequence(
    sequence: Sequence, options: Options, metadata: Metadata, folder: Path, count: Count, chosen_by: str = ""
) -> Outcome:
    """Write images, part labels, annot.h5 and preview of a sequence into an empty folder.

    Args:
        count: see `process_sequence`.
        chosen_by: the camera whose poses chose the frames in an earlier run.
    """
    inputs = input_files(sequence, options)
    kinds, problems = unpacked_kinds(sequence, options)
    try:
        choice, faults = choose_for_sequence(options.rule, options.root, sequence, options.all_cameras, chosen_by)
    except FrameRuleError as problem:
        return Outcome(0, 0, [f"{sequence}: {problem}"], [])
    if not choice:
        return Outcome(0, 0, problems + [f"{sequence} {camera}: {faults[camera]}" for camera in options.cameras], [])
    poses = unpacked_file(options.root, sequence, POSES_3D_UNIVERSAL, choice.camera)  # its camera may be left out
    inputs |= states_of(options.root, [poses.relative_to(options.root / EXTRACTED).as_posix()])
    views: list[View] = []
    notices: list[str] = []
    counts: list[str] = []
    for camera in options.cameras:
        try:
            view = make_view(sequence, camera, choice, options, metadata, folder, kinds, count)
        except TaskError as problem:
            fault = fault_of(unpacked_file(options.root, sequence, VIDEOS, camera))  # which FFmpeg takes for damage
            problems.append(f"{sequence} {camera}: {fault or problem}")
            shutil.rmtree(folder / IMAGES / camera, ignore_errors=True)
            continue
        views.append(view)
        problems += [f"{sequence} {camera}: {problem}" for problem in view.problems]
        notices += [f"{sequence} {camera}: {notice}" for notice in view.notices]
        if view.pose_count != POSES_OF_LONGER_VIDEOS.get((sequence.subject, sequence.name)):
            counts += view.counts
    if not views:
        return Outcome(0, 0, problems, notices)
    notices += compare_views(sequence, views)
    if counts:
        more = f", like {count_of(len(counts) - 1, 'other file')} of this sequence" if len(counts) > 1 else ""
        notices.append(f"{sequence}: {counts[0]}{more}")

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
            "frame_selection_camera": choice.camera,
            "correct_s9": options.correct_s9 and is_shifted(sequence),
            "joint_names": list(metadata.joint_names),
            "joint_parents": list(metadata.joint_parents),
            "moving_joints": list(MOVING_JOINTS),
            "units": annotations.units(),
            "problems": problems,
        },
    )
    frames = {view.camera: view.frames.tolist() for view in views}
    record = record_sequence(folder, sequence, options, inputs, frames, choice.camera, problems)
    if options.preview:
        write_preview(folder)
    return Outcome(len(views), sum(len(view.frames) for view in views), problems, notices, record.image_bytes)


def unpacked_kinds(sequence: Sequence, options: Options) -> tuple[set[str], list[str]]:
    """Return which kinds that can be left out are unpacked; a line for each that cannot be listed."""
    wanted = [kind for kind in (POSES_3D_WORLD, BOXES, PART_LABELS) if is_wanted(kind, options)]
    folders = {kind: unpacked_folder(options.root, Archive(kind, sequence.subject)) for kind in wanted}
    faults = {kind: fault for kind, folder in folders.items() if (fault := fault_of(folder))}
    return {kind for kind in wanted if kind not in faults and folders[kind].is_dir()}, list(faults.values())


def write_preview(folder: Path) -> None:
    """Draw preview.jpg of a folder with images and annot.h5, completely or not at all."""
    unfinished = folder / f".{PREVIEW_FILE}"
    draw_preview(folder).save(unfinished, quality=80)
    rename_durably(unfinished, folder / PREVIEW_FILE)


def make_view(
    sequence: Sequence,
    camera: str,
    choice: Choice,
    options: Options,
    metadata: Metadata,
    folder: Path,
    kinds: set[str],
    count: Count,
) -> View:
    """Write one camera's images and part labels; return its annotations.

    Raises:
        TaskError: poses or video of this view are missing or broken. Broken segments cost themselves only.
    """

    def file(kind: str) -> Path:
        return unpacked_file(options.root, sequence, kind, camera)

    pose_2d, pose_3d, universal = read_view_poses(options.root, sequence, camera)
    frames = choice.frames
    if frames[-1] >= len(universal):
        raise TaskError(
            f"expected at least {frames[-1] + 1} poses, as camera {choice.camera} has, found {len(universal)}; "
            f"{unpack_again(file(POSES_3D_UNIVERSAL))}"
        )
    # As many frames as it has poses are counted for a view: for the video as far as it is needed, and for part labels.
    cost_of_images = FRAMES_PER_IMAGE * len(frames)
    cost_of_labels = cost_of_images if PART_LABELS in kinds else 0
    counted_for_labels = len(universal) * cost_of_labels / (len(universal) + cost_of_images + cost_of_labels)
    each_frame = (len(universal) - counted_for_labels) / (frames[-1] + 1)
    each_label = counted_for_labels / len(frames)
    boxes = None
    problems: list[str] = []
    notices: list[str] = []
    counts: list[str] = []
    sizes = metadata.sizes_of(sequence.subject, camera)
    if options.images:
        images = folder / IMAGES / camera
        images.mkdir(parents=True)
        video_frames, size, notices = write_images(
            file(VIDEOS), frames.tolist(), images, len(universal), sizes, lambda passed: count(passed * each_frame)
        )
        sizes = (size,)
        if video_frames > len(universal) + FRAMES_WITHOUT_POSE:
            counts.append(f"{file(VIDEOS).name} has {video_frames} frames for {len(universal)} poses")
    size = sizes[0]
    if BOXES in kinds:
        for size in sizes:  # without a video and its size in metadata.xml, that of the masks
            boxes, problems, box_notices = read_boxes(file(BOXES), frames, size)
            if not problems:
                break
        notices += box_notices
        counts += compare_count(file(BOXES), BOX_VARIABLE, len(universal))
    if PART_LABELS in kinds:
        labels = folder / PART_LABEL_IMAGES / camera
        label_problems, label_notices = write_part_labels(
            file(PART_LABELS), frames, size, labels, count=lambda read: count(read * each_label)
        )
        problems, notices = problems + label_problems, notices + label_notices
        counts += compare_count(file(PART_LABELS), PART_LABEL_VARIABLE, len(universal))

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
        problems=problems,
        notices=notices,
        counts=counts,
    )
    if options.correct_s9 and is_shifted(sequence):
        view = corrected_view(view, metadata.cameras[sequence.subject, camera])
    return view
