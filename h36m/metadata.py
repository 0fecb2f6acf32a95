"""Names, skeleton and calibration, read from metadata.xml."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from h36m.dataset import PROJECT, Sequence
from h36m.errors import UsageError

if TYPE_CHECKING:
    from h36m.cameras import Camera

METADATA_FILE = PROJECT / "metadata.xml"

# The mapping of the official file goes on after these with rows of another kind: 16 actions x 2 subactions count.
SEQUENCE_ROWS = 32
# Action 1 is `_ALL`, the rest recordings of a subject; no pose archive has it.
ACTION_NOT_USED = 1
NUMBERS_OF_EXTRINSICS = 6  # three angles, a position
NUMBERS_OF_INTRINSICS = 9  # f f c c k k k p p
SUBJECTS_WITH_CALIBRATION = 11
# Every video of the dataset has one of these sizes: height, width, pixels.
KNOWN_SIZES = ((1000, 1000), (1002, 1000))


@dataclass(frozen=True)
class Metadata:
    """The content of metadata.xml.

    Attributes:
        sequences: (subject, action, subaction) -> the name its files begin with: ("S1", 14, 1) -> "Walking 1".
        actions: action id -> name: 14 -> "Walking".
        camera_ids: the four cameras, in the order of the file.
        joint_names: the 32 joints.
        joint_parents: the index of each joint's parent; the root's is its own.
        angle_channels: where the numbers of a file of joint angles have each joint's angles about x, y and z, from 0;
            () for a joint without angles; empty where the file has no `<skel_angles>`.
        bone_directions: the direction from each joint's parent to it, length 1, in the coordinates of its parent's
            angles; 0 0 0 where both are at one place; empty where the file has no `<skel_angles>`.
        cameras: (subject, camera id) -> Camera, for all 11 subjects; empty where the file has no calibration.
        image_sizes: (subject, camera id) -> (height, width), pixels; empty where the file has no sizes, as the official
            one has none.
    """

    sequences: dict[tuple[str, int, int], str]
    actions: dict[int, str]
    camera_ids: tuple[str, ...]
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    angle_channels: tuple[tuple[int, ...], ...]
    bone_directions: tuple[tuple[float, ...], ...]
    cameras: dict[tuple[str, str], "Camera"]
    image_sizes: dict[tuple[str, str], tuple[int, int]]

    def sequences_of(self, subject: str) -> list[Sequence]:
        """Return a subject's sequences in order: Directions-1, Directions-2, Discussion-1, ..."""
        return [
            Sequence(subject, action, subaction, f"{self.actions[action]}-{subaction}", base)
            for (of_subject, action, subaction), base in sorted(self.sequences.items())
            if of_subject == subject and action != ACTION_NOT_USED
        ]

    def sizes_of(self, subject: str, camera_id: str) -> tuple[tuple[int, int], ...]:
        """Return the sizes (height, width) that a view's video may have: its own, or any known where none is given."""
        size = self.image_sizes.get((subject, camera_id))
        return KNOWN_SIZES if size is None else (size,)


def load_metadata(path: Path = METADATA_FILE, with_cameras: bool = True) -> Metadata:
    """Read this project's metadata.xml or the dataset's official one, which has the same element paths.

    Args:
        with_cameras: False spares scripts that only need names the import of numpy, which takes 0.2 s.

    Raises:
        UsageError: the file is missing, is no XML, or an element that is needed is not there.
    """
    try:
        root = ElementTree.parse(path).getroot()
        header, *rows = root.findall("mapping/tr")
        _, _, *subjects = [cell.text for cell in header.findall("td")]  # the first two are empty
        sequences = {}
        for row in rows[:SEQUENCE_ROWS]:
            action, subaction, *names = map(_text_of, row.findall("td"))
            for subject, name in zip(subjects, names, strict=True):
                sequences[subject or "", int(action), int(subaction)] = name
        actions = {index: _text_of(item) for index, item in enumerate(root.findall("actionnames/item"), start=1)}
        camera_ids = tuple(map(_text_of, root.findall("dbcameras/index2id/item")))
        joints = sorted(
            (int(_text_of(item.find("id"))), _text_of(item.find("name")), int(_text_of(item.find("parent"))))
            for item in root.findall("skel_pos/tree/item")
        )
        angles = sorted((int(_text_of(item.find("id"))), item) for item in root.findall("skel_angles/tree/item"))
        if not (sequences and actions and camera_ids and joints):
            raise ValueError("sequences, actions, cameras or joints are not in it")
        calibration = root.findtext(".//w0", default="").strip().strip("[]").split() if with_cameras else ()
        return Metadata(
            sequences,
            actions,
            camera_ids,
            joint_names=tuple(name for _, name, _ in joints),
            # Parents count from 1, ids from 0; the root has parent 0, which is not a joint.
            joint_parents=tuple(max(parent - 1, 0) for _, _, parent in joints),
            angle_channels=tuple(tuple(int(n) - 1 for n in _numbers(item, "rotInd")) for _, item in angles),
            bone_directions=tuple(_direction(_numbers(item, "offset")) for _, item in angles),
            cameras=_cameras(list(map(float, calibration)), camera_ids) if calibration else {},
            image_sizes=_image_sizes(root.findall("imagesizes/tr")),
        )
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; restore it next to the scripts (git checkout metadata.xml)") from None
    except (ElementTree.ParseError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"{path} cannot be read as the dataset's metadata ({error}); restore the project's or the official one"
        ) from error


def _text_of(element: ElementTree.Element | None) -> str:
    if element is None or not element.text:
        raise ValueError("an element is missing or empty")
    return element.text


def _numbers(item: ElementTree.Element, name: str) -> list[float]:
    """Read numbers such as `[5 6 4]`; an empty element has none."""
    return list(map(float, item.findtext(name, default="").strip("[]").split()))


def _direction(offset: list[float]) -> tuple[float, ...]:
    """Return a vector of length 1 in the direction of an offset, or zeros for an offset of zeros."""
    length = math.hypot(*offset)
    return tuple(number / (length or 1) for number in offset)


def _image_sizes(rows: list[ElementTree.Element]) -> dict[tuple[str, str], tuple[int, int]]:
    """Read the table `<imagesizes>`: a row of camera ids, then rows of a subject and its sizes, such as 1000 x 1002."""
    sizes = {}
    for row in rows[1:]:
        subject, *cells = map(_text_of, row.findall("td"))
        for camera_id, cell in zip(rows[0].findall("td")[1:], cells, strict=True):
            width, height = map(int, cell.split("x"))
            sizes[subject, _text_of(camera_id)] = height, width
    return sizes


def _cameras(numbers: list[float], camera_ids: tuple[str, ...]) -> dict[tuple[str, str], "Camera"]:
    """Parse the list `<w0>`: extrinsics of camera after camera, subject after subject; then intrinsics."""
    import numpy as np

    from h36m.cameras import Camera, rotation_matrix

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
