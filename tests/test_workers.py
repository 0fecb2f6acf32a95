"""h36m/parallel/workers.py: a run shows how far its workers are, and leaves none when it is stopped or killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from helpers.demos import ACTION_OPTIONS, SUBJECT_OPTIONS
from helpers.marks import needs_proc
from helpers.processes import SLEEP, parents_in_session
from helpers.screens import Terminal
from helpers.scripts import PROJECT, wait_until

from h36m.parallel.workers import run_in_processes

RUN = f"from h36m.parallel.workers import run_in_processes; list(run_in_processes(exec, [{SLEEP!r}] * 2, jobs=2))"


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_sleeping_workers_end_with_their_run(number):
    """Within 2 s on an idle machine; they would sleep for 60."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=PROJECT, start_new_session=True, **pipes) as run:
        assert sorted(run.stdout.read(14)) == sorted("sleeps\n" * 2)  # two processes write at once
        run.send_signal(number)
        try:
            wait_until(lambda: not parents_in_session(run.pid), "the end of the workers", seconds=10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


def count_and_wait(task: str, count) -> str:
    for _ in range(int(task)):
        count(1)
        time.sleep(0.01)
    return task


def test_what_a_task_counts_arrives_while_it_works():
    """Now and then, each task's own."""
    counted: dict[str, list[float]] = {"80": [], "90": []}
    for each in run_in_processes(count_and_wait, counted, 2, count=lambda task, amount: counted[task].append(amount)):
        assert each.result == each.task
        assert 2 <= len(counted[each.task]) < 40 and sum(counted[each.task]) <= int(each.task)


# For a sitecustomize.py: makes the images of two sequences take 1.6 s or more on any machine.
SLOW_IMAGES = """
import sys, time
def wait(event, arguments):
    if event == "open" and "Walking-1" in str(arguments[0]) and str(arguments[0]).endswith(".jpg"):
        time.sleep(0.01)
sys.addaudithook(wait)
"""


@pytest.mark.parametrize("columns", [80, pytest.param(60, marks=pytest.mark.slow)])
def test_bar_moves_within_a_sequence_and_no_line_breaks_it(root, tmp_path, monkeypatch, columns):
    """With the time left, and two sequences at a time that end with a notice."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMAGES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for boxes in (root / "extracted").glob("S*/Segments_mat_gt_bb/*.54138969.mat"):
        boxes.unlink()
    options = ["--root", root, *SUBJECT_OPTIONS, *ACTION_OPTIONS, "--all-frames", "--jobs", 2]
    terminal = Terminal(columns, "process_all.py", *options, cwd=root, PYTHONWARNINGS="always")
    terminal.finish()
    bars = [piece for piece in terminal.pieces() if "of 4 sequences, " in piece]
    lines = [piece for piece in terminal.pieces() if piece not in bars]
    assert terminal.run.returncode == 0
    form = r"\|([█▉▊▋▌▍▎▏]* *)\| \d of 4 sequences, \d+ images(, \d\d:\d\d left)?"
    shown = [re.fullmatch(form, bar) for bar in bars]
    assert all(shown), bars
    assert all(len(bar) <= columns for bar in bars)
    # How long the bar was, for each number of finished sequences.
    lengths = {(re.search(r"\d of 4", each[0])[0], each[1]) for each in shown if each[2]}
    moves = Counter(finished for finished, _ in lengths)
    assert max(moves.values()) >= 3, bars
    if columns == 80:
        assert min(len(each[1]) for each in shown) >= 20
    assert sum("frames of this view have no boxes" in line for line in lines) == 4
    assert all(re.match(r"(S\d |\d+ |plan: | {6}about |next: )\S+", line) for line in lines), lines
