#!/usr/bin/env python3
"""Rehearse the whole work at its true size, on a synthetic release:

    python3 benchmarks/rehearsal.py FOLDER --subjects S9 S11

makes a release with the real names, image sizes and frame counts (rehearsal_release.py), serves it on loopback, and
runs the scripts as a user would: both downloads with axel and with requests, extract, process, and each export; each of
them a second time. It prints what each took. Linux only.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from common import ROOT, machine, measure, read_frame_counts
from films import CODECS
from limited_site import site_process, write_configuration
from rehearsal_release import make_release

from export_all import FORMATS
from h36m.dataset import PROCESSED, SUBJECTS_WITH_GROUND_TRUTH
from h36m.parallel.cores import available_cores

DOWNLOADERS = ("requests", "axel")
# Bytes for each frame, as measured: of the archives or what is in them, and of the images where one frame in so many is
# kept.
ARCHIVE_BYTES_PER_FRAME = {"H.264": 7500, "MPEG-4": 8500}
IMAGE_BYTES, FRAMES_PER_IMAGE = 170_000, 3


class Step(NamedTuple):
    """A script with its arguments."""

    name: str
    command: list
    statuses: tuple[int, ...] = (0,)  # with which it may end


def main(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.resolve()
    site, root = folder / "site", folder / "data"
    counts = read_frame_counts(arguments.divide)
    frames = sum(sum(each.frames.values()) for (subject, *_), each in counts.items() if subject in arguments.subjects)
    print(f"{machine()}\n{len(arguments.subjects)} subjects, {frames:,} frames of video, {arguments.codec}", flush=True)
    require_disk(folder, frames, arguments.codec)
    shutil.rmtree(site, ignore_errors=True)
    make_release(site, arguments.subjects, arguments.codec, arguments.divide, arguments.jobs)
    print("\n| step | wall s | CPU s | MB, largest process | MB, all | second run s |\n|---|---|---|---|---|---|")
    with site_process(site) as base_url:
        for downloader in DOWNLOADERS:  # the archives of the last one are unpacked
            shutil.rmtree(root, ignore_errors=True)
            write_configuration(root, base_url, downloader)
            for step in downloads(root, site, downloader, arguments.subjects):
                take(step, folder)
    shutil.rmtree(site)
    for step in later_steps(root, arguments):
        take(step, folder)
    sequences = len(list((root / PROCESSED).glob("*/*/annot.h5")))
    images = len(list((root / PROCESSED).glob("*/*/imageSequence/*/*")))
    print(f"\n{sequences} sequences, {images:,} images")
    if not arguments.keep:
        shutil.rmtree(root)


def require_disk(folder: Path, frames: int, codec: str) -> None:
    """Print what the rehearsal needs; exit if the disk has less."""
    archives = frames * ARCHIVE_BYTES_PER_FRAME[codec]
    # The site's archives and the downloaded ones; later the unpacked ones, images, and exports.
    needed = max(2 * archives, archives + frames / FRAMES_PER_IMAGE * IMAGE_BYTES + frames * 3500)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    print(f"needs {needed / 1e9:.0f} GB of disk at most; {free / 1e9:.0f} GB are free", flush=True)
    if free < needed:
        raise SystemExit(f"{folder}: not enough disk space; choose fewer --subjects")


def downloads(root: Path, site: Path, downloader: str, subjects: list[str]) -> list[Step]:
    options = ["--root", root, "--config", root / "config.ini", "--checksums", site / "checksums.txt", "--subjects"]
    scripts = ("download_all.py", "download_seg_mat_gt_pl.py")
    return [Step(f"{script} with {downloader}", [script, *options, *subjects]) for script in scripts]


def later_steps(root: Path, arguments: argparse.Namespace) -> list[Step]:
    """Return the steps from archives to exports."""
    options = ["--root", root, "--subjects", *arguments.subjects]
    return [
        Step("extract_all.py", ["extract_all.py", *options, "--delete-archives"]),
        Step("process_all.py", ["process_all.py", *options, "--jobs", arguments.jobs]),
        # 3dmppe and mmpose read frames that the default rule does not choose: they say so.
        *[Step(f"export_all.py {name}", ["export_all.py", name, *options], (0, 1)) for name in arguments.formats],
    ]


def take(step: Step, folder: Path) -> None:
    """Run a step twice; print a row of the table."""
    script, *options = step.command
    command = [sys.executable, ROOT / script, *options]
    first, second = (measure(*command, statuses=step.statuses, log=folder / "step.log") for _ in range(2))
    megabytes = f"{first.memory:.0f} | {first.together:.0f}"
    print(f"| {step.name} | {first.wall:.1f} | {first.cpu:.1f} | {megabytes} | {second.wall:.2f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for everything; on a disk with enough space")
    parser.add_argument(
        "--subjects",
        nargs="+",
        choices=SUBJECTS_WITH_GROUND_TRUTH,
        default=list(SUBJECTS_WITH_GROUND_TRUTH),
        metavar="S9",
        help="default: all seven",
    )
    parser.add_argument("--codec", choices=CODECS, default="H.264", help="of the videos; default: H.264")
    parser.add_argument("--divide", type=int, default=1, metavar="N", help="make a release of an N-th of the frames")
    parser.add_argument("--formats", nargs="*", choices=FORMATS, default=list(FORMATS), help="exports; default: all")
    parser.add_argument("--jobs", type=int, default=available_cores(), metavar="N", help="default: the number of cores")
    parser.add_argument("--keep", action="store_true", help="keep extracted/, processed/ and exported/ at the end")
    main(parser.parse_args())
