"""The fake server with faults on demand, and small archives for it to send.

A plan is a function that is asked at every request for the fault to commit, by name, or None to behave:

    def plan(request):
        return "reset" if request.is_archive and request.number == 1 else None

    with faulty_site(archives, plan) as site: ...

Requests for the first byte of an archive, which ask for its size, are recorded apart, and have a fault of their own.
"""

import contextlib
import email.utils
import gzip
import io
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from demo.site import BASE_PATH, LOGIN_PAGE, Handler, Server
from h36m.dataset import KIND_FACTS, Archive

# Every character that has a meaning in an INI file.
USERNAME, PASSWORD = "someone@example.org", ';se"cr%et ; #p[a]ss='


@dataclass
class Request:
    """One request as the site saw it.

    Attributes:
        number: which one it is of its page (for an archive: of that archive), from 1.
        fault: what was done to it.
        time: when it arrived, in seconds of this machine's running clock.
    """

    page: str
    archive: str | None
    number: int
    range: str | None
    cookie: str | None
    user_agent: str
    body: str = ""
    fault: str | None = None
    time: float = field(default_factory=time.monotonic)
    is_encrypted: bool = False
    authorization: str | None = None
    port: int = 0  # of the client's side of the connection

    @property
    def is_archive(self) -> bool:
        return self.archive is not None

    @property
    def is_by_axel(self) -> bool:
        return self.user_agent.startswith("Axel")


Plan = Callable[[Request], str | None]

# What a site may send in place of an archive.
PAGES = (
    *("login page", "to login page", "in circles", "compressed page", "page with ranges", "page as a range"),
    *("archive as a page", "page 403", "page 404", "page 410", "page 203", "echo", "silence"),
)


class FaultyServer(Server):
    """The fake server with a plan of faults and a record of its requests."""

    def __init__(self, archives: Path, plan: Plan, handler: type[Handler] | None = None):
        super().__init__(archives, USERNAME, PASSWORD, handler or FaultyHandler)
        self.plan = plan
        self.requests: list[Request] = []
        self.sizes_asked: list[Request] = []
        self.size_fault: str | None = None
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.other_host = ""  # where "other host" redirects to, ending in a slash
        self.tls: ssl.SSLContext | None = None
        self.bytes_per_second = 400_000  # of one connection, for the fault "slow"
        self.pause_seconds = 2.0  # for the fault "pause"
        self.needs_login = True
        self.expired = "to login page"  # what requests without a valid session get: one of the pages of `send_page_of`
        self.most_connections = 1000  # that archives are sent over at a time; the others get `refusal`
        self.refusal = "503"
        self.sending = self.most_sending = 0

    def archives_asked(self) -> list[str]:
        return [request.archive for request in self.requests if request.is_archive]

    def get_request(self):
        connection, address = super().get_request()
        # A port that talks TLS also hears plain http, as a site does that redirects the one to the other.
        if self.tls:
            connection.settimeout(5)
            is_tls = connection.recv(1, socket.MSG_PEEK) == b"\x16"
            connection.settimeout(None)
            if is_tls:
                connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address


class FaultyHandler(Handler):
    """Performs the faults by their names; without one it behaves correctly."""

    server: FaultyServer
    disable_nagle_algorithm = True

    def do_POST(self):
        self.commit()

    def do_GET(self):
        self.commit()

    def commit(self) -> None:
        """Record the request, and perform the fault that the plan names."""
        self.request_fault = None
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) if self.command == "POST" else b""
        fault = self.note(body.decode())
        self.request_fault = fault
        behave = super().do_POST if self.command == "POST" else super().do_GET
        self.rfile = io.BufferedReader(io.BytesIO(body)) if body else self.rfile
        if body:
            self.close_connection = True
        if self.server.tls and not isinstance(self.connection, ssl.SSLSocket):
            host = self.headers["Host"]
            self.send_page(b"", HTTPStatus.MOVED_PERMANENTLY, {"Location": f"https://{host}{self.path}"})
        elif fault and fault[:3] in ("404", "429", "500", "503"):
            status, _, wait = fault.partition(" after ")
            wait = email.utils.formatdate(time.time() + 2, usegmt=True) if wait == "a date" else wait
            self.send_page(b"<html>not now</html>", HTTPStatus(int(status)), {"Retry-After": wait} if wait else None)
        elif fault in (*PAGES, "maintenance", "page 405", "page 451"):
            self.send_page_of(fault)
        elif fault == "other host":
            self.redirect(self.server.other_host + self.path.removeprefix(BASE_PATH))
        elif fault == "disconnect":
            self.disconnect()
        elif fault == "stall before":
            self.server.closing.wait(60)
            self.close_connection = True
        else:
            if fault == "session ends":
                self.server.sessions.clear()
            behave()

    def send_page_of(self, name: str) -> None:
        """Send one of the PAGES in place of the archive."""
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if name == "to login page":
            self.redirect("login.php")
        elif name == "in circles":
            self.redirect(self.path)
        elif name == "compressed page":
            self.send_page(gzip.compress(LOGIN_PAGE), headers={"Content-Encoding": "gzip"})
        elif name == "page with ranges" and wanted and int(wanted[1]) >= len(LOGIN_PAGE):
            headers = {"Content-Range": f"bytes */{len(LOGIN_PAGE)}"}
            self.send_page(b"", HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
        elif name == "page with ranges" and wanted:
            first = int(wanted[1])
            headers = {"Content-Range": f"bytes {first}-{len(LOGIN_PAGE) - 1}/{len(LOGIN_PAGE)}"}
            self.send_page(LOGIN_PAGE[first:], HTTPStatus.PARTIAL_CONTENT, headers)
        elif name == "page as a range" and wanted:
            size = (self.server.archives / self.archive).stat().st_size
            headers = {"Content-Range": f"bytes {wanted[1]}-{size - 1}/{size}", "Content-Length": str(size)}
            self.close_connection = True
            self.send_page(LOGIN_PAGE, HTTPStatus.PARTIAL_CONTENT, headers)
        elif name == "archive as a page":
            self.send_page(LOGIN_PAGE, headers={"Content-Type": "application/x-gzip"})
        elif name == "echo":
            self.send_page(f"<html><body>You sent {self.headers.get('Cookie')}</body></html>".encode())
        elif name == "silence":
            self.server.closing.wait(100)
            self.close_connection = True
        else:
            status = re.search(r"\d+", name)
            page = b"<html><body>Down for maintenance</body></html>" if name == "maintenance" else LOGIN_PAGE
            self.send_page(page, HTTPStatus(int(status[0])) if status else HTTPStatus.OK)

    def ask_to_log_in(self) -> None:
        self.send_page_of(self.server.expired)

    def is_logged_in(self) -> bool:
        return not self.server.needs_login or super().is_logged_in()

    def note(self, body: str) -> str | None:
        page = urlsplit(self.path).path.rpartition("/")[2]
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        kinds = {facts.site_path: kind for kind, facts in KIND_FACTS.items()}
        archive = None
        if "download" in query:
            archive = Archive(kinds[query["filepath"]], query["downloadname"]).file_name
        asks_size = archive is not None and self.headers.get("Range") == "bytes=0-0"
        with self.server.lock:
            number = 1 + sum((page, archive) == (earlier.page, earlier.archive) for earlier in self.server.requests)
            request = Request(
                page=page,
                archive=archive,
                number=number,
                range=self.headers.get("Range"),
                cookie=self.headers.get("Cookie"),
                user_agent=self.headers.get("User-Agent", ""),
                body=body,
                is_encrypted=isinstance(self.connection, ssl.SSLSocket),
                authorization=self.headers.get("Authorization"),
                port=self.client_address[1],
            )
            (self.server.sizes_asked if asks_size else self.server.requests).append(request)
            request.fault = self.server.size_fault if asks_size else self.server.plan(request)
            self.archive, self.request_record = archive, request
        return request.fault

    def send_file(self, file, size: int, headers: dict[str, str]) -> None:
        fault = self.request_fault
        if fault and "no ranges" in fault:
            del self.headers["Range"]
            headers = {name: value for name, value in headers.items() if name != "Accept-Ranges"}
        if fault and "no length" in fault:
            del self.headers["Range"]
            self.close_connection = True
            self.send_headers(HTTPStatus.OK, headers | {"Connection": "close"})
            self.send_bytes(file, 0, size)
            return
        if fault and "sets a cookie" in fault:
            headers = headers | {"Set-Cookie": "PHPSESSID=another; path=/"}
        number = self.request_record.number
        if fault and "ETag alternates" in fault:
            headers = headers | {"ETag": f'"{number % 2}"'}
        if fault and "ETag weak and strong" in fault:
            headers = headers | {"ETag": "W/" * (number % 2) + headers["ETag"]}
        if fault and "date now" in fault:
            headers = headers | {"Last-Modified": email.utils.formatdate(1e9 + number, usegmt=True)}
        hidden = {name for name, words in (("ETag", "no ETag"), ("Last-Modified", "no date")) if words in (fault or "")}
        headers = {name: value for name, value in headers.items() if name not in hidden}
        super().send_file(file, size, headers)

    def send_archive(self, query: dict[str, str]) -> None:
        with self.server.lock:
            is_refused = self.server.sending >= self.server.most_connections
            self.server.sending += not is_refused
            self.server.most_sending = max(self.server.most_sending, self.server.sending)
        if is_refused:
            self.request_record.fault = "refused"
            if self.server.refusal == "no ranges":
                self.request_fault = "no ranges"
                super().send_archive(query)
            else:
                self.send_page(b"<html>too many</html>", HTTPStatus(int(self.server.refusal)))
            return
        try:
            super().send_archive(query)
        finally:
            with self.server.lock:
                self.server.sending -= 1

    def send_bytes(self, file, start: int, end: int) -> None:
        fault = self.request_fault or ""
        middle = (start + end) // 2
        if "slow" in fault:
            step = 8192
            for at in range(start, end, step):
                super().send_bytes(file, at, min(at + step, end))
                if self.server.closing.wait(step / self.server.bytes_per_second):
                    return
        elif "reset" in fault:
            super().send_bytes(file, start, middle)
            time.sleep(0.05)  # a reset throws away what the other side has not read from its buffer yet
            self.disconnect()
        elif "cut" in fault:
            super().send_bytes(file, start, middle)
            self.close_connection = True
        elif "stall" in fault:
            super().send_bytes(file, start, middle)
            self.server.closing.wait(60)
            self.close_connection = True
        elif "session dies silently" in fault:
            super().send_bytes(file, start, middle)
            self.server.sessions -= set(re.findall(r"PHPSESSID=(\w+)", self.headers.get("Cookie", "")))
            self.server.closing.wait(100)
            self.close_connection = True
        elif "pause" in fault:
            super().send_bytes(file, start, middle)
            self.server.closing.wait(self.server.pause_seconds)
            super().send_bytes(file, middle, end)
        elif "session dies under it" in fault:
            super().send_bytes(file, start, middle)
            self.server.sessions.clear()
            self.close_connection = True
        else:
            super().send_bytes(file, start, end)

    def disconnect(self) -> None:
        """Reset the connection, as a router does that has forgotten it."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


@contextlib.contextmanager
def faulty_site(
    archives: Path, plan: Plan = lambda request: None, tls: ssl.SSLContext | None = None
) -> Iterator[FaultyServer]:
    """Run the faulty site while the `with` block runs."""
    with FaultyServer(archives, plan) as server:
        server.tls = tls
        server.scheme = "https" if tls else "http"
        with running(server):
            yield server


@contextlib.contextmanager
def running(server) -> Iterator[None]:
    """Have a server of these helpers answer while the `with` block runs; its handlers end when `closing` is set."""
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield
    finally:
        server.closing.set()
        server.shutdown()


def made_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1 that nobody has signed; return the server's side of it and its file."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    # requests compares the address with the IP addresses, axel with the names.
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def write_configuration(root: Path, base_url: str, downloader: str = "requests", **more: str) -> Path:
    """Write a `config.ini` with the fake server's account; return its path."""
    values = {"Username": USERNAME, "Password": PASSWORD, "BaseURL": base_url, "Downloader": downloader} | more
    path = root / "config.ini"
    path.write_text("[General]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))
    path.chmod(0o600)
    return path
