"""NASA's CDF library, as shipped with spacepy: import it with `from h36m.files.cdf import pycdf` only.

Importing it takes some 0.3 s, so h36m.files.poses does it when the first file is read.
"""

import importlib.util
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

from h36m.errors import TaskError

# spacepy imports these where they are installed, for functions that we do not use. They read settings (MPLBACKEND, a
# matplotlibrc in the current folder) that can end the import, and matplotlib doubles its time and memory.
NOT_NEEDED = ("matplotlib", "astropy")


class FileName(str):
    """A file's name for pycdf.CDF, which encodes it as UTF-8, whatever the locale and the file system's encoding."""

    def encode(self, *_) -> bytes:
        return os.fsencode(str(self))


def import_pycdf() -> ModuleType:
    """Import spacepy.pycdf unaffected by the user's environment.

    Raises:
        TaskError: the package cannot be imported, or there is no temporary folder to write to.
    """
    spec = importlib.util.find_spec("spacepy")
    variables = dict(os.environ)
    hidden = [name for name in NOT_NEEDED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # the import system documents None
    try:
        variables["CDF_TMP"] = tempfile.gettempdir()  # the library itself reads it, whenever it opens a file
        # spacepy makes a folder `.spacepy` when it is imported and reads settings there. It needs the folder only then.
        with tempfile.TemporaryDirectory(prefix="h36m-spacepy-", ignore_cleanup_errors=True) as folder:
            # Its own library, whichever others are installed; where it has none, it looks elsewhere by itself.
            os.environ |= {"SPACEPY": folder, "CDF_LIB": str(Path(spec.origin).parent) if spec and spec.origin else ""}
            with warnings.catch_warnings():
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
    finally:
        for name in hidden:
            del sys.modules[name]
        os.environ.clear()
        os.environ |= variables


pycdf = import_pycdf()
