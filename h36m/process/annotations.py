"""annot.h5: its datasets, how it is written, and how it is described."""

import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.dataset import ANNOTATIONS_FILE
from h36m.errors import TaskError, UsageError
from h36m.files.hdf5 import reading, writing


class Dataset(NamedTuple):
    """One row of the table of annot.h5; docs/annotations.md has the same table."""

    name: str
    shape: str
    type: str
    unit: str
    coordinates: str
    meaning: str


DATASETS = (
    Dataset("pose/2d", "(N, 32, 2)", "float64", "pixels", "image", "x right, y down, of the 32 joints"),
    Dataset("pose/3d", "(N, 32, 3)", "float64", "mm", "camera", "x right, y down, z forward"),
    Dataset("pose/3d-univ", "(N, 32, 3)", "float64", "mm", "camera", "the same, with one skeleton for all subjects"),
    Dataset("pose/3d-world", "(N, 32, 3)", "float64", "mm", "world", "z up, shared by the four cameras"),
    Dataset("frame", "(N,)", "int64", "", "", "number in the image's name, from 1: frame index of the video + 1"),
    Dataset("camera", "(N,)", "int64", "", "", "id of the camera: 54138969, ..."),
    Dataset("subject", "(N,)", "int64", "", "", "1 for S1, ..."),
    Dataset("action", "(N,)", "int64", "", "", "2 Directions ... 16 WalkingTogether"),
    Dataset("subaction", "(N,)", "int64", "", "", "1 or 2"),
    Dataset(
        "bbox", "(N, 4)", "int32", "pixels", "image", "left, top, right, bottom (the last two exclusive); -1: none"
    ),
    Dataset("intrinsics/<camera>", "(4,)", "float64", "pixels", "image", "fx, cx, fy, cy that fit 2d to 3d best"),
    Dataset("intrinsics-univ/<camera>", "(4,)", "float64", "pixels", "image", "the same for 3d-univ"),
    Dataset("extrinsics/<camera>", "(3, 4)", "float64", "mm", "world to camera", "[R, t]: camera = R world + t"),
    Dataset("calibration/<camera>", "(3, 3)", "float64", "pixels", "camera to image", "K, to use with distortion"),
    Dataset("distortion/<camera>", "(5,)", "float64", "", "", "k1 k2 p1 p2 k3, the order of OpenCV"),
)


def write_annotations(file: Path, datasets: dict[str, np.ndarray], attributes: dict) -> None:
    """Write annot.h5.

    Args:
        file: an existing file is replaced.
        datasets: name -> values, as in DATASETS with the camera's id for `<camera>`.
        attributes: name -> string, number or list of them.

    Raises:
        OSError: it cannot be written.
    """
    with writing(file) as annotations:
        for name, values in datasets.items():
            annotations[name] = values
        for name, value in attributes.items():
            annotations.attrs[name] = value


def read_attributes(file: Path) -> dict:
    """Return the attributes of an annot.h5, or an empty dictionary where there is none to read."""
    try:
        with reading(file) as annotations:
            return dict(annotations.attrs)
    except OSError:
        return {}


def read_frames(file: Path) -> dict[str, list[int]]:
    """Return the frames of each camera that an annot.h5 has, indices from 0; none where they cannot be read."""
    try:
        with reading(file) as annotations:
            cameras, frames = (
                annotations["camera"][...].astype(np.int64),
                annotations["frame"][...].astype(np.int64) - 1,
            )
            return {str(camera): frames[cameras == camera].tolist() for camera in np.unique(cameras)}
    except (OSError, KeyError, ValueError, TypeError, IndexError):  # of another program, or damaged
        return {}


def units() -> list[str]:
    """Return the unit of each dataset that has one, as `name: unit, coordinates`."""
    return [f"{dataset.name}: {dataset.unit}, {dataset.coordinates}" for dataset in DATASETS if dataset.unit]


def describe(file: Path) -> str:
    """Return the attributes of an annot.h5, and a table of its datasets: shape, type, unit, coordinates and meaning.

    Args:
        file: an annot.h5, or the folder of a sequence, which has one.

    Raises:
        UsageError: there is no such file.
        TaskError: it is not an HDF5 file.
    """
    if file.is_dir():
        file /= ANNOTATIONS_FILE
    if not file.is_file():
        raise UsageError(f"{file}: no such file; give a sequence's folder such as processed/S1/Walking-1")
    rows = [("dataset", "shape", "type", "unit", "coordinates", "meaning")]
    try:
        with reading(file) as annotations:
            names: list[str] = []
            annotations.visit(names.append)  # of datasets and groups, sorted
            for known in DATASETS:
                for name in fnmatch.filter(names, known.name.replace("<camera>", "*")):
                    item = annotations[name]
                    rows.append((name, str(item.shape), str(item.dtype), *known[3:]))
            attributes = dict(annotations.attrs)
    except OSError as error:
        raise TaskError(f"{file} cannot be read as HDF5 ({error}): expected an {ANNOTATIONS_FILE}") from error
    lines = []
    for name, value in sorted(attributes.items()):
        if name == "joint_names":
            value = np.array([f"{joint} {joint_name}" for joint, joint_name in enumerate(value)])
        text = "; ".join(map(str, value)) if isinstance(value, np.ndarray) else str(value)
        lines.append(f"{name}: {text.strip()}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join([*lines, "", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)])


def markdown_table() -> str:
    """Return DATASETS as the Markdown table of docs/annotations.md."""
    rows = ["| dataset | shape, type | unit | coordinates | meaning |", "|---|---|---|---|---|"]
    rows += [f"| `{d.name}` | {d.shape} {d.type} | {d.unit} | {d.coordinates} | {d.meaning} |" for d in DATASETS]
    return "\n".join(rows)
