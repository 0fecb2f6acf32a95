"""Scripts in a terminal of a given width, and what they show there."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

from helpers.scripts import PROJECT, environment_without_settings


def start_in_terminal(columns: int, script: str, *options) -> tuple[subprocess.Popen, Callable[[], str]]:
    """Start a script in a terminal; return it, and a function that waits for its end and returns what it wrote."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-W", "always", PROJECT / script, *map(str, options)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": terminal, "stderr": terminal}
    run = subprocess.Popen(command, **streams, env=environment_without_settings(), start_new_session=True)
    os.close(terminal)

    def finish() -> str:
        written = b""
        with contextlib.suppress(OSError):  # Linux: of a terminal that nobody has open any more
            while more := os.read(controller, 2**16):
                written += more
        os.close(controller)
        run.wait()
        return written.decode()

    return run, finish


def bars_and_lines(written: str, words: str) -> tuple[list[str], list[str]]:
    """Return each state of a bar, which has some words, and the other lines, of what a script wrote to a terminal."""
    pieces = [piece for piece in re.split(r"[\r\n]|\x1b\[A", written) if piece.strip()]
    return [piece for piece in pieces if words in piece], [piece for piece in pieces if words not in piece]
