#!/usr/bin/env python3
"""Measure how process_all.py scales with --jobs, and what a Dask cluster costs over a plain run:

    python3 benchmarks/scaling.py

makes one sequence of full-size views (1000x1002, as the demo's) and gives it many names, so that each sequence is the
same work. Then it processes them all with 1, 2, ... jobs up to the cores there are, and on a Dask cluster of as many
workers on this machine. Prints medians of wall seconds and sequences per second. Takes half an hour on two cores.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import distributed
from machine import ROOT, machine, run_script

from demo import release
from h36m.metadata import load_metadata
from h36m.parallel.cores import available_cores

RECORDING = release.Recording("S1", "Walking-1", 120)  # as in the demo; the real ones have some 2500 frames a view
SUBJECTS = ("S1", "S5")
DASK_TARGET = 0.15  # of a plain run's wall time


def main(arguments: argparse.Namespace) -> None:
    cores = available_cores()
    print(machine("distributed"))
    print(
        f"{arguments.sequences} sequences of 4 views of {RECORDING.frames} frames, {arguments.repeats} runs of each\n"
    )
    with tempfile.TemporaryDirectory(prefix="h36m-scaling-") as folder:
        root = Path(folder, "data")
        make_sequences(Path(folder), root, arguments.sequences)
        with dask_cluster(Path(folder), cores) as address:
            ways = {f"{jobs} jobs": ["--jobs", str(jobs)] for jobs in range(1, cores + 1)}
            plain = f"{cores} jobs"
            dask = f"Dask, {cores} workers"
            ways[dask] = ["--scheduler", address]
            seconds = {way: [] for way in ways}
            # In turns, so that other load on the machine affects all alike.
            for _ in range(arguments.repeats):
                for way, options in ways.items():
                    seconds[way].append(wall_seconds(root, options, arguments.sequences))

    medians = {way: statistics.median(times) for way, times in seconds.items()}
    print(f"{'':20} {'seconds':>8} {'sequences/s':>11} {'times 1 job':>12}   all runs")
    for way, median in medians.items():
        runs = " ".join(f"{value:.1f}" for value in seconds[way])
        print(
            f"{way:20} {median:8.1f} {arguments.sequences / median:11.2f} {medians['1 jobs'] / median:12.2f}   {runs}"
        )
    overhead = medians[dask] / medians[plain] - 1
    verdict = "met" if overhead <= DASK_TARGET else "MISSED"
    print(
        f"\nDask over a plain run of {plain}: {overhead:+.1%} of wall time; target {DASK_TARGET:.0%} at most: {verdict}"
    )


def make_sequences(folder: Path, root: Path, count: int) -> None:
    """Write one recording as the release has it, unpack it, and link its files under the names of others."""
    root.mkdir()
    release.make_release(root / "archives", [RECORDING])
    run_script(ROOT / "extract_all.py", "--root", root, "--subjects", "S1")
    metadata = load_metadata()
    sequences = [sequence for subject in SUBJECTS for sequence in metadata.sequences_of(subject)]
    bases = [(sequence.subject, sequence.base) for sequence in sequences]
    if count > len(bases):
        raise SystemExit(f"--sequences: at most {len(bases)}")
    (made,) = ((s.subject, s.base) for s in sequences if (s.subject, s.name) == (RECORDING.subject, RECORDING.name))
    bases.remove(made)
    files = list(root.glob("extracted/S1/*/*"))
    for subject, base in bases[: count - 1]:
        for file in files:
            link = root / "extracted" / subject / file.parent.name / (base + file.name.removeprefix(made[1]))
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)


def wall_seconds(root: Path, options: list[str], count: int) -> float:
    """Return how long process_all.py takes for all sequences, its start included."""
    shutil.rmtree(root / "processed", ignore_errors=True)
    started = time.monotonic()
    # Sequences without files are reported as missing; only those with files count.
    run_script(ROOT / "process_all.py", "--root", root, "--subjects", *SUBJECTS, *options, statuses=(0, 1))
    seconds = time.monotonic() - started
    done = len(list(root.glob("processed/*/*/annot.h5")))
    if done != count:
        raise SystemExit(f"expected {count} sequences done, found {done}")
    return seconds


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[str]:
    """Run a Dask scheduler and workers of one thread each on loopback; yields the file that tells its address."""
    file = folder / "scheduler.json"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    worker = ["worker", "--nthreads", "1", "--no-dashboard", "--local-directory", folder]
    processes = []
    try:
        for program, *options in [scheduler, *[worker] * workers]:
            command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--scheduler-file", file, *options]
            processes.append(
                subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        with distributed.Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
        yield str(file)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=48, metavar="N", help="sequences to process; default: 48")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each way; default: 3")
    main(parser.parse_args())
