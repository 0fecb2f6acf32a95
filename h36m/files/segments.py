"""Read cells of MATLAB v7.3 files (which are HDF5) for single frames, and compute boxes from their masks.

The files may contain anything: an unexpected object costs its own frame only, and nothing is read
before its kind, type and size are known.
"""

import contextlib
import math
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from h36m.dataset import FRAMES_WITHOUT_POSE, MOST_FRAMES, unpack_again
from h36m.errors import TaskError
from h36m.files.hdf5 import reading
from h36m.progress import count_of
from h36m.storage import fault_of, is_absent

# The box of a missing or empty mask.
NO_BOX = (-1, -1, -1, -1)

# The variables of the files.
BOX_VARIABLE = "Masks"
PART_LABEL_VARIABLE = "Feat"

# h5py raises these for what is damaged, contradictory, or of a type that numpy does not have.
H5PY_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError)

# A chunk is read as a whole, and may be larger than its array: one full-size array, and a margin.
MOST_CHUNK_BYTES = 16 * 2**20


class Cell(NamedTuple):
    """A file's content for one frame: a (height, width) uint8 array, or the reason why there is none."""

    frame: int
    array: np.ndarray | None
    notice: str | None = None  # it is not there
    problem: str | None = None  # it is there, and broken


def read_cells(file: Path, variable: str, frames: Iterable[int], size: tuple[int, int]) -> Iterator[Cell]:
    """Yield a file's cells for some frames, one in memory at a time: a whole file has thousands of full-size arrays.

    Args:
        file: a MATLAB v7.3 file with a cell array of shape (frames, 1), cell i for frame i from 0; each cell refers to
            a uint8 array that MATLAB stores transposed, (width, height).
        variable: BOX_VARIABLE (1 inside the subject's box, 0 outside) or PART_LABEL_VARIABLE (0: background, 24 body
            parts).
        frames: indices of the wanted frames, from 0.
        size: (height, width) of the video's frames, which the cells must have too.

    Raises:
        TaskError: the file is missing, cannot be read, or has no such variable.
    """
    with _opened(file, variable) as (mat, references):
        for frame in map(int, frames):
            if frame < len(references):
                yield _read_cell(mat, references[frame], frame, size)
            else:
                yield Cell(frame, None, notice=f"only {count_of(len(references), 'cell')}")


def count_cells(file: Path, variable: str) -> int:
    """Return how many cells a file has, one for each frame.

    Raises:
        TaskError: as `read_cells`.
    """
    with _opened(file, variable) as (_, references):
        return len(references)


def compare_count(file: Path, variable: str, poses: int) -> list[str]:
    """Return a notice where a file has many cells more or fewer than there are poses, whichever frames were chosen.

    A file that cannot be read has none: reading its cells tells what is wrong with it.
    """
    try:
        cells = count_cells(file, variable)
    except TaskError:
        return []
    if abs(cells - poses) <= FRAMES_WITHOUT_POSE:
        return []
    return [f"{file.name} has {count_of(cells, 'cell')} of {variable} for {count_of(poses, 'pose')}"]


@contextlib.contextmanager
def _opened(file: Path, variable: str) -> Iterator[tuple[h5py.File, np.ndarray]]:
    """Open a file; yield it and the references of its cells, one for each frame.

    Raises:
        TaskError: the file is missing, cannot be read, or has no such variable.
    """
    try:
        with reading(file) as mat:
            yield mat, _read_references(mat, variable)
    except UnexpectedObjectError as found:
        raise TaskError(
            f"{file}: expected {variable} to be a cell array, found {found}; {unpack_again(file)}"
        ) from None
    except H5PY_ERRORS as error:
        damage = (
            f"{file} cannot be read as a MATLAB v7.3 file with {variable}: {_one_line(error)}; {unpack_again(file)}"
        )
        raise TaskError(fault_of(file) or damage) from error


class UnexpectedObjectError(Exception):
    """An object is not what is expected; the message says what it is."""


def _read_references(mat: h5py.File, variable: str) -> np.ndarray:
    """Return the references of a cell array, one for each frame.

    Raises:
        UnexpectedObjectError: it is not a cell array of one column or row.
        KeyError: there is nothing of that name.
    """
    if variable not in mat:
        raise KeyError(f"{variable} is not in it")
    cells = _require_array(mat[variable])
    if _is_empty(cells):
        return np.empty(0, dtype=object)
    if h5py.check_ref_dtype(cells.dtype) is not h5py.Reference or cells.shape is None:
        raise UnexpectedObjectError(_describe(cells))
    if (max(cells.shape, default=1) != cells.size and cells.size) or cells.size > MOST_FRAMES:
        raise UnexpectedObjectError(_describe(cells))
    return cells[...].ravel()


def _read_cell(mat: h5py.File, reference: h5py.Reference, frame: int, size: tuple[int, int]) -> Cell:
    expected = f"uint8 {size[::-1]}"
    try:
        stored = _require_array(mat[reference])
        if _is_empty(stored) or not stored.size:
            return Cell(frame, None, notice="an empty cell")
        if stored.shape != size[::-1] or stored.dtype != np.uint8:
            raise UnexpectedObjectError(_describe(stored))
        return Cell(frame, stored[...].T)
    except UnexpectedObjectError as found:
        return Cell(frame, None, problem=f"expected {expected}, found {found}")
    except H5PY_ERRORS as error:
        return Cell(frame, None, problem=f"cannot be read ({_one_line(error)})")


def _is_empty(stored: h5py.Dataset) -> bool:
    """Return whether MATLAB marked an array as empty: then its shape is written in its place."""
    mark = np.asarray(stored.attrs.get("MATLAB_empty", 0))
    return mark.dtype.kind in "biuf" and bool(mark.any())


def _require_array(found: h5py.HLObject) -> h5py.Dataset:
    """Return an object of a file that is an array, in pieces that fit into memory.

    Raises:
        UnexpectedObjectError: it is not.
    """
    if not isinstance(found, h5py.Dataset):
        raise UnexpectedObjectError(_describe(found))
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > MOST_CHUNK_BYTES:
        raise UnexpectedObjectError(f"an array in chunks of {found.chunks}")
    return found


def _describe(found: h5py.HLObject) -> str:
    """Return what an object is, in a few words."""
    if isinstance(found, h5py.Dataset):
        if h5py.check_ref_dtype(found.dtype) is h5py.Reference:
            return f"a cell array of shape {found.shape}"
        return f"{_one_line(found.dtype)} {found.shape}"
    return "a struct or group" if isinstance(found, h5py.Group) else "a type without values"


def _one_line(text: object) -> str:
    """Return a text in one short line: names and types are from the file."""
    return textwrap.shorten(str(text), 200)


def box_of_mask(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box around a mask's non-zero pixels: left, top, right, bottom, the last two exclusive; or NO_BOX.

    Args:
        mask: (height, width).
    """
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return NO_BOX
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def read_boxes(file: Path, frames: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, list[str], list[str]]:
    """Read the boxes of some frames of a view from its file of masks.

    Args:
        file, frames, size: as in `read_cells`.

    Returns:
        (N, 4) int32 boxes as in `box_of_mask`, NO_BOX for frames without; what is broken; what is not there.
    """
    boxes = np.full((len(frames), 4), NO_BOX, dtype=np.int32)
    without: list[Cell] = []
    if is_absent(file):
        return boxes, [], [f"{file.name} not found; frames of this view have no boxes"]
    try:
        for row, cell in enumerate(read_cells(file, BOX_VARIABLE, frames, size)):
            if cell.array is not None:
                boxes[row] = box_of_mask(cell.array)
            if cell.array is not None and boxes[row, 0] == NO_BOX[0]:
                cell = cell._replace(array=None, notice="an empty mask")
            if cell.array is None:
                without.append(cell)
    except TaskError as problem:
        return boxes, [f"{problem}; frames of this view have no boxes"], []
    return boxes, *summarize_missing("box", without, len(frames))


def summarize_missing(what: str, without: list[Cell], count: int) -> tuple[list[str], list[str]]:
    """Return one line for all broken cells and one for all that are not there."""
    lines = []
    for field in ("problem", "notice"):
        cells = [cell for cell in without if getattr(cell, field)]
        first = f"; the first is frame {cells[0].frame}: {getattr(cells[0], field)}" if cells else ""
        have = "has" if len(cells) == 1 else "have"
        lines.append([f"{len(cells)} of {count_of(count, 'frame')} {have} no {what}{first}"] if cells else [])
    return lines[0], lines[1]
