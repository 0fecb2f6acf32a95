"""Boxes and part labels of single frames, from MATLAB v7.3 files (which are HDF5)."""

from pathlib import Path

import h5py
import numpy as np

from h36m.console import Problem

# What a box is where its mask is missing or empty.
NO_BOX = (-1, -1, -1, -1)

BOX_MASKS = "Masks"
PART_LABELS = "Feat"


def read_cells(file: Path, variable: str, frames, size: tuple[int, int]):
    """Yield a file's cells for some frames, one in memory at a time: a whole file holds thousands of full-size arrays.

    Args:
        file: a MATLAB v7.3 file with a cell array of shape (frames, 1), cell i for frame i from 0; each cell refers to
            a uint8 array that MATLAB stores transposed, (width, height).
        variable: "Masks" (1 inside the person's box, 0 outside) or "Feat" (part labels, 0: background, 24 body parts).
        frames: indices of the wanted frames.
        size: (height, width) of the video's frames, which those of the cells must be.

    Yields:
        (cell, problem) for each frame: an (height, width) uint8 array and None, or None and one line that says why
        there is none. An empty cell is (None, None).

    Raises:
        Problem: the file is missing or cannot be read, or has no such variable.
    """
    if not file.is_file():
        raise Problem(f"{file} is missing")
    try:
        with h5py.File(file, "r") as mat:
            cells = mat[variable]
            if cells.ndim != 2 or 1 not in cells.shape or h5py.check_ref_dtype(cells.dtype) is not h5py.Reference:
                raise Problem(f"{file}: expected {variable} to be a cell array (frames, 1), found {cells.shape}")
            references = cells[...].ravel()
            for frame in frames:
                yield _read_cell(mat, references, int(frame), size)
    except (OSError, KeyError) as error:
        raise Problem(f"{file} cannot be read as a MATLAB v7.3 file with {variable} in it ({error})") from error


def _read_cell(mat: h5py.File, references: np.ndarray, frame: int, size: tuple[int, int]):
    if frame >= len(references):
        return None, f"has {len(references)} cells, none for frame {frame}"
    try:
        array = mat[references[frame]]
        # MATLAB writes an empty array as its shape, with this attribute.
        if array.attrs.get("MATLAB_empty", 0) or array.size == 0:
            return None, None
        if array.shape != size[::-1] or array.dtype != np.uint8:
            return None, f"cell {frame}: expected uint8 {size[::-1]}, found {array.dtype} {array.shape}"
        return array[...].T, None
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        return None, f"cell {frame} cannot be read ({error})"


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
