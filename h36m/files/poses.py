"""Poses from CDF files, and the cameras that fit them."""

from pathlib import Path

import numpy as np

from h36m.dataset import JOINTS, MOST_FRAMES, unpack_again
from h36m.errors import TaskError
from h36m.progress import count_of, is_or_are
from h36m.storage import fault_of, is_absent

# The dataset has the first; the others are the same and twice as exact.
FLOATING_TYPES = ("CDF_FLOAT", "CDF_REAL4", "CDF_DOUBLE", "CDF_REAL8")


def read_poses(file: Path, coordinates: int) -> np.ndarray:
    """Read all poses of a sequence from a CDF file, see `read_numbers`.

    Args:
        file: of positions.
        coordinates: 2 (pixels) or 3 (mm, in the coordinate frame that the file's folder tells).

    Returns:
        (frames, 32, coordinates) float64, the numbers as in the file.
    """
    return read_numbers(file, JOINTS * coordinates).reshape(-1, JOINTS, coordinates)


def read_numbers(file: Path, count: int) -> np.ndarray:
    """Read the numbers of all poses of a sequence from a CDF file.

    Args:
        file: one of the dataset's CDF files, with one variable `Pose` of shape (1, frames, count).
        count: how many numbers a pose has.

    Returns:
        (frames, count) float64, as in the file.

    Raises:
        TaskError: the file is missing, cannot be read as CDF, has another shape or type, no frame or impossibly many,
            or values that are not finite numbers.
    """
    from h36m.files.cdf import FileName, pycdf  # takes long to import, and many runs read no pose

    if is_absent(file):
        raise TaskError(f"{file} is missing; {unpack_again(file)}")
    expected = f"(1, 1 to {MOST_FRAMES} frames, {count})"
    try:
        with pycdf.CDF(FileName(file)) as cdf:
            # Before anything is read: in a damaged file the shape may be huge, and texts and dates are no poses.
            shape, type_name = cdf["Pose"].shape, pycdf.lib.cdftypenames.get(cdf["Pose"].type(), "an unknown type")
            if len(shape) != 3 or shape[::2] != (1, count) or not 1 <= shape[1] <= MOST_FRAMES:
                raise TaskError(f"{file}: expected poses of shape {expected}, found {shape}; {unpack_again(file)}")
            if type_name not in FLOATING_TYPES:
                raise TaskError(f"{file}: expected poses of type CDF_FLOAT, found {type_name}; {unpack_again(file)}")
            poses = cdf["Pose"][...]
    except (pycdf.CDFException, KeyError, OSError, ValueError) as error:
        damage = f"{file} cannot be read as CDF ({_first_line(error)}); {unpack_again(file)}"
        raise TaskError(fault_of(file) or damage) from error
    with np.errstate(all="ignore"):
        # Values beyond float32, the dataset's type, are damage too, and would overflow when squared.
        is_number = np.isfinite(poses[0].astype(np.float32))
        poses = poses[0].astype(np.float64)
    broken = np.flatnonzero(~is_number.all(axis=1))
    if len(broken):
        found = f"{len(broken)} of {count_of(len(poses), 'pose')} {is_or_are(len(broken))} not finite numbers"
        raise TaskError(f"{file}: {found}, the first is pose {broken[0]}; {unpack_again(file)}")
    return poses


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def fit_intrinsics(pose_2d: np.ndarray, pose_3d: np.ndarray) -> np.ndarray:
    """Fit a camera without distortion to poses: x2d z = fx x + cx z and y2d z = fy y + cy z, by least squares.

    Args:
        pose_2d: (frames, 32, 2), pixels.
        pose_3d: (frames, 32, 3), mm, camera coordinates.

    Returns:
        (4,) float64: fx, cx, fy, cy, pixels; the order that existing loaders expect.
    """
    depth = pose_3d[..., 2].ravel()
    intrinsics = []
    for axis in (0, 1):
        unknowns = np.column_stack([pose_3d[..., axis].ravel(), depth])
        intrinsics += list(np.linalg.lstsq(unknowns, pose_2d[..., axis].ravel() * depth, rcond=None)[0])
    return np.array(intrinsics)
