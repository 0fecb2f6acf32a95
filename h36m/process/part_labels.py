"""Part labels of single frames, written as palette PNG images."""

from pathlib import Path

import numpy as np
from PIL import Image

from h36m.dataset import image_name
from h36m.errors import TaskError
from h36m.files.segments import PART_LABEL_VARIABLE, Cell, read_cells, summarize_missing
from h36m.progress import Count
from h36m.storage import is_absent

ZLIB_RUN_LENGTHS = 3  # Z_RLE of zlib.h, for which Pillow has no name

# 25 colours that the eye tells apart, red green blue: 0 is the background, then the 24 body parts.
PALETTE = (
    (0, 0, 0),
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240)),
    *((240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255), (170, 110, 40), (255, 250, 200)),
    *((128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128), (128, 128, 128), (255, 255, 255)),
    *((255, 90, 160), (90, 90, 255), (0, 80, 40)),
)


def write_part_labels(
    file: Path, frames: np.ndarray, size: tuple[int, int], folder: Path, count: Count = lambda images: None
) -> tuple[list[str], list[str]]:
    """Write the part labels of some frames as palette PNG images, named like the frames' images.

    Args:
        file, frames, size: as in `read_cells`.
        folder: where the images go; it is made if there are any.
        count: called with 1 for each frame.

    Returns:
        problems (broken labels); notices (missing labels).
    """
    if is_absent(file):
        return [], [f"{file.name} not found; frames of this view have no part labels"]
    without: list[Cell] = []
    try:
        for cell in read_cells(file, PART_LABEL_VARIABLE, frames, size):
            count(1)
            if cell.array is None:
                without.append(cell)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.ascontiguousarray(cell.array))
            image.putpalette([value for colour in PALETTE for value in colour])  # makes it an image of mode P
            # Labels form long runs: zlib's run-length strategy takes 1.6 ms an image and its own default 4.3 ms, for
            # files of 5 and 3 kB.
            image.save(folder / image_name(cell.frame, ".png"), compress_type=ZLIB_RUN_LENGTHS)
    except TaskError as problem:
        return [f"{problem}; frames of this view have no part labels"], []
    return summarize_missing("part labels", without, len(frames))
