#!/usr/bin/env python3
"""Turn the unpacked archives into frames and annotations:

    python3 process_all.py --root DIR

reads DIR/extracted/ and writes, for each sequence of each subject,

    DIR/processed/S1/Walking-1/imageSequence/54138969/img_000001.jpg ...
    DIR/processed/S1/Walking-1/annot.h5

Which frames are kept is decided by select_frame_indices_to_include(), at the top of this script. Run it again after
a stop or when more is unpacked: it does only what is missing.
"""

import argparse
import hashlib
import inspect
from functools import partial
from pathlib import Path

import numpy as np

from h36m import annotations
from h36m.archives import BOXES, PART_LABELS, POSES_3D_WORLD
from h36m.console import Progress, WrongUse, argument_parser, positive_integer, run, say
from h36m.frames import frames_with_movement
from h36m.metadata import Metadata, load_metadata
from h36m.sequences import Options, Sequence, done_before, input_files, is_shifted, process_sequence
from h36m.workers import available_cores, run_in_processes


def select_frame_indices_to_include(subject: str, pose_3d_universal: np.ndarray) -> np.ndarray:
    """Choose the frames of one view. Edit this to choose others: sequences that get others are made anew.

    Args:
        subject: "S1", ...
        pose_3d_universal: (frames, 32, 3), mm, camera coordinates, universal skeleton.

    Returns:
        Indices of the chosen frames, from 0.
    """
    # To keep every frame:
    # return np.arange(len(pose_3d_universal))

    # The subjects that people test on: every 64th frame, as in "Compositional Human Pose Regression" (Sun et al. 2017).
    if subject in ("S9", "S11"):
        return np.arange(0, len(pose_3d_universal), 64)
    # Those they train on: each frame in which a joint has moved by 40 mm since the last one kept.
    return frames_with_movement(pose_3d_universal, millimetres=40)


# Imported once for all workers, because each takes a while.
MODULES_OF_WORKERS = ("h36m.console", "h36m.poses", "h36m.segments", "h36m.sequences", "h36m.video", "PIL.Image")


def main(arguments: argparse.Namespace) -> list[str]:
    if arguments.describe:
        print(annotations.describe(arguments.describe))
        return []
    metadata = load_metadata()
    options = read_options(arguments, metadata)
    extracted, processed = options.root / "extracted", options.root / "processed"
    sequences = share_of(chosen_sequences(arguments, metadata), arguments.slice)

    to_do, problems, done = [], [], 0
    for sequence in sequences:
        before = done_before(sequence, options)
        if before:
            done += 1
            problems += before.problems
        elif input_files(sequence, options):
            to_do.append(sequence)
        elif not extracted.is_dir():
            raise WrongUse(f"there is no folder {extracted}: run extract_all.py first, or say where with --root")
        elif not (extracted / sequence.subject).is_dir():
            problems.append(f"{sequence.subject}: there is no folder {extracted / sequence.subject}, see --subjects")
        else:
            problems.append(f"{sequence}: none of its files ({sequence.base}.*) is in {extracted / sequence.subject}")
    problems = list(dict.fromkeys(problems))
    if not to_do:
        if done or not problems:
            say(arguments, f"nothing to do: {done} sequences are in {processed}")
        return problems

    jobs = min(arguments.jobs or available_cores(), len(to_do))
    if arguments.scheduler:
        from h36m import cluster  # and with it Dask, which only this needs

        client = cluster.connect(arguments.scheduler, options.root)
        threads = sum(client.nthreads().values())
        if not threads:
            say(arguments, "no Dask worker is there yet: waiting for one")
        jobs = min(arguments.jobs or threads or 1, len(to_do))
    say(arguments, f"{len(to_do)} sequences to process, {jobs} at a time; {done} are done")
    tell_beforehand(arguments, to_do, options, metadata)

    work = partial(process_sequence, options=options, metadata=metadata)
    views = frames = 0
    with Progress(total=len(to_do), desc="processing", unit="sequences", disable=arguments.quiet) as progress:
        if arguments.scheduler:
            ended = cluster.run_on_cluster(client, work, to_do, arguments.jobs, preload=MODULES_OF_WORKERS)
        else:
            ended = run_in_processes(work, to_do, jobs, preload=MODULES_OF_WORKERS, debug=arguments.debug)
        for sequence, outcome, failure, trace in ended:
            progress.update()
            if failure:
                problems.append(f"{sequence}: {failure}")
                if trace and arguments.debug:
                    say(arguments, trace)
                continue
            problems += outcome.problems
            for notice in outcome.notices:
                say(arguments, notice)
            views += outcome.views
            frames += outcome.frames
            seconds = progress.format_dict["elapsed"] or 1
            progress.set_postfix_str(f"{views / seconds:.1f} views/s, {frames / seconds:.0f} frames/s", refresh=False)
    say(arguments, f"{frames} frames of {views} views written to {processed}")
    return problems


def read_options(arguments: argparse.Namespace, metadata: Metadata) -> Options:
    unknown = set(arguments.cameras) - set(metadata.camera_ids)
    if unknown:
        raise WrongUse(f"--cameras: {', '.join(sorted(unknown))} is none of {', '.join(metadata.camera_ids)}")
    if arguments.correct_s9 and not metadata.cameras:
        raise WrongUse("--correct-s9 needs the cameras' calibration, and metadata.xml has none (<w0>)")
    return Options(
        root=arguments.root.resolve(),
        cameras=tuple(camera for camera in metadata.camera_ids if camera in (arguments.cameras or metadata.camera_ids)),
        every=arguments.every,
        movement=arguments.movement,
        select=select_frame_indices_to_include,
        rule=rule_in_words(arguments),
        rule_files="" if arguments.every or arguments.movement else digest_of_rule_files(),
        correct_s9=arguments.correct_s9,
        segments=not arguments.no_segments,
        preview=arguments.preview,
    )


def rule_in_words(arguments: argparse.Namespace) -> str:
    """Return how frames are chosen; for the function above, which people edit, it is its source that says."""
    if arguments.every is not None:
        return f"one frame in {arguments.every}, from frame 0" if arguments.every > 1 else "every frame"
    if arguments.movement is not None:
        return f"frame 0, then whenever a joint has moved by {arguments.movement:g} mm since the last frame kept"
    return inspect.getsource(select_frame_indices_to_include)


def digest_of_rule_files() -> str:
    """Return a digest of this script and of the helpers its rule uses: while they stay the same, so does the rule."""
    script = Path(__file__).resolve()
    files = (script, script.parent / "h36m" / "frames.py")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def chosen_sequences(arguments: argparse.Namespace, metadata: Metadata) -> list[Sequence]:
    """Return the sequences of the chosen subjects and actions; `Walking` stands for Walking-1 and Walking-2."""
    sequences = []
    known = []
    for subject in dict.fromkeys(arguments.subjects):
        for name, (action, subaction) in metadata.sequence_names(subject).items():
            known += [name, metadata.actions[action]]
            if not arguments.actions or {name, metadata.actions[action]} & set(arguments.actions):
                base = metadata.sequences[subject, action, subaction]
                sequences.append(Sequence(subject, action, subaction, name, base))
    unknown = set(arguments.actions) - set(known)
    if unknown:
        names = ", ".join(dict.fromkeys(known))
        raise WrongUse(f"--actions: {', '.join(sorted(unknown))} is no action of the dataset; these are: {names}")
    return sequences


def share_of(sequences: list[Sequence], share: tuple[int, int] | None) -> list[Sequence]:
    """Return the K-th of N even shares: by the order of the names alone, so that runs need not agree on anything."""
    if share is None:
        return sequences
    which, count = share
    return sorted(sequences)[which - 1 :: count]


def tell_beforehand(
    arguments: argparse.Namespace, sequences: list[Sequence], options: Options, metadata: Metadata
) -> None:
    """Say what these sequences will come without, and which are known to be shifted."""
    if not metadata.cameras:
        say(arguments, "metadata.xml has no calibration (<w0>): no extrinsics, calibration and distortion are written")
    for subject in dict.fromkeys(sequence.subject for sequence in sequences):
        for kind, what in ((POSES_3D_WORLD, "pose/3d-world"), (BOXES, "bbox"), (PART_LABELS, "partLabels")):
            wanted = options.segments or kind == POSES_3D_WORLD
            if wanted and not (options.root / "extracted" / subject / kind).is_dir():
                say(arguments, f"{subject}: no {kind} in extracted/, so its sequences come without {what}")
    shifted = [sequence.name for sequence in sequences if is_shifted(sequence)]
    if shifted and not options.correct_s9:
        say(arguments, f"S9 {', '.join(shifted)}: the published poses are shifted against the images, see --correct-s9")


def share(text: str) -> tuple[int, int]:
    """Read K/N."""
    which, _, count = text.partition("/")
    if not (which.isdecimal() and count.isdecimal() and 1 <= int(which) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, such as 1/3, not {text!r}")
    return int(which), int(count)


def millimetres(text: str) -> float:
    """Read a length of more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of mm above 0, not {text!r}")
    return value


if __name__ == "__main__":
    parser = argument_parser(__doc__)
    parser.add_argument("--actions", nargs="+", default=[], metavar="Walking-1", help="default: all")
    parser.add_argument("--cameras", nargs="+", default=[], metavar="54138969", help="default: all four")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--every", type=positive_integer, metavar="N", help="keep every N-th frame, from the first")
    which.add_argument("--all-frames", dest="every", action="store_const", const=1, help="keep every frame")
    which.add_argument(
        "--movement", type=millimetres, metavar="MM", help="keep a frame when a joint has moved so far since the last"
    )
    parser.add_argument(
        "--jobs", type=positive_integer, metavar="N", help="default: the cores, or the threads of the Dask workers"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="work on a Dask cluster: tcp://HOST:8786 or a scheduler file"
    )
    parser.add_argument("--correct-s9", action="store_true", help="move the shifted poses of three S9 sequences back")
    parser.add_argument("--no-segments", action="store_true", help="leave out boxes and part labels")
    parser.add_argument("--preview", action="store_true", help="draw preview.jpg beside each annot.h5")
    parser.add_argument("--slice", type=share, metavar="K/N", help="do the K-th of N even shares of the sequences")
    parser.add_argument(
        "--describe", type=Path, metavar="FILE.h5", help="print what an annot.h5 holds, and nothing else"
    )
    run(main, parser)
