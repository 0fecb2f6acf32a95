"""What a Dask worker starts beside itself: a process that does units of work, each in a process of its own.

h36m.parallel.cluster packs the project into a zip, whose __main__ calls serve(). So a worker's own process never runs
the project's code: it survives whatever a unit does, need not have the project, and never has an old edition of it.
"""

import importlib
import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any, NoReturn

from h36m.parallel.workers import run_in_processes

# How long it waits for another unit before it ends: the run is over, or nobody is left who could tell.
IDLE_SECONDS = 60


def serve() -> NoReturn:
    """Do the calls that come in on standard input, one at a time; end with whoever sends them.

    A call is a pickle of (names of modules worth importing once, what do_call() takes). The answer on standard output
    is a pickle of (whether the unit's process told how it went, pickle of what `Finished` has after the unit).
    """
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Ctrl-C in the worker's terminal is the worker's business. It sends SIGTERM when a unit is not wanted any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    calls: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_take_calls, args=(calls,), daemon=True).start()
    try:
        while True:
            preload, call = calls.get(timeout=IDLE_SECONDS)
            for _, result, failure, trace in run_in_processes(do_call, [call], 1, preload):
                told = not failure or bool(trace)
                pickle.dump((told, pickle.dumps((result, failure, trace))), answers)
                answers.flush()
    except (queue.Empty, KeyboardInterrupt):
        os._exit(0)  # and not by returning: the thread holds standard input


def do_call(call: tuple[str, bytes]) -> Any:
    """Do one unit of work: a script's name, and a pickle of (work, unit) that it has made."""
    script, pickled = call
    # What the script itself defines was pickled as its main module's, as multiprocessing does it.
    sys.modules["__main__"] = importlib.import_module(script)
    work, unit = pickle.loads(pickled)
    return work(unit)


def _take_calls(calls: queue.SimpleQueue) -> None:
    while True:
        try:
            calls.put(pickle.load(sys.stdin.buffer))
        except EOFError:  # the worker is gone; the unit's process notices that this one is, and ends too
            os._exit(1)
