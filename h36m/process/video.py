"""Decode only the wanted frames of a video, bit-identical to decoding everything, and write them as JPEG images.

The packets of a video are read first, without decoding them. Their presentation times number the frames, and the first
bytes of each picture say where decoding can start. Then only the runs of packets that lead to a wanted frame are
decoded, without the frames that nothing refers to and nobody wants. Where the packets do not tell enough for such a
plan, everything is decoded and counted.
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av

from h36m.dataset import image_name, unpack_again
from h36m.errors import TaskError
from h36m.process.jpeg import encode_jpeg
from h36m.process.packets import (
    NoPlanError,
    PacketFacts,
    damaged,
    decoding_runs,
    number_frames,
    packets_of,
    read_packet_facts,
    uneven_times,
)
from h36m.progress import Count, count_of, is_or_are
from h36m.storage import started_file

# H.264 that begins with an open group frees pictures that it never had; were one needed, another error would say so.
HARMLESS_REPORT = "mmco: unref short failure"

logger = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """Facts about a video whose frames were decoded."""

    frames: int
    notices: list[str]  # what the user should know


class Written(NamedTuple):
    """Facts about a video whose frames were written."""

    frames: int
    size: tuple[int, int]  # height, width of each, pixels
    notices: list[str]  # what the user should know


def write_images(
    video: Path,
    wanted: Sequence[int],
    folder: Path,
    poses: int = 0,
    sizes: Sequence[tuple[int, int]] = (),
    count: Count = lambda frames: None,
) -> Written:
    """Write the wanted frames of a video as `img_%06d.jpg`, frame 0 as number 1.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation; at least one.
        folder: where the images go; it must exist. After an error it holds some of them, the last perhaps in part, so
            that it gets its name only when it is complete.
        poses: how many frames the video must have at least, whichever are wanted.
        sizes: which sizes (height, width) its frames may have; none for any. All of them have the same.
        count: called after each image with the frames of the video that were passed for it.

    Raises:
        TaskError: as `decode_frames`, or the frames have another size.
        OSError: an image cannot be written.
    """
    found = Decoded(0, [])

    def decode() -> Iterator[tuple[int, av.VideoFrame]]:
        nonlocal found
        found = yield from decode_frames(video, wanted, poses)

    size, passed = None, 0
    for index, frame in decode():
        if size is None and sizes and (frame.height, frame.width) not in sizes:
            raise _other_size(video, sizes, frame)
        size = size or (frame.height, frame.width)
        if size != (frame.height, frame.width):
            raise _other_size(video, [size], frame)
        content = encode_jpeg(frame)
        with started_file(folder / image_name(index)) as file:
            file.write(content)
        count(index + 1 - passed)
        passed = index + 1
    assert size is not None, "at least one frame is wanted"
    return Written(found.frames, size, found.notices)


def _other_size(video: Path, sizes: Sequence[tuple[int, int]], frame: av.VideoFrame) -> TaskError:
    expected = " or ".join(f"{width} x {height}" for height, width in sizes)
    return TaskError(
        f"{video}: expected frames of {expected} pixels (width x height), found {frame.width} x {frame.height}; "
        f"{unpack_again(video)}"
    )


def decode_frames(
    video: Path, wanted: Sequence[int], poses: int = 0
) -> Generator[tuple[int, av.VideoFrame], None, Decoded]:
    """Decode the wanted frames of a video, and of the others only what those need.

    Args:
        video: H.264 or MPEG-4 Part 2 in a container that FFmpeg's libraries read.
        wanted: indices of frames, counted from 0 in the order of presentation; in any order.
        poses: how many frames the video must have at least, whichever are wanted.

    Yields:
        (index, frame) in ascending order, each wanted index once.

    Returns:
        how many frames the video has, 0 where none is wanted; where their time stamps are uneven.

    Raises:
        TaskError: the video cannot be read, has too few frames, or what is needed of it is damaged.
    """
    wanted = sorted(set(wanted))
    if not wanted:
        return Decoded(0, [])
    at_least = max(poses, wanted[-1] + 1)
    try:
        packets = read_packet_facts(video)
        numbered = number_frames(packets)
    except NoPlanError as reason:
        logger.debug("%s: %s: decoding everything", video, reason)
        return (yield from _decode_everything(video, wanted, at_least))
    if len(numbered) < at_least:
        raise _too_few(video, at_least, len(numbered))
    frames = _decode_planned(video, packets, [numbered[index] for index in wanted])
    yield from zip(wanted, frames, strict=True)
    return Decoded(len(numbered), [])  # no plan has uneven time stamps


def _too_few(video: Path, at_least: int, found: int) -> TaskError:
    return TaskError(
        f"{video}: expected at least {at_least} frames, found {found}: too short for its poses; {unpack_again(video)}"
    )


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
        # NONREF: the decoder skips a picture that no other refers to.
        context.skip_frame = "DEFAULT" if position in wanted else "NONREF"
        frames = _decode(video, context, packet)
        if position == end:
            frames += _decode(video, context, None)
            context.flush_buffers()
            runs.pop(0)
        for frame in frames:
            # A picture lost without an error would make its followers wrong.
            if not expected_times or frame.pts != expected_times.pop(0):
                raise damaged(video, f"a frame is missing before {frame.time} s")
            if frame.pts in wanted_times:
                yield frame
        if position == end and expected_times:
            missing = f"{count_of(len(expected_times), 'frame')} {is_or_are(len(expected_times))} missing"
            raise damaged(video, f"{missing} after packet {position}")
        if not runs:
            return


def _decode_everything(
    video: Path, wanted: list[int], at_least: int
) -> Generator[tuple[int, av.VideoFrame], None, Decoded]:
    """Yield the wanted frames by counting all that come out of the decoder."""
    is_wanted = set(wanted)
    size = None
    times: list[float | None] = []
    try:
        for packet, context in packets_of(video, with_flush=True):
            for frame in _decode(video, context, packet):
                size = size or (frame.height, frame.width)
                if size != (frame.height, frame.width):
                    raise _other_size(video, [size], frame)
                if len(times) in is_wanted:
                    yield len(times), frame
                times.append(frame.time)
    except TaskError:
        if len(times) < at_least:  # else the damage is in frames beyond the poses, which are not needed
            raise
    if len(times) < at_least:
        raise _too_few(video, at_least, len(times))
    return Decoded(len(times), uneven_times(video, times, wanted[-1]))


def _decode(video: Path, context: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    """Decode a packet, None for what the decoder still holds.

    Raises:
        TaskError: the decoder reports damage, even if it could conceal it.
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
            # Not its time in seconds: PyAV's is an error for some frames that the decoder held to the end.
            raise damaged(video, f"a frame that the decoder had to guess, with the time stamp {frame.pts}")
    return frames
