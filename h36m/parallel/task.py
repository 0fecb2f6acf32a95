"""The process that a Dask worker starts to run one task.

h36m.parallel.cluster packs the project into a zip, whose __main__ calls main(). So a worker's own process never runs
the project's code: it survives whatever a task does, need not have the project, and never has an old version of it.
"""

import importlib
import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from h36m.parallel.workers import Ending, run_task


def main() -> None:
    """Read the file `call` of the current folder, run its task, and write the file `result`, complete or not at all.

    The call is a pickle of (script name, pickle of (work, task), debug); the result is a pickle of (Ending, log).
    Nothing arrives on standard input: the worker holds it open for as long as the task is wanted.
    """
    folder = Path.cwd()
    script, pickled, debug = pickle.loads((folder / "call").read_bytes())
    log = io.StringIO()

    def write_result(ending: Ending) -> None:
        part = folder / "result.part"
        part.write_bytes(pickle.dumps((ending, log.getvalue())))
        part.replace(folder / "result")

    run_task(_load_and_work, (script, pickled), write_result, lambda: os.read(0, 1), log if debug else None)


def _load_and_work(call: tuple[str, bytes]) -> Any:
    script, pickled = call
    # What the script itself defines was pickled as its main module's, as multiprocessing does it.
    sys.modules["__main__"] = importlib.import_module(script)
    work, task = pickle.loads(pickled)
    return work(task)
