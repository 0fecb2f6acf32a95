"""h36m.parallel where no process of a run and no cluster is needed."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.marks import needs_proc
from helpers.processes import SLEEP, parents_in_session
from helpers.scripts import PROJECT, finish, start_script

from h36m.parallel import cluster
from h36m.parallel.workers import how_it_ended


@pytest.mark.parametrize(
    ("exitcode", "expected"),
    [
        (-9, "its process was killed (out of memory? try fewer --jobs); run again"),
        (
            -11,
            "its process was killed by SIGSEGV; one of its files in extracted/ may be damaged; "
            "delete its files there, then run the download scripts and extract_all.py",
        ),
        (0, "its process exited with status 0; run again"),
        (-15, "its process was killed by SIGTERM; run again"),
        (9, "its process exited with status 9; run again"),
    ],
)
def test_only_a_killed_process_is_said_to_be_out_of_memory(exitcode, expected):
    assert how_it_ended(exitcode) == expected


STARTS_PROCESSES = f"""
import sys
sys.path.insert(0, {str(PROJECT)!r})
from h36m.cli import argument_parser, run
from h36m.parallel.workers import run_in_processes

def main(arguments):
    for ended in run_in_processes(abs, range(100_000), jobs=4):
        print(ended.result, flush=True)

run(main, argument_parser("words"))
"""


@needs_proc
@pytest.mark.parametrize("processes", [10, 50, 100])
def test_ctrl_c_is_not_lost_where_most_time_goes_into_forks(tmp_path, processes):
    script = tmp_path / "a_script.py"
    script.write_text(STARTS_PROCESSES)
    run = start_script(script, start_new_session=True)
    for _ in range(processes):
        run.stdout.readline()
    os.killpg(run.pid, signal.SIGINT)
    ended = finish(run, 20)
    assert (ended.returncode, ended.stderr) == (130, "a_script.py: interrupted; run again to resume\n")
    assert not parents_in_session(run.pid)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '"tcp://127.0.0.1:1"'])
def test_a_file_without_an_address_is_an_error(tmp_path, content):
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    with pytest.raises(ValueError, match="a file without an address"):
        cluster.address_in(file)


def test_the_address_of_a_scheduler_file_is_read(tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text('{"type": "Scheduler", "address": "tcp://127.0.0.1:8786"}')
    assert cluster.address_in(file) == "tcp://127.0.0.1:8786"


@pytest.mark.parametrize(
    ("folder", "content", "module", "expected"),
    [
        ("", "the rule", "json", None),
        ("extracted", "the rule", "json", "cannot see the folder "),
        ("", None, "json", "cannot see this "),
        ("", "another rule", "json", "cannot see this "),
        ("", "the rule", "no_such_module", "cannot run "),
    ],
)
def test_a_worker_that_lacks_something_says_what(tmp_path, folder, content, module, expected):
    script = tmp_path / "process_all.py"
    if content:
        script.write_text(content)
    found = cluster.missing_on_worker(str(tmp_path / folder), str(script), b"the rule", (module,))
    assert found is None if expected is None else found.startswith(expected)


def start_task(result: Path, code: str, debug: bool = False) -> subprocess.Popen:
    """Start a script that has one task, some code to execute, as a Dask worker does."""
    script = f"from h36m.parallel.workers import run_for_dask_worker; run_for_dask_worker(exec, {code!r}, {debug})"
    environment, pipe = os.environ | {"H36M_RESULT": str(result)}, subprocess.PIPE
    streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
    return subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, env=environment, text=True, **streams)


LOGS = """
import logging
logging.getLogger("h36m.x").debug("ours")
logging.getLogger("other").debug("a library's")
print("noise")
raise ValueError("no")
"""


@pytest.mark.parametrize(("debug", "log"), [(True, "ours\n"), (False, "")])
def test_a_script_for_a_dask_worker_writes_how_its_task_ended(tmp_path, debug, log):
    """With debug, the project's own log is printed to standard error."""
    with start_task(tmp_path / "result", LOGS, debug) as run:
        assert (run.stdout.read(), run.stderr.read(), run.wait()) == ("noise\n", log, 0)
    result, failure, trace = pickle.loads((tmp_path / "result").read_bytes())
    assert (result, failure) == (None, "unexpected ValueError: no")
    assert trace.startswith("Traceback ")


@pytest.mark.parametrize(
    ("stop", "status"),
    [(lambda run: run.stdin.close(), 1), (subprocess.Popen.terminate, -signal.SIGTERM)],
    ids=["the worker is gone", "the task is cancelled"],
)
def test_a_task_ends_at_once_in_its_sleep_without_a_word(tmp_path, stop, status):
    with start_task(tmp_path / "result", SLEEP) as run:
        assert run.stdout.readline() == "sleeps\n"
        run.send_signal(signal.SIGINT)  # for all processes of a terminal, and not for this one to heed
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(0.2)
        stop(run)
        assert run.wait(20) == status
        assert run.stderr.read() == ""
    assert not (tmp_path / "result").exists()
