"""What the tests of downloading share: a root with a `config.ini`, and the scripts run in it as people run them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.faulty_site import FaultyServer, write_configuration

PROJECT = Path(__file__).resolve().parent.parent.parent

needs_axel = pytest.mark.skipif(
    not shutil.which("axel") and not os.environ.get("CI"), reason="axel is not installed on this machine"
)
BOTH = pytest.mark.parametrize("downloader", ["requests", pytest.param("axel", marks=needs_axel)])

# Faults are told from success within seconds here, where a person's run waits for minutes.
QUICK = {"H36M_STALL_SECONDS": "1", "H36M_RETRY_SECONDS": "0.01"}


@dataclass
class Ended:
    """A script that has ended."""

    status: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        return self.output + self.errors


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without a person's own settings for the scripts, and quick to notice faults."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("H36M_")}
    return kept | QUICK | more


def start(script: str, *options, cwd: Path, **variables: str) -> subprocess.Popen:
    """Start a script as a child process."""
    return subprocess.Popen(
        [sys.executable, str(PROJECT / script), *map(str, options)],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = 60) -> Ended:
    """Wait for a script that was started."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        pytest.fail(f"the script had not ended after {seconds} seconds:\n{output}{errors}")
    return Ended(process.returncode, output, errors)


class Downloads:
    """A folder to run the download scripts in, against one site."""

    def __init__(self, root: Path, site: FaultyServer, downloader: str = "requests", **configuration: str):
        self.root = root
        self.site = site
        root.mkdir(parents=True, exist_ok=True)
        self.config = write_configuration(root, site.base_url, downloader, **configuration)
        self.archives = root / "archives"
        # axel notes every ten seconds how far it is; with one second no test need last for a minute.
        (root / ".axelrc").write_text("save_state_interval = 1\n")

    def options(self, *options) -> list:
        return ["--checksums", self.site.archives / "checksums.txt", *options]

    def start(self, *options, script: str = "download_all.py", **variables: str) -> subprocess.Popen:
        return start(script, *self.options(*options), cwd=self.root, **{"HOME": str(self.root)} | variables)

    def run(self, *options, script: str = "download_all.py", **variables: str) -> Ended:
        return finish(self.start(*options, script=script, **variables))

    def is_right(self, name: str) -> bool:
        """Say whether an archive is the site's, to the last byte."""
        path = self.archives / f"{name}.tgz"
        return path.is_file() and path.read_bytes() == (self.site.archives / path.name).read_bytes()

    def leftovers(self) -> list[str]:
        """Return the names in `archives/` that are neither archives nor the run's own small files."""
        names = [path.name for path in self.archives.iterdir()]
        return sorted(name for name in names if not name.endswith(".tgz") and name not in (".lock", ".checked.json"))

    def part(self, name: str) -> Path:
        return self.archives / f"{name}.tgz.part"


def wait_until(condition, seconds: float = 20, what: str = "the condition") -> None:
    """Wait until a function returns true; the test fails if it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(f"{what} did not come about within {seconds} seconds")


def bytes_there(path: Path) -> int:
    """Return how many bytes of a file are on disk, holes not counted."""
    return path.stat().st_blocks * 512 if path.exists() else 0


def axels_at(folder: Path) -> list[int]:
    """Return the ids of the axel processes that write into a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if words[0].endswith(b"axel") and any(str(folder).encode() in word for word in words):
            found.append(int(process.name))
    return found


def interrupt(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)


def grow(disk: Path, megabytes: int) -> None:
    """Make a small disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", disk], check=True)


@contextlib.contextmanager
def nobody_may_write(disk: Path) -> Iterator[None]:
    """Let nobody write to a small disk while the `with` block runs; not even root, whom modes do not stop."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
