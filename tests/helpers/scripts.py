"""The scripts run as people run them: in processes of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
# Long enough for anything on a busy machine.
PATIENCE_SECONDS = 300

# For a sitecustomize.py: writes the archives that a script opens to opened.txt in the current folder.
RECORD_OPENS = """
import sys
def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".tgz", ".part")):
        with open("opened.txt", "a") as log:
            log.write(str(arguments[0]) + "\\n")
sys.addaudithook(note)
"""


class Ended(subprocess.CompletedProcess):
    """A script that has ended."""

    @property
    def text(self) -> str:
        """What it printed, errors last."""
        return self.stdout + self.stderr

    @property
    def errors(self) -> list[str]:
        """The lines of its errors, without those of its progress, which a busy machine brings on."""
        return errors_in(self.stderr)


def environment_without_settings(**more: str) -> dict[str, str]:
    """Return this process's environment without the user's own settings for the scripts."""
    return {key: value for key, value in os.environ.items() if not key.startswith("H36M_")} | more


def start_script(
    script: str | Path, *options, cwd: Path | None = None, environment: dict[str, str] | None = None, **more
) -> subprocess.Popen:
    """Start a script.

    Args:
        script: its name, or the path of a copy of it.
        options: for its command line.
        cwd: its current folder.
        environment: variables, beside this process's.
        more: for subprocess.Popen.
    """
    return subprocess.Popen(
        [sys.executable, str(PROJECT / script), *map(str, options)],
        cwd=cwd,
        env=environment_without_settings(**(environment or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def finish(process: subprocess.Popen, seconds: float = PATIENCE_SECONDS) -> Ended:
    """Wait until a script that was started has ended; the test fails if it does not."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        pytest.fail(f"the script had not ended after {seconds} seconds:\n{output}{errors}")
    return Ended(process.args, process.returncode, output, errors)


def run_script(script: str | Path, *options, **more) -> Ended:
    """Start a script as start_script() does, and wait until it has ended."""
    return finish(start_script(script, *options, **more))


def process(root: Path, *options, script: str | Path = "process_all.py", **more) -> Ended:
    """Run process_all.py, or a copy of it, on a root."""
    return run_script(script, "--root", root, *options, **more)


def errors_in(standard_error: str) -> list[str]:
    """Return the lines of a script's standard error without those of its progress, which a busy machine brings on."""
    return [line for line in standard_error.splitlines() if not line.startswith("processing: ")]


def wait_until(condition, what: str, seconds: float = PATIENCE_SECONDS, of: subprocess.Popen | None = None):
    """Wait until a function returns something true, and return that; the test fails if it does not.

    Args:
        condition: the function, without arguments.
        what: what is waited for, for the message of a failure.
        seconds: how long at most.
        of: a process that must not end meanwhile.
    """
    end = time.monotonic() + seconds
    while True:
        has_ended = of is not None and of.poll() is not None
        found = condition()
        if found:
            return found
        if has_ended:
            pytest.fail(f"the process ended before {what}: {of.communicate()}")
        if time.monotonic() > end:
            pytest.fail(f"{what} did not happen within {seconds} seconds")
        time.sleep(0.01)
