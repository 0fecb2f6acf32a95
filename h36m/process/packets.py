"""Read from a video's packets, without decoding, which frame each contains and where decoding can start.

The presentation times number the frames, and the first bytes of each picture say of which kind it is.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from h36m.dataset import unpack_again
from h36m.errors import TaskError

# ISO/IEC 14496-10 (H.264), table 7-1: types of NAL units.
H264_SLICE, H264_SLICE_OF_IDR, H264_PARAMETER_SETS = 1, 5, (7, 8)
# The first byte of an H.264 slice: bit 7 is set in the first slice of a picture, the type of the slice follows in an
# exp-Golomb code (9.1): 010 or 00111 for B.
H264_FIRST_SLICE = 0b1000_0000

# ISO/IEC 14496-2 (MPEG-4 Part 2), table 6-3: start codes of a picture (VOP) and a stream's settings (VOL).
MPEG4_PICTURE = b"\x00\x00\x01\xb6"
MPEG4_START = b"\x00\x00\x01"
MPEG4_SETTINGS = tuple(MPEG4_START + bytes([code]) for code in range(0x20, 0x30))
# The two bits after it: 0 for an I picture, 2 for a B picture.
MPEG4_INTRA, MPEG4_BIDIRECTIONAL = 0, 2
# A smaller packet may say "not coded", and then no picture comes out of it. FFmpeg's decoder draws its line at 19.
MPEG4_SMALLEST_PICTURE = 20

# Of time from frame to frame, as parts of the usual one. Where a frame takes 2.5 units of time, steps are of 2 and 3.
SMALLEST_EVEN_STEP, LARGEST_EVEN_STEP = 0.6, 1.6

# Four times those of the dataset: a decoder holds up to 17 frames, and a damaged size is not to fill the memory.
MOST_PIXELS = 2**22

# Titles and other metadata are not read, so they may be in any encoding. PyAV 19 and later always accept them.
ANY_METADATA: Any = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}

# Errors that FFmpeg's libraries report are handled in _decode; nothing else of theirs is to be printed.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)


class PacketFacts(NamedTuple):
    """What a plan needs to know about a packet with one picture. Its payload is read again when it is decoded."""

    time: int  # of presentation, in the stream's unit
    is_random_access_point: bool  # decoding can start here: only pictures shown before this one may need earlier ones
    is_b_frame: bool  # it is shown before one that precedes it in the file
    is_reference: bool  # other pictures may need it
    is_hidden: bool  # an edit list keeps it from being shown


class NoPlanError(Exception):
    """The packets do not tell enough; the message says why."""


def damaged(video: Path, found: str) -> TaskError:
    return TaskError(f"{video}: video is damaged ({found}); {unpack_again(video)}")


def read_packet_facts(video: Path) -> list[PacketFacts]:
    """Read a video's packets, in the order of the file, without decoding them.

    Raises:
        NoPlanError: the content of one of them is unknown.
        TaskError: the video cannot be read to its end, or a packet holds no picture.
    """
    facts: list[PacketFacts] = []
    for packet, context in packets_of(video, for_decoding=False):
        read = {"h264": read_h264, "mpeg4": read_mpeg4}.get(context.name)
        # Of another codec, without a time, or with other settings, which a decoder that starts behind it would not get.
        if read is None or packet.pts is None or packet.has_sidedata("new_extradata"):
            raise NoPlanError(f"no plan can include {context.name} packet {len(facts)}")
        try:
            is_random_access_point, is_b_frame, is_reference = read(bytes(packet), context.extradata or b"")
        except ValueError as error:
            raise damaged(video, f"packet {len(facts)} {error}") from None
        facts.append(PacketFacts(packet.pts, is_random_access_point, is_b_frame, is_reference, packet.is_discard))
    return facts


def read_h264(payload: bytes, extradata: bytes) -> tuple[bool, bool, bool]:
    """Return whether decoding can start at an H.264 packet, it is a B picture, and others may refer to it.

    A container's mark of a keyframe is not enough for the first: open groups and intra refresh mark pictures after
    which others still refer to earlier ones. After an IDR picture none can.

    Raises:
        NoPlanError: that is unknown.
        ValueError: there is no whole picture in it.
    """
    # ISO/IEC 14496-15: version 1, and in the fifth byte the number of bytes, less one, of a NAL unit's length.
    if not extradata or extradata[0] != 1:
        raise NoPlanError("its H.264 is not as MP4 has it")
    length_bytes = (extradata[4] & 3) + 1
    start, pictures, is_b_frame, is_reference, types = 0, 0, False, False, set()
    while start < len(payload):
        length = int.from_bytes(payload[start : start + length_bytes], "big")
        start += length_bytes
        # The first bytes tell all; a slice of some kilobytes is not copied for them.
        if length < 1 or start + length > len(payload):
            raise ValueError("is cut short")
        header = payload[start]
        nal_type = header & 31
        if nal_type in (H264_SLICE, H264_SLICE_OF_IDR) and length > 1:
            types.add(nal_type)
            is_reference |= header >> 5 != 0
            slice_header = payload[start + 1]
            if slice_header & H264_FIRST_SLICE:
                pictures += 1
                is_b_frame = (slice_header >> 4 & 0b111) == 0b010 or (slice_header >> 2 & 0b11111) == 0b00111
        elif nal_type in H264_PARAMETER_SETS and payload[start : start + length] not in extradata:
            raise NoPlanError("a packet holds other settings")
        start += length
    if pictures == 0:
        raise ValueError("holds no picture")
    if pictures > 1:
        raise NoPlanError(f"a packet holds {pictures} pictures")
    return types == {H264_SLICE_OF_IDR}, is_b_frame, is_reference


def read_mpeg4(payload: bytes, extradata: bytes) -> tuple[bool, bool, bool]:
    """Return whether decoding can start at an MPEG-4 Part 2 packet, it is a B picture, and others may refer to it.

    Raises:
        NoPlanError: that is unknown.
        ValueError: there is no picture in it.
    """
    if not any(code in extradata for code in MPEG4_SETTINGS):
        raise NoPlanError("its MPEG-4 settings are not where MP4 has them")
    pictures = payload.count(MPEG4_PICTURE)
    if pictures == 0:
        raise ValueError("holds no picture")
    if pictures > 1 or len(payload) < MPEG4_SMALLEST_PICTURE:
        raise NoPlanError(f"a packet of {len(payload)} bytes holds {pictures} pictures")
    start = payload.index(MPEG4_PICTURE)
    # Settings may be repeated; others would hold for the pictures after them.
    for part in payload[:start].split(MPEG4_START)[1:]:
        if MPEG4_START + part[:1] in MPEG4_SETTINGS and MPEG4_START + part not in extradata:
            raise NoPlanError("a packet holds other settings")
    kind = payload[start + len(MPEG4_PICTURE)] >> 6
    return kind == MPEG4_INTRA, kind == MPEG4_BIDIRECTIONAL, kind != MPEG4_BIDIRECTIONAL


def number_frames(packets: list[PacketFacts]) -> list[int]:
    """Return for each frame, in the order of presentation, which packet holds it.

    Raises:
        NoPlanError: the presentation times contradict each other or the pictures.
    """
    if not packets or not packets[0].is_random_access_point:
        raise NoPlanError("it does not begin where decoding can start")
    first = packets[0].time
    latest = first - 1
    for position, packet in enumerate(packets):
        # A broken table of times shows here, as all but B pictures are shown in the order of the file. A picture that
        # is shown before the first packet's needs some from before the beginning.
        if packet.is_b_frame == (packet.time > latest) or (packet.time < first and not packet.is_hidden):
            raise NoPlanError(f"packet {position} is shown at an unexpected time")
        latest = max(latest, packet.time)
    numbered = sorted(
        (position for position, packet in enumerate(packets) if not packet.is_hidden),
        key=lambda position: packets[position].time,
    )
    steps = np.diff([packets[position].time for position in numbered])
    # The frame rate is constant; a unit of time may be too coarse for it by one, but not if a frame takes one unit.
    if len(steps) and (steps.min() < 1 or steps.max() - steps.min() > (steps.min() > 1)):
        raise NoPlanError(f"its frames are {steps.min()} to {steps.max()} units of time apart")
    return numbered


def uneven_times(video: Path, times: list[float | None], last: int) -> list[str]:
    """Return a notice where the frames of a video up to one have a gap or a double in their time stamps.

    A lost frame leaves a gap, one that was recorded twice a double. Nothing is known of frames without time stamps.

    Args:
        times: of presentation, of all frames, in any order, seconds.
        last: the frame up to which they count, from 0.
    """
    known = sorted(time for time in times if time is not None)
    if len(known) != len(times) or len(known) < 2:
        return []
    steps = np.diff(known)
    steps = steps[:last] / (np.median(steps) or 1)
    uneven = np.flatnonzero((steps > LARGEST_EVEN_STEP) | (steps < SMALLEST_EVEN_STEP))
    if not len(uneven):
        return []
    first = uneven[0] + 1
    kind = "gap" if steps[uneven[0]] > 1 else "double"
    more = f" and {len(uneven) - 1} more" if len(uneven) > 1 else ""
    return [
        f"{video.name} has a {kind} in its time stamps before frame {first} ({known[first]:.2f} s){more}: images from "
        "there on may not fit their poses; check them with --preview"
    ]


def decoding_runs(packets: list[PacketFacts], positions: list[int]) -> list[tuple[int, int]]:
    """Return the first and last packet of each run that has to be decoded for the packets at some positions."""
    runs: list[tuple[int, int]] = []
    for position in sorted(positions):
        start = position
        # A B picture after a start, but shown before it, needs pictures from before that start.
        while not (packets[start].is_random_access_point and packets[start].time <= packets[position].time):
            start -= 1
        while runs and start <= runs[-1][1]:
            earlier_start, _ = runs.pop()
            start = min(start, earlier_start)
        runs.append((start, position))
    return runs


def packets_of(
    video: Path, with_flush: bool = False, for_decoding: bool = True
) -> Iterator[tuple[av.Packet, av.VideoCodecContext]]:
    """Yield a video's packets, each with the decoder to which it belongs.

    Args:
        with_flush: yield an empty last one, which makes the decoder return its last frames.
        for_decoding: False spares the pictures that FFmpeg's libraries decode on opening to tell how the decoder should
            order its frames.
    """
    options = {} if for_decoding else {"skip_frame": "all"}
    try:
        with av.open(str(video), options=options, **ANY_METADATA) as container:
            if not container.streams.video:
                raise TaskError(f"{video}: expected a video, found none in it; {unpack_again(video)}")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None:
                raise TaskError(
                    f"{video}: expected H.264 or MPEG-4, found a video that FFmpeg's libraries cannot decode"
                )
            if context.width * context.height > MOST_PIXELS:
                found_size = f"{context.width} x {context.height}"
                raise TaskError(
                    f"{video}: expected frames of about 1000 x 1000 pixels, found {found_size}; {unpack_again(video)}"
                )
            context.options = {"max_pixels": str(MOST_PIXELS)}  # for frames of another size than the file says
            context.thread_count = 1  # processes fill the cores
            for found, packet in enumerate(container.demux(stream)):
                if packet.is_corrupt:
                    raise damaged(video, f"packet {found} is cut short")
                is_flush = packet.size == 0 and packet.dts is None  # PyAV's last one, which is not in the file
                if is_flush and found < len(stream.index_entries):
                    raise damaged(video, f"{found} of {len(stream.index_entries)} packets")
                if packet.size or (is_flush and with_flush):
                    yield packet, context
    except av.FFmpegError as error:
        raise TaskError(f"{video}: video cannot be read ({error.strerror}); {unpack_again(video)}") from error
