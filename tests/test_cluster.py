"""process_all.py --scheduler on a real Dask scheduler with two real workers, started elsewhere."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.demos import ACTION_OPTIONS, SUBJECT_OPTIONS
from helpers.processes import parents_in_session
from helpers.releases import contents, copy_of_scripts
from helpers.scripts import PATIENCE_SECONDS, errors_in, run_script, start_script, wait_until

from h36m.errors import UsageError
from h36m.parallel.cluster import connect
from h36m.parallel.workers import RESULT_VARIABLE

OPTIONS = [*SUBJECT_OPTIONS, *ACTION_OPTIONS]
# What is processed quickly: the four sequences, and one of them.
FAST = ["--cameras", "54138969", "--every", "60", "--no-segments"]
ONE = ["--subjects", "S1", "--actions", "Walking-1", *FAST]


def start(folder: Path, program: str, *options, **more) -> subprocess.Popen:
    """Start a program of Dask's in a folder of its own, without the project on its path."""
    folder.mkdir(parents=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{program}", *map(str, options)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **more,
        )


class Cluster:
    """A scheduler and its workers, each without a nanny that would restart it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / "scheduler.json"
        web = ("--dashboard-address", "127.0.0.1:0")
        self.scheduler = start(
            folder / "scheduler", "scheduler", "--host", "127.0.0.1", "--port", 0, *web, "--scheduler-file", self.file
        )
        wait_until(lambda: self.file.exists() and self.file.read_text().endswith("}"), "the scheduler")
        self.address = json.loads(self.file.read_text())["address"]
        self.workers = []

    def start_worker(self, *options) -> None:
        folder = self.folder / f"worker {len(self.workers)}"
        worker = start(
            folder, "worker", self.address, "--nthreads", 1, "--no-dashboard", "--local-directory", folder, *options
        )
        self.workers.append(worker)
        wait_until(lambda: "Registered to" in (folder / "log.txt").read_text() or worker.poll(), "the worker")
        assert worker.poll() is None, (folder / "log.txt").read_text()

    def log(self, worker: int) -> str:
        return (self.folder / f"worker {worker}" / "log.txt").read_text()

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster_of(folder: Path, workers: int, *options):
    cluster = Cluster(folder)
    try:
        for _ in range(workers):
            cluster.start_worker("--no-nanny", *options)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers that tests may give work to, but not harm."""
    with cluster_of(tmp_path_factory.mktemp("a cluster"), 2) as cluster:
        yield cluster


@pytest.fixture
def own_cluster(tmp_path):
    """One that a test may harm."""
    with cluster_of(tmp_path, 2) as cluster:
        yield cluster


def start_run(root: Path, scheduler: str, *options, script: str | Path = "process_all.py") -> subprocess.Popen:
    """Start a run on a cluster."""
    return start_script(script, "--root", root, *OPTIONS, *options, "--scheduler", scheduler, cwd=root)


def started_tasks(root: Path) -> list[Path]:
    """Return the folders of the sequences that are being made."""
    return [images.parent for images in root.glob("processed/*/*/.making/imageSequence")]


def processes_of(folder: Path) -> list[str]:
    """Return what is in the environment of the processes that a cluster's workers have started, one per task."""
    told, found = f"{RESULT_VARIABLE}={folder}/", []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # another user's, or it has just ended
            environment = file.read_text(errors="replace")
            found += [environment] if told in environment else []
    return found


@pytest.mark.slow
def test_two_workers_write_what_one_machine_writes(cluster, demo_run, root):
    run = start_run(root, cluster.file, "--preview")
    seen = set()
    while run.poll() is None:
        seen |= {number for number in (0, 1) if processes_of(cluster.folder / f"worker {number}")}
        time.sleep(0.2)
    output, errors = run.communicate()
    assert (run.returncode, errors_in(errors)) == (0, [])
    said = output.splitlines()
    assert said[0] == "plan: 4 sequences: 4 to process"
    of_demo = demo_run.joinpath("output.txt").read_text().replace(str(demo_run / "data"), str(root)).splitlines()
    assert said[-3:] == of_demo[-7:-4], "frames and views, previews, and the next command"
    assert contents(root / "processed") == contents(demo_run / "data" / "processed")
    assert seen == {0, 1}, "expected both workers to have run a task"
    assert not processes_of(cluster.folder), "expected each process to end with its task"


@pytest.mark.slow
def test_with_an_address_a_second_run_has_nothing_to_do(cluster, root):
    few = ["--root", root, *ONE, "--scheduler", cluster.address]
    ended = run_script("process_all.py", *few)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    ended = run_script("process_all.py", *few)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    assert ended.stdout.startswith(f"nothing to do: 1 sequence is already processed in {root / 'processed'}\n")


@pytest.mark.slow
def test_an_edited_rule_reaches_the_workers_each_time(cluster, root, tmp_path):
    """With a module beside the script, which the rule imports and which changes between two runs."""
    script = copy_of_scripts(tmp_path / "my scripts", "import my_rule\nreturn np.array(my_rule.FRAMES)")
    for frames in ([0, 7], [5]):
        (script.parent / "my_rule.py").write_text(f"FRAMES = {frames}\n")
        shutil.rmtree(root / "processed", ignore_errors=True)
        run = start_run(root, cluster.address, "--cameras", "54138969", script=script)
        _, errors = run.communicate(timeout=PATIENCE_SECONDS)
        assert (run.returncode, errors_in(errors)) == (0, [])
        images = {image.name for image in root.glob("processed/*/*/imageSequence/*/*")}
        assert images == {f"img_{frame + 1:06d}.jpg" for frame in frames}


@pytest.mark.slow
def test_a_task_that_fails_for_its_data_is_not_retried(cluster, root, tmp_path):
    tries = tmp_path / "tries"
    rule = (
        f"with open({str(tries)!r}, 'a') as file:\n    file.write(subject + ' ')\n"
        "if subject == 'S1':\n    raise RuntimeError('no')"
    )
    script = copy_of_scripts(tmp_path / "scripts", rule)
    run = start_run(root, cluster.address, "--cameras", "54138969", script=script)
    _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 1
    [line] = [n for n, text in enumerate(script.read_text().splitlines(), 1) if "Error('no')" in text]
    assert sorted(errors_in(errors)) == [
        f"process_all.py: S1 {name}: select_frame_indices_to_include() failed in line {line} of process_all.py: "
        "RuntimeError: no"
        for name in ("Greeting-2", "Walking-1")
    ]
    assert sorted(tries.read_text().split()) == ["S1", "S1", "S9", "S9"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_a_run_ends_the_tasks_on_the_workers(own_cluster, root, number):
    run = start_run(root, own_cluster.address, "--all-frames")
    wait_until(lambda: started_tasks(root), "a task to begin")
    run.send_signal(number)
    _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    if number == signal.SIGINT:
        assert run.returncode == 130
        assert errors_in(errors) == ["process_all.py: interrupted; run again to resume"]
    wait_until(lambda: not processes_of(own_cluster.folder), "the tasks' processes to end")
    assert not list(root.glob("processed/*/*/annot.h5")), "expected the started work to be given up"


@pytest.mark.slow
def test_killing_a_worker_changes_nothing_in_the_output(own_cluster, demo_run, root):
    run = start_run(root, own_cluster.address, "--preview", "--actions", "Walking-1")
    wait_until(lambda: len(started_tasks(root)) == 2, "both workers to run a task")
    own_cluster.workers[0].kill()
    assert own_cluster.workers[0].wait() == -signal.SIGKILL
    assert not list(root.glob("processed/*/*/annot.h5")), "expected the kill to come in the middle of a task"
    _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert (run.returncode, errors_in(errors)) == (0, [])
    expected = contents(demo_run / "data" / "processed")
    assert contents(root / "processed") == {name: data for name, data in expected.items() if "/Walking-1/" in name}
    wait_until(lambda: not processes_of(own_cluster.folder), "the process of the killed worker to end")


BLOCKED = "import time\nopen({file!r}, 'w').close()\ntime.sleep(1000)"
SECONDS_TO_END = 2


def test_a_killed_run_with_a_blocked_rule_leaves_no_process(root, tmp_path):
    """On one machine."""
    at_it = tmp_path / "at it"
    script = copy_of_scripts(tmp_path / "scripts", BLOCKED.format(file=str(at_it)))
    command = [sys.executable, script, "--root", root, *ONE[:-3]]
    run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_until(at_it.exists, "the rule to be called")
    run.kill()
    run.wait()
    wait_until(lambda: not parents_in_session(run.pid), "the worker to end", SECONDS_TO_END)


@pytest.mark.slow
def test_a_killed_worker_with_a_blocked_rule_leaves_no_process(root, tmp_path, monkeypatch):
    """While it runs, it has the environment of its worker, but for a setting that Dask's nanny makes."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    at_it = tmp_path / "at it"
    script = copy_of_scripts(tmp_path / "scripts", BLOCKED.format(file=str(at_it)))
    with cluster_of(tmp_path / "a cluster", 1) as cluster:
        run = start_run(root, cluster.address, *ONE[:4], script=script)
        wait_until(at_it.exists, "the rule to be called")
        [environment] = processes_of(cluster.folder)
        assert "MALLOC_" not in environment and f"PATH={os.environ['PATH']}" in environment
        cluster.workers[0].kill()
        wait_until(lambda: not processes_of(cluster.folder), "the task to end", SECONDS_TO_END)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.slow
def test_debug_prints_the_tasks_log_and_traceback(cluster, root, tmp_path):
    """As a run on one machine does. What a task prints is not taken for its result."""
    rule = "print('printed', flush=True)\nimport logging\nlogging.getLogger('h36m.rule').debug('logged for ' + subject)"
    script = copy_of_scripts(tmp_path / "scripts", f"{rule}\nreturn np.array([0])")
    module = script.parent / "h36m" / "process" / "sequence.py"
    where = "    inputs = input_files(sequence, options)\n"
    assert module.read_text().count(where) == 1
    fault = "    if sequence.subject == 'S9':\n        raise RuntimeError('a fault')\n"
    module.write_text(module.read_text().replace(where, fault + where))
    few = ["--actions", "Walking-1", "--cameras", "54138969"]
    run = start_run(root, cluster.address, *few, "--debug", script=script)
    output, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 1
    assert errors_in(errors) == ["logged for S1", "process_all.py: S9 Walking-1: unexpected RuntimeError: a fault"]
    assert "Traceback (most recent call last):\n" in output and "sequence.py" in output
    assert "printed" not in output
    run = start_run(root, cluster.address, *few, script=script)
    output, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert errors_in(errors) == ["process_all.py: S9 Walking-1: unexpected RuntimeError: a fault"]
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_task_whose_process_is_killed_is_named(own_cluster, root, tmp_path):
    """At the end, and the other task is done."""
    rule = "import os\nif subject == 'S1':\n    os.kill(os.getpid(), 9)"
    script = copy_of_scripts(tmp_path / "scripts", rule)
    run = start_run(root, own_cluster.address, "--actions", "Walking-1", script=script)
    _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 1
    [error] = errors_in(errors)
    assert error.startswith("process_all.py: S1 Walking-1: its process was killed")
    assert [file.parent.name for file in root.glob("processed/*/*/annot.h5")] == ["Walking-1"]


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_named(tmp_path, root):
    rule = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(100)"
    script = copy_of_scripts(tmp_path / "scripts", rule)
    with cluster_of(tmp_path / "a cluster", 0) as cluster:
        cluster.start_worker("--nanny")  # which restarts a killed worker
        run = start_run(root, cluster.address, *ONE[:4], script=script)
        _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 1
    [error] = errors_in(errors)
    assert error.startswith("process_all.py: S1 Walking-1: every worker that ran it died")


@pytest.mark.slow
def test_a_scheduler_that_is_lost_ends_the_run_in_one_line(own_cluster, root):
    run = start_run(root, own_cluster.address, "--all-frames")
    wait_until(lambda: started_tasks(root), "a task to begin")
    own_cluster.scheduler.kill()
    _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 1
    [error] = errors_in(errors)
    assert error.startswith("process_all.py: the Dask scheduler stopped")


@pytest.mark.slow
def test_a_run_without_a_worker_waits_for_one(tmp_path, root):
    with cluster_of(tmp_path / "a cluster", 0) as cluster:
        run = start_run(root, cluster.address, "--actions", "Walking-1", *FAST)
        assert run.stdout.readline().startswith("plan: ") and run.stdout.readline().startswith("      about ")
        assert run.stdout.readline() == "no Dask worker has connected yet; waiting for one\n"
        cluster.start_worker("--no-nanny")
        _, errors = run.communicate(timeout=PATIENCE_SECONDS)
    assert (run.returncode, errors_in(errors)) == (0, [])
    assert len(list(root.glob("processed/*/*/annot.h5"))) == 2


@pytest.mark.slow
def test_jobs_limits_how_many_tasks_run_at_a_time(cluster, root):
    run = start_run(root, cluster.address, *FAST, "--jobs", "1")
    most = 0
    while run.poll() is None:
        most = max(most, len(started_tasks(root)))
        time.sleep(0.01)
    assert run.returncode == 0
    assert most == 1
    assert run.stdout.readlines()[1].endswith("; 1 at a time\n")


@pytest.mark.slow
def test_a_worker_with_another_python_is_refused(tmp_path, root):
    # A worker asks its Python for this when it is asked for its versions; the rest of it must not notice.
    preload = tmp_path / "older.py"
    preload.write_text("import platform\nplatform.python_version = lambda: '3.7.16'\n")
    with cluster_of(tmp_path / "a cluster", 1, "--preload", preload) as cluster:
        ended = run_script("process_all.py", "--root", root, *OPTIONS, "--scheduler", cluster.address)
    here = "{}.{}".format(*sys.version_info)
    assert ended.returncode == 2
    assert ended.stderr.startswith("process_all.py: --scheduler: the worker tcp://127.0.0.1:")
    assert ended.stderr.endswith(f" has Python 3.7.16, expected {here} as on this machine\n")
    assert not (root / "processed").exists()


def test_what_is_no_scheduler_is_an_error_of_one_line(cluster, root, tmp_path, monkeypatch):
    monkeypatch.setattr("h36m.parallel.cluster.CONNECT_SECONDS", 2)  # Dask tries that long where nothing listens
    file, empty = tmp_path / "no scheduler.json", tmp_path / "empty.json"
    file.write_text("{}")
    empty.touch()
    worker = re.search(r"Start worker at: +(\S+)", cluster.log(0))[1]
    expected = "--scheduler: expected the address of a running `dask scheduler`"
    for scheduler in ("tcp://127.0.0.1:1", "nowhere", "tcp://127.0.0.1:port", file, empty, worker):
        with pytest.raises(UsageError) as error:
            connect(str(scheduler), root, ())
        message = str(error.value)
        assert message.startswith(expected) and f", found {scheduler}: " in message and "\n" not in message
    ended = run_script("process_all.py", "--root", root, *OPTIONS, "--scheduler", worker)
    assert ended.returncode == 2 and len(ended.stdout.splitlines()) == 2, "the plan"
    assert ended.stderr.startswith(f"process_all.py: {expected}") and ended.stderr.count("\n") == 1


@pytest.fixture
def no_dask(tmp_path):
    """An environment in which Dask cannot be imported, and a file in which each attempt is noted."""
    folder = tmp_path / "without Dask"
    folder.mkdir()
    noted = folder / "noted.txt"
    for name in ("dask", "distributed", "cloudpickle"):
        (folder / f"{name}.py").write_text(
            f"open({str(noted)!r}, 'a').write({name!r} + ' ')\nraise ModuleNotFoundError('No module named {name}')\n"
        )
    return {"PYTHONPATH": str(folder)}, noted


def test_without_dask_scheduler_says_what_to_install_with_status_2(no_dask, root):
    environment, noted = no_dask
    ended = run_script(
        "process_all.py", "--root", root, *OPTIONS, "--scheduler", "tcp://127.0.0.1:1", environment=environment
    )
    assert noted.exists()
    assert ended.returncode == 2
    assert ended.stderr == (
        "process_all.py: --scheduler needs Dask, which is not installed; run "
        "python3 -m pip install distributed cloudpickle -c requirements-dev.lock\n"
    )


@pytest.mark.slow
def test_without_scheduler_no_process_of_a_run_imports_dask(no_dask, root):
    environment, noted = no_dask
    ended = run_script("process_all.py", "--root", root, *ONE, environment=environment)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    assert not noted.exists()
