"""NASA's CDF library, as shipped with spacepy: import it with `from h36m.files.cdf import pycdf` only.

Importing it takes some 0.3 s, so h36m.files.poses does it when the first file is read.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from h36m.errors import TaskError

# spacepy imports these where they are installed, for functions that we do not use. They read settings (MPLBACKEND, a
# matplotlibrc in the current folder) that can end the import, and matplotlib doubles its time and memory.
NOT_NEEDED = ("matplotlib", "astropy")
LIBRARY_FILES = ("libcdf.so", "libcdf.dylib")  # on Linux, macOS


class FileName(str):
    """A file's name for pycdf.CDF, which encodes it as UTF-8, whatever the locale and the file system's encoding."""

    def encode(self, *_) -> bytes:
        return os.fsencode(str(self))


def import_pycdf() -> ModuleType:
    """Import spacepy.pycdf unaffected by the user's environment.

    Raises:
        TaskError: the package cannot be imported, or there is no temporary folder to write to.
    """
    try:
        # spacepy makes a folder `.spacepy` when it is imported and reads settings there. It needs the folder only then.
        with tempfile.TemporaryDirectory(prefix="h36m-spacepy-", ignore_cleanup_errors=True) as folder:
            os.environ["CDF_TMP"] = tempfile.gettempdir()  # the library itself reads it, whenever it opens a file
            variables = {"SPACEPY": folder} | library_variables()
            with changed_environment(variables), hidden_modules(NOT_NEEDED), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PYTHONWARNINGS=error would end the import at any of them
                from spacepy import pycdf
        return pycdf
    except OSError as error:
        if error.errno is None:  # a shared library that cannot be loaded
            raise TaskError(f"cannot load NASA's CDF library: {error}; install spacepy again") from error
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise TaskError(f"cannot import spacepy: {reason}; set TMPDIR to a folder with free space") from error
    except ImportError as error:
        raise TaskError(f"cannot import spacepy: {error}; run pip install -r requirements.txt") from error


def library_variables() -> dict[str, str]:
    """Return the variables that make spacepy load its own library, whichever others are installed.

    Empty where spacepy was built without one: then the user's own variables give its location.
    """
    spec = importlib.util.find_spec("spacepy")
    for folder in (spec and spec.submodule_search_locations) or ():
        if any(Path(folder, name).is_file() for name in LIBRARY_FILES):
            return {"CDF_LIB": folder}
    return {}


@contextlib.contextmanager
def changed_environment(variables: dict[str, str]) -> Iterator[None]:
    """Set some environment variables while the `with` block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def hidden_modules(names: tuple[str, ...]) -> Iterator[None]:
    """Make the import of some modules an ImportError while the `with` block runs, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is what the import system documents
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


pycdf = import_pycdf()
