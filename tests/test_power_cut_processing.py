"""Power cuts while archives are unpacked and sequences processed, on real file systems.

What is on the disk at some moment is mounted, and the next run finishes it: all is right, or done again.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from helpers.disks import commit_names, copy_after_power_cut, make_disk, mounted, sync_disk
from helpers.marks import needs_proc, slow
from helpers.releases import contents, copy_of_scripts, make_extracted
from helpers.scripts import Ended, finish, run_script, start_script, wait_until

from demo.release import Recording
from h36m.dataset import KIND_FACTS, KINDS, POSES_2D, POSES_3D, VIDEOS, Archive, archive_file, unpacked_folder
from h36m.sequences import file_names

pytestmark = needs_proc

MEGABYTES = 64  # of the disk
MOMENTS = 10  # of a run, its end among them; for each another run follows, of a second or two
FILES = 4  # of an archive
BYTES = 40_000  # of an unpacked file: several blocks
RECORDINGS = [Recording("S1", "Walking-1", 4), Recording("S1", "Greeting-2", 4)]

# Appended to the scripts' own code, so that child processes have it too: the process stops before it makes, renames or
# removes anything in the folders.
STOP_BEFORE_EACH_STEP = """
import signal, sys, threading
def watch(event, arguments):
    if event in ("os.rename", "os.mkdir", "os.utime", "os.remove", "os.rmdir", "shutil.rmtree"):
        if any(f"/root/{name}" in str(arguments[0]) for name in ("archives", "extracted", "processed")):
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
sys.addaudithook(watch)
"""

ON_EACH = pytest.mark.parametrize("file_system", ["ext4", "xfs"])
ON_EXT4_AND_SLOWLY_ON_XFS = pytest.mark.parametrize("file_system", ["ext4", slow("xfs")])


@pytest.fixture
def disk(tmp_path, file_system):
    """A mounted disk; its file is beside it, `disk.img`."""
    make_disk(tmp_path / "disk.img", MEGABYTES, file_system)
    with mounted(tmp_path / "disk.img", tmp_path / "disk", file_system) as folder:
        yield folder


@pytest.fixture
def stopping_scripts(tmp_path):
    """A folder with copies of the scripts that stop before each step."""
    folder = tmp_path / "scripts"
    copy_of_scripts(folder)
    with (folder / "h36m" / "__init__.py").open("a") as file:
        file.write(STOP_BEFORE_EACH_STEP)
    return folder


def stopped_process(session: int) -> int | None:
    """Return a process of a session that is stopped; None if there is none."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, _, rest = path.read_text().partition(" (")
            state, _, _, its_session = rest.rpartition(") ")[2].split()[:4]
            if state == "T" and int(its_session) == session:
                return int(number)
    return None


def moments(process: subprocess.Popen) -> Iterator[None]:
    """Yield whenever a process of a script has stopped before a step, and let it go on after that, until all ended.

    Args:
        process: in a session of its own.
    """
    try:
        while True:
            stopped = wait_until(
                lambda: stopped_process(process.pid) or process.poll() is not None, "the next step", 60
            )
            if stopped is True:
                return
            yield
            os.kill(stopped, signal.SIGCONT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def copies_of(disk: Path, process: subprocess.Popen, seed: str) -> list[Path]:
    """Copy a disk at MOMENTS moments of a run, the last of which is its end. Before some, names are written down."""
    chance, copies = random.Random(seed), []
    folder = disk.with_name("copies")
    folder.mkdir()

    def copy() -> None:
        if chance.random() < 0.5:
            commit_names(disk)
        copies.append(folder / f"{len(copies)}.img")
        copy_after_power_cut(disk, disk.with_suffix(".img"), copies[-1])

    for _ in moments(process):
        copy()
    ended = finish(process)
    assert ended.returncode == 0, ended.text
    assert len(copies) >= MOMENTS - 1, "there are enough steps"
    kept = chance.sample(copies, MOMENTS - 1)
    for path in set(copies) - set(kept):
        path.unlink()
    commit_names(disk)
    copies.append(folder / "end.img")
    copy_after_power_cut(disk, disk.with_suffix(".img"), copies[-1])
    return [path for path in copies if path in kept] + copies[-1:]


def finish_each(
    copies: list[Path], file_system: str, faults_of: Callable[[Path], list[str]], run: Callable[[Path], Ended]
) -> dict[str, list[str]]:
    """Mount copies of a disk, run a script on each, and return what is wrong, before and after, by the copy's name.

    The last is of the end of a run: the script has to find that nothing is to be done.
    """
    wrong = {}
    for copy in copies:
        with mounted(copy, copy.with_suffix(""), file_system) as folder:
            faults = [f"before: {fault}" for fault in faults_of(folder / "root")]
            ended = run(folder / "root")
            if ended.returncode:
                faults.append(ended.text)
            if copy == copies[-1] and "nothing to do" not in ended.stdout:
                faults.append(f"lost: {ended.text}")
            faults += [f"after: {fault}" for fault in faults_of(folder / "root", is_finished=True)]
        copy.unlink()
        if faults:
            wrong[copy.stem] = faults
    return wrong


# -- extract_all.py ----------------------------------------------------------------------------------------------------


def files_of(kind: str, version: int) -> dict[str, bytes]:
    """Return the files of a version of an archive, by their names."""
    chance = random.Random(f"{kind} {version}")
    names = list(file_names(Archive(kind, "S1")).values())[:FILES]
    return {name: chance.randbytes(BYTES + number + version) for number, name in enumerate(names)}


def write_archive(root: Path, kind: str, version: int) -> None:
    path = archive_file(root, Archive(kind, "S1"))
    source = root / "source"
    for name, content in files_of(kind, version).items():
        file = source / "S1" / KIND_FACTS[kind].inner_folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(source / "S1", "S1")
    shutil.rmtree(source)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


MINE = {"mine.cdf": b"of another tool"}
NEWEST = {kind: files_of(kind, 2 if kind == VIDEOS else 1) for kind in KINDS}
# What each folder may be, complete: the videos have an older version, some poses are of another tool.
KNOWN = {kind: [NEWEST[kind]] for kind in KINDS}
KNOWN[VIDEOS] = [NEWEST[VIDEOS], files_of(VIDEOS, 1)]
KNOWN[POSES_3D] = [NEWEST[POSES_3D], MINE]


def put_archives(root: Path) -> None:
    """Put the archives of a subject on a disk, with what earlier runs have left, all of it written down.

    Two archives are unpacked; of one of these there is a new version. One folder is of another tool.
    """
    archive_file(root, Archive(VIDEOS, "S1")).parent.mkdir(parents=True)
    for kind in (VIDEOS, POSES_2D):
        write_archive(root, kind, 1)
    assert extract(root, "--kinds", VIDEOS, POSES_2D).returncode == 0
    for kind in KINDS:
        if kind != POSES_2D:
            write_archive(root, kind, 2 if kind == VIDEOS else 1)
    mine = unpacked_folder(root, Archive(POSES_3D, "S1"))
    mine.mkdir()
    for name, content in MINE.items():
        (mine / name).write_bytes(content)
    sync_disk(root)


def extract(root: Path, *options) -> Ended:
    return run_script("extract_all.py", "--root", root, "--subjects", "S1", *options)


def faults_in_extracted(root: Path, is_finished: bool = False) -> list[str]:
    """Return what is wrong in extracted/: folders that are not complete, and archives that are gone too early."""
    faults = []
    for kind in KINDS:
        folder = unpacked_folder(root, Archive(kind, "S1"))
        found = files_in(folder)
        if folder.exists() and found not in KNOWN[kind]:
            faults.append(f"{kind} is not complete: { {name: len(content) for name, content in found.items()} }")
        elif found != NEWEST[kind] and (is_finished or not archive_file(root, Archive(kind, "S1")).exists()):
            faults.append(f"{kind} is lost")
    if not any(files_in(folder) == MINE for folder in (root / "extracted" / "S1").glob(f"{POSES_3D}*")):
        faults.append("the folder of another tool is lost")
    return faults


@ON_EXT4_AND_SLOWLY_ON_XFS
def test_power_cut_after_unpacking_costs_nothing(tmp_path, disk, file_system):
    put_archives(disk / "root")
    assert extract(disk / "root").returncode == 0
    commit_names(disk)
    copy_after_power_cut(disk, tmp_path / "disk.img", tmp_path / "copy.img")
    assert finish_each([tmp_path / "copy.img"], file_system, faults_in_extracted, extract) == {}


@pytest.mark.slow
@ON_EACH
@pytest.mark.parametrize("options", [[], ["--delete-archives"]], ids=["archives kept", "archives deleted"])
def test_power_cut_while_unpacking_leaves_no_wrong_folder(disk, stopping_scripts, file_system, options):
    put_archives(disk / "root")
    process = start_script(
        stopping_scripts / "extract_all.py",
        *("--root", disk / "root", "--subjects", "S1", *options),
        start_new_session=True,
    )
    copies = copies_of(disk, process, f"{file_system} {options}")
    assert finish_each(copies, file_system, faults_in_extracted, lambda root: extract(root, *options)) == {}


# -- process_all.py ----------------------------------------------------------------------------------------------------

CAMERAS = ["--cameras", "54138969", "60457274"]
EARLIER = ["--every", "3", *CAMERAS, "--actions", RECORDINGS[0].name]
NEWER = ["--every", "2", "3", *CAMERAS, "--preview", "--actions", *[recording.name for recording in RECORDINGS]]


USERS = f"processed/S1/{RECORDINGS[0].name}/imageSequence/54138969/img_000001_keypoints.json"


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A root with unpacked files of two sequences."""
    return make_extracted(tmp_path_factory.mktemp("release"), RECORDINGS)


@pytest.fixture(scope="module")
def expected(release, tmp_path_factory) -> tuple[dict, dict]:
    """What is in processed/ after a run with EARLIER, and after one with NEWER, which extends it."""
    found = []
    for options in (EARLIER, NEWER):
        root = tmp_path_factory.mktemp("expected")
        (root / "extracted").symlink_to(release / "extracted")
        assert process(root, *options).returncode == 0
        found.append(contents(root / "processed"))
    return found[0], found[1]


def process(root: Path, *options) -> Ended:
    return run_script("process_all.py", "--root", root, "--subjects", "S1", "--jobs", "1", *options)


def processed_earlier(root: Path, release: Path) -> None:
    """Process one of the sequences with fewer frames, put a file of a user beside them, and write all of that down."""
    root.mkdir()
    (root / "extracted").symlink_to(release / "extracted")
    assert process(root, *EARLIER).returncode == 0
    (root / USERS).write_text("a user's")
    sync_disk(root)


def faults_in_processed(root: Path, expected: tuple[dict, dict], is_finished: bool = False) -> list[str]:
    """Return what is wrong in processed/: sequences with an annot.h5 that are not as one of the runs makes them."""
    faults = [] if (root / USERS).read_text() == "a user's" else ["the user's file is lost"]
    for recording in RECORDINGS:
        folder = root / "processed" / "S1" / recording.name
        name = f"S1/{recording.name}"
        if not (folder / "annot.h5").exists():
            if is_finished:
                faults.append(f"{name} is lost")
            continue
        try:
            found = contents(folder)
        except OSError as error:
            faults.append(f"{name}/annot.h5: {error}")
            continue
        found = {f"{name}/{key}": value for key, value in found.items() if not key.endswith(".json")}
        wanted = [{k: v for k, v in of_run.items() if k.startswith(name)} for of_run in expected]
        if found not in (wanted[1:] if is_finished else wanted):
            names = sorted(
                key for of_run in wanted for key in of_run.keys() | found if of_run.get(key) != found.get(key)
            )
            faults.append(f"{name} is not as any run makes it: {names}")
        if is_finished and (folder / ".making").exists():
            faults.append(f"{name}/.making is left")
    return faults


@pytest.mark.slow
@ON_EXT4_AND_SLOWLY_ON_XFS
def test_power_cut_after_processing_costs_nothing(tmp_path, disk, file_system, release, expected):
    processed_earlier(disk / "root", release)
    assert process(disk / "root", *NEWER).returncode == 0
    commit_names(disk)
    copy_after_power_cut(disk, tmp_path / "disk.img", tmp_path / "copy.img")
    faults_of = partial(faults_in_processed, expected=expected)
    assert finish_each([tmp_path / "copy.img"], file_system, faults_of, lambda root: process(root, *NEWER)) == {}


@pytest.mark.slow
@ON_EACH
def test_power_cut_while_processing_leaves_no_wrong_sequence(disk, stopping_scripts, file_system, release, expected):
    processed_earlier(disk / "root", release)
    run = start_script(
        stopping_scripts / "process_all.py",
        *("--root", disk / "root", "--subjects", "S1", "--jobs", "1", *NEWER),
        cwd=stopping_scripts,
        start_new_session=True,
    )
    copies = copies_of(disk, run, file_system)
    faults_of = partial(faults_in_processed, expected=expected)
    assert finish_each(copies, file_system, faults_of, lambda root: process(root, *NEWER)) == {}
