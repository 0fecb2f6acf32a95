"""Part labels of single frames, written as greyscale PNG images, which all readers give as they are."""

from pathlib import Path

import numpy as np
from PIL import Image

from h36m.dataset import image_name
from h36m.errors import TaskError
from h36m.files.segments import PART_LABEL_VARIABLE, Cell, read_cells, summarize_missing
from h36m.progress import Count, count_of
from h36m.storage import is_absent, started_file

ZLIB_RUN_LENGTHS = 3  # Z_RLE of zlib.h, for which Pillow has no name

LARGEST_LABEL = 24  # of the body parts; 0 is the background


def write_part_labels(
    file: Path, frames: np.ndarray, size: tuple[int, int], folder: Path, count: Count = lambda images: None
) -> tuple[list[str], list[str]]:
    """Write the part labels of some frames as 8-bit greyscale PNG images, named like the frames' images.

    Args:
        file, frames, size: as in `read_cells`.
        folder: where the images go; it is made if there are any.
        count: called with 1 for each frame.

    Returns:
        problems (broken labels); notices (missing labels, and labels that are of no body part).
    """
    if is_absent(file):
        return [], [f"{file.name} not found; frames of this view have no part labels"]
    without: list[Cell] = []
    unknown: list[tuple[int, int]] = []  # frames, and the largest label of each
    try:
        for cell in read_cells(file, PART_LABEL_VARIABLE, frames, size):
            count(1)
            if cell.array is None:
                without.append(cell)
                continue
            if cell.array.max() > LARGEST_LABEL:
                unknown.append((cell.frame, int(cell.array.max())))
            folder.mkdir(parents=True, exist_ok=True)
            # Labels form long runs: zlib's run-length strategy takes 1.6 ms an image and its own default 4.3 ms, for
            # files of 5 and 3 kB.
            with started_file(folder / image_name(cell.frame, ".png")) as png:
                Image.fromarray(np.ascontiguousarray(cell.array)).save(png, "PNG", compress_type=ZLIB_RUN_LENGTHS)
    except TaskError as problem:
        return [f"{problem}; frames of this view have no part labels"], []
    problems, notices = summarize_missing("part labels", without, len(frames))
    if unknown:
        frame, label = unknown[0]
        has = "has" if len(unknown) == 1 else "have"
        notices.append(
            f"{len(unknown)} of {count_of(len(frames), 'frame')} {has} part labels above {LARGEST_LABEL}; the first is "
            f"frame {frame}: {label}"
        )
    return problems, notices
