"""Choosing frames, and what their images are called.

A function that chooses takes poses (frames, 32, 3), mm, and returns indices from 0, ascending, int64.
"""

import numpy as np

# Frames compared at a time with the last one kept: about as many as lie between two kept ones, so few are in vain.
FRAMES_COMPARED_AT_ONCE = 32


def image_name(index: int, ending: str = "jpg") -> str:
    """Return the name of a frame's image; its number is one more than its index: image_name(0) is img_000001.jpg."""
    return f"img_{index + 1:06d}.{ending}"


def every_frame(poses: np.ndarray, step: int = 1) -> np.ndarray:
    """Choose frame 0 and then every `step`-th."""
    # A step beyond the end is as good as any other, and numpy's integers end somewhere.
    return np.arange(0, len(poses), min(step, len(poses)))


def frames_with_movement(poses: np.ndarray, millimetres: float) -> np.ndarray:
    """Choose frame 0, then each frame in which a joint stands at least so far from where it stood in the last one."""
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
