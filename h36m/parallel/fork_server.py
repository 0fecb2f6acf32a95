"""The server process that forks the workers of a run: it has imported their modules once for all.

h36m.parallel.workers starts this file as a script. `python -c`, with which multiprocessing starts its own fork server,
looks for modules in the current folder first; and that one listens at a socket in TMPDIR, whose path may be too long.
"""

import os
import sys


def main() -> None:
    """Run the tasks that arrive on the socket whose number is the first argument, and send back how each ended.

    The other arguments are where to look for modules. What arrives is (file of the script or None, modules, pickle of
    (work, tasks), jobs, debug). What is sent is (number of the task, Ending); the number is None for what ends the run.
    SIGINT, SIGTERM and SIGHUP are blocked by whoever starts this process: it ends with the run that it belongs to, when
    its workers have ended.
    """
    sys.path = sys.argv[2:]  # before anything is imported, see h36m.import_path
    from importlib import import_module
    from multiprocessing import get_context, spawn
    from multiprocessing.connection import Connection
    from pickle import loads
    from traceback import format_exc

    from h36m.errors import TaskError
    from h36m.parallel.workers import run_from_here

    caller = Connection(int(sys.argv[1]))
    script, modules, call, jobs, debug = caller.recv()
    try:
        if script:
            spawn.import_main_path(script)  # what it defines was pickled as its main module's
        for name in modules:
            import_module(name)
        work, tasks = loads(call)
        for ended in run_from_here(get_context("fork"), work, tasks, jobs, debug, caller):
            caller.send(ended)
    except TaskError as problem:
        caller.send((None, (None, str(problem), format_exc())))
    except (BrokenPipeError, ConnectionResetError):  # the run was killed
        pass
    except Exception as error:
        remedy = "; run pip install -r requirements.txt" if isinstance(error, ImportError) else ""
        failure = f"cannot start workers: {type(error).__name__}: {error}{remedy}"
        caller.send((None, (None, failure, format_exc())))


if __name__ == "__main__":
    main()
    os._exit(0)  # exit at once, whatever PYTHONINSPECT says
