#!/usr/bin/env python3
"""Measure extract_all.py against tar and tarfile, and download_all.py against axel:

    python3 benchmarks/transfer.py

makes an archive of about 500 MB of files that cannot be compressed, unpacks it in several ways, fetches it over
loopback with axel alone and with the script, and prints medians of wall seconds and their ratios. It needs axel, tar
and 6 GB in the temporary folder; takes two minutes.
"""

import argparse
import hashlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import ROOT, machine

from demo.site import serve
from h36m.dataset import KINDS, SUBJECTS_WITH_GROUND_TRUTH, VERIFIED_RECORD, VIDEOS, archive_name
from h36m.storage import Record

FILE_BYTES = 4_200_000  # about a video of the dataset
SUBJECTS = ("S1", "S5", "S6", "S7")
USERNAME, PASSWORD = "benchmark@example.org", "secret"
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


def make_archive(path: Path, subject: str, megabytes: int) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(megabytes * 1_000_000 // FILE_BYTES):
            member = tarfile.TarInfo(f"{subject}/Videos/Directions {number}.54138969.mp4")
            member.size = FILE_BYTES
            archive.addfile(member, io.BytesIO(os.urandom(FILE_BYTES)))


def run(*command) -> None:
    ended = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with status {ended.returncode}:\n{ended.stderr}")


def compare(title: str, ways: dict[str, tuple[Callable, Callable]], repeats: int) -> dict[str, float]:
    """Run some ways in turn, each after its preparation; print and return the medians of their wall seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name, (prepare, work) in ways.items():
            prepare()
            os.sync()  # what the one before has left to write is not this one's to wait for
            started = time.perf_counter()
            work()
            if repeat >= 0:  # the first round reads from the disk what the others find in memory
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\n{title}, medians of {repeats}\n\n| | wall s | all |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {medians[name]:.2f} | {' '.join(f'{value:.2f}' for value in values)} |")
    print(flush=True)
    return medians


def verdict(what: str, ratio: float, target: float) -> bool:
    print(f"- {what}: {ratio:.2f}, at most {target}: {'met' if ratio <= target else 'MISSED'}", flush=True)
    return ratio <= target


def compare_unpacking(folder: Path, repeats: int) -> bool:
    root = folder / "root"
    archive = root / "archives" / f"{archive_name(VIDEOS, SUBJECTS[0])}.tgz"
    extracted, elsewhere = root / "extracted", folder / "elsewhere"

    def empty() -> None:
        for place in (extracted, elsewhere):
            shutil.rmtree(place, ignore_errors=True)
        elsewhere.mkdir()

    def extract(jobs: int, *subjects: str) -> Callable[[], None]:
        # The other six archives of a subject are absent, which makes the status 1: what counts is that this one came.
        def work() -> None:
            options = ["--root", root, "--jobs", jobs, "--quiet", "--subjects", *subjects]
            subprocess.run([sys.executable, ROOT / "extract_all.py", *map(str, options)], stderr=subprocess.DEVNULL)
            if not all((extracted / subject / VIDEOS).is_dir() for subject in subjects):
                raise SystemExit("extract_all.py did not unpack the archives")

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
    several = compare(
        f"Unpacking {len(SUBJECTS)} such archives",
        {f"extract_all.py --jobs {jobs}": (empty, extract(jobs, *SUBJECTS)) for jobs in (1, 2)},
        repeats,
    )
    ours = one["extract_all.py --jobs 1"]
    met = verdict("one job, of two passes of tarfile", ours / one["two passes of tarfile"], 0.55)
    met &= verdict("one job, of tar xzf", ours / one["tar xzf"], 0.9)
    met &= verdict("two jobs, of one job", several["extract_all.py --jobs 2"] / several["extract_all.py --jobs 1"], 0.6)
    empty()
    return met


def compare_fetching(folder: Path, repeats: int) -> bool:
    release, root = folder / "root" / "archives", folder / "fetched"
    name = f"{archive_name(VIDEOS, SUBJECTS[0])}.tgz"
    lines = []
    for kind in KINDS:
        path = release / f"{archive_name(kind, SUBJECTS[0])}.tgz"
        if not path.exists():
            with tarfile.open(path, "w:gz") as archive:
                archive.addfile(tarfile.TarInfo(f"{SUBJECTS[0]}/a"))
        lines.append(f"{hashlib.md5(path.read_bytes()).hexdigest()}  archives/{path.name}\n")
    (folder / "checksums.txt").write_text("".join(lines))
    root.mkdir()
    alone = folder / "alone.tgz"
    with serve(release, USERNAME, PASSWORD) as site:
        (root / "config.ini").write_text(
            f"[General]\nUsername = {USERNAME}\nPassword = {PASSWORD}\nBaseURL = {site.base_url}\nDownloader = axel\n"
        )
        url = f"{site.base_url}filebrowser.php?download=1&filepath=Videos&filename=SubjectSpecific_1.tgz"
        header = f"Cookie: PHPSESSID={site.log_in()}"
        script = [sys.executable, ROOT / "download_all.py", "--root", root, "--config", root / "config.ini", "--quiet"]
        script += ["--checksums", folder / "checksums.txt", "--subjects", SUBJECTS[0]]

        def axel_and_md5() -> None:
            run("axel", "-q", "-n", "24", "-H", header, "-o", alone, url)
            run(sys.executable, "-c", MD5_PASS, alone)

        run(*script)
        medians = compare(
            f"Fetching an archive of {(release / name).stat().st_size / 1e6:.0f} MB over loopback",
            {
                "axel alone and one MD5 pass": (lambda: alone.unlink(missing_ok=True), axel_and_md5),
                "download_all.py": (lambda: (root / "archives" / name).unlink(), lambda: run(*script)),
            },
            repeats,
        )
    return verdict(
        "of axel alone and one MD5 pass", medians["download_all.py"] / medians["axel alone and one MD5 pass"], 1.1
    )


def time_second_run(folder: Path, repeats: int) -> bool:
    archives = folder / "checked" / "archives"
    archives.mkdir(parents=True)
    record = Record(archives / VERIFIED_RECORD)
    checksums = folder / "none.txt"
    checksums.write_text("")
    for subject in SUBJECTS_WITH_GROUND_TRUTH:
        for kind in KINDS[:-1]:
            path = archives / f"{archive_name(kind, subject)}.tgz"
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
    parser.add_argument("--megabytes", type=int, default=500, help="of an archive (default: 500)")
    parser.add_argument("--repeats", type=int, default=5, help="medians are of so many runs (default: 5)")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as folder:
        folder = Path(folder)
        (folder / "root" / "archives").mkdir(parents=True)
        for subject in SUBJECTS:
            make_archive(
                folder / "root" / "archives" / f"{archive_name(VIDEOS, subject)}.tgz", subject, arguments.megabytes
            )
        met = compare_unpacking(folder, arguments.repeats)
        met &= compare_fetching(folder, arguments.repeats)
        met &= time_second_run(folder, arguments.repeats)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
