"""Cells of MATLAB v7.3 files (which are HDF5) for single frames, and the boxes that their masks have."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from h36m.cli import TaskError, count_of

# What a box is where its mask is missing or empty.
NO_BOX = (-1, -1, -1, -1)

# The variables of the files.
BOX_VARIABLE = "Masks"
PART_LABEL_VARIABLE = "Feat"


class Cell(NamedTuple):
    """What a file holds for one frame: an (height, width) uint8 array, or a word about why there is none."""

    frame: int
    array: np.ndarray | None
    notice: str | None = None  # it is not there
    problem: str | None = None  # it is there, and broken


def read_cells(file: Path, variable: str, frames: Iterable[int], size: tuple[int, int]) -> Iterator[Cell]:
    """Yield a file's cells for some frames, one in memory at a time: a whole file holds thousands of full-size arrays.

    Args:
        file: a MATLAB v7.3 file with a cell array of shape (frames, 1), cell i for frame i from 0; each cell refers to
            a uint8 array that MATLAB stores transposed, (width, height).
        variable: BOX_VARIABLE (1 inside the person's box, 0 outside) or PART_LABEL_VARIABLE (0: background, 24 body
            parts).
        frames: indices of the wanted frames, from 0.
        size: (height, width) of the video's frames, which the cells must have too.

    Raises:
        TaskError: the file is not there, cannot be read, or has no such variable.
    """
    try:
        with h5py.File(file, "r") as mat:
            cells = mat[variable]
            if h5py.check_ref_dtype(cells.dtype) is not h5py.Reference:
                raise TaskError(f"{file}: expected {variable} to be a cell array, found {cells.dtype} {cells.shape}")
            references = cells[...].ravel()
            for frame in map(int, frames):
                if frame < len(references):
                    yield _read_cell(mat, references[frame], frame, size)
                else:
                    yield Cell(frame, None, notice=f"only {count_of(len(references), 'cell')}")
    except (OSError, KeyError) as error:
        raise TaskError(f"{file} cannot be read as a MATLAB v7.3 file with {variable}: {error}") from error


def count_cells(file: Path, variable: str) -> int:
    """Return how many cells a file has, one for each frame.

    Raises:
        TaskError: as `read_cells`.
    """
    try:
        with h5py.File(file, "r") as mat:
            return mat[variable].size
    except (OSError, KeyError, AttributeError) as error:
        raise TaskError(f"{file} cannot be read as a MATLAB v7.3 file with {variable}: {error}") from error


def _read_cell(mat: h5py.File, reference: h5py.Reference, frame: int, size: tuple[int, int]) -> Cell:
    try:
        stored = mat[reference]
        if not isinstance(stored, h5py.Dataset):
            return Cell(frame, None, problem=f"expected an array, found {stored}")
        # MATLAB writes an empty array as its shape, with this attribute.
        if stored.attrs.get("MATLAB_empty", 0) or not stored.size:
            return Cell(frame, None, notice="an empty cell")
        if stored.shape != size[::-1] or stored.dtype != np.uint8:
            expected = f"uint8 {size[::-1]}"
            return Cell(frame, None, problem=f"expected {expected}, found {stored.dtype} {stored.shape}")
        return Cell(frame, stored[...].T)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        return Cell(frame, None, problem=f"cannot be read ({error})")


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
    if not file.is_file():
        return boxes, [], [f"no {file.name} among the boxes, so its frames have none"]
    try:
        for row, cell in enumerate(read_cells(file, BOX_VARIABLE, frames, size)):
            if cell.array is not None:
                boxes[row] = box_of_mask(cell.array)
            if cell.array is not None and boxes[row, 0] == NO_BOX[0]:
                cell = cell._replace(array=None, notice="an empty mask")
            if cell.array is None:
                without.append(cell)
    except TaskError as problem:
        return boxes, [f"{problem}; its frames have no boxes"], []
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
