"""Choosing frames by movement."""

import numpy as np

# Frames compared at a time with the last one kept: about as many as lie between two kept ones, so few are in vain.
FRAMES_COMPARED_AT_ONCE = 32


def frames_with_movement(poses: np.ndarray, millimetres: float) -> np.ndarray:
    """Choose frame 0, then each frame in which a joint stands at least so far from where it stood in the last one kept.

    Args:
        poses: (frames, 32, 3), mm.
        millimetres: the least movement of at least one joint.

    Returns:
        Indices of the chosen frames, ascending, int64.
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
