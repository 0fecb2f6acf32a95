"""h36m/parallel/workers.py: a run that is stopped or killed leaves no worker, whatever its workers are doing."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from helpers.marks import needs_proc
from helpers.processes import SLEEP, parents_in_session
from helpers.scripts import PROJECT, wait_until

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
