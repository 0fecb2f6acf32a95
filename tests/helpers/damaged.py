"""Read damaged files with the package's readers, in a process of its own with little memory and time for each file.

`python -m helpers.damaged KIND` reads a path per line, and prints how reading the file ended.
"""

import contextlib
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

import av
import numpy as np
from helpers.videos import make_video, planes

from demo.release import add_cell, open_mat, write_cdf
from h36m.errors import TaskError
from h36m.files.poses import fit_intrinsics, read_poses
from h36m.files.segments import BOX_VARIABLE, NO_BOX, compare_count, read_boxes
from h36m.process.part_labels import write_part_labels
from h36m.process.video import decode_frames, write_images

READ, REFUSED = "read", "refused"
SECONDS_FOR_A_FILE = 20
MEGABYTES_FOR_A_FILE = 512  # added to what the imported libraries need; a video is decoded in some tens
SIZE = HEIGHT, WIDTH = 6, 9  # of the masks
BOXES = [(1, 2, 3 + number, 5) for number in range(4)]


def write_poses(file: Path) -> None:
    poses = np.random.default_rng(0).integers(-4000, 4000, (6, 32, 3)) / 4 + [0, 0, 5000]
    write_cdf(file, poses)


def write_masks(file: Path) -> None:
    with open_mat(file, BOX_VARIABLE, len(BOXES)) as mat:
        for number, (left, top, right, bottom) in enumerate(BOXES):
            mask = np.zeros(SIZE, np.uint8)
            mask[top:bottom, left:right] = 1
            add_cell(mat, BOX_VARIABLE, number, mask)


def check_poses(file: Path) -> str:
    """Poses are of their shape and finite, and fit a camera."""
    poses = read_poses(file, coordinates=3)
    assert poses.shape[1:] == (32, 3) and len(poses) and np.isfinite(poses).all() and poses.dtype == np.float64
    assert np.isfinite(fit_intrinsics(poses[..., :2], poses)).all()
    return READ


def check_masks(file: Path) -> str:
    """Each wanted frame has a box or is counted in a line; nothing is raised."""
    frames = np.arange(len(BOXES) + 1)
    boxes, problems, notices = read_boxes(file, frames, SIZE)
    reported = problems + notices + compare_count(file, BOX_VARIABLE, len(BOXES))
    assert boxes.shape == (len(frames), 4) and tuple(boxes[-1]) == NO_BOX and reported, "the last frame has no cell"
    assert not any("\n" in line or len(line) > 700 for line in reported), reported
    label_problems, label_notices = write_part_labels(file, frames, SIZE, file.with_suffix(""))
    assert label_problems and not label_notices, "there are no part labels in it"
    return REFUSED if problems else READ


def frames_that_decode(file: Path) -> list[list[np.ndarray]]:
    """Return the pixels of all frames of a plain decode, which goes on behind damage."""
    # PyAV 19 and later accept metadata in any encoding.
    options = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
    found = []
    with contextlib.suppress(av.FFmpegError), av.open(str(file), **options) as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.FFmpegError):
                found += [planes(frame) for frame in packet.decode()]
    return found


def check_video(file: Path) -> str:
    """The wanted frames are those of a plain decode."""
    wanted, folder = [0, 3, 7], file.with_suffix("")
    folder.mkdir(exist_ok=True)
    frames, size, _ = write_images(file, wanted, folder, poses=8)
    found = {index: planes(frame) for index, frame in decode_frames(file, wanted)}
    expected = frames_that_decode(file)
    assert frames >= 8 and list(found) == wanted and min(size) > 0, (frames, size)
    for index, pixels in found.items():
        # Where a plain decode loses a frame, its later frame numbers are wrong.
        candidates = [expected[index]] if frames == len(expected) else expected
        assert any(all(map(np.array_equal, pixels, of_frame)) for of_frame in candidates), f"frame {index}"
    return READ


def video_writer(shape: str):
    return lambda file: make_video(file, shape, 10, (64, 48), encoder_options={"g": "4"})


# Kind of file -> the ending of its name, what writes a valid one, what checks how it is read.
KINDS = {
    "poses": (".cdf", write_poses, check_poses),
    "masks": (".mat", write_masks, check_masks),
    "h264": (".mp4", video_writer("h264 with a B-pyramid"), check_video),
    "mpeg4": (".mp4", video_writer("mpeg4 with B-frames"), check_video),
}


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEGABYTES_FOR_A_FILE * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))  # whatever a file claims


def read(check, file: Path) -> str:
    """Return how reading a file ended: one of the two words above, or what is wrong."""
    signal.alarm(SECONDS_FOR_A_FILE)  # which ends this process
    try:
        return check(file)
    except TaskError as problem:
        message = str(problem)
        return REFUSED if str(file) in message and "\n" not in message and len(message) < 700 else f"says {problem!r}"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    ending, write, check = KINDS[sys.argv[1]]
    warnings.simplefilter("error")  # a user would see them among the errors
    limit_memory()
    for line in sys.stdin:
        print(read(check, Path(line.rstrip("\n"))), flush=True)
