"""Marks of tests and of their values."""

import os
import shutil
from pathlib import Path

import pytest

needs_axel = pytest.mark.skipif(
    not shutil.which("axel") and not os.environ.get("CI"), reason="axel is not installed on this machine"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc to see processes in")
BOTH = pytest.mark.parametrize("downloader", ["requests", pytest.param("axel", marks=needs_axel)])
# With axel some tests take long, and what they test is much the same.
BOTH_AXEL_SLOW = pytest.mark.parametrize(
    "downloader", ["requests", pytest.param("axel", marks=[needs_axel, pytest.mark.slow])]
)


def slow(*values):
    """Return a test's values that are left to the longer tests, since quicker ones are much like them."""
    return pytest.param(*values, marks=pytest.mark.slow)
