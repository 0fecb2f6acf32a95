"""Names, skeleton and calibration, read from metadata.xml."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h36m.cameras import Camera, rotation_matrix
from h36m.sequences import METADATA_FILE, Naming, parsed, read_naming, text_of

NUMBERS_OF_EXTRINSICS = 6  # three angles, a position
NUMBERS_OF_INTRINSICS = 9  # f f c c k k k p p
SUBJECTS_WITH_CALIBRATION = 11
# Every video of the dataset has one of these sizes: height, width, pixels.
KNOWN_SIZES = ((1000, 1000), (1002, 1000))


@dataclass(frozen=True)
class Metadata(Naming):
    """The content of metadata.xml: the names of `Naming`, and these.

    Attributes:
        joint_names: the 32 joints.
        joint_parents: the index of each joint's parent; the root's is its own.
        cameras: (subject, camera id) -> Camera, for all 11 subjects; empty where the file has no calibration.
        image_sizes: (subject, camera id) -> (height, width), pixels; empty where the file has no sizes, as the official
            one has none.
    """

    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    cameras: dict[tuple[str, str], Camera]
    image_sizes: dict[tuple[str, str], tuple[int, int]]

    def sizes_of(self, subject: str, camera_id: str) -> tuple[tuple[int, int], ...]:
        """Return the sizes (height, width) that a view's video may have: its own, or any known where none is given."""
        size = self.image_sizes.get((subject, camera_id))
        return KNOWN_SIZES if size is None else (size,)


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
        # Parents count from 1, ids from 0; the root has parent 0, which is not a joint.
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
            _image_sizes(root.findall("imagesizes/tr")),
        )


def _image_sizes(rows: list[ElementTree.Element]) -> dict[tuple[str, str], tuple[int, int]]:
    """Read the table `<imagesizes>`: a row of camera ids, then rows of a subject and its sizes, such as 1000 x 1002.

    Raises:
        ValueError: a row is too long or too short, or a cell is not a size.
    """
    if not rows:
        return {}
    _, *camera_ids = [cell.text or "" for cell in rows[0].findall("td")]
    sizes = {}
    for row in rows[1:]:
        subject, *cells = map(text_of, row.findall("td"))
        for camera_id, cell in zip(camera_ids, cells, strict=True):
            width, height = map(int, cell.split("x"))
            sizes[subject, camera_id] = height, width
    return sizes


def _cameras(numbers: np.ndarray, camera_ids: tuple[str, ...]) -> dict[tuple[str, str], Camera]:
    """Parse the list `<w0>`: extrinsics of camera after camera, subject after subject; then intrinsics."""
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
