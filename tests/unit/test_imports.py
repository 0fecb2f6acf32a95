"""h36m/import_path.py and h36m/cdf.py: what is imported, and from where."""

import os
import subprocess
import sys

from helpers.scripts import PROJECT

from h36m import import_path

# What a notebook, a cluster or a wrong setting may leave in the environment.
VARIABLES = {"MPLBACKEND": "module://no.such", "SPACEPY": "/dev/null/x", "CDF_LIB": "/no/such", "CDF_TMP": "/no/such"}


def test_own_folders_come_last_and_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    others = [str(tmp_path.parent), os.sep]
    found = import_path._with_own_folders_last([str(PROJECT), "", *others, str(tmp_path), str(PROJECT)])
    assert found == [*others, str(PROJECT), "", str(tmp_path)]


def test_cdf_library_is_the_one_that_spacepy_brings_and_no_matplotlib():
    """Whatever the user's variables say; they are as before when it is imported."""
    script = (
        "import os, sys; before = dict(os.environ); from h36m.cdf import pycdf\n"
        "changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}\n"
        "print(changed, 'matplotlib' in sys.modules, 'site-packages' in pycdf.lib.libpath)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=PROJECT,
        env=dict(os.environ) | VARIABLES,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("{'CDF_TMP'} False True\n", "")
