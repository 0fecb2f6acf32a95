"""The dataset's site: log in, keep a valid session, request archives, and send the cookie nowhere else."""

import atexit
import contextlib
import functools
import getpass
import os
import re
import sys
import threading
import warnings
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

try:
    import termios
except ImportError:  # Windows has none
    termios = None  # type: ignore[assignment]

from h36m.archives.content import page_fault
from h36m.dataset import ARCHIVE_EXTENSION, KIND_FACTS, SITE_SUBJECT_NUMBERS, Archive
from h36m.download.config import Configuration, save_session
from h36m.download.proxies import check_proxy, host_of
from h36m.download.request import send
from h36m.download.response import STALL_SECONDS, ArchiveResponse, read_chunks, read_response
from h36m.download.retry import NotAnArchiveError, TemporaryError, TooManyError, is_temporary, seconds_to_wait
from h36m.errors import TaskError, UsageError
from h36m.progress import Say, prompting

# The characters of PHP's session IDs. Anything else, such as an e-mail address, was entered by mistake.
PHPSESSID_PATTERN = re.compile(r"[A-Za-z0-9,-]+")

CONNECT_SECONDS = 30  # a distant server responds in well under a second, or is down
MOST_PROMPTS = 3
MOST_REDIRECTS = 5  # http to https, www, a login page: the site needs two
SECRET_BEGINNING = 6  # characters of a secret that are not shown either
PAGE_BYTES = 1 << 16  # of the file browser's page: enough to tell it from a login page
LOGIN_FORM = re.compile(rb"checklogin\.php|type=.?password", re.IGNORECASE)


class Site:
    """The dataset's site and the current session; threads may share it."""

    def __init__(self, configuration: Configuration, say: Say, is_dry_run: bool = False):
        """Use the account of a configuration.

        Args:
            is_dry_run: ask nothing at the terminal and save no session.
        """
        self.configuration = configuration
        self.base_url = configuration.base_url
        self.session: str | None = None  # the valid PHPSESSID
        self.renewing: set[threading.Thread] = set()  # threads that wait for a new one, such as for a password
        self._say = say
        self._say_once = functools.cache(say)
        self._is_dry_run = is_dry_run
        self._login_lock = threading.Lock()
        self._of_thread = threading.local()
        if not configuration.verify_tls:
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)

    @property
    def host(self) -> str:
        return host_of(self.base_url)

    def start_session(self) -> None:
        """Find a valid session: a configured one, or else log in.

        Raises:
            UsageError: no valid session, and the user name or password is missing or wrong.
            TemporaryError: the site failed.
        """
        if self.base_url.startswith("http://"):
            self._learn_of_https()
        if notice := check_proxy(self.base_url, self.configuration.downloader):
            self._say_once(notice)
        for session in self.configuration.sessions:
            if not PHPSESSID_PATTERN.fullmatch(session):
                self._say("ignoring the configured PHPSESSID: not a valid session ID (did you enter your user name?)")
            elif self.is_valid(session):
                self.session = session
                if not self.has_credentials and not self._is_dry_run:
                    what = "you will be prompted for them" if _is_at_terminal() else "the run will stop"
                    self._say(f"no user name and password to log in with: {what} when the session expires")
                return
            else:
                self._say("the saved session has expired; logging in")
        self._log_in()

    def _learn_of_https(self) -> None:
        """Ask a plain http site for its first page, and follow a redirect to https before any secret is sent."""
        with self._get(self.base_url, None) as response:
            self._raise_for_failure(response, "first page")
        base, target = urlsplit(self.base_url), urlsplit(response.url)
        is_same_port = base.port == target.port or (base.port in (None, 80) and target.port in (None, 443))
        is_same_host = base.hostname == target.hostname and is_same_port
        if (base.scheme, target.scheme) == ("http", "https") and is_same_host:
            self.base_url = f"https://{host_of(response.url)}{base.path}"

    def renew(self, expired_session: str | None, reason: str) -> None:
        """Log in again, unless another thread has done so since `expired_session` was in use.

        Raises: as `start_session`.
        """
        self.renewing.add(threading.current_thread())
        try:
            with self._login_lock:
                if self.session == expired_session:
                    self._say(f"{self.host}: {reason}; logging in again")
                    self._log_in()
        finally:
            self.renewing.remove(threading.current_thread())

    @property
    def has_credentials(self) -> bool:
        """Whether the site can log in without asking the user."""
        return bool(self.configuration.username and self.configuration.password)

    def is_valid(self, session: str | None, seconds: float | None = None) -> bool:
        """Ask the site whether a session is valid: whether its file browser shows more than it shows without one.

        Args:
            seconds: to wait for each response; None for as long as for any other.

        Raises:
            TemporaryError: the site failed.
        """
        page = self._file_browser(session, seconds)
        if page is None or LOGIN_FORM.search(page):
            return False
        try:
            return page != self._file_browser(None, seconds)
        except TemporaryError:  # such as silence, which differs from the response with the session
            return True

    def _file_browser(self, session: str | None, seconds: float | None = None) -> bytes | None:
        """Return the beginning of the file browser's page; None where the site shows another page in its place."""
        with self._get(self.base_url + "filebrowser.php", session, seconds=seconds) as response:
            self._raise_for_failure(response, "session check")
            if response.status_code != 200 or not urlsplit(response.url).path.endswith("/filebrowser.php"):
                return None
            return next(read_chunks(response, "filebrowser.php", self.host, PAGE_BYTES, decode=True), b"")

    def _log_in(self) -> None:
        """Log in; ask up to three times for what has to be entered at the terminal."""
        configuration = self.configuration
        configured = configuration.username, configuration.password
        for _ in range(MOST_PROMPTS):
            session = self._session_of(*self._credentials())
            if session is not None or all(configured):
                break
            self._say(f"login: {self.host}: wrong user name or password")
            configuration.username, configuration.password = configured
        if session is None:
            variables = [name for name in ("H36M_USERNAME", "H36M_PASSWORD") if os.environ.get(name)]
            where = " and ".join([*variables, str(configuration.path)][:2])
            raise UsageError(
                f"{self.host}: wrong user name or password; check {where} "
                "(the user name is the e-mail address registered with the site)"
            )
        self.session = session
        if self._is_dry_run:
            return
        try:
            save_session(self.configuration.path, session)
            self._say(f"logged in at {self.host}; the session is saved in {self.configuration.path}")
        except OSError as error:
            reason = f"could not be saved in {self.configuration.path}: {error.strerror}"
            self._say(f"logged in at {self.host}; the session {reason}")

    def _session_of(self, username: str, password: str) -> str | None:
        """Send user name and password; return the new PHPSESSID, or None if the site says that they are wrong.

        Raises:
            TemporaryError, TaskError: the site said something else, such as HTTP 403, or that it is down.
        """
        url, form = self.base_url + "checklogin.php", {"username": username, "password": password}
        with self._send("POST", url, {}, data=form) as response:
            self._raise_for_failure(response, "login")
            session = {cookie.name: cookie.value or "" for cookie in response.cookies}.get("PHPSESSID", "")
            target = urljoin(url, response.headers["Location"]) if response.is_redirect else url
            page = next(read_chunks(response, "login", self.host, PAGE_BYTES, decode=True), b"")
        if not response.is_redirect and response.status_code != 200:
            raise TaskError(f"login: HTTP {response.status_code} {response.reason}; try to log in with a browser")
        if urlsplit(target).path.endswith("checklogin.php"):
            if page != self._file_browser(None):
                return None
            text = f"login: {self.host} sends one page for all requests: it {page_fault(page) or 'is empty'}"
            raise TemporaryError(self._without_secrets(text))
        if not PHPSESSID_PATTERN.fullmatch(session) or self._file_browser(session) is None:
            raise TaskError(
                f"login: {self.host} redirected to {urlsplit(target).path} without a valid session; log in with a "
                f"browser and copy its PHPSESSID into {self.configuration.path}"
            )
        return session

    def _credentials(self) -> tuple[str, str]:
        """Return user name and password, asking at the terminal for what is missing."""
        configuration = self.configuration
        if not (configuration.username and configuration.password):
            if self._is_dry_run or not _is_at_terminal():
                raise UsageError(
                    f"no valid session for {self.host}, and no user name and password to log in; put them into "
                    f"{configuration.path}, or into H36M_USERNAME and H36M_PASSWORD"
                )
            if termios:
                # Ctrl-C may end the script while a thread still reads a password: turn the terminal's echo on again.
                atexit.register(termios.tcsetattr, sys.stdin, termios.TCSANOW, termios.tcgetattr(sys.stdin))
            try:
                with prompting():
                    configuration.username = configuration.username or _ask(f"E-mail registered with {self.host}: ")
                    configuration.password = configuration.password or getpass.getpass(f"Password at {self.host}: ")
            except EOFError:
                raise UsageError(
                    f"not logged in at {self.host}: no user name or password was entered; put them into "
                    f"{configuration.path}"
                ) from None
        return configuration.username, configuration.password

    def archive_url(self, archive: Archive) -> str:
        """Return the address of an archive."""
        query = {
            "download": 1,
            "filepath": KIND_FACTS[archive.kind].site_path,
            "filename": f"SubjectSpecific_{SITE_SUBJECT_NUMBERS[archive.subject]}{ARCHIVE_EXTENSION}",
            "downloadname": archive.subject,
        }
        return f"{self.base_url}filebrowser.php?{urlencode(query, safe='/')}"

    def open_archive(
        self, archive: Archive, start: int, end: int | None, seconds: float | None = None
    ) -> ArchiveResponse:
        """Request an archive's bytes from `start` to before `end` (None: to its end). The caller closes the response.

        Args:
            seconds: to wait for each byte; None for as long as for any other response.

        Raises:
            NotAnArchiveError: the server sent something else, most likely since the session has expired.
            TemporaryError: the server failed, or the connection.
        """
        name = archive.file_name
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        response = self._get(self.archive_url(archive), self.session, headers, seconds)
        try:
            self._raise_for_failure(response, name)
            return read_response(response, archive, self.host, self._is_own(response.url))
        except NotAnArchiveError as error:
            response.close()
            raise type(error)(self._without_secrets(str(error))) from None
        except BaseException:
            response.close()
            raise

    def size_of(self, archive: Archive, seconds: float) -> int | None:
        """Ask for the size of an archive by its first byte; None where the site does not say.

        Raises: as `open_archive`.
        """
        with contextlib.closing(self.open_archive(archive, 0, 1, seconds)) as response:
            return response.size

    def _without_secrets(self, text: str) -> str:
        """Return a line that may quote a page of the site without secrets: some pages repeat what they were sent."""
        secrets = (self.session, self.configuration.password)
        # Their beginnings, since a quotation may end within one.
        if any(secret and secret[:SECRET_BEGINNING] in text for secret in secrets):
            return f"{text.partition(': ')[0]}: its text contains a secret"
        return text

    def _get(
        self, url: str, session: str | None, headers: dict[str, str] | None = None, seconds: float | None = None
    ) -> requests.Response:
        """GET, redirects followed; the cookie is sent to the site's own host and to no other."""
        for _ in range(MOST_REDIRECTS + 1):
            cookie = {"Cookie": f"PHPSESSID={session}"} if session and self._is_own(url) else {}
            response = self._send("GET", url, (headers or {}) | cookie, seconds=seconds)
            if not response.is_redirect:
                break
            response.close()
            url = urljoin(url, response.headers["Location"])
        return response

    def _is_own(self, url: str) -> bool:
        """Return whether an address is at the site itself: same scheme, host and port."""
        return urlsplit(url)[:2] == urlsplit(self.base_url)[:2]

    def _send(
        self, method: str, url: str, headers: dict[str, str], data=None, seconds: float | None = None
    ) -> requests.Response:
        """Send one request, without other cookies and without following redirects; failures are one line.

        A request for a range is sent over the connection that the thread has used before, if that is still open.
        """
        seconds = min(seconds or STALL_SECONDS, STALL_SECONDS)
        return send(
            method,
            url,
            self.configuration.path,
            timeout=(min(CONNECT_SECONDS, seconds), seconds),
            headers={"Accept-Encoding": "identity"} | headers,
            session=self._kept_connection() if "Range" in headers else None,
            data=data,
            verify=self.configuration.verify_tls,
        )

    def _kept_connection(self) -> requests.Session:
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = requests.Session()
            # A cookie that the site sets would follow a redirect to another port or host.
            self._of_thread.connection.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return self._of_thread.connection

    def _raise_for_failure(self, response: requests.Response, doing: str) -> None:
        """Raise TemporaryError for a status after which a retry may succeed."""
        status = response.status_code
        if is_temporary(status):
            wait = seconds_to_wait(response.headers.get("Retry-After", ""))
            error = TooManyError if status in (429, 503) else TemporaryError
            raise error(f"{doing}: HTTP {status} {response.reason}", wait, status)


def _is_at_terminal() -> bool:
    return bool(sys.stdin and sys.stdin.isatty())


def _ask(question: str) -> str:
    """Prompt at the terminal, also where standard output goes to a file."""
    print(question, end="", file=sys.stderr, flush=True)
    return input().strip()
