"""One archive: verify what is there, download what is missing, and give it its final name once it is verified."""

import contextlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from h36m.archives.near_misses import browser_download
from h36m.dataset import ARCHIVES, CHANGED_EXTENSION, PARTIAL_EXTENSION, REJECTED_EXTENSION, STATE_EXTENSION, Archive
from h36m.download.complete import complete
from h36m.download.partial import PartialDownload, unpack_state
from h36m.download.site import Site
from h36m.download.transfer import Transfer
from h36m.download.verify import Verdict, beginning_fault, check_archive
from h36m.errors import TaskError
from h36m.progress import Progress, Say
from h36m.storage import Record, free_name, rename_durably, sync

# A download that fails verification is repeated until two are identical; three different ones are no coincidence.
MOST_DOWNLOADS = 3


@dataclass
class Run:
    """What the archives of one run share.

    Attributes:
        folder: `archives/`.
        checksums: the published MD5s by file name, read from `checksums_file`.
        stop: set when the run is to end.
    """

    folder: Path
    site: Site
    checksums: dict[str, str]
    checksums_file: Path
    record: Record
    say: Say
    quiet: bool
    stop: threading.Event = field(default_factory=threading.Event)

    def message_of_change(self, target: Path, md5: str | None) -> str:
        """Return the line about an archive that has changed on the server."""
        return changed_message(target, self.checksums.get(target.name), md5, self.checksums_file)


def check_existing(run: Run, archive: Archive, bar: Progress) -> list[Verdict] | None:
    """Verify the files of one archive that are in the folder.

    Args:
        bar: of the bytes that are verified.

    Returns:
        None if the archive is present and good; else the verdict on the file under its name, if there was one.

    Raises:
        TaskError: the archive has changed on the server, and its new version is not accepted yet.
    """
    target = run.folder / archive.file_name
    changed = with_extension(target, CHANGED_EXTENSION)
    if target.exists():
        return _check_present(run, archive, target, bar)
    if changed.exists():
        _check_changed(run, archive, target, changed, bar)
        return None
    return []


def _check_present(run: Run, archive: Archive, target: Path, bar: Progress) -> list[Verdict] | None:
    """Verify the file with an archive's name; if it is not the archive, make way for a download."""
    if line := browser_download(target):
        raise TaskError(line)
    run.say(f"{target.name}: already present, verifying ({target.stat().st_size:,} bytes)")
    verdict = check_archive(target, archive, run.checksums.get(target.name), bar)
    if verdict.fault is None:
        _discard_partial(target)
        run.record.add(target, verdict.md5)
        return None
    if not verdict.is_whole and _adopt(target, archive):
        run.say(f"{target.name}: an unfinished axel download; resuming it")
        return []
    aside = _set_aside(target)
    run.say(f"{target.name} {verdict.fault}: renamed to {aside.name}, downloading it again")
    return [verdict]


def _check_changed(run: Run, archive: Archive, target: Path, changed: Path, bar: Progress) -> None:
    """Accept the new version of an archive if its MD5 is the listed one now."""
    _discard_partial(target)
    expected, md5 = run.checksums.get(target.name), run.record.md5(changed)
    if md5 is None or expected in (None, md5):
        verdict = check_archive(changed, archive, expected, bar)
        md5 = verdict.md5
        if verdict.fault is None:
            rename_durably(changed, target)
            run.record.add(target, md5)
            run.say(f"{target.name}: the server's new version, now accepted")
            return
        run.record.add(changed, md5)
    raise TaskError(run.message_of_change(target, md5))


def _adopt(target: Path, archive: Archive) -> bool:
    """Make what another program's axel left unfinished the partial download; return whether that was possible."""
    state, partial = with_extension(target, STATE_EXTENSION), with_extension(target, PARTIAL_EXTENSION)
    size, missing = (state.is_file() and unpack_state(state.read_bytes())) or (0, [])
    if not missing or target.stat().st_size > size or partial.exists() or beginning_fault(target, archive):
        return False
    # In this order: without its state, a file with holes would claim them. After a kill in between, the archive is
    # downloaded again.
    rename_durably(state, with_extension(partial, STATE_EXTENSION))
    PartialDownload(partial).set_size(size)
    rename_durably(target, partial)
    return True


def obtain(run: Run, archive: Archive, verdicts: list[Verdict], whole: Progress, size: int | None) -> None:
    """Download one archive, verify it and give it its final name.

    Args:
        verdicts: on files of this archive that were found bad before.
        whole: of the bytes of all downloads, with those of this one that are already there.
        size: of the archive, bytes, as `whole` has it; None for unknown.

    Raises:
        TaskError: it failed, and why.
        UsageError: the site no longer accepts the user name and password.
    """
    target = run.folder / archive.file_name
    expected = run.checksums.get(target.name)
    configuration = run.site.configuration
    has_axel = configuration.downloader != "requests" and shutil.which("axel")
    partial = PartialDownload(with_extension(target, PARTIAL_EXTENSION))
    transfer = Transfer(
        site=run.site,
        archive=archive,
        partial=partial,
        connections=configuration.connections,
        axel_connections=configuration.connections if has_axel else 0,
        say=run.say,
        stop=run.stop,
    )
    for downloads_left in reversed(range(MOST_DOWNLOADS)):
        with (
            Progress(target.name, size, "B", whole, run.quiet, initial=partial.bytes_done) as bar,
            contextlib.closing(partial),
        ):
            try:
                by = complete(transfer, bar)
            except (TaskError, OSError):
                bar.start_at(partial.bytes_done, partial.bytes_done)  # no more of it will be downloaded
                raise
            size = partial.bytes_done
            bar.start_at(size, size)
        with Progress(f"verifying {target.name}", size, "B", whole, run.quiet, counts=False) as bar:
            verdict = _check_and_sync(partial.path, archive, expected, bar)
        if verdict.fault is None:
            # First its bytes are on the disk, then its name, and then the record, which may be lost.
            partial.move_to(target)
            run.record.add(target, verdict.md5)
            run.say(f"{target.name}: downloaded with {by}, {'MD5' if expected else 'gzip stream'} verified")
            return
        if verdict in verdicts:
            if not verdict.is_whole or verdict.md5 is None:
                partial.discard()
                raise TaskError(
                    f"{target.name} {verdict.fault}; a second download was identical; try again on another day"
                )
            changed = with_extension(target, CHANGED_EXTENSION)
            partial.move_to(changed)
            run.record.add(changed, verdict.md5)
            raise TaskError(run.message_of_change(target, verdict.md5))
        verdicts = [*verdicts, verdict]
        partial.discard()
        if downloads_left:
            whole.update(-size)
            run.say(f"{target.name} {verdict.fault}: downloading it again")
        # axel may have written a page into the archive, and a server may send wrong ranges.
        transfer.axel_connections, transfer.connections = 0, 1
        transfer.downloaders.clear()
    raise TaskError(
        f"{target.name} {verdict.fault}; downloaded {MOST_DOWNLOADS} times with {MOST_DOWNLOADS} different results; "
        "try again on another day"
    )


def _check_and_sync(path: Path, archive: Archive, expected_md5: str | None, bar: Progress) -> Verdict:
    """Verify a downloaded file while its bytes are synced to the disk, which takes as long."""
    with ThreadPoolExecutor(1) as pool:
        synced = pool.submit(sync, path)
        verdict = check_archive(path, archive, expected_md5, bar)
        synced.result()
    return verdict


def with_extension(target: Path, extension: str) -> Path:
    """Return the path next to an archive with another extension appended: `Videos_S1.tgz.part`."""
    return target.with_name(target.name + extension)


def _set_aside(target: Path) -> Path:
    """Rename a file (and axel's state) that is not the archive that its name says; a user may want to keep it."""
    aside = free_name(with_extension(target, REJECTED_EXTENSION))
    # The state file first: if the run is killed in between, the next one renames the archive to the name next to it.
    state = with_extension(target, STATE_EXTENSION)
    if state.exists():
        state.rename(with_extension(aside, STATE_EXTENSION))
    target.rename(aside)
    return aside


def _discard_partial(target: Path) -> None:
    """Remove a partial download that a killed run did not get to remove, or that is no longer needed."""
    PartialDownload(with_extension(target, PARTIAL_EXTENSION)).discard()


def changed_message(target: Path, expected: str | None, md5: str | None, checksums_file: Path) -> str:
    """Return the line about an archive that has changed on the server: how to accept its new version."""
    return (
        f"{target.name}: checksum mismatch: expected {expected}, got {md5}. A second download was identical, so the "
        f"file on the server has probably changed. Saved as {with_extension(target, CHANGED_EXTENSION)}. To accept it, "
        f"replace its line in {checksums_file} with this one and run again: {md5}  {ARCHIVES}/{target.name}"
    )
