"""A response to a request for an archive: which bytes of which version it has, and what a partial download can use."""

import contextlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import requests
import urllib3

from h36m.archives.content import BEGINNING_BYTES, fault_in_beginning, page_fault
from h36m.dataset import Archive
from h36m.download.retry import NotAnArchiveError, RefusedArchiveError, TemporaryError

# No byte for this long means that none will arrive: real servers pause for 10 to 20 seconds. Tests set it lower.
STALL_SECONDS = float(os.environ.get("H36M_STALL_SECONDS", "60"))
# Bytes read at a time: what arrives in about a tenth of a second, so that a slow connection shows progress and loses
# little when it breaks, and a fast one costs little: on loopback, pieces of 64 kB took twice the CPU time of 512 kB.
SMALLEST_CHUNK, LARGEST_CHUNK = 1 << 14, 1 << 19
CHUNK_SECONDS = 0.1


@dataclass(eq=False)
class ArchiveResponse:
    """The server's response to a request for an archive or a part of it.

    Attributes:
        start: offset in the archive of the first byte in this response.
        size: bytes of the whole archive; None if the server does not say.
        is_past_end: the archive has no bytes at the requested offset (HTTP 416); `chunks` yields nothing.
        has_ranges: the server sent the requested range, so resuming and several connections work.
        url: of the response, after redirects.
        is_own_host: the response is from the site itself, which may receive the cookie.
        chunks: yields the bytes; raises TemporaryError when they end too early.
    """

    start: int
    size: int | None
    is_past_end: bool
    has_ranges: bool
    url: str
    is_own_host: bool
    chunks: Iterator[bytes]
    connection: requests.Response

    def close(self) -> None:
        self.connection.close()

    def abort(self) -> None:
        """Disconnect while another thread waits for bytes; its `chunks` then end or raise TemporaryError."""
        # A closed response has no file number, or not that of a socket.
        ended = contextlib.suppress(OSError, ValueError, AttributeError)
        with ended, socket.fromfd(self.connection.raw.fileno(), socket.AF_INET, socket.SOCK_STREAM) as same:
            same.shutdown(socket.SHUT_RDWR)


def read_response(response: requests.Response, archive: Archive, host: str, is_own_host: bool) -> ArchiveResponse:
    """Read a response's headers and first bytes.

    Args:
        host: of the site, for messages.

    Raises:
        NotAnArchiveError: it is something other than this archive, whatever its status, encoding and content type.
        TemporaryError: it cannot be read.
    """
    name, status = archive.file_name, response.status_code
    if response.is_redirect:
        raise NotAnArchiveError(f"{host} redirects {name} in circles")
    if status not in (200, 206, 416):
        problem = "refused" if status in (401, 403) else "does not have"
        raise RefusedArchiveError(f"{host} {problem} {name} (HTTP {status} {response.reason})")
    content_range = re.fullmatch(r"(?i:bytes) (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    length = response.headers.get("Content-Length", "")
    start, size = 0, int(length) if length.isdecimal() else None
    if status in (206, 416):
        if not content_range or (status == 206) != bool(content_range[1]):
            raise TemporaryError(f"{name}: {host} sent a byte range without a valid Content-Range")
        size = int(content_range[2]) if content_range[2] != "*" else None
        start = int(content_range[1]) if content_range[1] else size or 0
    chunks: Iterator[bytes] = iter(())
    if status != 416:
        # As they were sent: some servers call a .tgz an encoding, and it must not be decoded.
        chunks = read_chunks(response, name, host, BEGINNING_BYTES)
        first = next(chunks, b"")
        fault = fault_in_beginning(first, archive) if start == 0 else page_fault(first)
        if fault or not first:
            raise NotAnArchiveError(f"{host} sent something other than {name}: it {fault or 'is empty'}")
        chunks = itertools.chain([first], chunks)
    return ArchiveResponse(
        start=start,
        size=size,
        is_past_end=status == 416,
        has_ranges=status == 206,
        url=response.url,
        is_own_host=is_own_host,
        chunks=chunks,
        connection=response,
    )


def read_chunks(
    response: requests.Response, name: str, host: str, first_size: int, decode: bool = False
) -> Iterator[bytes]:
    """Yield a response's bytes, the first `first_size` of them in one piece, the others as large as the rate allows.

    Raises:
        TemporaryError: the connection broke, or no byte arrived within the request's timeout.
    """
    size = first_size
    try:
        asked_at = time.monotonic()
        while chunk := response.raw.read(size, decode_content=decode):
            is_quick = time.monotonic() - asked_at < CHUNK_SECONDS
            size = min(size * 2, LARGEST_CHUNK) if is_quick else max(size // 2, SMALLEST_CHUNK)
            yield chunk
            asked_at = time.monotonic()
    except urllib3.exceptions.ReadTimeoutError:
        raise TemporaryError(f"{name}: no data received from {host}") from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise TemporaryError(f"{name}: the connection to {host} broke") from None
