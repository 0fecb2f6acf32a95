"""Show how far the sequences of a run are, and say at the end what was done."""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from h36m.cli import next_command
from h36m.dataset import PROCESSED, Sequence
from h36m.errors import TaskError
from h36m.process.record import Outcome
from h36m.progress import Progress, count_of, size_text, speaker, time_text

# Does the work, and yields for each sequence its outcome, or a failure and its traceback. It calls what it is given
# with a sequence and a number of its frames that were done.
Start = Callable[[Callable[[Sequence, float], None]], Iterable[tuple[Sequence, Outcome | None, str | None, str | None]]]


class Pace:
    """Tells how much of the work is done. It is counted in frames, and those of a subject weigh as much as they take.

    Fewer images are made of test subjects, so their frames take half as long as others, or a sixth: if all weighed the
    same, the time left would be wrong.
    """

    def __init__(self, frames: dict[Sequence, int]):
        self.frames = {sequence: float(max(count, 1)) for sequence, count in frames.items()}
        self.left = dict(self.frames)
        self.counted_at: dict[Sequence, float] = {}
        # By subject: the time of its processes, from the first count of each sequence on, and the frames of this time.
        self.seconds: dict[str, float] = defaultdict(float)
        self.passed: dict[str, float] = defaultdict(float)

    def count(self, sequence: Sequence, frames: float, now: float) -> None:
        """Count frames of a sequence as done.

        Args:
            now: seconds, of any clock.
        """
        frames = min(frames, self.left[sequence])
        if sequence in self.counted_at:
            self.seconds[sequence.subject] += now - self.counted_at[sequence]
            self.passed[sequence.subject] += frames
        self.counted_at[sequence] = now
        self.left[sequence] -= frames

    def done_and_total(self) -> tuple[float, float]:
        """Return how much is done and how much there is, in frames of this run's mean weight."""
        pace = {subject: self.seconds[subject] / passed for subject, passed in self.passed.items() if passed}
        mean = sum(self.seconds.values()) / (sum(self.passed.values()) or 1)
        weights = {subject: seconds / mean for subject, seconds in pace.items() if mean}
        done = total = 0.0
        for sequence, frames in self.frames.items():
            weight = weights.get(sequence.subject, 1)
            done, total = done + weight * (frames - self.left[sequence]), total + weight * frames
        return done, total


def do_work(start: Start, frames: dict[Sequence, int], root: Path, arguments: argparse.Namespace) -> list[str]:
    """Process sequences, show how far they are, and say at the end what was done; return a line for each failure.

    Args:
        start: see there.
        frames: the sequences, with about how many frames their views have.
        root: see `Options`.
        arguments: of the command line.
    """
    say, started = speaker(arguments.quiet), time.monotonic()
    problems: list[str] = []
    pace = Pace(frames)
    processed, failed, views, images, image_bytes = 0, 0, 0, 0, 0

    def words() -> str:
        return f"{processed + failed} of {count_of(len(frames), 'sequence')}, {count_of(images, 'image')}"

    def count(sequence: Sequence, done: float) -> None:
        pace.count(sequence, done, time.monotonic())
        done, progress.total = pace.done_and_total()
        progress.update(done - progress.n)

    with Progress(words(), sum(frames.values()), quiet=arguments.quiet) as progress:
        progress.smoothing = 0  # the rate of the whole run, not of the last seconds, tells how long the rest takes
        try:
            for sequence, outcome, failure, trace in start(count):
                outcome = outcome or Outcome(0, 0, [f"{sequence}: {failure}"], [])
                if outcome.views or not outcome.problems:
                    processed += 1
                else:
                    failed += 1
                    pace.counted_at.pop(sequence, None)  # what it left out took no time
                views, images = views + outcome.views, images + outcome.frames
                image_bytes += outcome.image_bytes
                progress.say_words(words())
                count(sequence, pace.left[sequence])
                if trace and arguments.debug:
                    say(trace)
                problems += outcome.problems
                if outcome.is_disk_full:  # the others would fail too: they are ended as this loop is left
                    break
                for notice in outcome.notices:
                    say(notice)
        except TaskError as problem:  # nothing more can be done, and earlier failures are reported too
            problems.append(str(problem))
    failures = f"; {failed} failed" if failed else ""
    seconds = time_text(time.monotonic() - started)
    say(f"{processed} of {count_of(len(frames), 'sequence')} processed in {seconds}{failures}")
    say(
        f"{count_of(images, 'frame')} of {count_of(views, 'view')} written ({size_text(image_bytes)}) "
        f"to {root / PROCESSED}"
    )
    if processed:
        say(next_step(arguments))
    return problems


def next_step(arguments: argparse.Namespace) -> str:
    """Return the line that says what to do with processed sequences."""
    return f"next: {next_command(arguments, 'export_all.py', 'FORMAT')}  # --help lists the formats"
