"""extract_all.py: complete folders or none, nothing outside of them; a second run does only what is missing."""

import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.archives import small_release, spoil
from helpers.marks import slow
from helpers.releases import leftovers_in_extracted
from helpers.scripts import RECORD_OPENS, finish, process, run_script, start_script

from h36m.dataset import (
    BOXES,
    KIND_FACTS,
    KINDS,
    PART_LABELS,
    UNPACKED_RECORD,
    VIDEOS,
    Archive,
    archive_file,
    kinds_of_script,
)
from h36m.extract.unpack import unpacked_size
from h36m.sequences import file_names
from h36m.storage import Record

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


def test_files_are_unpacked_to_where_processing_looks(root):
    """Wherever in the archive they are, and whatever is beside them; strays are skipped and named."""
    for kind in KINDS:
        first, second, *_ = file_names(Archive(kind, "S1")).values()
        inner = KIND_FACTS[kind].inner_folder
        write_archive(
            root / "archives" / f"{kind}_S1.tgz",
            ("S1/.DS_Store", b"a stray"),
            (f"S1/{inner}/{first}", b"one"),
            (f"S1/{inner}/more/{second}", b"two"),
            ("S1/readme.txt", b"three"),
        )
    ended = extract(root)
    assert (ended.returncode, ended.stderr) == (0, "")
    for kind in KINDS:
        first, second, *_ = file_names(Archive(kind, "S1")).values()
        expected = {first: b"one", second: b"two", "readme.txt": b"three"}
        assert files_below(root / "extracted" / "S1" / kind) == expected
        assert f"{kind}_S1.tgz: unpacked; skipped 1 file created by operating systems: 'S1/.DS_Store'\n" in ended.stdout


def test_processing_finds_what_was_unpacked_from_an_archive_with_a_stray(demo_run, tmp_path):
    """Even if an earlier version unpacked it to folders of its own, and recorded that as done."""
    root, before = tmp_path / "a root", demo_run / "data" / "extracted" / "S1"
    (root / "archives").mkdir(parents=True)
    for kind in kinds_of_script("download_all.py"):
        archive, folder = archive_file(root, Archive(kind, "S1")), root / "extracted" / "S1" / kind
        with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
            packed.addfile(tarfile.TarInfo("S1/.DS_Store"))
            packed.add(before / kind, f"S1/{KIND_FACTS[kind].inner_folder}")
        shutil.copytree(before / kind, folder / KIND_FACTS[kind].inner_folder)
        Record(root / "extracted" / UNPACKED_RECORD).add(archive)
    ended = extract(root)
    assert ended.returncode == 0 and "5 of 5 archives unpacked" in ended.stdout
    assert files_below(root / "extracted" / "S1") == {
        name: content for name, content in files_below(before).items() if "Segments" not in name
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


def test_a_gzip_of_several_members_with_zeros_behind_is_read_to_its_end(root):
    archive = root / "archives" / "Videos_S1.tgz"
    content = gzip.decompress(archive.read_bytes())
    archive.write_bytes(gzip.compress(content[:9000]) + gzip.compress(content[9000:]) + bytes(2000))
    assert extract(root).returncode == 0
    # A flipped bit in the second one's CRC is noticed.
    archive.write_bytes(archive.read_bytes()[:-2008] + b"\x55" + archive.read_bytes()[-2007:])
    ended = extract(root)
    assert ended.returncode == 1 and "is damaged" in ended.stderr


def test_bytes_behind_the_gzip_stream_are_ignored(root):
    archive = root / "archives" / "Videos_S1.tgz"
    archive.write_bytes(spoil(archive.read_bytes(), "garbage behind it"))
    ended = extract(root)
    assert (ended.returncode, ended.stderr) == (0, "") and len(list((root / "extracted" / "S1").iterdir())) == 7


def test_links_within_an_archive_become_the_files_that_they_lead_to(root):
    symbolic, hard, chain = (tarfile.TarInfo(f"S1/Videos/{name}.mp4") for name in ("symbolic", "hard", "chain"))
    symbolic.type, symbolic.linkname = tarfile.SYMTYPE, "../Videos/a.mp4"
    hard.type, hard.linkname = tarfile.LNKTYPE, "S1/Videos/a.mp4"
    chain.type, chain.linkname = tarfile.SYMTYPE, "symbolic.mp4"
    file, others = ("S1/Videos/a.mp4", b"content"), (chain, symbolic, hard)
    write_archive(root / "archives" / "Videos_S1.tgz", chain, symbolic, file, hard, (MEMBER, b"video"))
    assert extract(root).returncode == 0
    videos = root / "extracted" / "S1" / "Videos"
    names = ["a.mp4", *(Path(link.name).name for link in others)]
    assert files_below(videos) == {Path(MEMBER).name: b"video"} | dict.fromkeys(names, b"content")
    assert not any(path.is_symlink() for path in videos.iterdir())


def test_it_works_from_another_directory_with_a_relative_root(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ended = extract(Path("..") / "a root", cwd=elsewhere)
    assert ended.returncode == 0 and len(list((root / "extracted" / "S1").iterdir())) == 7
    assert not list(elsewhere.iterdir())


# -- what is not there, and what is there already ----------------------------------------------------------------------


def test_absent_archives_are_named_with_their_script(root):
    (root / "archives" / "Videos_S1.tgz").rename(root / "archives" / "Videos_S1.tgz.part")
    ended = extract(root)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "Videos_S1.tgz" in line and "download_all.py" in line
    assert len(list((root / "extracted" / "S1").iterdir())) == 6


def test_near_misses_are_named_beside_the_absent_archives(root):
    archives = root / "archives"
    (archives / "Videos_S1.tgz").rename(archives / "Videos_S1 (1).tgz")
    (archives / "Segments_mat_gt_pl_S1.tgz").rename(archives / "SubjectSpecific_1.tgz")
    ended = extract(root)
    assert ended.returncode == 1 and "download_all.py" in ended.stderr.splitlines()[0]
    assert "Videos_S1 (1).tgz: looks like Videos_S1.tgz under another name" in ended.stderr.splitlines()[1]
    assert "SubjectSpecific_1.tgz: looks like Segments_mat_gt_pl_S1.tgz" in ended.stdout


def test_absent_boxes_and_part_labels_are_named_with_status_0(root):
    for kind in (BOXES, PART_LABELS):
        (root / "archives" / f"{kind}_S1.tgz").unlink()
    ended = extract(root)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Segments_mat_gt_bb_S1.tgz" in ended.stdout and "download_seg_mat_gt_pl.py" in ended.stdout


def test_one_subject_without_boxes_where_another_has_them_is_a_fault(root):
    small_release(root / "archives", subjects=["S1", "S5"])
    (root / "archives" / "Segments_mat_gt_bb_S5.tgz").unlink()
    ended = extract(root, "--subjects", "S1", "S5")
    assert ended.returncode == 1 and "Segments_mat_gt_bb_S5.tgz" in ended.stderr
    assert "Segments_mat_gt_bb_S1" not in ended.stderr


def test_no_folder_of_archives_is_wrong_use(tmp_path):
    ended = extract(tmp_path)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and "archives" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--jobs", "0"], ["--jobs", "many"], ["--subjects", "S2"], ["--root", "nowhere"]])
def test_wrong_use_is_one_line_and_status_2(root, options):
    ended = extract(root, *options)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.stderr


def test_second_run_opens_no_archive_and_says_so(root, tmp_path):
    log = tmp_path / "opened.txt"
    (tmp_path / "sitecustomize.py").write_text(RECORD_OPENS)
    hooked = {"environment": {"PYTHONPATH": str(tmp_path)}, "cwd": tmp_path}
    assert extract(root, **hooked).returncode == 0
    assert len(set(log.read_text().splitlines())) == 7, "the hook sees opened archives"
    log.unlink()
    ended = extract(root, **hooked)
    assert (ended.returncode, ended.stdout) == (0, f"nothing to do: 7 archives are unpacked in {root / 'extracted'}\n")
    assert not log.exists()


def test_quiet_prints_nothing_when_all_goes_well(root):
    ended = extract(root, "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_only_a_folder_that_is_missing_is_unpacked_again(root):
    assert extract(root).returncode == 0
    shutil.rmtree(root / "extracted" / "S1" / "Videos")
    ended = extract(root)
    assert ended.returncode == 0 and "1 of 1 archive unpacked" in ended.stdout
    assert (root / "extracted" / "S1" / "Videos").is_dir()


def test_new_version_of_an_archive_replaces_its_folder(root):
    assert extract(root).returncode == 0
    write_archive(root / "archives" / "Videos_S1.tgz", (MEMBER, b"new"))
    assert extract(root).returncode == 0
    assert files_below(root / "extracted" / "S1" / "Videos") == {Path(MEMBER).name: b"new"}
    assert leftovers_in_extracted(root) == []


def test_bad_new_version_leaves_the_old_folder_in_place(root):
    assert extract(root).returncode == 0
    before = files_below(root / "extracted" / "S1" / "Videos")
    (root / "archives" / "Videos_S1.tgz").write_bytes(b"\x1f\x8bnothing of a gzip file")
    ended = extract(root)
    assert ended.returncode == 1 and "Videos_S1.tgz" in ended.stderr
    assert files_below(root / "extracted" / "S1" / "Videos") == before


def test_folder_of_another_tool_is_renamed_and_kept(root):
    videos = root / "extracted" / "S1" / "Videos"
    videos.mkdir(parents=True)
    (videos / "half.mp4").write_bytes(b"left by another tool")
    ended = extract(root)
    assert ended.returncode == 0 and "Videos.old" in ended.stdout
    assert "half.mp4" not in files_below(videos)
    assert files_below(root / "extracted" / "S1" / "Videos.old") == {"half.mp4": b"left by another tool"}


def test_lost_or_damaged_record_costs_another_unpacking_and_no_file(root):
    assert extract(root).returncode == 0
    before = files_below(root / "extracted" / "S1" / "Videos")
    (root / "extracted" / UNPACKED_RECORD).write_text('{"Videos_S1.tgz": 3')
    assert extract(root).returncode == 0
    assert files_below(root / "extracted" / "S1" / "Videos") == before


def test_delete_archives_deletes_those_whose_folders_stand_and_no_other(root):
    bad = root / "archives" / "Videos_S1.tgz"
    bad.write_bytes(bad.read_bytes()[:-100])
    assert extract(root, "--delete-archives").returncode == 1
    assert [path.name for path in (root / "archives").glob("*.tgz")] == ["Videos_S1.tgz"]
    assert {path.name for path in (root / "extracted" / "S1").iterdir()} == set(KINDS) - {VIDEOS}


def test_delete_archives_also_deletes_what_an_earlier_run_has_unpacked(root):
    assert extract(root).returncode == 0
    ended = extract(root, "--delete-archives")
    assert ended.returncode == 0 and not list((root / "archives").glob("*.tgz"))
    ended = extract(root)
    assert ended.returncode == 0 and "nothing to do: 7" in ended.stdout


# -- bad archives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "is truncated"),
        ("without its last byte", "is truncated"),
        ("flipped bit", "is damaged"),
        ("flipped bit in the CRC", "is damaged"),
        ("login page", "is not a gzip file; it looks like an HTML page: 'Please log in"),
        ("empty file", "is empty"),
    ],
)
def test_damaged_archive_costs_itself_only_and_leaves_no_folder(root, how, words):
    archive = root / "archives" / "Videos_S1.tgz"
    archive.write_bytes(spoil(archive.read_bytes(), how))
    assert_only_videos_failed(extract(root), root, words)


@pytest.mark.parametrize("length", [700, 20_000, 10_240])
def test_truncated_tar_in_a_whole_gzip_is_rejected(root, length):
    archive = root / "archives" / "Videos_S1.tgz"
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes())[:length]))
    assert_only_videos_failed(extract(root), root, "is not a complete tar archive")


def test_broken_header_between_members_is_not_mistaken_for_the_end(root):
    archive = write_archive(root / "archives" / "Videos_S1.tgz", ("S1/Videos/a", b"a"), ("S1/Videos/b", b"b"))
    content = bytearray(gzip.decompress(archive.read_bytes()))
    content[1024 + 10] ^= 1  # in the name of the second member; a header has a checksum
    archive.write_bytes(gzip.compress(content))
    assert_only_videos_failed(extract(root), root, "is not a complete tar archive")


def test_an_archive_under_a_wrong_subjects_name_is_not_unpacked(root):
    write_archive(root / "archives" / "Videos_S1.tgz", ("S5/Videos/a.mp4", b"of S5"))
    assert_only_videos_failed(extract(root), root, "contains the folder S5, but its name says S1")


def test_poses_under_the_name_of_videos_are_not_unpacked(root):
    """A line names what the archive holds."""
    shutil.copy(root / "archives" / "Poses_D2_Positions_S1.tgz", root / "archives" / "Videos_S1.tgz")
    assert_only_videos_failed(extract(root), root, "contains S1/MyPoseFeatures/D2_Positions, but its name says Videos")


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../../../outside", b"x"), "is outside"),
        (("S1/Videos/../../../../outside", b"x"), "is outside"),
        (("/tmp/outside of the archive", b"x"), "is outside"),
        (("C:\\outside", b"x"), "is outside"),
        (("S1\\..\\..\\outside", b"x"), "is outside"),
        (special("S1/Videos/link", tarfile.SYMTYPE, "../../../../outside"), "is outside"),
        (special("S1/Videos/link", tarfile.SYMTYPE, "/etc/hostname"), "is outside"),
        (special("S1/Videos/link", tarfile.SYMTYPE, "."), "target is not in the archive"),
        (special("S1/Videos/link", tarfile.SYMTYPE, "link"), "target is not in the archive"),
        (special("S1/Videos/link", tarfile.LNKTYPE, "../outside"), "is outside"),
        (special("S1/Videos/link", tarfile.LNKTYPE, "S1/Videos/absent"), "target is not in the archive"),
        (special("S1/Videos/device", tarfile.CHRTYPE), "neither a file nor a folder"),
        (special("S1/Videos/device", tarfile.BLKTYPE), "neither a file nor a folder"),
        (special("S1/Videos/pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        ((MEMBER, b"other"), "twice"),
        (("S1//Videos/./Directions 1.54138969.mp4", b"other"), "twice"),
        ((f"{MEMBER}/below a file", b"other"), "twice"),
        (special(f"{MEMBER}", tarfile.SYMTYPE, "a.mp4"), "twice"),
    ],
    ids=lambda value: (
        f"{value.type.decode()} {value.name} {value.linkname}" if hasattr(value, "linkname") else str(value)
    ),
)
def test_unsafe_member_costs_the_archive_and_writes_nothing_outside(root, member, words):
    write_archive(root / "archives" / "Videos_S1.tgz", ("S1/Videos/a.mp4", b"a"), (MEMBER, b"first"), member)
    around = files_below(root.parent).keys()
    assert_only_videos_failed(extract(root), root, words)
    new = files_below(root.parent).keys() - around
    assert all(name.startswith("a root/extracted/") for name in new)
    assert not Path("/tmp/outside of the archive").exists()


def test_archive_without_a_file_does_not_count_as_done(root):
    write_archive(root / "archives" / "Videos_S1.tgz", special("S1/Videos", tarfile.DIRTYPE))
    assert_only_videos_failed(extract(root), root, "contains no file")


# -- disk and process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, *map(slow, range(1, 6))])
def test_kill_9_at_any_moment_then_a_second_run_completes_it(root, seed):
    contents = large_archive(root / "archives" / "Videos_S1.tgz")
    process = start_extract(root)
    unfinished = root / "extracted" / "S1" / ".Videos.unpacking" / "S1" / "Videos"
    # In the first half: a busy machine may let it go on for a while before it is stopped.
    moment = [unfinished.parent, *(unfinished / name for name in contents)][random.Random(seed).randrange(20)]
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
    third = list(large_archive(root / "archives" / "Videos_S1.tgz", files=70))[2]
    process = start_extract(root, "--delete-archives")
    run_until(process, (root / "extracted" / "S1" / ".Videos.unpacking" / "S1" / "Videos" / third).exists)
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


@pytest.mark.parametrize("members", [1, 3])
def test_the_size_of_an_archives_content_is_known_beforehand(tmp_path, members):
    content = random.Random(members).randbytes(100_000)
    archive = tmp_path / "a.tgz"
    archive.write_bytes(b"".join(gzip.compress(content) for _ in range(members)))
    assert len(content) * members == pytest.approx(unpacked_size(archive), rel=0.01)


def test_unpacked_size_of_more_than_4_gb_is_known(tmp_path):
    """gzip keeps 32 bits of it."""
    archive = tmp_path / "a.tgz"
    with archive.open("wb") as file:  # a file with a hole, as long as an archive of 9 GB of videos
        file.truncate(9_000_000_000)
        file.seek(-4, os.SEEK_END)
        file.write((9_001_000_000 % 2**32).to_bytes(4, "little"))
    assert unpacked_size(archive) == 9_001_000_000


def test_read_only_folder_is_one_line(root, read_only):
    (root / "extracted").mkdir()
    read_only(root / "extracted")
    ended = extract(root)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert str(root / "extracted") in ended.stderr and "Read-only" in ended.stderr
