"""Small videos in every shape that the tests of h36m/video.py need, made with PyAV."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAMES_PER_SECOND = 50
WIDTH, HEIGHT = 128, 96

# Shape -> encoder, its options, options of the container. Groups are short, so that 120 frames hold several.
SHAPES = {
    "h264 without B-frames": ("libx264", {"g": "30", "bf": "0"}, {}),
    "h264 with B-frames": ("libx264", {"g": "30", "bf": "2", "x264-params": "b-pyramid=none"}, {}),
    "h264 with a B-pyramid": ("libx264", {"g": "30", "bf": "5", "x264-params": "b-pyramid=normal:b-adapt=0"}, {}),
    "h264 with open groups": ("libx264", {"g": "30", "bf": "3", "x264-params": "open-gop=1:b-adapt=0"}, {}),
    "h264 with intra refresh": ("libx264", {"g": "30", "bf": "0", "x264-params": "intra-refresh=1"}, {}),
    "h264 in several slices": ("libx264", {"g": "30", "bf": "2", "x264-params": "slices=4"}, {}),
    "h264 interlaced": ("libx264", {"g": "30", "bf": "2", "x264-params": "interlaced=1"}, {}),
    "h264 in fragments": ("libx264", {"g": "30", "bf": "2"}, {"movflags": "frag_keyframe+empty_moov"}),
    "mpeg4 without B-frames": ("mpeg4", {"g": "12", "bf": "0", "qscale": "2"}, {}),
    "mpeg4 with B-frames": ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}, {}),
    "mpeg4 with closed groups": ("mpeg4", {"g": "12", "bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"}, {}),
}


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return (height, width, 3) uint8 RGB: a texture that moves, another every frame."""
    random = np.random.default_rng(index)
    y, x = np.mgrid[0:height, 0:width]
    waves = 60 * np.sin((x + 2 * index) / 7) + 50 * np.cos((y - index) / 5)
    square = 60 * ((np.abs(x - 3 * index % width) < 9) & (np.abs(y - height // 2) < 9))
    grain = random.normal(0, 4, (height, width))
    colors = np.stack([waves + square, waves[::-1], -waves + square], axis=-1)
    return np.clip(128 + colors + grain[..., None], 0, 255).astype(np.uint8)


def make_video(
    path: Path,
    shape: str,
    frames: int = 120,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    first_time: int = 0,
    encoder_options: dict | None = None,
) -> Path:
    """Write a video and return its path.

    Args:
        shape: a key of `SHAPES`.
        frames: how many.
        size: width and height in pixels.
        first_time: when the first frame is shown, counted in frames.
        encoder_options: added to those of the shape.
    """
    encoder, options, container_options = SHAPES[shape]
    with av.open(str(path), "w", container_options=container_options) as container:
        stream = container.add_stream(
            encoder, rate=FRAMES_PER_SECOND, options=options | {"threads": "1"} | (encoder_options or {})
        )
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
            frame.pts, frame.time_base = index + first_time, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rename_box(path: Path, name: bytes, new_name: bytes = b"free") -> None:
    """Rename a box of an MP4 file, so that readers pass over it."""
    content = path.read_bytes()
    assert content.count(name) == 1, f"{name} stands {content.count(name)} times in {path}"
    path.write_bytes(content.replace(name, new_name))


def hide_first_frames(path: Path, frames: int, units_per_frame: int) -> None:
    """Move the start of an MP4 file's only edit by some frames, so that players do not show those before."""
    content = bytearray(path.read_bytes())
    # elst: name, version and flags, number of edits; then for each: duration, time in the media, rate (4 bytes each).
    at = content.index(b"elst") + 4
    version_and_flags, edits, duration, start, rate = struct.unpack_from(">IIIiI", content, at)
    assert (version_and_flags, edits) == (0, 1)
    struct.pack_into(">IIIiI", content, at, 0, 1, duration, start + frames * units_per_frame, rate)
    path.write_bytes(content)


def make_packed_video(path: Path, frames: int = 120) -> Path:
    """Write an MPEG-4 video as DivX 5 did: a B picture in the packet of the picture before it, then a packet of none.

    The container then has no times out of order, which AVI could not hold.
    """
    unpacked = make_video(path.with_suffix(".unpacked.mp4"), "mpeg4 with B-frames", frames, encoder_options={"bf": "1"})
    picture_start, not_coded = b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb6\x50\x80\x7f"
    with av.open(str(unpacked)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        payloads = []
        for packet in source.demux(video=0):
            payload = bytes(packet)
            is_bidirectional = payload and payload[payload.index(picture_start) + 4] >> 6 == 2
            if is_bidirectional:
                payloads[-1] += payload
                payloads.append(not_coded)
            elif payload:
                payloads.append(payload)
        payloads[0] = b"\x00\x00\x01\xb2DivX503b1393p" + payloads[0]  # user data: p is for packed
        for index, payload in enumerate(payloads):
            packet = av.Packet(payload)
            packet.pts = packet.dts = index
            packet.time_base, packet.stream = Fraction(1, FRAMES_PER_SECOND), stream
            target.mux(packet)
    return path
