"""Several connections for one archive without axel: as many as configured, or as the site allows, and all resumed."""

import itertools
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.archives import small_archive, small_release, write_checksums
from helpers.downloads import Downloads
from helpers.faulty_site import faulty_site
from helpers.marks import needs_axel, needs_proc, slow
from helpers.processes import axels_at
from helpers.scripts import finish, wait_until

from h36m.dataset import BOXES, Archive
from h36m.download.partial import PartialDownload
from h36m.download.ranges import SMALLEST_RANGE

SCRIPT = "download_seg_mat_gt_pl.py"
NAME = "Segments_mat_gt_bb_S1"
OPTIONS = ("--subjects", "S1", "--kinds", BOXES)
CONNECTIONS = 8
SIZE = CONNECTIONS * SMALLEST_RANGE + 100_000  # so large that all connections have something to do


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    small_archive(folder / f"{NAME}.tgz", Archive(BOXES, "S1"), SIZE)
    write_checksums(folder)
    return folder


def ranges(site) -> list[tuple[int, int]]:
    """Return the byte ranges that were requested, in order; the end of an open one is the archive's."""
    size = (site.archives / f"{NAME}.tgz").stat().st_size
    found = [re.fullmatch(r"bytes=(\d+)-(\d*)", request.range) for request in site.requests if request.is_archive]
    return sorted((int(match[1]), int(match[2]) + 1 if match[2] else size) for match in found)


def run(downloads: Downloads):
    return downloads.run(*OPTIONS, script=SCRIPT)


def assert_right(downloads: Downloads, ended) -> None:
    assert ended.returncode == 0, ended.text
    assert downloads.is_right(NAME) and downloads.leftovers() == []


def slow_plan(request) -> str | None:
    return "slow" if request.is_archive else None


@pytest.mark.parametrize("connections, opened", [slow("1", 1), slow("3", 3), ("8", 8), slow("24", 8)])
def test_requests_opens_as_many_connections_as_configured(tmp_path, release, connections, opened):
    """But none for fewer bytes than SMALLEST_RANGE; and each byte is requested by one of them."""
    with faulty_site(release, slow_plan) as site:
        site.bytes_per_second = 200_000 if opened > 1 else 4_000_000  # all are open before the first has finished
        downloads = Downloads(tmp_path / "root", site, Connections=connections)
        assert_right(downloads, run(downloads))
        assert site.most_sending == opened == len({request.port for request in site.requests if request.is_archive})
        starts = [start for start, _ in ranges(site)]
        assert [end for _, end in ranges(site)][1:-1] == starts[2:], "one range begins where the one before ends"
        assert opened != 8 or len(starts) == 8, "no range is smaller"


@pytest.mark.parametrize(
    "most, refusal",
    [
        *[(1, "503"), (3, "429"), (3, "no ranges"), (1, "403")],
        *[slow(3, "503"), slow(1, "429"), slow(1, "no ranges"), slow(3, "404"), slow(3, "400")],
    ],
)
def test_refused_connections_leave_their_ranges_to_the_others(tmp_path, release, most, refusal):
    with faulty_site(release, slow_plan) as site:
        site.most_connections, site.refusal, site.bytes_per_second = most, refusal, 1_500_000
        downloads = Downloads(tmp_path / "root", site, Connections=str(CONNECTIONS))
        ended = run(downloads)
        assert_right(downloads, ended)
        refused = sum(request.fault == "refused" for request in site.requests)
        assert CONNECTIONS - most <= refused < 3 * CONNECTIONS, "a refusal is heeded"
        assert "expired" not in ended.text
        assert "restarting" not in ended.stdout and "downloading it again" not in ended.stdout


@pytest.mark.parametrize("fault", ["reset", slow("cut"), "stall", slow("disconnect")])
def test_broken_connection_costs_its_range_only(tmp_path, release, fault):
    """The others go on, and what it had written is not downloaded again."""
    numbers = itertools.count(1)

    def plan(request):
        return fault if request.is_archive and next(numbers) in (2, 5) else "slow" if request.is_archive else None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, Connections=str(CONNECTIONS))
        ended = run(downloads)
        assert_right(downloads, ended)
        assert sum(request.fault == fault for request in site.requests) == 2
        ends = [end for _, end in ranges(site)]
        assert len(ends) <= CONNECTIONS + 4
        assert "restarting" not in ended.stdout and "downloading it again" not in ended.stdout


def test_cut_after_progress_goes_on_at_once(tmp_path):
    """Each pause would be a minute here."""
    release = small_release(tmp_path / "site", subjects=["S1", "S5"], size=300_000)
    numbers = itertools.count(1)
    with faulty_site(release, lambda request: "cut" if request.is_archive and next(numbers) % 4 == 0 else None) as site:
        downloads = Downloads(tmp_path / "root", site)
        ended = downloads.run("--subjects", "S1", "S5", H36M_RETRY_SECONDS="60", seconds=30)
        assert ended.returncode == 0 and len(list(downloads.archives.glob("*.tgz"))) == 10, ended.text
        assert sum(request.fault == "cut" for request in site.requests) > 2 and "retrying" not in ended.stdout


def test_silent_connection_costs_seconds_while_others_go_on(tmp_path, release):
    """What it lacks is requested again, and the limit for a silent site is never reached."""
    numbers = itertools.count(1)

    def plan(request):
        return "stall" if request.is_archive and next(numbers) in (2, 5) else "slow" if request.is_archive else None

    with faulty_site(release, plan) as site:
        site.bytes_per_second = 60_000
        downloads = Downloads(tmp_path / "root", site, Connections=str(CONNECTIONS))
        quick = {"H36M_QUIET_SECONDS": "1", "H36M_STALL_SECONDS": "300", "H36M_RETRY_SECONDS": "60"}
        ended = downloads.run(*OPTIONS, script=SCRIPT, **quick, seconds=30)
        assert_right(downloads, ended)
        assert sum(request.fault == "stall" for request in site.requests) == 2 and "retrying" not in ended.stdout


def test_one_response_without_ranges_drops_nothing(tmp_path, release):
    """Of several servers behind one address, one may send no ranges."""

    def plan(request):
        return {1: "cut", 2: "no ranges"}.get(request.number) if request.is_archive else None

    with faulty_site(release, plan) as site:
        downloads = Downloads(tmp_path / "root", site, Connections="1")
        ended = run(downloads)
        assert_right(downloads, ended)
        assert ranges(site)[-1][0] > SIZE // 3 and "restarting" not in ended.stdout


def test_archive_changed_between_ranges_restarts(tmp_path, release):
    """Bytes of two versions are never mixed."""

    def plan(request):
        if request.is_archive and request.number == 4:
            small_archive(release / "new", Archive(BOXES, "S1"), SIZE + 5000)
            (release / "new").replace(release / f"{NAME}.tgz")
            write_checksums(release)
            site.bytes_per_second = 10_000_000
        return slow_plan(request)

    with faulty_site(release, plan) as site:
        site.bytes_per_second = 800_000
        downloads = Downloads(tmp_path / "root", site, Connections=str(CONNECTIONS))
        ended = run(downloads)
        assert "restarting" in ended.stdout
        # The list of MD5s was read before; what counts is that the bytes are those of the new version.
        whole = downloads.archives / f"{NAME}.tgz.changed"
        assert whole.read_bytes() == (release / f"{NAME}.tgz").read_bytes(), ended.text


def half_downloaded(downloads: Downloads) -> PartialDownload:
    """Start a run, and kill it once it has noted some of the archive; return what it left."""
    process = downloads.start(*OPTIONS, script=SCRIPT)
    path = downloads.part(NAME)

    def has_some() -> bool:
        partial = PartialDownload(path)
        return partial.bytes_done > 0 and len(partial.missing or []) == CONNECTIONS

    wait_until(has_some, "a part of each range")
    process.send_signal(signal.SIGKILL)
    finish(process)
    wait_until(lambda: not axels_at(downloads.archives), "axel's end")
    return PartialDownload(path)


@pytest.mark.parametrize(
    "first, second",
    [
        ("requests", "requests"),
        pytest.param("requests", "axel", marks=needs_axel),
        pytest.param("axel", "requests", marks=needs_axel),
    ],
)
def test_killed_download_is_resumed_by_either_downloader(tmp_path, release, first, second):
    with faulty_site(release, slow_plan) as site:
        site.bytes_per_second = 100_000
        downloads = Downloads(tmp_path / "root", site, first, Connections=str(CONNECTIONS))
        left = half_downloaded(downloads)
        assert len(left.missing) == CONNECTIONS and left.bytes_done > 0
        site.requests.clear()
        site.bytes_per_second = 10_000_000
        downloads = Downloads(tmp_path / "root", site, second, Connections=str(CONNECTIONS))
        ended = run(downloads)
        assert_right(downloads, ended)
        by_second = [
            request for request in site.requests if request.is_archive and request.is_by_axel == (second == "axel")
        ]
        starts = {int(request.range.removeprefix("bytes=").partition("-")[0]) for request in by_second}
        assert starts >= {start for start, _ in left.missing}, "each goes on where it was"
        assert "restarting" not in ended.stdout and "downloading it again" not in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kill_at_any_moment_costs_no_byte_that_was_noted(tmp_path, release, seed):
    """With several connections the file has holes, and only its state says where."""
    chance = random.Random(seed)
    with faulty_site(release, slow_plan) as site:
        site.bytes_per_second = 60_000
        downloads = Downloads(tmp_path / "root", site, Connections=str(CONNECTIONS))
        content, noted = (release / f"{NAME}.tgz").read_bytes(), 0
        for _ in range(3):
            asked = len(ranges(site))
            process = downloads.start(*OPTIONS, script=SCRIPT)
            wait_until(lambda asked=asked: len(ranges(site)) > asked, "the first request")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.05, 1.5))
            process.kill()
            finish(process)
            left = PartialDownload(downloads.part(NAME))
            assert left.missing is None or left.bytes_done >= noted
            noted = left.bytes_done if left.missing is not None and left.size else 0
            if noted and left.path.exists():
                missing = {at for start, end in left.missing for at in range(start, end or len(content))}
                there = left.path.read_bytes()
                assert all(there[at] == content[at] for at in range(0, len(there), 97) if at not in missing)
        site.bytes_per_second = 10_000_000
        assert_right(downloads, run(downloads))


@needs_proc
@pytest.mark.slow
def test_memory_does_not_grow_with_the_archive(tmp_path):
    """24 connections and a large archive take a few megabytes more than one connection and a small one."""
    peaks = []
    for connections, megabytes in ((1, 4), (24, 60)):
        folder = tmp_path / f"site {connections}"
        folder.mkdir()
        small_archive(folder / f"{NAME}.tgz", Archive(BOXES, "S1"), megabytes * 1_000_000)
        write_checksums(folder)
        with faulty_site(folder) as site:
            downloads = Downloads(tmp_path / f"root {connections}", site, Connections=str(connections))
            process = downloads.start(*OPTIONS, script=SCRIPT)
            peaks.append(peak_memory(process))
            assert_right(downloads, finish(process))
    assert peaks[1] - peaks[0] < 30_000_000


def peak_memory(process) -> int:
    """Watch a process until it ends; return the most bytes of memory that it had."""
    peak = 0
    while process.poll() is None:
        try:
            found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        except OSError:
            break
        peak = int(found[1]) * 1000 if found else peak
        time.sleep(0.01)
    return peak
