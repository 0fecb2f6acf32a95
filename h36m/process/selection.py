"""Which frames of a view are kept: the rules, and the checks on a rule that a user has edited.

A rule takes a subject ("S1") and the poses of one view, (frames, 32, 3), mm, camera coordinates, universal skeleton,
and returns indices from 0.
"""

import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.done import digest_of
from h36m.errors import TaskError

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


def rule_of_options(every: int | None, movement: float | None, edited: Callable) -> FrameRule:
    """Return the rule of a run: `--every`, `--movement`, or else the function at the top of the script.

    Args:
        every: keep every N-th frame; None if not asked for.
        movement: keep a frame whenever a joint has moved by this many mm; None if not asked for.
        edited: the script's function.
    """
    if every is not None:
        text = f"one frame in {every}, from frame 0" if every > 1 else "every frame"
        return FrameRule(partial(_choose_every, step=every), text)
    if movement is not None:
        text = f"frame 0, then whenever a joint has moved by {movement:g} mm since the last frame kept"
        return FrameRule(partial(_choose_moved, millimetres=movement), text)
    files = (Path(inspect.getfile(edited)), Path(__file__))
    return FrameRule(edited, inspect.getsource(edited), digest_of(files))


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


def _choose_every(subject: str, poses: np.ndarray, step: int) -> np.ndarray:
    return every_frame(poses, step)


def _choose_moved(subject: str, poses: np.ndarray, millimetres: float) -> np.ndarray:
    return frames_with_movement(poses, millimetres)


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
