"""What file systems really do: one file costs itself, and is named with the system's reason and a fitting remedy."""

import errno
import os
import resource
import tarfile
from functools import partial
from pathlib import Path

import pytest
from helpers.archives import small_archive, small_release
from helpers.faults import failing, needs_faults, obey_modes
from helpers.scripts import Ended, run_script

from h36m.dataset import KINDS, VIDEOS, Archive, archive_file
from h36m.sequences import file_names

POSES = "Poses_D2_Positions"


@pytest.fixture
def root(tmp_path) -> Path:
    """A root with all seven archives of S1."""
    small_release(tmp_path / "a root" / "archives", subjects=["S1"])
    return tmp_path / "a root"


def extract(root: Path, *options, **more) -> Ended:
    return run_script("extract_all.py", "--root", root, "--subjects", "S1", *options, **more)


def unpacked_kinds(root: Path) -> set[str]:
    return {path.name for path in (root / "extracted" / "S1").iterdir() if not path.name.startswith(".")}


# -- what costs nothing ------------------------------------------------------------------------------------------------


@needs_faults
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EINVAL], ids=errno.errorcode.get)
def test_time_stamps_and_syncs_that_are_not_supported_cost_nothing(root, tmp_path, number):
    sync_number = errno.EINVAL if number == errno.EPERM else number
    rules = [("utime", number, "/extracted/"), ("fsync", sync_number, "/a root/")]
    ended = extract(root, environment=failing(tmp_path, *rules))
    assert (ended.returncode, ended.stderr) == (0, "") and unpacked_kinds(root) == set(KINDS)


@pytest.mark.parametrize("stamp", ["9223372036854775808", "nan", "-1e300"])
def test_time_stamp_that_no_system_has_is_ignored(root, stamp):
    member = tarfile.TarInfo(f"S1/Videos/{next(iter(file_names(Archive(VIDEOS, 'S1')).values()))}")
    member.pax_headers = {"mtime": stamp}
    with tarfile.open(archive_file(root, Archive(VIDEOS, "S1")), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    ended = extract(root)
    assert (ended.returncode, ended.stderr) == (0, "") and unpacked_kinds(root) == set(KINDS)


@needs_faults
@pytest.mark.parametrize("leftover", [".Videos.unpacking", ".Videos.replaced"])
def test_leftover_that_cannot_be_removed_is_named_and_blocks_nothing(root, tmp_path, leftover):
    assert extract(root).returncode == 0
    folder = root / "extracted" / "S1" / leftover
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / ".nfs0001").touch()
    (folder / "other").write_bytes(bytes(1000))
    small_archive(archive_file(root, Archive(VIDEOS, "S1")), Archive(VIDEOS, "S1"), 3000)
    for words in ("1 of 1 archive unpacked", "nothing to do: 7 archives"):
        ended = extract(root, environment=failing(tmp_path, ("unlink", errno.EBUSY, ".nfs")))
        assert (ended.returncode, ended.stderr) == (0, "") and words in ended.stdout, ended.text
        assert f"{folder}: cannot remove what an interrupted run has left: Device or resource busy; " in ended.stdout
        assert [path.name for path in folder.rglob("*")] == ["inner", ".nfs0001"]
    assert extract(root).returncode == 0 and not folder.exists()


# -- limits of the disk ------------------------------------------------------------------------------------------------


def assert_only_videos_failed(ended: Ended, root: Path, words: str) -> None:
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
    assert words in ended.stderr and str(archive_file(root, Archive(VIDEOS, "S1"))) in ended.stderr, ended.stderr
    assert unpacked_kinds(root) == set(KINDS) - {VIDEOS}
    assert [path.name for path in (root / "extracted" / "S1").glob(".*")] == []


@needs_faults
def test_exceeded_quota_is_named(root, tmp_path):
    ended = extract(root, environment=failing(tmp_path, ("write", errno.EDQUOT, ".Videos.unpacking")))
    assert_only_videos_failed(ended, root, "not unpacked: your quota on this disk is exceeded; ")


def test_file_size_limit_is_named(root):
    archive = archive_file(root, Archive(VIDEOS, "S1"))
    small_archive(archive, Archive(VIDEOS, "S1"), 300_000)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (200_000, 200_000))
    assert_only_videos_failed(extract(root, preexec_fn=limit), root, "not unpacked: file size limit exceeded; ")


def test_disk_without_inodes_is_named(root, small_disk):
    disk = small_disk(16, "nr_inodes=16")
    (root / "extracted").symlink_to(disk)
    archive = Archive(VIDEOS, "S1")
    with tarfile.open(archive_file(root, archive), "w:gz") as tar:
        for name in list(file_names(archive).values())[:20]:
            tar.addfile(tarfile.TarInfo(f"S1/Videos/{name}"))
    ended = extract(root, "--kinds", VIDEOS)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
    assert "Videos_S1.tgz: not unpacked: disk is full: no inodes (files) are left, although " in ended.stderr


FORMATS = ["export_all.py", "videopose3d"]


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (["download_all.py"], "archives"),
        (["extract_all.py"], "archives"),
        (["extract_all.py"], "extracted"),
        (["process_all.py"], "extracted"),
        (["process_all.py"], "processed"),
        (FORMATS, "extracted"),
        (FORMATS, "processed"),
        (FORMATS, "exported"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
@pytest.mark.parametrize("target", ["no/such/disk", "to itself"])
def test_link_that_leads_nowhere_is_one_line(root, script, name, target):
    for each in ("archives", "extracted"):
        (root / each).mkdir(exist_ok=True)
    link = root / name
    if link.exists():
        link.rename(root / "elsewhere")
    link.symlink_to(link if target == "to itself" else root.parent / target)
    ended = run_script(script[0], "--root", root, *script[1:])
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.text
    assert f"{link}: " in ended.stderr and "disk" in ended.stderr
    assert link.is_symlink() and not (root.parent / "no").exists()


def test_link_that_leads_nowhere_but_is_not_needed_does_no_harm(root):
    for name in ("processed", "exported"):
        (root / name).symlink_to(root.parent / "no such disk")
    assert extract(root).returncode == 0


# -- files and folders that cannot be read -----------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_archive_without_permission_costs_itself(root, jobs):
    archive = archive_file(root, Archive(VIDEOS, "S1"))
    archive.chmod(0)
    ended = extract(root, "--jobs", jobs, preexec_fn=obey_modes)
    assert_only_videos_failed(ended, root, "Permission denied; check its permissions")
    archive.chmod(0o600)
    assert extract(root).returncode == 0


@needs_faults
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("open", errno.EIO),
        ("open", errno.ESTALE),
        ("read", errno.EIO),
        ("stat", errno.EIO),
        ("stat", errno.ESTALE),
        ("open", errno.EMFILE),
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_archive_that_the_disk_cannot_read_costs_itself(root, tmp_path, call, number):
    ended = extract(root, environment=failing(tmp_path, (call, number, "/Videos_S1.tgz")))
    assert_only_videos_failed(ended, root, os.strerror(number))


@pytest.mark.parametrize("place", ["extracted/S1/Videos", "extracted/S1/Videos/below"])
def test_unpacked_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(root, place):
    assert extract(root).returncode == 0
    (root / "extracted" / "S1" / "Videos" / "below").mkdir()
    small_archive(archive_file(root, Archive(POSES, "S1")), Archive(POSES, "S1"), 3000)
    (root / place).chmod(0)
    ended = extract(root, preexec_fn=obey_modes)
    (root / place).chmod(0o700)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
    assert f"{root / place}: Permission denied; check its permissions" in ended.stderr
    assert "1 of 1 archive unpacked" in ended.stdout and list((root / "extracted/S1/Videos").glob("*.mp4"))


def test_folder_of_archives_that_cannot_be_listed_is_named_where_one_is_absent(root):
    archive_file(root, Archive(VIDEOS, "S1")).unlink()
    (root / "archives").chmod(0o300)
    ended = extract(root, preexec_fn=obey_modes)
    (root / "archives").chmod(0o700)
    assert ended.returncode == 1 and unpacked_kinds(root) == set(KINDS) - {VIDEOS}
    absent, unlisted = ended.stderr.splitlines()
    assert "Videos_S1.tgz" in absent
    assert f"{root / 'archives'}: Permission denied; check its permissions" in unlisted


@needs_faults
def test_archive_that_cannot_be_deleted_is_named(root, tmp_path):
    faults = failing(tmp_path, ("unlink", errno.EPERM, "/Videos_S1.tgz"))
    for _ in range(2):
        ended = extract(root, "--delete-archives", environment=faults)
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
        assert f"{archive_file(root, Archive(VIDEOS, 'S1'))}: not deleted: Operation not permitted; " in ended.stderr
        assert [path.name for path in (root / "archives").glob("*.tgz")] == ["Videos_S1.tgz"]
