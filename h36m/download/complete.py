"""Complete one partial download: one attempt after another, by requests or axel, until no byte is missing."""

import contextlib
import queue
import shutil
import threading

from h36m.download.axel import can_axel_continue, download_with_axel
from h36m.download.partial import PartialDownload
from h36m.download.ranges import WATCH_SECONDS, download_ranges
from h36m.download.response import STALL_SECONDS, ArchiveResponse
from h36m.download.retry import TRIES_WITHOUT_PROGRESS, TemporaryError, TooManyError, pause
from h36m.download.transfer import QUIET_SECONDS, Transfer
from h36m.errors import RunStoppedError, TaskError
from h36m.progress import Progress

# How often one archive may change on the server while it is being downloaded.
MOST_RESTARTS = 5


def complete(transfer: Transfer, bar: Progress) -> str:
    """Download until no byte is missing, in as many attempts as needed; return the names of the downloaders, in words.

    Raises:
        TaskError: it failed, and why. What was downloaded is kept.
        UsageError: the site no longer accepts the user name and password.
        RunStoppedError: `stop` was set.
    """
    partial = transfer.partial
    best, fruitless = partial.bytes_done, 0
    while not partial.is_complete:
        if transfer.stop.is_set():
            raise RunStoppedError
        session = transfer.site.session
        transfer.patience = min(STALL_SECONDS, QUIET_SECONDS * 2**fruitless)
        try:
            _transfer_some(transfer, session, bar)
            continue
        except TemporaryError as error:
            trouble = error
        except OSError:  # the caller says which of its causes it is
            _require_space(partial)
            raise
        done = partial.bytes_done
        best, fruitless = max(best, done), 0 if done > best else fruitless + 1
        transfer.is_session_renewed &= fruitless > 0
        try:
            if transfer.renew_session(session, trouble):
                continue
        except TemporaryError as error:
            trouble = error
        if not fruitless and not isinstance(trouble, TooManyError):
            continue  # what breaks after it made progress goes on at once
        if fruitless >= TRIES_WITHOUT_PROGRESS:
            raise TaskError(
                f"{trouble}; no progress after {fruitless} attempts. The partial download is kept; run again later"
            )
        pause(trouble, max(0, fruitless - 1), transfer.say, transfer.stop)
    return " and ".join(transfer.downloaders) or "an earlier run"


def _transfer_some(transfer: Transfer, session: str | None, bar: Progress) -> None:
    """Send one request, and let requests or axel download what is missing.

    Raises:
        TemporaryError: it ended too early; what was downloaded is kept.
        TaskError: a retry does not help.
    """
    partial = transfer.partial
    response = _request_first(transfer)
    try:
        if not _is_usable(transfer, response):
            return
        _require_space(partial)
        bar.start_at(partial.bytes_done, response.size)
        if not can_axel_continue(transfer, response):
            download_ranges(transfer, response, bar)
            return
    finally:
        response.close()
    download_with_axel(transfer, response.url, session, bar)  # with no other connection next to axel's
    _require_space(partial)


def _request_first(transfer: Transfer) -> ArchiveResponse:
    """Request the first bytes that are missing, in a thread that is left waiting where the run is stopped."""
    partial = transfer.partial
    start, end = partial.missing[0] if partial.missing else (0, None)
    responses: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            responses.put(transfer.site.open_archive(transfer.archive, start, end, transfer.patience))
        except Exception as error:  # passed to the waiting thread
            responses.put(error)

    threading.Thread(target=ask, daemon=True).start()
    while not transfer.stop.is_set():
        with contextlib.suppress(queue.Empty):
            response = responses.get(timeout=WATCH_SECONDS)
            if isinstance(response, Exception):
                raise response
            return response
    raise RunStoppedError


def _is_usable(transfer: Transfer, response: ArchiveResponse) -> bool:
    """Make the partial download fit a response; return whether the response begins with the first missing byte.

    With equal sizes it continues, whatever ETag and date say, since they may vary from one response to the next: a mix
    of two versions is found when the archive is verified.

    Raises:
        NotAnArchiveError, TemporaryError: the server sent a page or another range.
        TaskError: the archive keeps changing on the server.
    """
    partial, name, host = transfer.partial, transfer.file_name, transfer.site.host
    start = partial.missing[0][0] if partial.missing else 0
    is_at_end = response.is_past_end and partial.missing == [(response.size, None)]
    if transfer.has_other_size(response) or (response.is_past_end and not is_at_end):
        if response.start > 0 or response.is_past_end:  # a page of another size looks the same: see its first bytes
            beginning = transfer.site.open_archive(transfer.archive, 0, None)
            beginning.close()
            if beginning.size != response.size:
                raise TemporaryError(f"{name}: {host} sent a byte range of another file")
        transfer.restarts += 1
        if transfer.restarts > MOST_RESTARTS:
            raise TaskError(f"{name}: keeps changing on the server during the download; try again on another day")
        transfer.say(f"{name}: changed on the server during the download; restarting")
        partial.discard()
        if response.is_past_end:
            return False
    elif response.start == 0 and start > 0:
        if transfer.has_seen_ranges:
            raise TemporaryError(f"{name}: {host} sent the whole archive instead of a byte range")
        transfer.say(f"{name}: {host} does not support resuming (no byte ranges); restarting")
        partial.discard()
    elif response.start != start:
        raise TemporaryError(f"{name}: {host} sent another byte range than requested")
    transfer.has_seen_ranges |= response.has_ranges
    partial.set_size(response.size if response.size is not None else partial.size)
    if partial.missing is None:
        partial.discard()
        return False
    return not partial.is_complete and partial.missing[0][0] == response.start


def _require_space(partial: PartialDownload) -> None:
    """Raise TaskError if the disk lacks space for the bytes that are missing."""
    size, done, folder = partial.size, partial.bytes_done, partial.path.parent
    free = shutil.disk_usage(folder).free
    if size is not None and free < size - done:
        kept = f", the {done:,} bytes already downloaded are kept" if done else ""
        raise TaskError(
            f"{partial.path.stem}: disk is full: {size - done:,} more bytes are needed, but {free:,} are free in "
            f"{folder}; free some space and run again{kept}"
        )
