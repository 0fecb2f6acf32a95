"""h36m/process/video.py: frames are those of a full decode, and images are those frames, in every shape of video."""

import io
import logging
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from helpers.videos import (
    HEIGHT,
    SHAPES,
    WIDTH,
    cut_first_packets,
    decode_in_full,
    end_sequences,
    forget_reorder_depth,
    hide_first_frames,
    join_with_settings,
    make_packed_video,
    make_video,
    planes,
    rename_box,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import h36m.process.video
from h36m.dataset import image_name
from h36m.errors import TaskError
from h36m.process.video import decode_frames, encode_jpeg, write_images

UNITS_PER_FRAME = 256  # FFmpeg's MP4 writer counts 1/12800 s at 50 frames a second
FRAMES = 120

# Name -> shape, when its first frame is shown, how many frames an edit list hides, a box taken away.
PLANNED = {
    **{shape: (shape, 0, 0, None) for shape in SHAPES if shape != "hevc"},
    "h264 that starts late": ("h264 with a B-pyramid", 7, 0, None),
    "mpeg4 that starts late": ("mpeg4 with B-frames", 7, 0, None),
    "h264 with one frame hidden": ("h264 with B-frames", 0, 1, None),
    "h264 with frames hidden up to the middle of a group": ("h264 with a B-pyramid", 0, 41, None),
    "h264 with a group hidden": ("h264 without B-frames", 0, 30, None),
    "h264 with open groups and frames hidden": ("h264 with open groups", 0, 7, None),
    "mpeg4 with frames hidden": ("mpeg4 with B-frames", 0, 41, None),
    "h264 without its list of keyframes": ("h264 with a B-pyramid", 0, 0, b"stss"),
    "mpeg4 without its list of keyframes": ("mpeg4 with B-frames", 0, 0, b"stss"),
    "h264 without its edit list": ("h264 with B-frames", 0, 0, b"elst"),
}
UNPLANNED = {
    "h264 without its times": ("h264 with a B-pyramid", 0, 0, b"ctts"),
    "mpeg4 without its times": ("mpeg4 with B-frames", 0, 0, b"ctts"),
    "h264 that begins with an open group": ("h264 with open groups", 0, 41, None),
    "hevc": ("hevc", 0, 0, None),
}
# Of time stamps, two units of 1/50 s apart: what is removed or added, and what follows.
EVEN = list(range(0, 2 * FRAMES, 2))


def assert_same(video: Path, wanted: list[int], expected: list[list[np.ndarray]]) -> None:
    found = {index: planes(frame) for index, frame in decode_frames(video, wanted)}
    assert list(found) == sorted(set(wanted))
    for index, of_frame in found.items():
        for plane, expected_plane in zip(of_frame, expected[index], strict=True):
            assert np.array_equal(plane, expected_plane), f"frame {index} differs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module", params=[*PLANNED, *UNPLANNED])
def named_video(request, folder) -> tuple[str, Path, list]:
    shape, first_time, hidden, box = (PLANNED | UNPLANNED)[request.param]
    video = make_video(folder / f"{request.param}.mp4", shape, times=range(first_time, first_time + FRAMES))
    if hidden:
        hide_first_frames(video, hidden, UNITS_PER_FRAME)
    if box:
        rename_box(video, box)
    return request.param, video, decode_in_full(video)


def test_any_set_of_frames_is_bit_for_bit_that_of_a_full_decode(named_video):
    _, video, expected = named_video

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=12))
    def check(wanted):
        assert_same(video, wanted, expected)

    check()


def test_every_64th_8th_and_all_frames_equal_a_full_decode(named_video):
    _, video, expected = named_video
    numbers = range(len(expected))
    for wanted in (numbers[::64], numbers[::8], numbers[3::7], numbers, numbers[-1:]):
        assert_same(video, wanted, expected)


def test_untrusted_plan_decodes_everything_and_says_why(named_video, caplog):
    name, video, _ = named_video
    with caplog.at_level(logging.DEBUG, "h36m.process.video"):
        list(decode_frames(video, [0, 50]))
    lines = [record.getMessage() for record in caplog.records if "decoding everything" in record.getMessage()]
    assert len(lines) == (name in UNPLANNED), lines
    assert all(str(video) in line for line in lines)


def test_a_video_without_presentation_times_is_decoded_in_full(folder, caplog):
    video = make_video(folder / "no times.h264", "h264 with a B-pyramid", FRAMES)
    with caplog.at_level(logging.DEBUG, "h36m.process.video"):
        assert_same(video, [0, 17, 64, 65, FRAMES - 1], decode_in_full(video))
    assert "h264 packet 0: decoding everything" in caplog.text


@pytest.mark.parametrize(
    ("name", "shape"), [("decoding times only.avi", "mpeg4 with B-frames"), ("raw.m4v", "mpeg4 without B-frames")]
)
def test_video_in_another_container_decodes_right(folder, name, shape):
    video = make_video(folder / name, shape, FRAMES)
    assert_same(video, [0, 17, 64, 65, FRAMES - 1], decode_in_full(video))


@pytest.mark.parametrize("shape", ["h264 with open groups", "mpeg4 with B-frames"])
def test_video_cut_at_an_open_group_decodes_right(folder, caplog, shape):
    whole = make_video(folder / f"{shape} to cut.mp4", shape, FRAMES)
    with av.open(str(whole)) as container:
        keys = [position for position, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    video = cut_first_packets(whole, keys[1])
    rename_box(video, b"elst")  # FFmpeg hides in it what it knows to be broken; other programs do not
    expected = decode_in_full(video)
    assert 0 < len(expected) < FRAMES - keys[1] + 3
    with caplog.at_level(logging.DEBUG, "h36m.process.video"):
        for wanted in ([0], [1, 2, 40], range(len(expected))):
            assert_same(video, wanted, expected)
    assert "decoding everything" in caplog.text


def test_the_end_of_a_sequence_in_one_byte_is_no_damage(folder, caplog):
    video = end_sequences(make_video(folder / "sequences.mp4", "h264 with a B-pyramid", FRAMES))
    assert_same(video, [0, 17, 64, 65, FRAMES - 1], decode_in_full(video))


@pytest.mark.parametrize("shape", ["h264 with B-frames", "h264 with a B-pyramid"])
def test_h264_without_reorder_depth_decodes_right(folder, shape):
    video = forget_reorder_depth(make_video(folder / f"{shape} forgetful.mp4", shape, FRAMES))
    expected = decode_in_full(video)
    for wanted in ([0], [1], [40, 77], range(0, FRAMES, 7), range(len(expected))):
        assert_same(video, wanted, expected)


@pytest.mark.parametrize("ending", ["mp4", "avi"])
def test_packed_mpeg4_is_decoded_in_full(folder, caplog, ending):
    video = make_packed_video(folder / f"packed.{ending}", FRAMES)
    expected = decode_in_full(video)
    with caplog.at_level(logging.DEBUG, "h36m.process.video"):
        # Not the last of those written: FFmpeg 8.1.1 writes an edit list that hides the last packet of this MP4.
        assert_same(video, [0, 17, 64, 65, len(expected) - 1], expected)
    assert "holds 2 pictures: decoding everything" in caplog.text


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (WIDTH, HEIGHT + 32)], ids=["same size", "other size"])
def test_video_whose_settings_change_decodes_right(folder, caplog, size):
    shape, other = "h264 without B-frames", {"x264-params": "cabac=0:8x8dct=0:chroma-qp-offset=6"}
    first = make_video(folder / "first.mp4", shape, 20)
    second = make_video(folder / "second.mp4", shape, 20, size, encoder_options=other | {"g": "10"})
    video = join_with_settings(first, second, folder / "joined.mp4")
    expected = decode_in_full(first) + decode_in_full(second)
    with caplog.at_level(logging.DEBUG, "h36m.process.video"):
        if size == (WIDTH, HEIGHT):
            assert_same(video, [35], expected)
            assert_same(video, [0, 19, 20, 39], expected)
        else:
            with pytest.raises(TaskError, match=r"expected frames of 128 x 96 .* found 128 x 128"):
                list(decode_frames(video, [35]))
    assert "packet 20: decoding everything" in caplog.text


@pytest.mark.parametrize("shape", ["h264 with B-frames", "mpeg4 without B-frames", "mpeg4 with B-frames", "hevc"])
@pytest.mark.parametrize(
    ("times", "last", "found"),
    [
        (EVEN[:50] + EVEN[51:], 50, "a gap in its time stamps before frame 50 (2.04 s)"),
        (EVEN[:50] + EVEN[51:], 49, None),  # no image is of a frame after it
        ([*EVEN[:50], 99, *EVEN[50:]], 51, "a double in its time stamps before frame 50 (1.98 s) and 1 more"),
        (EVEN[:2] + EVEN[70:], 3, "a gap in its time stamps before frame 2 (2.80 s)"),
        ([time + 7 for time in EVEN], FRAMES - 1, None),
    ],
    ids=["lost", "lost later", "recorded twice", "pause", "even"],
)
def test_gap_or_double_in_time_stamps_is_a_notice(folder, tmp_path, shape, times, last, found):
    video = make_video(folder / "uneven.mp4", shape, times=times)
    written = write_images(video, [0, last], tmp_path)
    assert written.frames == len(times)
    assert [notice.partition(": ")[0] for notice in written.notices] == ([f"uneven.mp4 has {found}"] if found else [])


def test_gap_where_a_frame_takes_one_unit_of_time_is_a_notice(folder, tmp_path):
    video = make_video(folder / "coarse.avi", "mpeg4 without B-frames", times=[*range(50), *range(51, FRAMES)])
    assert "before frame 50 (1.02 s)" in write_images(video, [60], tmp_path).notices[0]


def test_another_codec_is_decoded_in_full(folder, caplog):
    video = folder / "mjpeg.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mjpeg", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 9, np.uint8))))
        container.mux(stream.encode())
    with caplog.at_level(logging.DEBUG, "h36m.process.video"):
        assert_same(video, [0, 7, 19], decode_in_full(video))
    assert "mjpeg packet 0: decoding everything" in caplog.text


def test_only_groups_with_a_wanted_frame_are_decoded_and_only_up_to_it(folder, monkeypatch):
    video = make_video(folder / "few.mp4", "mpeg4 without B-frames", FRAMES)
    decoded = []
    monkeypatch.setattr("h36m.process.video._decode", lambda video, context, packet: decoded.append(packet) or [])
    with pytest.raises(TaskError):  # no frames come out of this decoder
        list(decode_frames(video, [64]))
    # Groups are of 12 frames: the one from 60 to 71 is decoded up to 64, then flushed.
    assert [packet and packet.pts // UNITS_PER_FRAME for packet in decoded] == [60, 61, 62, 63, 64, None]


def test_b_frames_that_are_not_wanted_are_not_decoded(folder, monkeypatch):
    video = make_video(folder / "b.mp4", "h264 with B-frames", FRAMES)
    skipped = []
    decode = h36m.process.video._decode

    def spy(video, context, packet):
        if packet is not None:
            skipped.append((packet.pts // UNITS_PER_FRAME, context.skip_frame))
        return decode(video, context, packet)

    monkeypatch.setattr("h36m.process.video._decode", spy)
    assert [index for index, _ in decode_frames(video, [4, 36])] == [4, 36]
    assert {number for number, skip in skipped if skip == "DEFAULT"} == {4, 36}
    assert max(number for number, _ in skipped if number < 30) <= 6


def test_nothing_wanted_reads_nothing():
    assert list(decode_frames(Path("there is no such file.mp4"), [])) == []


# --- images ---


def peak_signal_to_noise(image: bytes, frame: av.VideoFrame) -> list[float]:
    """Return the PSNR of luma and of both chroma planes of a JPEG against its frame (limited range), dB."""
    with av.open(io.BytesIO(image), format="jpeg_pipe") as container:
        found = planes(next(container.decode(video=0)))
    luma, *chroma = planes(frame)
    expected = [(luma - 16.0) * 255 / 219, *((plane - 128.0) * 255 / 224 + 128 for plane in chroma)]
    return [
        10 * np.log10(255**2 / np.mean((plane - values) ** 2)) for plane, values in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize("shape", ["h264 with B-frames", "mpeg4 without B-frames"])
def test_images_are_the_wanted_frames_under_their_names(folder, tmp_path, shape):
    video = make_video(folder / "images.mp4", shape, 20, size=(320, 242))
    write_images(video, [0, 7, 19], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [image_name(index) for index in (0, 7, 19)]
    frames = dict(decode_frames(video, [0, 7, 19]))
    assert list(frames) == [0, 7, 19]
    for index, frame in frames.items():
        image = (tmp_path / image_name(index)).read_bytes()
        assert min(peak_signal_to_noise(image, frame)) >= 36  # with another frame it is below 20


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg program to compare with")
@pytest.mark.parametrize(
    ("shape", "look"),
    [
        ("h264 with B-frames", {"coarseness": 12, "grain": 0}),
        ("mpeg4 without B-frames", {"coarseness": 1, "grain": 0}),
        ("mpeg4 without B-frames", {"coarseness": 12, "grain": 10}),
    ],
    ids=["smooth", "textured", "grainy"],
)
def test_images_are_as_good_as_those_of_the_older_tools(folder, tmp_path, shape, look):
    """They call ffmpeg with -qscale:v 3."""
    fine = {"qp": "2", "qmin": "1", "qmax": "2"}  # of either encoder, so that grain stays
    video = make_video(folder / "images.mp4", shape, 20, size=(640, 480), encoder_options=fine, look=look)
    command = ["ffmpeg", "-loglevel", "error", "-i", video, "-qscale:v", "3", tmp_path / "img_%06d.jpg"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    frames = dict(decode_frames(video, [0, 7, 19]))
    assert list(frames) == [0, 7, 19]
    for index, frame in frames.items():
        theirs, ours = (tmp_path / image_name(index)).read_bytes(), encode_jpeg(frame)
        ratios = zip(peak_signal_to_noise(ours, frame), peak_signal_to_noise(theirs, frame), strict=True)
        assert all(ours >= theirs - 0.01 for ours, theirs in ratios)


def test_images_are_4_2_0_jfif(folder, tmp_path):
    write_images(make_video(folder / "jfif.mp4", "h264 with B-frames", 5), [2], tmp_path)
    with Image.open(tmp_path / image_name(2)) as image:
        assert image.format == "JPEG" and image.mode == "RGB" and "jfif" in image.info
        # Component, horizontal and vertical sampling: luma twice as fine as chroma in both directions.
        assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]


COLORS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "skin": (224, 172, 140),
}
# Range and matrix as the frame is tagged -> numbers of ITU-T H.273, which frames carry.
BT709, BT601, LIMITED, FULL, NOT_SAID = 1, 5, 1, 2, 2


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    ("matrix", "color_range", "tags"),
    [
        (Colorspace.ITU601, ColorRange.MPEG, (NOT_SAID, 0)),  # as most videos: nothing said
        (Colorspace.ITU601, ColorRange.MPEG, (BT601, LIMITED)),
        (Colorspace.ITU709, ColorRange.MPEG, (BT709, LIMITED)),
        (Colorspace.ITU601, ColorRange.JPEG, (BT601, FULL)),
        (Colorspace.ITU709, ColorRange.JPEG, (BT709, FULL)),
    ],
)
def test_colors_are_right_whatever_range_and_matrix_the_video_has(matrix, color_range, tags, color):
    pixels = np.full((50, 64, 3), COLORS[color], np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=matrix, dst_color_range=color_range
    )
    frame.colorspace, frame.color_range = tags
    found = np.asarray(Image.open(io.BytesIO(encode_jpeg(frame))), dtype=int)
    # 8-bit limited range has 219 steps of luma: one step of it is up to 3 of RGB.
    assert np.abs(found - COLORS[color]).max() <= 4, found[0, 0]


@pytest.mark.parametrize("size", [(1000, 1002), (101, 67), (64, 67), (101, 64), (17, 15), (2, 2), (1, 1)])
def test_images_of_any_size_have_no_padding_in_them(size):
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24").reformat(format="yuv420p")
    with Image.open(io.BytesIO(encode_jpeg(frame))) as image:
        assert image.size == size
        found = np.asarray(image, dtype=int)
    if min(size) > 2:  # chroma of smaller ones is a mixture
        assert np.abs(found - pixels)[:, -1].mean() < 8 and np.abs(found - pixels)[-1].mean() < 8
