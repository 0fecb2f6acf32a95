"""Read a gzip file once, from start to end, and verify everything that gzip records about it."""

import io
import tarfile
import zlib
from collections.abc import Callable, Iterator

from h36m.errors import BadArchiveError

GZIP_MAGIC = b"\x1f\x8b"
# Read at a time, so that the bytes stay in a processor's cache while they are decompressed, checked and written: with
# 64 to 256 kB 500 MB of random bytes take 0.12 CPU s, with 1 MB twice that. The largest of these, because threads hand
# the interpreter over at each piece: two unpack four archives in 0.49 of one's time, and in 0.60 with 128 kB.
CHUNK_BYTES = 1 << 18
# The end of a tar archive: two blocks of zeros. tar reads nothing after them.
TAR_END = bytes(2 * tarfile.BLOCKSIZE)
GZIP_WINDOW = 31  # makes zlib read gzip's header and trailer, and check the CRC and the length in it


def decompressed(file: io.RawIOBase, on_bytes: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
    """Yield the content of an open gzip file in pieces; the file is good if, and only if, they come to an end.

    Bytes behind the gzip stream are ignored where its content is a tar to its end, as some servers append a few.

    Args:
        file: of which the first bytes are gzip's; open for reading, without a buffer of its own.
        on_bytes: called with the number of compressed bytes after each read; it may raise to stop.

    Raises:
        BadArchiveError: the file is damaged or truncated.
    """

    def read() -> bytes:
        compressed = file.read(CHUNK_BYTES) or b""
        on_bytes(len(compressed))
        return compressed

    compressed = end = b""
    while True:
        member = zlib.decompressobj(GZIP_WINDOW)
        while not member.eof:
            compressed = compressed or read()
            if not compressed:
                raise BadArchiveError(f"is truncated: its gzip stream does not end within its {file.tell()} bytes")
            try:
                content = member.decompress(compressed)
            except zlib.error:
                raise BadArchiveError("is damaged: the CRC of its gzip stream does not match") from None
            compressed = member.unused_data
            if content:
                end = (end + content[-len(TAR_END) :])[-len(TAR_END) :]
                yield content
        # Nothing follows a member, or zeros as of tapes, another member, or bytes that belong to no member.
        compressed = compressed.lstrip(b"\0")
        while not compressed and (more := read()):
            compressed = more.lstrip(b"\0")
        if len(compressed) == 1:  # half of what tells a member from other bytes
            compressed += read()
        if not compressed.startswith(GZIP_MAGIC):
            break
    if compressed and end != TAR_END:
        raise BadArchiveError("is damaged: its gzip stream contains no complete tar archive, and other bytes follow it")


class GzipStream(io.RawIOBase):
    """The pieces of `decompressed` as a file to be read forward only, which is all that tarfile needs."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._position = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:  # type: ignore[override]  # tarfile always says how many
        """Return `size` bytes; fewer only at the end of the stream."""
        found = []
        while size:
            self._piece = self._piece or memoryview(next(self._pieces, b""))
            if not self._piece:
                break
            part, self._piece = self._piece[:size], self._piece[size:]
            found.append(part)
            self._position += len(part)
            size -= len(part)
        return b"".join(found)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Go forward, as tarfile does from one member to the next."""
        if whence != io.SEEK_SET or position < self._position:
            raise io.UnsupportedOperation("a gzip file is read forward only")
        while self._position < position and self.read(min(CHUNK_BYTES, position - self._position)):
            pass
        return self._position
