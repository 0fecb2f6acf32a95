"""The command-line interface shared by the scripts: options, messages, progress and exit status."""

import argparse
import contextlib
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from h36m import __version__
from h36m.dataset import ARCHIVES, KIND_FACTS, SUBJECTS_WITH_GROUND_TRUTH
from h36m.done import LIMIT_REMEDY
from h36m.errors import TaskError, UsageError
from h36m.storage import reason_of

# Without a terminal, an occasional line of progress is enough for a log file.
SECONDS_BETWEEN_PLAIN_LINES = 30

# Ctrl-C, a batch system's stop, a closed terminal.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

Say = Callable[[str], None]  # prints a line for the user, see `speaker`


class OneLineParser(argparse.ArgumentParser):
    """argparse's parser, with errors in one line, without the usage."""

    def error(self, message: str):
        print(f"{self.prog}: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


class StoreOnce(argparse.Action):
    """Store a list of values in the given order, each once: two threads never work on one archive."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, list(dict.fromkeys(values)))


def argument_parser(description: str, folders: Sequence[str] = (ARCHIVES,)) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts take.

    Args:
        description: what the script does; usually its docstring, whose line breaks are kept.
        folders: of the root, that the script uses; a link in the place of one must lead to a folder.
    """
    parser = OneLineParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder that contains archives/, extracted/, processed/ and exported/ (default: the current folder)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__} (h36m-fetch)")
    parser.add_argument(
        "--subjects",
        nargs="+",
        action=StoreOnce,
        choices=SUBJECTS_WITH_GROUND_TRUTH,
        default=list(SUBJECTS_WITH_GROUND_TRUTH),
        metavar="S1",
        help=f"default: {' '.join(SUBJECTS_WITH_GROUND_TRUTH)}",
    )
    parser.set_defaults(folders=folders)
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--debug", action="store_true", help="print more, tracebacks included")
    return parser


def add_kinds_option(parser: argparse.ArgumentParser, kinds: Sequence[str]) -> None:
    """Add `--kinds`, whose value is None where it is not given.

    Args:
        kinds: of `h36m.dataset.KINDS`, those that the script handles; it also takes those of the same scripts that
            are selected by name only.
    """
    scripts = {KIND_FACTS[kind].script for kind in kinds}
    by_name = [kind for kind, facts in KIND_FACTS.items() if facts.is_by_name_only and facts.script in scripts]

    def kind(text: str) -> str:
        if text in (*kinds, *by_name):
            return text
        if text in KIND_FACTS:
            raise argparse.ArgumentTypeError(f"{text}: downloaded by {KIND_FACTS[text].script}; use that script")
        raise argparse.ArgumentTypeError(f"unknown kind {text!r}; choose from {', '.join((*kinds, *by_name))}")

    parser.add_argument(
        "--kinds",
        nargs="+",
        action=StoreOnce,
        type=kind,
        metavar="KIND",
        help=f"kinds of archive, default: {' '.join(kinds)}; only by name: {' '.join(by_name)}",
    )


def positive_integer(text: str) -> int:
    """Read an option's value that must be a positive integer (a `type` for argparse)."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def run(main: Callable[[argparse.Namespace], list[str]], parser: argparse.ArgumentParser) -> None:
    """Run a script's `main` and exit with the status that the documentation promises.

    0: everything done; 1: `main` returned problems, printed as the last lines; 2: wrong usage or configuration;
    130: Ctrl-C or SIGTERM. No traceback without `--debug`.

    Args:
        main: takes the parsed options and returns one line for each thing that could not be done.
        parser: reads the command line; it ends with status 2 itself on a wrong one.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may have characters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    # SIGTERM (a cluster's time limit, `docker stop`) and a closed terminal clean up as Ctrl-C does.
    _handle_stops(signal.default_int_handler)
    try:
        arguments = parser.parse_args()
        status, problems = _run(main, arguments)
        for problem in problems:
            print_line(f"{parser.prog}: {problem}", sys.stderr)
    finally:
        _flush_streams()
    _handle_stops(signal.SIG_DFL)  # an exception while Python ends would be printed with its traceback
    raise SystemExit(status)


def _handle_stops(handler: Any) -> None:
    """Set the handler of the signals that stop a process, other than those that whoever started it has ignored.

    nohup has a closed terminal ignored, and a shell script has Ctrl-C ignored by what it starts with `&`.
    """
    for each in STOP_SIGNALS:
        if each == signal.SIGTERM or signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, handler)


def _run(main: Callable[[argparse.Namespace], list[str]], arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """Run a script's `main`; return the status and the lines for standard error."""
    try:
        if not arguments.root.is_dir():
            raise UsageError(f"--root: there is no folder {arguments.root}")
        for name in arguments.folders:
            require_reachable(arguments.root / name)
        problems = main(arguments)
        return 1 if problems else 0, problems
    except KeyboardInterrupt:
        return 130, ["interrupted; run again to resume"]
    except (UsageError, TaskError, OSError, MemoryError, RuntimeError) as error:
        line = line_of_limit(error)
        if isinstance(error, RuntimeError) and not line:  # a bug
            raise
        if arguments.debug:
            print_line(traceback.format_exc(), sys.stderr)
        reason = reason_of(error, arguments.root) if isinstance(error, OSError) else str(error)
        return 2 if isinstance(error, UsageError) else 1, [line or reason]


def require_reachable(folder: Path) -> None:
    """Raise a UsageError for a link that leads nowhere, such as to a disk that is not mounted."""
    if folder.is_symlink() and not folder.exists():
        raise UsageError(f"{folder}: link to {folder.readlink()}, which is unreachable; mount its disk, or correct it")


def line_of_limit(error: Exception) -> str | None:
    """Return what to print where the system gives no more memory or threads; None for other errors."""
    if isinstance(error, MemoryError) or str(error) == "can't start new thread":
        return f"{str(error) or 'out of memory'}; {LIMIT_REMEDY}"
    return None


def _flush_streams() -> None:
    """Flush both streams; drop what cannot be written, since Python would complain about it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), stream.fileno())


def print_line(line: str, stream: TextIO) -> None:
    """Print a line without breaking a progress bar.

    A run does not fail because nobody reads its output (`| head`) or the disk of its log is full: the line is kept for
    the next line.
    """
    with contextlib.suppress(OSError):
        tqdm.write(line, file=stream)
        stream.flush()


def speaker(quiet: bool) -> Say:
    """Return the function that prints a line for the user without breaking a progress bar; nothing with `--quiet`."""

    def say(line: str) -> None:
        if not quiet:
            print_line(line, sys.stdout)

    return say


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun: `1 archive`, `2 archives`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def is_or_are(count: int) -> str:
    """Return the verb that goes with a count."""
    return "is" if count == 1 else "are"


class Progress(tqdm):
    """tqdm's bar on a terminal; without one, an occasional plain line on standard error."""

    monitor_interval = 0  # no thread of tqdm's: h36m.parallel.workers forks

    def __init__(self, *args, **options):
        self.plain = not sys.stderr.isatty()
        self.next_plain_line = time.monotonic() + SECONDS_BETWEEN_PLAIN_LINES
        if self.plain:
            options |= {
                "bar_format": "{desc}: {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
                "mininterval": SECONDS_BETWEEN_PLAIN_LINES,
                "maxinterval": SECONDS_BETWEEN_PLAIN_LINES,
                "delay": SECONDS_BETWEEN_PLAIN_LINES,
                "leave": False,
                "file": io.StringIO(),  # for tqdm's cursor movements; the lines go to standard error
            }
        super().__init__(*args, miniters=1, **options)  # look at the clock at each update, as there is no monitor

    def start_at(self, done: int, total: int | None) -> None:
        """Show how much is already done. What was done before the first call does not count for the rate."""
        if self.total is None or done < self.n:
            self.initial, self.start_t = done, time.time()  # tqdm's own clock
        self.total = total
        self.update(done - self.n)

    def display(self, msg=None, pos=None):
        if not self.plain:
            super().display(msg, pos)
        elif msg is None and time.monotonic() >= self.next_plain_line:  # an empty message clears a bar: there is none
            self.next_plain_line = time.monotonic() + SECONDS_BETWEEN_PLAIN_LINES
            print_line(str(self), sys.stderr)
