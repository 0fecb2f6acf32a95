"""Show how far the sequences of a run are, and say at the end what was done."""

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from h36m.cli import next_command
from h36m.dataset import PREVIEW_FILE, PROCESSED, Sequence
from h36m.errors import TaskError
from h36m.process.plan import expected_share
from h36m.process.record import FRAMES_PER_IMAGE, Outcome
from h36m.progress import Progress, count_of, size_text, speaker, time_text

# Does the work, and yields for each sequence its outcome, or a failure and its traceback. It calls what it is given
# with a sequence and a number of its frames that were done.
Start = Callable[[Callable[[Sequence, float], None]], Iterable[tuple[Sequence, Outcome | None, str | None, str | None]]]


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
    # The bar counts frames by what they take: fewer images are made of test subjects, so theirs take half as long.
    image = 0 if arguments.no_images else FRAMES_PER_IMAGE
    weights = {sequence: 1 + image * expected_share(sequence, arguments.every) for sequence in frames}
    left = {sequence: weights[sequence] * max(count, 1) for sequence, count in frames.items()}
    processed, failed, views, images, image_bytes = 0, 0, 0, 0, 0

    def words() -> str:
        failures = f", {failed} failed" if failed else ""
        return f"{processed + failed} of {count_of(len(frames), 'sequence')}{failures}, {count_of(images, 'image')}"

    def count(sequence: Sequence, done: float) -> None:
        done = min(weights[sequence] * done, left[sequence])
        left[sequence] -= done
        progress.update(done)

    with Progress(words(), sum(left.values()), quiet=arguments.quiet) as progress:
        progress.smoothing = 0  # the rate of the whole run, not of the last seconds, tells how long the rest takes
        try:
            for sequence, outcome, failure, trace in start(count):
                outcome = outcome or Outcome(0, 0, [f"{sequence}: {failure}"], [])
                if outcome.views or not outcome.problems:
                    processed += 1
                else:
                    failed += 1
                views, images = views + outcome.views, images + outcome.frames
                image_bytes += outcome.image_bytes
                progress.say_words(words())
                count(sequence, left[sequence])
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
    written = f"{count_of(images, 'frame')} of {count_of(views, 'view')} written ({size_text(image_bytes)})"
    say(f"{written} to {root / PROCESSED}")
    if arguments.preview:
        say(f"previews: {root / PROCESSED}/*/*/{PREVIEW_FILE}")
    if processed:
        say(next_step(arguments))
    return problems


def next_step(arguments: argparse.Namespace) -> str:
    """Return the line that says what to do with processed sequences."""
    return f"next: {next_command(arguments, 'export_all.py', 'FORMAT')}  # --help lists the formats"
