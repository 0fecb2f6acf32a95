"""process_all.py when things go wrong: what is broken costs itself only, what is stopped is done by the next run."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.marks import needs_proc, slow
from helpers.processes import parents_in_session, with_open_file, workers_in_session
from helpers.releases import contents, copy_of_scripts, leftovers_in_processed, times_of_files
from helpers.scripts import PROJECT, Ended, finish, run_script, start_script, wait_until
from helpers.videos import make_packed_video, make_video

from demo.release import write_cdf
from h36m.dataset import POSES_2D, POSES_3D, POSES_3D_UNIVERSAL, POSES_3D_WORLD, UNFINISHED_SEQUENCE, VIDEOS
from h36m.metadata import load_metadata
from h36m.parallel import cores
from h36m.parallel.cores import available_cores
from h36m.parallel.workers import run_in_processes

CAMERAS = load_metadata().camera_ids
CAMERA = CAMERAS[1]
POSES = 60  # the videos have two frames more
SIZE = (320, 242)  # width, height
SEQUENCES = {"Walking-1": "Walking 1", "Walking-2": "Walking", "Greeting-2": "Greeting"}  # and their base names
ALL = ("--subjects", "S1", "--actions", *SEQUENCES, "--all-frames")
ONE = ("--subjects", "S1", "--actions", "Walking-1", "--all-frames")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three small sequences of four views, unpacked, and what an undisturbed run makes of them: do not write there."""
    root = tmp_path_factory.mktemp("faults") / "a root"
    root.mkdir()
    videos = [
        make_video(root / f"{shape}.mp4", shape, POSES + 2, size=SIZE)
        for shape in ("h264 with B-frames", "mpeg4 without B-frames", "h264 with a B-pyramid")
    ]
    for seed, (base, video) in enumerate(zip(SEQUENCES.values(), videos, strict=True)):
        poses = some_poses(seed)
        for camera in CAMERAS:
            for kind in (POSES_3D, POSES_3D_UNIVERSAL):
                write_cdf(input_file(root, kind, f"{base}.{camera}.cdf"), poses)
            write_cdf(input_file(root, POSES_2D, f"{base}.{camera}.cdf"), poses[..., :2])
            shutil.copy(video, input_file(root, VIDEOS, f"{base}.{camera}.mp4"))
        write_cdf(input_file(root, POSES_3D_WORLD, f"{base}.cdf"), poses)
    for video in videos:
        video.unlink()
    # The videos are small, and their size is what the copy's metadata.xml says.
    copy_of_scripts(root / "scripts", size=SIZE)
    ended = process(root, *ALL)
    assert ended.returncode == 0, ended.stderr
    assert len(list(root.glob("processed/*/*/imageSequence/*/*.jpg"))) == len(SEQUENCES) * len(CAMERAS) * POSES
    return root


def process(root: Path, *options, **more) -> Ended:
    """Run the copy of process_all.py in a root on it; what is not for its command line is start_script()'s."""
    return run_script(root / "scripts" / "process_all.py", "--root", root, *options, **more)


def some_poses(seed: int) -> np.ndarray:
    poses = np.random.default_rng(seed).normal(0, 300, (POSES, 32, 3))
    poses[..., 2] += 5000
    return poses


def input_file(root: Path, kind: str, name: str) -> Path:
    file = root / "extracted" / "S1" / kind / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@pytest.fixture
def root(made, tmp_path) -> Path:
    """A root of one's own with copies of the unpacked files and nothing processed."""
    shutil.copytree(made / "scripts", tmp_path / "a root" / "scripts")
    shutil.copytree(made / "extracted", tmp_path / "a root" / "extracted")
    return tmp_path / "a root"


def assert_all_there(root: Path, made: Path) -> None:
    assert contents(root / "processed") == contents(made / "processed")
    assert leftovers_in_processed(root) == []


# --- broken files ---


def overwritten(content: bytes) -> bytes:
    """Overwrite some bytes of the pictures."""
    middle = (content.index(b"mdat") + content.index(b"moov")) // 2
    return content[:middle] + random.Random(0).randbytes(3000) + content[middle + 3000 :]


DAMAGES = {
    "truncated": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda content: b"",
    "without its index": lambda content: content[: content.index(b"moov") - 4],
    "overwritten": overwritten,
    "a page": lambda content: b"<html>Please log in</html>",
}
# What replaces some_poses(7).
OTHER_POSES = {
    "of another shape": lambda poses: poses[..., :2],
    "of another length": lambda poses: poses[:-5],
    "not all numbers": lambda poses: np.where(np.arange(POSES)[:, None, None] == 40, np.nan, poses),
}


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    file.unlink()
    if how in OTHER_POSES:
        write_cdf(file, OTHER_POSES[how](some_poses(7)))
    elif how != "missing":
        file.write_bytes(DAMAGES[how](content))


# (Sequence, which of its views) -> kind of its file, what is done to it, what the message says.
FAULTS = {
    ("Walking-1", 0): (VIDEOS, "truncated", "cannot be read"),
    ("Walking-1", 1): (VIDEOS, "overwritten", "damage"),
    ("Walking-1", 2): (VIDEOS, "without its index", "cannot be read"),
    ("Walking-2", 0): (VIDEOS, "empty", "cannot be read"),
    ("Walking-2", 1): (VIDEOS, "missing", "No such file"),
    ("Walking-2", 2): (POSES_3D, "missing", "is missing"),
}
MORE_FAULTS = {
    ("Walking-1", 0): (POSES_3D_UNIVERSAL, "empty", "cannot be read as CDF"),
    ("Walking-1", 2): (POSES_3D, "of another shape", f"found (1, {POSES}, 64)"),
    ("Walking-1", 3): (POSES_3D, "not all numbers", "the first is pose 40"),
    ("Walking-2", 1): (POSES_3D, "of another length", f"found {POSES} in Poses_D2_Positions, {POSES - 5} in"),
    ("Walking-2", 2): (VIDEOS, "a page", "cannot be read"),
    ("Walking-2", 3): (POSES_2D, "truncated", "cannot be read as CDF"),
}


@pytest.mark.parametrize(
    "faults", [pytest.param(FAULTS, id="videos"), pytest.param(MORE_FAULTS, id="poses", marks=pytest.mark.slow)]
)
def test_broken_file_costs_its_view_only_and_is_named_once(root, made, faults):
    """After the repair only the sequences of repaired files are done again."""
    kept = {}
    for (name, view), (kind, how, _) in faults.items():
        file = input_file(root, kind, f"{SEQUENCES[name]}.{CAMERAS[view]}.{'mp4' if kind == VIDEOS else 'cdf'}")
        kept[file] = root / f"kept {len(kept)}"
        shutil.copy2(file, kept[file])
        damage(file, how)
        assert not file.exists() or file.read_bytes() != kept[file].read_bytes()

    ended = process(root, *ALL)
    assert ended.returncode == 1
    lines = ended.errors
    assert len(lines) == len(faults)
    for (name, view), (_, _, reported) in faults.items():
        (line,) = [line for line in lines if line.startswith(f"process_all.py: S1 {name} {CAMERAS[view]}: ")]
        assert reported in line
    # All the rest is as if nothing had happened.
    expected = {
        path.relative_to(made): path.read_bytes()
        for path in (made / "processed").rglob("*.jpg")
        if (path.parts[-4], CAMERAS.index(path.parts[-2])) not in faults
    }
    assert {path.relative_to(root): path.read_bytes() for path in (root / "processed").rglob("*.jpg")} == expected
    for name in SEQUENCES:
        with h5py.File(root / "processed" / "S1" / name / "annot.h5") as annotations:
            views = {CAMERAS.index(str(camera)) for camera in annotations["camera"][...]}
        assert views == {view for view in range(4) if (name, view) not in faults}
    assert leftovers_in_processed(root) == []

    # The next run says the same and does nothing.
    before = times_of_files(root / "processed")
    again = process(root, *ALL)
    assert (again.returncode, sorted(again.errors)) == (1, sorted(lines)) and "nothing to do" in again.stdout
    assert before == times_of_files(root / "processed")

    # Repaired, with the size and time that it had: only those sequences are done.
    for file, copy in kept.items():
        file.unlink(missing_ok=True)
        shutil.copy2(copy, file)
    repaired = process(root, *ALL)
    assert (repaired.returncode, repaired.errors) == (0, [])
    assert "plan: 3 sequences: 1 already processed, 2 to extend" in repaired.stdout
    assert_all_there(root, made)
    untouched = [path for path in before if "Greeting-2" in path.parts]
    assert untouched and all(path.stat().st_mtime_ns == before[path] for path in untouched)


def test_video_that_does_not_fit_its_poses_or_camera_is_named(root):
    """Whatever frames were chosen: here 0, 25 and 50, which all of these videos have."""
    short, small, long, uneven = (input_file(root, VIDEOS, f"Walking 1.{camera}.mp4") for camera in CAMERAS)
    make_video(short, "h264 with B-frames", POSES - 1, size=SIZE)
    make_video(small, "mpeg4 with B-frames", POSES, size=(SIZE[0], SIZE[1] - 2))
    make_video(long, "h264 with B-frames", POSES + 11, size=SIZE)
    make_video(uneven, "h264 with B-frames", size=SIZE, times=[*range(20), *range(21, POSES + 2)])
    ended = process(root, *ONE[:-1], "--every", "25")
    assert ended.returncode == 1
    too_short, too_small = ended.errors
    assert f"S1 Walking-1 {CAMERAS[0]}: {short}: expected at least {POSES} frames, found {POSES - 1}" in too_short
    assert f"S1 Walking-1 {CAMERAS[1]}: {small}: expected frames of 320 x 242 pixels" in too_small
    assert "found 320 x 240" in too_small
    with_gap, too_long = [line for line in ended.stdout.splitlines() if ".mp4 has" in line]
    assert too_long == f"S1 Walking-1: {long.name} has {POSES + 11} frames for {POSES} poses"
    assert f"S1 Walking-1 {CAMERAS[3]}: {uneven.name} has a gap in its time stamps before frame 20" in with_gap
    assert {image.parent.name for image in root.rglob("*.jpg")} == set(CAMERAS[2:])
    assert leftovers_in_processed(root) == []


def test_sequence_without_a_good_view_leaves_nothing(root, made):
    """The other sequences are processed."""
    for camera in CAMERAS:
        input_file(root, POSES_2D, f"Walking 1.{camera}.cdf").write_bytes(b"")
    ended = process(root, *ALL)
    assert ended.returncode == 1 and len(ended.errors) == len(CAMERAS)
    expected = contents(made / "processed")
    assert contents(root / "processed") == {key: expected[key] for key in expected if "Walking-1" not in key}
    assert not (root / "processed" / "S1" / "Walking-1").exists()


@pytest.mark.slow
def test_debug_shows_the_workers_reasons_for_decoding_everything(root):
    target = input_file(root, VIDEOS, f"Walking 1.{CAMERA}.mp4")
    shutil.move(make_packed_video(root / "packed.mp4", POSES + 2, SIZE), target)
    ended = process(root, *ONE[:-1], "--every", "64", "--debug")
    lines = [line for line in ended.errors if "decoding everything" in line]
    assert ended.returncode == 0 and len(lines) == 1 and str(target) in lines[0], ended.stderr


# --- a second run ---

IN_OPEN, IN_NONBLOCK = 0x20, 0o4000  # linux/inotify.h


@pytest.mark.skipif(sys.platform != "linux", reason="there is no inotify to see what is opened")
def test_a_second_run_opens_no_video_and_no_poses_as_the_system_sees_it(root):
    system = ctypes.CDLL(None)
    for expected in ({".mp4", ".cdf"}, set()):
        events = system.inotify_init1(IN_NONBLOCK)
        for folder in (root / "extracted" / "S1").iterdir():
            assert system.inotify_add_watch(events, os.fsencode(folder), IN_OPEN) > 0
        ended = process(root, *ALL)
        found = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                found += os.read(events, 2**16)
        os.close(events)
        assert ended.returncode == 0
        assert {ending for ending in (".mp4", ".cdf") if ending.encode() in found} == expected
    assert ended.stdout.startswith("nothing to do: 3 sequences")


# --- stopped and killed ---


class Run:
    """A run of process_all.py in a session of its own."""

    def __init__(self, root: Path):
        self.root = root
        options = ["--root", root, *ALL, "--jobs", "2"]
        self.process = start_script(root / "scripts" / "process_all.py", *options, start_new_session=True)
        self.session = self.process.pid

    def wait_for_images(self, count: int) -> None:
        """Wait until there are as many images, of finished sequences or not, and workers that go on."""

        def is_so() -> bool:
            images = sum(name.endswith(".jpg") for _, _, names in os.walk(self.root / "processed") for name in names)
            return images >= count and bool(workers_in_session(self.session))

        wait_until(is_so, f"{count} images", of=self.process)

    def end(self) -> Ended:
        """Wait until the run has ended; no process of it is left 2 s later."""
        ended = finish(self.process)
        wait_until(lambda: not parents_in_session(self.session), "the end of the workers", seconds=2)
        return ended


# Of how many images a moment is chosen; the last sequence is then still at work.
IMAGES_OF_A_MOMENT = (len(SEQUENCES) - 1) * len(CAMERAS) * POSES
MOMENTS = [IMAGES_OF_A_MOMENT * tenth // 10 for tenth in range(10)]


def assert_next_run_completes(root: Path, made: Path) -> None:
    """Run again after a kill: before that each annot.h5 has its images, and after it there is nothing unfinished."""
    expected, found = contents(made / "processed"), contents(root / "processed")
    for name in SEQUENCES:
        if (root / "processed" / "S1" / name / "annot.h5").exists():
            of_one = {key: value for key, value in found.items() if key.startswith(f"S1/{name}/")}
            assert of_one == {key: value for key, value in expected.items() if key.startswith(f"S1/{name}/")}
    ended = process(root, *ALL)
    assert (ended.returncode, ended.errors) == (0, [])
    assert_all_there(root, made)


@needs_proc
@pytest.mark.parametrize("images", [slow(MOMENTS[0]), MOMENTS[5], slow(MOMENTS[9])])
def test_killed_run_leaves_no_worker_and_the_next_does_the_rest(root, made, images):
    run = Run(root)
    run.wait_for_images(images)
    run.process.kill()
    assert run.end().returncode == -signal.SIGKILL
    assert contents(root / "processed") != contents(made / "processed")
    assert_next_run_completes(root, made)


@needs_proc
@pytest.mark.parametrize("images", [slow(MOMENTS[1]), MOMENTS[5], slow(MOMENTS[9])])
def test_killed_worker_costs_its_sequence_only(root, made, images):
    run = Run(root)
    run.wait_for_images(images)
    locks, busy = root / "processed" / ".locks", []

    def is_busy() -> bool:  # some wait for their next sequence
        busy[:] = with_open_file(workers_in_session(run.session), locks)
        return bool(busy)

    wait_until(is_busy, "a worker with a sequence", of=run.process)
    os.kill(busy[-1], signal.SIGKILL)  # as the system does it where memory runs out
    ended = run.end()
    assert ended.returncode == 1, ended.text
    (line,) = ended.errors
    assert sum(f"S1 {name}: " in line for name in SEQUENCES) == 1
    assert "its process was killed (out of memory? try fewer --jobs)" in line
    assert len(list(root.glob("processed/S1/*/annot.h5"))) == len(SEQUENCES) - 1
    assert_next_run_completes(root, made)


@needs_proc
@pytest.mark.parametrize(
    ("images", "stop"),
    [
        (MOMENTS[5], os.killpg),
        slow(MOMENTS[5], os.kill),
        *[slow(moment, os.killpg) for moment in (*MOMENTS[:5], *MOMENTS[6:])],
    ],
)
def test_stop_leaves_no_worker_and_the_next_run_does_the_rest(root, made, images, stop):
    """Ctrl-C reaches every process of a terminal, SIGTERM only one."""
    run = Run(root)
    run.wait_for_images(images)
    stop(run.session, signal.SIGINT if stop is os.killpg else signal.SIGTERM)
    ended = run.end()
    assert (ended.returncode, ended.errors) == (130, ["process_all.py: interrupted; run again to resume"])
    assert contents(root / "processed") != contents(made / "processed")
    assert_next_run_completes(root, made)


@needs_proc
@pytest.mark.parametrize("seconds", [slow(0), 0.03, slow(0.1)])
def test_second_ctrl_c_is_one_line_too(root, made, seconds):
    """The first one may still be ending the workers, or Python itself."""
    run = Run(root)
    run.wait_for_images(MOMENTS[5])
    os.killpg(run.session, signal.SIGINT)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.session, signal.SIGINT)
    ended = run.end()
    assert ended.returncode in (130, -signal.SIGINT)  # a shell shows 130 for both
    assert ended.errors == ["process_all.py: interrupted; run again to resume"]
    assert_next_run_completes(root, made)


def test_folder_that_a_stop_left_is_removed_and_nothing_repeated(root, made):
    shutil.copytree(made / "processed", root / "processed")
    left = root / "processed" / "S1" / "Walking-1" / UNFINISHED_SEQUENCE
    (left / "old").mkdir(parents=True)
    before = times_of_files(root / "processed")
    ended = process(root, *ALL)
    assert (ended.returncode, ended.errors) == (0, []) and "0 frames of 0 views written" in ended.stdout
    assert times_of_files(root / "processed") == before and not left.exists()


# For a sitecustomize.py: stops or kills the worker just before its N-th move of an annot.h5 or a folder of images.
STOP_BEFORE_A_MOVE = """
import os, signal, sys
moves = []
def watch(event, arguments):
    if event == "os.rename" and os.path.basename(arguments[0]) in ("annot.h5", "imageSequence"):
        moves.append(arguments)
        if len(moves) == NUMBER:
            os.kill(os.getpid(), signal.SIGNAL)
sys.addaudithook(watch)
"""


# The moves of a sequence that was processed before: old annot.h5, old images, new images, new annot.h5.
@pytest.mark.parametrize("number", [slow(1), slow(2), 3, slow(4)])
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_a_stop_leaves_no_sequence_half_in_place(root, made, tmp_path, number, end):
    """A stop waits for the moves; after a kill, the next run makes the rest of them, whatever it is asked for."""
    shutil.copytree(made / "processed", root / "processed")
    (tmp_path / "sitecustomize.py").write_text(STOP_BEFORE_A_MOVE.replace("NUMBER", str(number)).replace("SIGNAL", end))
    options = [*ONE[:-1], "--every", "20", "--replace"]
    ended = process(root, *options, environment={"PYTHONPATH": str(tmp_path)})
    if end == "SIGKILL":
        assert ended.returncode == 1
        ended = process(root, *options[:-1], "--cameras", CAMERAS[0])
        assert "0 frames of 0 views written" in ended.stdout
    assert (ended.returncode, ended.errors) == (0, [])
    assert leftovers_in_processed(root) == []
    assert len(list(root.glob("processed/S1/Walking-1/imageSequence/*/*.jpg"))) == len(CAMERAS) * POSES / 20
    assert "nothing to do: 1 sequence is" in process(root, *options).stdout


# The free share of what a sequence needs: from nothing to everything but the end of annot.h5.
@pytest.mark.parametrize("share", [slow(0.0), slow(0.5), 0.999])
def test_full_disk_costs_what_does_not_fit_and_the_next_run_does_it(root, made, small_disk, share):
    disk = small_disk(64)
    (root / "processed").symlink_to(disk)
    (disk / "S1").mkdir()
    (disk / ".locks").mkdir()
    files = [path for path in (made / "processed" / "S1" / "Walking-1").rglob("*") if path.is_file()]
    page = os.sysconf("SC_PAGE_SIZE")
    needed = sum(-(-path.stat().st_size // page) * page for path in files)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    assert free > needed
    with (disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free - int(share * needed) // page * page)
    ended = process(root, *ONE)
    assert ended.returncode == 1
    (line,) = ended.errors
    assert line.startswith("process_all.py: S1 Walking-1 ") and ": disk is full (" in line
    assert not list(disk.rglob("*.jpg")) and not list(disk.rglob("annot.h5")) and leftovers_in_processed(root) == []
    (disk / "filler").unlink()
    ended = process(root, *ONE)
    assert (ended.returncode, ended.errors) == (0, [])
    expected = contents(made / "processed" / "S1" / "Walking-1")
    assert contents(root / "processed" / "S1" / "Walking-1") == expected


# --- workers ---


TASKS = ["a", "dies", "ends", "fails", "asks for too much", "b"]


def outcome_of(task: str) -> str:
    """Do what the task's name says: die, exit, fail, run out of memory, or return the name."""
    if task == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "ends":
        os._exit(3)
    if task == "fails":
        raise ValueError("a fault")
    if task == "asks for too much":
        bytearray(1 << 60)
    return task.upper()


def test_task_that_fails_or_whose_process_dies_does_not_stop_the_others():
    ended = {one.task: one for one in run_in_processes(outcome_of, TASKS, jobs=2)}
    assert set(ended) == set(TASKS)
    assert {task: one.result for task, one in ended.items() if one.result} == {"a": "A", "b": "B"}
    assert "was killed" in ended["dies"].failure and "status 3" in ended["ends"].failure
    assert ended["asks for too much"].failure.startswith("out of memory; ")
    assert ended["fails"].failure == "unexpected ValueError: a fault" and "Traceback" in ended["fails"].traceback


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity on this system")
def test_no_more_cores_are_counted_than_the_process_may_use():
    core = min(os.sched_getaffinity(0))
    script = (
        f"import os; os.sched_setaffinity(0, {{{core}}})\n"
        "from h36m.parallel.cores import available_cores; print(available_cores())"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT)
    assert ended.stdout == "1\n", ended.stderr
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("lines", "files", "limits"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/not/seen/in/here\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        # As Slurm and systemd do it: the limit is somewhere between the process and the root.
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, [2]),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "50000 100000\n"}, [0.5, 2]),
    ],
)
def test_limits_of_control_groups_are_found(tmp_path, lines, files, limits):
    """Of every group above the process's own."""
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content)
    (tmp_path / "groups").write_text(lines)
    assert cores.control_group_limits(tmp_path / "groups", tmp_path / "cgroup") == limits


def test_a_limit_below_the_affinity_counts_and_half_a_core_is_one_worker(monkeypatch):
    for limit, expected in ((0.5, 1), (1.5, 1), (10_000.0, len(os.sched_getaffinity(0)))):
        monkeypatch.setattr(cores, "control_group_limits", lambda limit=limit: [limit])
        assert available_cores() == expected
