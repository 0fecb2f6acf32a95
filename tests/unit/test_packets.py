"""h36m/process/packets.py and jpeg.py function by function: hand-made packets and frames."""

import av
import pytest

from h36m.process.jpeg import with_full_range
from h36m.process.packets import (
    NoPlanError,
    PacketFacts,
    decoding_runs,
    number_frames,
    read_h264,
    read_mpeg4,
)

# -- plans -------------------------------------------------------------------------------------------------------------


def packets(text: str, step: int = 1) -> list[PacketFacts]:
    """Read packets in the order of the file: kind (I: decoding can start there, h: hidden) and when each is shown.

    `packets("I0 P3 b1 b2")`: b is a B picture that no other refers to, B one that another does.
    """
    return [
        PacketFacts(int(word.strip("IPBbh")) * step, word[0] == "I", word[0] in "Bb", word[0] != "b", word[-1] == "h")
        for word in text.split()
    ]


@pytest.mark.parametrize(
    ("text", "numbered"),
    [
        ("I0", [0]),
        ("I0 P1 P2", [0, 1, 2]),
        ("I0 P3 b1 b2 P5 b4", [0, 2, 3, 1, 5, 4]),
        ("I0 P4 B2 b1 b3", [0, 3, 2, 4, 1]),
        ("I7 P8 P9", [0, 1, 2]),  # numbered from 0 whenever the first is shown
        ("I0h P1h P2 P3", [2, 3]),
        ("I0 I3 b1 b2", [0, 2, 3, 1]),  # an open group
    ],
)
def test_frames_are_numbered_in_the_order_of_presentation(text, numbered):
    assert number_frames(packets(text, step=512)) == numbered


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P0 P1",  # decoding cannot start
        "I0 P2 P1",  # not as its kind has it
        "I0 P1 b2",
        "I0 P1 P1",
        "I0 P1 P3",  # one is missing
        "I2 P3 b1",  # shown before the beginning
    ],
)
def test_packets_that_contradict_each_other_give_no_plan(text):
    with pytest.raises(NoPlanError):
        number_frames(packets(text, step=512))


def test_unit_of_time_may_be_too_coarse_by_one():
    assert number_frames(packets("I0 P33 P67 P100")) == [0, 1, 2, 3]
    for text in ("I0 P33 P68", "I0 P1 P3"):
        with pytest.raises(NoPlanError):
            number_frames(packets(text))


@pytest.mark.parametrize(
    ("text", "positions", "runs"),
    [
        ("I0 P1 P2 I3 P4 P5", [0], [(0, 0)]),
        ("I0 P1 P2 I3 P4 P5", [2], [(0, 2)]),
        ("I0 P1 P2 I3 P4 P5", [4], [(3, 4)]),
        ("I0 P1 P2 I3 P4 P5", [5, 1], [(0, 1), (3, 5)]),
        ("I0 P1 P2 I3 P4 P5", [1, 2, 5], [(0, 2), (3, 5)]),
        ("I0 P3 b1 b2 I6 b4 b5", [5], [(0, 5)]),  # in an open group: before its start, so it needs the group before
        ("I0 P3 b1 b2 I6 b4 b5", [4], [(4, 4)]),
        ("I0 P3 b1 b2 I6 b4 b5", [4, 5], [(0, 5)]),
    ],
)
def test_decoding_starts_where_it_can_and_ends_at_the_wanted_frame(text, positions, runs):
    assert decoding_runs(packets(text), positions) == runs


# -- pictures in packets -----------------------------------------------------------------------------------------------


MP4_SETTINGS = bytes([1, 77, 0, 30, 0xFC | 3])  # of H.264: version 1, lengths of four bytes
IDR, REFERENCE, NOT_A_REFERENCE, SEI, SEQUENCE_SETTINGS = 0x65, 0x41, 0x01, 0x06, 0x67
# The first byte of a slice: the first block, then the kind of slice.
I_SLICE, P_SLICE, B_SLICE, ALL_P_SLICE, ALL_B_SLICE, SECOND_SLICE = 0x88, 0xC0, 0xA0, 0x98, 0x9C, 0x40


def units(*pairs) -> bytes:
    """Return NAL units, each of a header, a first byte and some more, as MP4 has them."""
    return b"".join((10).to_bytes(4, "big") + bytes([*pair]) + bytes(8) for pair in pairs)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (units((IDR, I_SLICE)), (True, False, True)),
        (units((SEI, 0), (IDR, I_SLICE), (IDR, SECOND_SLICE)), (True, False, True)),
        (units((REFERENCE, I_SLICE)), (False, False, True)),
        (units((REFERENCE, P_SLICE)), (False, False, True)),
        (units((REFERENCE, ALL_P_SLICE)), (False, False, True)),
        (units((NOT_A_REFERENCE, P_SLICE)), (False, False, False)),
        (units((REFERENCE, B_SLICE)), (False, True, True)),
        (units((NOT_A_REFERENCE, B_SLICE)), (False, True, False)),
        (units((NOT_A_REFERENCE, ALL_B_SLICE)), (False, True, False)),
    ],
)
def test_h264_pictures_are_known_by_their_first_bytes(payload, expected):
    assert read_h264(payload, MP4_SETTINGS) == expected


@pytest.mark.parametrize(
    ("payload", "extradata"),
    [
        (units((IDR, I_SLICE)), b""),
        (units((IDR, I_SLICE)), b"\0\0\0\1" + MP4_SETTINGS),
        (units((IDR, I_SLICE), (IDR, I_SLICE)), MP4_SETTINGS),
        (units((SEQUENCE_SETTINGS, 1), (IDR, I_SLICE)), MP4_SETTINGS),
    ],
    ids=["no settings", "raw stream", "two pictures", "other settings"],
)
def test_h264_that_is_not_as_mp4_has_it_gives_no_plan(payload, extradata):
    with pytest.raises(NoPlanError):
        read_h264(payload, extradata)


@pytest.mark.parametrize("payload", [b"", units((SEI, 0)), units((IDR, I_SLICE))[:-1], bytes(4)])
def test_h264_packet_without_a_whole_picture_is_an_error(payload):
    with pytest.raises(ValueError):
        read_h264(payload, MP4_SETTINGS)


def mpeg4_picture(kind: int) -> bytes:
    return b"\0\0\1\xb6" + bytes([kind << 6]) + bytes(40)


@pytest.mark.parametrize(
    ("kind", "expected"), [(0, (True, False, True)), (1, (False, False, True)), (2, (False, True, False))]
)
def test_mpeg4_pictures_are_known_by_their_first_bits(kind, expected):
    assert read_mpeg4(mpeg4_picture(kind), b"\0\0\1\x20") == expected
    repeated = b"\0\0\1\x20some\0\0\1\xb2user data"
    assert read_mpeg4(repeated + mpeg4_picture(kind), repeated) == expected


@pytest.mark.parametrize(
    ("payload", "extradata", "error"),
    [
        (mpeg4_picture(0), b"", NoPlanError),
        (mpeg4_picture(0) + mpeg4_picture(2), b"\0\0\1\x20", NoPlanError),
        (mpeg4_picture(1)[:19], b"\0\0\1\x20", NoPlanError),
        (b"\0\0\1\x20other" + mpeg4_picture(0), b"\0\0\1\x20some", NoPlanError),
        (bytes(40), b"\0\0\1\x20", ValueError),
    ],
    ids=["no settings", "two pictures", "not coded", "other settings", "none"],
)
def test_unknown_mpeg4_gives_no_plan(payload, extradata, error):
    with pytest.raises(error):
        read_mpeg4(payload, extradata)


# -- colours -----------------------------------------------------------------------------------------------------------


def flat_frame(values: tuple[int, int, int], color_range: int | None = None) -> av.VideoFrame:
    """Return a yuv420p frame whose planes have one value each."""
    frame = av.VideoFrame(16, 16, "yuv420p")
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    if color_range is not None:
        frame.color_range = color_range
    return frame


@pytest.mark.parametrize(
    ("color_range", "values", "full"),
    [
        (None, (16, 128, 128), (0, 128, 128)),
        (1, (235, 16, 240), (255, 0, 255)),
        (1, (126, 72, 184), (128, 64, 192)),
        (1, (0, 0, 255), (0, 0, 255)),
        (2, (16, 100, 200), (16, 100, 200)),  # it is the full range already
    ],
)
def test_video_range_becomes_the_full_range_of_jpeg(color_range, values, full):
    frame = with_full_range(flat_frame(values, color_range))
    assert tuple(frame.to_ndarray()[row, 0] for row in (0, 16, 20)) == full
