"""The state of one archive's download, and what a response means for it."""

import enum
import os
import threading
from dataclasses import dataclass, field

from h36m.cli import Say
from h36m.dataset import Archive
from h36m.download.partial import PartialDownload, Ranges, Version
from h36m.download.response import ArchiveResponse
from h36m.download.retry import TemporaryError, UnreachableError
from h36m.download.site import Site

# After this long without a byte the session is checked. Tests set it lower.
QUIET_SECONDS = float(os.environ.get("H36M_QUIET_SECONDS", "10"))
# How long that check may take: with QUIET_SECONDS and a login, an expired session costs 15 s at most.
SESSION_CHECK_SECONDS = 2


@dataclass
class Transfer:
    """The download of one archive: what it works on, and what its attempts have shown so far.

    Attributes:
        expected_md5: the published MD5; None where there is none.
        most_connections: how many may be opened for this archive.
        connections: how many may be opened next; fewer where the site refused some.
        uses_axel: whether axel may download; else requests does.
        downloaders: who downloaded some of it, in this order.
        has_seen_ranges: the server has sent a byte range, so one response without is no reason to drop bytes.
        is_session_renewed: the session was renewed for this archive; that is done once.
        restarts: how often the archive changed on the server meanwhile.
    """

    site: Site
    archive: Archive
    partial: PartialDownload
    expected_md5: str | None
    most_connections: int
    connections: int
    uses_axel: bool
    say: Say
    stop: threading.Event
    downloaders: list[str] = field(default_factory=list)
    has_seen_ranges: bool = False
    is_session_renewed: bool = False
    restarts: int = 0

    @property
    def file_name(self) -> str:
        """The archive's name, as in messages: `Videos_S1.tgz`."""
        return self.partial.path.stem

    def note_downloader(self, name: str) -> None:
        if name not in self.downloaders:
            self.downloaders.append(name)

    def ask_about_session(self, session: str | None) -> "SessionState":
        """Check whether a session is valid, and wait for the response no longer than SESSION_CHECK_SECONDS."""
        if self.site.session != session:  # another archive's download has renewed it
            return SessionState.EXPIRED
        try:
            return SessionState.VALID if self.site.is_valid(session, SESSION_CHECK_SECONDS) else SessionState.EXPIRED
        except TemporaryError as error:
            is_silent = not error.status and not isinstance(error, UnreachableError)
            return SessionState.SILENT if is_silent else SessionState.UNKNOWN

    def renew_expired_session(self, session: str | None, is_quiet: bool, state: "SessionState | None" = None) -> bool:
        """Log in again if the session has expired; that is done once for each archive.

        Args:
            session: that was in use.
            is_quiet: no byte has arrived for a while; then no response counts as an expired session, too.
            state: of that session; None to ask the site.

        Returns:
            whether there is a new session now.

        Raises:
            UsageError: the site no longer accepts the user name and password, or there are none.
            TaskError: logging in failed.
        """
        if self.is_session_renewed:
            return False
        state = state or self.ask_about_session(session)
        # A silent site is no reason to prompt for a password.
        is_silent = is_quiet and state is SessionState.SILENT and self.site.has_credentials
        if state is not SessionState.EXPIRED and not is_silent:
            return False
        try:
            self.site.renew(session)
        except TemporaryError:
            return False
        self.is_session_renewed = True
        return True


class SessionState(enum.Enum):
    """The state of a session, as the site shows it."""

    VALID = "valid"
    EXPIRED = "expired"
    SILENT = "the site does not answer, as some do when a session has expired"
    UNKNOWN = "the site fails"


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
