"""The correction of three S9 sequences whose published poses are offset from the images (`--correct-s9`).

The correction is PosePile's, which the community uses: an offset in world coordinates, applied to everything else.
"""

import numpy as np

from h36m.cameras import Camera, project
from h36m.dataset import ROOT_JOINT, Sequence
from h36m.files.segments import NO_BOX

SHIFTED_SUBJECT, SHIFTED_SEQUENCES = "S9", ("Greeting-2", "SittingDown-2", "Waiting-1")
SHIFT_MM = np.array([-200.0, 0.0, 0.0])  # world coordinates


def is_shifted(sequence: Sequence) -> bool:
    """Return whether the published poses of a sequence are offset."""
    return sequence.subject == SHIFTED_SUBJECT and sequence.name in SHIFTED_SEQUENCES


def correct_world_poses(poses: np.ndarray) -> np.ndarray:
    """Return poses (frames, 32, 3), mm, world coordinates, moved onto the images."""
    return poses + SHIFT_MM


def correct_camera_poses(poses: np.ndarray, camera: Camera) -> np.ndarray:
    """Return poses (frames, 32, 3), mm, coordinates of `camera`, moved onto the images."""
    return poses + camera.rotation @ SHIFT_MM


def correct_boxes(
    boxes: np.ndarray, published: np.ndarray, corrected: np.ndarray, camera: Camera, size: tuple[int, int]
) -> np.ndarray:
    """Move boxes with the root joint, by whole pixels.

    Args:
        boxes: (N, 4) int32 left, top, right, bottom in pixels, or NO_BOX.
        published, corrected: (N, 32, 3), the poses before and after, mm, coordinates of `camera`.
        size: (height, width) of the images.

    Returns:
        (N, 4) int32, inside the image; NO_BOX where there was none, or where the box has left the image.
    """
    before, after = (project(poses[:, ROOT_JOINT], camera) for poses in (published, corrected))
    height, width = size
    moved = boxes + np.tile(np.rint(after - before), 2)
    moved = moved.clip(0, [width, height, width, height]).astype(boxes.dtype)
    has_box = (boxes != NO_BOX).any(axis=1) & (moved[:, :2] < moved[:, 2:]).all(axis=1)
    return np.where(has_box[:, None], moved, np.array(NO_BOX, dtype=boxes.dtype))
