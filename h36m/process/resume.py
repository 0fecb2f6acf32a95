"""What a run has to do with a sequence: compare its record with what the run asks for and with the unpacked files.

Without `--replace` a sequence only grows. This module imports nothing heavy, so that a run with nothing to do ends at
once.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.dataset import (
    ANNOTATIONS_FILE,
    BOXES,
    EXTRACTED,
    PART_LABELS,
    POSES_3D_UNIVERSAL,
    PREVIEW_FILE,
    PROCESSED,
    SEQUENCE_LOCKS,
    SEQUENCE_RECORD,
    UNFINISHED_SEQUENCE,
    Sequence,
    sequence_folder,
)
from h36m.done import is_unchanged, read_record
from h36m.errors import TaskError
from h36m.locks import locked
from h36m.process.record import (
    Options,
    SequenceRecord,
    has_all_images,
    input_files,
    is_whole_image,
    settings_of,
    states_of,
)
from h36m.process.selection import choose_for_sequence, ordinal
from h36m.progress import count_of
from h36m.storage import is_absent, reason_of, write_atomically


class Work(Enum):
    """What a run has to do with a sequence."""

    NOTHING = "it is already processed"
    DRAW = "it is processed, and its preview is to be drawn"
    MAKE = "there is no annot.h5"
    EXTEND = "all that is there stays, and more or newer is asked for"
    REPLACE = "it is to be exactly what the options say (--replace)"
    REFUSE = "it is left as it is: something would be lost or changed, or it cannot be told"


WITH_REPLACE = f"add --replace, or rename {PROCESSED}/ first"


class Decision(NamedTuple):
    """What is to be done with a sequence, and with which options."""

    work: Work
    options: Options  # of the run, and where a sequence grows, with what it has already
    problems: list[str] = []  # noqa: RUF012  (never changed) of the run that made it, or what keeps from telling
    refusal: str = ""  # why it is left as it is: what follows on "2 sequences"; {images} is filled in
    lost_images: int = 0  # how many it would lose
    is_changed: bool = False  # it was made from other versions of the unpacked files, so its frames may change
    chosen_by: str = ""  # the camera whose poses chose its frames
    same_choice: SequenceRecord | None = None  # of another rule, which has chosen the same frames; see `record_rule`


def lines_of(decisions: Iterable[Decision]) -> list[str]:
    """Return one line for each reason why sequences are left as they are."""
    lost: dict[str, list[int]] = {}
    for decision in decisions:
        if decision.refusal:
            lost.setdefault(decision.refusal, []).append(decision.lost_images)
    return [
        f"{count_of(len(images), 'sequence')} {refusal.format(images=count_of(sum(images), 'image'))}"
        for refusal, images in lost.items()
    ]


def decide(sequence: Sequence, options: Options, is_locked: bool = False) -> Decision:
    """Return what a run has to do with a sequence.

    No video is read to find out, and poses only where another rule may choose other frames: those are compared and not
    the rule's text, because a new comment is no reason to repeat days of work. If the poses were deleted, the text is
    compared. With the sequence's lock, an unfinished folder is not of a run, but a leftover that cannot be removed.
    """
    folder = sequence_folder(options.root, sequence)
    if not is_locked and os.path.lexists(folder / UNFINISHED_SEQUENCE):  # a run was killed, or is at work
        return Decision(Work.MAKE, options)
    try:
        return _decide(sequence, options, folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not is_locked:  # another run moves files at this moment
            return Decision(Work.MAKE, options)
        return Decision(Work.REFUSE, options, [f"{sequence}: {reason_of(error, folder)}"])
    except TaskError as problem:
        return Decision(Work.REFUSE, options, [f"{sequence}: {problem}"])


def _decide(sequence: Sequence, options: Options, folder: Path) -> Decision:
    """Return what `decide` does.

    Raises:
        OSError: the result of an earlier run cannot be read.
        TaskError: the rule for frames failed, or no poses can be read to compare its choice.
    """

    def refuse(refusal: str, lost_images: int = 0) -> Decision:
        return Decision(Work.REFUSE, options, refusal=refusal, lost_images=lost_images)

    def refuse_without(kind: str) -> Decision:
        return refuse(f"cannot be processed again, as their {kind} in {EXTRACTED}/ were removed; unpack them again")

    if is_absent(folder / ANNOTATIONS_FILE):  # images without it are what an interrupted run left
        return Decision(Work.MAKE, options)
    annotations_bytes = (folder / ANNOTATIONS_FILE).stat().st_size
    record = read_record(SequenceRecord, folder / SEQUENCE_RECORD)
    if record is None:
        foreign = f"would lose an {ANNOTATIONS_FILE} that this script did not write; {WITH_REPLACE}"
        return Decision(Work.REPLACE, options) if options.replace else refuse(foreign)
    wanted = options if options.replace else _with_earlier(options, record, folder)
    settings = settings_of(sequence, wanted)
    before = record.settings
    if not options.replace and settings["format"] != before["format"]:
        return refuse(f"would change poses or images (processed by another version); {WITH_REPLACE}")
    if not options.replace and settings["correct_s9"] != before["correct_s9"]:
        cause = "--correct-s9" if settings["correct_s9"] else "made with --correct-s9"
        return refuse(f"would change poses or images ({cause}); {WITH_REPLACE}")

    now = states_of(options.root, record.inputs) | input_files(sequence, wanted)
    is_changed = any(not is_unchanged(record.inputs[path], now[path]) for path in record.inputs.keys() & now.keys())
    rule, chosen = options.rule, None
    if (before["frame_selection"], record.rule_files) != (rule.label, rule.edited_files):
        choice, _ = choose_for_sequence(rule, options.root, sequence, options.all_cameras, record.chosen_by)
        chosen = {*choice.frames.tolist()} if choice else None
        if chosen is None and record.rule != rule.text:
            return refuse_without(POSES_3D_UNIVERSAL)
    earlier = [set(frames) for frames in record.frames.values()]
    lost_images = sum(len(frames - chosen) for frames in earlier) if chosen else 0
    is_stale = (
        not record.has_same_inputs(record.inputs | now)
        or any(chosen - frames for frames in earlier if chosen)
        or annotations_bytes < record.annotations_bytes
        or not has_all_images(folder, record)
    )
    if options.replace:
        known = before | {"frame_selection": settings["frame_selection"], "images": record.has_images}
        if is_stale or lost_images or settings != known:
            return Decision(Work.REPLACE, options, chosen_by=record.chosen_by)
    elif lost_images:
        return refuse(f"would lose {{images}} ({rule_in_words(record)}); {WITH_REPLACE}", lost_images)
    elif is_stale or {*wanted.cameras} - {*before["cameras"]} or (wanted.images and not record.has_images):
        gone = record.inputs.keys() - now.keys()
        if gone:
            return refuse_without(min(gone).split("/")[1])  # of S1/Videos/Walking 1.54138969.mp4
        return Decision(Work.EXTEND, wanted, is_changed=is_changed, chosen_by=record.chosen_by)
    is_drawn = not options.preview or is_whole_image(folder / PREVIEW_FILE)
    problems = [line for line in record.problems if _concerns(line, sequence, options)]
    same = record if chosen is not None else None
    return Decision(Work.NOTHING if is_drawn else Work.DRAW, options, problems, same_choice=same)


def _with_earlier(options: Options, record: SequenceRecord, folder: Path) -> Options:
    """Return what a run asks for, and what a sequence has already."""
    cameras = {*options.cameras, *record.settings["cameras"]}
    return options._replace(
        cameras=tuple(camera for camera in options.all_cameras if camera in cameras),
        images=options.images or record.has_images,
        segments=options.segments or record.settings["segments"],
        preview=options.preview or not is_absent(folder / PREVIEW_FILE),
    )


def _concerns(problem: str, sequence: Sequence, options: Options) -> bool:
    """Return whether a problem of an earlier run is about something that this one asks for."""
    others = {*options.all_cameras} - {*options.cameras}
    if any(problem.startswith(f"{sequence} {camera}: ") for camera in others):
        return False
    return options.segments or not any(f"/{kind}/" in problem for kind in (BOXES, PART_LABELS))


def rule_in_words(record: SequenceRecord) -> str:
    """Return how the frames of a sequence were chosen, in a few words."""
    frames = max(record.frames.values(), key=len)
    steps = set(np.diff(frames).tolist())
    if not record.rule_files:
        return record.rule
    return f"every {ordinal(steps.pop())} frame" if len(steps) == 1 else f"{record.settings['frame_selection']}()"


def record_rule(sequence: Sequence, options: Options, record: SequenceRecord) -> None:
    """Record that a rule chooses the frames that a sequence has, so that its next run reads no poses."""
    rule, file = options.rule, sequence_folder(options.root, sequence) / SEQUENCE_RECORD
    settings = record.settings | {"frame_selection": rule.label}
    newer = replace(record, settings=settings, rule=rule.text, rule_files=rule.edited_files)
    lock = options.root / PROCESSED / SEQUENCE_LOCKS / f"{sequence}.lock"
    # Not in a read-only folder, nor while a run has the sequence: then they are compared again.
    with contextlib.suppress(OSError, TaskError), locked(lock, before_waiting=_give_up):
        if read_record(SequenceRecord, file) == record:
            write_atomically(file, newer.as_json())


def _give_up() -> None:
    raise TaskError("in use by another run")
