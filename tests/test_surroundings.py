"""The scripts in surroundings that a user did not choose: variables, folders, streams, limits, lost helpers."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.marks import needs_proc, slow
from helpers.processes import workers_in_session
from helpers.releases import contents
from helpers.screens import Terminal
from helpers.scripts import PROJECT, environment_without_settings, process, run_script, wait_until
from helpers.system import needs_seccomp, take_locks_away

from h36m.errors import TaskError
from h36m.parallel.workers import run_in_processes

ONE = ("--subjects", "S1", "--actions", "Walking-1", "--cameras", "54138969", "--every", "60", "--no-segments")

# Modules that the scripts, or what they import, import; each has a name that a user's own file may have.
THEIR_NAMES = ("av", "numpy", "random", "h36m", "json", "socket", "tqdm", "multiprocessing")
# What a notebook, a cluster or a wrong setting may leave in the environment.
VARIABLES = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MATPLOTLIBRC": "/no/such/folder",
    "MPLCONFIGDIR": "/no/such/folder",
    "SPACEPY": "/dev/null/nowhere",
    "CDF_LIB": "/no/such/folder",
    "CDF_BASE": "/no/such/folder",
    "CDF_TMP": "/no/such/folder",
    "HOME": "/dev/null",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "64",
}
# A terminal that knows ASCII only, where Python does not help itself by using UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def folder_with_their_modules(folder: Path) -> Path:
    """Make a folder that breaks every program that reads modules or settings from it."""
    folder.mkdir(parents=True)
    for name in THEIR_NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{folder / name}.py was run')\n")
    (folder / "matplotlibrc").write_bytes(b"\xff\xfe: no text\n")
    return folder


def long_folder(folder: Path) -> Path:
    """Make a folder that is too long for the path of a socket, which has 107 bytes."""
    folder = folder / ("of a batch system " * 8)
    folder.mkdir()
    return folder


def assert_processed(ended, root: Path, expected: Path) -> None:
    assert (ended.returncode, ended.errors) == (0, []), ended.text
    found = contents(root / "processed")
    assert found and found == contents(expected / "processed")


@pytest.fixture(scope="module")
def expected(demo_run, tmp_path_factory) -> Path:
    """What an ordinary run makes of one view: do not write there."""
    root = tmp_path_factory.mktemp("ordinary")
    (root / "extracted").symlink_to(demo_run / "data" / "extracted")
    assert process(root, *ONE).returncode == 0
    return root


@pytest.fixture
def root(demo_run, tmp_path) -> Path:
    """A root whose name is not ASCII, with the demo's unpacked files and nothing processed."""
    root = tmp_path / "données"
    root.mkdir()
    (root / "extracted").symlink_to(demo_run / "data" / "extracted")
    return root


# -- variables and folders ---------------------------------------------------------------------------------------------


@needs_seccomp
def test_processing_does_not_depend_on_its_surroundings(root, expected, tmp_path):
    """All at once, and without file locks where an earlier run has left a lock file."""
    locks = root / "processed" / ".locks"
    locks.mkdir(parents=True)
    (locks / "S1 Walking-1.lock").write_text("123\nsome-node\n")
    ended = process(
        root,
        *ONE,
        cwd=folder_with_their_modules(tmp_path / "here"),
        environment=VARIABLES | ASCII | {"TMPDIR": str(long_folder(tmp_path))},
        preexec_fn=lambda: take_locks_away(errno.ENOLCK),  # HDF5 itself knows ENOSYS
    )
    assert_processed(ended, root, expected)
    assert ended.stdout.count("this file system does not support file locks; do not start a second run on it") == 1
    assert not list(filter(Path.is_dir, (tmp_path / "here").iterdir())), "nothing was left there"


@pytest.mark.slow
@pytest.mark.parametrize("temporary", ["read-only", "full"])
def test_no_temporary_folder_changes_what_is_processed(root, expected, tmp_path, small_disk, read_only, temporary):
    folder = tmp_path / "temporary"
    if temporary == "read-only":
        folder.mkdir()
        read_only(folder)
    else:
        folder = small_disk(1)
        (folder / "filler").write_bytes(bytes(1 << 20))
    assert_processed(process(root, *ONE, environment={"TMPDIR": str(folder)}), root, expected)


@pytest.mark.slow
def test_nearly_full_temporary_folder_is_one_line(root, small_disk):
    folder = small_disk(1)
    (folder / "filler").write_bytes(bytes((1 << 20) - os.sysconf("SC_PAGE_SIZE")))
    ended = process(root, *ONE, environment={"TMPDIR": str(folder)})
    assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
    assert "cannot import spacepy: " in ended.stderr and "No space left on device; set TMPDIR to a" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("here", ["deleted", "unreadable"])
def test_no_current_folder_changes_what_is_processed(root, expected, tmp_path, here):
    folder = tmp_path / "here"
    folder.mkdir(0o300)
    preexec = folder.rmdir if here == "deleted" else None
    assert_processed(process(root, *ONE, cwd=folder, preexec_fn=preexec), root, expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no names that are not UTF-8")
def test_folder_whose_name_is_not_utf8_is_processed(demo_run, expected, tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es"))
    root.mkdir()
    (root / "extracted").symlink_to(demo_run / "data" / "extracted")
    assert_processed(process(root, *ONE, environment=ASCII), root, expected)


@needs_seccomp
def test_unpacking_goes_on_without_locks_and_says_so_once(demo_run, tmp_path):
    """Where an earlier run has left a lock file, and in a folder of modules of the user's."""
    root = tmp_path / "a root"
    (root / "extracted").mkdir(parents=True)
    (root / "archives").symlink_to(demo_run / "data" / "archives")
    (root / "extracted" / ".lock").write_text("123\nsome-node\n")
    ended = run_script(
        *("extract_all.py", "--root", root, "--subjects", "S1", "--kinds", "Poses_D2_Positions"),
        cwd=folder_with_their_modules(tmp_path / "here"),
        environment=VARIABLES,
        preexec_fn=lambda: take_locks_away(errno.ENOSYS),
    )
    assert (ended.returncode, ended.errors) == (0, []), ended.text
    assert ended.stdout.count("this file system does not support file locks; do not start a second run on it") == 1
    assert list((root / "extracted" / "S1" / "Poses_D2_Positions").glob("*.cdf"))


# -- streams -----------------------------------------------------------------------------------------------------------


def shell(command: str, *arguments) -> subprocess.CompletedProcess:
    """Run process_all.py as `"$@"` of a command of the shell's."""
    words = ["sh", sys.executable, PROJECT / "process_all.py", *arguments]
    return subprocess.run(
        ["sh", "-c", command, *map(str, words)], capture_output=True, text=True, env=environment_without_settings()
    )


@pytest.mark.parametrize("streams", ["</dev/null >/dev/full 2>&1", slow(">/dev/full")])
def test_a_run_goes_on_whatever_its_streams_are(root, expected, streams):
    ended = shell(f'"$@" {streams}', "--root", root, *ONE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert contents(root / "processed") == contents(expected / "processed")


def test_output_may_be_closed_early(expected):
    """As with `| head`: neither an error nor Python's message at exit, with status 120."""
    file = expected / "processed" / "S1" / "Walking-1" / "annot.h5"
    ended = shell('{ "$@"; echo $? >&2; } | true', "--describe", file)
    assert ended.stderr == "0\n"


# -- workers -----------------------------------------------------------------------------------------------------------


@needs_proc
def test_run_in_a_terminal_forks_without_other_threads(root):
    """Such as the one that watches tqdm's bars. Python 3.12 and later warn where a process with threads forks."""
    terminal = Terminal(120, "process_all.py", *ONE, cwd=root, PYTHONWARNINGS="always")
    run = terminal.run
    wait_until(lambda: workers_in_session(run.pid), "a worker", of=run)
    assert len(list(Path(f"/proc/{run.pid}/task").iterdir())) == 1
    terminal.finish()
    shown = terminal.written
    assert run.returncode == 0 and "1 of 1 sequence, 1 image" in shown, shown
    assert "multi-threaded" not in shown, shown


def test_module_that_cannot_be_imported_is_one_error():
    with pytest.raises(
        TaskError, match=r"^cannot start workers: ModuleNotFoundError: No module named 'no_such_module';"
    ):
        list(run_in_processes(str.upper, ["a"], jobs=1, preload=("no_such_module",)))


@pytest.mark.slow
def test_too_few_open_files_are_reported(root):
    ended = process(root, *ONE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7)))
    assert ended.returncode == 1 and len(ended.errors) == 1
    assert "cannot start a process: Too many open files; " in ended.stderr


def test_fewer_workers_run_where_the_system_allows_no_more():
    """A limit of open files is lower than the jobs take, and all tasks are done."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    try:
        tasks = [str(number) for number in range(40)]
        ended = list(run_in_processes(str.upper, tasks, jobs=40))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(each.result for each in ended) == sorted(tasks) and not any(each.failure for each in ended)
