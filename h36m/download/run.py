"""A whole download run, the body of the two download scripts: options, plan, threads, report."""

import argparse
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from h36m.archives.near_misses import near_misses
from h36m.cli import add_kinds_option, argument_parser, positive_integer
from h36m.dataset import ARCHIVES, CHANGED_EXTENSION, PROJECT, VERIFIED_RECORD, Archive
from h36m.download.archive import Run, check_existing, obtain, with_extension
from h36m.download.config import CONFIGURATION_FILE, read_configuration
from h36m.download.partial import remove_temporary_files
from h36m.download.retry import retry
from h36m.download.site import Site
from h36m.download.verify import Verdict, read_checksums
from h36m.errors import TaskError, UsageError
from h36m.locks import only_run_in
from h36m.progress import count_of, is_or_are, speaker
from h36m.storage import Record, is_read_only, reason_of

CHECKSUMS = PROJECT / "checksums.txt"

# Seconds for a thread to stop axel and record its state after Ctrl-C. One that waits for the network is abandoned.
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
    if _are_all_verified(folder, wanted, checksums):
        count = f"all {len(wanted)} archives" if len(wanted) > 1 else count_of(len(wanted), "archive")
        say(f"nothing to do: {count} {is_or_are(len(wanted))} downloaded and verified")
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
            return _check_and_download(run, wanted, arguments.jobs)
    except OSError as error:
        if not is_read_only(error):
            raise
        raise TaskError(f"{folder}: cannot write there: {error.strerror}") from error


def _are_all_verified(folder: Path, wanted: Sequence[Archive], checksums: dict[str, str]) -> bool:
    """Return whether every archive was verified and has not changed since; no archive is opened for that."""
    record = Record(folder / VERIFIED_RECORD)
    targets = [folder / archive.file_name for archive in wanted]
    return all(record.holds(target, checksums.get(target.name)) for target in targets)


def _check_and_download(run: Run, wanted: Sequence[Archive], jobs: int) -> list[str]:
    """Verify what is there, download the rest; return a line for each archive that failed."""
    targets = [run.folder / archive.file_name for archive in wanted]
    if not all(target.exists() or with_extension(target, CHANGED_EXTENSION).exists() for target in targets):
        # Prompt for a password now, not after an hour of verifying files.
        retry(run.site.start_session, run.say, run.stop)
    missing: dict[Archive, list[Verdict]] = {}  # with the verdicts on files of it that were bad
    problems: dict[Archive, str] = {}
    for archive in wanted:
        try:
            verdicts = check_existing(run, archive)
        except (TaskError, OSError) as problem:  # such as a file that this user cannot read
            problems[archive] = _line_of(archive, problem, run.folder)
        else:
            if verdicts is not None:
                missing[archive] = verdicts
    present = len(wanted) - len(missing) - len(problems)
    for line in near_misses(run.folder, missing):
        run.say(line)
    if missing:
        if run.site.session is None:
            retry(run.site.start_session, run.say, run.stop)
        problems |= _download_in_threads(run, missing, jobs)
    downloaded = len([archive for archive in missing if archive not in problems])
    counts = f"{present} already present, {downloaded} downloaded, {len(problems)} failed"
    run.say(f"{count_of(len(wanted), 'archive')}: {counts}")
    return [problems[archive] for archive in wanted if archive in problems]


def _line_of(archive: Archive, error: TaskError | OSError, folder: Path) -> str:
    return f"{archive.file_name}: {reason_of(error, folder)}" if isinstance(error, OSError) else str(error)


def _download_in_threads(run: Run, missing: dict[Archive, list[Verdict]], jobs: int) -> dict[Archive, str]:
    """Download archives, `jobs` at a time; return a line for each that failed."""
    tasks = iter([*missing.items()])  # shared by the threads
    results: queue.SimpleQueue = queue.SimpleQueue()

    def obtain_each() -> None:
        for archive, verdicts in tasks:
            if run.stop.is_set():
                return
            try:
                obtain(run, archive, verdicts)
                results.put((archive, None))
            except Exception as error:  # handled in the main thread
                results.put((archive, error))

    # Daemons, so that one that waits for the network does not keep a stopped script running.
    threads = [threading.Thread(target=obtain_each, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    problems = {}
    try:
        for _ in missing:
            archive, error = results.get()
            if isinstance(error, UsageError):
                left = len([each for each in missing if not (run.folder / each.file_name).exists()])
                raise UsageError(f"{error}; {count_of(left, 'archive')} {is_or_are(left)} still missing") from None
            if error and not isinstance(error, TaskError | OSError):
                raise error
            if error:
                problems[archive] = _line_of(archive, error, run.folder)
                run.say(f"failed: {problems[archive]}")
    finally:
        run.stop.set()
        for thread in threads:
            thread.join(SECONDS_TO_STOP)
    return problems
