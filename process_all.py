#!/usr/bin/env python3
"""Turn the unpacked archives into frames and annotations.

    python3 process_all.py
    python3 process_all.py --subjects S9 --actions Walking --preview

It reads extracted/ and writes, for each sequence of each subject,

    processed/S1/Walking-1/imageSequence/54138969/img_000001.jpg ...
    processed/S1/Walking-1/annot.h5

Which frames are kept is decided by select_frame_indices_to_include(), at the
top of this script. Run it again after an interruption or after more was
unpacked: it does only what is missing.
"""

import h36m  # noqa: F401, I001  (first, see there)

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from h36m.errors import UsageError
from h36m.cli import argument_parser, positive_integer, run
from h36m.progress import Count, Say, count_of, is_or_are, speaker
from h36m.dataset import (
    Archive,
    BOXES,
    EXTRACTED,
    PART_LABEL_IMAGES,
    PART_LABELS,
    POSES_3D_WORLD,
    PROCESSED,
    SEQUENCE_LOCKS,
    Sequence,
    unpacked_folder,
)
from h36m.locks import say_if_without_locks
from h36m.metadata import Metadata, load_metadata
from h36m.parallel.cores import available_cores
from h36m.parallel.workers import run_for_dask_worker, run_in_processes
from h36m.process.annotations import describe
from h36m.process.plan import Plan, images_of, plan_lines, plan_run, sequence_lines
from h36m.process.record import Options, Outcome, is_wanted
from h36m.process.report import Start, do_work, next_step
from h36m.s9 import is_shifted
from h36m.process.selection import frames_with_movement, rule_of_options
from h36m.sequences import chosen_sequences, share_of
from h36m.spelling import read_names


def select_frame_indices_to_include(subject: str, pose_3d_universal: np.ndarray) -> np.ndarray:
    """Choose the frames of a sequence, for all its views. Edit this to choose others, and run with --replace.

    Args:
        subject: "S1", ...
        pose_3d_universal: (frames, 32, 3), mm, coordinates of the first camera, universal skeleton.

    Returns:
        Indices of the chosen frames, from 0.
    """
    # To keep every frame:
    # return np.arange(len(pose_3d_universal))

    # The test subjects: every 64th frame, as in "Compositional Human Pose Regression" (Sun et al. 2017).
    if subject in ("S9", "S11"):
        return np.arange(0, len(pose_3d_universal), 64)
    # The training subjects: each frame in which a joint has moved by 40 mm since the last kept one.
    return frames_with_movement(pose_3d_universal, millimetres=40)


# Imported once for all workers, because each takes a while.
MODULES_OF_WORKERS = ("h36m.files.cdf", "h36m.process.sequence", "PIL.Image")


def main(arguments: argparse.Namespace) -> list[str]:
    if arguments.describe:
        speaker(quiet=False)(describe(arguments.describe))
        return []
    say, metadata = speaker(arguments.quiet), load_metadata()
    options = read_options(arguments, metadata)
    sequences = chosen_sequences(metadata, arguments.subjects, arguments.actions)
    if run_for_dask_worker(partial(process, options=options, metadata=metadata), sequences[0], arguments.debug):
        return []
    plan = plan_run(share_of(sequences, arguments.slice), options, arguments.dry_run)
    if not plan.lengths and not arguments.dry_run:
        if plan.done or not plan.problems:
            done = f"{count_of(plan.done, 'sequence')} {is_or_are(plan.done)}"
            say(f"nothing to do: {done} already processed in {options.root / PROCESSED}")
            say(next_step(arguments))
        return plan.problems
    jobs = arguments.jobs if arguments.scheduler else min(arguments.jobs or available_cores(), len(plan.lengths))
    for line in plan_lines(plan, options, images_of(plan, arguments.every, arguments.movement), jobs):
        say(line)
    if arguments.dry_run:
        for line in sequence_lines(plan):
            say(line)
        return plan.problems
    start = prepare_work(plan, options, metadata, jobs, arguments.scheduler, arguments.debug, say)
    found = do_work(start, plan.lengths, options.root, arguments)
    return list(dict.fromkeys(plan.problems + found))


# -- plan --------------------------------------------------------------------------------------------------------------


def read_options(arguments: argparse.Namespace, metadata: Metadata) -> Options:
    """Return what the command line asks for.

    Raises:
        UsageError: it asks for a camera that does not exist, a correction without calibration, or a preview without
            images.
    """
    cameras = read_names("--cameras", arguments.cameras or metadata.camera_ids, metadata.camera_ids)
    if arguments.correct_s9 and not metadata.cameras:
        raise UsageError("--correct-s9 needs the cameras' calibration, and metadata.xml has none (<w0>)")
    if arguments.no_images and arguments.preview:
        raise UsageError("--preview draws on images; leave out --no-images")
    return Options(
        root=arguments.root.resolve(),
        cameras=tuple(camera for camera in metadata.camera_ids if camera in cameras),
        rule=rule_of_options(arguments.every, arguments.movement, select_frame_indices_to_include),
        correct_s9=arguments.correct_s9,
        images=not arguments.no_images,
        segments=not arguments.no_segments,
        preview=arguments.preview,
        replace=arguments.replace,
        all_cameras=metadata.camera_ids,
    )


# -- run ---------------------------------------------------------------------------------------------------------------


def prepare_work(
    plan: Plan, options: Options, metadata: Metadata, jobs: int | None, scheduler: str | None, debug: bool, say: Say
) -> Start:
    """Announce the work; return the function that does it here or on a cluster.

    Args:
        jobs: sequences at a time; None for as many as Dask's workers have threads.
        scheduler: of a Dask cluster; None to work on this machine.
        debug: let the sequences print what they log.

    Raises:
        UsageError: there is no such cluster.
    """
    if scheduler:
        from h36m.parallel import cluster  # and with it Dask, which only this needs

        client = cluster.connect(scheduler, options.root, MODULES_OF_WORKERS)
        if not client.nthreads():
            say("no Dask worker has connected yet; waiting for one")
    announce(plan.lengths, options, metadata, say)
    say_if_without_locks(options.root / PROCESSED / SEQUENCE_LOCKS, say)
    # A long sequence that starts last keeps one core busy after all others have finished.
    longest_first = sorted(plan.lengths, key=plan.lengths.__getitem__, reverse=True)
    if scheduler:
        root = ["--root", str(options.root)]
        tasks = {each: [*root, "--subjects", each.subject, "--actions", each.name] for each in longest_first}
        return lambda count: cluster.run_on_cluster(client, tasks, jobs)  # sequences in work are not counted
    work = partial(process, options=options, metadata=metadata)
    return lambda count: run_in_processes(work, longest_first, jobs or 1, MODULES_OF_WORKERS, debug, count)


def process(sequence: Sequence, options: Options, metadata: Metadata, count: Count = lambda frames: None) -> Outcome:
    """Process one sequence; this runs in a process of its own."""
    from h36m.process.sequence import process_sequence  # takes 0.2 s to import, which the workers have done before

    return process_sequence(sequence, options, metadata, count)


def announce(sequences: Iterable[Sequence], options: Options, metadata: Metadata, say: Say) -> None:
    """Announce what these sequences will lack, and which have offset poses."""
    if not metadata.cameras:
        say("metadata.xml has no calibration (<w0>); extrinsics, calibration and distortion are not written")
    for subject in dict.fromkeys(sequence.subject for sequence in sequences):
        for kind, what in ((POSES_3D_WORLD, "pose/3d-world"), (BOXES, "bbox"), (PART_LABELS, PART_LABEL_IMAGES)):
            if is_wanted(kind, options) and not unpacked_folder(options.root, Archive(kind, subject)).is_dir():
                say(f"{subject}: no {kind} in extracted/, so its sequences have no {what}")
    shifted = [sequence.name for sequence in sequences if is_shifted(sequence)]
    if shifted and not options.correct_s9:
        say(f"S9 {', '.join(shifted)}: published poses are offset from the images; --correct-s9 corrects them")


# -- command line ------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__, (EXTRACTED, PROCESSED))
    add = parser.add_argument
    processed = "Process these sequences only; Walking means Walking-1 and Walking-2. Default: all."
    add("--actions", nargs="+", default=[], metavar="Walking-1", help=processed)
    add("--cameras", nargs="+", default=[], metavar="54138969", help="Process these cameras only. Default: all four.")
    rule = "Default: the rule at the top of this script."
    every = f"Keep every N-th frame, from the first; with several N or --movement, all that one of them keeps. {rule}"
    add("--every", nargs="+", action="extend", type=positive_integer, default=[], metavar="N", help=every)
    add("--all-frames", dest="every", action="append_const", const=1, help=f"Keep every frame. {rule}")
    movement = f"Keep a frame when any joint has moved at least MM mm since the last kept frame. {rule}"
    add("--movement", type=millimetres, metavar="MM", help=movement)
    replace = "Remove images of earlier runs that these options do not choose. Default: keep them."
    add("--replace", action="store_true", help=replace)
    without = "Write poses, cameras and boxes only; this needs no videos. Default: write images too."
    add("--no-images", action="store_true", help=without)
    jobs = "Process N sequences at a time. Default: the number of cores, or the threads of the Dask workers."
    add("--jobs", type=positive_integer, metavar="N", help=jobs)
    cluster = "Run on the Dask cluster at tcp://HOST:8786, or of a scheduler file. Default: run on this machine."
    add("--scheduler", metavar="ADDRESS", help=cluster)
    s9 = "Correct the offset poses of three S9 sequences. Default: keep them as published."
    add("--correct-s9", action="store_true", help=s9)
    segments = "Leave out boxes and part labels. Default: write those that are unpacked."
    add("--no-segments", action="store_true", help=segments)
    add("--preview", action="store_true", help="Draw preview.jpg next to each annot.h5. Default: draw none.")
    slice_ = "Process the K-th of N equal shares of the sequences. Default: all of them."
    add("--slice", type=share, metavar="K/N", help=slice_)
    table = "Print the content of an annot.h5 or of a sequence's folder, and end."
    add("--describe", type=Path, metavar="FILE", help=table)
    return parser


def share(text: str) -> tuple[int, int]:
    """Read K/N (a `type` for argparse)."""
    which, _, count = text.partition("/")
    if not (which.isdecimal() and count.isdecimal() and 1 <= int(which) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, such as 1/3, not {text!r}")
    return int(which), int(count)


def millimetres(text: str) -> float:
    """Read a positive length in mm (a `type` for argparse)."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number of mm, not {text!r}")
    return value


if __name__ == "__main__":
    run(main, build_parser())
