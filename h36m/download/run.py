"""A whole download run, the body of the two download scripts: options, plan, threads, report."""

import argparse
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from h36m.archives.near_misses import near_misses
from h36m.archives.unpacked import lost_files
from h36m.cli import add_kinds_option, argument_parser, next_command, positive_integer
from h36m.dataset import ARCHIVES, EXTRACTED, PROJECT, UNPACKED_RECORD, VERIFIED_RECORD, Archive, unpacked_folder
from h36m.download.archive import Run, check_existing, obtain
from h36m.download.config import CONFIGURATION_FILE, read_configuration
from h36m.download.partial import remove_temporary_files
from h36m.download.plan import (
    CHANGED,
    DOWNLOADED,
    FAILED,
    PRESENT,
    TO_DOWNLOAD,
    TO_VERIFY,
    UNPACKED,
    Task,
    ask_sizes,
    bytes_short,
    counts_text,
    of_state,
    plan_download,
    plan_lines,
)
from h36m.download.retry import TemporaryError, retry
from h36m.download.site import Site
from h36m.download.verify import read_checksums
from h36m.errors import TaskError, UsageError
from h36m.locks import only_run_in
from h36m.progress import Progress, Say, count_of, end_prompt, is_or_are, size_text, speaker, time_text
from h36m.storage import Record, is_read_only

CHECKSUMS = PROJECT / "checksums.txt"

# Seconds for threads to stop axel and record their state after Ctrl-C. One that waits for the network, or for a
# password, is abandoned.
SECONDS_TO_STOP = 8


def download_parser(description: str, kinds: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of a script that downloads these kinds."""
    parser = argument_parser(description)
    add_kinds_option(parser, kinds)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"Read settings from FILE. Default: {CONFIGURATION_FILE} in the current folder.",
    )
    parser.add_argument(
        "--checksums",
        type=Path,
        default=CHECKSUMS,
        metavar="FILE",
        help="Read the published MD5s from FILE. Default: checksums.txt next to the scripts.",
    )
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        default=1,
        metavar="N",
        help="Download N archives at a time. Default: 1, because each uses many connections.",
    )
    return parser


def download(arguments: argparse.Namespace, kinds: Sequence[str]) -> list[str]:
    """Download and verify all archives of a script into `archives/`.

    Args:
        arguments: as read by `download_parser`.
        kinds: of `h36m.dataset.KINDS`, those that the script downloads; with `--kinds`, only the kinds named there
            are downloaded.

    Returns:
        one line for each archive that failed.

    Raises:
        UsageError: configuration, user name or password are wrong.
        TaskError: nothing can be downloaded at all.
    """
    if arguments.config and not arguments.config.exists():
        raise UsageError(f"--config: there is no file {arguments.config}")
    configuration = read_configuration(arguments.config or Path(CONFIGURATION_FILE))
    say = speaker(arguments.quiet)
    checksums = read_checksums(arguments.checksums, say)
    for warning in configuration.warnings:
        say(warning)
    wanted = [Archive(kind, subject) for subject in arguments.subjects for kind in arguments.kinds or kinds]
    folder = arguments.root / ARCHIVES

    def plan() -> list[Task]:
        return plan_download(arguments.root, wanted, checksums, arguments.checksums)

    if arguments.dry_run:
        return _dry_run(Site(configuration, say, is_dry_run=True), plan(), folder, say)
    tasks = plan()
    if len(of_state(tasks, PRESENT, UNPACKED)) == len(tasks):
        count = f"all {len(wanted)} archives" if len(wanted) > 1 else count_of(len(wanted), "archive")
        are_verified = f"{count} {is_or_are(len(wanted))} downloaded and verified"
        say(f"nothing to do: {counts_text(tasks) if of_state(tasks, UNPACKED) else are_verified}")
        _say_next(arguments, tasks, say)
        return []
    try:
        folder.mkdir(exist_ok=True)
        with only_run_in(folder, say):
            remove_temporary_files(folder)
            run = Run(
                folder=folder,
                site=Site(configuration, say),
                checksums=checksums,
                checksums_file=arguments.checksums,
                record=Record(folder / VERIFIED_RECORD),
                say=say,
                quiet=arguments.quiet,
            )
            tasks = plan()  # another run may have been at work until now
            problems = _check_and_download(run, tasks, arguments.jobs)
    except OSError as error:
        if not is_read_only(error):
            raise
        raise TaskError(f"{folder}: cannot write there: {error.strerror}") from error
    _say_next(arguments, tasks, say)
    return problems


def _dry_run(site: Site, tasks: Sequence[Task], folder: Path, say: Say) -> list[str]:
    """Print the whole plan; return a line for each thing of it that cannot be done."""
    problems = [task.note for task in of_state(tasks, CHANGED, FAILED)]
    missing = of_state(tasks, TO_DOWNLOAD)
    try:
        if missing:
            site.start_session()
            ask_sizes(site, missing)
    except (TaskError, TemporaryError) as error:
        problems.append(str(error))
    except UsageError:
        if site.has_credentials:
            raise
    near = near_misses(folder, [task.archive for task in missing])
    for line in [*plan_lines(tasks, folder), *map(str, tasks), *near]:
        say(line)
    if (short := bytes_short(tasks, folder)) > 0:
        problems.append(f"{folder}: disk is full: {size_text(short)} more are needed; free some space")
    return problems


def _say_next(arguments: argparse.Namespace, tasks: Sequence[Task], say: Say) -> None:
    """Name the next command where it has something to do: any of the archives is not unpacked, or not whole."""
    unpacked = Record(arguments.root / EXTRACTED / UNPACKED_RECORD)
    kinds = ["--kinds", *arguments.kinds] if arguments.kinds else []

    def is_to_unpack(task: Task) -> bool:
        folder = unpacked_folder(arguments.root, task.archive)
        is_whole = unpacked.holds(task.file) and lost_files(folder, task.archive, unpacked) == []
        return task.file.exists() and not is_whole

    with contextlib.suppress(OSError):  # of a folder that cannot be read
        if any(map(is_to_unpack, tasks)):
            say(f"next: {next_command(arguments, 'extract_all.py', *kinds)}")


def _check_and_download(run: Run, tasks: Sequence[Task], jobs: int) -> list[str]:
    """Verify what is there, download the rest; return a line for each archive that failed."""
    started = time.monotonic()
    absent = of_state(tasks, TO_DOWNLOAD)
    if absent:
        # Prompt for a password now, not after an hour of verifying files.
        retry(run.site.start_session, run.say, run.stop)
        ask_sizes(run.site, absent)
    for line in plan_lines(tasks, run.folder):
        run.say(line)
    _verify(run, of_state(tasks, TO_VERIFY, CHANGED))
    missing = of_state(tasks, TO_DOWNLOAD)
    for line in near_misses(run.folder, [task.archive for task in missing]):
        run.say(line)
    did = "verified"
    if missing:
        if not absent:
            retry(run.site.start_session, run.say, run.stop)
        ask_sizes(run.site, [task for task in missing if task not in absent])
        did = f"{size_text(_download_in_threads(run, missing, jobs))} downloaded"
    run.say(f"{counts_text(tasks)}; {did} in {time_text(time.monotonic() - started)}")
    return [task.note for task in of_state(tasks, FAILED)]


def _verify(run: Run, tasks: Sequence[Task]) -> None:
    """Verify what is there; what is not good is to be downloaded then."""
    with Progress("verifying", sum(task.size or 0 for task in tasks), "B", quiet=run.quiet or not tasks) as bar:
        bar.leave = False
        for task in tasks:
            try:
                verdicts = check_existing(run, task.archive, bar)
            except (TaskError, OSError) as error:  # such as a file that this user cannot read
                task.fail(error)
                continue
            task.state = PRESENT if verdicts is None else TO_DOWNLOAD
            if verdicts is not None:
                task.verdicts = verdicts
                task.read_partial()


def _download_in_threads(run: Run, tasks: Sequence[Task], jobs: int) -> float:
    """Download archives, `jobs` at a time; return how many bytes were received."""
    waiting = iter(tasks)  # shared by the threads
    results: queue.SimpleQueue = queue.SimpleQueue()
    count = count_of(len(tasks), "archive")
    total, done = sum(task.size or 0 for task in tasks), sum(task.done for task in tasks)
    whole = Progress(f"0 of {count}", total, "B", quiet=run.quiet, initial=done)
    whole.unknown = len([task for task in tasks if task.size is None])

    def obtain_each() -> None:
        for task in waiting:
            if run.stop.is_set():
                return
            try:
                obtain(run, task.archive, task.verdicts, whole, task.size)
                results.put((task, None))
            except Exception as error:  # handled in the main thread
                results.put((task, error))

    # Daemons, so that one that waits for the network does not keep a stopped script running.
    threads = [threading.Thread(target=obtain_each, daemon=True) for _ in range(jobs)]
    with whole:
        try:
            for thread in threads:
                thread.start()
            for number in range(1, len(tasks) + 1):
                task, error = _next_result(results, whole)
                task.state = DOWNLOADED
                if isinstance(error, UsageError):
                    left = len([task for task in tasks if not task.file.exists()])
                    raise UsageError(f"{error}; {count_of(left, 'archive')} {is_or_are(left)} still missing") from None
                if error and not isinstance(error, TaskError | OSError):
                    raise error
                if error:
                    task.fail(error)
                    run.say(f"{time.strftime('%H:%M:%S')} failed: {task.note}")
                failed = len(of_state(tasks, FAILED))
                whole.say_words(f"{number} of {count}" + (f", {failed} failed" if failed else ""))
        finally:
            run.stop.set()
            deadline = time.monotonic() + SECONDS_TO_STOP
            while any(thread.is_alive() and thread not in run.site.renewing for thread in threads):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            end_prompt()  # one that nobody has answered
    return whole.n - whole.initial


def _next_result(results: queue.SimpleQueue, whole: Progress) -> tuple[Task, Exception | None]:
    """Wait until an archive has ended, and keep the progress up to date."""
    while True:
        try:
            return results.get(timeout=1)
        except queue.Empty:
            whole.tick()
