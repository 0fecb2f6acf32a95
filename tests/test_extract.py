"""extract_all.py: complete folders or none, nothing outside of them; a second run does only what is missing."""

import gzip
import io
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.archives import small_release, spoil
from helpers.faulty_site import PASSWORD, USERNAME, write_configuration
from helpers.marks import slow
from helpers.releases import leftovers_in_extracted, tree
from helpers.scripts import RECORD_OPENS, finish, process, run_script, start_script

from demo.site import serve
from h36m.dataset import (
    BOXES,
    KIND_FACTS,
    KINDS,
    PART_LABELS,
    POSES_2D,
    POSES_3D,
    POSES_3D_WORLD,
    VIDEOS,
    Archive,
    archive_file,
    kinds_of_script,
    unpack_again,
)
from h36m.sequences import file_names

MEMBER = "S1/Videos/Directions 1.54138969.mp4"


@pytest.fixture
def root(tmp_path):
    """A root with a blank in its path and all seven archives of S1."""
    small_release(tmp_path / "a root" / "archives", subjects=["S1"])
    return tmp_path / "a root"


def extract(root: Path, *options, **more):
    """Run extract_all.py on S1, or on the subjects that the options say."""
    subjects = [] if "--subjects" in options else ["--subjects", "S1"]
    return run_script("extract_all.py", "--root", root, *subjects, *options, **more)


def start_extract(root: Path, *options) -> subprocess.Popen:
    return start_script("extract_all.py", "--root", root, "--subjects", "S1", *options)


def run_until(process: subprocess.Popen, condition: Callable[[], object]) -> None:
    """Let a process go on by small steps until something has come about, and leave it stopped."""
    while not condition():
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGCONT)
        time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)


def write_archive(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    """Write a gzip'd tar of members, each as it is or as a file of a name with a content."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                information = tarfile.TarInfo(member[0])
                information.size = len(member[1])
                archive.addfile(information, io.BytesIO(member[1]))
    return path


def large_archive(path: Path, files: int = 40, size: int = 1_000_000) -> dict[str, bytes]:
    """Write an archive that takes a while to unpack; return its files' contents by name."""
    names = list(file_names(Archive(VIDEOS, "S1")).values())[:files]
    contents = {name: random.Random(name).randbytes(size) for name in names}
    write_archive(path, *((f"S1/Videos/{name}", content) for name, content in contents.items()))
    return contents


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_only_videos_failed(ended, root: Path, words: str) -> None:
    """Check that the bad archive cost itself only, and that one line names it and says why."""
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1 and ended.stderr.startswith("extract_all.py: Videos_S1.tgz ")
    assert words in ended.stderr, ended.stderr
    folders = {path.name for path in (root / "extracted" / "S1").iterdir()}
    assert folders == set(KINDS) - {VIDEOS}
    assert (root / "archives" / "Videos_S1.tgz").exists()


# -- what is unpacked --------------------------------------------------------------------------------------------------


def test_each_archive_becomes_a_folder_without_shared_folders(root):
    ended = extract(root)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    for kind in KINDS:
        with tarfile.open(root / "archives" / f"{kind}_S1.tgz") as archive:
            inner = f"S1/{KIND_FACTS[kind].inner_folder}/"
            expected = {name.removeprefix(inner): archive.extractfile(name).read() for name in archive.getnames()}
        assert files_below(root / "extracted" / "S1" / kind) == expected
    assert leftovers_in_extracted(root) == []


def test_archives_packed_again_are_accepted_by_each_script(demo_run, tmp_path):
    """By downloading, which verifies them and leaves them as they are, by unpacking, and by processing."""
    root, before = tmp_path / "a root", demo_run / "data" / "extracted" / "S1"
    kinds = kinds_of_script("download_all.py")
    (root / "archives").mkdir(parents=True)
    for kind in kinds:
        with tarfile.open(archive_file(root, Archive(kind, "S1")), "w:gz", compresslevel=1) as packed:
            packed.addfile(tarfile.TarInfo("backup/.DS_Store"))
            packed.add(before / kind, f"backup/S1/{kind}")
    (tmp_path / "checksums.txt").touch()
    options = ["--root", root, "--subjects", "S1"]
    ended = run_script("download_all.py", *options, "--checksums", tmp_path / "checksums.txt")
    assert ended.returncode == 0 and "5 archives: 5 already present" in ended.stdout, ended.text
    ended = extract(root)
    assert ended.returncode == 0 and "5 of 5 archives unpacked" in ended.stdout
    assert "Videos_S1.tgz: unpacked; skipped 1 file created by operating systems: 'backup/.DS_Store'\n" in ended.stdout
    assert files_below(root / "extracted" / "S1") == {
        name: content for name, content in files_below(before).items() if name.partition("/")[0] in kinds
    }
    ended = process(root, "--subjects", "S1", "--actions", "Walking-1", "--cameras", "54138969", "--every", "40")
    assert (ended.returncode, ended.errors) == (0, [])
    assert (root / "processed" / "S1" / "Walking-1" / "annot.h5").exists()


def test_time_stamps_are_kept_and_modes_are_those_of_new_files(root):
    member = tarfile.TarInfo(MEMBER)
    member.mtime, member.mode = 1_300_000_000, 0o000
    write_archive(root / "archives" / "Videos_S1.tgz", member)
    assert extract(root).returncode == 0
    state = (root / "extracted" / "S1" / "Videos" / Path(MEMBER).name).stat()
    mask = os.umask(0)
    os.umask(mask)
    assert state.st_mtime == 1_300_000_000 and state.st_mode & 0o777 == 0o666 & ~mask


def test_it_works_from_another_directory_with_a_relative_root(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ended = extract(Path("..") / "a root", cwd=elsewhere)
    assert ended.returncode == 0 and len(list((root / "extracted" / "S1").iterdir())) == 7
    assert not list(elsewhere.iterdir())


# -- what is not there, and what is there already ----------------------------------------------------------------------


def test_near_misses_are_named_with_the_absent_archives(root):
    archives = root / "archives"
    (archives / "Videos_S1.tgz").rename(archives / "Videos_S1 (1).tgz")
    (archives / "Segments_mat_gt_pl_S1.tgz").rename(archives / "SubjectSpecific_1.tgz")
    ended = extract(root)
    assert ended.returncode == 1 and "download_all.py" in ended.stderr.splitlines()[0]
    assert "Videos_S1 (1).tgz: looks like Videos_S1.tgz under another name" in ended.stderr.splitlines()[1]
    assert "SubjectSpecific_1.tgz: looks like Segments_mat_gt_pl_S1.tgz" in ended.stdout


# -- plan and summary --------------------------------------------------------------------------------------------------


def test_run_prints_plan_summary_and_next_command(root):
    (root / "archives" / "Segments_mat_gt_pl_S1.tgz").unlink()
    ended = extract(root, "--delete-archives")
    first, second, *_, summary, following = ended.stdout.splitlines()
    assert first == "plan: 7 archives: 6 to unpack, 1 not in archives/"
    disk = re.escape(str(root / "extracted"))
    assert re.fullmatch(rf" {{6}}18\d kB to write, from 12\d kB of archives; [\d.]+ .B free in {disk}", second)
    assert re.fullmatch(r"6 of 6 archives unpacked, 120 kB in \d\d:\d\d", summary)
    script, *words = shlex.split(following.removeprefix("next: python3 "))
    assert words == ["--root", str(root), "--subjects", "S1"] and Path(script).name == "process_all.py"


def test_next_command_is_printed_only_where_it_can_do_something(root):
    """Poses alone are exported, and not processed."""
    assert "next:" not in extract(root, "--kinds", POSES_3D_WORLD, POSES_2D).stdout
    assert "next:" in extract(root, "--kinds", *(set(KINDS) - {POSES_3D_WORLD, POSES_2D, BOXES})).stdout
    assert "next:" in extract(root, "--kinds", BOXES).stdout


def test_dry_run_prints_the_plan_in_full_and_writes_nothing(root):
    before = tree(root.parent)
    ended = extract(root, "--dry-run")
    assert (ended.returncode, ended.stderr) == (0, "") and tree(root.parent) == before
    assert (
        ended.stdout.startswith("plan: 7 archives: 7 to unpack\n") and f"free in {root / 'extracted'}\n" in ended.stdout
    )

    assert extract(root, "--kinds", VIDEOS, POSES_2D, "--delete-archives").returncode == 0
    assert extract(root, "--kinds", BOXES).returncode == 0
    (video,) = (root / "extracted/S1" / VIDEOS).iterdir()
    video.write_bytes(b"")
    (root / "extracted/S1/.Poses_D3_Positions.unpacking").mkdir()  # of a killed run
    for kind in (PART_LABELS, POSES_3D):
        (root / "archives" / f"{kind}_S1.tgz").unlink()
    before = tree(root.parent)
    ended = extract(root, "--dry-run", "--delete-archives")
    assert tree(root.parent) == before
    counts, _, *lines = ended.stdout.splitlines()
    assert counts == (
        "plan: 7 archives: 2 to unpack, 2 already unpacked, 2 not in archives/, 1 that cannot be unpacked"
    )
    assert lines[:-1] == [
        "Poses_D3_Positions_S1.tgz: to unpack, 30.7 kB",
        "Poses_D3_Positions_mono_universal_S1.tgz: to unpack, 30.7 kB",
        "Poses_D2_Positions_S1.tgz: already unpacked (archive deleted)",
        "Segments_mat_gt_bb_S1.tgz: already unpacked (archive to delete)",
        "Poses_D3_Positions_mono_S1.tgz: not in archives/",
        "Segments_mat_gt_pl_S1.tgz: not in archives/",
    ]
    assert ended.returncode == 1 and [POSES_3D in ended.errors[0], str(video.parent) in ended.errors[1]] == [True, True]


def test_dry_run_says_where_the_disk_is_too_small(root, small_disk):
    (root / "extracted").symlink_to(small_disk(megabytes=4))
    large_archive(root / "archives" / "Videos_S1.tgz", files=10)
    ended = extract(root, "--dry-run")
    assert ended.returncode == 1 and "free some space" in ended.errors[0]
    assert "Videos_S1.tgz: to unpack, 10.0 MB" in ended.stdout and not list((root / "extracted").glob("S1"))


def test_message_about_a_truncated_file_without_archive_helps(root):
    """It has lost bytes, which extract_all.py notices, or has other ones, which only readers notice."""
    (root / "archives").rename(root / "site")
    shutil.copytree(root / "site", root / "archives")
    assert extract(root, "--delete-archives").returncode == 0
    (video,) = (root / "extracted/S1" / VIDEOS).iterdir()
    content = video.read_bytes()
    shutil.rmtree(root / "archives")  # all are unpacked
    assert extract(root).stdout.startswith("nothing to do: 7 archives")
    video.write_bytes(content[1:])
    (line,) = extract(root).errors
    remedy = unpack_again(video)
    assert line.endswith(f"; {remedy}")
    assert remedy == f"remove the folder {video.parent}, then run download_all.py and extract_all.py"
    shutil.rmtree(video.parent)
    assert "Videos_S1.tgz; run download_all.py" in extract(root).errors[0]
    (root / "archives").mkdir()
    shutil.copy(root / "site" / "Videos_S1.tgz", root / "archives")
    assert extract(root).errors == [] and video.read_bytes() == content
    # While the archive is there, the file suffices.
    video.write_bytes(bytes(len(content)))
    assert unpack_again(video).startswith("unpack it again: delete it and run extract_all.py (if that changes nothing")
    video.unlink()
    assert unpack_again(video).startswith("run extract_all.py (if that changes nothing")
    assert extract(root).errors == [] and video.read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("is_deleted", [False, True], ids=["archive is there", "archive was deleted"])
@pytest.mark.parametrize("kept", [2, 1], ids=["other bytes", "cut short"])
def test_remedy_that_processing_prints_for_a_damaged_video_helps(demo_run, tmp_path, kept, is_deleted):
    release = demo_run / "release"
    with serve(release, USERNAME, PASSWORD) as server:
        config = write_configuration(tmp_path, server.base_url)
        options = {"download_all.py": ["--config", config, "--checksums", release / "checksums.txt"]}

        def run(script: str, *more: str) -> list[str]:
            ended = run_script(script, "--root", tmp_path, "--subjects", "S1", *options.get(script, []), *more)
            return ended.errors

        assert run("download_all.py") == []
        assert run("extract_all.py", *["--delete-archives"] * is_deleted) == []
        (video,) = (tmp_path / "extracted/S1" / VIDEOS).glob("Walking*.58860488.mp4")
        content = video.read_bytes()
        quarter = len(content) // 4
        video.write_bytes((content[:quarter] + random.Random(0).randbytes(3 * quarter))[: kept * len(content) // 2])
        (problem,) = run("process_all.py", "--actions", "Walking-1")
        remedy = problem.rpartition("; ")[2]
        if is_deleted:
            assert remedy == f"remove the folder {video.parent}, then run download_all.py and extract_all.py"
            shutil.rmtree(video.parent)
        else:
            assert remedy.startswith("unpack it again: delete it and run extract_all.py (")
            video.unlink()
        for script in re.findall(r"\w+\.py", remedy):
            assert run(script) == []
        assert run("process_all.py", "--actions", "Walking-1") == [] and video.read_bytes() == content


def test_no_folder_of_archives_is_wrong_use(tmp_path):
    ended = extract(tmp_path)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and "archives" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_second_run_opens_no_archive_and_says_so(root, tmp_path):
    log = tmp_path / "opened.txt"
    (tmp_path / "sitecustomize.py").write_text(RECORD_OPENS)
    hooked = {"environment": {"PYTHONPATH": str(tmp_path)}, "cwd": tmp_path}
    assert extract(root, **hooked).returncode == 0
    assert len(set(log.read_text().splitlines())) == 7, "the hook sees opened archives"
    log.unlink()
    ended = extract(root, **hooked)
    nothing, following = ended.stdout.splitlines()
    assert (ended.returncode, nothing) == (0, f"nothing to do: 7 archives are unpacked in {root / 'extracted'}")
    assert following.startswith("next: python3 ")
    assert not log.exists()


def test_quiet_prints_nothing_when_all_goes_well(root):
    ended = extract(root, "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_bad_new_version_leaves_the_old_folder_in_place(root):
    assert extract(root).returncode == 0
    before = files_below(root / "extracted" / "S1" / "Videos")
    (root / "archives" / "Videos_S1.tgz").write_bytes(b"\x1f\x8bnothing of a gzip file")
    ended = extract(root)
    assert ended.returncode == 1 and "Videos_S1.tgz" in ended.stderr
    assert files_below(root / "extracted" / "S1" / "Videos") == before


def test_delete_archives_deletes_those_whose_folders_stand_and_no_other(root):
    bad = root / "archives" / "Videos_S1.tgz"
    bad.write_bytes(bad.read_bytes()[:-100])
    assert extract(root, "--delete-archives").returncode == 1
    assert [path.name for path in (root / "archives").glob("*.tgz")] == ["Videos_S1.tgz"]
    assert {path.name for path in (root / "extracted" / "S1").iterdir()} == set(KINDS) - {VIDEOS}


# -- bad archives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "is truncated"),
        ("flipped bit in the CRC", "is damaged"),
        ("login page", "is not a gzip file; it looks like an HTML page: 'Please log in"),
        ("empty file", "is empty"),
    ],
)
def test_damaged_archive_costs_itself_only_and_leaves_no_folder(root, how, words):
    archive = root / "archives" / "Videos_S1.tgz"
    archive.write_bytes(spoil(archive.read_bytes(), how))
    assert_only_videos_failed(extract(root), root, words)


def test_poses_under_the_name_of_videos_are_not_unpacked(root):
    """A line names what the archive holds."""
    shutil.copy(root / "archives" / "Poses_D2_Positions_S1.tgz", root / "archives" / "Videos_S1.tgz")
    assert_only_videos_failed(extract(root), root, "contains S1/MyPoseFeatures/D2_Positions, but its name says Videos")


def special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo("S1/Videos/special")
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../../../outside", b"x"), "is outside"),
        (("S1/Videos/../../../../outside", b"x"), "is outside"),
        (("/tmp/outside of the archive", b"x"), "is outside"),
        (("S1\\..\\..\\outside", b"x"), "is outside"),
        (special(tarfile.SYMTYPE, "../../../../outside"), "neither a file nor a folder"),
        (special(tarfile.LNKTYPE, MEMBER), "neither a file nor a folder"),
        (special(tarfile.BLKTYPE), "neither a file nor a folder"),
        (("S1//Videos/./Directions 1.54138969.mp4", b"other"), "twice"),
        ((f"{MEMBER}/below a file", b"other"), "twice"),
    ],
    ids=[
        "parent",
        "inner parent",
        "absolute",
        "backslashes",
        "symbolic link",
        "link",
        "device",
        "twice",
        "below a file",
    ],
)
def test_unsafe_member_costs_the_archive_and_writes_nothing_outside(root, member, words):
    write_archive(root / "archives" / "Videos_S1.tgz", ("S1/Videos/a.mp4", b"a"), (MEMBER, b"first"), member)
    around = files_below(root.parent).keys()
    assert_only_videos_failed(extract(root), root, words)
    new = files_below(root.parent).keys() - around
    assert all(name.startswith("a root/extracted/") for name in new)
    assert not Path("/tmp/outside of the archive").exists()


# -- disk and process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, *map(slow, range(1, 6))])
def test_kill_9_at_any_moment_then_a_second_run_completes_it(root, seed):
    contents = large_archive(root / "archives" / "Videos_S1.tgz")
    process = start_extract(root)
    unfinished = root / "extracted" / "S1" / ".Videos.unpacking"
    # In the first half: a busy machine may let it go on for a while before it is stopped.
    moment = [unfinished, *(unfinished / str(number) for number in range(20))][random.Random(seed).randrange(20)]
    run_until(process, moment.exists)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    for folder in (root / "extracted" / "S1").glob("[!.]*"):
        assert folder.name != "Videos" and files_below(folder), "a folder that is there is complete"
    ended = extract(root)
    assert ended.returncode == 0, ended.stderr
    assert files_below(root / "extracted" / "S1" / "Videos") == contents
    assert {path.name for path in (root / "extracted" / "S1").iterdir()} == set(KINDS)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, slow(signal.SIGTERM)])
def test_ctrl_c_and_sigterm_end_with_130_and_leave_nothing_half_unpacked(root, signal_number):
    large_archive(root / "archives" / "Videos_S1.tgz", files=70)
    process = start_extract(root, "--delete-archives")
    run_until(process, (root / "extracted" / "S1" / ".Videos.unpacking" / "3").exists)
    process.send_signal(signal_number)
    process.send_signal(signal.SIGCONT)
    ended = finish(process)
    assert ended.returncode == 130, ended.text
    assert ended.stderr == "extract_all.py: interrupted; run again to resume\n"
    assert leftovers_in_extracted(root) == [] and (root / "archives" / "Videos_S1.tgz").exists()
    assert extract(root).returncode == 0


def test_a_second_run_on_one_root_waits_and_says_so(root):
    contents = large_archive(root / "archives" / "Videos_S1.tgz")
    first = start_extract(root)
    run_until(first, (root / "extracted" / "S1" / ".Videos.unpacking").exists)
    second = start_extract(root)
    assert "in use by another run" in second.stdout.readline()
    first.send_signal(signal.SIGCONT)
    ended = finish(first)
    assert (ended.returncode, ended.stderr) == (0, "") and "7 of 7 archives unpacked" in ended.stdout
    ended = finish(second)
    assert (ended.returncode, ended.stderr) == (0, "") and "nothing to do: 7" in ended.stdout
    assert files_below(root / "extracted" / "S1" / "Videos") == contents


def test_too_small_disk_is_noticed_before_unpacking(root, small_disk):
    disk = small_disk(megabytes=4)
    (root / "extracted").symlink_to(disk)
    large_archive(root / "archives" / "Videos_S1.tgz", files=10)
    ended = extract(root)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    figures = [int(word.replace(",", "")) for word in line.split() if word.replace(",", "").isdecimal() and "," in word]
    assert len(figures) == 2 and figures[0] > 10_000_000 and figures[1] <= 4 << 20, line
    assert not list(disk.glob("S1"))


def test_disk_full_costs_the_archive_and_leaves_no_half_folder(root, small_disk):
    disk = small_disk(megabytes=4)
    (root / "extracted").symlink_to(disk)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for number in range(10):
            member = tarfile.TarInfo(f"S1/Videos/{number}.mp4")
            member.size = 1_000_000
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    content = plain.getvalue()
    # gzip tells the length of its last member only, so that this one looks as if it fitted.
    (root / "archives" / "Videos_S1.tgz").write_bytes(gzip.compress(content[:-512]) + gzip.compress(content[-512:]))
    ended = extract(root, "--jobs", "1")
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "Videos_S1.tgz: not unpacked: disk is full" in ended.stderr
    assert {path.name for path in (root / "extracted" / "S1").iterdir()} == set(KINDS) - {VIDEOS}


def test_read_only_folder_is_one_line(root, read_only):
    (root / "extracted").mkdir()
    read_only(root / "extracted")
    ended = extract(root)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert str(root / "extracted") in ended.stderr and "Read-only" in ended.stderr
