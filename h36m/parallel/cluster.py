"""Run tasks on a Dask cluster that shares the files, as h36m.parallel.workers runs them on one machine.

Only a run with `--scheduler` imports this module, and with it Dask. What runs in a worker, at the end of this file, is
sent there by value, so it must not use the project's other modules: a worker need not have them. It starts a process
per task, which has them: h36m.parallel.task.
"""

import asyncio
import contextlib
import io
import itertools
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import tempfile
import traceback
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from h36m.dataset import EXTRACTED, PROJECT
from h36m.errors import TaskError, UsageError
from h36m.parallel.workers import Finished, how_it_ended

try:
    import cloudpickle
    import distributed
except ImportError as error:
    raise UsageError(
        "--scheduler needs Dask, which is not installed; run python3 -m pip install -r requirements-cluster.txt"
    ) from error

cloudpickle.register_pickle_by_value(sys.modules[__name__])

CONNECT_SECONDS = 10
# Retries of a task whose process was killed (out of memory?): another worker may have more.
RETRIES = 2
WORKERS_LOST = "every worker that ran it died (out of memory?); run again"
# How soon a worker notices that a task was cancelled.
SECONDS_BETWEEN_LOOKS = 0.5


def connect(scheduler: str, root: Path) -> distributed.Client:
    """Connect to a cluster whose workers can run the tasks.

    Args:
        scheduler: tcp://HOST:8786, or the path of the file that `dask scheduler --scheduler-file` writes.
        root: the folder that all workers must see.

    Raises:
        UsageError: there is no such cluster, or one of its workers could not run a task.
    """
    for logger in ("distributed", "distributed.client"):  # failures are reported here, in one line
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        address = address_in(Path(scheduler)) if Path(scheduler).is_file() else scheduler
        # A client that cannot connect takes long to go away, so it is only made where it can.
        found = asyncio.run(asyncio.wait_for(identity(address), CONNECT_SECONDS))["type"]
        if found != "Scheduler":
            raise ValueError(f"a Dask {found.lower()}")
    except (OSError, asyncio.TimeoutError, ValueError) as error:  # the second is not the first before Python 3.11
        reason = (str(error) or f"no response within {CONNECT_SECONDS} s").splitlines()[0]
        raise UsageError(
            "--scheduler: expected the address of a running `dask scheduler`, such as tcp://HOST:8786, or its "
            f"scheduler file, found {scheduler}: {reason}"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions that differ; the one that matters is checked here
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    try:
        check_workers(client, root)
    except BaseException:
        client.close()
        raise
    return client


def address_in(file: Path) -> str:
    """Read the scheduler's address from the file that it writes.

    Raises:
        ValueError: it is no such file.
    """
    try:
        return json.loads(file.read_text())["address"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("a file without an address") from error


async def identity(address: str) -> dict:
    """Ask what listens at an address to say what it is."""
    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, connection_args=arguments, timeout=CONNECT_SECONDS) as there:
        return await there.identity()


def check_workers(client: distributed.Client, root: Path) -> None:
    """Check that each worker has this Python, the project's requirements, and sees the files.

    Raises:
        UsageError: a worker lacks one of them.
    """
    here = "{}.{}".format(*sys.version_info)
    for worker, versions in client.get_versions()["workers"].items():
        there = versions["host"]["python"] if versions else "unknown"
        # What is sent to a worker is made of byte code, which another Python cannot read.
        if not there.startswith(f"{here}."):
            raise UsageError(f"--scheduler: the worker {worker} has Python {there}, expected {here} as on this machine")
    for worker, lacking in client.run(missing_on_worker, str(root), requirements(), on_error="return").items():
        if lacking:
            raise UsageError(f"--scheduler: the worker {worker} {lacking}")


def requirements() -> list[str]:
    """Return the names of the packages that the project needs."""
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    return [match[0] for line in lines if (match := re.match(r"[\w.-]+", line))]


def pack_project() -> bytes:
    """Return a zip file of the scripts and their helpers that Python can run, see h36m.parallel.task."""
    packed = io.BytesIO()
    # A numpy.py beside the scripts must not hide numpy; a module that the user's rule for frames imports must be there.
    hiding = {*sys.stdlib_module_names, *metadata.packages_distributions()}
    scripts = [file for file in PROJECT.glob("*.py") if file.stem not in hiding]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted([*scripts, *PROJECT.glob("h36m/**/*.py")]):
            archive.write(file, file.relative_to(PROJECT).as_posix())
        archive.writestr("__main__.py", "from h36m.parallel.task import main\n\nmain()\n")
    return packed.getvalue()


def run_on_cluster(
    client: distributed.Client,
    work: Callable[[Any], Any],
    tasks: list,
    jobs: int | None = None,
    debug: bool = False,
) -> Iterator[Finished]:
    """Run tasks on a cluster; yield how each ended, in the order of ending. The client is closed at the end.

    Dask reruns the task of a lost worker elsewhere, and gives up after several lost workers. A task that fails
    for its data is not retried. When the caller stops early, or is killed, what is running is ended.

    Args:
        client: from connect().
        work: called with a task; importable by name, and it and what it returns can be pickled. The script that runs
            may define it, or parts of it.
        tasks: what to do.
        jobs: how many at a time at most; None for as many as the workers have threads.
        debug: print what this project's modules logged, to standard error, when a task has ended.

    Raises:
        TaskError: the scheduler was lost.
    """
    project, script = pack_project(), Path(str(sys.modules["__main__"].__file__)).stem
    waiting = iter(tasks)
    running: dict[distributed.Future, Any] = {}
    completed = distributed.as_completed([], loop=client.loop)
    # Tasks that lost every worker. Dask blames all tasks of a lost worker, so each gets a last attempt alone.
    suspects: list[Any] = []
    alone = False

    def submit(task: Any) -> None:
        call = pickle.dumps((script, pickle.dumps((work, task)), debug))
        future = client.submit(run_beside, project, call, key=f"{task} {uuid.uuid4()}", pure=False, retries=RETRIES)
        running[future] = task
        completed.add(future)

    try:
        for task in itertools.islice(waiting, jobs or len(tasks)):
            submit(task)
        while running:
            future = next(completed)
            task = running.pop(future)
            finished = finish(task, future)
            for follower in itertools.islice(waiting, 1):
                submit(follower)
            if finished.failure == WORKERS_LOST and not alone:
                suspects.append(task)
            else:
                yield finished
            if not running and suspects:
                alone = True
                submit(suspects.pop())
    finally:
        client.cancel(list(running))
        client.close()


def finish(task: Any, future: distributed.Future) -> Finished:
    """Return the outcome of a task whose future is done, and print what it logged.

    Raises:
        TaskError: the scheduler is gone, so the outcome is unknown.
    """
    if future.cancelled():
        raise TaskError("the Dask scheduler stopped or cannot be reached; run again to resume")
    error = future.exception()
    if error is None:
        ending, log = pickle.loads(future.result())
        if log:
            tqdm.write(log, file=sys.stderr, end="")
        return Finished(task, *ending)
    if isinstance(error, distributed.KilledWorker):
        return Finished(task, None, WORKERS_LOST, None)
    if isinstance(error, ChildProcessError):
        return Finished(task, None, how_it_ended(*error.args), None)
    return Finished(task, None, f"{error}", "".join(traceback.format_exception(error)))


# From here on: what runs in a worker.


def missing_on_worker(root: str, packages: list[str]) -> str | None:
    """Return what keeps this worker from running tasks; None if nothing does."""
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"lacks the package {package}; install requirements.txt there too"
    extracted = Path(root, EXTRACTED)
    return (
        None if extracted.is_dir() else f"cannot see the folder {extracted}; mount the same files under the same path"
    )


def run_beside(project: bytes, call: bytes) -> bytes:
    """Run one task in a process beside the worker's, which ends with the worker and when the task is cancelled.

    Args:
        project: from pack_project().
        call: the content of h36m.parallel.task's call file.

    Returns:
        the content of its result file.

    Raises:
        ChildProcessError: the process ended without a result; its exit code is the only argument.
    """
    worker = distributed.get_worker()
    key = worker.get_current_task()
    with tempfile.TemporaryDirectory(None, "h36m-", worker.local_directory, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "project.zip").write_bytes(project)
        (folder / "call").write_bytes(call)
        # Not the worker's own folder, where another version of the project may be.
        command = [sys.executable, str(folder / "project.zip")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, env=environment_of_tasks()) as process:
            while process.poll() is None:
                task = worker.state.tasks.get(key)
                if task is None or task.state == "cancelled":
                    process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_BETWEEN_LOOKS)
        try:
            return (folder / "result").read_bytes()
        except FileNotFoundError:
            raise ChildProcessError(process.returncode) from None


def environment_of_tasks() -> dict[str, str]:
    """Return the worker's environment without a setting that Dask's nanny makes to hold its worker's memory down.

    It makes the C library give memory back at once and request it again for each image: a task then takes 1.45 times
    the CPU time, and its process gives all of its memory back when it ends.
    """
    return {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}
