"""process_all.py --scheduler on a real Dask scheduler with two real workers, which know nothing of the project."""

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

import dask
import distributed  # noqa: F401  (adds its own settings to Dask's)
import pytest
from helpers.demos import ACTION_OPTIONS, SUBJECT_OPTIONS
from helpers.releases import contents
from helpers.scripts import PROJECT, errors_in, run_script

from h36m.parallel.cluster import environment_of_units

OPTIONS = [*SUBJECT_OPTIONS, *ACTION_OPTIONS]
# The machine may be busy with other things.
PATIENCE = 240


def wait_until(condition, what: str):
    """Return what the condition returns as soon as that is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE} s in vain for {what}")


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
    """A scheduler and its workers, each without a nanny that would start it anew."""

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


def start_run(root: Path, scheduler: str, *options, scripts: Path = PROJECT) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, scripts / "process_all.py", "--root", root, *OPTIONS, "--scheduler", scheduler, *options],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begun(root: Path) -> list[Path]:
    """Return the folders of the sequences that are being made."""
    return [images.parent for images in root.glob("processed/*/*/.making/imageSequence")]


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes beside a cluster's workers: those of units among them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = file.read_bytes().replace(b"\0", b" ").decode()
            if str(folder) in command and "project.zip" in command:
                found.append(command)
    return found


def scripts_with(rule: str, folder: Path) -> Path:
    """Return a copy of the scripts whose rule for frames begins with the given lines."""
    shutil.copytree(PROJECT / "h36m", folder / "h36m", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("process_all.py", "metadata.xml", "requirements.txt"):
        shutil.copy(PROJECT / name, folder)
    script = folder / "process_all.py"
    where = "    # To keep every frame:\n"
    assert script.read_text().count(where) == 1
    script.write_text(script.read_text().replace(where, "".join(f"    {line}\n" for line in rule.splitlines())))
    return folder


def test_two_workers_from_another_directory_write_what_one_machine_writes(cluster, demo_run, root):
    ended = run_script("process_all.py", "--root", root, *OPTIONS, "--preview", "--scheduler", cluster.file, cwd=root)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    said = ended.stdout.splitlines()
    assert said[0] == "4 sequences to process, 2 at a time; 0 are done"
    assert said[-1] == demo_run.joinpath("output.txt").read_text().splitlines()[-3].replace(
        str(demo_run / "data"), str(root)
    )
    assert contents(root / "processed") == contents(demo_run / "data" / "processed")
    servers = processes_of(cluster.folder)
    assert all(any(str(cluster.folder / f"worker {number}") in line for line in servers) for number in (0, 1)), (
        "expected both workers to have had a unit"
    )


def test_an_address_serves_as_well_and_a_second_run_has_nothing_to_do(cluster, root):
    few = [
        "--root",
        root,
        "--subjects",
        "S1",
        "--actions",
        "Walking-1",
        "--scheduler",
        cluster.address,
        "--every",
        "50",
    ]
    ended = run_script("process_all.py", *few)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    ended = run_script("process_all.py", *few)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    assert ended.stdout == f"nothing to do: 1 sequence is in {root / 'processed'}\n"


@pytest.mark.slow
def test_a_rule_of_ones_own_with_a_module_beside_the_script_reaches_the_workers_each_time_it_changes(
    cluster, root, tmp_path
):
    scripts = scripts_with("import my_rule\nreturn np.array(my_rule.FRAMES)", tmp_path / "my scripts")
    for frames in ([0, 7], [5]):
        (scripts / "my_rule.py").write_text(f"FRAMES = {frames}\n")
        shutil.rmtree(root / "processed", ignore_errors=True)
        run = start_run(root, cluster.address, scripts=scripts)
        _, errors = run.communicate(timeout=PATIENCE)
        assert (run.returncode, errors_in(errors)) == (0, [])
        images = {image.name for image in root.glob("processed/*/*/imageSequence/*/*")}
        assert images == {f"img_{frame + 1:06d}.jpg" for frame in frames}


def test_a_unit_that_fails_for_its_data_is_named_with_the_reason_and_not_tried_again(cluster, root, tmp_path):
    tries = tmp_path / "tries"
    rule = (
        f"with open({str(tries)!r}, 'a') as file:\n    file.write(subject + ' ')\n"
        "if subject == 'S1':\n    raise RuntimeError('no')"
    )
    scripts = scripts_with(rule, tmp_path / "scripts")
    run = start_run(root, cluster.address, "--cameras", "54138969", scripts=scripts)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1
    [line] = [
        n for n, text in enumerate((scripts / "process_all.py").read_text().splitlines(), 1) if "Error('no')" in text
    ]
    assert sorted(errors_in(errors)) == [
        f"process_all.py: S1 {name}: select_frame_indices_to_include() failed in line {line} of process_all.py: "
        "RuntimeError: no"
        for name in ("Greeting-2", "Walking-1")
    ]
    assert sorted(tries.read_text().split()) == ["S1", "S1", "S9", "S9"]


def test_ctrl_c_ends_the_units_on_the_workers(own_cluster, root):
    run = start_run(root, own_cluster.address, "--all-frames")
    wait_until(lambda: begun(root), "a unit to begin")
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert errors_in(errors) == ["process_all.py: stopped; run it again to go on from here"]
    wait_until(lambda: not processes_of(own_cluster.folder), "the units' processes to end")
    left = [file for file in root.glob("processed/**/*") if file.is_file() and ".locks" not in file.parts]
    assert not left, "expected what was begun to be given up and cleared away"


@pytest.mark.slow
def test_killing_a_worker_in_the_middle_of_a_unit_changes_nothing_in_the_output(own_cluster, demo_run, root):
    run = start_run(root, own_cluster.address, "--preview")
    wait_until(lambda: len(begun(root)) == 2, "both workers to be at a unit")
    own_cluster.workers[0].kill()
    assert own_cluster.workers[0].wait() == -signal.SIGKILL
    assert not list(root.glob("processed/*/*/annot.h5")), "expected the kill to come in the middle of a unit"
    _, errors = run.communicate(timeout=PATIENCE)
    assert (run.returncode, errors_in(errors)) == (0, [])
    assert contents(root / "processed") == contents(demo_run / "data" / "processed")
    wait_until(lambda: not processes_of(own_cluster.folder / "worker 0"), "what the lost worker had begun to end")


@pytest.mark.slow
def test_a_unit_whose_process_is_killed_each_time_is_named_at_the_end_and_the_others_are_done(
    own_cluster, root, tmp_path
):
    tries = tmp_path / "tries"
    rule = f"import os\nif subject == 'S1':\n    open({str(tries)!r}, 'a').write('x')\n    os.kill(os.getpid(), 9)"
    scripts = scripts_with(rule, tmp_path / "scripts")
    run = start_run(root, own_cluster.address, "--actions", "Walking-1", scripts=scripts)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1
    [error] = errors_in(errors)
    assert error.startswith("process_all.py: S1 Walking-1: its process was killed")
    assert tries.read_text() == "xxx"
    assert [file.parent.name for file in root.glob("processed/*/*/annot.h5")] == ["Walking-1"]


@pytest.mark.slow
def test_a_unit_that_kills_every_worker_is_named_at_the_end_and_the_others_are_done(tmp_path, root):
    rule = (
        "import os, pathlib, time\n"
        "process = os.getpid()\n"
        "while subject == 'S1':\n"
        "    command = pathlib.Path(f'/proc/{process}/cmdline').read_bytes()\n"
        "    if b'project.zip' not in command and b'forkserver' not in command:\n"
        "        os.kill(process, 9)\n"
        "        time.sleep(100)\n"
        "    process = int(pathlib.Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[1])"
    )
    scripts = scripts_with(rule, tmp_path / "scripts")
    with cluster_of(tmp_path / "a cluster", 0) as cluster:
        cluster.start_worker("--nanny")  # which starts a killed worker anew
        run = start_run(root, cluster.address, "--actions", "Walking-1", scripts=scripts)
        _, errors = run.communicate(timeout=PATIENCE)
        assert run.returncode == 1
        [error] = errors_in(errors)
        assert error.startswith("process_all.py: S1 Walking-1: each worker that began it was lost")
        assert [file.parent.parent.name for file in root.glob("processed/*/*/annot.h5")] == ["S9"]


@pytest.mark.slow
def test_a_scheduler_that_is_lost_ends_the_run_in_one_line(own_cluster, root):
    run = start_run(root, own_cluster.address, "--all-frames")
    wait_until(lambda: begun(root), "a unit to begin")
    own_cluster.scheduler.kill()
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1
    [error] = errors_in(errors)
    assert error.startswith("process_all.py: the Dask scheduler was lost")


@pytest.mark.slow
def test_without_a_worker_the_run_says_so_and_begins_when_one_comes(tmp_path, root):
    with cluster_of(tmp_path / "a cluster", 0) as cluster:
        run = start_run(root, cluster.address, "--actions", "Walking-1", "--every", "50")
        assert run.stdout.readline() == "no Dask worker is there yet: waiting for one\n"
        cluster.start_worker("--no-nanny")
        _, errors = run.communicate(timeout=PATIENCE)
    assert (run.returncode, errors_in(errors)) == (0, [])
    assert len(list(root.glob("processed/*/*/annot.h5"))) == 2


@pytest.mark.slow
def test_jobs_limits_how_many_units_the_cluster_does_at_a_time(own_cluster, root):
    run = start_run(root, own_cluster.address, "--jobs", "1")
    most = 0
    while run.poll() is None:
        most = max(most, len(begun(root)))
        time.sleep(0.01)
    assert run.returncode == 0
    assert most == 1
    assert run.stdout.readline() == "4 sequences to process, 1 at a time; 0 are done\n"


def test_a_worker_with_another_python_is_refused(tmp_path, root):
    # A worker asks its Python for this when it is asked for its versions; the rest of it must not notice.
    preload = tmp_path / "older.py"
    preload.write_text(
        "from distributed import versions\nversions.get_system_info = lambda: {'python': '3.7.16.final.0'}\n"
    )
    with cluster_of(tmp_path / "a cluster", 1, "--preload", preload) as cluster:
        ended = run_script("process_all.py", "--root", root, *OPTIONS, "--scheduler", cluster.address)
    here = "{}.{}".format(*sys.version_info)
    assert ended.returncode == 2
    assert ended.stderr.startswith("process_all.py: --scheduler: the worker tcp://127.0.0.1:")
    assert ended.stderr.endswith(f" has Python 3.7.16.final.0, expected {here} as here\n")
    assert not (root / "processed").exists()


def test_units_do_not_get_the_setting_by_which_dask_keeps_its_workers_small(monkeypatch):
    nanny = dask.config.get("distributed.nanny.pre-spawn-environ")
    for name, value in nanny.items():
        monkeypatch.setenv(name, str(value))
    assert "MALLOC_TRIM_THRESHOLD_" in nanny, "Dask sets it"
    assert "MALLOC_TRIM_THRESHOLD_" not in environment_of_units()
    assert environment_of_units()["PATH"] == os.environ["PATH"]


@pytest.mark.slow
def test_what_is_no_scheduler_is_told_in_one_line_with_status_2(cluster, root, tmp_path):
    file, empty = tmp_path / "no scheduler.json", tmp_path / "empty.json"
    file.write_text("{}")
    empty.touch()
    worker = re.search(r"Start worker at: +(\S+)", cluster.log(0))[1]
    for scheduler in ("tcp://127.0.0.1:1", "nowhere", "tcp://127.0.0.1:port", file, empty, worker):
        ended = run_script("process_all.py", "--root", root, *OPTIONS, "--scheduler", scheduler)
        assert ended.returncode == 2
        assert ended.stdout == ""
        assert ended.stderr.startswith(
            "process_all.py: --scheduler: expected the address of a running `dask scheduler`"
        )
        assert f", found {scheduler}: " in ended.stderr and ended.stderr.count("\n") == 1


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
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "process_all.py: --scheduler needs Dask, which is not installed here: "
        "python3 -m pip install -r requirements-cluster.txt\n"
    )


def test_without_scheduler_no_process_of_a_run_imports_dask(no_dask, root):
    environment, noted = no_dask
    few = ["--subjects", "S1", "--actions", "Walking-1", "--every", "50"]
    ended = run_script("process_all.py", "--root", root, *few, environment=environment)
    assert (ended.returncode, errors_in(ended.stderr)) == (0, [])
    assert not noted.exists()
