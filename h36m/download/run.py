"""Fetch archives: by axel or requests, resumed, checked, and under their final name only when they are right.

While `archives/NAME.tgz.part` is unfinished, two small files may lie beside it: axel's state `.part.st`, and
`.part.about`, which says what edition of the archive (size, ETag, date) the bytes came from.
"""

import argparse
import json
import os
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from h36m.cli import (
    Progress,
    RunStoppedError,
    Say,
    TaskError,
    UsageError,
    argument_parser,
    count_of,
    is_or_are,
    positive_integer,
    speaker,
)
from h36m.dataset import ARCHIVES, VERIFIED_RECORD, archive_name
from h36m.download.axel import Gaps, read_gaps, run_axel, split_gaps, state_path, write_gaps
from h36m.download.config import Configuration, read_configuration
from h36m.download.site import STALL_SECONDS, Answer, NotAnArchiveError, Site, TemporaryError, UnreachableError
from h36m.download.verify import Verdict, check_archive, read_checksums
from h36m.storage import Record, free_name, is_disk_full, is_read_only, only_run_in, write_atomically

CHECKSUMS = Path(__file__).parent.parent.parent / "checksums.txt"

# How often in a row the site may fail without a byte more of an archive, and the first of the pauses between: 5, 10,
# 20, 40, 80 and 160 seconds give a server that restarts five minutes. Tests set the first pause lower.
TRIES_WITHOUT_PROGRESS = 7
FIRST_PAUSE_SECONDS = float(os.environ.get("H36M_RETRY_SECONDS", "5"))

# A fetched file that fails its check is fetched anew until two agree; three that differ are no accident.
MOST_FETCHES = 3
# The archive changed on the site, again and again, while it was being fetched.
MOST_RESTARTS = 5

# When axel's many connections do not get an archive on, it comes back with these few, and then requests with one.
FEW_CONNECTIONS = 4
# While requests fills the holes that axel left, its progress is noted in the state file this often.
BYTES_BETWEEN_NOTES = 16 << 20

# How long a thread may take to stop axel and note its state after Ctrl-C. One that waits for the network is left.
SECONDS_TO_STOP = 8


@dataclass
class Run:
    """What the threads of one run share."""

    quiet: bool
    jobs: int
    checksums_file: Path
    say: Say
    configuration: Configuration
    site: Site
    checksums: dict[str, str]
    folder: Path
    record: Record
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class Effort:
    """What was tried for one archive so far.

    Attributes:
        connections: how many axel may open next; 1 leaves the archive to requests.
        by: who brought bytes, in this order.
        is_renewed: the session was renewed for this archive; that is done once.
        restarts: how often the archive changed on the site meanwhile.
    """

    connections: int
    by: list[str] = field(default_factory=list)
    is_renewed: bool = False
    restarts: int = 0

    def note(self, helper: str) -> None:
        if helper not in self.by:
            self.by.append(helper)


# -- a whole run -----------------------------------------------------------------------------------------------------


def download_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of a download script."""
    parser = argument_parser(description)
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("config.ini"),
        metavar="FILE",
        help="default: config.ini in the current directory",
    )
    parser.add_argument(
        "--checksums", type=Path, default=CHECKSUMS, metavar="FILE", help="default: checksums.txt beside the scripts"
    )
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        default=1,
        metavar="N",
        help="archives fetched at a time (default: 1, since axel opens many connections for each)",
    )
    return parser


def download(arguments: argparse.Namespace, kinds: Sequence[str]) -> list[str]:
    """Have the archives of some kinds complete and checked in `archives/`: the body of the two download scripts.

    Args:
        arguments: as read by `download_parser`.
        kinds: of `h36m.dataset.KINDS`.

    Returns:
        one line for each archive that could not be had.

    Raises:
        UsageError: configuration, user name or password are wrong.
        TaskError: nothing can be fetched at all.
    """
    configuration = read_configuration(arguments.config)
    checksums = read_checksums(arguments.checksums)
    say = speaker(arguments.quiet)
    wanted = [(kind, subject) for subject in arguments.subjects for kind in kinds]
    folder = arguments.root / ARCHIVES
    if _are_all_there(folder, wanted, checksums):
        say(f"nothing to do: all {len(wanted)} archives are there and checked")
        return []
    try:
        folder.mkdir(exist_ok=True)
        with only_run_in(folder, say):
            for pattern in (f"{VERIFIED_RECORD}.*.tmp", "*.tgz.part.*.tmp"):  # a run that was killed was writing them
                for path in folder.glob(pattern):
                    path.unlink()
            run = Run(
                quiet=arguments.quiet,
                jobs=arguments.jobs,
                checksums_file=arguments.checksums,
                say=say,
                configuration=configuration,
                site=Site(configuration, say),
                checksums=checksums,
                folder=folder,
                record=Record(folder / VERIFIED_RECORD),
            )
            return _obtain_all(run, wanted)
    except OSError as error:
        if not is_read_only(error):
            raise
        raise TaskError(f"{folder}: cannot write there: {error.strerror}") from error


def _are_all_there(folder: Path, wanted: Sequence[tuple[str, str]], checksums: dict[str, str]) -> bool:
    """Say whether every archive was checked before and has not changed since; no archive is opened for that."""
    record = Record(folder / VERIFIED_RECORD)
    names = [f"{archive_name(kind, subject)}.tgz" for kind, subject in wanted]
    return all(record.holds(folder / name, checksums.get(name)) for name in names)


def _obtain_all(run: Run, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Check what lies there, fetch the rest; return a line for each archive that could not be had."""
    if not all((run.folder / f"{archive_name(*archive)}.tgz").exists() for archive in wanted):
        # Something may have to be fetched: ask for a password now, not after an hour of checking files.
        changed = [run.folder / f"{archive_name(*archive)}.tgz.changed" for archive in wanted]
        if not any(path.exists() for path in changed):
            _patiently(run, run.site.begin)
    problems: dict[tuple[str, str], str] = {}
    missing: dict[tuple[str, str], list[Verdict]] = {}
    for archive in wanted:
        try:
            verdicts = _look_at_what_is_there(run, archive_name(*archive))
        except (TaskError, OSError) as problem:  # such as a file that may not be read
            problems[archive] = str(problem)
        else:
            if verdicts is not None:
                missing[archive] = verdicts
    if missing:
        if run.site.session is None:
            _patiently(run, run.site.begin)
        problems |= _in_threads(run, missing)
    fetched = len([archive for archive in missing if archive not in problems])
    there = len(wanted) - len(missing) - len([archive for archive in problems if archive not in missing])
    run.say(f"{len(wanted)} archives: {there} were there, {fetched} fetched, {len(problems)} not to be had")
    return [problems[archive] for archive in wanted if archive in problems]


def _in_threads(run: Run, missing: dict[tuple[str, str], list[Verdict]]) -> dict[tuple[str, str], str]:
    """Fetch archives, `--jobs` at a time; return a line for each that failed."""
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    results: queue.SimpleQueue = queue.SimpleQueue()
    for task in missing.items():
        tasks.put(task)

    def work() -> None:
        while not run.stop.is_set():
            try:
                archive, verdicts = tasks.get_nowait()
            except queue.Empty:
                return
            try:
                _obtain(run, *archive, verdicts)
                results.put((archive, None))
            except Exception as error:  # handed to the main thread, which knows what to do with each kind
                results.put((archive, error))

    # Daemons, so that one that waits for the network does not keep a stopped script alive.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(run.jobs)]
    for thread in threads:
        thread.start()
    problems = {}
    try:
        for _ in missing:
            archive, error = results.get()
            if isinstance(error, TaskError | OSError):
                problems[archive] = str(error)
                run.say(f"not to be had for now: {error}")
            elif isinstance(error, UsageError):
                left = [name for name in missing if not (run.folder / f"{archive_name(*name)}.tgz").exists()]
                raise UsageError(
                    f"{error}; {count_of(len(left), 'archive')} {is_or_are(len(left))} still missing"
                ) from None
            elif error is not None:
                raise error
    finally:
        run.stop.set()
        for thread in threads:
            thread.join(SECONDS_TO_STOP)
    return problems


def _patiently(run: Run, action: Callable[[], None]) -> None:
    """Do something at the site, again and again while the site is not well; give up at once if it cannot be reached.

    Raises:
        TaskError: the site stays unwell or is not there.
    """
    for number in range(TRIES_WITHOUT_PROGRESS):
        try:
            return action()
        except UnreachableError as error:
            raise TaskError(str(error)) from None
        except TemporaryError as error:
            if number == TRIES_WITHOUT_PROGRESS - 1:
                raise TaskError(f"{error}; tried {TRIES_WITHOUT_PROGRESS} times") from None
            _pause(run, error, number)


def _pause(run: Run, error: TemporaryError, number: int) -> None:
    """Wait before the next try: as long as the site asked for, or else longer each time."""
    seconds = FIRST_PAUSE_SECONDS * 2**number if error.wait is None else error.wait
    run.say(f"{error}; trying again in {seconds:g} s")
    if run.stop.wait(seconds):
        raise RunStoppedError


# -- one archive -----------------------------------------------------------------------------------------------------


def _look_at_what_is_there(run: Run, name: str) -> list[Verdict] | None:
    """Judge the files of one archive that lie in the folder.

    Returns:
        None if the archive is there and good; else what was wrong with the one that was there, if there was one.

    Raises:
        TaskError: the site has changed the archive, and its new edition is not accepted yet.
    """
    # With one of the other two there, a .part is what a killed run did not get to remove, or needed no more.
    target, part, changed = (run.folder / f"{name}.tgz{ending}" for ending in ("", ".part", ".changed"))
    expected = run.checksums.get(target.name)
    if run.record.holds(target, expected):
        return None
    if target.exists():
        run.say(f"{target.name}: there; checking it ({target.stat().st_size:,} bytes)")
        verdict = check_archive(target, name, expected)
        if verdict.fault is None:
            _forget(part)
            run.record.add(target, verdict.md5)
            return None
        # Somebody put it there, and it may be dear to them: it is moved out of the way and never deleted.
        aside = free_name(run.folder / f"{name}.tgz.rejected")
        target.rename(aside)
        run.say(f"{target.name} {verdict.fault}: renamed to {aside.name}, fetching it")
        return [verdict]
    if changed.exists():
        _forget(part)
        md5 = run.record.md5(changed)
        if md5 is None or md5 == expected or expected is None:
            verdict = check_archive(changed, name, expected)
            md5 = verdict.md5
            if verdict.fault is None:
                changed.rename(target)
                run.record.add(target, md5)
                run.say(f"{target.name}: the site's new edition, now accepted")
                return None
            run.record.add(changed, md5)
        raise TaskError(_changed_message(run, name, md5))
    return []


def _changed_message(run: Run, name: str, md5: str | None) -> str:
    return (
        f"{name}.tgz: the site has changed this file: its MD5 is {md5}, not {run.checksums.get(name + '.tgz')}; "
        f"it is kept as {run.folder / name}.tgz.changed. To accept it, put this line in place of the old one into "
        f"{run.checksums_file} and run again: {md5}  archives/{name}.tgz"
    )


def _obtain(run: Run, kind: str, subject: str, verdicts: list[Verdict]) -> None:
    """Fetch one archive, check it and give it its final name.

    Args:
        verdicts: on files of this archive that were found bad before.

    Raises:
        TaskError: it cannot be had, and why.
        UsageError: the site does not let us in any more.
    """
    name = archive_name(kind, subject)
    target = run.folder / f"{name}.tgz"
    part = run.folder / f"{name}.tgz.part"
    expected = run.checksums.get(target.name)
    uses_axel = run.configuration.downloader != "requests" and shutil.which("axel")
    connections = run.configuration.connections if uses_axel else 1
    for fetches_left in reversed(range(MOST_FETCHES)):
        by = _fetch(run, kind, subject, part, connections)
        verdict = check_archive(part, name, expected)
        if verdict.fault is None:
            _keep(run, part, target, verdict.md5)
            run.say(f"{target.name}: fetched by {by}, {'MD5' if expected else 'gzip stream'} checked")
            return
        if verdict in verdicts:
            if not verdict.is_whole or verdict.md5 is None:
                _forget(part)
                raise TaskError(
                    f"{target.name} {verdict.fault}; fetched again, it was the same. Try again on another day"
                )
            changed = run.folder / f"{name}.tgz.changed"
            _keep(run, part, changed, verdict.md5)
            raise TaskError(_changed_message(run, name, verdict.md5))
        verdicts = [*verdicts, verdict]
        _forget(part)
        if fetches_left:
            run.say(f"{target.name} {verdict.fault}: fetching it once more")
        connections = 1  # axel may have put a page between the bytes of an archive; requests looks at what comes
    raise TaskError(f"{target.name} {verdict.fault}; fetched {MOST_FETCHES} times, it was never the same twice")


def _keep(run: Run, part: Path, path: Path, md5: str | None) -> None:
    """Give a file that was read to its end the name it stays under.

    The record is written last: what a run that is killed leaves behind, the next one finds when it looks at the file.
    """
    part.replace(path)
    _forget(part)
    run.record.add(path, md5)


def _fetch(run: Run, kind: str, subject: str, part: Path, connections: int) -> str:
    """Bring an unfinished file to its end, over as many tries as it takes; return who brought it, in words.

    Args:
        connections: how many axel may open; 1 leaves the archive to requests.

    Raises:
        TaskError: it cannot be had.
    """
    name = archive_name(kind, subject)
    effort = Effort(connections)
    best, fruitless = _bytes_done(part), 0
    with Progress(desc=f"{name}.tgz", unit="B", unit_scale=True, disable=run.quiet) as bar:
        while _lacks_something(part):
            if run.stop.is_set():
                raise RunStoppedError
            try:
                _fetch_some(run, kind, subject, part, effort, bar)
                continue
            except TemporaryError as error:
                trouble = error
            except OSError as error:
                if not is_disk_full(error):
                    raise
                raise _disk_full(run, part) from None
            arrived = _bytes_done(part)
            best, fruitless = max(best, arrived), 0 if arrived > best else fruitless + 1
            if fruitless in (1, TRIES_WITHOUT_PROGRESS) and _is_good_as_it_is(run, part, name):
                break
            if fruitless == TRIES_WITHOUT_PROGRESS:
                raise TaskError(
                    f"{trouble}; tried {fruitless} times without a byte more. What came is kept: run again later"
                )
            _pause(run, trouble, max(0, fruitless - 1))
    return " and ".join(effort.by) or "an earlier run"


def _fetch_some(run: Run, kind: str, subject: str, part: Path, effort: Effort, bar: Progress) -> None:
    """Ask the site once and take what it gives: the first gap by requests, or what axel brings until it stops.

    Raises:
        TemporaryError: it stopped too early; what came is kept.
        TaskError: trying again is no use.
    """
    about = _read_about(part)
    gaps = read_gaps(part, about["size"])
    start, end = gaps[0] if gaps else (0, None)
    session = run.site.session
    try:
        with run.site.open_archive(kind, subject, start, end, about) as answer:
            if not _agree(run, part, about, gaps, answer, effort):
                return
            gaps = read_gaps(part, answer.size)
            if not _has_space(part, answer.size):
                raise _disk_full(run, part)
            bar.total = answer.size
            bar.initial = bar.n = _bytes_done(part)
            if not _axel_can_go_on(part, gaps, answer, effort.connections):
                effort.note("requests")
                _write_answer(run, part, gaps, answer, bar)
                return
    except NotAnArchiveError as error:
        if run.site.is_alive(session):
            raise TemporaryError(str(error)) from None
        if effort.is_renewed:
            raise TaskError(f"{error}; the session ended twice during this archive: run again to go on") from None
        run.site.renew(session)
        effort.is_renewed = True
        return
    _let_axel(run, part, gaps, answer, session, effort, bar)


def _agree(run: Run, part: Path, about: dict, gaps: Gaps | None, answer: Answer, effort: Effort) -> bool:
    """Make the unfinished file and the site's answer fit together, if need be by beginning the file anew.

    Returns:
        whether the answer's bytes are those that the file lacks next.
    """
    start = gaps[0][0] if gaps else 0
    is_complete = answer.is_past_end and bool(gaps) and all(gap[0] == answer.size for gap in gaps)
    if is_complete:
        state_path(part).unlink(missing_ok=True)
    elif answer.is_past_end or _is_other_edition(about, answer.identity):
        effort.restarts += 1
        if effort.restarts > MOST_RESTARTS:
            raise TaskError(f"{part.stem}: it changes on the site while it is fetched; try again on another day")
        run.say(f"{part.stem}: it has changed on the site since it was begun: beginning anew")
        _forget(part)
    elif answer.start == 0 and start > 0:
        run.say(f"{part.stem}: {run.site.host} sends no byte ranges: beginning anew")
        _forget(part)
    elif answer.start != start:
        raise TemporaryError(f"{part.stem}: {run.site.host} sent another range than it was asked for")
    if answer.is_past_end and not is_complete:
        return False
    _write_about(part, answer.identity)
    gaps = read_gaps(part, answer.size)
    if gaps is None:  # a state file that is cut off, or not axel's: nobody knows which bytes are there
        _forget(part)
        return False
    return bool(gaps) and gaps[0][0] == answer.start


def _write_answer(run: Run, part: Path, gaps: Gaps, answer: Answer, bar: Progress) -> None:
    """Write the answer's bytes into the first gap."""
    (position, end), *other_gaps = gaps
    has_state = state_path(part).exists()
    noted = position
    with part.open("r+b" if part.exists() else "xb", buffering=0) as file:
        file.seek(position)
        try:
            for chunk in answer.chunks:
                if run.stop.is_set():
                    raise RunStoppedError
                rest = memoryview(chunk)[: None if end is None else end - position]
                bar.update(len(rest))
                while rest:  # a disk that fills up takes only a part
                    written = file.write(rest)
                    position, rest = position + written, rest[written:]
                if has_state and position - noted > BYTES_BETWEEN_NOTES:
                    write_gaps(part, [(position, end), *other_gaps], answer.size)
                    noted = position
                if position == end:
                    break
        finally:
            if has_state:
                write_gaps(part, [(position, end), *other_gaps], answer.size)
    if end is None:  # the site does not say how long it is: the check will tell whether this was all
        _write_about(part, answer.identity | {"size": position})
    elif position < end:
        raise TemporaryError(f"{part.stem}: {run.site.host} stopped {end - position:,} bytes too early")


def _axel_can_go_on(part: Path, gaps: Gaps, answer: Answer, connections: int) -> bool:
    """Say whether axel can fetch what lacks; if not, requests does, with one connection.

    axel opens as many connections as its state file has gaps, so it cannot come back with fewer than it left gaps.
    """
    is_possible = answer.has_ranges and answer.size is not None and answer.is_own_host
    return is_possible and connections > 1 and (len(gaps) <= connections or _bytes_done(part) == 0)


def _let_axel(run: Run, part: Path, gaps: Gaps, answer: Answer, session: str, effort: Effort, bar: Progress) -> None:
    """Let axel fetch what lacks; if it does not finish, it gets fewer connections next time."""
    before = _bytes_done(part)
    if before:
        write_gaps(part, split_gaps(gaps, effort.connections), answer.size)
    else:
        _forget(part)  # axel begins a file of its own, and takes none that is there without its state
        _write_about(part, answer.identity)

    def show(on_disk: int) -> None:
        bar.update(max(0, min(on_disk, answer.size) - bar.n))

    run_axel(
        answer.url,
        part,
        cookie=session,
        connections=effort.connections,
        verify_tls=run.configuration.verify_tls,
        stall_seconds=STALL_SECONDS,
        stop=run.stop,
        progress=show,
    )
    if run.stop.is_set():
        raise RunStoppedError
    if not state_path(part).exists() and part.exists() and part.stat().st_size != answer.size:
        _forget(part)  # axel is done with something else, such as a login page
    if _bytes_done(part) > before:
        effort.note("axel")
    if _lacks_something(part):
        fewer = FEW_CONNECTIONS if effort.connections > FEW_CONNECTIONS else 1
        run.say(f"{part.stem}: axel did not finish it with {effort.connections} connections; coming back with fewer")
        effort.connections = fewer
        if not _has_space(part, answer.size):
            raise _disk_full(run, part)


# -- an unfinished file ----------------------------------------------------------------------------------------------


def _about_path(part: Path) -> Path:
    return part.with_name(part.name + ".about")


def _read_about(part: Path) -> dict:
    """Return what edition an unfinished file is of: size, etag, last_modified, None for what is not known."""
    unknown = {"size": None, "etag": None, "last_modified": None}
    try:
        about = json.loads(_about_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return unknown
    return unknown | about if isinstance(about, dict) else unknown


def _write_about(part: Path, identity: dict) -> None:
    if _read_about(part) != identity:
        write_atomically(_about_path(part), json.dumps(identity))


def _is_other_edition(about: dict, identity: dict) -> bool:
    """Say whether two descriptions of a file contradict each other; what one of them does not know does not count."""
    return any(None not in (about[key], identity[key]) and about[key] != identity[key] for key in identity)


def _lacks_something(part: Path) -> bool:
    """Say whether bytes of an unfinished file are missing, or may be."""
    size = _read_about(part)["size"]
    return size is None or read_gaps(part, size) != []


def _bytes_done(part: Path) -> int:
    """Return how many bytes of an unfinished file are there."""
    size = _read_about(part)["size"]
    gaps = read_gaps(part, size)
    if size is not None and gaps is not None:
        return size - sum(end - start for start, end in gaps)
    return part.stat().st_size if part.exists() else 0


def _is_good_as_it_is(run: Run, part: Path, name: str) -> bool:
    """Say whether a file whose end never comes is complete all the same: some servers promise too many bytes."""
    if not part.exists() or state_path(part).exists():
        return False
    return check_archive(part, name, run.checksums.get(f"{name}.tgz")).fault is None


def _forget(part: Path) -> None:
    """Remove an unfinished file and what lies beside it."""
    for path in (part, state_path(part), _about_path(part)):
        path.unlink(missing_ok=True)


def _has_space(part: Path, size: int | None) -> bool:
    """Say whether the disk has room for what an unfinished file lacks."""
    return size is None or shutil.disk_usage(part.parent).free >= size - _bytes_done(part)


def _disk_full(run: Run, part: Path) -> TaskError:
    size, done = _read_about(part)["size"], _bytes_done(part)
    free = shutil.disk_usage(run.folder).free
    lacks = "an unknown number of" if size is None else f"{size - done:,}"
    return TaskError(
        f"{part.stem}: the disk is full: {lacks} bytes are still to come, and {free:,} are free in "
        f"{run.folder}; make room and run again, the {done:,} bytes that came are kept"
    )
