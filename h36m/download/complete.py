"""Complete one partial download: one attempt after another, by requests or axel, until no byte is missing.

In reading order: `complete` repeats `_transfer_some`, which sends one request, makes the partial download fit its
response, and lets requests or axel write what is missing.
"""

import contextlib
import queue
import shutil
import threading

from h36m.cli import Progress
from h36m.download.axel import can_axel_continue, download_with_axel
from h36m.download.partial import PartialDownload, Version
from h36m.download.ranges import WATCH_SECONDS, download_ranges
from h36m.download.response import STALL_SECONDS, ArchiveResponse, ResponseFit, reconcile
from h36m.download.retry import TRIES_WITHOUT_PROGRESS, TemporaryError, pause
from h36m.download.transfer import QUIET_SECONDS, Transfer
from h36m.download.verify import check_archive
from h36m.errors import RunStoppedError, TaskError
from h36m.storage import is_disk_full

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
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise _disk_full_error(partial) from None
        if transfer.renew_session(session, trouble):
            continue
        done = partial.bytes_done
        best, fruitless = max(best, done), 0 if done > best else fruitless + 1
        if not fruitless and trouble.wait is None:
            continue  # what breaks after it made progress goes on at once
        if fruitless in (1, TRIES_WITHOUT_PROGRESS) and _is_good_as_it_is(transfer):
            break
        if fruitless == TRIES_WITHOUT_PROGRESS:
            raise TaskError(
                f"{trouble}; no progress after {fruitless} attempts. The partial download is kept; run again later"
            )
        pause(trouble, max(0, fruitless - 1), transfer.say, transfer.stop)
    return " and ".join(transfer.downloaders) or "an earlier run"


def _is_good_as_it_is(transfer: Transfer) -> bool:
    """Return whether a file whose last bytes never arrive is complete: some servers announce too many."""
    partial = transfer.partial
    if not partial.path.exists() or partial.has_state:
        return False
    return check_archive(partial.path, transfer.archive, transfer.expected_md5).fault is None


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
            responses.put(transfer.site.open_archive(transfer.archive, start, end, partial.version, transfer.patience))
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


# -- does the response fit the partial download? -----------------------------------------------------------------------


def _is_usable(transfer: Transfer, response: ArchiveResponse) -> bool:
    """Make the partial download fit a response; return whether the response begins with the first missing byte.

    Raises:
        NotAnArchiveError, TemporaryError: the server sent a page or another range.
        TaskError: the archive keeps changing on the server.
    """
    partial, name, host = transfer.partial, transfer.file_name, transfer.site.host
    fit = reconcile(partial.missing, partial.version, response)
    if fit is ResponseFit.OTHER_RANGE:
        raise TemporaryError(f"{name}: {host} sent another byte range than requested")
    if fit is ResponseFit.COMPLETE:
        partial.trust_length()
    elif fit is ResponseFit.CHANGED:
        if response.start > 0 or response.is_past_end:  # a page of another size looks the same: see its first bytes
            beginning = transfer.site.open_archive(transfer.archive, 0, None, Version())
            beginning.close()
            if beginning.version.contradicts(response.version):
                raise TemporaryError(f"{name}: {host} sent a byte range of another file")
        transfer.restarts += 1
        if transfer.restarts > MOST_RESTARTS:
            raise TaskError(f"{name}: keeps changing on the server during the download; try again on another day")
        transfer.say(f"{name}: changed on the server during the download; restarting")
        partial.discard()
        if response.is_past_end:
            return False
    elif fit is ResponseFit.NO_RANGES and transfer.has_seen_ranges:
        raise TemporaryError(f"{name}: {host} sent the whole archive instead of a byte range")
    elif fit is ResponseFit.NO_RANGES:
        transfer.say(f"{name}: {host} does not support resuming (no byte ranges); restarting")
        partial.discard()
    transfer.has_seen_ranges |= response.has_ranges
    partial.set_version(response.version)
    if partial.missing is None:
        partial.discard()
        return False
    return not partial.is_complete and partial.missing[0][0] == response.start


def _require_space(partial: PartialDownload) -> None:
    """Raise TaskError if the disk lacks space for the bytes that are missing."""
    size = partial.version.size
    if size is not None and shutil.disk_usage(partial.path.parent).free < size - partial.bytes_done:
        raise _disk_full_error(partial)


def _disk_full_error(partial: PartialDownload) -> TaskError:
    size, done, folder = partial.version.size, partial.bytes_done, partial.path.parent
    free = shutil.disk_usage(folder).free
    lacks = "an unknown number of" if size is None else f"{size - done:,}"
    kept = f", the {done:,} bytes already downloaded are kept" if done else ""
    return TaskError(
        f"{partial.path.stem}: disk is full: {lacks} more bytes are needed, but {free:,} are free in {folder}; free "
        f"some space and run again{kept}"
    )
