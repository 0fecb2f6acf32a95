"""Units of work in processes of their own: a unit that fails, or whose process is killed, costs that unit only."""

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
from typing import Any, NamedTuple

# How long a process whose parent is gone may take to delete a few thousand images, on a slow disk too.
SECONDS_TO_CLEAR_AWAY = 30


class Finished(NamedTuple):
    """How a unit of work ended: with a result, or with one line that says why there is none."""

    unit: Any
    result: Any
    failure: str | None
    traceback: str | None


def run_in_processes(
    work: Callable[[Any], Any], units: Iterable, jobs: int, preload: tuple[str, ...] = (), debug: bool = False
) -> Iterator[Finished]:
    """Do units of work, `jobs` at a time, each in a process of its own; yield how each ended, in the order of ending.

    A process a unit keeps memory bounded and lets the system kill one of them without harm to the others. Where the
    platform can fork, each is forked from a small server that has imported the modules before, so it starts at once.
    When the caller stops early (Ctrl-C included) the processes are ended; when it is killed they end themselves.

    Args:
        work: called with a unit; importable by name, and it and what it returns can be pickled.
        units: what to do.
        jobs: how many at a time.
        preload: names of the modules worth importing once.
        debug: print what this project's modules log on the way, to standard error.
    """
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        _start_server(preload)
    waiting = iter(units)
    running: dict[Connection, tuple[Any, multiprocessing.Process]] = {}

    def start_next() -> None:
        for unit in waiting:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work_and_send, args=(work, unit, sender, debug), daemon=True)
            process.start()
            sender.close()
            running[receiver] = (unit, process)
            return

    try:
        for _ in range(jobs):
            start_next()
        while running:
            for receiver in wait(list(running)):
                unit, process = running.pop(receiver)
                try:
                    finished = Finished(unit, *receiver.recv())
                    process.join()
                except (EOFError, OSError):  # the process ended without a word, or within one
                    process.join()
                    finished = Finished(unit, None, _how_it_ended(process.exitcode), None)
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
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # units fill the cores: numpy's threads would only wait, and busily
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _work_and_send(work: Callable[[Any], Any], unit: Any, sender: Connection, debug: bool) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides, and ends this one with SIGTERM, after which it
    # still clears its unfinished files away.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if debug:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("h36m").setLevel(logging.DEBUG)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send((work(unit), None, None))
    except Exception as error:  # a fault in the program: told with its unit, and the others go on
        sender.send((None, f"unexpected {type(error).__name__}: {error}", traceback.format_exc()))


def _end_with_parent() -> None:
    """End this process when the one that asked for the work is gone, however it went.

    That may be while it was starting this process, so that it did not know of it yet when it ended the others.
    """
    wait([multiprocessing.parent_process().sentinel])
    signal.raise_signal(signal.SIGTERM)  # the main thread clears its unfinished files away
    time.sleep(SECONDS_TO_CLEAR_AWAY)
    os._exit(1)


def _how_it_ended(exitcode: int) -> str:
    if exitcode == -getattr(signal, "SIGKILL", 9):
        return "its process was killed (out of memory? try fewer --jobs); run again to do it"
    return f"its process ended with status {exitcode}; run again to do it"
