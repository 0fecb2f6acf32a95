"""Faults of syncs, renames and processes, which only a power cut or a kill shows: for each of them a test fails.

`make mutants` finds what the tests do not notice of all else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.scripts import PROJECT

# Exit statuses of pytest; all others mean that the tests did not run.
PASSED, FAILED = 0, 1


class Fault(NamedTuple):
    """A line that makes the project wrong."""

    file: str
    old: str  # a whole line of the file, without its indentation; only one is like it
    new: str
    test: str  # that fails then, below tests/


STORAGE, PLACE, WORKERS = "h36m/storage.py", "h36m/process/place.py", "h36m/parallel/workers.py"
RENAMED = "unit/test_storage.py::test_new_file_is_synced_first_and_its_folder_last"
IMAGES_FIRST = "unit/test_place.py::test_images_are_on_the_disk_before_their_annotations"
SLEEPING = "test_workers.py::test_sleeping_workers_end_with_their_run"
FAULTS = {
    "a file is renamed before its bytes are on the disk": Fault(STORAGE, "sync(source)", "pass", RENAMED),
    "a name is not on the disk": Fault(STORAGE, "sync(target.parent)", "pass", RENAMED),
    "an archive is recorded before it is on the disk": Fault(
        STORAGE, "sync(archive)", "pass", "unit/test_storage.py::test_archive_is_synced_before_its_record"
    ),
    "a file is written in place": Fault(
        STORAGE,
        'temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")',
        "temporary = path",
        "unit/test_storage.py::test_failed_write_keeps_the_old_file_and_leaves_no_other",
    ),
    "the old annot.h5 is there while its images go": Fault(
        PLACE,
        "_set_aside(folder, old, ANNOTATIONS_FILE)",
        "pass",
        "unit/test_place.py::test_a_crash_leaves_the_old_or_the_new",
    ),
    "annot.h5 has its name before its images are on the disk": Fault(
        PLACE, "sync_tree(unfinished)", "pass", IMAGES_FIRST
    ),
    "annot.h5 has its name before its images have theirs on the disk": Fault(
        PLACE, "sync_parents(folder)", "pass", IMAGES_FIRST
    ),
    "annot.h5 has its name before images next to users' files have theirs on the disk": Fault(
        PLACE, "sync(place)", "pass", "unit/test_place.py::test_names_of_images_next_to_users_files_are_on_the_disk"
    ),
    "a list of moves is not on the disk": Fault(
        PLACE,
        'write_atomically(unfinished / MOVES_FILE, json.dumps({"aside": aside, "moves": moves}))',
        '(unfinished / MOVES_FILE).write_text(json.dumps({"aside": aside, "moves": moves}))',
        IMAGES_FIRST,
    ),
    "a hole is not noted": Fault(
        "h36m/download/partial.py",
        "if position > missing[0][0] and not self._is_noted:",
        "if False:",
        "unit/test_partial.py::test_a_hole_is_noted_before_it_is_there",
    ),
    "a stop comes between the moves of a sequence": Fault(
        PLACE,
        "handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop in between would leave no annot.h5",
        "handler = signal.SIG_DFL",
        "test_process_faults.py::test_a_stop_leaves_no_sequence_half_in_place",
    ),
    "a worker outlives its run": Fault(WORKERS, "wait([parent.sentinel])", "threading.Event().wait()", SLEEPING),
    "a stop leaves the workers running": Fault(WORKERS, "process.terminate()", "pass", SLEEPING),
    "a killed worker ends the run": Fault(
        WORKERS,
        "except (EOFError, OSError):  # the process ended without a message, or within one",
        "except ZeroDivisionError:",
        "test_process_faults.py::test_killed_worker_costs_its_sequence_only",
    ),
}


def copy_of_project(folder: Path) -> Path:
    """Copy what the tests of the table need."""
    for name in ("h36m", "tests", "demo"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    names = ("pyproject.toml", "metadata.xml", "requirements.txt")
    for file in (*PROJECT.glob("*.py"), *(PROJECT / name for name in names)):
        shutil.copy(file, folder)
    return folder


def run_tests(project: Path, *tests: str) -> tuple[int, str]:
    """Run tests in a copy of the project; return pytest's exit status and output."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
    command += [f"tests/{test}" for test in tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    return ended.returncode, ended.stdout + ended.stderr


def with_fault(fault: Fault) -> str:
    lines = (PROJECT / fault.file).read_text(encoding="utf-8").splitlines(keepends=True)
    [number] = [number for number, line in enumerate(lines) if line.strip() == fault.old]
    lines[number] = lines[number].replace(fault.old, fault.new)
    return "".join(lines)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_can_be_made_in_the_code_as_it_is(name):
    compile(with_fault(FAULTS[name]), name, "exec")


@pytest.mark.slow
def test_tests_of_the_table_pass_without_a_fault(tmp_path):
    status, output = run_tests(copy_of_project(tmp_path), *dict.fromkeys(fault.test for fault in FAULTS.values()))
    assert status == PASSED, output


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_noticed(tmp_path, name):
    fault = FAULTS[name]
    project = copy_of_project(tmp_path)
    (project / fault.file).write_text(with_fault(fault), encoding="utf-8")
    status, output = run_tests(project, fault.test)
    assert status == FAILED, output
