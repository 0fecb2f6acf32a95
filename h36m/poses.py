"""Poses from CDF files, and the cameras that fit them."""

import os
import tempfile
from pathlib import Path

import numpy as np

from h36m.console import Problem

# spacepy makes a folder `.spacepy` when it is imported, in the home directory unless told otherwise, and dies where it
# cannot (an arbitrary user in a container has no home). It needs the folder only while it is imported.
if "SPACEPY" in os.environ:
    from spacepy import pycdf
else:
    with tempfile.TemporaryDirectory(prefix="h36m-spacepy-") as _folder:
        os.environ["SPACEPY"] = _folder
        from spacepy import pycdf
    del os.environ["SPACEPY"]

JOINTS = 32
ROOT_JOINT = 0


def read_poses(file: Path, coordinates: int) -> np.ndarray:
    """Read all poses of a sequence from a CDF file.

    Args:
        file: one of the dataset's CDF files, with one variable `Pose` of shape (1, frames, 32 * coordinates).
        coordinates: 2 (pixels) or 3 (mm, in the coordinate frame that the file's folder tells).

    Returns:
        (frames, 32, coordinates) float64, the numbers as they stand in the file.

    Raises:
        Problem: the file is missing, cannot be read as CDF, has another shape, no frame, or numbers that are none.
    """
    if not file.is_file():
        raise Problem(f"{file} is missing: is its archive fetched and unpacked?")
    expected = f"(1, frames, {JOINTS * coordinates})"
    try:
        with pycdf.CDF(str(file)) as cdf:
            shape = cdf["Pose"].shape  # before anything is read: in a damaged file it may be huge
            if len(shape) != 3 or shape[0] != 1 or shape[1] == 0 or shape[2] != JOINTS * coordinates:
                raise Problem(f"{file}: expected poses of shape {expected}, found {shape}")
            poses = cdf["Pose"][...]
    except (pycdf.CDFError, KeyError, OSError, ValueError) as error:
        raise Problem(f"{file} cannot be read as CDF ({_first_line(error)}): unpack its archive again") from error
    poses = poses[0].astype(np.float64).reshape(-1, JOINTS, coordinates)
    broken = np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2)))
    if len(broken):
        raise Problem(f"{file}: {len(broken)} of {len(poses)} poses are not finite numbers, the first at {broken[0]}")
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
