"""Videos of every kind, and MP4 files with their boxes changed: cases for fuzzing h36m/process/video.py."""

import functools
import struct
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
from helpers.videos import SHAPES, decode_in_full, make_packed_video, make_video, picture, planes

from h36m.errors import TaskError
from h36m.process.video import decode_frames, write_images

SIZE = WIDTH, HEIGHT = 64, 48
FRAMES = 10
WANTED = [0, 3, 7]

# Encoder, pixel format, container.
ENCODINGS = [
    *(("libx264", "yuv444p", "mp4"), ("libx264", "yuv422p", "mp4"), ("libx264", "yuv420p10le", "mp4")),
    *(("libx264", "gray", "mp4"), ("libx264", "yuvj420p", "mp4"), ("libx264rgb", "rgb24", "mp4")),
    *(("libx264", "yuv420p", "mov"), ("libx264", "yuv420p", "matroska"), ("libx264", "yuv420p", "avi")),
    *(("libx264", "yuv420p", "mpegts"), ("libx264", "yuv420p", "flv"), ("mpeg4", "yuv420p", "avi")),
    *(("mjpeg", "yuvj444p", "mp4"), ("mpeg2video", "yuv420p", "mp4"), ("libvpx-vp9", "yuv420p", "mp4")),
    *(("png", "rgb24", "mov"), ("png", "gray", "mov"), ("rawvideo", "yuv420p", "avi"), ("ffv1", "yuv420p", "matroska")),
    *(("prores", "yuv422p10le", "mov"), ("gif", "rgb8", "gif"), ("libx265", "yuv420p", "mp4")),
]
TRACKS = ["audio first", "audio only", "two videos", "cover first", "no packets", "one frame", "other text"]
TIMES = {
    "irregular": [0, 1, 2, 3, 7, 8, 20, 21, 22, 40],
    "half missing": range(0, 2 * FRAMES, 2),
    "late": range(10**6, 10**6 + FRAMES),
    "far apart": [10**5 * number for number in range(FRAMES)],
}


def write_case(file: Path, chance: Random) -> str:
    """Write a video with something wrong or unusual; return what."""
    name, content = chance.choice(some_videos())
    done = [name]
    if chance.random() < 0.93:
        for _ in range(chance.choice([1, 1, 2, 3])):
            mutate = chance.choice(MUTATIONS) if content else cut
            content, how = mutate(content, chance) if content else (content, "")
            done.append(f"{mutate.__name__}: {how}")
    file.write_bytes(content)
    return "; ".join(done)


def read_case(file: Path) -> bool:
    """Read a case; return whether the wanted frames were decoded, which then are those of a full decode."""
    folder = file.with_suffix("")
    folder.mkdir(exist_ok=True)
    try:
        frames, size = write_images(file, WANTED, folder, poses=8)
    except TaskError as problem:
        assert str(file) in str(problem) and "\n" not in str(problem) and len(str(problem)) < 700, problem
        return False
    found = {index: planes(frame) for index, frame in decode_frames(file, WANTED)}
    expected = decode_in_full(file)
    assert frames >= 8 and list(found) == WANTED and min(size) > 0, (frames, size)
    for index, pixels in found.items():
        # Where a full decode silently loses a frame, its later frame numbers are wrong.
        candidates = [expected[index]] if frames == len(expected) else expected
        assert any(all(map(np.array_equal, pixels, of_frame)) for of_frame in candidates), f"frame {index}"
    return True


# -- the videos --------------------------------------------------------------------------------------------------------


@functools.cache
def some_videos() -> list[tuple[str, bytes]]:
    """Return videos of all kinds, by name."""
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for number, shape in enumerate(SHAPES):
            video = make_video(Path(folder) / f"{number}.mp4", shape, FRAMES, SIZE, encoder_options={"g": "4"})
            made.append((shape, video))
        made.append(("packed", make_packed_video(Path(folder) / "packed.mp4", FRAMES, SIZE)))
        for encoder, pixel_format, container in ENCODINGS:
            if encoder in av.codecs_available:
                video = Path(folder) / f"{encoder} {pixel_format}.{container}"
                write_video(video, encoder, pixel_format, container)
                made.append((video.name, video))
        for name, times in TIMES.items():
            video = Path(folder) / f"{name}.mp4"
            write_video(video, "libx264", "yuv420p", "mp4", times)
            made.append((name, video))
        for name in TRACKS:
            video = Path(folder) / f"{name}.mp4"
            write_tracks(video, name)
            made.append((name, video))
        found = [(name, video.read_bytes()) for name, video in made]
        # The dataset's kinds most often.
        return found + 4 * found[: len(SHAPES)] + [("two sizes", two_sizes(Path(folder)))]


def write_video(file: Path, encoder: str, pixel_format: str, container: str, times=range(FRAMES)) -> None:
    with av.open(str(file), "w", format=container) as output:
        options = {"threads": "1", "preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
        stream = output.add_stream(encoder, rate=50, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        encode(output, stream, times)


def encode(output, stream, times=range(FRAMES), size: tuple[int, int] = SIZE) -> None:
    for index, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = time, Fraction(1, 50)
        output.mux(stream.encode(frame))
    output.mux(stream.encode())


def write_tracks(file: Path, name: str) -> None:
    """Write an MP4 file with other tracks than one of video, or hardly a frame."""
    with av.open(str(file), "w") as output:
        output.metadata["title"] = "\N{SNOWMAN} \u00e9"
        audio = None
        if "audio" in name:
            audio = output.add_stream("aac", rate=8000)
        if name == "cover first":
            cover = output.add_stream("mjpeg", rate=50)
            cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic.value
        videos = [] if name == "audio only" else [output.add_stream("libx264", rate=50, options={"g": "4", "bf": "0"})]
        if name == "two videos":
            videos.append(output.add_stream("mpeg4", rate=50))
        for stream in videos:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.start_encoding()
        if audio:
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            sound.rate = 8000
            output.mux(audio.encode(sound))
            output.mux(audio.encode())
        if name == "cover first":
            encode(output, cover, range(1), (32, 32))
        for stream in videos:
            encode(output, stream, {"no packets": [], "one frame": [0]}.get(name, range(FRAMES)))


def two_sizes(folder: Path) -> bytes:
    """Return a raw stream whose frames have another size from the middle on."""
    parts = [make_video(folder / f"{height}.h264", "h264 with B-frames", 5, (64, height)) for height in (48, 80)]
    return b"".join(part.read_bytes() for part in parts)


# -- boxes -------------------------------------------------------------------------------------------------------------

BOXES_OF_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex", b"dinf")
NAMES = (
    b"free",
    b"stss",
    b"ctts",
    b"stts",
    b"stsz",
    b"stco",
    b"co64",
    b"stsc",
    b"elst",
    b"mdat",
    b"\xff\xfe\0x",
    b"uuid",
)
CODECS = (b"avc1", b"mp4v", b"hvc1", b"vp09", b"jpeg", b"raw ", b"mp4a", b"tx3g", b"zzzz", b"encv")
WORDS = (0, 1, 2, 3, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF00, 48, 1000, 10**6)


def boxes_of(content: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int, bytes]]:
    """Return where each box begins and ends, with its name; those of boxes too."""
    found, at = [], start
    end = len(content) if end is None else end
    while at + 8 <= end:
        length, name = int.from_bytes(content[at : at + 4], "big"), bytes(content[at + 4 : at + 8])
        if length < 8 or at + length > end:
            break
        found.append((at, at + length, name))
        if name in BOXES_OF_BOXES:
            found += boxes_of(content, at + 8, at + length)
        at += length
    return found


def some_box(content: bytes, chance: Random) -> tuple[int, int, bytes]:
    """Return a box, most often a small one, which says how the video is stored."""
    boxes = boxes_of(content) or [(0, len(content), b"all")]
    return chance.choice([box for box in boxes if box[2] != b"mdat"] or boxes)


def with_lengths(content: bytes, start: int, end: int, new: bytes) -> bytes:
    """Replace bytes, and let the boxes around them have their new length."""
    result = bytearray(content)
    for first, last, _ in boxes_of(content):
        if first <= start and end <= last and (first, last) != (start, end):
            length = last - first + len(new) - (end - start)
            result[first : first + 4] = length.to_bytes(4, "big")
    result[start:end] = new
    return bytes(result)


def rename_box(content: bytes, chance: Random) -> tuple[bytes, str]:
    start, _, name = some_box(content, chance)
    new = chance.choice(NAMES)
    return content[: start + 4] + new + content[start + 8 :], f"{name} to {new}"


def remove_box(content: bytes, chance: Random) -> tuple[bytes, str]:
    start, end, name = some_box(content, chance)
    return with_lengths(content, start, end, b""), str(name)


def double_box(content: bytes, chance: Random) -> tuple[bytes, str]:
    start, end, name = some_box(content, chance)
    return with_lengths(content, start, end, 2 * content[start:end]), str(name)


def empty_box(content: bytes, chance: Random) -> tuple[bytes, str]:
    start, end, name = some_box(content, chance)
    return with_lengths(content, start, end, content[start : start + 8]), str(name)


def resize_box(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Let a box claim another length than it has."""
    start, end, name = some_box(content, chance)
    length = chance.choice([*WORDS, end - start - 1, end - start + 1, end - start + 8]) % 2**32
    return content[:start] + length.to_bytes(4, "big") + content[start + 4 :], f"{name} of {length}"


def change_word(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Change a number in a box: a count, a time, a size, a place, a matrix."""
    start, end, name = some_box(content, chance)
    if end - start < 16:
        return content, "nothing"
    at = chance.randrange(start + 8, min(end - 3, start + 200), 4)
    word = chance.choice([*WORDS, chance.randrange(2**32)])
    return content[:at] + word.to_bytes(4, "big") + content[at + 4 :], f"{name} + {at - start}: {word}"


def change_codec(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Name another codec, or give the frames another size in the container than in the stream."""
    at = content.find(b"stsd")
    if at < 0:
        return content, "nothing"
    if chance.random() < 0.5:
        codec = chance.choice(CODECS)
        return content[: at + 16] + codec + content[at + 20 :], str(codec)
    size = struct.pack(
        ">HH", chance.choice([0, 1, 32, 64, 65, 1000, 65535]), chance.choice([0, 1, 48, 50, 1002, 65535])
    )
    return content[: at + 44] + size + content[at + 48 :], size.hex()


def rotate(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Set a rotation for players."""
    at = content.find(b"tkhd")
    if at < 0:
        return content, "nothing"
    matrix = struct.pack(">9i", *chance.choice([(0, 1, 0, -1, 0), (-1, 0, 0, 0, -1), (0, 0, 0, 0, 0)]), 0, 0, 0, 1)
    matrix = matrix.replace(b"\0\0\0\1", b"\0\1\0\0")
    return content[: at + 44] + matrix + content[at + 80 :], matrix.hex()


def change_data(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Change bytes of the pictures, of the codec's settings, or anywhere."""
    at = content.find(chance.choice([b"mdat", b"avcC", b"esds", b"moov"])) + 4
    at = min(at + chance.randrange(60), len(content) - 8) if chance.random() < 0.7 else chance.randrange(len(content))
    new = chance.choice([bytes([content[at] ^ 1 << chance.randrange(8)]), chance.randbytes(8), bytes(30), b"\xff" * 4])
    return content[:at] + new + content[at + len(new) :], f"{at}: {new.hex()}"


def cut(content: bytes, chance: Random) -> tuple[bytes, str]:
    at = chance.randrange(len(content))
    return content[:at], str(at)


def other_file(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Use a file that refers FFmpeg's libraries to other files, or is no video."""
    text = chance.choice(
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///dev/zero\n#EXT-X-ENDLIST\n",
            "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile /dev/zero\n",
            "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
            "1\n00:00:00,000 --> 00:00:01,000\nHello\n",
            "",
        ]
    )
    return text.encode(), text[:20]


MUTATIONS: list[Callable[[bytes, Random], tuple[bytes, str]]] = [
    *(rename_box, remove_box, double_box, empty_box, resize_box, change_word, change_word, change_word),
    *(change_codec, rotate, change_data, change_data, cut),
    other_file,
]
