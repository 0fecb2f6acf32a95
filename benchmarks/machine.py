"""What benchmarks share: where and when one ran, for the first line of its report; running and copying scripts."""

import importlib.metadata
import platform
import shutil
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


def copy_of_scripts(folder: Path) -> Path:
    """Copy extract_all.py, process_all.py and what they need into a new folder, to edit; return the folder."""
    shutil.copytree(ROOT / "h36m", folder / "h36m", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("extract_all.py", "process_all.py", "metadata.xml", "checksums.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def run_script(script: Path, *options, statuses: tuple[int, ...] = (0,)) -> None:
    """Run a script to its end, without output; any other exit status ends the benchmark."""
    command = [sys.executable, script, *map(str, options)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode not in statuses:
        raise SystemExit(f"{script.name} ended with status {ended.returncode}: {ended.stderr}")
