"""The package behind the scripts: a folder per step (download, extract, process, export), and parallel processes."""

import os
import sys

__version__ = "1.0"

# numpy would start a thread for each core when it is imported: 0.1 s of CPU on two cores, for products of small
# matrices, and workers fill the cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _print_without_traceback(kind: type, error: BaseException, trace) -> None:
    """Print Ctrl-C in one line: importing takes seconds on a network's disk, and h36m.cli.run comes after it."""
    if kind is KeyboardInterrupt:
        print(f"{os.path.basename(sys.argv[0])}: interrupted", file=sys.stderr)  # noqa: PTH119
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _print_without_traceback
