"""Which frames of a view are kept: the rules, and the checks on a rule that a user has edited.

A rule takes a subject ("S1") and the poses of one view, (frames, 32, 3), mm, camera coordinates, universal skeleton,
and returns indices from 0.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.dataset import POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, Sequence, unpack_again, unpacked_file
from h36m.done import digest_of
from h36m.errors import TaskError
from h36m.files.poses import read_poses

# Frames compared at a time with the last kept one: about as many as there are between two kept ones.
FRAMES_COMPARED_AT_ONCE = 32


class FrameRule(NamedTuple):
    """How frames are chosen.

    Attributes:
        choose: takes a subject and its poses, returns indices; it can be pickled.
        text: the rule in words, or the source of the function that users edit.
        edited_files: a digest of the files that an edit may change; empty for a rule that nobody edits.
    """

    choose: Callable[[str, np.ndarray], np.ndarray]
    text: str
    edited_files: str = ""

    @property
    def label(self) -> str:
        """The rule in one word for comparing runs; the name of an edited function, since its frames are compared."""
        return self.choose.__name__ if self.edited_files else self.text


class FrameRuleError(TaskError):
    """The function that chooses frames, which users edit, failed or returned no frames."""


# -- the rules ---------------------------------------------------------------------------------------------------------


def rule_of_options(every: Iterable[int], movement: float | None, edited: Callable) -> FrameRule:
    """Return the rule of a run: each frame that `--every` or `--movement` keeps, or else the script's function.

    Args:
        every: keep every N-th frame, for each of these N; empty if not asked for.
        movement: keep a frame whenever a joint has moved by this many mm; None if not asked for.
        edited: the function at the top of the script.
    """
    steps = tuple(sorted(set(every)))
    if 1 in steps:
        return FrameRule(partial(_choose, steps=(1,)), "every frame")
    if not steps and movement is None:
        files = (Path(inspect.getfile(edited)), Path(__file__))
        return FrameRule(edited, inspect.getsource(edited), digest_of(files))
    texts = [f"every {ordinal(step)} frame" for step in steps]
    if movement is not None:
        texts.append(f"frame 0, then whenever a joint has moved by {movement:g} mm since the last frame kept")
    return FrameRule(partial(_choose, steps=steps, millimetres=movement), "; ".join(texts))


def ordinal(number: int) -> str:
    """Return a number as an ordinal: 2nd, 5th, 64th."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def every_frame(poses: np.ndarray, step: int = 1) -> np.ndarray:
    """Choose frame 0 and then every `step`-th of poses (frames, ...); return indices (N,) int64."""
    # A step beyond the end keeps frame 0 only, and numpy's integers are limited.
    return np.arange(0, len(poses), min(step, len(poses)))


def frames_with_movement(poses: np.ndarray, millimetres: float) -> np.ndarray:
    """Choose frame 0, then each frame in which any joint is at least so far from its place in the last chosen frame.

    Args:
        poses: (frames, 32, 3), mm.
        millimetres: the distance.

    Returns:
        (N,) int64, ascending indices.
    """
    chosen = [0]
    start = 1
    while start < len(poses):
        block = poses[start : start + FRAMES_COMPARED_AT_ONCE]
        squared_movement = ((block - poses[chosen[-1]]) ** 2).sum(axis=-1).max(axis=-1)
        moved = np.flatnonzero(squared_movement >= millimetres**2)
        if len(moved):
            chosen.append(start + int(moved[0]))
            start = chosen[-1] + 1
        else:
            start += len(block)
    return np.array(chosen, dtype=np.int64)


def _choose(subject: str, poses: np.ndarray, steps: tuple[int, ...], millimetres: float | None = None) -> np.ndarray:
    chosen = [every_frame(poses, step) for step in steps]
    if millimetres is not None:
        chosen.append(frames_with_movement(poses, millimetres))
    return np.unique(np.concatenate(chosen))


# -- one choice for all views ------------------------------------------------------------------------------------------


class ViewPoses(NamedTuple):
    """The poses of a view, as many in each."""

    pixels: np.ndarray  # (frames, 32, 2)
    camera: np.ndarray  # (frames, 32, 3), mm, camera coordinates
    universal: np.ndarray  # the same, universal skeleton


class Choice(NamedTuple):
    """The frames of a sequence, the same for all its views."""

    camera: str  # whose poses chose them
    frames: np.ndarray  # (N,), indices from 0


def read_view_poses(root: Path, sequence: Sequence, camera: str) -> ViewPoses:
    """Return the poses of a view.

    Raises:
        TaskError: one of its files cannot be used, or they have different numbers of poses.
    """
    kinds = {POSES_2D: 2, POSES_3D: 3, POSES_3D_UNIVERSAL: 3}
    files = {kind: unpacked_file(root, sequence, kind, camera) for kind in kinds}
    poses = {kind: read_poses(files[kind], coordinates=kinds[kind]) for kind in kinds}
    counts = {kind: len(values) for kind, values in poses.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} in {kind}" for kind, count in counts.items())
        remedy = unpack_again(*files.values())
        raise TaskError(f"expected as many poses in each of its files, found {found}; {remedy}")
    return ViewPoses(*poses.values())


def choose_for_sequence(
    rule: FrameRule, root: Path, sequence: Sequence, cameras: tuple[str, ...], chosen_by: str = ""
) -> tuple[Choice | None, dict[str, TaskError]]:
    """Choose the frames of a sequence, once for all its views.

    Rounding makes the poses of two cameras differ a little, and with them the frames that a movement chooses.

    Args:
        cameras: all of the dataset. The first with good poses chooses, whichever cameras are processed.
        chosen_by: the camera that chose in an earlier run, which chooses again while its poses are there.

    Returns:
        the choice, None where no camera has good poses; what is wrong with the poses of cameras that were tried.

    Raises:
        FrameRuleError: the rule failed.
    """
    faults = {}
    for camera in sorted(cameras, key=lambda camera: camera != chosen_by):
        try:
            universal = read_view_poses(root, sequence, camera).universal
        except TaskError as fault:
            faults[camera] = fault
        else:
            return Choice(camera, chosen_frames(rule, sequence.subject, universal)), faults
    return None, faults


# -- checks on an edited rule ------------------------------------------------------------------------------------------


def chosen_frames(rule: FrameRule, subject: str, poses: np.ndarray) -> np.ndarray:
    """Return the indices of the frames to keep, (N,) int64, ascending and each once.

    Raises:
        FrameRuleError: the rule failed, chose no frame or frames that do not exist, or did not return integers.
    """
    if not rule.edited_files:
        return rule.choose(subject, poses)
    name = f"{rule.choose.__name__}()"
    try:
        # A copy, because an edited rule may well center the poses in place.
        chosen = np.asarray(rule.choose(subject, poses.copy()))
    except Exception as error:
        script = inspect.getfile(rule.choose)
        lines = [place.lineno for place in traceback.extract_tb(error.__traceback__) if place.filename == script]
        where = f" in line {lines[-1]} of {Path(script).name}" if lines else ""
        message = " ".join(str(error).split())  # in one line
        raise FrameRuleError(f"{name} failed{where}: {type(error).__name__}: {message}") from error
    if not chosen.size:
        raise FrameRuleError(f"{name} must choose at least one of {len(poses)} frames, but it chose none")
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
        raise FrameRuleError(
            f"{name} must return a 1-D array of integers (as np.flatnonzero() does), but it returned "
            f"{chosen.dtype} of shape {chosen.shape}"
        )
    first, last = chosen.min(), chosen.max()
    if first < 0 or last >= len(poses):
        raise FrameRuleError(f"{name} must choose frames from 0 to {len(poses) - 1}, but it chose {first} to {last}")
    return np.unique(chosen).astype(np.int64)
