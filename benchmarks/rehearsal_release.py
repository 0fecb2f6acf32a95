"""A synthetic release of the dataset with the true names, shapes and frame counts, packed as the site packs it.

A few films are encoded once and repeated by copying their packets, so that 12 hours of video take minutes to make.
"""

import hashlib
import itertools
import shutil
import tarfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import av
import h5py
import numpy as np
from common import read_frame_counts
from films import CODECS, FRAMES_PER_SECOND, HEIGHTS, WIDTH, cropped, film

from demo import figure
from demo.release import box_mask, open_mat, write_cdf
from h36m.cameras import project, to_camera
from h36m.dataset import (
    ARCHIVE_EXTENSION,
    BOXES,
    KIND_FACTS,
    PART_LABELS,
    POSES_2D,
    POSES_3D,
    POSES_3D_UNIVERSAL,
    POSES_3D_WORLD,
    VIDEOS,
    Archive,
    Sequence,
    unpacked_file_name,
)
from h36m.metadata import load_metadata

POSES = (POSES_2D, POSES_3D_WORLD, POSES_3D, POSES_3D_UNIVERSAL)
SEGMENTS = (BOXES, PART_LABELS)
FRAME_SECONDS = Fraction(1, FRAMES_PER_SECOND)
FILMS = 3
# Less texture than in process.py: JPEG files of 0.15 MB, so that the frames of all subjects fit on a disk of 100 GB.
FINE_TEXTURE = 4
# Frames of the pieces of film that a video is made of: many of the first, then each of the others once at most.
PIECES = (250, 128, 64, 32, 16, 8, 4, 2, 1)
# How fast people move, of the demo's walk and of its waving: walking keeps its pace, who sits moves little. Synthetic,
# and so fast that the default rule keeps as many frames as of the real training subjects: 0.4 of them.
PACE = {
    "Walking": 3.7,
    "WalkingTogether": 3.2,
    "WalkingDog": 3.2,
    "Greeting": 1.1,
    "Posing": 0.64,
    "Directions": 0.64,
    "Discussion": 0.64,
    "Purchases": 0.8,
    "TakingPhoto": 0.53,
    "Waiting": 0.37,
}
PACE_OF_OTHERS = 0.25  # eating, phoning, sitting, smoking
# Subjects pause and hurry: the pace varies by this share, with a period of so many frames.
PACE_SWING, SWING_FRAMES = 0.9, 300
SIZES = {"S1": 1.03, "S5": 0.97, "S6": 1.01, "S7": 1.05, "S8": 1.06, "S9": 1.08, "S11": 0.99}
MASKS = 8  # number of different masks and labels that a view repeats


class Piece(NamedTuple):
    """Some frames of a film that can be decoded without any others."""

    frames: int
    packets: list[tuple[bytes, int, bool]]  # in decoding order: data, index of the frame, whether it is a key frame


def make_release(folder: Path, subjects: Iterable[str], codec: str, divisor: int, jobs: int) -> None:
    """Write the archives of some subjects into a folder, and `checksums.txt` next to them.

    Args:
        folder: of the archives; a new one.
        subjects: "S1", ...
        codec: a key of CODECS.
        divisor: of all frame counts.
        jobs: archives that are made at a time.
    """
    folder.mkdir(parents=True)
    films = folder / "films"
    subjects = list(subjects)
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(partial(encode_film, films, codec), range(FILMS)))
        tasks = [pool.submit(make_videos, folder, films, subject, divisor) for subject in subjects]
        tasks += [pool.submit(make_segments, folder, subject, divisor) for subject in subjects]
        tasks += [pool.submit(make_poses, folder, subject, divisor) for subject in subjects]
        for task in tasks:
            task.result()
    archives = sorted(folder.glob(f"*{ARCHIVE_EXTENSION}"))
    lines = [f"{archive.with_suffix('.md5').read_text()}  archives/{archive.name}\n" for archive in archives]
    (folder / "checksums.txt").write_text("".join(lines))


def pack(made: Path, folder: Path, subject: str, kind: str) -> None:
    """Pack what was made of one archive, and delete it."""
    inner = f"{subject}/{KIND_FACTS[kind].inner_folder}"
    archive = folder / Archive(kind, subject).file_name
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(made / inner, inner)
    shutil.rmtree(made / inner)
    with archive.open("rb") as file:
        md5 = hashlib.md5()
        while block := file.read(2**20):
            md5.update(block)
    archive.with_suffix(".md5").write_text(md5.hexdigest())


def start_archive(folder: Path, subject: str, kind: str) -> Path:
    """Make the folder for the files of an archive; return the one that has all such folders."""
    made = folder / "making"
    (made / subject / KIND_FACTS[kind].inner_folder).mkdir(parents=True)
    return made


def file_of(made: Path, sequence: Sequence, kind: str, camera: str = "") -> Path:
    """Return the path of a file as the archive has it: S1/Videos/Walking 1.54138969.mp4."""
    folder = made / sequence.subject / KIND_FACTS[kind].inner_folder
    return folder / unpacked_file_name(sequence, kind, camera)


# -- videos ------------------------------------------------------------------------------------------------------------


def encode_film(films: Path, codec: str, number: int) -> None:
    """Encode the pieces of a film in both heights, each as a video `HEIGHT-NUMBER-FRAMES.mp4`."""
    films.mkdir(exist_ok=True)
    frames = list(film(max(PIECES), seed=number, fine_texture=FINE_TEXTURE))
    encoder, options = CODECS[codec]
    for height, count in itertools.product(HEIGHTS, PIECES):
        file = films / f"{height}-{number}-{count}.mp4"
        with av.open(str(file), "w") as video:
            stream = video.add_stream(encoder, rate=FRAMES_PER_SECOND, options=options)
            stream.width, stream.height, stream.pix_fmt = WIDTH, height, "yuv420p"
            for frame in frames[:count]:
                video.mux(stream.encode(cropped(frame, height)))
            video.mux(stream.encode(None))


@lru_cache
def read_piece(file: Path) -> Piece:
    """Read the packets of a piece of film."""
    with av.open(str(file)) as video:
        stream = video.streams.video[0]
        step = stream.time_base * FRAMES_PER_SECOND
        packets = [(bytes(p), round(p.pts * step), p.is_keyframe) for p in video.demux(stream) if p.size]
    return Piece(len(packets), packets)


def write_video(file: Path, films: Path, height: int, number: int, frames: int) -> None:
    """Write a video of so many frames from the pieces of a film."""
    repeats, rest = divmod(frames, PIECES[0])
    lengths = [PIECES[0]] * repeats
    for length in PIECES[1:]:
        if rest >= length:
            lengths.append(length)
            rest -= length
    template = films / f"{height}-{number}-{PIECES[0]}.mp4"
    with av.open(str(template)) as source, av.open(str(file), "w") as video:
        stream = video.add_stream_from_template(source.streams.video[0])
        # How many frames are decoded before the first one is shown: with B-frames that are references, two.
        delay = 2 if source.streams.video[0].codec_context.has_b_frames else 0
        first = 0
        for length in lengths:
            piece = read_piece(films / f"{height}-{number}-{length}.mp4")
            for order, (data, index, is_key_frame) in enumerate(piece.packets):
                packet = av.Packet(data)
                packet.stream = stream
                packet.time_base = FRAME_SECONDS
                packet.pts, packet.dts = first + index, first + order - delay
                packet.duration, packet.is_keyframe = 1, is_key_frame
                video.mux(packet)
            first += piece.frames


def make_videos(folder: Path, films: Path, subject: str, divisor: int) -> None:
    """Make the archive of a subject's videos."""
    made = start_archive(folder, subject, VIDEOS)
    metadata, counts = load_metadata(), read_frame_counts(divisor)
    for sequence in metadata.sequences_of(subject):
        for camera, frames in counts[subject, sequence.action, sequence.subaction].frames.items():
            height, _ = metadata.image_sizes[subject, camera]
            write_video(file_of(made, sequence, VIDEOS, camera), films, height, sequence.action % FILMS, frames)
    pack(made, folder, subject, VIDEOS)


# -- poses -------------------------------------------------------------------------------------------------------------


def poses_of(sequence: Sequence, frames: int) -> np.ndarray:
    """Return the poses of a sequence, (frames, 32, 3) float32, mm, world coordinates."""
    action = sequence.name.partition("-")[0]
    pace = PACE.get(action, PACE_OF_OTHERS)
    number = np.arange(frames)
    # The integral of the pace: how far in the movement each frame is.
    swing = SWING_FRAMES / (2 * np.pi)
    time = pace * (number + PACE_SWING * swing * np.sin(number / swing))
    walks = action.startswith("Walk")
    moves = figure.poses_in_world(
        int(time.max()) + 2, walks, SIZES[sequence.subject], load_metadata().joint_parents, float(sequence.action)
    )
    before = time.astype(int)
    part = (time - before)[:, None, None]
    return ((1 - part) * moves[before] + part * moves[before + 1]).astype(np.float32)


def make_poses(folder: Path, subject: str, divisor: int) -> None:
    """Make the four archives of a subject's poses."""
    metadata, counts = load_metadata(), read_frame_counts(divisor)
    made = folder / "making"
    for kind in POSES:  # all four kinds are made from the same movement
        start_archive(folder, subject, kind)
    for sequence in metadata.sequences_of(subject):
        frames = counts[subject, sequence.action, sequence.subaction].poses
        world = poses_of(sequence, frames)
        write_cdf(file_of(made, sequence, POSES_3D_WORLD), world)
        for camera_id in metadata.camera_ids:
            camera = metadata.cameras[subject, camera_id]
            poses = to_camera(world.astype(np.float64), camera)
            write_cdf(file_of(made, sequence, POSES_2D, camera_id), project(poses, camera))
            write_cdf(file_of(made, sequence, POSES_3D, camera_id), poses)
            write_cdf(file_of(made, sequence, POSES_3D_UNIVERSAL, camera_id), poses / SIZES[subject])
    for kind in POSES:
        pack(made, folder, subject, kind)


# -- boxes and part labels ---------------------------------------------------------------------------------------------


def make_segments(folder: Path, subject: str, divisor: int) -> None:
    """Make the archives of a subject's boxes and part labels: each view repeats a few masks, compressed once."""
    metadata, counts = load_metadata(), read_frame_counts(divisor)
    for kind, variable in ((BOXES, "Masks"), (PART_LABELS, "Feat")):
        made = start_archive(folder, subject, kind)
        for sequence in metadata.sequences_of(subject):
            frames = counts[subject, sequence.action, sequence.subaction].poses
            moments = np.linspace(0, frames - 1, MASKS).astype(int)
            world = poses_of(sequence, frames)[moments].astype(np.float64)
            for camera_id in metadata.camera_ids:
                camera, size = metadata.cameras[subject, camera_id], metadata.image_sizes[subject, camera_id]
                labels = [figure.draw_part_labels(pose, camera, size) for pose in to_camera(world, camera)]
                arrays = [box_mask(label) for label in labels] if kind == BOXES else labels
                write_cells(file_of(made, sequence, kind, camera_id), variable, arrays, frames)
        pack(made, folder, subject, kind)


def write_cells(file: Path, variable: str, arrays: list[np.ndarray], frames: int) -> None:
    """Write a MATLAB v7.3 file with a cell for each frame, repeating some arrays (height, width)."""
    shape = arrays[0].T.shape
    compressed = [zlib.compress(np.ascontiguousarray(array.T), 1) for array in arrays]
    with open_mat(file, variable, frames) as mat:
        group, references = mat["#refs#"], []
        for number in range(frames):
            cell = group.create_dataset(
                f"c{number}", shape, np.uint8, chunks=shape, compression="gzip", compression_opts=1
            )
            cell.id.write_direct_chunk((0, 0), compressed[number * len(compressed) // frames])
            cell.attrs["MATLAB_class"] = np.bytes_("uint8")
            references.append(cell.ref)
        mat[variable][:, 0] = np.array(references, dtype=h5py.ref_dtype)
