"""A small synthetic release of the dataset: real formats, real folder layout, invented content."""

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import av
import h5py
import numpy as np

from demo import figure
from h36m.cameras import project, to_camera
from h36m.dataset import (
    BOXES,
    KIND_FACTS,
    KINDS,
    PART_LABELS,
    POSES_2D,
    POSES_3D,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    VIDEOS,
    Archive,
)
from h36m.files.cdf import pycdf
from h36m.metadata import load_metadata

FRAMES_PER_SECOND = 50
# How much larger than the universal skeleton each synthetic subject is.
SIZES = {"S1": 1.03, "S9": 1.08}
VIEWS = 4
# As in the real cameras' order and frame counts: videos are some frames longer than the poses.
SPARE_FRAMES = (1, 4, 4, 1)
# The ground truth of three S9 sequences is wrong as in the real release.
SHIFTED = {("S9", "Greeting-2"), ("S9", "SittingDown-2"), ("S9", "Waiting-1")}
SHIFT_MM = np.array([200.0, 0.0, 0.0])


class Recording(NamedTuple):
    """One sequence of a release."""

    subject: str
    name: str  # Walking-1
    frames: int  # of its poses


DEMO = (
    Recording("S1", "Greeting-2", 90),
    Recording("S1", "Walking-1", 120),
    Recording("S9", "Greeting-2", 130),
    Recording("S9", "Walking-1", 150),
)
# The same sequences with as few frames as show every rule: S9's Walking-1 has a second frame by the rule for tests.
SHORT_DEMO = (
    Recording("S1", "Greeting-2", 14),
    Recording("S1", "Walking-1", 24),
    Recording("S9", "Greeting-2", 14),
    Recording("S9", "Walking-1", 66),
)


def make_release(
    folder: Path,
    recordings: Sequence[Recording] = DEMO,
    jobs: int = 2,
    on_frames: Callable[[int], object] = lambda count: None,
) -> None:
    """Write the seven archives of each subject into a folder, as the site has them, and `checksums.txt` next to them.

    Args:
        on_frames: called with the number of frames of each view, once the view is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unpacked, ProcessPoolExecutor(jobs) as pool:
        frames = {
            pool.submit(make_view, Path(unpacked), recording, view): recording.frames
            for recording in recordings
            for view in range(VIEWS)
        }
        for future in as_completed(frames):
            future.result()
            on_frames(frames[future])
        tasks = [
            pool.submit(pack, Path(unpacked), folder, kind, subject)
            for subject in subjects(recordings)
            for kind in KINDS
        ]
        lines = [task.result() for task in tasks]
    (folder / "checksums.txt").write_text("".join(lines))


def subjects(recordings: Sequence[Recording]) -> list[str]:
    """Return the subjects of some recordings, each once."""
    return list(dict.fromkeys(recording.subject for recording in recordings))


def pack(unpacked: Path, folder: Path, kind: str, subject: str) -> str:
    """Pack one archive; return its line for checksums.txt."""
    archive = folder / Archive(kind, subject).file_name
    inner = f"{subject}/{KIND_FACTS[kind].inner_folder}"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(unpacked / inner, inner)
    return f"{hashlib.md5(archive.read_bytes()).hexdigest()}  archives/{archive.name}\n"


def make_view(folder: Path, recording: Recording, view: int) -> None:
    """Write what one camera has of a recording: poses, video, boxes and part labels."""
    metadata = load_metadata()
    subject, name, count = recording
    (base,) = (sequence.base for sequence in metadata.sequences_of(subject) if sequence.name == name)
    camera_id = metadata.camera_ids[view]
    camera = metadata.cameras[subject, camera_id]
    video_frames = count + SPARE_FRAMES[view]
    size = metadata.image_sizes[subject, camera_id]

    start = 0.5 * len(name) + 2.0 * (subject == "S9")
    seen = figure.poses_in_world(
        video_frames, name.startswith("Walking"), SIZES[subject], metadata.joint_parents, start
    )
    shifted = SHIFT_MM * ((subject, name) in SHIFTED)
    world = (seen[:count] + shifted).astype(np.float32)
    pose_3d = to_camera(world.astype(np.float64), camera)

    def file(kind: str) -> Path:
        facts = KIND_FACTS[kind]
        path = folder / subject / facts.inner_folder / f"{base}.{camera_id}{facts.extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    write_cdf(file(POSES_2D), project(pose_3d, camera))
    write_cdf(file(POSES_3D), pose_3d)
    # A skeleton of another size, farther away or nearer by as much, looks the same to the camera.
    write_cdf(file(POSES_3D_UNIVERSAL), pose_3d / SIZES[subject])
    if view == 0:
        world_file = file(POSES_3D_WORLD)
        write_cdf(world_file.with_name(f"{base}.cdf"), world)

    background = figure.draw_background(camera, size)
    labels = (figure.draw_part_labels(pose, camera, size) for pose in to_camera(seen, camera))
    with (
        av.open(str(file(VIDEOS)), "w") as video,
        open_mat(file(BOXES), "Masks", count) as masks,
        open_mat(file(PART_LABELS), "Feat", count) as parts,
    ):
        stream = video.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "superfast", "crf": "20"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number, label in enumerate(labels):
            image = figure.draw_frame(background, label, number)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            if number < count:
                # Boxes come from the ground truth, right or wrong.
                published = figure.draw_part_labels(pose_3d[number], camera, size) if shifted.any() else label
                add_cell(masks, "Masks", number, box_mask(published))
                add_cell(parts, "Feat", number, label)
        video.mux(stream.encode(None))


def write_cdf(file: Path, poses: np.ndarray) -> None:
    """Write poses (frames, 32, coordinates) as the dataset's CDF files hold them: one variable `Pose`, float32."""
    with pycdf.CDF(str(file), create=True) as cdf:
        cdf.new("Pose", data=poses.reshape(1, len(poses), -1), type=pycdf.const.CDF_FLOAT)


def open_mat(file: Path, variable: str, cells: int) -> h5py.File:
    """Start a MATLAB v7.3 file with a cell array (cells, 1) of nothing yet: HDF5 after a block of 512 bytes of text."""
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by a demo HDF5 schema 1.00 .".ljust(116)
    header += bytes(8) + b"\x00\x02IM"  # no subsystem, version 2.0, little-endian
    with h5py.File(file, "w", userblock_size=512):
        pass
    with file.open("r+b") as block:
        block.write(header)
    mat = h5py.File(file, "r+")
    array = mat.create_dataset(variable, (cells, 1), dtype=h5py.ref_dtype)
    array.attrs["MATLAB_class"] = np.bytes_("cell")
    mat.create_group("#refs#")
    return mat


def add_cell(mat: h5py.File, variable: str, number: int, array: np.ndarray | None) -> None:
    """Store an array (height, width) in a cell as MATLAB does: transposed, compressed; None for an empty one."""
    references = mat["#refs#"]
    if array is None:
        cell = references.create_dataset(f"c{number}", data=np.zeros(2, np.uint64))
        cell.attrs["MATLAB_empty"] = np.uint8(1)
    else:
        cell = references.create_dataset(
            f"c{number}", data=array.T, chunks=array.T.shape, compression="gzip", compression_opts=1
        )
    cell.attrs["MATLAB_class"] = np.bytes_("uint8")
    mat[variable][number, 0] = cell.ref


def box_mask(labels: np.ndarray) -> np.ndarray:
    """Return 1 inside the box around all parts of the body, 0 outside."""
    mask = np.zeros_like(labels)
    rows, columns = np.flatnonzero(labels.any(axis=1)), np.flatnonzero(labels.any(axis=0))
    if len(rows):
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    return mask
