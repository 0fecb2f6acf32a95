"""A fake server of the dataset on loopback: it logs users in, and sends them archives.

    with serve(Path("archives"), "someone@example.org", "secret") as site:
        print(site.base_url)   # http://127.0.0.1:40123/human3.6m/

It responds as the real site does: PHP's session cookie, redirects to the login page without a valid session, archives
under the site's own names and numbers, byte ranges. Tests make it misbehave with a handler of their own.
"""

import contextlib
import email.utils
import http.server
import re
import secrets
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from h36m.dataset import KIND_FACTS, SITE_SUBJECT_NUMBERS, Archive

BASE_PATH = "/human3.6m/"
LOGIN_PAGE = b"<html><body>Please log in to see this page</body></html>"  # 56 bytes, as the real one's answer to axel


class Server(http.server.ThreadingHTTPServer):
    """The listening socket, the archives, and who is logged in."""

    daemon_threads = True
    request_queue_size = 256  # axel opens 24 connections at once for one archive

    def __init__(self, archives: Path, username: str, password: str, handler: type["Handler"]):
        super().__init__(("127.0.0.1", 0), handler)
        self.archives = archives
        self.username = username
        self.password = password
        self.sessions: set[str] = set()
        self.scheme = "http"

    @property
    def base_url(self) -> str:
        """The value of BaseURL in `config.ini`."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}{BASE_PATH}"

    def log_in(self) -> str:
        """Start a session and return its PHPSESSID."""
        session = secrets.token_hex(13)
        self.sessions.add(session)
        return session

    def handle_error(self, request, client_address):
        """Print nothing about a client that closed the connection."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format, *arguments):
        """Keep the terminal for the scripts."""

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        if urlsplit(self.path).path != BASE_PATH + "checklogin.php":
            self.send_page(b"not found", HTTPStatus.NOT_FOUND)
        elif form.get("username") == [self.server.username] and form.get("password") == [self.server.password]:
            self.redirect("index.php", {"Set-Cookie": f"PHPSESSID={self.server.log_in()}; path=/; HttpOnly"})
        else:
            self.send_page(b"<html><body>Wrong user name or password</body></html>")

    def do_GET(self):
        page = urlsplit(self.path).path
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if page == BASE_PATH + "login.php":
            self.send_page(LOGIN_PAGE)
        elif page == BASE_PATH + "index.php":
            self.send_page(b"<html><body>Welcome</body></html>")
        elif page != BASE_PATH + "filebrowser.php":
            self.send_page(b"not found", HTTPStatus.NOT_FOUND)
        elif not self.is_logged_in():
            self.ask_to_log_in()
        elif "download" not in query:
            self.send_page(b"<html><body>Files</body></html>")
        else:
            self.send_archive(query)

    def is_logged_in(self) -> bool:
        """Whether the request has the cookie of a valid session."""
        return bool(set(re.findall(r"PHPSESSID=(\w+)", self.headers.get("Cookie", ""))) & self.server.sessions)

    def ask_to_log_in(self) -> None:
        """Answer a request without a valid session."""
        self.redirect("login.php")

    def send_archive(self, query: dict[str, str]) -> None:
        """Send the archive that the query of filebrowser.php asks for, or the range of it that the client wants."""
        names = {
            (facts.site_path, f"SubjectSpecific_{number}.tgz"): Archive(kind, subject).name
            for kind, facts in KIND_FACTS.items()
            for subject, number in SITE_SUBJECT_NUMBERS.items()
        }
        name = names.get((query.get("filepath"), query.get("filename")))
        path = self.server.archives / f"{name}.tgz"
        if not path.is_file():
            self.send_page(b"no such file", HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            stat = path.stat()
            headers = {
                "Content-Type": "application/x-gzip",
                "Content-Disposition": f'attachment; filename="{name}.tgz"',
                "Accept-Ranges": "bytes",
                "ETag": f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"',
                "Last-Modified": email.utils.formatdate(stat.st_mtime, usegmt=True),
            }
            self.send_file(file, stat.st_size, headers)

    def send_file(self, file, size: int, headers: dict[str, str]) -> None:
        """Send a file, or the range of it that the client wants, under the given headers."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        if if_range and if_range not in (headers.get("ETag"), headers.get("Last-Modified")):
            wanted = None
        start = int(wanted[1]) if wanted else 0
        end = min(int(wanted[2]) + 1, size) if wanted and wanted[2] else size
        if wanted and start >= size:
            headers = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            self.send_headers(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
            return
        if wanted:
            headers = headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
        self.send_headers(status, headers | {"Content-Length": str(end - start)})
        self.send_bytes(file, start, end)

    def send_bytes(self, file, start: int, end: int) -> None:
        """Send `file[start:end]`; the kernel copies it, so that benchmarks do not measure the fake server."""
        if end > start:
            self.connection.sendfile(file, start, end - start)

    def send_headers(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_page(self, page: bytes, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> None:
        """Send a whole page of HTML."""
        headers = {"Content-Type": "text/html", "Content-Length": str(len(page))} | (headers or {})
        self.send_headers(status, headers)
        self.wfile.write(page)

    def redirect(self, location: str, headers: dict[str, str] | None = None) -> None:
        self.send_page(b"", HTTPStatus.FOUND, {"Location": location} | (headers or {}))


@contextlib.contextmanager
def serve(archives: Path, username: str, password: str, handler: type[Handler] = Handler) -> Iterator[Server]:
    """Run the fake server on a free port of 127.0.0.1 while the `with` block runs.

    Args:
        archives: a folder of archives as they are called on disk, `Videos_S1.tgz` and so on.
        username, password: the only account.
        handler: what answers the requests; tests give a misbehaving one.

    Yields:
        the server; put its `base_url` into `config.ini`.
    """
    with Server(archives, username, password, handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
