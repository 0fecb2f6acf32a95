"""What a benchmark was run on and when, for the first line of its report."""

import importlib.metadata
import platform
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
