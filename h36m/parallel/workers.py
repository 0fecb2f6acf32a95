"""Run tasks in separate processes: a task that fails, or whose process is killed, costs that task only."""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from h36m.cli import STOP_SIGNALS, line_of_limit
from h36m.errors import TaskError
from h36m.progress import Count

# The signals of a crash in a library; NASA's crashes on some damaged files.
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE")

# How often a task sends its count: a bar that moves twice a second is seen to move.
SECONDS_BETWEEN_COUNTS = 0.5

# Names the file into which a script that a Dask worker runs writes how its task ended.
RESULT_VARIABLE = "H36M_RESULT"

# The outcome of a task: result, or failure in one line and its traceback.
Ending = tuple[Any, str | None, str | None]


class Finished(NamedTuple):
    """The outcome of a task: a result, or one line that says why there is none."""

    task: Any
    result: Any
    failure: str | None
    traceback: str | None


def run_in_processes(
    work: Callable[..., Any],
    tasks: Iterable,
    jobs: int,
    preload: tuple[str, ...] = (),
    debug: bool = False,
    count: Callable[[Any, float], Any] | None = None,
) -> Iterator[Finished]:
    """Run tasks, `jobs` at a time, each in its own process; yield their outcomes, in the order of completion.

    A process per task keeps memory bounded and lets the system kill one of them without harm to the others. On Linux
    each is forked, so it starts at once: the caller must have no other thread. When the caller stops early (Ctrl-C
    included) the processes are ended; when it is killed they end themselves.

    Args:
        work: called with a task; importable by name, and it and what it returns can be pickled.
        tasks: what to do.
        jobs: how many at a time.
        preload: names of the modules worth importing once.
        debug: print what this project's modules log on the way, to standard error.
        count: called here with a task, and with what it has counted since the last call: then `work` is called with a
            function `count` too.

    Raises:
        TaskError: a module cannot be imported, or no process can be started.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    try:
        for name in preload:
            import_module(name)
    except ImportError as error:
        reason = f"{type(error).__name__}: {error}"
        raise TaskError(f"cannot start workers: {reason}; run pip install -r requirements.txt") from error
    waiting = deque(tasks)
    running: dict[Any, tuple[Any, Any]] = {}  # task and process by the receiving end of a pipe

    def start(task: Any) -> None:
        receiver, sender = context.Pipe(duplex=False)
        with sender:
            process = context.Process(target=run_task, args=(work, task, sender.send, debug, bool(count)), daemon=True)
            # Python drops what a handler raises within a fork; and the child has its parent's handlers at first.
            hold_stops(True)
            try:
                process.start()
                running[receiver] = (task, process)
            finally:
                hold_stops(False)

    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                try:
                    start(waiting[0])
                    waiting.popleft()
                except OSError as error:
                    if not running:
                        raise TaskError(cannot_start(error)) from error
                    jobs = len(running)  # as many as the system allows
            ready: list[Any] = wait([*running])
            for receiver in ready:
                task, process = running[receiver]
                try:
                    message = receiver.recv()
                except (EOFError, OSError):  # the process ended without a message, or within one
                    process.join()
                    message = (None, how_it_ended(process.exitcode), None)
                if count and isinstance(message, float):
                    count(task, message)
                    continue
                process.join()
                del running[receiver]
                receiver.close()
                yield Finished(task, *message)
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def run_task(
    work: Callable[..., Any], task: Any, send: Callable[[Any], Any], debug: bool, is_counted: bool = False
) -> None:
    """Run one task in this process, which was started for it, and send how it ended, an Ending.

    Args:
        work: called with the task.
        task: what to do.
        send: takes how it ended.
        debug: print what this project's modules log, to standard error.
        is_counted: call `work` with a function `count` too, and send the counts, each a float.
    """
    if debug:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("h36m").setLevel(logging.DEBUG)
    try:
        _end_with_parent()
        result = work(task, count=counter(send)) if is_counted else work(task)
        send((result, None, None))
    except Exception as error:  # a limit of the machine, or a bug: this task fails, so that the others continue
        failure = line_of_limit(error) or f"unexpected {type(error).__name__}: {error}"
        send((None, failure, traceback.format_exc()))


def counter(send: Count) -> Count:
    """Return a function that counts, and now and then sends what was counted since it last did."""
    unsent, next_time = 0.0, 0.0

    def count(amount: float) -> None:
        nonlocal unsent, next_time
        unsent += amount
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + SECONDS_BETWEEN_COUNTS
            send(float(unsent))
            unsent = 0.0

    return count


def run_for_dask_worker(work: Callable[[Any], Any], task: Any, debug: bool) -> bool:
    """Run a task, see run_task(), if a Dask worker has started this script; return whether it has."""
    result = os.environ.get(RESULT_VARIABLE)
    if result:
        run_task(work, task, lambda ending: Path(result).write_bytes(pickle.dumps(ending)), debug)
    return bool(result)


def _end_with_parent() -> None:
    """Have SIGTERM, and the end of the parent however it comes, end this process at once.

    No Python code runs then: the next run removes unfinished files. Ctrl-C reaches every process of a terminal, and is
    the parent's to handle.
    """

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            wait([parent.sentinel])
        else:
            os.read(0, 1)  # a Dask worker holds it open, and writes nothing
        os._exit(1)

    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.SIG_IGN)
    hold_stops(False)
    threading.Thread(target=watch, daemon=True).start()


def hold_stops(are_held: bool) -> None:
    """Hold back the signals that stop this process, and a child that is started meanwhile; or let them arrive."""
    if hasattr(signal, "pthread_sigmask"):  # Windows lacks it
        signal.pthread_sigmask(signal.SIG_BLOCK if are_held else signal.SIG_UNBLOCK, STOP_SIGNALS)


def how_it_ended(exitcode: int | None) -> str:
    """Return what to print about a process that ended without a result.

    Args:
        exitcode: its status, or the negative number of the signal that ended it.
    """
    names: dict[int | None, str] = {-number: number.name for number in signal.Signals}
    name = names.get(exitcode)
    if name == "SIGKILL":
        return "its process was killed (out of memory? try fewer --jobs); run again"
    ending = f"was killed by {name}" if name else f"exited with status {exitcode}"
    remedy = "run again"
    if name in CRASHES:
        remedy = (
            "one of its files in extracted/ may be damaged; delete its files there, then run the download scripts and "
            "extract_all.py"
        )
    return f"its process {ending}; {remedy}"


def cannot_start(error: OSError) -> str:
    """Return what to print where the system does not let a process start."""
    return f"cannot start a process: {error.strerror}; end other programs or raise the limits (ulimit -a)"
