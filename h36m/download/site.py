"""The dataset's site: log in, keep a valid session, request archives, and send the cookie nowhere else."""

import atexit
import getpass
import os
import re
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

try:
    import termios
except ImportError:  # Windows has none
    termios = None  # type: ignore[assignment]

from h36m.cli import Say, TaskError, UsageError
from h36m.dataset import ARCHIVE_EXTENSION, KIND_FACTS, SITE_SUBJECT_NUMBERS, archive_file_name
from h36m.download.config import Configuration, save_session
from h36m.download.partial import Version
from h36m.download.retry import NotAnArchiveError, TemporaryError, UnreachableError, is_caused_by, seconds_to_wait
from h36m.gzip_stream import GZIP_MAGIC, describe_page

# What PHP makes session names of. Anything else, such as an e-mail address, was put there by mistake.
PHPSESSID_PATTERN = re.compile(r"[A-Za-z0-9,-]+")

CONNECT_SECONDS = 30  # a far-away server answers the first packet in well under a second, or is not there
# No byte for this long means that none will come: people see servers pause for 10 to 20 seconds. Tests set it lower.
STALL_SECONDS = float(os.environ.get("H36M_STALL_SECONDS", "60"))
MOST_REDIRECTS = 5  # http to https, www, a login page: the site needs two
FIRST_BYTES = 512  # enough to tell an archive from a page


@dataclass
class ArchiveResponse:
    """The server's response to a request for an archive or a part of it.

    Attributes:
        start: offset in the archive of the first byte in this response.
        size: bytes of the whole archive; None if the server does not say.
        is_past_end: the archive has no bytes at the requested offset (HTTP 416); `chunks` yields nothing.
        has_ranges: the server sent the requested range, so resuming and several connections work.
        version: which version of the archive this is.
        url: where the response came from, after redirects.
        is_own_host: the response came from the site itself, which may receive the cookie.
        chunks: yields the bytes; raises TemporaryError when they end too early.
    """

    start: int
    size: int | None
    is_past_end: bool
    has_ranges: bool
    version: Version
    url: str
    is_own_host: bool
    chunks: Iterator[bytes]


class Site:
    """The site and the session there; threads may share it."""

    def __init__(self, configuration: Configuration, say: Say):
        self.configuration = configuration
        self.base_url = configuration.base_url
        self.session: str | None = None  # the valid PHPSESSID
        self._say = say
        self._login_lock = threading.Lock()
        if not configuration.verify_tls:
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc

    def start_session(self) -> None:
        """Find a valid session: a configured one, or else log in.

        Raises:
            UsageError: no valid session, and no user name and password, or wrong ones.
            TemporaryError: the site failed.
        """
        for session in self.configuration.sessions:
            if not PHPSESSID_PATTERN.fullmatch(session):
                self._say(
                    "the configured PHPSESSID is not one (letters and digits only; a user name, perhaps?): not used"
                )
            elif self.is_valid(session):
                self.session = session
                return
            else:
                self._say("the configured PHPSESSID is no longer alive: logging in")
        self._log_in()

    def renew(self, expired_session: str | None) -> None:
        """Log in again, unless another thread has done so since `expired_session` was in use.

        Raises: as `start_session`.
        """
        with self._login_lock:
            if self.session == expired_session:
                self._say(f"{self.host}: the session has ended: logging in again")
                self._log_in()

    def is_valid(self, session: str | None) -> bool:
        """Ask the site whether a session is valid."""
        with self._get(self.base_url + "filebrowser.php", session) as response:
            self._raise_for_failure(response, "asking whether the session is alive")
            return response.status_code == 200 and urlsplit(response.url).path.endswith("/filebrowser.php")

    def _log_in(self) -> None:
        username, password = self._credentials()
        self._get(self.base_url, None).close()  # learns of a redirect to https before the password is sent
        url = self.base_url + "checklogin.php"
        form = {"username": username, "password": password}
        cookies: dict[str, str] = {}
        with self._send("POST", url, {}, data=form) as response:
            self._raise_for_failure(response, "logging in")
            cookies |= self._own_cookies(response)
            target = urljoin(url, response.headers["Location"]) if response.is_redirect else url
        if urlsplit(target).path.endswith("checklogin.php"):
            raise UsageError(
                f"{self.host} refused the user name or the password; check them in {self.configuration.path} "
                "(the user name is the e-mail address registered with the site)"
            )
        session = cookies.get("PHPSESSID", "")
        if not PHPSESSID_PATTERN.fullmatch(session):
            raise TaskError(f"{self.host} let us in and sent no PHPSESSID; log in with a browser and configure its one")
        if not self.is_valid(session):
            raise TaskError(f"{self.host} let us in, but its session is not alive; try again later")
        self.session = session
        try:
            save_session(self.configuration.path, session)
            self._say(f"logged in at {self.host}; the session is saved in {self.configuration.path}")
        except OSError as error:
            reason = f"could not be saved in {self.configuration.path}: {error.strerror}"
            self._say(f"logged in at {self.host}; the session {reason}")

    def _credentials(self) -> tuple[str, str]:
        """Return user name and password, asking at the terminal for what is missing."""
        configuration = self.configuration
        if not (configuration.username and configuration.password):
            if not (sys.stdin and sys.stdin.isatty()):
                raise UsageError(
                    f"no live session for {self.host}, and no user name and password to log in with: put them into "
                    f"{configuration.path}, or into H36M_USERNAME and H36M_PASSWORD"
                )
            if termios:
                # Ctrl-C may end the script while a thread still reads a password: what is typed next shall be seen.
                atexit.register(termios.tcsetattr, sys.stdin, termios.TCSANOW, termios.tcgetattr(sys.stdin))
            try:
                configuration.username = configuration.username or _ask(f"E-mail registered with {self.host}: ")
                configuration.password = configuration.password or getpass.getpass(f"Password at {self.host}: ")
            except EOFError:
                raise UsageError(f"not logged in at {self.host}: the question was not answered") from None
        return configuration.username, configuration.password

    def archive_url(self, kind: str, subject: str) -> str:
        """Return the address of an archive."""
        query = {
            "download": 1,
            "filepath": KIND_FACTS[kind].site_path,
            "filename": f"SubjectSpecific_{SITE_SUBJECT_NUMBERS[subject]}{ARCHIVE_EXTENSION}",
            "downloadname": subject,
        }
        return f"{self.base_url}filebrowser.php?{urlencode(query, safe='/')}"

    @contextmanager
    def open_archive(
        self, kind: str, subject: str, start: int, end: int | None, version: Version
    ) -> Iterator[ArchiveResponse]:
        """Request an archive's bytes from `start` to before `end` (None: to its end).

        Args:
            version: that earlier bytes came from; if the server has another one now, it is asked to send that from
                the beginning.

        Raises:
            NotAnArchiveError: the server sent a page.
            TemporaryError: the server failed, or the connection.
            TaskError: the server does not have this archive.
        """
        name = archive_file_name(kind, subject)
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if start and version.etag and not version.etag.startswith("W/"):  # a weak one may not be used for ranges
            headers["If-Range"] = version.etag
        elif start and version.last_modified:
            headers["If-Range"] = version.last_modified
        with self._get(self.archive_url(kind, subject), self.session, headers) as response:
            self._raise_for_failure(response, f"asking for {name}")
            status = response.status_code
            if status in (401, 403):
                raise NotAnArchiveError(f"{self.host} does not let us have {name} (status {status})")
            if status not in (200, 206, 416) and not response.is_redirect:
                raise TaskError(f"{name}: {self.host} answered {status} {response.reason}; is it still published?")
            if response.is_redirect:
                raise NotAnArchiveError(f"{self.host} redirects {name} in circles")
            yield self._archive_response(response, name)

    def _archive_response(self, response: requests.Response, name: str) -> ArchiveResponse:
        content_range = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        length = response.headers.get("Content-Length", "")
        start, size = 0, int(length) if length.isdecimal() else None
        if response.status_code in (206, 416):
            if not content_range or (response.status_code == 206) != bool(content_range[1]):
                raise TemporaryError(f"{name}: {self.host} sent a range without saying which")
            size = int(content_range[2]) if content_range[2] != "*" else None
            start = int(content_range[1]) if content_range[1] else size or 0
        chunks = self._chunks(response, name)
        if start == 0 and response.status_code != 416:
            first = next(chunks, b"")
            if not first.startswith(GZIP_MAGIC):
                raise NotAnArchiveError(f"{self.host} sent something else than {name}: {describe_page(first)}")
            chunks = _with_first(first, chunks)
        return ArchiveResponse(
            start=start,
            size=size,
            is_past_end=response.status_code == 416,
            has_ranges=response.status_code == 206,
            version=Version(size, response.headers.get("ETag"), response.headers.get("Last-Modified")),
            url=response.url,
            is_own_host=self._is_own(response.url),
            chunks=chunks,
        )

    def _chunks(self, response: requests.Response, name: str) -> Iterator[bytes]:
        """Yield the bytes as they were sent: some servers call a .tgz an encoding, and it must not be decoded."""
        if response.status_code == 416:
            return
        first_size, size = FIRST_BYTES, 1 << 16
        try:
            while chunk := response.raw.read(first_size, decode_content=False):
                yield chunk
                first_size = size
        except urllib3.exceptions.ReadTimeoutError:
            raise TemporaryError(f"{name}: no byte for {STALL_SECONDS:g} seconds") from None
        except (urllib3.exceptions.HTTPError, OSError):
            raise TemporaryError(f"{name}: the connection to {self.host} broke") from None

    def _get(self, url: str, session: str | None, headers: dict[str, str] | None = None) -> requests.Response:
        """GET, redirects followed; the cookie is sent to the site's own host and to no other."""
        for _ in range(MOST_REDIRECTS + 1):
            cookie = {"Cookie": f"PHPSESSID={session}"} if session and self._is_own(url) else {}
            response = self._send("GET", url, (headers or {}) | cookie)
            if not response.is_redirect:
                break
            response.close()
            target = urljoin(url, response.headers["Location"])
            if url.startswith("http://") and target == "https://" + url.removeprefix("http://"):
                self.base_url = "https://" + self.base_url.removeprefix("http://")
            url = target
        return response

    def _is_own(self, url: str) -> bool:
        """Say whether an address is at the site itself: same scheme, host and port."""
        return urlsplit(url)[:2] == urlsplit(self.base_url)[:2]

    def _own_cookies(self, response: requests.Response) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in response.cookies}

    def _send(self, method: str, url: str, headers: dict[str, str], data=None) -> requests.Response:
        """Send one request, without cookies of its own and without following redirects; say failures in one line."""
        host = urlsplit(url).netloc
        try:
            return requests.request(
                method,
                url,
                headers={"Accept-Encoding": "identity"} | headers,
                data=data,
                allow_redirects=False,
                stream=True,
                verify=self.configuration.verify_tls,
                timeout=(min(CONNECT_SECONDS, STALL_SECONDS), STALL_SECONDS),
            )
        except requests.exceptions.SSLError as error:
            if not is_caused_by(error, ssl.SSLCertVerificationError):
                raise TemporaryError(f"{host}: the encrypted connection failed") from None
            raise TaskError(
                f"{host}: its certificate is not trusted; someone may be listening. If you know why and trust the "
                f"network, set VerifyTLS = no in {self.configuration.path}"
            ) from None
        except requests.exceptions.ReadTimeout:
            raise TemporaryError(f"{host}: no answer for {STALL_SECONDS:g} seconds") from None
        except requests.exceptions.ConnectionError as error:
            if is_caused_by(error, socket.gaierror):
                raise UnreachableError(f"{host}: host not found; check BaseURL and the network") from None
            if is_caused_by(error, urllib3.exceptions.NewConnectionError, requests.exceptions.ConnectTimeout):
                raise UnreachableError(f"{host}: cannot be reached; check BaseURL and the network") from None
            raise TemporaryError(f"{host}: hung up") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError):
            raise TaskError(f"{host}: not an address that can be asked; check BaseURL") from None

    def _raise_for_failure(self, response: requests.Response, doing: str) -> None:
        """Raise TemporaryError for the answers that mean: not now."""
        status = response.status_code
        if status in (408, 425, 429) or status >= 500:
            wait = seconds_to_wait(response.headers.get("Retry-After", ""))
            raise TemporaryError(f"{doing}: {self.host} answered {status} {response.reason}", wait)


def _ask(question: str) -> str:
    """Ask at the terminal, also where standard output goes to a file."""
    print(question, end="", file=sys.stderr, flush=True)
    return input().strip()


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
