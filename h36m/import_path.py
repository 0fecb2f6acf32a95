"""Set Python's module search path, how numpy is loaded, and what Ctrl-C prints meanwhile.

The scripts import this before anything else.

The folder of the scripts and the current folder come last, so that a numpy.py or random.py that a user keeps there
shadows no library. An empty entry of PYTHONPATH, as in `PYTHONPATH=$PYTHONPATH:/a/folder`, means the current folder.
"""

# These two are imported before any script runs; another one might be the user's.
import os
import sys


def _with_own_folders_last(folders: list[str]) -> list[str]:
    own = [os.path.dirname(os.path.dirname(os.path.realpath(__file__)))]  # noqa: PTH120
    try:
        own.append(os.path.realpath(""))
    except OSError:  # the current folder was deleted
        folders = [folder for folder in folders if folder]
    return sorted(dict.fromkeys(folders), key=lambda folder: os.path.realpath(folder) in own)


sys.path[:] = _with_own_folders_last(sys.path)

# Without it numpy starts a thread for each core when it is imported: 0.1 s of CPU on two cores, for products of small
# matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _print_without_traceback(kind: type, error: BaseException, trace) -> None:
    """Print Ctrl-C in one line: importing takes seconds on a network's disk, and h36m.cli.run comes after it."""
    if kind is KeyboardInterrupt:
        print(f"{os.path.basename(sys.argv[0])}: interrupted", file=sys.stderr)  # noqa: PTH119
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _print_without_traceback
