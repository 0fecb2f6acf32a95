"""Shared by the tests of downloading: a root with a `config.ini`, and the scripts run in it as users run them."""

import signal
import subprocess
from pathlib import Path

from helpers.faulty_site import FaultyServer, write_configuration
from helpers.scripts import Ended, finish, start_script

# Faults are noticed within seconds here, while a user's run waits for minutes.
QUICK = {"H36M_STALL_SECONDS": "1.5", "H36M_RETRY_SECONDS": "0.01"}


class Downloads:
    """A folder to run the download scripts in, against one site."""

    def __init__(self, root: Path, site: FaultyServer, downloader: str = "requests", **configuration: str):
        self.root = root
        self.site = site
        root.mkdir(parents=True, exist_ok=True)
        self.config = write_configuration(root, site.base_url, downloader, **configuration)
        self.archives = root / "archives"

    def options(self, *options) -> list:
        return ["--checksums", self.site.archives / "checksums.txt", *options]

    def start(self, *options, script: str = "download_all.py", **variables: str) -> subprocess.Popen:
        """Start a script; variables are those of its environment."""
        variables = QUICK | {"HOME": str(self.root)} | variables
        return start_script(script, *self.options(*options), cwd=self.root, environment=variables)

    def run(self, *options, script: str = "download_all.py", seconds: int = 60, **variables: str) -> Ended:
        """Start a script, and wait until it has ended; it is an error if that takes so many seconds."""
        return finish(self.start(*options, script=script, **variables), seconds=seconds)

    def is_right(self, name: str) -> bool:
        """Return whether an archive is the site's, to the last byte."""
        path = self.archives / f"{name}.tgz"
        return path.is_file() and path.read_bytes() == (self.site.archives / path.name).read_bytes()

    def leftovers(self) -> list[str]:
        """Return the names in `archives/` that are neither archives nor the run's own small files."""
        names = [path.name for path in self.archives.iterdir()]
        return sorted(name for name in names if not name.endswith(".tgz") and name not in (".lock", ".checked.json"))

    def part(self, name: str) -> Path:
        return self.archives / f"{name}.tgz.part"


def bytes_there(path: Path) -> int:
    """Return how many bytes of a file are on disk, without its holes."""
    return path.stat().st_blocks * 512 if path.exists() else 0


def interrupt(process: subprocess.Popen) -> None:
    """Do what Ctrl-C does."""
    process.send_signal(signal.SIGINT)
