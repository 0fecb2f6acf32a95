"""What benchmarks share: where and when one ran, for the first line of its report, and running a script."""

import importlib.metadata
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from h36m.parallel.cores import available_cores  # noqa: E402


def machine(*packages: str) -> str:
    """Return date, cores, processor, system, and the versions of Python and of some packages."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [line.partition(":")[2] for line in information.read_text().splitlines() if "model name" in line]
        model = names[0].strip() if names else model
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return ", ".join(
        [
            f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            f"{available_cores()} cores",
            model,
            platform.system(),
            f"Python {platform.python_version()}",
            *versions,
        ]
    )


def run_script(script: Path, *options, statuses: tuple[int, ...] = (0,)) -> None:
    """Run a script to its end, without output; any other exit status ends the benchmark."""
    command = [sys.executable, script, *map(str, options)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode not in statuses:
        raise SystemExit(f"{script.name} ended with status {ended.returncode}: {ended.stderr}")
