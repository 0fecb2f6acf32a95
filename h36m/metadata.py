"""Naming, skeleton and calibration, from metadata.xml."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h36m.console import WrongUse

METADATA_FILE = Path(__file__).resolve().parent.parent / "metadata.xml"

# The mapping of the official file goes on after these with rows of another kind: 16 actions x 2 subactions count.
SEQUENCE_ROWS = 32
# Of the 32 joints those that move on their own: the 17 that people train on (VideoPose3D leaves out the same 15). The
# others repeat one of them, or are ends of hands, feet and fingers.
MOVING_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
# Action 1 is `_ALL`, the rest recordings of a subject; no pose archive has it.
ACTION_NOT_USED = 1
NUMBERS_OF_EXTRINSICS = 6  # three angles, a position
NUMBERS_OF_INTRINSICS = 9  # f f c c k k k p p
SUBJECTS_WITH_CALIBRATION = 11


@dataclass(frozen=True)
class Camera:
    """One camera as it stood for one subject (it was moved between subjects).

    A point is taken from world to camera coordinates, both in mm, as `rotation @ point + translation`.

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


@dataclass(frozen=True)
class Metadata:
    """What metadata.xml tells.

    Attributes:
        sequences: (subject, action, subaction) -> the name its files begin with: ("S1", 14, 1) -> "Walking 1".
        actions: action id -> name: 14 -> "Walking".
        camera_ids: the four cameras, in the order of the file.
        joint_names: the 32 joints.
        joint_parents: the index of each joint's parent; the root's is its own.
        cameras: (subject, camera id) -> Camera, for all 11 subjects; empty where the file has no calibration.
    """

    sequences: dict[tuple[str, int, int], str]
    actions: dict[int, str]
    camera_ids: tuple[str, ...]
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    cameras: dict[tuple[str, str], Camera]

    def sequence_names(self, subject: str) -> dict[str, tuple[int, int]]:
        """Return a subject's sequences by the names people give them, in order: {"Directions-1": (2, 1), ...}."""
        return {
            f"{self.actions[action]}-{subaction}": (action, subaction)
            for of_subject, action, subaction in sorted(self.sequences)
            if of_subject == subject and action != ACTION_NOT_USED
        }


def load_metadata(path: Path = METADATA_FILE) -> Metadata:
    """Read this project's metadata.xml or the dataset's official one, which has the same element paths.

    Raises:
        WrongUse: the file is missing, is no XML, or an element that is needed is not there.
    """
    try:
        root = ElementTree.parse(path).getroot()
        header, *rows = root.findall("mapping/tr")
        _, _, *subjects = [cell.text for cell in header.findall("td")]
        sequences = {}
        for row in rows[:SEQUENCE_ROWS]:
            action, subaction, *names = [cell.text for cell in row.findall("td")]
            sequences |= {
                (subject, int(action), int(subaction)): name for subject, name in zip(subjects, names, strict=True)
            }
        actions = {index: item.text for index, item in enumerate(root.findall("actionnames/item"), start=1)}
        camera_ids = tuple(item.text for item in root.findall("dbcameras/index2id/item"))
        joints = sorted(
            (int(item.findtext("id")), item.findtext("name"), int(item.findtext("parent")))
            for item in root.findall("skel_pos/tree/item")
        )
        if not (sequences and actions and camera_ids and joints):
            raise ValueError("sequences, actions, cameras or joints are not in it")
        # Parents count from 1, ids from 0; the root has parent 0, which is no joint.
        joint_parents = tuple(max(parent - 1, 0) for _, _, parent in joints)
        numbers = np.array(root.findtext(".//w0", default="").strip().strip("[]").split(), dtype=np.float64)
        cameras = _cameras(numbers, camera_ids) if len(numbers) else {}
    except FileNotFoundError:
        raise WrongUse(f"there is no {path}: it belongs beside the scripts") from None
    except (ElementTree.ParseError, ValueError, TypeError, IndexError) as error:
        raise WrongUse(
            f"{path} cannot be read as the dataset's metadata ({error}): put back the project's or the official one"
        ) from error
    return Metadata(sequences, actions, camera_ids, tuple(name for _, name, _ in joints), joint_parents, cameras)


def _cameras(numbers: np.ndarray, camera_ids: tuple[str, ...]) -> dict[tuple[str, str], Camera]:
    """Take the list `<w0>` apart: extrinsics of camera after camera, subject after subject; then intrinsics."""
    extrinsics, intrinsics = np.split(numbers, [len(camera_ids) * SUBJECTS_WITH_CALIBRATION * NUMBERS_OF_EXTRINSICS])
    extrinsics = extrinsics.reshape(len(camera_ids), SUBJECTS_WITH_CALIBRATION, NUMBERS_OF_EXTRINSICS)
    intrinsics = intrinsics.reshape(len(camera_ids), NUMBERS_OF_INTRINSICS)
    cameras = {}
    for camera_id, extrinsics_of_camera, (*focal_and_center, k1, k2, k3, p1, p2) in zip(
        camera_ids, extrinsics, intrinsics, strict=True
    ):
        for subject, (*angles, x, y, z) in enumerate(extrinsics_of_camera, start=1):
            rotation = rotation_matrix(*angles)
            cameras[f"S{subject}", camera_id] = Camera(
                rotation=rotation,
                translation=-rotation @ np.array([x, y, z]),
                focal_length=np.array(focal_and_center[:2]),
                principal_point=np.array(focal_and_center[2:]),
                radial=np.array([k1, k2, k3]),
                tangential=np.array([p1, p2]),
            )
    return cameras


def rotation_matrix(a: float, b: float, c: float) -> np.ndarray:
    """Return the rotation (3, 3) that turns world into camera axes: Rx(a) Ry(b) Rz(c), angles in radians.

    The order is that of the dataset's own code; it agrees with the published karfly/human36m-camera-parameters.
    """
    rotate_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    rotate_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rotate_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rotate_x @ rotate_y @ rotate_z


def to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Take points (..., 3) from world to camera coordinates, both in mm."""
    return points @ camera.rotation.T + camera.translation


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Project points (..., 3), camera coordinates in mm, to pixels (..., 2).

    The tangential term is Human3.6M's own (as its MATLAB code has it): p1 n_y + p2 n_x stands inside the bracket.
    """
    normalized = points[..., :2] / points[..., 2:]
    radius_2 = np.sum(normalized**2, axis=-1, keepdims=True)
    k1, k2, k3 = camera.radial
    p1, p2 = camera.tangential
    bracket = 1 + k1 * radius_2 + k2 * radius_2**2 + k3 * radius_2**3
    bracket = bracket + p1 * normalized[..., 1:] + p2 * normalized[..., :1]
    distorted = normalized * bracket + radius_2 * np.array([p2, p1])
    return camera.focal_length * distorted + camera.principal_point
