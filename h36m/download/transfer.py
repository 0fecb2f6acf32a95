"""The state of one archive's download, and the renewal of a session that expires during it."""

import os
import threading
from dataclasses import dataclass, field

import urllib3

from h36m.dataset import Archive
from h36m.download.partial import PartialDownload
from h36m.download.response import ArchiveResponse
from h36m.download.retry import RefusedArchiveError, TemporaryError, is_caused_by
from h36m.download.site import Site
from h36m.errors import TaskError
from h36m.progress import Say

# After this long without a byte a connection is given up, and the session is checked. Tests set it lower.
QUIET_SECONDS = float(os.environ.get("H36M_QUIET_SECONDS", "10"))
# How long that check may take: with QUIET_SECONDS and a login, an expired session costs 15 s at most.
SESSION_CHECK_SECONDS = 2


@dataclass
class Transfer:
    """The download of one archive: what it works on, and what its attempts have shown so far.

    Attributes:
        connections: how many requests may open for this archive.
        axel_connections: the same for axel; 0 where axel is not used.
        patience: seconds without a byte after which an attempt ends: QUIET_SECONDS, longer where the site is slow.
        downloaders: who downloaded some of it, in this order.
        has_seen_ranges: the server has sent a byte range, so one response without is no reason to drop bytes.
        is_site_silent: the site did not answer the last question about the session.
        is_session_renewed: the session was renewed, and there was no progress since then.
        restarts: how often the archive changed on the server meanwhile.
    """

    site: Site
    archive: Archive
    partial: PartialDownload
    connections: int
    axel_connections: int
    say: Say
    stop: threading.Event
    patience: float = QUIET_SECONDS
    downloaders: dict[str, None] = field(default_factory=dict)
    has_seen_ranges: bool = False
    is_site_silent: bool = False
    is_session_renewed: bool = False
    restarts: int = 0

    @property
    def file_name(self) -> str:
        """Return the archive's name, as in messages: `Videos_S1.tgz`."""
        return self.archive.file_name

    def has_other_size(self, response: ArchiveResponse) -> bool:
        """Return whether a response is of an archive of another size: it has changed on the server."""
        return None not in (self.partial.size, response.size) and self.partial.size != response.size

    def is_session_expired(self, session: str | None, is_quiet: bool) -> bool | None:
        """Ask the site whether a session has expired; None if the site does not say.

        Args:
            session: that was in use; it has expired, too, if another archive's download has renewed it.
            is_quiet: no byte arrives; then no answer counts as an expired session, too, as long as the session was
                not renewed. (A site that is only slow is no reason to prompt for a password.)
        """
        self.is_site_silent = False
        if self.site.session != session:
            return True
        try:
            return not self.site.is_valid(session, SESSION_CHECK_SECONDS)
        except TemporaryError as error:
            self.is_site_silent = is_caused_by(error, urllib3.exceptions.ReadTimeoutError)
            is_possible = not self.is_session_renewed and self.site.has_credentials
            return True if is_quiet and self.is_site_silent and is_possible else None

    def renew_session(self, session: str | None, error: TemporaryError) -> bool:
        """After a failure, log in again if the session has expired; without progress since then, that is done once.

        Args:
            session: that was in use.

        Returns:
            whether there is a new session now; if not, the failure has another cause and may pass.

        Raises:
            UsageError: the site no longer accepts the user name and password, or there are none.
            TaskError: the failure does not pass, or logging in failed.
            TemporaryError: the site failed during the login.
        """
        is_expired = self.is_session_expired(session, is_quiet=True)
        if is_expired is False and isinstance(error, RefusedArchiveError):
            raise TaskError(f"{error}; is it still published?")
        if is_expired and self.site.session == session:
            if self.is_session_renewed:
                raise TaskError(f"{error}; the session expired twice without progress; run again to resume")
            reason = "no response about the session" if self.is_site_silent else "the session has expired"
            self.site.renew(session, reason)
            self.is_session_renewed = True
        return bool(is_expired)
