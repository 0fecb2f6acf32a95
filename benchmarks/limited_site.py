"""The demo's site in a process of its own, so that its CPU time is not the client's; it may limit each connection."""

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import common  # noqa: F401  (puts the project on the path, in the site's process too)
import requests

from demo.site import Handler, serve

USERNAME, PASSWORD = "benchmark@example.org", "secret"
PIECE_BYTES = 64 << 10  # 30 pieces per second of a connection of 2 MB/s: smooth, and cheap for the server


class LimitedHandler(Handler):
    """Sends at most `bytes_per_second` over each connection."""

    bytes_per_second: int

    def send_bytes(self, file, start: int, end: int) -> None:
        started = time.monotonic()
        for position in range(start, end, PIECE_BYTES):
            piece_end = min(position + PIECE_BYTES, end)
            # From the start and not from the piece before, so that a late wake-up is compensated: no byte is early.
            due = started + (piece_end - start) / self.bytes_per_second
            time.sleep(max(0.0, due - time.monotonic()))
            super().send_bytes(file, position, piece_end)


@contextlib.contextmanager
def site_process(archives: Path, bytes_per_second: int | None = None) -> Iterator[str]:
    """Run the site while the `with` block runs; yield its base URL.

    Args:
        bytes_per_second: of each connection; None for no limit.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(archives, bytes_per_second, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def log_in(base_url: str) -> str:
    """Start a session and return its PHPSESSID."""
    form = {"username": USERNAME, "password": PASSWORD}
    response = requests.post(f"{base_url}checklogin.php", data=form, allow_redirects=False, timeout=60)
    return response.cookies["PHPSESSID"]


def write_configuration(root: Path, base_url: str, downloader: str) -> Path:
    """Create a folder with a `config.ini` for the site; return the path of the file."""
    root.mkdir(parents=True)
    path = root / "config.ini"
    lines = ["[General]", f"Username = {USERNAME}", f"Password = {PASSWORD}", f"BaseURL = {base_url}"]
    path.write_text("\n".join([*lines, f"Downloader = {downloader}", ""]))
    return path


def _serve(archives: Path, bytes_per_second: int | None, pipe) -> None:
    handler: type[Handler] = Handler
    if bytes_per_second:
        handler = type("Limited", (LimitedHandler,), {"bytes_per_second": bytes_per_second})
    with serve(archives, USERNAME, PASSWORD, handler) as site:
        pipe.send(site.base_url)
        pipe.poll(None)  # until the benchmark ends this process, or itself
