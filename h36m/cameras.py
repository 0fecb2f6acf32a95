"""Cameras: transform world to camera coordinates, and project these to pixels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """One camera as placed for one subject (cameras were moved between subjects).

    A point is transformed from world to camera coordinates, both in mm, by `rotation @ point + translation`.

    Attributes:
        rotation: (3, 3), R.
        translation: (3,), t, mm.
        focal_length: (2,), pixels.
        principal_point: (2,), pixels.
        radial: (3,), k1 k2 k3.
        tangential: (2,), p1 p2.
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal_length: np.ndarray
    principal_point: np.ndarray
    radial: np.ndarray
    tangential: np.ndarray

    @property
    def extrinsics(self) -> np.ndarray:
        """(3, 4): [R, t], world mm to camera mm."""
        return np.column_stack([self.rotation, self.translation])

    @property
    def calibration(self) -> np.ndarray:
        """(3, 3): K, pixels."""
        (fx, fy), (cx, cy) = self.focal_length, self.principal_point
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    @property
    def distortion(self) -> np.ndarray:
        """(5,): k1 k2 p1 p2 k3, the order of OpenCV."""
        k1, k2, k3 = self.radial
        return np.array([k1, k2, *self.tangential, k3])


def rotation_matrix(a: float, b: float, c: float) -> np.ndarray:
    """Return the rotation (3, 3) that turns world into camera axes: Rx(a) Ry(b) Rz(c), angles in radians.

    The order is that of the dataset's own code; it agrees with the published karfly/human36m-camera-parameters.
    """
    rotate_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    rotate_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rotate_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rotate_x @ rotate_y @ rotate_z


def to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Transform points (..., 3) from world to camera coordinates, both in mm."""
    return points @ camera.rotation.T + camera.translation


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Project points (..., 3), camera coordinates in mm, to pixels (..., 2).

    The tangential term is Human3.6M's own (as its MATLAB code has it): p1 n_y + p2 n_x is inside the bracket.
    """
    normalized = points[..., :2] / points[..., 2:]
    radius_2 = np.sum(normalized**2, axis=-1, keepdims=True)
    k1, k2, k3 = camera.radial
    p1, p2 = camera.tangential
    bracket = 1 + k1 * radius_2 + k2 * radius_2**2 + k3 * radius_2**3
    bracket = bracket + p1 * normalized[..., 1:] + p2 * normalized[..., :1]
    distorted = normalized * bracket + radius_2 * np.array([p2, p1])
    return camera.focal_length * distorted + camera.principal_point
