"""The command-line interface shared by the scripts: options, messages, progress and exit status."""

import argparse
import io
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from h36m import __version__
from h36m.dataset import ARCHIVES, KIND_FACTS, SUBJECTS_WITH_GROUND_TRUTH
from h36m.done import LIMIT_REMEDY
from h36m.errors import TaskError, UsageError
from h36m.progress import print_line
from h36m.storage import reason_of

# Ctrl-C, a batch system's stop, a closed terminal.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


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
    parser.add_argument("--dry-run", action="store_true", help="print the plan and end")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--debug", action="store_true", help="print more, tracebacks included")
    return parser


def add_kinds_option(parser: argparse.ArgumentParser, kinds: Sequence[str]) -> None:
    """Add `--kinds`, whose value is None where it is not given.

    Args:
        kinds: of `h36m.dataset.KINDS`, those that the script handles.
    """

    def kind(text: str) -> str:
        if text in kinds:
            return text
        if text in KIND_FACTS:
            raise argparse.ArgumentTypeError(f"{text}: downloaded by {KIND_FACTS[text].script}; use that script")
        raise argparse.ArgumentTypeError(f"unknown kind {text!r}; choose from {', '.join(kinds)}")

    parser.add_argument(
        "--kinds",
        nargs="+",
        action=StoreOnce,
        type=kind,
        metavar="KIND",
        help=f"kinds of archive, default: {' '.join(kinds)}",
    )


def positive_integer(text: str) -> int:
    """Read an option's value that must be a positive integer (a `type` for argparse)."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def next_command(arguments: argparse.Namespace, script: str, *words: str) -> str:
    """Return the command that runs a script on the same folders and subjects, from the same folder.

    Args:
        arguments: of the script that is running.
        script: "extract_all.py"; it is next to the one that is running.
        words: further arguments.
    """
    command = ["python3", str(Path(sys.argv[0]).with_name(script)), *words]
    if arguments.root != Path():
        command += ["--root", str(arguments.root)]
    if set(arguments.subjects) != set(SUBJECTS_WITH_GROUND_TRUTH):
        command += ["--subjects", *arguments.subjects]
    return shlex.join(command)


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
