"""Small videos in every shape that the tests of h36m/process/video.py need, made with PyAV."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from h36m.process.packets import ANY_METADATA

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
    # The position of such a slice is encoded like the type of a B slice.
    "h264 in slices of four blocks": ("libx264", {"g": "30", "bf": "2", "x264-params": "slice-max-mbs=4"}, {}),
    "h264 interlaced": ("libx264", {"g": "30", "bf": "2", "x264-params": "interlaced=1"}, {}),
    "h264 in fragments": ("libx264", {"g": "30", "bf": "2"}, {"movflags": "frag_keyframe+empty_moov"}),
    "mpeg4 without B-frames": ("mpeg4", {"g": "12", "bf": "0", "qscale": "2"}, {}),
    "mpeg4 with B-frames": ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}, {}),
    "mpeg4 with closed groups": ("mpeg4", {"g": "12", "bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"}, {}),
    "hevc": ("libx265", {"g": "30", "x265-params": "log-level=error"}, {}),
}


def picture(
    index: int, width: int = WIDTH, height: int = HEIGHT, coarseness: float = 1, grain: float = 4
) -> np.ndarray:
    """Return (height, width, 3) uint8 RGB: a texture that moves, another every frame.

    Args:
        coarseness: of the texture.
        grain: its standard deviation, steps of RGB.
    """
    random = np.random.default_rng(index)
    y, x = np.mgrid[0:height, 0:width]
    waves = 60 * np.sin((x + 2 * index) / 7 / coarseness) + 50 * np.cos((y - index) / 5 / coarseness)
    square = 60 * ((np.abs(x - 3 * index % width) < 9) & (np.abs(y - height // 2) < 9))
    grains = random.normal(0, grain, (height, width))
    colors = np.stack([waves + square, waves[::-1], -waves + square], axis=-1)
    return np.clip(128 + colors + grains[..., None], 0, 255).astype(np.uint8)


def make_video(
    path: Path,
    shape: str,
    frames: int = 120,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    times: Sequence[int] | None = None,
    encoder_options: dict | None = None,
    look: dict[str, float] | None = None,
) -> Path:
    """Write a video and return its path.

    Args:
        shape: a key of `SHAPES`.
        frames: how many.
        size: width and height in pixels.
        times: when each frame is shown, in 1/50 s; None for 0, 1, 2 ...
        encoder_options: added to those of the shape.
        look: of the pictures, arguments of `picture`.
    """
    encoder, options, container_options = SHAPES[shape]
    with av.open(str(path), "w", container_options=container_options) as container:
        stream = container.add_stream(
            encoder, rate=FRAMES_PER_SECOND, options=options | {"threads": "1"} | (encoder_options or {})
        )
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index, time in enumerate(times or range(frames)):
            frame = av.VideoFrame.from_ndarray(picture(index, *size, **look or {}), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rename_box(path: Path, name: bytes, new_name: bytes = b"free") -> None:
    """Rename a box of an MP4 file, so that readers pass over it."""
    content = path.read_bytes()
    assert content.count(name) == 1, f"{name} is there {content.count(name)} times in {path}"
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


def cut_first_packets(path: Path, packets: int) -> Path:
    """Leave out the first packets of a video, as programs do that cut a piece out of it without decoding."""
    cut = path.with_stem(f"{path.stem}, cut")
    with av.open(str(path)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[packets:]:
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return cut


def end_sequences(path: Path) -> Path:
    """Mark the end of a sequence after each group of an H.264 video, with a NAL unit of one byte."""
    ended = path.with_stem(f"{path.stem}, ended")
    with av.open(str(path)) as source, av.open(str(ended), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, following in zip(packets, [*packets[1:], None], strict=True):
            payload = bytes(packet) + (b"\0\0\0\1\x0a" if following is None or following.is_keyframe else b"")
            new = av.Packet(payload)
            new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
            new.duration, new.is_keyframe, new.stream = packet.duration, packet.is_keyframe, stream
            target.mux(new)
    return ended


def forget_reorder_depth(path: Path) -> Path:
    """Remove the number of pictures that the decoder reorders from an H.264 file, as some encoders leave it out."""
    content = path.read_bytes()
    at = content.index(b"avcC") + 4 + 6
    length = int.from_bytes(content[at : at + 2], "big")
    settings = content[at + 2 : at + 2 + length]
    bits = "".join(f"{byte:08b}" for byte in settings).rstrip("0")[:-1]  # without the bit that ends it
    # ISO/IEC 14496-10, E.1.1, the last of what x264 writes: the flag, a flag, two zeros, four numbers.
    for numbers in ((h, v, r, d) for h in range(16) for v in range(16) for r in range(5) for d in range(9)):
        tail = "11" + "".join(exp_golomb(number) for number in (0, 0, *numbers))
        if bits.endswith(tail) and numbers[0] == numbers[1] > 7 and numbers[3] >= numbers[2]:
            break
    else:
        raise AssertionError("x264 writes something else")
    shorter = bits[: -len(tail)] + "01"
    shorter += "0" * (-len(shorter) % 8)
    new = int(shorter, 2).to_bytes(len(shorter) // 8, "big").ljust(length, b"\0")
    forgotten = path.with_stem(f"{path.stem}, forgotten")
    assert content.count(settings) == 1
    forgotten.write_bytes(content.replace(settings, new))
    return forgotten


def join_with_settings(first: Path, second: Path, joined: Path) -> Path:
    """Join two MP4 files of H.264 without B-frames and keep the settings of each, in two entries of `stsd`."""
    payloads, settings, sizes, keys = [], [], [], []
    for video in (first, second):
        with av.open(str(video)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        payloads.append([bytes(packet) for packet in packets])
        keys += [len(sizes) + number for number, packet in enumerate(packets, start=1) if packet.is_keyframe]
        sizes += [packet.size for packet in packets]
        content = video.read_bytes()
        at = content.index(b"stsd") - 4
        settings.append(content[at + 16 : at + int.from_bytes(content[at : at + 4], "big")])
    content = first.read_bytes()
    end_of_type = int.from_bytes(content[:4], "big")
    units = int.from_bytes(content[content.index(b"stts") + 16 : content.index(b"stts") + 20], "big")
    start = end_of_type + 8
    tables = {
        b"stsd": struct.pack(">II", 0, 2) + b"".join(settings),
        b"stts": struct.pack(">IIII", 0, 1, len(sizes), units),
        b"stss": struct.pack(f">II{len(keys)}I", 0, len(keys), *keys),
        # Chunk, how many packets each has from there on, which settings.
        b"stsc": struct.pack(">II6I", 0, 2, 1, len(payloads[0]), 1, 2, len(payloads[1]), 2),
        b"stsz": struct.pack(f">III{len(sizes)}I", 0, 0, len(sizes), *sizes),
        b"stco": struct.pack(">IIII", 0, 2, start, start + sum(map(len, payloads[0]))),
    }
    table = box(b"stbl", b"".join(box(name, payload) for name, payload in tables.items()))
    movie = content[content.index(b"moov") - 4 :]
    movie = replaced_box(movie, b"stbl", table)
    movie = replaced_box(movie, b"edts", b"")
    pictures = b"".join(payload for of_video in payloads for payload in of_video)
    joined.write_bytes(content[:end_of_type] + box(b"mdat", pictures) + movie)
    return joined


def box(name: bytes, payload: bytes) -> bytes:
    """Return a box of an MP4 file."""
    return struct.pack(">I4s", len(payload) + 8, name) + payload


def replaced_box(movie: bytes, name: bytes, new: bytes) -> bytes:
    """Replace a box somewhere in a `moov` box, and let those around it have their new length."""
    start = movie.index(name) - 4
    end = start + int.from_bytes(movie[start : start + 4], "big")
    result = bytearray(movie)
    for around in (b"moov", b"trak", b"mdia", b"minf"):
        at = movie.index(around) - 4
        length = int.from_bytes(movie[at : at + 4], "big")
        if at <= start and end <= at + length:
            result[at : at + 4] = (length + len(new) - (end - start)).to_bytes(4, "big")
    result[start:end] = new
    return bytes(result)


def exp_golomb(number: int) -> str:
    """Return a number as H.264 writes it."""
    return "0" * ((number + 1).bit_length() - 1) + f"{number + 1:b}"


def make_packed_video(path: Path, frames: int = 120, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """Write an MPEG-4 video as DivX 5 did: a B picture in the packet of the picture before it, then a packet of none.

    The container then has no times out of order, which AVI could not hold.
    """
    shape, options = "mpeg4 with B-frames", {"bf": "1"}
    unpacked = make_video(path.with_suffix(".unpacked.mp4"), shape, frames, size, encoder_options=options)
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


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return the pixels of a frame without the padding of its rows."""
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
        for plane in frame.planes
    ]


def decode_in_full(video: Path) -> list[list[np.ndarray]]:
    """Return the pixels of all frames of a video from a full decode."""
    with av.open(str(video), **ANY_METADATA) as container:
        return [planes(frame) for frame in container.decode(video=0)]
