"""Tasks in processes of their own: a task that fails, or whose process is killed, costs that task only."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import IO, Any, NamedTuple

# How long a process whose parent is gone may take to delete a few thousand images, on a slow disk too.
SECONDS_TO_CLEAR_AWAY = 30

# How a task ended: result, or failure in one line and its traceback.
Ending = tuple[Any, str | None, str | None]


class Finished(NamedTuple):
    """How a task ended: with a result, or with one line that says why there is none."""

    task: Any
    result: Any
    failure: str | None
    traceback: str | None


def run_in_processes(
    work: Callable[[Any], Any], tasks: Iterable, jobs: int, preload: tuple[str, ...] = (), debug: bool = False
) -> Iterator[Finished]:
    """Run tasks, `jobs` at a time, each in a process of its own; yield how each ended, in the order of ending.

    A process per task keeps memory bounded and lets the system kill one of them without harm to the others. Where the
    platform can fork, each is forked from a small server that has imported the modules before, so it starts at once.
    When the caller stops early (Ctrl-C included) the processes are ended; when it is killed they end themselves.

    Args:
        work: called with a task; importable by name, and it and what it returns can be pickled.
        tasks: what to do.
        jobs: how many at a time.
        preload: names of the modules worth importing once.
        debug: print what this project's modules log on the way, to standard error.
    """
    context: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        _start_server(preload)
    waiting = iter(tasks)
    running: dict[Any, tuple[Any, multiprocessing.Process]] = {}  # by the receiving end of a pipe

    def start_next() -> None:
        for task in waiting:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_run_and_send, args=(work, task, sender, debug), daemon=True)
            process.start()
            sender.close()
            running[receiver] = (task, process)
            return

    try:
        for _ in range(jobs):
            start_next()
        while running:
            ready: list[Any] = wait(list(running))
            for receiver in ready:
                task, process = running.pop(receiver)
                try:
                    finished = Finished(task, *receiver.recv())
                    process.join()
                except (EOFError, OSError):  # the process ended without a word, or within one
                    process.join()
                    finished = Finished(task, None, how_it_ended(process.exitcode), None)
                receiver.close()
                start_next()
                yield finished
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _start_server(preload: tuple[str, ...]) -> None:
    """Start the server that forks the processes, with modules imported."""
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(list(preload))
    before = dict(os.environ)
    # Up to Python 3.12 it looks for modules in the current directory instead of where this process does, and goes on
    # without those that are not there.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # tasks fill the cores: numpy's threads would only wait, and busily
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run_and_send(work: Callable[[Any], Any], task: Any, sender: Connection, debug: bool) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in a child process"
    run_task(work, task, sender.send, lambda: wait([parent.sentinel]), sys.stderr if debug else None)


def run_task(
    work: Callable[[Any], Any],
    task: Any,
    send: Callable[[Ending], None],
    wait_for_parent: Callable[[], Any],
    log: IO[str] | None,
) -> None:
    """Run one task in this process, which was started for it, and send how it ended.

    Args:
        work: called with the task.
        task: what to do.
        send: takes how it ended.
        wait_for_parent: returns when the process that started this one is gone, or does not want the task any more.
        log: where this project's modules log to at debug level; None for nowhere.
    """
    end_with_parent(wait_for_parent)
    if log:
        logging.basicConfig(format="%(message)s", stream=log)
        logging.getLogger("h36m").setLevel(logging.DEBUG)
    try:
        send((work(task), None, None))
    except Exception as error:  # a fault in the program: sent as this task's failure, and the others go on
        send((None, f"unexpected {type(error).__name__}: {error}", traceback.format_exc()))


def end_with_parent(wait_for_parent: Callable[[], Any]) -> None:
    """Have SIGTERM, and the end of the parent however it comes, end this process; Ctrl-C does nothing.

    The main thread, which calls this, gets a SystemExit wherever it is, so that it clears its unfinished files away.
    """
    gone, main_thread = threading.Event(), threading.get_ident()

    def stop(number: int, _) -> None:
        # Ctrl-C reaches every process of a terminal, and the parent decides what comes of it.
        if number == signal.SIGTERM or gone.is_set():
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_IGN)  # a second one would interrupt the clearing away
            sys.exit(1)

    def watch() -> None:
        wait_for_parent()
        gone.set()
        # It has to wake a main thread that sleeps. On Windows only SIGINT does so, from whichever thread.
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main_thread, signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)
        time.sleep(SECONDS_TO_CLEAR_AWAY)
        os._exit(1)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()


def how_it_ended(exitcode: int | None) -> str:
    """Return what to print about a process that ended without a result.

    Args:
        exitcode: its status, or the negative number of the signal that ended it.
    """
    if exitcode == -getattr(signal, "SIGKILL", 9):
        return "its process was killed (out of memory? try fewer --jobs); run again to do it"
    return f"its process ended with status {exitcode}; run again to do it"
