"""h36m.parallel where no process of a run and no cluster is needed."""

import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from helpers.marks import needs_proc
from helpers.processes import SLEEP, parents_in_session
from helpers.scripts import PROJECT, finish, start_script

from h36m.parallel import cluster
from h36m.parallel.workers import how_it_ended, run_task


@pytest.mark.parametrize(
    ("exitcode", "expected"),
    [
        (-9, "its process was killed (out of memory? try fewer --jobs); run again"),
        (
            -11,
            "its process was killed by SIGSEGV; one of its files in extracted/ may be damaged; "
            "delete its files there and run extract_all.py",
        ),
        (0, "its process exited with status 0; run again"),
        (-15, "its process was killed by SIGTERM; run again"),
        (9, "its process exited with status 9; run again"),
    ],
)
def test_only_a_killed_process_is_said_to_be_out_of_memory(exitcode, expected):
    assert how_it_ended(exitcode) == expected


@pytest.fixture
def run_here(monkeypatch):
    """A function that runs a task in this process: what it sends, and what it logs with debug."""
    monkeypatch.setattr("h36m.parallel.workers.end_with_parent", lambda wait_for_parent: None)
    logger = logging.getLogger("h36m")
    level = logger.level

    def run(work, given, debug=False):
        sent, log = [], io.StringIO()
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # of pytest
        run_task(work, given, sent.append, threading.Event().wait, log if debug else None)
        [ending] = sent
        return ending, log.getvalue()

    yield run
    logger.setLevel(level)


def fail(given):
    raise ValueError(f"no {given}")


def log_both(given):
    logging.getLogger("h36m.x").debug("ours: %s", given)
    logging.getLogger("other").debug("a library's")


def test_a_task_ends_with_its_result(run_here):
    assert run_here(str.upper, "a") == (("A", None, None), "")


def test_a_fault_ends_as_a_failure_with_its_traceback(run_here):
    (result, failure, trace), _ = run_here(fail, "a")
    assert (result, failure) == (None, "unexpected ValueError: no a")
    assert trace.startswith("Traceback ") and "in fail\n" in trace


@pytest.mark.parametrize(("debug", "expected"), [(True, "ours: a\n"), (False, "")])
def test_with_debug_only_the_projects_own_log_is_kept(run_here, debug, expected):
    assert run_here(log_both, "a", debug)[1] == expected


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


def test_tasks_get_the_environment_but_for_one_variable(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    assert cluster.environment_of_tasks() == {k: v for k, v in os.environ.items() if k != "MALLOC_TRIM_THRESHOLD_"}


def test_requirements_are_the_names_alone(monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# a comment\n\nnumpy>=1.21\nPillow\nruamel.yaml~=0.17; python_version>'3'\n"
    )
    monkeypatch.setattr(cluster, "PROJECT", tmp_path)
    assert cluster.requirements() == ["numpy", "Pillow", "ruamel.yaml"]


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
    ("packages", "folder", "expected"),
    [
        (["numpy"], True, None),
        (["numpy", "no-such-package"], True, "lacks the package no-such-package; install requirements.txt"),
        (["numpy"], False, "cannot see the folder "),
    ],
)
def test_a_worker_that_lacks_something_says_what(tmp_path, packages, folder, expected):
    if folder:
        (tmp_path / "extracted").mkdir()
    found = cluster.missing_on_worker(str(tmp_path), packages)
    assert found is None if expected is None else found.startswith(expected)


def test_the_packed_project_holds_the_scripts_and_the_package():
    with zipfile.ZipFile(io.BytesIO(cluster.pack_project())) as archive:
        names = set(archive.namelist())
    package = {file.relative_to(cluster.PROJECT).as_posix() for file in cluster.PROJECT.glob("h36m/**/*.py")}
    assert {"process_all.py", "__main__.py", "h36m/parallel/task.py"} <= names
    assert package <= names


def test_no_file_of_the_users_in_the_packed_project_hides_a_library(monkeypatch, tmp_path):
    """What the rule for frames may import is packed."""
    for name in ("process_all", "my_rule", "numpy", "random", "PIL"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.setattr(cluster, "PROJECT", tmp_path)
    with zipfile.ZipFile(io.BytesIO(cluster.pack_project())) as archive:
        assert set(archive.namelist()) == {"process_all.py", "my_rule.py", "__main__.py"}


def call_of(script: str, work, given, debug: bool = False) -> bytes:
    return pickle.dumps((script, pickle.dumps((work, given)), debug))


def start_packed(folder: Path, call: bytes) -> subprocess.Popen:
    """Start the packed project as a Dask worker does, with a standard input that is held open."""
    (folder / "project.zip").write_bytes(cluster.pack_project())
    (folder / "call").write_bytes(call)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command, pipe = [sys.executable, folder / "project.zip"], subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)


def run_packed(folder: Path, call: bytes) -> tuple[int, bytes]:
    """Run the packed project until it ends; return its status and what it printed."""
    with start_packed(folder, call) as run:
        output = run.stdout.read()
        return run.wait(), output


def test_the_packed_project_runs_a_call_and_ends(tmp_path):
    status, _ = run_packed(tmp_path, call_of("extract_all", str.upper, "a"))
    assert status == 0
    assert pickle.loads((tmp_path / "result").read_bytes()) == (("A", None, None), "")


def test_what_a_task_prints_is_not_in_its_result(tmp_path):
    assert run_packed(tmp_path, call_of("extract_all", print, "noise")) == (0, b"noise\n")
    assert pickle.loads((tmp_path / "result").read_bytes()) == ((None, None, None), "")


def test_a_call_that_cannot_be_loaded_is_a_failure(tmp_path):
    run_packed(tmp_path, call_of("no_such_script", str.upper, "a"))
    (result, failure, trace), _ = pickle.loads((tmp_path / "result").read_bytes())
    assert (result, failure) == (None, "unexpected ModuleNotFoundError: No module named 'no_such_script'")
    assert "Traceback" in trace


@pytest.mark.parametrize(
    ("stop", "status"),
    [(lambda run: run.stdin.close(), 1), (subprocess.Popen.terminate, -signal.SIGTERM)],
    ids=["the worker is gone", "the task is cancelled"],
)
def test_a_task_ends_at_once_in_its_sleep_without_a_word(tmp_path, stop, status):
    with start_packed(tmp_path, call_of("extract_all", exec, SLEEP)) as run:
        assert run.stdout.readline() == b"sleeps\n"
        run.send_signal(signal.SIGINT)  # for all processes of a terminal, and not for this one to heed
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(0.2)
        stop(run)
        assert run.wait(20) == status
        assert run.stderr.read() == b""
    assert not (tmp_path / "result").exists()
