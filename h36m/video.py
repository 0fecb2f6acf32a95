"""Just the wanted frames of a video, and their JPEG images."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import simplejpeg
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from h36m.console import Problem

# libjpeg's scale of 1 to 100. On the benchmark's film-like views it gives at least 40 dB against the decoded frame.
JPEG_QUALITY = 92


def image_name(index: int) -> str:
    """Return the file name of the image of a frame counted from 0: `image_name(0) == "img_000001.jpg"`."""
    return f"img_{index + 1:06d}.jpg"


def write_images(video: Path, wanted: Sequence[int], folder: Path, quality: int = JPEG_QUALITY) -> None:
    """Write the wanted frames of a video as `img_%06d.jpg`, frame 0 as number 1; each whole or not at all.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation.
        folder: where the images go; it must exist.
        quality: 1 to 100, libjpeg's scale.

    Raises:
        Problem: as `decode_frames`.
    """
    reformatter = VideoReformatter()
    for index, frame in decode_frames(video, wanted):
        image = folder / image_name(index)
        unfinished = image.with_suffix(".part")
        try:
            unfinished.write_bytes(encode_jpeg(frame, quality, reformatter))
            os.replace(unfinished, image)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def encode_jpeg(
    frame: av.VideoFrame, quality: int = JPEG_QUALITY, reformatter: VideoReformatter | None = None
) -> bytes:
    """Return a decoded frame as a JPEG file (JFIF: 4:2:0, BT.601 matrix, full range)."""
    # Video keeps 16 to 235 unless it says otherwise, JPEG 0 to 255; a frame that has it already comes back as it is.
    frame = (reformatter or VideoReformatter()).reformat(
        frame, format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG, threads=1
    )
    planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    planes = [rows[: plane.height, : plane.width] for rows, plane in zip(planes, frame.planes, strict=True)]
    return simplejpeg.encode_jpeg_yuv_planes(*planes, quality=quality)


def decode_frames(video: Path, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the wanted frames of a video, and of the others only what those need.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation; in any order.

    Yields:
        (index, frame) in ascending order, each wanted index once.

    Raises:
        Problem: the video cannot be read, has too few frames, or what is needed of it is damaged.
    """
    missing = set(wanted)
    index = 0
    try:
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0), start=1):
                if index - 1 in missing:
                    missing.remove(index - 1)
                    yield index - 1, frame
                if not missing:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise Problem(f"{video}: expected a video, found one that cannot be decoded ({error})") from error
    if missing:
        raise Problem(f"{video}: expected at least {max(missing) + 1} frames, found {index}")
