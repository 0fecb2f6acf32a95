"""Where Python looks for modules; importing this changes it, and the scripts do so before they import anything else.

The folder of the scripts and the current folder come last, so that a numpy.py or random.py that a user keeps there
hides no library. An empty entry of PYTHONPATH, as in `PYTHONPATH=$PYTHONPATH:/a/folder`, means the current folder.
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
