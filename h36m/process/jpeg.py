"""JPEG images of decoded frames, by FFmpeg's encoder."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

# The older tools' `-qscale:v`, on FFmpeg's scale from 1 (best) to 31. FFmpeg's encoder gives each picture more PSNR for
# its bytes than libjpeg-turbo, whose tables are made for the eye, at twice its 2 ms an image: benchmarks/README.md
# compares them.
JPEG_QSCALE = 3
# Huffman tables made for each picture would save 2 to 3 % of a photograph's bytes and take 0.4 ms more; a scale that is
# not fixed, 0.1 ms more.
JPEG_OPTIONS = {"huffman": "default", "flags": "+qscale"}

# Video has 16 for black and 235 for white (for colour, 16 to 240 around 128), JPEG 0 and 255: ITU-T T.871, and H.273
# for the numbers with which frames say otherwise. libswscale would round colour down, by half a step on average.
# The tables are of two neighbouring pixels at a time, which is faster: 65,536 values, in any byte order.
_PAIRS = np.arange(2**16, dtype=np.uint16).view(np.uint8).astype(int)
FULL_RANGE_LUMA = np.rint((_PAIRS - 16) * 255 / 219).clip(0, 255).astype(np.uint8).view(np.uint16)
FULL_RANGE_CHROMA = np.rint((_PAIRS - 128) * 255 / 224 + 128).clip(0, 255).astype(np.uint8).view(np.uint16)
UNSAID_OR_BT601, UNSAID_OR_LIMITED = (2, 5, 6), (0, 1)


def encode_jpeg(frame: av.VideoFrame) -> bytes:
    """Return a decoded frame of any format as a JPEG file (JFIF: 4:2:0, BT.601 matrix, full range)."""
    frame = with_full_range(frame)
    encoder: Any = av.CodecContext.create("mjpeg", "w")  # typed by some releases of PyAV as any codec's
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    encoder.color_range = ColorRange.JPEG
    encoder.sample_aspect_ratio = Fraction(1)  # without one FFmpeg leaves the JFIF header out
    encoder.qmin = encoder.qmax = JPEG_QSCALE
    encoder.thread_count = 1
    encoder.options = JPEG_OPTIONS
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    encoder.time_base = frame.time_base
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def with_full_range(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame with its values as JPEG has them: 4:2:0, BT.601 matrix, 0 to 255."""
    is_plain = (
        frame.format.name == "yuv420p"
        and frame.colorspace in UNSAID_OR_BT601
        and frame.color_range in UNSAID_OR_LIMITED
    )
    if not is_plain:
        return VideoReformatter().reformat(
            frame, format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG, threads=1
        )
    full = av.VideoFrame(frame.width, frame.height, "yuvj420p")
    tables = (FULL_RANGE_LUMA, FULL_RANGE_CHROMA, FULL_RANGE_CHROMA)
    for source, target, table in zip(frame.planes, full.planes, tables, strict=True):
        pairs = min(source.line_size, target.line_size) // 2  # with padding: whole rows of the target need no copy
        rows, full_rows = (
            np.frombuffer(memoryview(plane), np.uint16).reshape(-1, plane.line_size // 2)[:, :pairs]
            for plane in (source, target)
        )
        np.take(table, rows, out=full_rows, mode="clip")  # any pair is in the table; this mode spares a copy
    return full
