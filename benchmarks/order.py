#!/usr/bin/env python3
"""Calculate how long process_all.py takes on more cores, and how that depends on the order of the sequences:

    python3 benchmarks/order.py --training 1.0 --test 0.2 --images-gb 31

hands the 210 sequences of the dataset to 2 to 64 cores, in the order of their names and longest first, and prints when
the last core ends. The options are figures of a rehearsal (rehearsal.py): CPU milliseconds for each frame of video, and
what all images take. It also measures how many processes a second this machine's fork server starts, and, with
`--measure`, how long six sequences take on two cores in both orders, of which the last by name is by far the longest.
"""

import argparse
import heapq
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from frame_counts import read_frame_counts
from machine import ROOT, copy_of_scripts, machine, run_script

from demo.release import Recording, make_release
from h36m.dataset import SUBJECTS_WITH_GROUND_TRUTH
from h36m.metadata import load_metadata
from h36m.parallel.workers import run_in_processes

CORES = (2, 8, 16, 64)
TEST_SUBJECTS = ("S9", "S11")
TARGET_SECONDS, TARGET_CORES = 300, 16
STARTED = 200  # processes, to measure how many a second
LONGEST_FIRST = "longest_first = sorted(plan.to_do, key=plan.to_do.__getitem__, reverse=True)"
RECORDINGS = [Recording("S1", f"{name}-1", 60) for name in ("Directions", "Eating", "Greeting", "Phoning", "Posing")]
RECORDINGS.append(Recording("S1", "Walking-1", 240))


def main(arguments: argparse.Namespace) -> None:
    print(f"{machine()}\n")
    seconds = seconds_of_sequences(arguments.training / 1000, arguments.test / 1000)
    total, longest = sum(seconds), max(seconds)
    print(f"CPU: {total:.0f} s for all {len(seconds)} sequences, {longest:.1f} s for the longest one\n")
    print(
        "| cores | total / cores, s | in order of names, s | longest first, s | MB/s of images |\n|---|---|---|---|---|"
    )
    for cores in CORES:
        by_name, longest_first = end_of_last(seconds, cores), end_of_last(sorted(seconds, reverse=True), cores)
        rate = 1000 * arguments.images_gb / longest_first
        print(f"| {cores} | {total / cores:.0f} | {by_name:.0f} | {longest_first:.0f} | {rate:.0f} |")
    print(f"\nMore cores than {total / longest:.0f} cannot help: the longest sequence takes as long as all the others.")
    print(f"The fork server starts {processes_per_second():.0f} processes a second; 64 cores need", end=" ")
    print(f"{64 * len(seconds) / total:.1f}.")
    if arguments.measure:
        measure_orders(arguments.measure)
    met = end_of_last(sorted(seconds, reverse=True), TARGET_CORES) <= TARGET_SECONDS
    print(f"{TARGET_CORES} cores, at most {TARGET_SECONDS} s: {'met' if met else 'MISSED'}")
    raise SystemExit(not met)


def seconds_of_sequences(training: float, test: float) -> list[float]:
    """Return the CPU seconds of each sequence in the order of names, from those of each frame of its four videos."""
    metadata, counts = load_metadata(), read_frame_counts()
    return [
        sum(counts[subject, sequence.action, sequence.subaction].values())
        * (test if subject in TEST_SUBJECTS else training)
        for subject in SUBJECTS_WITH_GROUND_TRUTH
        for sequence in metadata.sequences_of(subject)
    ]


def end_of_last(seconds: list[float], cores: int) -> float:
    """Return when the last sequence ends where each goes to the first core that is free."""
    free = [0.0] * cores
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def processes_per_second() -> float:
    """Measure how many processes that do nothing the fork server starts and ends."""
    ended = run_in_processes(abs, range(STARTED), jobs=2, preload=("h36m.process.sequence",))
    next(ended)  # it has imported the modules
    started = time.monotonic()
    rest = len(list(ended))
    return rest / (time.monotonic() - started)


def measure_orders(repeats: int) -> None:
    """Process the same sequences in both orders with two jobs, in turns; print the medians."""
    with tempfile.TemporaryDirectory(prefix="h36m-benchmark-") as name:
        root, by_name = Path(name, "data"), copy_of_scripts(Path(name, "scripts"))
        make_release(root / "archives", RECORDINGS)
        run_script(ROOT / "extract_all.py", "--root", root, "--subjects", "S1")
        script = by_name / "process_all.py"
        text = script.read_text()
        if LONGEST_FIRST not in text:
            raise SystemExit("process_all.py: does not hand out the longest sequence first; change LONGEST_FIRST here")
        script.write_text(text.replace(LONGEST_FIRST, "longest_first = list(plan.to_do)"))
        walls: dict[str, list[float]] = {"in order of names": [], "longest first": []}
        for _ in range(repeats):
            for way, scripts in zip(walls, (by_name, ROOT), strict=True):
                shutil.rmtree(root / "processed", ignore_errors=True)
                started = time.monotonic()
                options = ["--subjects", "S1", "--all-frames", "--jobs", "2"]
                run_script(scripts / "process_all.py", "--root", root, *options, statuses=(0, 1))
                walls[way].append(time.monotonic() - started)
        frames = [recording.frames for recording in RECORDINGS]
        print(f"\nSequences of {frames} frames on two cores, medians of {repeats}:")
        for way, seconds in walls.items():
            print(f"- {way}: {statistics.median(seconds):.1f} s ({' '.join(f'{s:.1f}' for s in seconds)})")
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=float, required=True, help="CPU ms for each frame of S1, S5, S6, S7, S8")
    parser.add_argument("--test", type=float, required=True, help="CPU ms for each frame of S9 and S11")
    parser.add_argument("--images-gb", type=float, required=True, help="GB of all images")
    parser.add_argument("--measure", type=int, default=0, metavar="N", help="also run both orders, N times each")
    main(parser.parse_args())
