"""Run tasks in separate processes: a task that fails, or whose process is killed, costs that task only."""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any, NamedTuple

from h36m.cli import print_line
from h36m.dataset import UNPACK_ALL_AGAIN
from h36m.errors import TaskError
from h36m.stop_signals import STOP_SIGNALS, stop_on_signals

FORK_SERVER = Path(__file__).with_name("fork_server.py")
# The signals of a crash in a library; NASA's crashes on some damaged files.
CRASHES = [-getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE") if hasattr(signal, name)]
# How long a process whose parent is gone may take to delete a few thousand images, on a slow disk too.
SECONDS_TO_CLEAR_AWAY = 30

# The outcome of a task: result, or failure in one line and its traceback.
Ending = tuple[Any, str | None, str | None]


class Finished(NamedTuple):
    """The outcome of a task: a result, or one line that says why there is none."""

    task: Any
    result: Any
    failure: str | None
    traceback: str | None


def run_in_processes(
    work: Callable[[Any], Any], tasks: Iterable, jobs: int, preload: tuple[str, ...] = (), debug: bool = False
) -> Iterator[Finished]:
    """Run tasks, `jobs` at a time, each in its own process; yield their outcomes, in the order of completion.

    A process per task keeps memory bounded and lets the system kill one of them without harm to the others. Where the
    platform can fork, each is forked from a small server that has imported the modules before, so it starts at once.
    When the caller stops early (Ctrl-C included) the processes are ended; when it is killed they end themselves.

    Args:
        work: called with a task; importable by name, and it and what it returns can be pickled.
        tasks: what to do.
        jobs: how many at a time.
        preload: names of the modules worth importing once.
        debug: print what this project's modules log on the way, to standard error.

    Raises:
        TaskError: no process can be started, or the server died.
    """
    tasks = list(tasks)
    if hasattr(os, "fork"):
        ended = _run_beside_server(work, tasks, jobs, preload, debug)
    else:
        ended = run_from_here(multiprocessing.get_context("spawn"), work, tasks, jobs, debug)
    with contextlib.closing(ended):
        for number, ending in ended:
            yield Finished(tasks[number], *ending)


def _run_beside_server(
    work: Callable[[Any], Any], tasks: list, jobs: int, preload: tuple[str, ...], debug: bool
) -> Generator[tuple[int, Ending], None, None]:
    """Run tasks in processes that h36m.parallel.fork_server forks."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    call = pickle.dumps((work, tasks))
    connection, server = _start_server()
    try:
        connection.send((script, preload, call, jobs, debug))
        for _ in tasks:
            number, ending = connection.recv()
            if number is None:
                _, failure, trace = ending
                if debug:
                    print_line(trace, sys.stderr)
                raise TaskError(failure)
            yield number, ending
    except (EOFError, ConnectionError):
        ending = _ending_of(server.wait())
        raise TaskError(f"the process that starts the workers {ending}; run again to resume") from None
    finally:
        connection.close()  # by which it ends, and its workers before it
        server.wait()


def _start_server() -> tuple[Connection, subprocess.Popen]:
    """Start the fork server; return the connection to it.

    Raises:
        TaskError: the system does not let it start.
    """
    # Tasks fill the cores: numpy's threads would only wait, and busily.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the server inherits it, see there
    try:
        connection, servers_end = multiprocessing.Pipe()
        with servers_end:
            number = servers_end.fileno()
            command = [sys.executable, *options, str(FORK_SERVER), str(number), *sys.path]
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[number])
    except OSError as error:
        raise TaskError(cannot_start(error)) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return connection, server


def run_from_here(
    context: Any, work: Callable[[Any], Any], tasks: list, jobs: int, debug: bool, caller: Connection | None = None
) -> Generator[tuple[int, Ending], None, None]:
    """Run tasks in children of this process; yield how each ended with its number, in the order of ending.

    Args:
        context: multiprocessing's, "spawn" or "fork".
        work, tasks, jobs, debug: see run_in_processes().
        caller: the connection to the process that this one works for. When that closes it, the children are ended.

    Raises:
        TaskError: no process can be started.
    """
    waiting = deque(enumerate(tasks))
    running: dict[Any, tuple[int, Any]] = {}  # task and process by the receiving end of a pipe
    # A child that is forked holds this process's ends too, unless it closes them: no end would be seen while it lives.
    is_forked = context.get_start_method() == "fork"
    parent_lives, this_lives = context.Pipe(duplex=False) if is_forked else (None, None)
    to_close = [each for each in (caller, this_lives) if each]

    def start(number: int, task: Any) -> None:
        receiver, sender = context.Pipe(duplex=False)
        with sender:
            arguments = (work, task, sender, debug, parent_lives, to_close if is_forked else [])
            process = context.Process(target=_run_and_send, args=arguments, daemon=True)
            process.start()
        running[receiver] = (number, process)

    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                try:
                    start(*waiting[0])
                    waiting.popleft()
                except OSError as error:
                    if not running:
                        raise TaskError(cannot_start(error)) from error
                    jobs = len(running)  # as many as the system allows
            ready: list[Any] = wait([*running, *([caller] if caller else [])])
            if caller in ready:  # nothing is sent after the tasks, so it was closed
                return
            for receiver in ready:
                number, process = running.pop(receiver)
                try:
                    ending = receiver.recv()
                    process.join()
                except (EOFError, OSError):  # the process ended without a message, or within one
                    process.join()
                    ending = (None, how_it_ended(process.exitcode), None)
                receiver.close()
                yield number, ending
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _run_and_send(
    work: Callable[[Any], Any],
    task: Any,
    sender: Connection,
    debug: bool,
    parent_lives: Connection | None,
    to_close: list[Connection],
) -> None:
    for each in to_close:
        each.close()
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in a child process"
    sentinel = parent_lives or parent.sentinel
    run_task(work, task, sender.send, lambda: wait([sentinel]), sys.stderr if debug else None)


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
    except Exception as error:  # a bug: sent as this task's failure, so that the others continue
        send((None, f"unexpected {type(error).__name__}: {error}", traceback.format_exc()))


def end_with_parent(wait_for_parent: Callable[[], Any]) -> None:
    """Have SIGTERM, and the end of the parent however it comes, end this process; Ctrl-C does nothing.

    The main thread, which calls this, gets a SystemExit wherever it is, so that it clears its unfinished files away.
    """
    gone = threading.Event()

    def end_by(number: int) -> SystemExit | None:
        # Ctrl-C reaches every process of a terminal, and the parent handles it.
        if number != signal.SIGTERM and not gone.is_set():
            return None
        for each in STOP_SIGNALS:  # a second one would interrupt the cleaning up
            signal.signal(each, signal.SIG_IGN)
        return SystemExit(1)

    def watch() -> None:
        wait_for_parent()
        gone.set()
        # SIGINT wakes the main thread on Windows too.
        threading.Thread(target=send_until_raised, args=[signal.SIGINT], daemon=True).start()
        time.sleep(SECONDS_TO_CLEAR_AWAY)
        os._exit(1)

    send_until_raised = stop_on_signals(STOP_SIGNALS, end_by)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # the fork server has them blocked
    threading.Thread(target=watch, daemon=True).start()


def how_it_ended(exitcode: int | None) -> str:
    """Return what to print about a process that ended without a result.

    Args:
        exitcode: its status, or the negative number of the signal that ended it.
    """
    remedy = "run again"
    if exitcode in CRASHES:
        remedy = f"one of its files in extracted/ may be damaged; {UNPACK_ALL_AGAIN}"
    return f"its process {_ending_of(exitcode)}; {remedy}"


def _ending_of(exitcode: int | None) -> str:
    if exitcode == -getattr(signal, "SIGKILL", 9):
        return "was killed (out of memory? try fewer --jobs)"
    if exitcode in [-number for number in signal.Signals]:
        return f"was killed by {signal.Signals(-exitcode).name}"
    return f"exited with status {exitcode}"


def cannot_start(error: OSError) -> str:
    """Return what to print where the system does not let a process start."""
    return f"cannot start a process: {error.strerror}; end other programs or raise the limits (ulimit -a)"
