"""One run of the demo for all tests, however many processes run them."""

import subprocess
import sys
from pathlib import Path

from helpers.scripts import PROJECT

from h36m.locks import locked

SUBJECT_OPTIONS = ["--subjects", "S1", "S9"]
ACTION_OPTIONS = ["--actions", "Greeting-2", "Walking-1"]


def shared_demo(base: Path) -> Path:
    """Run `python -m demo --short` in a folder that all processes of a test run share, unless another has done it.

    Returns:
        its folder, with a blank in the path: release/, data/, and output.txt with what was printed.
    """
    folder = base / "demo run" / "short demo"
    folder.parent.mkdir(exist_ok=True)
    output = folder / "output.txt"
    with locked(folder.with_suffix(".lock")):
        if not output.is_file():
            command = [sys.executable, "-m", "demo", "--short", folder]
            ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            output.write_text(ended.stdout)
    return folder
