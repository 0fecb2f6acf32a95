"""JPEG images of decoded frames, by FFmpeg's encoder."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

# FFmpeg's scale from 1 (best) to 31, the ffmpeg program's `-qscale:v`. The older tools' is 3, which keeps 38 dB of a
# picture full of grain; 2 keeps 40 dB of it. FFmpeg's encoder gives each picture more PSNR for its bytes than
# libjpeg-turbo, whose tables are made for the eye, at twice its 2 ms an image: benchmarks/README.md compares them.
JPEG_QSCALE = 2

# Video has 16 for black and 235 for white (for colour, 16 to 240 around 128), JPEG 0 and 255: ITU-T T.871, and H.273
# for the numbers with which frames say otherwise. libswscale would round colour down, by half a step on average.
_VALUES = np.arange(256)
FULL_RANGE_LUMA = np.rint((_VALUES - 16) * 255 / 219).clip(0, 255).astype(np.uint8).tobytes()
FULL_RANGE_CHROMA = np.rint((_VALUES - 128) * 255 / 224 + 128).clip(0, 255).astype(np.uint8).tobytes()
UNSAID_OR_BT601, UNSAID_OR_LIMITED = (2, 5, 6), (0, 1)


def encode_jpeg(frame: av.VideoFrame, qscale: int = JPEG_QSCALE) -> bytes:
    """Return a decoded frame as a JPEG file (JFIF: 4:2:0, BT.601 matrix, full range).

    Args:
        frame: of any format.
        qscale: 1 (best) to 31, FFmpeg's scale.
    """
    frame = with_full_range(frame)
    encoder: Any = av.CodecContext.create("mjpeg", "w")  # typed by some releases of PyAV as any codec's
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    encoder.color_range = ColorRange.JPEG
    encoder.sample_aspect_ratio = Fraction(1)  # without one FFmpeg leaves the JFIF header out
    encoder.qmin = encoder.qmax = qscale  # for its rate control no other choice than this one
    encoder.thread_count = 1
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    encoder.time_base = frame.time_base
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def with_full_range(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a copy of a frame as JPEG has its values: 4:2:0, BT.601 matrix, 0 to 255."""
    is_plain = (
        frame.format.name == "yuv420p"
        and frame.colorspace in UNSAID_OR_BT601
        and frame.color_range in UNSAID_OR_LIMITED
    )
    tables: tuple[bytes | None, ...] = (FULL_RANGE_LUMA, FULL_RANGE_CHROMA, FULL_RANGE_CHROMA)
    if not is_plain:
        frame = VideoReformatter().reformat(
            frame, format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG, threads=1
        )
        tables = (None, None, None)  # nothing is left to change
    full = av.VideoFrame(frame.width, frame.height, "yuvj420p")
    for source, target, table in zip(frame.planes, full.planes, tables, strict=True):
        # bytes.translate is twice as fast as indexing with numpy.
        rows = np.frombuffer(bytes(source).translate(table), np.uint8).reshape(-1, source.line_size)
        np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)[:, : target.width] = rows[
            :, : source.width
        ]
    return full
