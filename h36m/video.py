"""Just the wanted frames of a video, bit for bit as decoding everything gives them, and their JPEG images.

The packets of a video are read first, without decoding them. Their presentation times number the frames, and the first
bytes of each picture say where decoding can start. Then only the runs of packets that lead to a wanted frame are
decoded, without the frames that nothing refers to and nobody wants. Where the packets do not tell enough for such a
plan, everything is decoded and counted.
"""

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from h36m.console import Problem
from h36m.frames import image_name

# FFmpeg's scale from 1 (best) to 31, the ffmpeg program's `-qscale:v`. The older tools' is 3, which keeps 38 dB of a
# picture full of grain; 2 keeps 40 dB of it. FFmpeg's encoder gives each picture more PSNR for its bytes than
# libjpeg-turbo, whose tables are made for the eye, at twice its 2 ms an image: benchmarks/process.py compares them.
JPEG_QSCALE = 2

# Video has 16 for black and 235 for white (for colour, 16 to 240 around 128), JPEG 0 and 255: ITU-T T.871, and H.273
# for the numbers with which frames say otherwise. libswscale would round colour down, by half a step on average.
_VALUES = np.arange(256)
FULL_RANGE_LUMA = np.rint((_VALUES - 16) * 255 / 219).clip(0, 255).astype(np.uint8).tobytes()
FULL_RANGE_CHROMA = np.rint((_VALUES - 128) * 255 / 224 + 128).clip(0, 255).astype(np.uint8).tobytes()
UNSAID_OR_BT601, UNSAID_OR_LIMITED = (2, 5, 6), (0, 1)

# ISO/IEC 14496-10 (H.264), table 7-1: types of NAL units.
H264_SLICE, H264_SLICE_OF_IDR, H264_PARAMETER_SETS = 1, 5, (7, 8)
# The first byte of an H.264 slice: bit 7 is set in the first slice of a picture, the type of the slice follows in an
# exp-Golomb code (9.1): 010 or 00111 for B.
H264_FIRST_SLICE = 0b1000_0000

# ISO/IEC 14496-2 (MPEG-4 Part 2), table 6-3: what stands before a picture (VOP) and a stream's settings (VOL).
MPEG4_PICTURE = b"\x00\x00\x01\xb6"
MPEG4_SETTINGS = tuple(b"\x00\x00\x01" + bytes([code]) for code in range(0x20, 0x30))
# The two bits after it: 0 for an I picture, 2 for a B picture.
MPEG4_INTRA, MPEG4_BIDIRECTIONAL = 0, 2
# A smaller packet may say "not coded", and then no picture comes out of it. FFmpeg's decoder draws its line at 19.
MPEG4_SMALLEST_PICTURE = 20

# What FFmpeg's libraries report as errors is caught in _decode; of the rest nothing is to be printed.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
# H.264 that begins with an open group frees pictures that it never had; were one needed, another error would say so.
HARMLESS_REPORT = "mmco: unref short failure"

logger = logging.getLogger(__name__)


class PacketFacts(NamedTuple):
    """What a plan needs of a packet, which holds one picture. The payload is read again when it is decoded."""

    time: int  # of presentation, in the stream's unit
    starts: (
        bool  # decoding can start here: no picture from here on needs one before, unless it is shown before this one
    )
    bidirectional: bool  # a B picture: it is shown before one that stands before it in the file
    referenced: bool  # other pictures may need it
    hidden: bool  # an edit list keeps it from being shown


class NoPlan(Exception):
    """The packets do not tell enough; the message says why."""


def write_images(video: Path, wanted: Sequence[int], folder: Path, qscale: int = JPEG_QSCALE) -> None:
    """Write the wanted frames of a video as `img_%06d.jpg`, frame 0 as number 1; each whole or not at all.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation.
        folder: where the images go; it must exist.
        qscale: 1 (best) to 31, FFmpeg's scale.

    Raises:
        Problem: as `decode_frames`.
        OSError: an image cannot be written.
    """
    for index, frame in decode_frames(video, wanted):
        image = folder / image_name(index)
        unfinished = image.with_suffix(".part")
        try:
            unfinished.write_bytes(encode_jpeg(frame, qscale))
            unfinished.replace(image)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def encode_jpeg(frame: av.VideoFrame, qscale: int = JPEG_QSCALE) -> bytes:
    """Return a decoded frame as a JPEG file (JFIF: 4:2:0, BT.601 matrix, full range).

    Args:
        frame: of any format.
        qscale: 1 (best) to 31, FFmpeg's scale.
    """
    frame = with_full_range(frame)
    encoder = av.CodecContext.create("mjpeg", "w")
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
    tables = (FULL_RANGE_LUMA, FULL_RANGE_CHROMA, FULL_RANGE_CHROMA)
    if not is_plain:
        frame = VideoReformatter().reformat(
            frame, format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG, threads=1
        )
        tables = (None, None, None)  # nothing is left to change
    full = av.VideoFrame(frame.width, frame.height, "yuvj420p")
    for source, target, table in zip(frame.planes, full.planes, tables, strict=True):
        # bytes.translate is twice as fast as indexing with numpy.
        rows = np.frombuffer(bytes(source).translate(table), np.uint8).reshape(-1, source.line_size)
        np.frombuffer(target, np.uint8).reshape(-1, target.line_size)[:, : target.width] = rows[:, : source.width]
    return full


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
    wanted = sorted(set(wanted))
    if not wanted:
        return
    try:
        packets = _read_packet_facts(video)
        numbered = _number_frames(packets)
    except NoPlan as reason:
        logger.debug("%s: %s: decoding everything", video, reason)
        yield from _decode_everything(video, wanted)
        return
    if len(numbered) <= wanted[-1]:
        raise _too_few(video, wanted, len(numbered))
    frames = _decode_planned(video, packets, [numbered[index] for index in wanted])
    yield from zip(wanted, frames, strict=True)


def _too_few(video: Path, wanted: list[int], found: int) -> Problem:
    return Problem(f"{video}: expected at least {wanted[-1] + 1} frames, found {found}")


def _damaged(video: Path, found: str) -> Problem:
    return Problem(f"{video}: expected whole frames, found damage ({found}): unpack it again")


def _read_packet_facts(video: Path) -> list[PacketFacts]:
    """Read a video's packets, in the order of the file, without decoding them.

    Raises:
        NoPlan: what one of them holds cannot be told.
        Problem: the video cannot be read to its end, or a packet holds no picture.
    """
    facts = []
    for packet, context in _packets(video, for_decoding=False):
        read = {"h264": _read_h264, "mpeg4": _read_mpeg4}.get(context.name)
        if read is None:
            raise NoPlan(f"there is no plan for {context.name}")
        if packet.pts is None:
            raise NoPlan(f"packet {len(facts)} has no presentation time")
        try:
            starts, bidirectional, referenced = read(bytes(packet), context.extradata or b"")
        except ValueError as error:
            raise _damaged(video, f"packet {len(facts)} {error}") from None
        facts.append(PacketFacts(packet.pts, starts, bidirectional, referenced, packet.is_discard))
    return facts


def _read_h264(payload: bytes, extradata: bytes) -> tuple[bool, bool, bool]:
    """Tell from an H.264 packet whether decoding can start there, it is a B picture, others may refer to it.

    A container's mark of a keyframe is not enough for the first: open groups and intra refresh mark pictures after
    which others still refer to earlier ones. After an IDR picture none can.

    Raises:
        NoPlan: it cannot be told.
        ValueError: there is no whole picture in it.
    """
    # ISO/IEC 14496-15: version 1, and in the fifth byte the number of bytes, less one, of a NAL unit's length.
    if not extradata or extradata[0] != 1:
        raise NoPlan("its H.264 is not as MP4 has it")
    length_bytes = (extradata[4] & 3) + 1
    pictures, bidirectional, referenced, types, other_settings = 0, False, False, set(), False
    start = 0
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
            referenced |= header >> 5 != 0
            slice_header = payload[start + 1]
            if slice_header & H264_FIRST_SLICE:
                pictures += 1
                bidirectional = (slice_header >> 4 & 0b111) == 0b010 or (slice_header >> 2 & 0b11111) == 0b00111
        elif nal_type in H264_PARAMETER_SETS:
            other_settings |= payload[start : start + length] not in extradata
        start += length
    if pictures == 0:
        raise ValueError("holds no picture")
    if pictures > 1 or other_settings:
        raise NoPlan(f"a packet holds {pictures} pictures{' and other settings' * other_settings}")
    return types == {H264_SLICE_OF_IDR}, bidirectional, referenced


def _read_mpeg4(payload: bytes, extradata: bytes) -> tuple[bool, bool, bool]:
    """Tell from an MPEG-4 Part 2 packet whether decoding can start there, it is a B picture, others may refer to it.

    Raises:
        NoPlan: it cannot be told.
        ValueError: there is no picture in it.
    """
    if not any(code in extradata for code in MPEG4_SETTINGS):
        raise NoPlan("its MPEG-4 settings are not where MP4 has them")
    pictures = payload.count(MPEG4_PICTURE)
    if pictures == 0:
        raise ValueError("holds no picture")
    if pictures > 1 or len(payload) < MPEG4_SMALLEST_PICTURE:
        raise NoPlan(f"a packet of {len(payload)} bytes holds {pictures} pictures")
    kind = payload[payload.index(MPEG4_PICTURE) + len(MPEG4_PICTURE)] >> 6
    return kind == MPEG4_INTRA, kind == MPEG4_BIDIRECTIONAL, kind != MPEG4_BIDIRECTIONAL


def _number_frames(packets: list[PacketFacts]) -> list[int]:
    """Return for each frame, in the order of presentation, which packet holds it.

    Raises:
        NoPlan: the presentation times contradict each other or the pictures.
    """
    if not packets or not packets[0].starts:
        raise NoPlan("it does not begin where decoding can start")
    latest = packets[0].time - 1
    for position, packet in enumerate(packets):
        # A broken table of times shows here, as all but B pictures are shown in the order of the file.
        if packet.bidirectional == (packet.time > latest):
            raise NoPlan(f"packet {position} is shown at an unexpected time")
        latest = max(latest, packet.time)
    numbered = sorted(
        (position for position, packet in enumerate(packets) if not packet.hidden),
        key=lambda position: packets[position].time,
    )
    if numbered and packets[numbered[0]].time < packets[0].time:
        raise NoPlan("its first pictures need some from before its beginning")
    steps = np.diff([packets[position].time for position in numbered])
    # The frame rate is constant; a unit of time may be too coarse for it by one.
    if len(steps) and (steps.min() < 1 or steps.max() - steps.min() > 1):
        raise NoPlan(f"its frames are {steps.min()} to {steps.max()} units of time apart")
    return numbered


def _runs(packets: list[PacketFacts], positions: list[int]) -> list[tuple[int, int]]:
    """Return the first and last packet of each run that has to be decoded for the packets at some positions."""
    runs = []
    for position in sorted(positions):
        start = position
        # A B picture after a start, but shown before it, needs what stands before that start.
        while not (packets[start].starts and packets[start].time <= packets[position].time):
            start -= 1
        while runs and start <= runs[-1][1]:
            earlier_start, _ = runs.pop()
            start = min(start, earlier_start)
        runs.append((start, position))
    return runs


def _decode_planned(video: Path, packets: list[PacketFacts], positions: list[int]) -> Iterator[av.VideoFrame]:
    """Yield the pictures of the packets at some positions, in the order of presentation.

    Raises:
        Problem: what is needed is damaged, or does not come out of the decoder as planned.
    """
    wanted = set(positions)
    wanted_times = {packets[position].time for position in positions}
    runs = _runs(packets, positions)
    expected_times = []
    for position, (packet, context) in enumerate(_packets(video)):
        start, end = runs[0]
        if position < start:
            continue
        if position == start:
            expected_times = sorted(
                packets[in_run].time
                for in_run in range(start, end + 1)
                if (packets[in_run].referenced or in_run in wanted) and not packets[in_run].hidden
            )
        # NONREF: the decoder passes over a picture that no other refers to.
        context.skip_frame = "DEFAULT" if position in wanted else "NONREF"
        frames = _decode(video, context, packet)
        if position == end:
            frames += _decode(video, context, None)
            context.flush_buffers()
            runs.pop(0)
        for frame in frames:
            # A picture lost without a word would leave its followers wrong.
            if not expected_times or frame.pts != expected_times.pop(0):
                raise _damaged(video, f"a frame is missing before {frame.time} s")
            if frame.pts in wanted_times:
                yield frame
        if position == end and expected_times:
            raise _damaged(video, f"{len(expected_times)} frames are missing after packet {position}")
        if not runs:
            return


def _decode_everything(video: Path, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield the wanted frames by counting all that come out of the decoder."""
    index = 0
    missing = set(wanted)
    for packet, context in _packets(video, with_flush=True):
        for frame in _decode(video, context, packet):
            if index in missing:
                yield index, frame
                missing.remove(index)
            index += 1
        if not missing:
            return
    raise _too_few(video, wanted, index)


def _packets(
    video: Path, with_flush: bool = False, for_decoding: bool = True
) -> Iterator[tuple[av.Packet, av.VideoCodecContext]]:
    """Yield a video's packets, each with the decoder to which it belongs.

    Args:
        with_flush: yield a last one, empty, that gets the last frames out of the decoder.
        for_decoding: False spares the pictures that FFmpeg's libraries decode on opening to tell how the decoder should
            order its frames.
    """
    try:
        with av.open(str(video), options={} if for_decoding else {"skip_frame": "all"}) as container:
            if not container.streams.video:
                raise Problem(f"{video}: expected a video, found none in it")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None:
                raise Problem(f"{video}: expected H.264 or MPEG-4, found a video that FFmpeg's libraries cannot decode")
            context.thread_count = 1  # processes fill the cores
            for found, packet in enumerate(container.demux(stream)):
                if packet.is_corrupt:
                    raise _damaged(video, f"packet {found} is cut short")
                is_flush = packet.size == 0 and packet.dts is None  # PyAV's last one, which is not in the file
                if is_flush and found < len(stream.index_entries):
                    raise _damaged(video, f"{found} of {len(stream.index_entries)} packets")
                if packet.size or (is_flush and with_flush):
                    yield packet, context
    except av.FFmpegError as error:
        raise Problem(f"{video}: expected a video, found one that cannot be read ({error.strerror})") from error


def _decode(video: Path, context: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    """Decode a packet, None for what the decoder still holds.

    Raises:
        Problem: the decoder reports damage, be it that it could conceal it.
    """
    try:
        with av.logging.Capture() as reports:
            frames = context.decode(packet)
    except MemoryError:  # PyAV's is both
        raise
    except av.FFmpegError as error:
        raise _damaged(video, error.strerror) from error
    for _, _, report in reports:
        if report.strip() != HARMLESS_REPORT:
            raise _damaged(video, report.strip())
    for frame in frames:
        if frame.is_corrupt:
            raise _damaged(video, f"a frame at {frame.time} s that the decoder had to guess")
    return frames
