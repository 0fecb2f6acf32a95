"""Failures of the server that may pass, and how long to wait before the next attempt."""

import email.utils
import os
import threading
import time
from collections.abc import Callable

from h36m.errors import RunStoppedError, TaskError
from h36m.progress import Say

# How many attempts in a row may fail without progress, and the first of the pauses between them: 5,
# 10, 20, 40, 80 and 160 seconds give a server that restarts five minutes. Tests set the first pause lower.
TRIES_WITHOUT_PROGRESS = 7
FIRST_PAUSE_SECONDS = float(os.environ.get("H36M_RETRY_SECONDS", "5"))
LONGEST_RETRY_AFTER = 600  # seconds; a server that wants more than ten minutes is better left for a later run


class TemporaryError(Exception):
    """The site failed, but a retry may succeed. The message is one line.

    Attributes:
        wait: seconds that the server asked to wait; None where it did not say.
        status: the HTTP status that said so; None where there was no response.
    """

    def __init__(self, message: str, wait: float | None = None, status: int | None = None):
        super().__init__(message)
        self.wait = wait
        self.status = status


class UnreachableError(TemporaryError):
    """There is no connection to the site: the host is not found, or does not accept connections."""


class TooManyError(TemporaryError):
    """The site serves no more connections or requests for now (HTTP 429, 503), or not this byte range."""


class ChangedError(TemporaryError):
    """The archive on the server is no longer the version that is being downloaded."""


class NotAnArchiveError(TemporaryError):
    """The site sent a page in place of an archive: most likely the session has expired."""


class RefusedArchiveError(NotAnArchiveError):
    """The site sends no archive and says so by its status (HTTP 403, 404): final for a single request that is valid."""


def is_temporary(status: int) -> bool:
    """Return whether an HTTP status means that a retry may succeed."""
    return status in (408, 425, 429) or status >= 500


def seconds_to_wait(retry_after: str) -> float | None:
    """Return how long a Retry-After header, a number of seconds or a date, asks to wait; None for anything else."""
    if retry_after.isdecimal():
        return min(float(retry_after), LONGEST_RETRY_AFTER)
    try:
        seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0, round(seconds)), LONGEST_RETRY_AFTER)


def pause_seconds(number: int, wait: float | None) -> float:
    """Return how long to wait after a failure that `number` others precede, at least `wait`, as the server asked."""
    return max(FIRST_PAUSE_SECONDS * 2**number, wait or 0)


def pause(error: TemporaryError, number: int, say: Say, stop: threading.Event) -> None:
    """Wait before the next attempt.

    Raises:
        RunStoppedError: `stop` was set meanwhile.
    """
    seconds = pause_seconds(number, error.wait)
    say(f"{error}; retrying in {seconds:g} s")
    if stop.wait(seconds):
        raise RunStoppedError


def retry(action: Callable[[], None], say: Say, stop: threading.Event) -> None:
    """Call a function that needs the site, with retries while the site fails; give up at once if it cannot be reached.

    Raises:
        TaskError: the site keeps failing or cannot be reached.
    """
    for number in range(TRIES_WITHOUT_PROGRESS):
        try:
            return action()
        except UnreachableError as error:
            raise TaskError(str(error)) from None
        except TemporaryError as error:
            if number == TRIES_WITHOUT_PROGRESS - 1:
                raise TaskError(f"{error}; {TRIES_WITHOUT_PROGRESS} attempts failed, run again later") from None
            pause(error, number, say, stop)


def is_caused_by(error: BaseException, *types: type[BaseException]) -> bool:
    """Return whether an error, or one of those that led to it, is of one of these types."""
    # requests and urllib3 wrap an error in others: as an argument, as `reason`, or as what was being handled.
    waiting: list[object] = [error]
    seen: list[BaseException] = []
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or any(found is each for each in seen):
            continue
        if isinstance(found, types):
            return True
        seen.append(found)
        waiting += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
    return False
