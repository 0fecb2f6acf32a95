#!/usr/bin/env python3
"""Measure process_all.py against the older way and against a bare decode:

    python3 benchmarks/process.py

makes full-size views of its own (1000x1002, 50 frames/s), H.264 with a GOP of 250 and two B-frames and MPEG-4 Part 2
with a GOP of 12, and prints medians and ratios of CPU seconds, wall seconds and peak memory. It needs the ffmpeg
program and about 6 GB in the temporary folder, because `--all-frames` writes every frame. Takes half an hour on two
cores; `--ways "40 mm" "40 mm, unsynced"` compares only what it costs that images survive a power cut.
"""

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from common import ROOT, machine, measure, unsynced_scripts, verdict
from films import CODECS, FRAMES_PER_SECOND, HEIGHT, HEIGHTS, WIDTH, cropped, film

from h36m import dataset
from h36m.dataset import JOINTS, image_name
from h36m.files.cdf import pycdf
from h36m.metadata import load_metadata
from h36m.parallel.cores import available_cores

SPARE_FRAMES = 4  # videos are a few frames longer than the poses
SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
# A joint moves 5.2 mm a frame, so 40 mm are passed every eighth frame.
MM_PER_FRAME = 5.2
EVERY = 64
OLDER_QSCALE = 3  # the older tools' `-qscale:v`
# (codec, what is measured, against what, measure, target): what the ratios have to be.
TARGETS = (
    ("H.264", "every 64th", "older way", "cpu", 0.105),
    ("H.264", "every 64th", "bare decode", "cpu", 0.64),
    ("H.264", "every 64th", "older way", "wall", 0.1),
    ("H.264", "40 mm", "older way", "cpu", 0.205),
    ("H.264", "all frames", "older way", "cpu", 0.85),
    ("H.264", "all frames", "older way", "image_mb", 1.05),
    # What it costs that images survive a power cut.
    ("H.264", "40 mm", "40 mm, unsynced", "wall", 1.05),
    ("MPEG-4", "40 mm", "40 mm, unsynced", "wall", 1.05),
    ("MPEG-4", "every 64th", "older way", "cpu", 0.05),
    ("MPEG-4", "40 mm", "older way", "cpu", 0.19),
    ("MPEG-4", "all frames", "older way", "cpu", 0.77),
    ("MPEG-4", "all frames", "older way", "image_mb", 1.05),
)
MEMORY_TARGET_MB = 250


class Cost(NamedTuple):
    """What a way took."""

    cpu: float  # seconds, user and system
    wall: float  # seconds
    memory: float  # MB, peak of the largest process
    image_mb: float  # of images written


# --- the views ---


def make_videos(folder: Path, frames: int) -> dict[str, dict[int, Path]]:
    """Write the same film with each codec in each height; return the files by codec and height."""
    paths: dict[str, dict[int, Path]] = {codec: {} for codec in CODECS}
    containers, streams = {}, {}
    for (codec, (encoder, options)), height in itertools.product(CODECS.items(), HEIGHTS):
        key = codec, height
        paths[codec][height] = folder / f"{codec} {height}.mp4"
        containers[key] = av.open(str(paths[codec][height]), "w")
        streams[key] = containers[key].add_stream(encoder, rate=FRAMES_PER_SECOND, options=options)
        streams[key].width, streams[key].height, streams[key].pix_fmt = WIDTH, height, "yuv420p"
    for frame in film(frames):
        for key, container in containers.items():
            container.mux(streams[key].encode(cropped(frame, key[1])))
    for key, container in containers.items():
        container.mux(streams[key].encode())
        container.close()
    return paths


def make_sequences(extracted: Path, video_of: dict[int, Path], frames: int, subjects: list[str]) -> list[Path]:
    """Lay out Walking-1 of some subjects as extract_all.py does, four views each; return the videos.

    Args:
        video_of: by height, since the cameras have different ones.
    """
    metadata = load_metadata()
    number = np.arange(frames - SPARE_FRAMES)[:, None, None]
    pose_3d = np.zeros((len(number), JOINTS, 3))
    pose_3d += np.linspace(-500, 500, JOINTS)[:, None] * np.array([0.3, 1.0, 0.1]) + np.array([0, 0, 5000])
    pose_3d[..., :1] += MM_PER_FRAME * number - MM_PER_FRAME * len(number) / 2
    pose_2d = 1145 * pose_3d[..., :2] / pose_3d[..., 2:] + np.array([512, 515])
    videos = []
    for subject in subjects:
        base = metadata.sequences[subject, 14, 1]
        for camera in metadata.camera_ids:
            for kind, poses in (
                (dataset.POSES_2D, pose_2d),
                (dataset.POSES_3D, pose_3d),
                (dataset.POSES_3D_UNIVERSAL, pose_3d),
            ):
                write_cdf(extracted / subject / kind / f"{base}.{camera}.cdf", poses)
            target = extracted / subject / dataset.VIDEOS / f"{base}.{camera}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            height, _ = metadata.image_sizes[subject, camera]
            shutil.copyfile(video_of[height], target)
            videos.append(target)
        write_cdf(extracted / subject / dataset.POSES_3D_WORLD / f"{base}.cdf", pose_3d)
    return videos


def write_cdf(path: Path, poses: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pycdf.CDF(str(path), "") as cdf:
        cdf["Pose"] = poses.reshape(1, len(poses), -1).astype(np.float32)


# --- what is measured ---


def older_way(videos: list[Path], wanted: range, folder: Path) -> Cost:
    """Hand every view to ffmpeg, which writes all its frames, and keep some of them."""
    costs = []
    for video in videos:
        with tempfile.TemporaryDirectory(dir=folder) as all_frames:
            kept = folder / "older" / video.parent.parent.name / video.stem
            kept.mkdir(parents=True)
            images = str(Path(all_frames) / "img_%06d.jpg")
            command = ["ffmpeg", "-nostats", "-loglevel", "error", "-i", str(video)]
            costs.append(cost_of(Path(all_frames), *command, "-qscale:v", OLDER_QSCALE, images))
            for index in wanted:
                (Path(all_frames) / image_name(index)).rename(kept / image_name(index))
    shutil.rmtree(folder / "older")
    return total(costs)


def bare_decode(videos: list[Path], jobs: int) -> Cost:
    """Decode every view with one thread, as many at a time as process_all.py does: busy neighbours cost CPU time."""
    command = ["ffmpeg", "-nostats", "-loglevel", "error", "-threads", "1", "-i"]
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        costs = list(pool.map(lambda video: cost_of(None, *command, video, "-f", "null", "-"), videos))
    return total(costs)._replace(wall=time.monotonic() - started)


def process_all(root: Path, subjects: list[str], jobs: int, *selection: str, scripts: Path = ROOT) -> Cost:
    os.sync()  # data that the previous run has not written to the disk yet must not delay this one
    script = [sys.executable, str(scripts / "process_all.py"), "--root", str(root), "--quiet"]
    processed = root / "processed"
    cost = cost_of(processed, *script, "--subjects", *subjects, "--actions", "Walking-1", "--jobs", jobs, *selection)
    images = len(list(processed.rglob("*.jpg")))
    print(f"    process_all.py {' '.join(selection)}: {images} images, {cost.cpu:.2f} CPU s", flush=True)
    shutil.rmtree(processed)
    return cost


def cost_of(folder: Path | None, *command) -> Cost:
    """Return what a command took, which writes images below a folder."""
    cost = measure(*command)
    images = folder.rglob("*.jpg") if folder else ()
    return Cost(cost.cpu, cost.wall, cost.memory, sum(image.stat().st_size for image in images) / 1e6)


def total(costs: list[Cost]) -> Cost:
    """Return the sums of all costs, but the largest memory."""
    cpu, wall, memory, image_mb = zip(*costs, strict=True)
    return Cost(sum(cpu), sum(wall), max(memory), sum(image_mb))


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


# --- the report ---


def print_costs(codec: str, costs: dict[str, Cost], views: int, frames: int) -> bool:
    """Print the medians of one codec; return whether all its targets are met."""
    print(f"\n{codec}: {views} views of {frames} frames\n")
    print("| | CPU s | wall s | peak MB of a process | MB of images | CPU, of the older way | wall, of the older way |")
    print("|---|---|---|---|---|---|---|")
    older = costs.get("older way")
    for name, cost in costs.items():
        ratios = f"{cost.cpu / older.cpu:.3f} | {cost.wall / older.wall:.3f}" if older else " | "
        print(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} | {cost.memory:.0f} | {cost.image_mb:.0f} | {ratios} |")
    print()
    met = True
    for of_codec, name, against, unit, target in TARGETS:
        if of_codec == codec and name in costs and against in costs:
            ratio = getattr(costs[name], unit) / getattr(costs[against], unit)
            met &= verdict(f"{name}, {unit} of the {against}", ratio, target)
    for name in {"every 64th", "40 mm"} & costs.keys():
        met &= verdict(f"{name}, peak memory of a process, MB", costs[name].memory, MEMORY_TARGET_MB)
    return met


def ffmpeg_version() -> str:
    return subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout.split()[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000, help="of a view (default: 1000)")
    parser.add_argument("--sequences", type=int, default=6, choices=range(1, len(SUBJECTS) + 1), help="default: 6")
    parser.add_argument("--repeats", type=int, default=3, help="medians are of so many runs (default: 3)")
    parser.add_argument(
        "--jobs", type=int, default=available_cores(), help="of process_all.py (default: the number of cores)"
    )
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS), help="default: both")
    parser.add_argument("--ways", nargs="+", help='compare these only, such as "40 mm" "40 mm, unsynced"')
    arguments = parser.parse_args()
    subjects = list(SUBJECTS[-2::-1] if arguments.sequences == 1 else SUBJECTS)[: arguments.sequences]
    met = True
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as folder:
        folder = Path(folder)
        print(f"{machine('av')}, ffmpeg {ffmpeg_version()}", flush=True)
        videos, unsynced = make_videos(folder, arguments.frames), unsynced_scripts(folder / "unsynced")
        for codec, paths in videos.items():
            seconds = arguments.frames / FRAMES_PER_SECOND
            print(f"{codec}: {paths[HEIGHT].stat().st_size * 8 / 1e6 / seconds:.1f} Mbit/s", flush=True)
        for codec in arguments.codecs:
            root = folder / codec
            views = make_sequences(root / "extracted", videos[codec], arguments.frames, subjects)
            wanted = range(0, arguments.frames - SPARE_FRAMES, EVERY)
            ways = {
                "older way": partial(older_way, views, wanted, folder),
                "bare decode": partial(bare_decode, views, arguments.jobs),
                "every 64th": partial(process_all, root, subjects, arguments.jobs, "--every", str(EVERY)),
                "40 mm": partial(process_all, root, subjects, arguments.jobs, "--movement", "40"),
                "all frames": partial(process_all, root, subjects, arguments.jobs, "--all-frames"),
                "40 mm, unsynced": partial(
                    process_all, root, subjects, arguments.jobs, "--movement", "40", scripts=unsynced
                ),
            }
            runs: dict[str, list[Cost]] = {name: [] for name in ways if name in (arguments.ways or ways)}
            for repeat in range(arguments.repeats):
                print(f"  {codec}, run {repeat + 1} of {arguments.repeats}", flush=True)
                for name, costs_of_run in runs.items():
                    costs_of_run.append(ways[name]())
            costs = {name: median(of_name) for name, of_name in runs.items()}
            met &= print_costs(codec, costs, len(views), arguments.frames)
            shutil.rmtree(root)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
