"""Run tasks on a Dask cluster that shares the files, as h36m.parallel.workers runs them on one machine.

Only a run with `--scheduler` imports this module, and with it Dask. What runs in a worker, at the end of this file, is
sent there by value and uses none of the project's other modules. It starts the script for each task: so a worker's own
process survives whatever a task does, and never has an old version of the project.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from h36m.dataset import EXTRACTED
from h36m.errors import TaskError, UsageError
from h36m.parallel.workers import RESULT_VARIABLE, Finished, how_it_ended

try:
    import cloudpickle
    import distributed
except ImportError as error:
    raise UsageError(
        "--scheduler needs Dask, which is not installed; "
        "run python3 -m pip install distributed cloudpickle -c requirements-dev.lock"
    ) from error

cloudpickle.register_pickle_by_value(sys.modules[__name__])

# The script that runs: workers start it from the same path.
SCRIPT = Path(sys.argv[0]).absolute()
CONNECT_SECONDS = 10
WORKERS_LOST = "every worker that ran it died (out of memory?); run again"
# How soon a worker notices that a task was cancelled.
SECONDS_BETWEEN_LOOKS = 0.5


def connect(scheduler: str, root: Path, modules: tuple[str, ...]) -> distributed.Client:
    """Connect to a cluster whose workers can run the tasks.

    Args:
        scheduler: tcp://HOST:8786, or the path of the file that `dask scheduler --scheduler-file` writes.
        root: the folder that all workers must see.
        modules: names of those that workers must have.

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
        check_workers(client, root, modules)
    except BaseException:
        client.close()
        raise
    return client


def address_in(file: Path) -> str:
    """Read the scheduler's address from the file that it writes; raise ValueError for another file."""
    try:
        return json.loads(file.read_text())["address"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("a file without an address") from error


async def identity(address: str) -> dict:
    """Ask what listens at an address to say what it is."""
    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, connection_args=arguments, timeout=CONNECT_SECONDS) as there:
        return await there.identity()


def check_workers(client: distributed.Client, root: Path, modules: tuple[str, ...]) -> None:
    """Check that each worker has this Python, sees the files, and can run the script; a UsageError says which cannot.

    What is sent to a worker is made of byte code, which another Python cannot read.
    """
    here = "{}.{}".format(*sys.version_info)
    for worker, there in client.run(platform.python_version).items():
        if not there.startswith(f"{here}."):
            raise UsageError(f"--scheduler: the worker {worker} has Python {there}, expected {here} as on this machine")
    arguments = (str(root / EXTRACTED), str(SCRIPT), SCRIPT.read_bytes(), modules)
    for worker, lacking in client.run(missing_on_worker, *arguments, on_error="return").items():
        if lacking:
            raise UsageError(f"--scheduler: the worker {worker} {lacking}")


def run_on_cluster(client: distributed.Client, tasks: dict[Any, list[str]], jobs: int | None) -> Iterator[Finished]:
    """Run the script for each task on a cluster; yield how each ended, in the order of ending, and close the client.

    Dask reruns the task of a lost worker elsewhere, and gives up after several lost workers. When the caller stops
    early, or is killed, what is running is ended.

    Args:
        client: from connect().
        tasks: the options that have the script do a task, after those of this run; it calls run_for_dask_worker().
        jobs: how many at a time at most; None for as many as the workers have threads.

    Raises:
        TaskError: the scheduler was lost.
    """
    waiting = iter(tasks.items())
    running: dict[distributed.Future, Any] = {}
    completed = distributed.as_completed([], loop=client.loop)

    def submit(count: int) -> None:
        for task, options in itertools.islice(waiting, count):
            command = [str(SCRIPT), *sys.argv[1:], *options]
            # A function that has a name would be sent by it, within a graph of Dask's.
            future = client.submit(lambda command: run_script(command), command, key=f"{task} {uuid.uuid4()}")
            running[future] = task
            completed.add(future)

    try:
        submit(jobs or len(tasks))
        while running:
            future = next(completed)
            finished = finish(running.pop(future), future)
            submit(1)
            yield finished
    finally:
        client.cancel(list(running))
        client.close()


def finish(task: Any, future: distributed.Future) -> Finished:
    """Return the outcome of a task whose future is done, and print what its script printed to standard error.

    Raises:
        TaskError: the scheduler is gone, so the outcome is unknown.
    """
    if future.cancelled():
        raise TaskError("the Dask scheduler stopped or cannot be reached; run again to resume")
    if error := future.exception():
        return Finished(task, None, WORKERS_LOST if isinstance(error, distributed.KilledWorker) else f"{error}", None)
    status, result, log = future.result()
    if log:
        tqdm.write(log, file=sys.stderr, end="")
    return (
        Finished(task, None, how_it_ended(status), None)
        if status or not result
        else Finished(task, *pickle.loads(result))
    )


# From here on: what runs in a worker.


def missing_on_worker(extracted: str, script: str, content: bytes, modules: tuple[str, ...]) -> str | None:
    """Return what keeps this worker from running tasks; None if nothing does."""
    if not Path(extracted).is_dir():
        return f"cannot see the folder {extracted}; mount the same files under the same path"
    if not Path(script).is_file() or Path(script).read_bytes() != content:  # it may have a copy with another rule
        return f"cannot see this {script}; put the project into a folder that all workers see under the same path"
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    ended = subprocess.run(command, cwd=Path(script).parent, capture_output=True, text=True)
    if ended.returncode:
        return f"cannot run {script}: {ended.stderr.splitlines()[-1]}; install requirements.txt there too"
    return None


def run_script(command: list[str]) -> tuple[int, bytes, str]:
    """Run the script, which ends with this worker's process and when the task is cancelled.

    Returns:
        its exit status, the content of its result file, and what it printed to standard error.
    """
    worker = distributed.get_worker()
    key = worker.get_current_task()
    with tempfile.TemporaryDirectory(None, "h36m-", worker.local_directory, ignore_cleanup_errors=True) as folder:
        result, errors = Path(folder, "result"), Path(folder, "errors")
        result.touch()
        # Dask's nanny holds its worker's memory down with a setting that has the C library request memory again for
        # each image: a task then takes 1.45 times the CPU time.
        environment = {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}
        environment[RESULT_VARIABLE] = str(result)
        command = [sys.executable, *command]
        with (
            errors.open("wb") as log,
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environment) as process,
        ):
            while process.poll() is None:
                task = worker.state.tasks.get(key)
                if task is None or task.state == "cancelled":
                    process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_BETWEEN_LOOKS)
        return process.returncode, result.read_bytes(), errors.read_text(errors="replace")
