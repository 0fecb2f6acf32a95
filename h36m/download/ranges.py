"""Download with requests over several connections: threads write byte ranges into one partial download.

In reading order: `download_ranges` opens connections, and `_watch` watches over them; each thread does `_work`.
"""

import queue
import threading
import time
from dataclasses import dataclass, field

from h36m.cli import Progress
from h36m.download.response import ArchiveResponse
from h36m.download.retry import FIRST_PAUSE_SECONDS, ChangedError, TemporaryError, TooManyError
from h36m.download.transfer import QUIET_SECONDS, Outcome, Transfer, reconcile
from h36m.errors import RunStoppedError

# A connection for fewer bytes takes longer to open than it saves: at 2 MB/s this is 0.13 s, a few round trips.
SMALLEST_RANGE = 1 << 18
# A connection that has finished takes over half of another's rest, if that has a second's work for both, at the
# 2 MB/s that a site may allow each.
SMALLEST_REST_TO_SHARE = 4_000_000
WATCH_SECONDS = 0.1  # between two checks of the connections
NOTE_SECONDS = 1  # how much of a download a killed run loses
SECONDS_TO_GROW = 30  # after the site refused a connection, before more are tried again
# A site may count a connection for a moment after its end, and refuse the next one: that is tried again.
SECONDS_AFTER_REFUSAL, MOST_REFUSALS = 1, 3
SECONDS_TO_END = 2  # for threads to end; one that waits for the network is left, and writes nothing any more


@dataclass(eq=False)
class Connection:
    """One request for a byte range, made by a thread of its own.

    Attributes:
        position: of the next byte to write.
        end: of its range, lowered when another connection takes over the rest; None where the size is unknown.
        response: None until the server has answered.
        is_second_try: it has taken over the rest of a silent connection, and gets more time: the site may be slow.
        active_at: when its last byte arrived, in seconds of this machine's running clock.
    """

    position: int
    end: int | None
    is_second_try: bool = False
    response: ArchiveResponse | None = None
    active_at: float = field(default_factory=time.monotonic)


@dataclass
class Limit:
    """How many connections may be open at a time, as the site has shown so far.

    Attributes:
        count: may be open.
        most: may ever be.
        accepted: the most at a time that had a response.
        refusals: how often in a row the site has refused as many as it had accepted before.
        open_at: from when on the next may be opened, in seconds of this machine's running clock.
        grow_at: from when on more than `count` are tried.
    """

    count: int
    most: int
    accepted: int = 0
    refusals: int = 0
    open_at: float = field(default_factory=time.monotonic)
    grow_at: float = field(default_factory=lambda: time.monotonic() + SECONDS_TO_GROW)


@dataclass
class Attempt:
    """What the threads of one attempt share.

    Attributes:
        session: the PHPSESSID in use.
        limit: how many connections may be open.
        connections: those at work; only the watching thread changes the list.
        ended: connections that have ended, each with its error or None.
        lock: held while a connection writes, or its range is changed.
        is_over: nothing may be written any more.
    """

    transfer: Transfer
    session: str | None
    limit: Limit
    connections: list[Connection] = field(default_factory=list)
    ended: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False


def download_ranges(transfer: Transfer, response: ArchiveResponse, session: str | None, bar: Progress) -> None:
    """Write the missing ranges, over as many connections as may be opened and the site serves.

    The site may refuse some connections: the others go on, and more are tried again later.

    Args:
        response: with the first bytes that are missing.
        session: the PHPSESSID in use.

    Raises:
        TemporaryError: no connection is left, and bytes are missing.
        NotAnArchiveError: the site sent a page in place of a range.
        RunStoppedError: `transfer.stop` was set.
        OSError: such as a full disk.
    """
    partial = transfer.partial
    assert partial.missing, "the caller has checked that"
    transfer.note_downloader("requests")
    attempt, first = Attempt(transfer, session, Limit(1, 1)), Connection(*partial.missing[0])
    if response.has_ranges and response.size is not None:
        partial.split(1)  # joins ranges beside each other: how many there are to be is decided here
        attempt.limit = Limit(transfer.connections, transfer.most_connections)
        first = _next_connection(attempt) or first
    assert first.position == response.start, "the caller has checked that"
    _start(attempt, first, response)
    try:
        _watch(attempt, bar)
    finally:
        _end(attempt)
        if partial.has_state and not partial.is_complete:
            partial.note()


def _watch(attempt: Attempt, bar: Progress) -> None:
    """Keep connections open until all have ended: show and record progress, and check the session during silence."""
    transfer, partial, limit = attempt.transfer, attempt.transfer.partial, attempt.limit
    trouble: TemporaryError | None = None
    seen = partial.bytes_done
    noted_at = active_at = time.monotonic()
    while attempt.connections or _is_worth_waiting(attempt, trouble):
        _open_connections(attempt)
        error = _next_error(attempt)
        limit.accepted = max(limit.accepted, sum(each.response is not None for each in attempt.connections))
        if isinstance(error, TemporaryError) and not isinstance(error, ChangedError):
            trouble = error
            _open_later(limit, len(attempt.connections), error)
        elif error is not None:
            raise error
        if transfer.stop.is_set():
            raise RunStoppedError
        now = time.monotonic()
        if (done := partial.bytes_done) > seen:
            bar.update(done - seen)
            seen, active_at = done, now
        if partial.has_state and now - noted_at >= NOTE_SECONDS:
            partial.note()
            noted_at = time.monotonic()
        if now - active_at >= QUIET_SECONDS:
            if transfer.renew_expired_session(attempt.session, is_quiet=True) and partial.bytes_done == seen:
                return
            active_at = time.monotonic()  # ask again after as long
    if limit.most > 1:
        transfer.connections = limit.count
    if trouble and not partial.is_complete:
        raise trouble


def _open_connections(attempt: Attempt) -> None:
    """Open as many connections as may be open now and have something to do."""
    limit, now = attempt.limit, time.monotonic()
    if now >= limit.grow_at:
        limit.count, limit.grow_at = min(2 * limit.count, limit.most), now + SECONDS_TO_GROW
    while len(attempt.connections) < limit.count and now >= limit.open_at and (found := _next_connection(attempt)):
        _start(attempt, found)


def _open_later(limit: Limit, others: int, error: TemporaryError) -> None:
    """Delay the next connection after one has failed; if the site refused it, allow fewer at a time.

    Args:
        others: connections that are still at work.
        error: of the one that failed.
    """
    now, is_refusal = time.monotonic(), isinstance(error, TooManyError)
    pause = SECONDS_AFTER_REFUSAL if is_refusal else FIRST_PAUSE_SECONDS
    wait = pause if error.wait is None else error.wait
    if is_refusal:
        if others < limit.accepted and now >= limit.open_at:  # else it was opened before the last refusal
            limit.refusals += 1
        if others >= limit.accepted or limit.refusals == MOST_REFUSALS:
            limit.count = max(1, others)
            limit.accepted = min(limit.accepted, limit.count)
        limit.grow_at = now + max(wait, SECONDS_TO_GROW)
    limit.open_at = now + wait


def _is_worth_waiting(attempt: Attempt, trouble: TemporaryError | None) -> bool:
    """Return whether the site, which has just refused a connection, may soon accept it, while none is left."""
    is_soon = attempt.limit.open_at - time.monotonic() <= SECONDS_AFTER_REFUSAL
    is_refused = isinstance(trouble, TooManyError) and attempt.limit.refusals < MOST_REFUSALS
    return is_soon and is_refused and not attempt.transfer.partial.is_complete


def _next_error(attempt: Attempt) -> Exception | None:
    """Wait a moment for a connection to end; return its error, None if it had none or none has ended."""
    try:
        connection, error = attempt.ended.get(timeout=WATCH_SECONDS)
    except queue.Empty:
        return None
    attempt.connections.remove(connection)
    return None if connection.position == connection.end else error  # another one has taken over all of its rest


def _next_connection(attempt: Attempt) -> Connection | None:
    """Return another connection, for a share of the free ranges or a part of another's; None if neither is left."""
    with attempt.lock:
        free = _free_ranges(attempt)
        if not free:
            return _part_of_another(attempt.connections)
        start, end = free[0]
        bytes_free = sum(free_end - free_start for free_start, free_end in free)
        share = max(SMALLEST_RANGE, -(-bytes_free // max(1, attempt.limit.count - len(attempt.connections))))
        return Connection(start, end if end - start < share + SMALLEST_RANGE else start + share)


def _free_ranges(attempt: Attempt) -> list[tuple[int, int]]:
    """Return the missing ranges that no connection works on."""
    taken = sorted((each.position, each.end) for each in attempt.connections if each.end is not None)
    free = []
    for start, end in attempt.transfer.partial.missing or []:
        assert end is not None, "byte ranges need the archive's size"
        for position, taken_end in taken:
            if start <= position < end:
                free.append((start, position))
                start = max(start, taken_end)
        free.append((start, end))
    return [(start, end) for start, end in free if start < end]


def _part_of_another(connections: list[Connection]) -> Connection | None:
    """Take over the whole rest of a silent connection, or half of the largest rest."""
    now = time.monotonic()
    for each in sorted(connections, key=lambda each: each.position):
        is_quiet = now - each.active_at >= QUIET_SECONDS and not each.is_second_try
        if is_quiet and each.end is not None and each.position < each.end:
            second = Connection(each.position, each.end, is_second_try=True)
            each.end = each.position
            if each.response:
                each.response.abort()
            return second
    largest = max(connections, key=lambda each: (each.end or 0) - each.position, default=None)
    if largest is None or largest.end is None or largest.end - largest.position < SMALLEST_REST_TO_SHARE:
        return None
    middle = (largest.position + largest.end) // 2
    second = Connection(middle, largest.end)
    largest.end = middle
    return second


def _start(attempt: Attempt, connection: Connection, response: ArchiveResponse | None = None) -> None:
    """Start a connection's thread; `response` is the one to its request, if that was sent already."""
    attempt.connections.append(connection)
    # A daemon, so that one that waits for the network does not keep a stopped script alive.
    threading.Thread(target=_work, args=(attempt, connection, response), daemon=True).start()


def _end(attempt: Attempt) -> None:
    """End all connections: nothing is written after that."""
    with attempt.lock:
        attempt.is_over = True
    for connection in attempt.connections:
        if connection.response:
            connection.response.abort()
    deadline = time.monotonic() + SECONDS_TO_END
    while attempt.connections and (left := deadline - time.monotonic()) > 0:
        try:
            connection, _ = attempt.ended.get(timeout=left)
        except queue.Empty:
            return
        attempt.connections.remove(connection)


# -- in the threads ----------------------------------------------------------------------------------------------------


def _work(attempt: Attempt, connection: Connection, response: ArchiveResponse | None) -> None:
    """Download one connection's range, and report how that ended."""
    error = None
    try:
        response = response or _request_range(attempt, connection)
        with attempt.lock:
            connection.response, attempt.limit.refusals = response, 0
        _write_chunks(attempt, connection, response)
    except Exception as caught:  # passed to the watching thread, which handles each kind
        error = caught
    finally:
        if response:
            response.close()
        attempt.ended.put((connection, error))


def _request_range(attempt: Attempt, connection: Connection) -> ArchiveResponse:
    transfer, version = attempt.transfer, attempt.transfer.partial.version
    name, host = transfer.file_name, transfer.site.host
    start, end = connection.position, connection.end
    response = transfer.site.open_archive(transfer.archive, start, end, version)
    outcome = reconcile([(start, end)], version, response)
    if outcome is Outcome.USABLE:
        return response
    response.close()
    if outcome is Outcome.CHANGED:
        raise ChangedError(f"{name}: changed on {host} during the download")
    raise TooManyError(f"{name}: {host} sent another byte range than requested")


def _write_chunks(attempt: Attempt, connection: Connection, response: ArchiveResponse) -> None:
    """Write a response's bytes until the connection's range is complete.

    Raises:
        TemporaryError: they ended too early.
    """
    transfer, partial = attempt.transfer, attempt.transfer.partial
    for chunk in response.chunks:
        with attempt.lock:
            if attempt.is_over:
                return
            end = connection.end
            piece = memoryview(chunk)[: None if end is None else end - connection.position]
            partial.write(connection.position, piece)
            connection.position += len(piece)
            connection.active_at = time.monotonic()
            if connection.position == end:
                return
    with attempt.lock:
        if attempt.is_over:
            return
        end, position = connection.end, connection.position
        if end is None:  # the server did not send the archive's size: verification shows whether it is complete
            partial.set_version(response.version._replace(size=position))
        elif position < end:
            name, host = transfer.file_name, transfer.site.host
            raise TemporaryError(f"{name}: {host} closed the connection {end - position:,} bytes too early")
