"""Names, skeleton and calibration, read from metadata.xml."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h36m.cameras import Camera, rotation_matrix
from h36m.sequences import METADATA_FILE, Naming, parsed, read_naming, text_of

NUMBERS_OF_EXTRINSICS = 6  # three angles, a position
NUMBERS_OF_INTRINSICS = 9  # f f c c k k k p p
SUBJECTS_WITH_CALIBRATION = 11


@dataclass(frozen=True)
class Metadata(Naming):
    """What metadata.xml tells: the names of `Naming`, and these.

    Attributes:
        joint_names: the 32 joints.
        joint_parents: the index of each joint's parent; the root's is its own.
        cameras: (subject, camera id) -> Camera, for all 11 subjects; empty where the file has no calibration.
    """

    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    cameras: dict[tuple[str, str], Camera]


def load_metadata(path: Path = METADATA_FILE) -> Metadata:
    """Read this project's metadata.xml or the dataset's official one, which has the same element paths.

    Raises:
        UsageError: the file is missing, is no XML, or an element that is needed is not there.
    """
    with parsed(path) as root:
        naming = read_naming(root)
        joints = sorted(
            (int(text_of(item.find("id"))), text_of(item.find("name")), int(text_of(item.find("parent"))))
            for item in root.findall("skel_pos/tree/item")
        )
        if not joints:
            raise ValueError("sequences, actions, cameras or joints are not in it")
        # Parents count from 1, ids from 0; the root has parent 0, which is no joint.
        joint_parents = tuple(max(parent - 1, 0) for _, _, parent in joints)
        numbers = np.array(root.findtext(".//w0", default="").strip().strip("[]").split(), dtype=np.float64)
        cameras = _cameras(numbers, naming.camera_ids) if len(numbers) else {}
        return Metadata(
            naming.sequences,
            naming.actions,
            naming.camera_ids,
            tuple(name for _, name, _ in joints),
            joint_parents,
            cameras,
        )


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
