#!/usr/bin/env python3
"""Rehearse the whole work at its true size, on a synthetic release:

    python3 benchmarks/rehearsal.py FOLDER --subjects S9 S11

makes a release with the real names, image sizes and frame counts (rehearsal_release.py), serves it on loopback, and
runs the scripts as a user would: both downloads with axel and with requests, extract, process, and each export; each of
them a second time. It prints a table of what each took and draws a picture; FOLDER gets both, and the figures as JSON.
Linux only. An interrupted rehearsal continues with the step that it had not finished.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from films import CODECS
from limited_site import site_process, write_configuration
from machine import ROOT, machine
from rehearsal_release import SUBJECT_WITH_SEGMENTS, frames_of, make_release

from export_all import FORMATS
from h36m.dataset import PROCESSED, SUBJECTS_WITH_GROUND_TRUTH
from h36m.parallel.cores import available_cores

DOWNLOADERS = ("axel", "requests")
# Bytes for each frame, as measured: of the archives or what is in them, and of the images where one frame in so many is
# kept.
ARCHIVE_BYTES_PER_FRAME = {"H.264": 7500, "MPEG-4": 8500}
IMAGE_BYTES, FRAMES_PER_IMAGE = 170_000, 8
SAMPLED = str(Path(__file__).with_name("sampled.py"))


class Step(NamedTuple):
    """A script with its arguments."""

    name: str
    command: list[str]
    statuses: tuple[int, ...] = (0,)  # with which it may end


def main(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.resolve()
    counts = frames_of(arguments.divide)
    frames = sum(sum(views.values()) for (subject, *_), views in counts.items() if subject in arguments.subjects)
    site = folder / "site"
    print(f"{machine()}\n{len(arguments.subjects)} subjects, {frames:,} frames of video, {arguments.codec}", flush=True)
    if not site.exists():
        require_disk(folder, frames, arguments.codec)
    figures_file = folder / "rehearsal.json"
    figures = json.loads(figures_file.read_text()) if figures_file.exists() else {"steps": {}}
    figures |= {"machine": machine(), "frames": frames, "subjects": arguments.subjects, "codec": arguments.codec}

    def take(step: Step, second: bool) -> None:
        key = f"{step.name}, second run" if second else step.name
        if key not in figures["steps"]:
            figures["steps"][key] = measure(step, folder)
            figures_file.write_text(json.dumps(figures))
            print(f"{key}: {figures['steps'][key]['wall']:.1f} s", flush=True)

    processed = folder / "data" / PROCESSED
    if "process_all.py" not in figures["steps"] or not processed.exists():
        if "download_all.py with axel" not in figures["steps"]:
            make_release(site, arguments.subjects, arguments.codec, arguments.divide, arguments.jobs)
        if site.exists():
            with site_process(site) as base_url:
                for downloader in DOWNLOADERS:
                    root = folder / "data"
                    # The second downloader's archives are the ones that are unpacked.
                    if f"download_all.py with {downloader}" not in figures["steps"]:
                        shutil.rmtree(root, ignore_errors=True)
                        write_configuration(root, base_url, downloader)
                    for step in downloads(root, site, downloader, arguments):
                        take(step, second=False)
                        take(step, second=True)
            shutil.rmtree(site)
    for step in later_steps(folder / "data", arguments):
        take(step, second=False)
        take(step, second=True)
    figures["sequences"] = len(list(processed.glob("*/*/annot.h5")))
    figures["images"] = len(list(processed.glob("*/*/imageSequence/*/*")))
    figures_file.write_text(json.dumps(figures))
    if not arguments.keep:
        shutil.rmtree(folder / "data")
    report(figures, folder)


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


def downloads(root: Path, site: Path, downloader: str, arguments: argparse.Namespace) -> list[Step]:
    options = ["--root", str(root), "--config", str(root / "config.ini"), "--checksums", str(site / "checksums.txt")]
    with_segments = [subject for subject in arguments.subjects if subject == SUBJECT_WITH_SEGMENTS]
    steps = [("download_all.py", arguments.subjects), ("download_seg_mat_gt_pl.py", with_segments)]
    return [
        Step(f"{script} with {downloader}", [script, *options, "--subjects", *subjects])
        for script, subjects in steps
        if subjects
    ]


def later_steps(root: Path, arguments: argparse.Namespace) -> list[Step]:
    """Return the steps from archives to exports."""
    options = ["--root", str(root), "--subjects", *arguments.subjects]
    # Only one subject has boxes: the others are named, and processed without them.
    others = len(arguments.subjects) > 1 and SUBJECT_WITH_SEGMENTS in arguments.subjects
    may_lack_boxes = (0, 1) if others else (0,)
    return [
        Step("extract_all.py", ["extract_all.py", *options, "--delete-archives"], may_lack_boxes),
        Step("process_all.py", ["process_all.py", *options, "--jobs", str(arguments.jobs)], may_lack_boxes),
        # 3dmppe and mmpose read frames that the default rule does not choose: they say so.
        *[Step(f"export_all.py {name}", ["export_all.py", name, *options], (0, 1)) for name in arguments.formats],
    ]


def measure(step: Step, folder: Path) -> dict[str, Any]:
    """Run a step; return its figures (see sampled.py) with the last lines that it printed."""
    file, log = folder / "step.json", folder / "step.log"
    command = [sys.executable, str(ROOT / step.command[0]), *step.command[1:]]
    with log.open("w") as output:
        subprocess.run([sys.executable, SAMPLED, file, folder, *command], check=True, stdout=output, stderr=output)
    figures = json.loads(file.read_text())
    figures["last_lines"] = log.read_text(errors="replace").splitlines()[-3:]
    if figures["status"] not in step.statuses:
        raise SystemExit(f"{' '.join(command)} ended with status {figures['status']}; see {log}")
    file.unlink()
    return figures


# -- the report --------------------------------------------------------------------------------------------------------


def report(figures: dict[str, Any], folder: Path) -> None:
    """Print the table and draw the picture, both into a folder."""
    lines = [
        "| step | wall s | CPU s | MB, largest process | MB, all | GB read | GB written | open files | second run s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, step in first_runs(figures).items():
        again = figures["steps"].get(f"{name}, second run")
        lines.append(
            f"| {name} | {step['wall']:.1f} | {step['cpu']:.1f} | {step['largest'] / 1e6:.0f} "
            f"| {step['together'] / 1e6:.0f} | {step['read'] / 1e9:.2f} | {step['written'] / 1e9:.2f} "
            f"| {step['files']} | {again['wall']:.2f} |"
        )
    lines.append(
        f"\n{figures['machine']}; {' '.join(figures['subjects'])}: {figures['sequences']} sequences, "
        f"{figures['frames']:,} frames of video ({figures['codec']}), {figures['images']:,} images"
    )
    text = "\n".join(lines)
    print(f"\n{text}")
    (folder / "rehearsal.md").write_text(text + "\n")
    draw(figures, folder / "rehearsal.png")


def first_runs(figures: dict[str, Any]) -> dict[str, dict]:
    return {name: step for name, step in figures["steps"].items() if not name.endswith("second run")}


def draw(figures: dict[str, Any], picture: Path) -> None:
    """Draw the time of each step as bars, and CPU and disk over time as lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = first_runs(figures)
    figure, (bars, cores, disk) = pyplot.subplots(3, 1, figsize=(11, 12), height_ratios=(1.4, 1, 1))
    names = [name.replace(".py", "") for name in steps]
    places = np.arange(len(names))
    again = [figures["steps"][f"{name}, second run"]["wall"] for name in steps]
    for shift, values, label in (
        (-0.2, [step["wall"] for step in steps.values()], "first run"),
        (0.2, again, "second run"),
    ):
        drawn = bars.barh(places + shift, values, 0.4, label=label)
        bars.bar_label(drawn, [f"{value:.1f}" for value in values], padding=3, fontsize=8)
    bars.set(yticks=places, yticklabels=names, xscale="log", xlabel="wall time, s (logarithmic)")
    bars.margins(x=0.12)
    bars.invert_yaxis()
    bars.legend(loc="lower right")
    start, first_use = 0.0, min(step["samples"][0][2] for step in steps.values() if step["samples"])
    for number, (name, step) in enumerate(figures["steps"].items()):
        if not step["samples"]:
            continue
        seconds, busy, used = np.array(step["samples"]).T
        # A point per hundredth of the step at most: the mean of the samples between.
        parts = np.array_split(np.arange(len(seconds)), min(100, len(seconds)))
        minutes = np.array([(start + seconds[part].mean()) / 60 for part in parts])
        cores.plot(minutes, [busy[part].mean() for part in parts], color=f"C{number // 2 % 10}", linewidth=1)
        disk.plot(minutes, [(used[part].mean() - first_use) / 1e9 for part in parts], color=f"C{number // 2 % 10}")
        if step["wall"] > 0.03 * sum(each["wall"] for each in figures["steps"].values()):
            middle = (start + step["wall"] / 2) / 60
            cores.text(middle, available_cores() * 1.03, name.replace(".py", ""), ha="center", va="bottom", fontsize=8)
        start += step["wall"]
    cores.set(ylabel="cores busy", ylim=(0, available_cores() * 1.2), xlabel="minutes")
    disk.set(ylabel="disk used since the first step, GB", xlabel="minutes")
    for axes in (cores, disk):
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"{len(figures['subjects'])} subjects, {figures['sequences']} sequences, {figures['frames']:,} frames "
        f"({figures['codec']}), {figures['images']:,} images\n{figures['machine']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(picture, dpi=90)


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
