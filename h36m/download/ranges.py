"""Download with requests over several connections: each takes the next piece that is missing, until none is left."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from h36m.download.partial import Ranges
from h36m.download.response import ArchiveResponse
from h36m.download.retry import (
    FIRST_PAUSE_SECONDS,
    ChangedError,
    NotAnArchiveError,
    RefusedArchiveError,
    TemporaryError,
    TooManyError,
)
from h36m.download.transfer import Transfer
from h36m.errors import RunStoppedError
from h36m.progress import Progress

# A request for fewer bytes takes longer to send than it saves: at the 2 MB/s that a site may allow each connection,
# the smallest range takes 0.13 s, a few round trips, and the largest 8 s, which a slow connection may hold up the end.
SMALLEST_RANGE, LARGEST_RANGE = 1 << 18, 1 << 24
WATCH_SECONDS = 0.1  # between two checks of the connections
# Where all are silent, the attempt ends before each connection does, and asks again.
SHARE_OF_PATIENCE = 0.8
NOTE_SECONDS = 1  # how much of a download a killed run loses
SECONDS_TO_GROW = 30  # before a connection that the site refused is tried again; longer each time
SECONDS_AFTER_REFUSAL = 1  # the same for one that was served before: the site may count its last request for a moment
SECONDS_TO_END = 2  # for threads to end; one that waits for the network is left, and writes nothing any more


@dataclass
class Work:
    """What the threads of one attempt share; `lock` is held while one writes or changes any of this.

    Attributes:
        free: the missing ranges that no connection works on.
        connections: how many may be open.
        has_ranges: the server sends byte ranges; if not, a broken connection cannot be resumed.
        working: threads that are not waiting after a failure.
        open: the responses that are being read.
        trouble: why a connection has ended; the others go on.
        failure: why all have to end.
        is_over: nothing may be written any more.
    """

    transfer: Transfer
    free: Ranges
    connections: int
    has_ranges: bool
    working: int
    open: list[ArchiveResponse] = field(default_factory=list)
    trouble: TemporaryError | None = None
    failure: Exception | None = None
    is_over: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def next_piece(self, start: int | None = None) -> tuple[int, int | None] | None:
        """Take a piece from the end of the free ranges, or the one at `start`; None if there is none.

        The pieces become smaller, so that all connections finish at about the same time.
        """
        with self.lock:
            if self.is_over or not self.free or start not in (None, self.free[0][0]):
                return None
            bytes_free = sum(end - first for first, end in self.free if end is not None)
            length = max(SMALLEST_RANGE, min(LARGEST_RANGE, bytes_free // self.connections))
            first, end = self.free.pop(-1 if start is None else 0)
            if end is None or end - first < length + SMALLEST_RANGE:
                return first, end
            if start is None:
                self.free.append((first, end - length))
                return end - length, end
            self.free.insert(0, (first + length, end))
            return first, first + length


def download_ranges(transfer: Transfer, response: ArchiveResponse, bar: Progress) -> None:
    """Write the missing ranges, over as many connections as may be opened and the site serves.

    Args:
        response: with the first bytes that are missing.

    Raises:
        TemporaryError: no connection is left or all are silent, and bytes are missing; or the site sent a page.
        RunStoppedError: `transfer.stop` was set.
        OSError: such as a full disk.
    """
    partial = transfer.partial
    transfer.downloaders["requests"] = None
    partial.split(1)  # joins ranges next to each other
    assert partial.missing and partial.missing[0][0] == response.start, "the caller has checked that"
    has_ranges = response.has_ranges and response.size is not None
    count = transfer.connections if has_ranges else 1
    work = Work(transfer, [*partial.missing], count, has_ranges, working=count)
    # Daemons, so that one that waits for the network does not keep a stopped script running.
    threads = [threading.Thread(target=_work, args=(work, response), daemon=True)]
    threads += [threading.Thread(target=_work, args=(work, None), daemon=True) for _ in range(count - 1)]
    try:
        for thread in threads:
            thread.start()
        _watch(work, threads, bar)
    finally:
        with work.lock:
            work.is_over = True
            for each in work.open:
                each.abort()
        deadline = time.monotonic() + SECONDS_TO_END
        for thread in threads:
            if thread.is_alive():  # none that the system did not start
                thread.join(max(0, deadline - time.monotonic()))
        if partial.has_state and not partial.is_complete:
            partial.note()


def _watch(work: Work, threads: list[threading.Thread], bar: Progress) -> None:
    """Show and record progress until all bytes are there, no connection is left, or all are silent."""
    transfer, partial = work.transfer, work.transfer.partial
    seen = partial.bytes_done
    noted_at = active_at = time.monotonic()
    while not work.failure and (left := [thread for thread in threads if thread.is_alive()]):
        left[0].join(WATCH_SECONDS)
        if transfer.stop.is_set():
            raise RunStoppedError
        now = time.monotonic()
        if (done := partial.bytes_done) > seen:
            bar.update(done - seen)
            seen, active_at = done, now
        if partial.is_complete:
            return
        if partial.has_state and now - noted_at >= NOTE_SECONDS:
            partial.note()
            noted_at = time.monotonic()
        if now - active_at >= SHARE_OF_PATIENCE * transfer.patience:
            raise TemporaryError(f"{transfer.file_name}: no data received for {now - active_at:.0f} s")
    if (error := work.failure or work.trouble) and not partial.is_complete:
        raise error


# -- in the threads ----------------------------------------------------------------------------------------------------


def _work(work: Work, response: ArchiveResponse | None) -> None:
    """Download piece after piece; `response` is to a request that was sent already, for the first free range."""
    failures = 1  # in a row; none for a connection that was served
    try:
        while piece := work.next_piece(response.start if response else None):
            try:
                for _ in _write_piece(work, *piece, response):
                    failures = 0
            except (ChangedError, NotAnArchiveError):
                raise
            except TemporaryError as error:
                work.trouble = error
                if not work.has_ranges or not _wait_for_others(work, error, failures):
                    return
                failures += 1
            response = None
    except Exception as error:  # raised by the watching thread
        work.failure = error
    finally:
        with work.lock:
            work.working -= 1


def _wait_for_others(work: Work, error: TemporaryError, failures: int) -> bool:
    """Wait after a failure while others work; return whether to try again.

    A connection that was served goes on at once, or soon after a refusal, even if no other one works.
    """
    is_refused = isinstance(error, TooManyError)
    first, later = (SECONDS_AFTER_REFUSAL, SECONDS_TO_GROW) if is_refused else (0, FIRST_PAUSE_SECONDS)
    pause = max(error.wait or 0, later * 2 ** (failures - 1) if failures else first)
    goes_on = not failures and pause <= SECONDS_AFTER_REFUSAL
    until = time.monotonic() + pause
    with work.lock:
        work.working -= 1
    while (is_early := time.monotonic() < until) and (goes_on or work.working) and not work.is_over:
        time.sleep(WATCH_SECONDS)
    with work.lock:
        work.working += 1
    return not is_early


def _write_piece(work: Work, position: int, end: int | None, response: ArchiveResponse | None) -> Iterator[None]:
    """Download one piece, and yield after each write; what is missing of it in the end is free again."""
    partial, name, host = work.transfer.partial, work.transfer.file_name, work.transfer.site.host
    is_longer = response is not None  # than this piece: it goes on through the free range after it
    try:
        response = response or _request_piece(work.transfer, position, end)
        with work.lock:
            work.open.append(response)
        for chunk in response.chunks:
            with work.lock:
                if work.is_over:
                    return
                while is_longer and end and position + len(chunk) >= end and (after := work.next_piece(end)):
                    end = after[1]
                part = memoryview(chunk)[: None if end is None else end - position]
                partial.write(position, part)
                position += len(part)
            yield
            if position == end:
                return
        if end is not None:
            raise TemporaryError(f"{name}: {host} closed the connection {end - position:,} bytes too early")
        with work.lock:
            if work.is_over:
                return
            # The server did not send the archive's size: verification shows whether it is complete.
            partial.set_size(position)
            end = position
    finally:
        with work.lock:
            if response in work.open:
                work.open.remove(response)
            if position != end:
                work.free.append((position, end))
        if response:
            response.close()


def _request_piece(transfer: Transfer, start: int, end: int | None) -> ArchiveResponse:
    name, host = transfer.file_name, transfer.site.host
    try:
        response = transfer.site.open_archive(transfer.archive, start, end, transfer.patience)
    except RefusedArchiveError as error:  # such as one connection too many; the others may be served
        raise TooManyError(str(error)) from None
    if transfer.has_other_size(response):
        response.close()
        raise ChangedError(f"{name}: changed on {host} during the download")
    if response.start != start:
        response.close()
        raise TooManyError(f"{name}: {host} sent another byte range than requested")
    return response
