"""What a run shows while it works: lines, bars on a terminal, and a plain line now and then where there is none."""

import contextlib
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from tqdm import tqdm
from tqdm.std import Bar  # type: ignore[attr-defined]

# Without a terminal: the first line of progress comes after 30 s; in a night of downloads one each 5 minutes suffices.
LEAST_SECONDS_BETWEEN_LINES, MOST_SECONDS_BETWEEN_LINES = 30, 300

# The characters of a bar: it is left out where it would be too short to be read. Of a part's name, what is kept.
SHORTEST_BAR, LONGEST_NAME = 3, 24

Say = Callable[[str], None]  # prints a line for the user, see `speaker`
Count = Callable[[float], Any]  # counts what was done since it was last called

# What other threads print while the user is asked for something; None while nobody is.
_held: list[tuple[str, TextIO]] | None = None


@contextlib.contextmanager
def prompting() -> Iterator[None]:
    """Leave the terminal to a prompt: bars disappear, and lines of other threads, which go on, wait for its end."""
    global _held
    with tqdm.external_write_mode(sys.stderr):  # clears the bars
        _held = []
    is_answered = False
    try:
        yield
        is_answered = True
    finally:
        end_prompt(is_answered)


def end_prompt(is_answered: bool = False) -> None:
    """Print the lines that waited for a prompt; if nobody has answered it (Ctrl-C), they begin below it."""
    global _held
    with tqdm.get_lock():
        if _held is not None and not is_answered:
            print(file=sys.stderr)
        lines, _held = _held or [], None
        for line, stream in lines:
            print_line(line, stream)


def print_line(line: str, stream: TextIO) -> None:
    """Print a line without breaking a progress bar or a prompt.

    A run does not fail because nobody reads its output (`| head`) or the disk of its log is full: the line is kept for
    the next line.
    """
    with tqdm.get_lock(), contextlib.suppress(OSError):
        if _held is not None:
            _held.append((line, stream))
            return
        tqdm.write(line, file=stream)
        stream.flush()


def speaker(quiet: bool) -> Say:
    """Return the function that prints a line for the user without breaking a progress bar; nothing with `--quiet`."""

    def say(line: str) -> None:
        if not quiet:
            print_line(line, sys.stdout)

    return say


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun: `1 archive`, `2,000 archives`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def is_or_are(count: int) -> str:
    """Return the verb that goes with a count."""
    return "is" if count == 1 else "are"


def size_text(size: float, of: float | None = None) -> str:
    """Return a number of bytes for a person: `12.3 GB` (decimal, as disks and networks count).

    Args:
        size: bytes.
        of: a total in bytes: then `12.3 of 58.0 GB`, in the unit of the total.
    """
    unit, largest = "bytes", size if of is None else of
    for larger in ("kB", "MB", "GB", "TB"):
        if largest < 999.5:  # three digits are enough, and 999.7 would be 1000 then
            break
        unit, largest, size = larger, largest / 1000, size / 1000
    numbers = [size] if of is None else [size, largest]
    # Three digits of the largest: 1.23 of 2.90 GB, 12.3 of 58.0 GB, 123 of 580 GB.
    decimals = 0 if unit == "bytes" or largest >= 99.95 else 1 if largest >= 9.995 else 2
    return f"{' of '.join(f'{number:.{decimals}f}' for number in numbers)} {unit}"


def time_text(seconds: float) -> str:
    """Return a duration for a person: `05:12`, `1:10:00`."""
    return tqdm.format_interval(seconds)


def shortened(name: str, width: int) -> str:
    """Return a name cut in the middle to a width in characters: its beginning and its end tell names apart."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


class Progress(tqdm):
    """The progress of a whole work or, below it, of a part of it such as one archive.

        |██████▌        | 7 of 35 archives, 12.3 of 58.0 GB, 11.2 MB/s, 1:10:00 left
        Videos_S1.tgz |██████▌  | 1.23 of 2.90 GB, 11.2 MB/s

    On a terminal these are bars within its width. Elsewhere only the whole work is shown, by a line with the time of
    day now and then.
    """

    monitor_interval = 0  # no thread of tqdm's: h36m.parallel.workers forks

    def __init__(
        self,
        words: str,
        total: float | None,
        unit: str = "",
        whole: "Progress | None" = None,
        quiet: bool = False,
        counts: bool = True,
        initial: int = 0,
    ):
        """Show progress from now on.

        Args:
            words: what the bar is about; `say_words` changes them.
            total: what `update` counts to; None where that is not known yet.
            unit: "B" for bytes, whose amounts and rates are shown too.
            whole: the work that this is a part of: what is done here is done there, and its total includes this one's.
            quiet: show nothing.
            counts: False for what is shown below the whole work and is not a part of it, such as verifying.
            initial: what was done before, which the whole work has counted.
        """
        self.whole, self.counted = whole, whole if counts else None
        self.parts: list[Progress] = []
        self.unknown = 0  # parts whose totals are not known, and not in this one
        self.plain = quiet or not sys.stderr.isatty()
        is_shown = not quiet and (whole is None or not self.plain)
        self.next_line = time.monotonic() + LEAST_SECONDS_BETWEEN_LINES if is_shown else math.inf
        options = {"file": io.StringIO()} if self.plain else {"dynamic_ncols": True}  # tqdm's own output goes nowhere
        super().__init__(
            desc=words,
            total=total,
            unit=unit,
            leave=whole is None,
            miniters=1,  # look at the clock at each update, as there is no monitor
            smoothing=0.02,  # with ten updates per second, the rate of the last 5 s
            initial=initial,
            **options,
        )
        if whole is not None:
            whole.parts.append(self)

    def say_words(self, words: str) -> None:
        """Show other words from the next update on: `7 of 35 archives`."""
        self.desc = words

    def start_at(self, done: int, total: int | None) -> None:
        """Show how much is done where a part begins, ends, or begins again; None keeps the total."""
        with self.get_lock():
            if total is not None:
                if self.counted is not None:
                    self.counted.unknown -= self.total is None
                    self.counted.total = (self.counted.total or 0) + total - (self.total or 0)
                self.total = total
            self.update(done - self.n)

    def update(self, n=1):
        with self.get_lock():  # threads may share the whole work
            if self.counted is not None:
                self.counted.update(n)
            self.initial += min(n, 0)  # what is done again counts for the rate again
            return super().update(n)

    def tick(self) -> None:
        """Show that time passes, also while nothing is updated: rates fall then. Call it about once per second."""
        with self.get_lock():
            for bar in (self, *self.parts):
                idle = time.time() - bar.last_print_t
                if idle >= 1 and not bar.disable:
                    bar._ema_dn(0)  # type: ignore[attr-defined]
                    bar._ema_dt(idle)  # type: ignore[attr-defined]
                    bar.last_print_t += idle
                    bar.refresh()

    def close(self) -> None:
        """End the bar, and those of its parts: a thread that still waits for something has left its own."""
        with self.get_lock():
            for part in self.parts:
                part.close()
            super().close()

    def text(self) -> list[str]:
        """Return words, amount, rate and time left, as far as they are known."""
        shown = self.format_dict
        done, total, elapsed = shown["n"], None if self.unknown else shown["total"], shown["elapsed"]
        rate = shown["rate"] or ((done - shown["initial"]) / elapsed if elapsed else 0)
        pieces = [self.desc]
        if self.unit == "B":
            pieces += [size_text(done, total), f"{size_text(rate)}/s"]
        if total and rate and done < total and self.whole is None:
            pieces.append(f"{time_text((total - done) / rate)} left")
        return pieces

    def __str__(self) -> str:
        """Return the line of the bar, as wide as the terminal; what is longer than that loses its first words."""
        width = self.format_dict["ncols"] or 80
        pieces, name = self.text(), ""
        if self.whole is not None:
            longest = min(LONGEST_NAME, width // 3)
            name = f"{shortened(pieces.pop(0), longest):{longest}} "
        while len(pieces) > 1 and len(name) + len(", ".join(pieces)) > width:
            pieces.pop(0)
        text = ", ".join(pieces)
        space = width - len(name) - len(text) - len("|| ")
        if space < SHORTEST_BAR:
            return f"{name}{text}"
        part = min(1.0, self.n / self.total) if self.total and not self.unknown else 0.0
        bar = format(Bar(part, space, Bar.ASCII if self.ascii is True else Bar.UTF), "")
        return f"{name}|{bar}| {text}"

    def display(self, msg=None, pos=None):
        if not self.plain:
            is_shown = _held is None and super().display(msg, pos)
            if is_shown:
                self.fp.write("\r")  # what Ctrl-C shows (^C) then does not go on to the next line
            return is_shown
        if msg is None and time.monotonic() >= self.next_line:
            # After a tenth of the time that the work has taken so far.
            elapsed = self.format_dict["elapsed"]
            self.next_line = time.monotonic() + max(
                LEAST_SECONDS_BETWEEN_LINES, min(MOST_SECONDS_BETWEEN_LINES, elapsed / 10)
            )
            print_line(f"{time.strftime('%H:%M:%S')} {', '.join(self.text())}", sys.stderr)
        return False
