"""The tables of tests/facts, and computations from them that are independent of the package."""

import csv
import json

import numpy as np
from helpers.scripts import PROJECT

FOLDER = PROJECT / "tests" / "facts"
FACTS = json.loads((FOLDER / "cameras.json").read_text())
CAMERAS = FACTS["cameras"]


def table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table, each by the names of its columns."""
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def rotation_of_facts(a: float, b: float, c: float) -> np.ndarray:
    """Return the rotation (3, 3) of three angles in radians: Rx(a) Ry(b) Rz(c)."""
    rotate_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    rotate_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rotate_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rotate_x @ rotate_y @ rotate_z


def human36m_projection(points: np.ndarray, calibration: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Project (..., 3), mm, to pixels by the README's formula, coordinate by coordinate."""
    k1, k2, p1, p2, k3 = distortion
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    r2 = x**2 + y**2
    bracket = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
    return np.stack(
        [
            calibration[0, 0] * (x * bracket + p2 * r2) + calibration[0, 2],
            calibration[1, 1] * (y * bracket + p1 * r2) + calibration[1, 2],
        ],
        axis=-1,
    )
