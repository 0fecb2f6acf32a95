"""Boxes and part labels of single frames, from MATLAB v7.3 files (which are HDF5)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from h36m.console import Problem
from h36m.frames import image_name

# What a box is where its mask is missing or empty.
NO_BOX = (-1, -1, -1, -1)

BOX_MASKS = "Masks"
PART_LABELS = "Feat"

ZLIB_RUN_LENGTHS = 3  # Z_RLE of zlib.h, for which Pillow has no name

# 25 colours that the eye tells apart, red green blue: 0 is the background, then the 24 body parts.
PALETTE = (
    (0, 0, 0),
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240)),
    *((240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255), (170, 110, 40), (255, 250, 200)),
    *((128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128), (128, 128, 128), (255, 255, 255)),
    *((255, 90, 160), (90, 90, 255), (0, 80, 40)),
)


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
        variable: BOX_MASKS (1 inside the person's box, 0 outside) or PART_LABELS (0: background, 24 body parts).
        frames: indices of the wanted frames, from 0.
        size: (height, width) of the video's frames, which the cells must have too.

    Raises:
        Problem: the file is not there, cannot be read, or has no such variable.
    """
    try:
        with h5py.File(file, "r") as mat:
            cells = mat[variable]
            if h5py.check_ref_dtype(cells.dtype) is not h5py.Reference:
                raise Problem(f"{file}: expected {variable} to be a cell array, found {cells.dtype} {cells.shape}")
            references = cells[...].ravel()
            for frame in map(int, frames):
                if frame < len(references):
                    yield _read_cell(mat, references[frame], frame, size)
                else:
                    yield Cell(frame, None, notice=f"only {len(references)} cells")
    except (OSError, KeyError) as error:
        raise Problem(f"{file} cannot be read as a MATLAB v7.3 file with {variable}: {error}") from error


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
        for row, cell in enumerate(read_cells(file, BOX_MASKS, frames, size)):
            if cell.array is not None:
                boxes[row] = box_of_mask(cell.array)
            if cell.array is not None and boxes[row, 0] == NO_BOX[0]:
                cell = cell._replace(array=None, notice="an empty mask")
            if cell.array is None:
                without.append(cell)
    except Problem as problem:
        return boxes, [f"{problem}; its frames have no boxes"], []
    return boxes, *_told("box", without, len(frames))


def write_part_labels(
    file: Path, frames: np.ndarray, size: tuple[int, int], folder: Path
) -> tuple[list[str], list[str]]:
    """Write the part labels of some frames as palette PNG images, named as the frames' own images are.

    Args:
        file, frames, size: as in `read_cells`.
        folder: where the images go; it is made if there are any.

    Returns:
        What is broken; what is not there.
    """
    from PIL import Image

    if not file.is_file():
        return [], [f"no {file.name} among the part labels, so its frames have none"]
    without: list[Cell] = []
    try:
        for cell in read_cells(file, PART_LABELS, frames, size):
            if cell.array is None:
                without.append(cell)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.ascontiguousarray(cell.array))
            image.putpalette([value for colour in PALETTE for value in colour])  # makes it an image of mode P
            # Labels lie in long runs: zlib's run-length strategy takes 1.6 ms an image and its own default 4.3 ms, for
            # files of 5 and 3 kB.
            image.save(folder / image_name(cell.frame, ending="png"), compress_type=ZLIB_RUN_LENGTHS)
    except Problem as problem:
        return [f"{problem}; its frames have no part labels"], []
    return _told("part labels", without, len(frames))


def _told(what: str, without: list[Cell], count: int) -> tuple[list[str], list[str]]:
    """Return one line for all broken cells and one for all that are not there."""
    lines = []
    for field in ("problem", "notice"):
        cells = [cell for cell in without if getattr(cell, field)]
        first = f"; the first is frame {cells[0].frame}: {getattr(cells[0], field)}" if cells else ""
        lines.append([f"{len(cells)} of {count} frames have no {what}{first}"] if cells else [])
    return lines[0], lines[1]
