"""Power cuts: what a real ext4 file system has on its disk at some moment is all that the next run finds.

Whatever the moment, an archive under its name is right, and a partial download claims only bytes that are right.
"""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.archives import small_release, write_checksums
from helpers.disks import copy_after_power_cut, make_disk, mounted
from helpers.downloads import Downloads, bytes_there
from helpers.faulty_site import FaultyServer, faulty_site
from helpers.marks import BOTH
from helpers.scripts import Ended, finish, wait_until

from h36m.dataset import BOXES, PART_LABELS, VERIFIED_RECORD, Archive
from h36m.download.partial import PartialDownload
from h36m.storage import Record

SCRIPT = "download_seg_mat_gt_pl.py"
SUBJECTS = ("S1", "S5")
NAMES = [Archive(kind, subject).name for subject in SUBJECTS for kind in (BOXES, PART_LABELS)]
PLACED_BY_HAND = NAMES[2]
MEGABYTES = 32  # of the disk
SECOND_RUNS = 3  # of the moments of a run; each takes a second or two
LARGE = 4_000_000  # some five seconds of download with two connections of 400 kB/s
SEEDS = 2

# Stops the process before each of the things it does to the folder: opening, renaming or removing a file.
STOP_BEFORE_EACH_STEP = """
import signal, sys, threading
def watch(event, arguments):
    if event in ("open", "os.rename", "os.remove", "os.mkdir") and "archives" in str(arguments[0]):
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
sys.addaudithook(watch)
"""


def release_at(folder: Path, size: int) -> Path:
    """Write the archives of a site; the part labels have no published MD5."""
    small_release(folder, kinds=(BOXES, PART_LABELS), subjects=SUBJECTS, size=size)
    checksums = write_checksums(folder)
    listed = [line for line in checksums.read_text().splitlines(keepends=True) if PART_LABELS not in line]
    checksums.write_text("".join(listed))
    return folder


def put_by_hand(downloads: Downloads) -> None:
    """Put an archive into the folder, as `cp` does: what it wrote is not on the disk yet."""
    downloads.archives.mkdir()
    placed = downloads.archives / f"{PLACED_BY_HAND}.tgz"
    placed.write_bytes((downloads.site.archives / placed.name).read_bytes())


def names_at(downloads: Downloads) -> set[str]:
    return {path.stem for path in downloads.archives.glob("*.tgz")}


def assert_true(downloads: Downloads) -> None:
    """Compare what the files in `archives/` claim with the site's archives.

    The archive that was put there by hand may be incomplete until it is recorded.
    """
    recorded = set(Record(downloads.archives / VERIFIED_RECORD).entries)
    for name in names_at(downloads) - {PLACED_BY_HAND}:
        assert downloads.is_right(name), f"{name} is there, and wrong"
    for name in recorded:
        assert downloads.is_right(name.removesuffix(".tgz")), f"{name} is recorded, and wrong"
    for path in downloads.archives.glob("*.part"):
        partial = PartialDownload(path)
        right = (downloads.site.archives / path.stem).read_bytes()
        if partial.size is None:
            continue
        assert partial.missing is not None, f"{path.name} cannot be trusted"
        present, wanted = bytearray(path.read_bytes()), bytearray(right)
        for start, end in partial.missing:
            wanted[start:end] = bytes(end - start)
            present[start : min(end, len(present))] = bytes(max(0, min(end, len(present)) - start))
        assert present.ljust(len(wanted), b"\0") == wanted, f"{path.name} claims bytes that are not there"


def run_again(downloads: Downloads) -> Ended:
    """Run the script on what a power cut left, and check that it makes everything right without a detour."""
    ended = downloads.run("--subjects", *SUBJECTS, script=SCRIPT)
    assert ended.returncode == 0, ended.text
    assert all(downloads.is_right(name) for name in NAMES)
    return ended


def moments(process: subprocess.Popen) -> Iterator[None]:
    """Yield whenever a script has stopped before a step, and let it go on after that, until it ends."""

    def happening(kinds: int):
        return os.waitid(os.P_PID, process.pid, kinds | os.WNOHANG)

    try:
        while True:
            seen = wait_until(lambda: happening(os.WSTOPPED | os.WEXITED | os.WNOWAIT), "the script's next step", 60)
            if seen.si_code != os.CLD_STOPPED:
                return
            happening(os.WSTOPPED)  # each stop is reported once
            yield
            process.send_signal(signal.SIGCONT)
    finally:
        process.kill()


@pytest.fixture
def disk(tmp_path):
    """A mounted disk; its file is beside it, `disk.img`."""
    make_disk(tmp_path / "disk.img", MEGABYTES)
    with mounted(tmp_path / "disk.img", tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def hooks(tmp_path):
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STOP_BEFORE_EACH_STEP)
    return {"PYTHONPATH": str(folder)}


def downloads_on(copy: Path, site: FaultyServer, downloader: str, **configuration: str) -> Downloads:
    return Downloads(copy / "root", site, downloader, **configuration)


def test_power_cut_after_a_run_costs_no_archive(tmp_path, disk):
    """Only the script syncs, and what it reports as complete is on the disk."""
    with faulty_site(release_at(tmp_path / "site", 300_000)) as site:
        downloads = downloads_on(disk, site, "requests")
        put_by_hand(downloads)
        run_again(downloads)
        copy_after_power_cut(disk, tmp_path / "disk.img", tmp_path / "copy.img")
        with mounted(tmp_path / "copy.img", tmp_path / "copy") as copy:
            left = downloads_on(copy, site, "requests")
            assert names_at(left) == set(NAMES)
            assert_true(left)
            record = Record(left.archives / VERIFIED_RECORD)
            assert all(record.holds(left.archives / f"{name}.tgz") for name in NAMES)


@pytest.mark.slow
@BOTH
def test_power_cut_before_any_step_leaves_no_wrong_archive(tmp_path, disk, hooks, downloader):
    with faulty_site(release_at(tmp_path / "site", 300_000)) as site:
        downloads = downloads_on(disk, site, downloader)
        put_by_hand(downloads)
        process = downloads.start("--subjects", *SUBJECTS, script=SCRIPT, **hooks)
        copies = []
        for number, _ in enumerate(moments(process)):
            copies.append(tmp_path / f"{number}.img")
            copy_after_power_cut(disk, tmp_path / "disk.img", copies[-1])
        assert finish(process).returncode == 0
        assert len(copies) > 40, "there are many steps"
        copies.append(tmp_path / "end.img")
        copy_after_power_cut(disk, tmp_path / "disk.img", copies[-1])
        again = {*random.Random(downloader).sample(copies, SECOND_RUNS), copies[-1]}
        for copy in copies:
            with mounted(copy, tmp_path / copy.stem) as folder:
                left = downloads_on(folder, site, downloader)
                if left.archives.exists():
                    assert_true(left)
                assert copy != copies[-1] or names_at(left) == set(NAMES), "all are there when the script says so"
                if copy in again:
                    run_again(left)
            copy.unlink()


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("seed", range(SEEDS))
def test_power_cut_within_a_download_costs_only_its_last_seconds(tmp_path, disk, downloader, seed):
    chance = random.Random(seed)
    with faulty_site(release_at(tmp_path / "site", LARGE), lambda request: "slow" * request.is_archive) as site:
        downloads = downloads_on(disk, site, downloader, Connections="2")
        process = downloads.start("--subjects", "S1", script=SCRIPT)
        part = downloads.part(NAMES[0])
        wait_until(lambda: bytes_there(part) > 1_600_000 + chance.randrange(1_600_000), "a part of the archive")
        copy_after_power_cut(disk, tmp_path / "disk.img", tmp_path / "copy.img")
        process.kill()
        finish(process)
        site.plan = lambda request: None
        with mounted(tmp_path / "copy.img", tmp_path / "copy") as copy:
            left = downloads_on(copy, site, downloader, Connections="2")
            assert_true(left)
            if downloader == "axel":  # whose file is synced every second
                assert PartialDownload(left.part(NAMES[0])).bytes_done > 400_000
            run_again(left)
