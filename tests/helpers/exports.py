"""The expected contents of exports, built from CDF files and metadata.xml row by row, without h36m.export."""

import json
import pickletools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.facts import human36m_projection
from helpers.poses import CAMERA, CAMERA_IDS, J17, PIXELS, WORLD, Sequence, calibrations, read

import export_all

TRAIN, TEST = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
HEIGHTS = (1002, 1000, 1000, 1002)
DAMAGED = Sequence("S11", 2, 2, "Directions")  # the video of its first camera is damaged in old copies
PIXEL_TOLERANCE = 1e-3


def run_export(root: Path, name: str, out: Path, subjects) -> list[str]:
    """Run export_all.py in this process for one format and some subjects; return the lines about what is missing."""
    words = [name, "--root", root, "--out", out, "--quiet", "--subjects", *subjects]
    return export_all.main(export_all.build_parser().parse_args(list(map(str, words))))


def files_in(folder: Path) -> set[str]:
    """Return the files below a folder, those whose names begin with a dot left out."""
    names = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
    return {name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)}


def assert_same(found: np.ndarray, expected: np.ndarray, tolerance: float = 0) -> None:
    """Compare type, shape and values, exactly unless a tolerance is given."""
    assert isinstance(found, np.ndarray) and (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if tolerance:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)


def assert_old_programs_can_unpickle(content: bytes) -> None:
    """Tell that no new version is needed: numpy._core is in numpy from 1.26 on, protocol 5 in Python from 3.8 on."""
    operations = [(operation.name, argument) for operation, argument, _ in pickletools.genops(content)]
    assert not [argument for _, argument in operations if isinstance(argument, str) and "numpy._core" in argument]
    assert dict(operations)["PROTO"] <= 4


def mmpose_name(sequence: Sequence, camera_id: str, frame: int) -> str:
    """Return a frame's name; frames count from 0, names from 1."""
    name = f"{sequence.subject}_{sequence.base.replace(' ', '_')}.{camera_id}"
    return f"{sequence.subject}/{name}/{name}_{frame + 1:06d}.jpg"


def mmpose_rows(root: Path, chosen: list[Sequence], step: int, without=()) -> dict[str, np.ndarray]:
    """Build the five arrays of one npz, row by row.

    Args:
        chosen: the sequences, in order.
        step: 5 for every 5th frame.
        without: views (sequence, camera) to leave out.
    """
    rows = {"imgname": [], "center": [], "scale": [], "part": [], "S": []}
    for sequence in chosen:
        for camera_id in CAMERA_IDS:
            if (sequence, camera_id) in without:
                continue
            pixels = read(root / "extracted", PIXELS, sequence, camera_id)[:, J17].astype(float)
            seen = read(root / "extracted", CAMERA, sequence, camera_id)[:, J17].astype(float)
            for frame in range(0, len(pixels), step):
                rows["imgname"].append(mmpose_name(sequence, camera_id, frame))
                (left, top), (right, bottom) = pixels[frame].min(axis=0), pixels[frame].max(axis=0)
                rows["center"].append(((left + right) / 2, (top + bottom) / 2))
                rows["scale"].append(1.2 * max(right - left, bottom - top) / 200)
                rows["part"].append(pixels[frame])
                rows["S"].append(seen[frame] / 1000)
    found = {name: np.array(values) for name, values in rows.items()}
    return found | {name: np.pad(found[name], [(0, 0), (0, 0), (0, 1)], constant_values=1) for name in ("part", "S")}


def assert_mmpose_npz(file: Path, expected: dict[str, np.ndarray]) -> None:
    """Compare a file with what mmpose_rows() returns."""
    with np.load(file) as arrays:
        assert arrays.files == ["imgname", "center", "scale", "part", "S"]
        found = {name: arrays[name] for name in arrays.files}
    assert found["imgname"].dtype.kind == "U" and found["imgname"].tolist() == expected["imgname"].tolist()
    for name, tolerance in (("center", 1e-9), ("scale", 1e-9), ("part", 0), ("S", 1e-6)):
        assert_same(found[name], expected[name], tolerance)


MOON_NAMES = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown"),
    *("Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether"),
)


def moon_json(folder: Path, subject: str, name: str) -> dict:
    """Read one of a subject's three files."""
    return json.loads((folder / "annotations" / f"Human36M_subject{subject[1:]}_{name}.json").read_text())


def moon_name(sequence: Sequence, view: int, frame: int) -> str:
    """Return an image's name; views and frames count from 0, names from 1."""
    name = f"s_{sequence.subject[1:]:0>2}_act_{sequence.action:02}_subact_{sequence.subaction:02}_ca_{view + 1:02}"
    return f"{name}/{name}_{frame + 1:06}.jpg"


def loaded_frames(_: Sequence, count: int) -> list[int]:
    """Return the frames that a loader reads, to train with or to test with: protocol 1 trains with S9 too."""
    return sorted({*range(0, count, 5), *range(0, count, 64)})


def moon_rows(
    root: Path,
    chosen: list[Sequence],
    frames: Callable[[Sequence, int], list[int]] = loaded_frames,
) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Build each image's record without its id, its box and its visible joints.

    Args:
        chosen: the sequences, in order.
        frames: tells which of how many frames of a sequence have records.
    """
    rows, cameras = [], calibrations()
    for sequence in chosen:
        for view, camera_id in enumerate(CAMERA_IDS):
            if (sequence, view) == (DAMAGED, 0):
                continue
            camera = cameras[sequence.subject, camera_id]
            world = read(root / "extracted", WORLD, sequence)[:, J17].astype(float)
            seen = (world - camera.centre) @ camera.rotation.T
            pixels = human36m_projection(seen, camera.matrix, np.zeros(5))
            for frame in frames(sequence, len(world)):
                record = {
                    "file_name": moon_name(sequence, view, frame),
                    "width": 1000,
                    "height": HEIGHTS[view],
                    "subject": int(sequence.subject[1:]),
                    "action_name": MOON_NAMES[sequence.action - 2],
                    "action_idx": sequence.action,
                    "subaction_idx": sequence.subaction,
                    "cam_idx": view + 1,
                    "frame_idx": frame,
                }
                low, high = pixels[frame].min(axis=0), pixels[frame].max(axis=0)
                size = 1.2 * (high - low - 1)
                visible = ((pixels[frame] >= 0) & (pixels[frame] < (1000, HEIGHTS[view]))).all(axis=1)
                rows.append((record, np.r_[(low + high) / 2 - size / 2, size], visible))
    return rows


def assert_moon_data(found: dict, expected: list[tuple[dict, np.ndarray, np.ndarray]]) -> None:
    """Compare a _data.json with what moon_rows() returns."""
    assert list(found) == ["images", "annotations"]
    assert len(found["images"]) == len(found["annotations"]) == len(expected)
    for image, annotation, (record, box, visible) in zip(*found.values(), expected, strict=True):
        assert image == {"id": image["id"], **record}
        assert [type(image[key]) for key in ("id", "width", "height", "frame_idx")] == [int] * 4
        assert set(annotation) == {"id", "image_id", "bbox", "keypoints_vis"}
        assert annotation["image_id"] == image["id"] and type(annotation["id"]) is int
        assert [type(number) for number in annotation["bbox"]] == [float] * 4
        np.testing.assert_allclose(annotation["bbox"], box, rtol=0, atol=PIXEL_TOLERANCE)
        assert [type(is_visible) for is_visible in annotation["keypoints_vis"]] == [bool] * 17
        assert annotation["keypoints_vis"] == visible.tolist()
