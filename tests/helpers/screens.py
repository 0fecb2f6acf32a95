"""A terminal of some width in which a script runs: what it shows, and what a user types."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from helpers.scripts import PROJECT, environment_without_settings, wait_until

ROWS = 24


class Terminal:
    """A script's controlling terminal. Its lines are kept when they leave the screen.

    Attributes:
        written: all that the script wrote, as it wrote it.
        run: the script.
    """

    def __init__(self, columns: int, script: str, *options, cwd: Path, **variables: str):
        self.columns = columns
        self.written = ""
        self._lines = [""]
        self._row = self._column = 0
        self._continued: set[int] = set()  # rows whose lines go on in the next row
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self.run = subprocess.Popen(
            [sys.executable, PROJECT / script, *map(str, options)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=cwd,
            env=environment_without_settings(PYTHONUTF8="1", **variables),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._controller, text.encode())

    def screen(self) -> list[str]:
        """Return the lines that are shown, the last ones that are empty left out; each that is too long is one."""
        ends = ["" if row in self._continued else "\n" for row in range(len(self._lines))]
        rows = zip([*self._lines], ends, strict=False)
        return "".join(line.rstrip() + end if end else line for line, end in rows).rstrip("\n").split("\n")

    def pieces(self) -> list[str]:
        """Return all that was drawn: each line, and each state of a bar."""
        return [piece for piece in re.split(r"[\r\n]|\x1b\[A", self.written) if piece.strip()]

    def wait_for(self, pattern: str) -> None:
        """Wait until the last line matches."""
        wait_until(lambda: re.fullmatch(pattern, self.screen()[-1]), f"{pattern!r} was shown", of=self.run)

    def finish(self) -> list[str]:
        """Wait until the script has ended; return what is shown then."""
        self.run.wait(60)
        self._reader.join(10)
        os.close(self._controller)
        return self.screen()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # Linux: of a terminal that nobody has open any more
            pending = b""
            while more := os.read(self._controller, 2**16):
                text, pending = _decoded(pending + more)
                self.written += text
                for piece in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+|\x1b", text):
                    self._show(piece)

    def _show(self, piece: str) -> None:
        if piece == "\r":
            self._column = 0
        elif piece == "\n":
            self._row += 1
        elif piece == "\x1b[A":
            self._row -= 1
        else:
            for character in piece:
                if self._column == self.columns:
                    self._continued.add(self._row)
                    self._row, self._column = self._row + 1, 0
                self._lines += [""] * (self._row + 1 - len(self._lines))
                line = self._lines[self._row].ljust(self._column)
                self._lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
                self._column += 1


def _decoded(data: bytes) -> tuple[str, bytes]:
    """Return text, and the bytes of a character or escape sequence that is not complete yet."""
    for end in range(len(data), max(len(data) - 4, -1), -1):
        with contextlib.suppress(UnicodeDecodeError):
            text = data[:end].decode()
            at = text.rfind("\x1b", -3)
            if at >= 0 and not re.search(r"[A-Za-z]$", text[at:]):
                return text[:at], text[at:].encode() + data[end:]
            return text, data[end:]
    return data.decode(errors="replace"), b""
