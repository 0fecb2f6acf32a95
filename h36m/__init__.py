"""The package behind the scripts: a folder per step (download, extract, process, export), and parallel processes.

Each script imports it before anything else. It stops a Python that is too old, so it and the scripts must be readable
for Python 3.6.
"""

import os
import sys

__version__ = "1.0"

# numpy would start a thread for each core when it is imported: 0.1 s of CPU on two cores, for products of small
# matrices, and workers fill the cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _print_without_traceback(kind: type, error: BaseException, trace) -> None:
    """Print Ctrl-C, or a package that cannot be imported, in one line; for the package, exit with status 2.

    Importing takes seconds on a network's disk, and h36m.cli.run comes after it.
    """
    if kind is KeyboardInterrupt:
        _print_error("interrupted")
    elif isinstance(error, ImportError) and "h36m" not in str(error.name) and "--debug" not in sys.argv:
        reason = str(error).strip().partition("\n")[0]
        _print_error(f"{reason}, for {sys.executable}; {_how_to_find_packages()}")
        raise SystemExit(2)
    else:
        sys.__excepthook__(kind, error, trace)


def _how_to_find_packages() -> str:
    """Return the remedy for a missing package: activate the environment that exists, or install the packages."""
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    environment = os.path.join(project, ".venv")  # noqa: PTH118
    if os.path.isdir(environment) and not os.path.samefile(environment, sys.prefix):  # noqa: PTH112, PTH121
        activate = r"Scripts\activate" if os.name == "nt" else "bin/activate"
        source = "" if os.name == "nt" else ". "
        return f"activate the virtual environment: {source}{os.path.join(environment, activate)}"  # noqa: PTH118
    return "run pip install -r requirements.lock, in a virtual environment (see docs/installation.md)"


def _print_error(message: str) -> None:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)  # noqa: PTH119


if sys.version_info < (3, 10):  # noqa: UP036
    _print_error(f"Python {sys.version.split()[0]} is too old; use Python 3.10 or newer (see docs/installation.md)")
    sys.exit(2)
sys.excepthook = _print_without_traceback
