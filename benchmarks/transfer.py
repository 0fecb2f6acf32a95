#!/usr/bin/env python3
"""Measure extract_all.py against tar and tarfile, and download_all.py against axel:

    python3 benchmarks/transfer.py

unpacks an archive of 500 MB in several ways; downloads one of 300 MB over loopback with axel alone and with the script
and either downloader, from a site without a limit and from one that limits each connection to 2 MB/s; and prints
medians of wall and CPU seconds and their ratios. `--only download` leaves the rest out. It needs axel, tar and 6 GB in
the temporary folder; takes four minutes.
"""

import argparse
import hashlib
import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import ROOT, machine, unsynced_scripts, verdict
from limited_site import log_in, site_process, write_configuration

from h36m.dataset import (
    ARCHIVES,
    BOXES,
    KIND_FACTS,
    KINDS,
    SUBJECTS_WITH_GROUND_TRUTH,
    VERIFIED_RECORD,
    VIDEOS,
    Archive,
    archive_file,
)
from h36m.storage import Record

FILE_BYTES = 4_200_000  # about a video of the dataset
SUBJECTS = ("S1", "S5", "S6", "S7")
UNPACKED_MEGABYTES, FETCHED_MEGABYTES = 500, 300
BYTES_PER_SECOND, CONNECTIONS = 2_000_000, 24  # of each connection; the default of `Connections`
LARGEST_ARCHIVE = 5_000_000_000  # for the second run, which must not depend on it

# What the older tools do: read the list of members, then unpack.
TWO_PASSES = """
import sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    archive.getnames()
with tarfile.open(sys.argv[1]) as archive:
    archive.extractall(sys.argv[2])
"""
MD5_PASS = """
import hashlib, sys
md5 = hashlib.md5()
with open(sys.argv[1], "rb", buffering=0) as file:
    while chunk := file.read(1 << 20):
        md5.update(chunk)
"""
SYNC = """
import os, sys
os.fsync(os.open(sys.argv[1], os.O_RDONLY))
"""


# Of bytes with 6 bits of information, gzip makes three quarters; of random ones, blocks that are only stored.
SIX_BITS = bytes(byte & 0x3F for byte in range(256))


def make_archive(path: Path, archive: Archive, size: int, is_compressed: bool = False) -> None:
    """Make an archive of files of about this many bytes, which can be compressed somewhat, or not at all."""
    folder = f"{archive.subject}/{KIND_FACTS[archive.kind].inner_folder}"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number, start in enumerate(range(0, size, FILE_BYTES), start=1):
            member = tarfile.TarInfo(f"{folder}/Directions {number}.54138969{KIND_FACTS[archive.kind].extension}")
            member.size = min(FILE_BYTES, size - start)
            content = os.urandom(member.size)
            tar.addfile(member, io.BytesIO(content.translate(SIX_BITS) if is_compressed else content))


def write_release(folder: Path, sizes: dict[Archive, int]) -> None:
    """Make a site's archives, with the given bytes, and `checksums.txt` beside them."""
    folder.mkdir()
    lines = []
    for archive, size in sizes.items():
        path = folder / archive.file_name
        make_archive(path, archive, size)
        lines.append(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {ARCHIVES}/{path.name}\n")
    (folder / "checksums.txt").write_text("".join(lines))


# As for most users: the first round, which does not count, leaves compiled modules for the others.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(*command) -> None:
    ended = subprocess.run(
        [*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with status {ended.returncode}:\n{ended.stderr}")


def compare(title: str, ways: dict[str, tuple[Callable, Callable]], repeats: int) -> dict[str, float]:
    """Run some ways in turn, each after its preparation; print medians, and return those of their wall seconds.

    CPU seconds are those of the processes that a way starts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name, (prepare, work) in ways.items():
            prepare()
            os.sync()  # data that the previous one has not written to the disk yet must not delay this one
            started, cpu_before = time.perf_counter(), cpu_seconds_of_children()
            work()
            if repeat >= 0:  # the first round reads from the disk what the others find in memory
                seconds[name].append(time.perf_counter() - started)
                cpu_seconds[name].append(cpu_seconds_of_children() - cpu_before)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\n{title}, medians of {repeats}\n\n| | wall s | CPU s | all wall s |\n|---|---|---|---|")
    for name, values in seconds.items():
        all_values = " ".join(f"{value:.2f}" for value in values)
        print(f"| {name} | {medians[name]:.2f} | {statistics.median(cpu_seconds[name]):.2f} | {all_values} |")
    print(flush=True)
    return medians


def cpu_seconds_of_children() -> float:
    """Return the CPU seconds of all processes that have ended and were started here, or by one of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare_unpacking(folder: Path, repeats: int, megabytes: int) -> bool:
    root = folder / "root"
    (root / ARCHIVES).mkdir(parents=True)
    for subject in SUBJECTS:
        make_archive(archive_file(root, Archive(VIDEOS, subject)), Archive(VIDEOS, subject), megabytes * 1_000_000)
    archive, compressed = (archive_file(root, Archive(kind, SUBJECTS[0])) for kind in (VIDEOS, BOXES))
    make_archive(compressed, Archive(BOXES, SUBJECTS[0]), megabytes * 1_000_000, is_compressed=True)
    extracted, elsewhere = root / "extracted", folder / "elsewhere"

    def empty() -> None:
        for place in (extracted, elsewhere):
            shutil.rmtree(place, ignore_errors=True)
        elsewhere.mkdir()

    unsynced = unsynced_scripts(folder / "unsynced")

    def extract(
        jobs: int, *subjects: str, scripts: Path = ROOT, and_sync: bool = False, kind: str = VIDEOS
    ) -> Callable[[], None]:
        def work() -> None:
            options = ["--root", root, "--jobs", jobs, "--quiet", "--kinds", kind, "--subjects", *subjects]
            run(sys.executable, scripts / "extract_all.py", *options)
            if and_sync:
                run("sync", "--file-system", extracted)

        return work

    one = compare(
        f"Unpacking an archive of {archive.stat().st_size / 1e6:.0f} MB",
        {
            "two passes of tarfile": (empty, lambda: run(sys.executable, "-c", TWO_PASSES, archive, elsewhere)),
            "tar xzf": (empty, lambda: run("tar", "xzf", archive, "-C", elsewhere)),
            "extract_all.py --jobs 1": (empty, extract(1, SUBJECTS[0])),
        },
        repeats,
    )
    smaller = compare(
        f"Unpacking an archive of {compressed.stat().st_size / 1e6:.0f} MB that gzip has compressed",
        {
            "tar xzf": (empty, lambda: run("tar", "xzf", compressed, "-C", elsewhere)),
            "extract_all.py --jobs 1": (empty, extract(1, SUBJECTS[0], kind=BOXES)),
        },
        repeats,
    )
    ways = {f"extract_all.py --jobs {jobs}": (empty, extract(jobs, *SUBJECTS)) for jobs in (1, 2)}
    ways["the same two jobs without syncing"] = (empty, extract(2, *SUBJECTS, scripts=unsynced))
    ways["without syncing, and sync when they end"] = (
        empty,
        extract(2, *SUBJECTS, scripts=unsynced, and_sync=True),
    )
    several = compare(f"Unpacking {len(SUBJECTS)} archives of {archive.stat().st_size / 1e6:.0f} MB", ways, repeats)
    ours = one["extract_all.py --jobs 1"]
    met = verdict("one job, of two passes of tarfile", ours / one["two passes of tarfile"], 0.55)
    met &= verdict("one job, of tar xzf", ours / one["tar xzf"], 0.9)
    met &= verdict("one job, of tar xzf, compressed", smaller["extract_all.py --jobs 1"] / smaller["tar xzf"], 0.9)
    met &= verdict("two jobs, of one job", several["extract_all.py --jobs 2"] / several["extract_all.py --jobs 1"], 0.6)
    two_jobs = several["extract_all.py --jobs 2"]
    met &= verdict("syncing, of the same without", two_jobs / several["the same two jobs without syncing"], 1.05)
    until_on_disk = several["without syncing, and sync when they end"]
    met &= verdict("syncing, of the same without and sync when they end", two_jobs / until_on_disk, 1.05)
    empty()
    return met


def script_way(release: Path, root: Path, base_url: str, downloader: str) -> tuple[Callable, Callable]:
    """Return how to download the videos' archive with the script: what to do before, and the run itself."""
    config = write_configuration(root, base_url, downloader)
    command = [sys.executable, ROOT / "download_all.py", "--root", root, "--config", config, "--quiet"]
    command += ["--checksums", release / "checksums.txt", "--subjects", SUBJECTS[0]]
    target = archive_file(root, Archive(VIDEOS, SUBJECTS[0]))
    return lambda: target.unlink(missing_ok=True), lambda: run(*command)


def compare_downloading(folder: Path, repeats: int, megabytes: int) -> bool:
    release, alone = folder / "release", folder / "alone.tgz"
    # Only the videos are timed: all else is downloaded in the first round, which does not count.
    write_release(
        release,
        {Archive(kind, SUBJECTS[0]): 1000 for kind in KINDS} | {Archive(VIDEOS, SUBJECTS[0]): megabytes * 1_000_000},
    )
    size = (release / Archive(VIDEOS, SUBJECTS[0]).file_name).stat().st_size
    title = f"Downloading an archive of {size / 1e6:.0f} MB over loopback"

    with site_process(release) as base_url:
        url = f"{base_url}filebrowser.php?download=1&filepath=Videos&filename=SubjectSpecific_1.tgz"
        header = f"Cookie: PHPSESSID={log_in(base_url)}"

        def axel_and_md5() -> None:
            run("axel", "-q", "-n", CONNECTIONS, "-H", header, "-o", alone, url)
            run(sys.executable, "-c", MD5_PASS, alone)

        def axel_md5_and_sync() -> None:
            axel_and_md5()
            run(sys.executable, "-c", SYNC, alone)

        free = compare(
            f"{title}, no limit",
            {
                "axel alone and one MD5 pass": (lambda: alone.unlink(missing_ok=True), axel_and_md5),
                # What the script does too: its archives survive a power cut.
                "axel alone, one MD5 pass and fsync": (lambda: alone.unlink(missing_ok=True), axel_md5_and_sync),
                "axel": script_way(release, folder / "axel", base_url, "axel"),
                "requests": script_way(release, folder / "requests", base_url, "requests"),
            },
            repeats,
        )
    with site_process(release, BYTES_PER_SECOND) as base_url:
        limited = compare(
            f"{title}, each connection limited to {BYTES_PER_SECOND / 1e6:.0f} MB/s, {CONNECTIONS} connections",
            {
                "axel": script_way(release, folder / "limited axel", base_url, "axel"),
                "requests": script_way(release, folder / "limited requests", base_url, "requests"),
            },
            repeats,
        )
    limit = size / (BYTES_PER_SECOND * CONNECTIONS)
    print(f"The limit's own time is {limit:.2f} s.\n")
    alone_and_md5, synced = free["axel alone and one MD5 pass"], free["axel alone, one MD5 pass and fsync"]
    met = verdict("no limit, axel, of axel alone and one MD5 pass", free["axel"] / alone_and_md5, 1.1)
    met &= verdict("no limit, requests, of axel alone and one MD5 pass", free["requests"] / alone_and_md5, 1.0)
    met &= verdict("no limit, requests, of axel alone, one MD5 pass and fsync", free["requests"] / synced, 1.0)
    met &= verdict("limited, requests, of axel", limited["requests"] / limited["axel"], 1.05)
    met &= verdict("limited, axel, of the limit's own time", limited["axel"] / limit, 1.15)
    met &= verdict("limited, requests, of the limit's own time", limited["requests"] / limit, 1.15)
    return met


def time_second_run(folder: Path, repeats: int) -> bool:
    archives = folder / "checked" / "archives"
    archives.mkdir(parents=True)
    record = Record(archives / VERIFIED_RECORD)
    checksums = folder / "none.txt"
    checksums.write_text("")
    for subject in SUBJECTS_WITH_GROUND_TRUTH:
        for kind in KINDS[:-1]:
            path = archives / Archive(kind, subject).file_name
            with path.open("wb") as file:
                file.truncate(LARGEST_ARCHIVE)  # a hole: as long as a real one, and opening it would show
            record.add(path)
    script = [sys.executable, ROOT / "download_all.py", "--root", archives.parent, "--checksums", checksums]
    medians = compare(
        "A second run over checked archives of 5 GB each",
        {"download_all.py": (lambda: None, lambda: run(*script))},
        repeats,
    )
    return verdict("seconds of a second run", medians["download_all.py"], 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["unpacking", "download", "second-run"], help="one part (default: all)")
    parser.add_argument(
        "--megabytes",
        type=int,
        help=f"of an archive (default: {UNPACKED_MEGABYTES} to unpack, {FETCHED_MEGABYTES} to download)",
    )
    parser.add_argument("--repeats", type=int, default=5, help="medians are of so many runs (default: 5)")
    arguments = parser.parse_args()
    only, repeats, megabytes = arguments.only, arguments.repeats, arguments.megabytes
    print(machine())
    met = True
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as name:
        folder = Path(name)
        if only in (None, "unpacking"):
            met &= compare_unpacking(folder, repeats, megabytes or UNPACKED_MEGABYTES)
        if only in (None, "download"):
            met &= compare_downloading(folder, repeats, megabytes or FETCHED_MEGABYTES)
        if only in (None, "second-run"):
            met &= time_second_run(folder, repeats)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
