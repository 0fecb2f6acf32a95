"""A real HTTP proxy on loopback that remembers every byte that clients send, and misbehaves on demand."""

import base64
import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

from helpers.faulty_site import running

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class RecordingProxy(socketserver.ThreadingTCPServer):
    """Tunnels CONNECT requests, forwards plain http requests, and records both.

    Attributes:
        received: every byte from clients, of the requests to the proxy itself and through its tunnels.
        targets: what was asked for, such as `CONNECT 127.0.0.1:443` or `GET http://127.0.0.1/`.
        credentials: `user:password` that clients must send; None asks for none.
        fault: a status to refuse requests with, `disconnect`, `stall`, or None to behave.
        intercepts: the server's side of a certificate, to end the client's TLS at the proxy; None for real tunnels.
    """

    daemon_threads = True

    def __init__(self, fault: str | None, credentials: str | None, intercepts: ssl.SSLContext | None):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.fault = fault
        self.credentials = credentials
        self.intercepts = intercepts
        self.received = b""
        self.targets: list[str] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def record(self, data: bytes) -> bytes:
        with self.lock:
            self.received += data
        return data

    def handle_error(self, request, client_address) -> None:
        """Say nothing: a client that closes its connection early is what some tests are about."""


class _Connection(socketserver.BaseRequestHandler):
    server: RecordingProxy

    def handle(self) -> None:
        proxy, head = self.server, b""
        while b"\r\n\r\n" not in head and not head.startswith(b"\x16"):  # a client that begins TLS with the proxy
            data = proxy.record(self.request.recv(65536))
            if not data:
                return
            head += data
        if head.startswith(b"\x16"):
            return self.refuse(HTTPStatus.BAD_REQUEST)
        first_line, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, target, _ = first_line.split(" ", 2)
        proxy.targets.append(f"{method} {target}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if proxy.fault == "disconnect":
            return
        if proxy.fault == "stall":
            proxy.closing.wait(60)
            return
        if proxy.fault:
            self.refuse(HTTPStatus(int(proxy.fault)))
        elif proxy.credentials and headers.get("proxy-authorization") != _basic(proxy.credentials):
            self.refuse(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, 'Proxy-Authenticate: Basic realm="proxy"\r\n')
        elif method == "CONNECT":
            host, _, port = target.rpartition(":")
            self.tunnel(host, int(port))
        else:
            self.forward(target, head)

    def refuse(self, status: HTTPStatus, header: str = "") -> None:
        answer = f"HTTP/1.1 {status.value} {status.phrase}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
        self.request.sendall(answer.encode())

    def tunnel(self, host: str, port: int) -> None:
        if self.server.intercepts:
            self.request.sendall(ESTABLISHED)
            with (
                contextlib.suppress(OSError),
                self.server.intercepts.wrap_socket(self.request, server_side=True) as tls,
            ):
                while self.server.record(tls.recv(65536)):
                    pass
            return
        try:
            site = socket.create_connection((host, port))
        except OSError:
            return self.refuse(HTTPStatus.BAD_GATEWAY)
        with site:
            self.request.sendall(ESTABLISHED)
            self.relay(site)

    def forward(self, target: str, head: bytes) -> None:
        parts = urlsplit(target)
        first_line, _, rest = head.partition(b"\r\n")
        path = target.partition(parts.netloc)[2] or "/"
        with socket.create_connection((parts.hostname, parts.port or 80)) as site:
            site.sendall(first_line.replace(target.encode(), path.encode()) + b"\r\n" + rest)
            self.relay(site)

    def relay(self, site: socket.socket) -> None:
        """Pass bytes on in both directions until both sides have closed."""
        back = threading.Thread(target=_copy, args=(site, self.request, bytes), daemon=True)
        back.start()
        _copy(self.request, site, self.server.record)
        back.join()


def _copy(source: socket.socket, target: socket.socket, note) -> None:
    with contextlib.suppress(OSError):
        while data := note(source.recv(65536)):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@contextlib.contextmanager
def recording_proxy(
    fault: str | None = None, credentials: str | None = None, intercepts: ssl.SSLContext | None = None
) -> Iterator[RecordingProxy]:
    """Run the proxy while the `with` block runs."""
    with RecordingProxy(fault, credentials, intercepts) as proxy, running(proxy):
        yield proxy
