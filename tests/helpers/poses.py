"""Releases of poses alone, and the dataset's facts and files read without the package, to compare exports with."""

import functools
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from helpers.facts import human36m_projection, rotation_of_facts
from helpers.scripts import PROJECT

from h36m.files.cdf import pycdf

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
WORLD, CAMERA, PIXELS = "Poses_D3_Positions", "Poses_D3_Positions_mono", "Poses_D2_Positions"
J17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)


class Sequence(NamedTuple):
    """One cell of the table of names."""

    subject: str
    action: int  # 2 to 16
    subaction: int
    base: str  # Walking 1


class Calibration(NamedTuple):
    """One camera of one subject: X_cam = R (X - C), mm; the numbers as metadata.xml publishes them."""

    rotation: np.ndarray
    centre: np.ndarray
    focal: np.ndarray
    principal: np.ndarray
    radial: np.ndarray  # k1 k2 k3
    tangential: np.ndarray  # p1 p2

    @property
    def matrix(self) -> np.ndarray:
        """K (3, 3)."""
        (fx, fy), (cx, cy) = self.focal, self.principal
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    @property
    def distortion(self) -> np.ndarray:
        """Return k1 k2 p1 p2 k3."""
        return np.r_[self.radial[:2], self.tangential, self.radial[2]]


@functools.cache
def sequences(*subjects: str) -> list[Sequence]:
    """Return the sequences of some subjects, by subject, action and subaction, without _ALL."""
    header, *rows = [[td.text for td in tr] for tr in ET.parse(PROJECT / "metadata.xml").iterfind("mapping/tr")]
    cells = [
        Sequence(subject, int(row[0]), int(row[1]), row[header.index(subject)])
        for subject in subjects
        for row in rows
        if row[0] and int(row[0]) > 1
    ]
    assert len(cells) == 30 * len(subjects)
    return cells


def canonical(base: str) -> str:
    """Return the name that all subjects but S1 have for a sequence's files."""
    return base.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


@functools.cache
def calibrations(metadata: Path = PROJECT / "metadata.xml") -> dict[tuple[str, str], Calibration]:
    """Return the 44 cameras by subject and id; <w0> is split at single blanks, as other programs do."""
    text = ET.parse(metadata).findtext("w0")
    assert text[0] == "[" and text[-1] == "]"
    numbers = np.array([float(number) for number in text[1:-1].split(" ")])
    outside, inside = numbers[:264].reshape(4, 11, 6), numbers[264:].reshape(4, 9)
    return {
        (f"S{subject}", camera_id): Calibration(
            rotation_of_facts(*outside[view, subject - 1, :3]),
            outside[view, subject - 1, 3:],
            *np.split(inside[view], [2, 4, 7]),
        )
        for view, camera_id in enumerate(CAMERA_IDS)
        for subject in range(1, 12)
    }


def make_poses(extracted: Path, frames: dict[Sequence, int], seed: int = 0, speed: float = 5) -> None:
    """Write the poses of some sequences, any motion, each frame another, as extract_all.py leaves them.

    Args:
        extracted: the folder, with one for each subject and kind of poses below.
        frames: how many each sequence has.
        speed: at which the bodies walk, mm for each frame; 0 for long sequences, which would walk through a camera.
    """
    random, cameras = np.random.default_rng(seed), calibrations()
    for sequence, count in frames.items():
        # A body of two metres, walking about where some joints leave some images.
        body = random.uniform((-400, -400, 0), (400, 400, 1800), (count, 32, 3))
        way = random.uniform(-800, 800, (1, 1, 3)) + speed * np.arange(count)[:, None, None]
        world = (body + way * (1, 1, 0)).astype(np.float32)
        write(extracted, WORLD, sequence, None, world)
        for camera_id in CAMERA_IDS:
            camera = cameras[sequence.subject, camera_id]
            seen = (world.astype(float) - camera.centre) @ camera.rotation.T
            write(extracted, CAMERA, sequence, camera_id, seen)
            write(extracted, PIXELS, sequence, camera_id, human36m_projection(seen, camera.matrix, camera.distortion))


def pose_file(extracted: Path, kind: str, sequence: Sequence, camera_id: str | None) -> Path:
    """Return the path of a view's poses, of a sequence's in world coordinates without a camera."""
    name = f"{sequence.base}.{camera_id}.cdf" if camera_id else f"{sequence.base}.cdf"
    return extracted / sequence.subject / kind / name


def write(extracted: Path, kind: str, sequence: Sequence, camera_id: str | None, poses: np.ndarray) -> None:
    """Write poses (frames, 32, coordinates) in place of what is there."""
    file = pose_file(extracted, kind, sequence, camera_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with pycdf.CDF(str(file), create=True) as cdf:
        cdf.new("Pose", data=poses.reshape(1, len(poses), -1), type=pycdf.const.CDF_FLOAT)


@functools.cache
def read(extracted: Path, kind: str, sequence: Sequence, camera_id: str | None = None) -> np.ndarray:
    """Return poses (frames, 32, 2 or 3) float32 as they are published; not for files that are replaced."""
    with pycdf.CDF(str(pose_file(extracted, kind, sequence, camera_id))) as cdf:
        pose = cdf["Pose"][...]
    assert pose.dtype == np.float32 and pose.shape[0] == 1
    return pose[0].reshape(pose.shape[1], 32, -1)


@functools.cache
def boxes(extracted: Path, sequence: Sequence, camera_id: str) -> np.ndarray:
    """Return the boxes (cells, 4) of a view's masks: top, left, bottom, right, the last two exclusive."""
    file = extracted / sequence.subject / "Segments_mat_gt_bb" / f"{sequence.base}.{camera_id}.mat"
    found = []
    with h5py.File(file) as mat:
        for (reference,) in mat["Masks"][...]:
            mask = mat[reference][...].T
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            found.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.array(found)
