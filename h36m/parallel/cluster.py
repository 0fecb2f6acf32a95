"""Units of work on a Dask cluster that sees the same files: as h36m.parallel.workers does them on one machine.

Only a run with `--scheduler` imports this module, and with it Dask. What runs in a worker, at the end of it, goes there
by value, so it must not use the project's other modules: they need not be there. See h36m.parallel.serve for what does.
"""

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import traceback
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from h36m.cli import TaskError, UsageError
from h36m.parallel.workers import Finished

try:
    import cloudpickle
    import distributed
except ImportError as error:
    raise UsageError(
        "--scheduler needs Dask, which is not installed here: python3 -m pip install -r requirements-cluster.txt"
    ) from error

PROJECT = Path(__file__).resolve().parent.parent.parent
cloudpickle.register_pickle_by_value(sys.modules[__name__])

CONNECT_SECONDS = 10
# How often a unit is begun again whose process was killed, out of memory say: another worker may have more.
RETRIES = 2
WORKERS_LOST = "each worker that began it was lost (out of memory?); run again to do it"
# How soon a worker notices that a unit is no longer wanted.
SECONDS_BETWEEN_LOOKS = 0.5
# After this long without a unit a process is not trusted with another: it may be about to end by itself, see
# h36m.parallel.serve.IDLE_SECONDS.
FRESH_SECONDS = 30


def connect(scheduler: str, root: Path) -> distributed.Client:
    """Connect to a cluster whose workers can do the units.

    Args:
        scheduler: tcp://HOST:8786, or the path of the file that `dask scheduler --scheduler-file` writes.
        root: the folder that all workers must see.

    Raises:
        UsageError: there is none, or one of its workers could not do a unit.
    """
    for logger in ("distributed", "distributed.client"):  # what fails is told in one line, here
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        address = address_in(Path(scheduler)) if Path(scheduler).is_file() else scheduler
        # A client that cannot connect takes long to go away, so it is only made where it can.
        found = asyncio.run(asyncio.wait_for(identity(address), CONNECT_SECONDS))["type"]
        if found != "Scheduler":
            raise ValueError(f"a Dask {found.lower()}")
    except (OSError, asyncio.TimeoutError, ValueError) as error:  # the second is not the first before Python 3.11
        reason = (str(error) or f"no answer within {CONNECT_SECONDS} s").splitlines()[0]
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
        raise ValueError("a file that names no address") from error


async def identity(address: str) -> dict:
    """Ask what listens at an address to say what it is."""
    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, connection_args=arguments, timeout=CONNECT_SECONDS) as there:
        return await there.identity()


def check_workers(client: distributed.Client, root: Path) -> None:
    """Check that each worker has this Python, the project's requirements, and sees the files.

    Raises:
        UsageError: one has not.
    """
    here = "{}.{}".format(*sys.version_info)
    for worker, versions in client.get_versions()["workers"].items():
        there = versions["host"]["python"] if versions else "unknown"
        # What is sent to a worker is made of byte code, which another Python cannot read.
        if not there.startswith(f"{here}."):
            raise UsageError(f"--scheduler: the worker {worker} has Python {there}, expected {here} as here")
    for worker, lacking in client.run(what_lacks, str(root), requirements(), on_error="return").items():
        if lacking:
            raise UsageError(f"--scheduler: the worker {worker} {lacking}")


def requirements() -> list[str]:
    """Return the names of the packages that the project needs."""
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    return [match[0] for line in lines if (match := re.match(r"[\w.-]+", line))]


def pack_project() -> bytes:
    """Return a zip file of the scripts and their helpers that Python can run, see h36m.parallel.serve."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted([*PROJECT.glob("*.py"), *PROJECT.glob("h36m/**/*.py")]):
            archive.write(file, file.relative_to(PROJECT).as_posix())
        archive.writestr("__main__.py", "from h36m.parallel.serve import serve\n\nserve()\n")
    return packed.getvalue()


def run_on_cluster(
    client: distributed.Client,
    work: Callable[[Any], Any],
    units: list,
    jobs: int | None = None,
    preload: tuple[str, ...] = (),
) -> Iterator[Finished]:
    """Do units of work on a cluster; yield how each ended, in the order of ending. The client is closed at the end.

    Dask does the unit of a lost worker again elsewhere, and gives it up when it has lost several so. A unit that fails
    for its data is not done again. When the caller stops early, or is killed, what is running is ended.

    Args:
        client: from connect().
        work: called with a unit; importable by name, and it and what it returns can be pickled. The script that runs
            may define it, or parts of it.
        units: what to do.
        jobs: how many at a time at most; None for as many as the workers have threads.
        preload: names of the modules worth importing once.

    Raises:
        TaskError: the scheduler was lost.
    """
    project, script = pack_project(), Path(sys.modules["__main__"].__file__).stem
    waiting = iter(units)
    running: dict[distributed.Future, Any] = {}
    completed = distributed.as_completed([], loop=client.loop)
    # Units whose workers were lost each time. Dask blames all that a lost worker had, so each gets a last try alone.
    suspects: list[Any] = []
    alone = False

    def submit(unit: Any) -> None:
        call = pickle.dumps((preload, (script, pickle.dumps((work, unit)))))
        future = client.submit(do_unit, project, call, key=f"{unit} {uuid.uuid4()}", pure=False, retries=RETRIES)
        running[future] = unit
        completed.add(future)

    try:
        for unit in itertools.islice(waiting, jobs or len(units)):
            submit(unit)
        while running:
            future = next(completed)
            unit = running.pop(future)
            finished = how_it_ended(unit, future)
            for follower in itertools.islice(waiting, 1):
                submit(follower)
            if finished.failure == WORKERS_LOST and not alone:
                suspects.append(unit)
            else:
                yield finished
            if not running and suspects:
                alone = True
                submit(suspects.pop())
    finally:
        client.cancel(list(running))
        client.close()


def how_it_ended(unit: Any, future: distributed.Future) -> Finished:
    """Return what came of a unit whose future is done.

    Raises:
        TaskError: nobody knows, because the scheduler is gone.
    """
    if future.cancelled():
        raise TaskError("the Dask scheduler was lost, or told to stop; run it again to go on from here")
    error = future.exception()
    if error is None:
        return Finished(unit, *pickle.loads(future.result()))
    if isinstance(error, distributed.KilledWorker):
        return Finished(unit, None, WORKERS_LOST, None)
    trace = None if isinstance(error, ChildProcessError) else "".join(traceback.format_exception(error))
    return Finished(unit, None, f"{error}", trace)


# From here on: what runs in a worker.


def what_lacks(root: str, packages: list[str]) -> str | None:
    """Say what keeps this worker from doing units; None if nothing does."""
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"lacks the package {package}: install what requirements.txt says there too"
    extracted = Path(root, "extracted")
    return None if extracted.is_dir() else f"sees no folder {extracted}: it needs the same files under the same path"


def do_unit(project: bytes, call: bytes) -> bytes:
    """Do one unit of work in a process beside the worker's.

    Args:
        project: from pack_project().
        call: what h36m.parallel.serve expects.

    Returns:
        a pickle of what `Finished` has after the unit.

    Raises:
        ChildProcessError: the unit's process ended without a word, each time it was tried.
    """
    worker = distributed.get_worker()
    key = worker.get_current_task()
    server = take_server(worker, project)
    answers = []

    def ask() -> None:
        # It answers nothing if it ends before.
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            server.stdin.write(call)
            server.stdin.flush()
            answers.append(pickle.load(server.stdout))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    while asking.is_alive():
        asking.join(SECONDS_BETWEEN_LOOKS)
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            server.terminate()
    if not answers:
        raise ChildProcessError(f"its process ended with status {server.wait()}; run again to do it")
    [(told, finished)] = answers
    idle_servers(worker, project).append((server, time.monotonic()))
    if not told:
        raise ChildProcessError(pickle.loads(finished)[1])
    return finished


def take_server(worker: distributed.Worker, project: bytes) -> subprocess.Popen:
    """Return a process that does calls for this thread alone: one that has done some, or a new one."""
    idle = idle_servers(worker, project)
    with contextlib.suppress(IndexError):
        while True:
            server, since = idle.pop()
            if server.poll() is None and time.monotonic() - since < FRESH_SECONDS:
                return server
            server.stdin.close()
    folder = Path(worker.local_directory, f"h36m-{hashlib.sha256(project).hexdigest()}")
    file = folder / "project.zip"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        part = folder / f"{uuid.uuid4().hex}.part"  # another thread may be at it too
        part.write_bytes(project)
        part.replace(file)
    return subprocess.Popen(
        [sys.executable, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,  # and not the worker's, where another edition of the project may lie
        env=environment_of_units(),
    )


def environment_of_units() -> dict[str, str]:
    """Return the worker's environment without what Dask's nanny sets there to hold its worker's memory down.

    It makes the C library give memory back at once and fetch it anew for each picture: a unit then takes 1.45 times the
    CPU time. A unit's process gives all of its memory back when it ends.
    """
    return {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}


def idle_servers(worker: distributed.Worker, project: bytes) -> list[tuple[subprocess.Popen, float]]:
    """Return the processes of this edition of the project that wait for a unit, and since when."""
    return vars(worker).setdefault(f"h36m {hashlib.sha256(project).hexdigest()}", [])
