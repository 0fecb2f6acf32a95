"""Complete one partial download: one request after another, by requests or axel, until no byte is missing.

In reading order: `complete` repeats `_transfer_some`, which sends one request, makes the partial download fit its
response (`reconcile`), and lets requests or axel write what is missing.
"""

import enum
import shutil
import threading
from dataclasses import dataclass, field

from h36m.cli import Progress, RunStoppedError, Say, TaskError
from h36m.download.axel import run_axel
from h36m.download.partial import PartialDownload, Ranges, Version
from h36m.download.retry import TRIES_WITHOUT_PROGRESS, NotAnArchiveError, TemporaryError, pause
from h36m.download.site import STALL_SECONDS, ArchiveResponse, Site
from h36m.download.verify import check_archive
from h36m.storage import is_disk_full

# How often one archive may change on the server while it is being downloaded.
MOST_RESTARTS = 5
# When axel's many connections do not finish an archive, it gets these few, and then requests gets it with one.
FEW_CONNECTIONS = 4
# While requests fills the holes that axel left, the state file is brought up to date this often.
BYTES_BETWEEN_NOTES = 16 << 20


@dataclass
class Transfer:
    """The download of one archive: what it works on, and what its attempts have shown so far.

    Attributes:
        expected_md5: the published MD5; None where there is none.
        connections: how many axel may open next; 1 leaves the archive to requests.
        verify_tls: whether axel checks certificates; requests does as the site is configured.
        downloaders: who downloaded some of it, in this order.
        is_session_renewed: the session was renewed for this archive; that is done once.
        restarts: how often the archive changed on the server meanwhile.
    """

    site: Site
    kind: str
    subject: str
    partial: PartialDownload
    expected_md5: str | None
    connections: int
    verify_tls: bool
    say: Say
    stop: threading.Event
    downloaders: list[str] = field(default_factory=list)
    is_session_renewed: bool = False
    restarts: int = 0

    @property
    def file_name(self) -> str:
        """The archive's name, as in messages: `Videos_S1.tgz`."""
        return self.partial.path.stem

    def note_downloader(self, name: str) -> None:
        if name not in self.downloaders:
            self.downloaders.append(name)


def complete(transfer: Transfer, bar: Progress) -> str:
    """Download until no byte is missing, in as many attempts as it takes; return who did it, in words.

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
        try:
            _transfer_some(transfer, bar)
            continue
        except TemporaryError as error:
            trouble = error
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise _disk_full_error(partial) from None
        done = partial.bytes_done
        best, fruitless = max(best, done), 0 if done > best else fruitless + 1
        if fruitless in (1, TRIES_WITHOUT_PROGRESS) and _is_good_as_it_is(transfer):
            break
        if fruitless == TRIES_WITHOUT_PROGRESS:
            raise TaskError(
                f"{trouble}; tried {fruitless} times without a byte more. What came is kept: run again later"
            )
        pause(trouble, max(0, fruitless - 1), transfer.say, transfer.stop)
    return " and ".join(transfer.downloaders) or "an earlier run"


def _is_good_as_it_is(transfer: Transfer) -> bool:
    """Return whether a file whose last bytes never come is complete all the same: some servers promise too many."""
    partial = transfer.partial
    if not partial.path.exists() or partial.has_state:
        return False
    return check_archive(partial.path, transfer.subject, transfer.expected_md5).fault is None


def _transfer_some(transfer: Transfer, bar: Progress) -> None:
    """Send one request: write its response into the first missing range, or let axel download all of them.

    Raises:
        TemporaryError: it ended too early; what was downloaded is kept.
        TaskError: trying again does not help.
    """
    site, partial = transfer.site, transfer.partial
    start, end = partial.missing[0] if partial.missing else (0, None)
    session = site.session
    try:
        with site.open_archive(transfer.kind, transfer.subject, start, end, partial.version) as response:
            if not _is_usable(transfer, response):
                return
            if not _has_space(partial):
                raise _disk_full_error(partial)
            bar.total = response.size
            bar.initial = bar.n = partial.bytes_done
            if not _axel_can_continue(transfer, response):
                transfer.note_downloader("requests")
                _write_response(transfer, response, bar)
                return
    except NotAnArchiveError as error:
        if site.is_valid(session):
            raise TemporaryError(str(error)) from None
        if transfer.is_session_renewed:
            raise TaskError(f"{error}; the session ended twice during this archive: run again to go on") from None
        site.renew(session)
        transfer.is_session_renewed = True
        return
    _let_axel_download(transfer, response, session, bar)


# -- does the response fit the partial download? -----------------------------------------------------------------------


class Outcome(enum.Enum):
    """What a response means for a partial download."""

    USABLE = "its bytes are the first that are missing"
    COMPLETE = "no byte is missing: the archive ends where the file does"
    CHANGED = "the archive has changed on the server: restart"
    NO_RANGES = "the server does not send byte ranges: restart"
    OTHER_RANGE = "the server sent another range than requested"


def reconcile(missing: Ranges | None, version: Version, response: ArchiveResponse) -> Outcome:
    """Compare a partial download with the response to a request for its first missing bytes.

    Args:
        missing: the ranges that are missing, at least one; None if the file cannot be trusted.
        version: that the file's bytes come from.
    """
    start = missing[0][0] if missing else 0
    if response.is_past_end and missing and all(range_start == response.size for range_start, _ in missing):
        return Outcome.COMPLETE
    if response.is_past_end or version.contradicts(response.version):
        return Outcome.CHANGED
    if response.start == 0 and start > 0:
        return Outcome.NO_RANGES
    if response.start != start:
        return Outcome.OTHER_RANGE
    return Outcome.USABLE


def _is_usable(transfer: Transfer, response: ArchiveResponse) -> bool:
    """Make the partial download fit a response; return whether the response has the bytes that are missing first.

    Raises:
        TemporaryError: the server sent another range.
        TaskError: the archive keeps changing on the server.
    """
    partial, name, host = transfer.partial, transfer.file_name, transfer.site.host
    outcome = reconcile(partial.missing, partial.version, response)
    if outcome is Outcome.OTHER_RANGE:
        raise TemporaryError(f"{name}: {host} sent another range than it was asked for")
    if outcome is Outcome.COMPLETE:
        partial.trust_length()
    elif outcome is Outcome.CHANGED:
        transfer.restarts += 1
        if transfer.restarts > MOST_RESTARTS:
            raise TaskError(f"{name}: it changes on the site while it is fetched; try again on another day")
        transfer.say(f"{name}: it has changed on the site since it was begun: beginning anew")
        partial.discard()
        if response.is_past_end:
            return False
    elif outcome is Outcome.NO_RANGES:
        transfer.say(f"{name}: {host} sends no byte ranges: beginning anew")
        partial.discard()
    partial.set_version(response.version)
    if partial.missing is None:
        partial.discard()
        return False
    return not partial.is_complete and partial.missing[0][0] == response.start


def _has_space(partial: PartialDownload) -> bool:
    """Return whether the disk has space for the bytes that are missing."""
    size = partial.version.size
    return size is None or shutil.disk_usage(partial.path.parent).free >= size - partial.bytes_done


def _disk_full_error(partial: PartialDownload) -> TaskError:
    size, done, folder = partial.version.size, partial.bytes_done, partial.path.parent
    free = shutil.disk_usage(folder).free
    lacks = "an unknown number of" if size is None else f"{size - done:,}"
    return TaskError(
        f"{partial.path.stem}: the disk is full: {lacks} bytes are still to come, and {free:,} are free in "
        f"{folder}; make room and run again, the {done:,} bytes that came are kept"
    )


# -- who writes the bytes ----------------------------------------------------------------------------------------------


def _write_response(transfer: Transfer, response: ArchiveResponse, bar: Progress) -> None:
    """Write the response's bytes into the first missing range.

    Raises:
        TemporaryError: they ended too early.
    """
    partial = transfer.partial
    assert partial.missing, "see _is_usable"
    position, end = partial.missing[0]
    noted = position
    try:
        for chunk in response.chunks:
            if transfer.stop.is_set():
                raise RunStoppedError
            piece = memoryview(chunk)[: None if end is None else end - position]
            bar.update(len(piece))
            partial.write(position, piece)
            position += len(piece)
            if partial.has_state and position - noted > BYTES_BETWEEN_NOTES:
                partial.note()
                noted = position
            if position == end:
                break
    finally:
        if partial.has_state:
            partial.note()
    if end is None:  # the server does not say how long the archive is: the check will tell whether this was all
        partial.set_version(response.version._replace(size=position))
    elif position < end:
        raise TemporaryError(f"{transfer.file_name}: {transfer.site.host} stopped {end - position:,} bytes too early")


def _axel_can_continue(transfer: Transfer, response: ArchiveResponse) -> bool:
    """Return whether axel can download what is missing; if not, requests does, over one connection.

    axel opens as many connections as its state file has ranges, so it cannot use fewer than the ranges it left.
    """
    partial, connections = transfer.partial, transfer.connections
    assert partial.missing, "see _is_usable"
    is_possible = response.has_ranges and response.size is not None and response.is_own_host
    return is_possible and connections > 1 and (len(partial.missing) <= connections or partial.bytes_done == 0)


def _let_axel_download(transfer: Transfer, response: ArchiveResponse, session: str | None, bar: Progress) -> None:
    """Let axel download what is missing; if it does not finish, it gets fewer connections next time."""
    partial, connections, size = transfer.partial, transfer.connections, response.size
    assert size is not None, "see _axel_can_continue"
    before = partial.bytes_done
    if before:
        partial.split(connections)
        partial.note()
    else:
        partial.discard()  # axel creates a file of its own, and accepts none that is there without its state
        partial.set_version(response.version)

    def show(on_disk: int) -> None:
        bar.update(max(0, min(on_disk, size) - bar.n))  # a file's last block counts in full

    partial.close()
    run_axel(
        response.url,
        partial.path,
        cookie=session,
        connections=connections,
        verify_tls=transfer.verify_tls,
        stall_seconds=STALL_SECONDS,
        stop=transfer.stop,
        progress=show,
    )
    if transfer.stop.is_set():
        raise RunStoppedError
    partial.reload()
    if not partial.has_state and partial.length not in (0, size):
        partial.discard()  # axel has finished something else, such as a login page
    if partial.bytes_done > before:
        transfer.note_downloader("axel")
    if not partial.is_complete:
        transfer.say(
            f"{transfer.file_name}: axel did not finish it with {connections} connections; coming back with fewer"
        )
        transfer.connections = FEW_CONNECTIONS if connections > FEW_CONNECTIONS else 1
        if not _has_space(partial):
            raise _disk_full_error(partial)
