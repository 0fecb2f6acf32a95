"""NASA's CDF library, as spacepy brings it: `from h36m.cdf import pycdf`, and nowhere else.

Importing it takes some 0.4 s, so h36m.poses does it when the first file is read.
"""

import os
import tempfile

# spacepy makes a folder `.spacepy` when it is imported, in the home directory unless told otherwise, and dies where it
# cannot (an arbitrary user in a container has no home). It needs the folder only while it is imported.
if "SPACEPY" in os.environ:
    from spacepy import pycdf
else:
    with tempfile.TemporaryDirectory(prefix="h36m-spacepy-") as _folder:
        os.environ["SPACEPY"] = _folder
        from spacepy import pycdf
    del os.environ["SPACEPY"]

__all__ = ["pycdf"]
