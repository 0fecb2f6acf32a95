"""Just the wanted frames of a video, bit for bit as decoding everything gives them, and their JPEG images.

The packets of a video are read first, without decoding them. Their presentation times number the frames, and the first
bytes of each picture say where decoding can start. Then only the runs of packets that lead to a wanted frame are
decoded, without the frames that nothing refers to and nobody wants. Where the packets do not tell enough for such a
plan, everything is decoded and counted.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from h36m.cli import TaskError, count_of, is_or_are
from h36m.dataset import UNFINISHED_IMAGE_EXTENSION, image_name
from h36m.process.jpeg import JPEG_QSCALE, encode_jpeg
from h36m.process.packets import (
    NoPlanError,
    PacketFacts,
    damaged,
    decoding_runs,
    number_frames,
    packets_of,
    read_packet_facts,
)

# H.264 that begins with an open group frees pictures that it never had; were one needed, another error would say so.
HARMLESS_REPORT = "mmco: unref short failure"

logger = logging.getLogger(__name__)


def write_images(video: Path, wanted: Sequence[int], folder: Path, qscale: int = JPEG_QSCALE) -> None:
    """Write the wanted frames of a video as `img_%06d.jpg`, frame 0 as number 1; each whole or not at all.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation.
        folder: where the images go; it must exist.
        qscale: 1 (best) to 31, FFmpeg's scale.

    Raises:
        TaskError: as `decode_frames`.
        OSError: an image cannot be written.
    """
    for index, frame in decode_frames(video, wanted):
        image = folder / image_name(index)
        unfinished = image.with_suffix(UNFINISHED_IMAGE_EXTENSION)
        try:
            unfinished.write_bytes(encode_jpeg(frame, qscale))
            unfinished.replace(image)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def decode_frames(video: Path, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the wanted frames of a video, and of the others only what those need.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation; in any order.

    Yields:
        (index, frame) in ascending order, each wanted index once.

    Raises:
        TaskError: the video cannot be read, has too few frames, or what is needed of it is damaged.
    """
    wanted = sorted(set(wanted))
    if not wanted:
        return
    try:
        packets = read_packet_facts(video)
        numbered = number_frames(packets)
    except NoPlanError as reason:
        logger.debug("%s: %s: decoding everything", video, reason)
        yield from _decode_everything(video, wanted)
        return
    if len(numbered) <= wanted[-1]:
        raise _too_few(video, wanted, len(numbered))
    frames = _decode_planned(video, packets, [numbered[index] for index in wanted])
    yield from zip(wanted, frames, strict=True)


def _too_few(video: Path, wanted: list[int], found: int) -> TaskError:
    return TaskError(f"{video}: expected at least {wanted[-1] + 1} frames, found {found}")


def _decode_planned(video: Path, packets: list[PacketFacts], positions: list[int]) -> Iterator[av.VideoFrame]:
    """Yield the pictures of the packets at some positions, in the order of presentation.

    Raises:
        TaskError: what is needed is damaged, or does not come out of the decoder as planned.
    """
    wanted = set(positions)
    wanted_times = {packets[position].time for position in positions}
    runs = decoding_runs(packets, positions)
    expected_times = []
    for position, (packet, context) in enumerate(packets_of(video)):
        start, end = runs[0]
        if position < start:
            continue
        if position == start:
            expected_times = sorted(
                packets[in_run].time
                for in_run in range(start, end + 1)
                if (packets[in_run].is_reference or in_run in wanted) and not packets[in_run].is_hidden
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
                raise damaged(video, f"a frame is missing before {frame.time} s")
            if frame.pts in wanted_times:
                yield frame
        if position == end and expected_times:
            missing = f"{count_of(len(expected_times), 'frame')} {is_or_are(len(expected_times))} missing"
            raise damaged(video, f"{missing} after packet {position}")
        if not runs:
            return


def _decode_everything(video: Path, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield the wanted frames by counting all that come out of the decoder."""
    index = 0
    missing = set(wanted)
    for packet, context in packets_of(video, with_flush=True):
        for frame in _decode(video, context, packet):
            if index in missing:
                yield index, frame
                missing.remove(index)
            index += 1
        if not missing:
            return
    raise _too_few(video, wanted, index)


def _decode(video: Path, context: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    """Decode a packet, None for what the decoder still holds.

    Raises:
        TaskError: the decoder reports damage, be it that it could conceal it.
    """
    try:
        with av.logging.Capture() as reports:
            frames = context.decode(packet)
    except MemoryError:  # PyAV's is both
        raise
    except av.FFmpegError as error:
        raise damaged(video, str(error.strerror)) from error
    for _, _, report in reports:
        if report.strip() != HARMLESS_REPORT:
            raise damaged(video, report.strip())
    for frame in frames:
        if frame.is_corrupt:
            raise damaged(video, f"a frame at {frame.time} s that the decoder had to guess")
    return frames
