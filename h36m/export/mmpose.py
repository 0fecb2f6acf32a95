"""mmpose's Human36mDataset: rows of one view and frame, at 10 and at 50 frames/s, with statistics, cameras and images.

annotation_body3d/fps50/h36m_train.npz   imgname, center, scale, part, S: one row for each view and frame
annotation_body3d/fps10/h36m_train.npz   the same of every fifth frame
annotation_body3d/fps10/joint3d_stats.pkl ...
annotation_body3d/cameras.pkl
images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg
"""

import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from h36m.dataset import MOVING_JOINTS, POSES_2D, POSES_3D, Sequence
from h36m.export.links import link_images, name_missing_images, processed_frames
from h36m.export.pickles import write_pickle
from h36m.export.shared import (
    TEST_SUBJECTS,
    TRAINING_SUBJECTS,
    Job,
    camera_center,
    published_poses,
    unpacked_sequences,
)
from h36m.metadata import Metadata

READ_BY = "mmpose (Human36mDataset: VideoPose3D, MotionBERT, SimpleBaseline3D configs and top-down ones)"
KINDS = (POSES_2D, POSES_3D)
USES_PROCESSED = True
IMAGE_FOLDERS = "images/S*/*"

STEPS = {"fps50": 1, "fps10": 5}  # of the dataset's 50 frames/s
SETS = {"train": TRAINING_SUBJECTS, "test": TEST_SUBJECTS}
MM_PER_M = 1000
BOX_MARGIN, SCALE_PIXELS = 1.2, 200  # a person's size in mmpose: of the box, with a margin, in units of 200 pixels


class Column(NamedTuple):
    """One array of an npz."""

    name: str
    type: str
    shape: tuple[int, ...]  # of a row


def export(job: Job) -> int:
    """Write rows, statistics and cameras, and link the images that processed/ has.

    A view whose files do not agree is left out of all arrays, so that rows stay aligned.

    Returns:
        how many views were exported.
    """
    count = 0
    names = [frame_name(sequence, camera, 0) for sequence, camera in all_views(job.metadata, job.subjects)]
    columns = [
        Column("imgname", f"<U{max(map(len, names), default=1)}", ()),
        Column("center", "<f8", (2,)),
        Column("scale", "<f8", ()),
        Column("part", "<f8", (len(MOVING_JOINTS), 3)),
        Column("S", "<f8", (len(MOVING_JOINTS), 4)),
    ]
    folder = job.unfinished / "annotation_body3d"
    tables = {
        (rate, name): Table(folder / rate / f"h36m_{name}.npz", columns)
        for rate in STEPS
        for name, subjects in SETS.items()
        if set(subjects) & set(job.subjects)
    }
    statistics = {rate: Statistics() for rate in STEPS}
    for sequence in unpacked_sequences(job, KINDS):
        name = "train" if sequence.subject in TRAINING_SUBJECTS else "test"
        for camera in job.metadata.camera_ids:
            rows = rows_of_view(job, sequence, camera)
            if rows is None:
                continue
            for rate, step in STEPS.items():
                chosen = [values[::step] for values in rows]
                tables[rate, name].add(chosen)
                if name == "train":
                    statistics[rate].add(chosen[3][..., :2], chosen[4][..., :3])
            frames = processed_frames(job, sequence, camera)
            link_images(job, sequence, camera, frames, partial(frame_name, sequence, camera))
            # No problem: lifters read no images, and whoever trains from images may want another rate.
            customary = set(range(0, len(rows[0]), STEPS["fps10"]))
            name_missing_images(job, job.unneeded, sequence, customary - set(frames), STEPS["fps10"])
            count += 1
    for table in tables.values():
        table.close()
    for rate in STEPS:
        if set(TRAINING_SUBJECTS) & set(job.subjects):
            statistics[rate].write(folder / rate)
    write_pickle(folder / "cameras.pkl", cameras(job))
    return count


def all_views(metadata: Metadata, subjects: tuple[str, ...]) -> list[tuple[Sequence, str]]:
    return [
        (sequence, camera)
        for subject in subjects
        for sequence in metadata.sequences_of(subject)
        for camera in metadata.camera_ids
    ]


def frame_name(sequence: Sequence, camera: str, frame: int) -> str:
    """Return a frame's name in `imgname`, which mmpose takes apart; the base is as the file is called."""
    view = f"{sequence.subject}_{sequence.base.replace(' ', '_')}.{camera}"
    return f"{sequence.subject}/{view}/{view}_{frame + 1:06d}.jpg"


def rows_of_view(job: Job, sequence: Sequence, camera: str) -> list[np.ndarray] | None:
    """Return the columns' values for all frames of a view; None where its files are missing or do not agree."""
    pose_2d = published_poses(job, sequence, POSES_2D, camera)
    pose_3d = published_poses(job, sequence, POSES_3D, camera)
    if pose_2d is None or pose_3d is None:
        return None
    if len(pose_2d) != len(pose_3d):
        counts = f"{len(pose_2d)} poses in {POSES_2D}, {len(pose_3d)} in {POSES_3D}"
        job.problem(f"{sequence} {camera}: left out: {counts}; unpack both archives again")
        return None
    pose_2d, pose_3d = pose_2d[:, MOVING_JOINTS], pose_3d[:, MOVING_JOINTS] / MM_PER_M
    low, high = pose_2d.min(axis=1), pose_2d.max(axis=1)
    return [
        np.array([frame_name(sequence, camera, frame) for frame in range(len(pose_2d))]),
        (low + high) / 2,
        BOX_MARGIN * (high - low).max(axis=1) / SCALE_PIXELS,
        np.concatenate([pose_2d, np.ones((*pose_2d.shape[:2], 1))], axis=2),
        np.concatenate([pose_3d, np.ones((*pose_3d.shape[:2], 1))], axis=2),
    ]


class Table:
    """An uncompressed npz whose arrays grow row by row: all rows of the dataset at once would take 2 GB of memory."""

    def __init__(self, file: Path, columns: list[Column]):
        self.file, self.columns, self.count = file, columns, 0
        file.parent.mkdir(parents=True, exist_ok=True)
        self.parts = [file.with_name(f"{file.stem}.{column.name}").open("w+b") for column in columns]

    def add(self, rows: list[np.ndarray]) -> None:
        """Append rows, an array (rows, ...) for each column."""
        self.count += len(rows[0])
        for part, column, values in zip(self.parts, self.columns, rows, strict=True):
            part.write(np.ascontiguousarray(values, dtype=column.type).data)

    def close(self) -> None:
        """Write the npz, and remove the files that its arrays were gathered in."""
        with zipfile.ZipFile(self.file, "w", zipfile.ZIP_STORED) as npz:
            for part, column in zip(self.parts, self.columns, strict=True):
                header = {"descr": column.type, "fortran_order": False, "shape": (self.count, *column.shape)}
                with npz.open(f"{column.name}.npy", "w", force_zip64=True) as array:
                    np.lib.format.write_array_header_1_0(array, header)
                    part.seek(0)
                    shutil.copyfileobj(part, array, 1 << 20)
                part.close()
                Path(part.name).unlink()


class Statistics:
    """Mean and standard deviation of joints over rows that come view by view; read by people only.

    Of two groups' sums of squares by Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979): stable for millions of rows.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}  # rows, mean, sum of squared deviations

    def add(self, joints_2d: np.ndarray, joints_3d: np.ndarray) -> None:
        """Add rows: (rows, 17, 2) pixels and (rows, 17, 3) m, camera coordinates."""
        for name, joints in (("joint2d", joints_2d), ("joint3d", joints_3d)):
            self._add(name, joints)
            self._add(f"{name}_rel", joints[:, 1:] - joints[:, :1])

    def _add(self, name: str, values: np.ndarray) -> None:
        count, mean = len(values), values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        if name in self.sums:
            before, mean_before, squares_before = self.sums[name]
            apart, total = mean - mean_before, before + count
            squares = squares_before + squares + apart**2 * before * count / total
            count, mean = total, mean_before + apart * count / total
        self.sums[name] = count, mean, squares

    def write(self, folder: Path) -> None:
        """Write `joint3d_stats.pkl` and so on."""
        for name, (count, mean, squares) in self.sums.items():
            write_pickle(folder / f"{name}_stats.pkl", {"mean": mean, "std": np.sqrt(squares / count)})


def cameras(job: Job) -> dict[tuple[str, str], dict]:
    """Return the cameras of all subjects; R is ours transposed and T the camera's place in m: X = R^T (world - T)."""
    # As in mmpose's own file, which normalizes by them, though all of S7's frames are 1002 pixels high.
    heights = {"54138969": 1002, "55011271": 1000, "58860488": 1000, "60457274": 1002}
    return {
        (subject, camera_id): {
            "R": camera.rotation.T,
            "T": camera_center(camera)[:, None] / MM_PER_M,
            "c": camera.principal_point[:, None],
            "f": camera.focal_length[:, None],
            "k": camera.radial[:, None],
            "p": camera.tangential[:, None],
            "w": 1000,
            "h": heights[camera_id],
            "name": f"camera{job.metadata.camera_ids.index(camera_id) + 1}",
            "id": camera_id,
        }
        for (subject, camera_id), camera in job.metadata.cameras.items()
    }
