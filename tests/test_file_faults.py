"""What file systems really do: one file costs itself, and is named with the system's reason and a fitting remedy."""

import errno
import os
import resource
import shutil
import tarfile
from functools import cache, partial
from pathlib import Path

import pytest
from helpers.archives import small_archive, small_release
from helpers.downloads import Downloads
from helpers.faults import failing, needs_faults, obey_modes
from helpers.faulty_site import faulty_site
from helpers.marks import slow
from helpers.releases import leftovers_in_processed, linked, times_of_files
from helpers.scripts import Ended, process, run_script

from h36m.dataset import KIND_FACTS, KINDS, VIDEOS, Archive, archive_file
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
def test_unsupported_time_stamps_and_syncs_cost_nothing(root, tmp_path, number):
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
def test_leftover_of_unpacking_is_named_and_blocks_nothing(root, tmp_path, leftover):
    assert extract(root).returncode == 0
    folder = root / "extracted" / "S1" / leftover
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / ".nfs0001").touch()
    (folder / "other").write_bytes(bytes(1000))
    small_archive(archive_file(root, Archive(VIDEOS, "S1")), Archive(VIDEOS, "S1"), 3000)
    for words in ("1 of 1 archive unpacked", "nothing to do: 7 archives"):
        ended = extract(root, environment=failing(tmp_path, ("unlink", errno.EBUSY, ".nfs")))
        assert (ended.returncode, ended.stderr) == (0, "") and words in ended.stdout, ended.text
        assert f"{folder}: cannot remove this leftover of an interrupted run: Device or resource busy; " in ended.stdout
        assert [path.name for path in folder.rglob("*")] == ["inner", ".nfs0001"]
    assert extract(root).returncode == 0 and not folder.exists()


# -- limits of the disk ------------------------------------------------------------------------------------------------


def assert_only_videos_failed(ended: Ended, root: Path, words: str) -> None:
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
    assert "Videos_S1.tgz: not unpacked: " in ended.stderr and words in ended.stderr, ended.stderr
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
    assert "Videos_S1.tgz: not unpacked: disk is full: no inodes left for more files (" in ended.stderr


FORMATS = ["export_all.py", "videopose3d"]


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (["download_all.py"], "archives"),
        (["extract_all.py"], "archives"),
        (["extract_all.py"], "extracted"),
        (["process_all.py"], "extracted"),
        (["process_all.py"], "processed"),
        (FORMATS, "processed"),
        (FORMATS, "exported"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_link_that_leads_nowhere_is_one_line(root, script, name):
    for each in ("archives", "extracted"):
        (root / each).mkdir(exist_ok=True)
    link = root / name
    if link.exists():
        link.rename(root / "elsewhere")
    # One leads to itself, which the system reports as another error.
    link.symlink_to(link if name == "archives" else root.parent / "no/such/disk")
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
        ("open", errno.EMFILE),
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_archive_that_the_disk_cannot_read_costs_itself(root, tmp_path, call, number):
    ended = extract(root, environment=failing(tmp_path, (call, number, "/Videos_S1.tgz")))
    assert_only_videos_failed(ended, root, os.strerror(number))


@pytest.mark.parametrize("place", ["extracted/S1/Videos", "extracted/S1/Videos/below"])
def test_unpacked_folder_that_cannot_be_listed_is_not_empty(root, place):
    assert extract(root).returncode == 0
    (root / "extracted" / "S1" / "Videos" / "below").mkdir()
    small_archive(archive_file(root, Archive(POSES, "S1")), Archive(POSES, "S1"), 3000)
    (root / place).chmod(0)
    ended = extract(root, preexec_fn=obey_modes)
    (root / place).chmod(0o700)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
    assert f"{root / place}: Permission denied; check its permissions" in ended.stderr
    assert "1 of 1 archive unpacked" in ended.stdout and list((root / "extracted/S1/Videos").glob("*.mp4"))


def test_folder_of_archives_that_cannot_be_listed_is_named(root):
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
        archive = archive_file(root, Archive(VIDEOS, "S1"))
        assert f"Videos_S1.tgz: not deleted: {archive}: Operation not permitted; check its permissions" in ended.stderr
        assert [path.name for path in (root / "archives").glob("*.tgz")] == ["Videos_S1.tgz"]


# -- exports -----------------------------------------------------------------------------------------------------------

CAMERA = "54138969"


def root_of_demo(demo_run: Path, folder: Path) -> Path:
    """Make a root with the demo's extracted/ and processed/, S1 and S9, to read only."""
    root = folder / "of the demo"
    root.mkdir()
    for name in ("extracted", "processed"):
        (root / name).symlink_to(demo_run / "data" / name)
    return root


@pytest.fixture
def processed_root(demo_run, tmp_path) -> Path:
    return root_of_demo(demo_run, tmp_path)


@pytest.fixture(scope="module")
def usual_errors(demo_run, tmp_path_factory):
    """A function that returns the errors of a format's export of a root without faults; each is made once."""
    usual = root_of_demo(demo_run, tmp_path_factory.mktemp("usual"))
    errors = cache(lambda format_: export(usual, format_).errors)
    return lambda format_, root: [line.replace(str(usual), str(root)) for line in errors(format_)]


def export(root: Path, format_: str, *options, subjects: tuple[str, ...] = ("S1", "S9"), **more) -> Ended:
    return run_script("export_all.py", format_, "--root", root, "--subjects", *subjects, *options, **more)


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.name.startswith(".")}


@needs_faults
@pytest.mark.parametrize(
    ("format_", "call", "number", "place"),
    [
        ("videopose3d", "list", errno.EACCES, "/extracted/S1/Poses_D2_Positions"),
        slow("videopose3d", "stat", errno.ESTALE, "/extracted/S1/Poses_D2_Positions"),
        slow("original", "list", errno.ESTALE, "/extracted/S1/Poses_D2_Positions"),
        slow("original", "stat", errno.EACCES, "/extracted/S1/Poses_D2_Positions"),
        slow("3d-pose-baseline", "open", errno.EACCES, "/S1/Poses_D3_Positions/Walking 1.cdf"),
        ("3d-pose-baseline", "stat+open", errno.ESTALE, "/S1/Poses_D3_Positions/Walking 1.cdf"),
        ("mmpose", "list", errno.ESTALE, f"/processed/S1/Walking-1/imageSequence/{CAMERA}"),
        slow("mmpose", "stat", errno.EACCES, f"/processed/S1/Walking-1/imageSequence/{CAMERA}"),
        slow("3dmppe", "list", errno.EACCES, f"/processed/S1/Walking-1/imageSequence/{CAMERA}"),
        ("learnable-triangulation", "open", errno.EACCES, "/processed/S1/Walking-1/annot.h5"),
        slow("learnable-triangulation", "stat+open", errno.ESTALE, "/processed/S1/Walking-1/annot.h5"),
        slow("learnable-triangulation", "list", errno.EACCES, "/extracted/S1/Segments_mat_gt_bb"),
        ("learnable-triangulation", "open", errno.ESTALE, f"/Segments_mat_gt_bb/Walking 1.{CAMERA}.mat"),
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_input_of_an_export_that_cannot_be_read_costs_itself(
    processed_root, usual_errors, tmp_path, format_, call, number, place
):
    out = processed_root / "exported" / format_
    if "imageSequence" in place:
        export(processed_root, format_, subjects=("S1",))
    links = {name for name in names_below(out) if (out / name).is_symlink()}
    rules = [(each, number, place) for each in call.split("+")]
    ended = export(processed_root, format_, environment=failing(tmp_path, *rules))
    assert ended.returncode == 1
    more = set(ended.errors) - set(usual_errors(format_, processed_root))
    named = [line for line in more if place in line]
    assert named and len(more) <= 2, ended.stderr
    assert all(os.strerror(number) in line for line in named), named
    remedy = "check its permissions" if number == errno.EACCES else "check the disk and run again"
    assert all(line.endswith(remedy) for line in named) and "delete" not in str(named), named
    assert "written to" in ended.stdout and list(out.rglob("*"))
    assert links <= names_below(out)
    assert export(processed_root, format_).errors == usual_errors(format_, processed_root)


@needs_faults
def test_leftover_of_an_export_is_named_and_a_quota_too(processed_root, tmp_path):
    leftover = processed_root / "exported" / "videopose3d" / ".making"
    leftover.mkdir(parents=True)
    (leftover / ".nfs0001").touch()
    busy = ("unlink", errno.EBUSY, ".nfs")
    ended = export(processed_root, "videopose3d", environment=failing(tmp_path, busy, ("write", errno.EDQUOT, ".npz")))
    assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
    words = (
        "not exported, the earlier export is kept: your quota on this disk is exceeded; free some space and run again"
    )
    assert words in ended.stderr
    assert f"{leftover}: cannot remove this leftover of an interrupted run: Device or resource busy" in ended.stdout
    ended = export(processed_root, "videopose3d", environment=failing(tmp_path, busy))
    assert "2 files (" in ended.stdout, ended.text
    assert [path.name for path in leftover.parent.glob(".making*")] == [".making"]


# -- processing --------------------------------------------------------------------------------------------------------

# Two cameras of one sequence of each subject.
TWO = ("--subjects", "S1", "S9", "--actions", "Walking-1", "--cameras", CAMERA, "55011271", "--every", "60")


@pytest.fixture
def unpacked_root(demo_run, tmp_path) -> Path:
    """A root with the demo's unpacked files as hard links, in folders of its own."""
    return linked(demo_run / "data", tmp_path / "unpacked")


def processed_views(root: Path) -> set[str]:
    return {"/".join(image.parts[-5:-1:2]) + f" {image.parent.name}" for image in root.rglob("imageSequence/*/*.jpg")}


ALL_VIEWS = {f"{subject}/imageSequence {camera}" for subject in ("S1", "S9") for camera in (CAMERA, "55011271")}


@needs_faults
@pytest.mark.parametrize(
    ("kind", "call", "number"),
    [
        (VIDEOS, "read", errno.EIO),
        slow(VIDEOS, "stat+open", errno.ESTALE),
        (POSES, "open", errno.EACCES),
        ("Segments_mat_gt_bb", "stat+open", errno.ESTALE),
        slow("Segments_mat_gt_pl", "open", errno.EMFILE),
        slow("Poses_D3_Positions", "open", errno.EACCES),
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_file_of_a_sequence_that_cannot_be_read_costs_itself(unpacked_root, tmp_path, kind, call, number):
    camera = "" if kind == "Poses_D3_Positions" else f".{CAMERA}"
    file = unpacked_root / "extracted" / "S1" / kind / f"Walking 1{camera}{KIND_FACTS[kind].extension}"
    rules = [(each, number, f"/S1/{kind}/{file.name}") for each in call.split("+")]
    for _ in range(2):
        ended = process(unpacked_root, *TWO, environment=failing(tmp_path, *rules))
        assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
        remedies = {errno.EACCES: "check its permissions", errno.EMFILE: "end other programs or raise the limits"}
        remedy = remedies.get(number, "check the disk and run again")
        assert f"{file}: {os.strerror(number)}; {remedy}" in ended.stderr and "delete" not in ended.stderr
        lost = {f"S1/imageSequence {CAMERA}"} if kind in (VIDEOS, POSES) else set()
        assert processed_views(unpacked_root) == ALL_VIEWS - lost
    ended = process(unpacked_root, *TWO)
    assert (ended.returncode, ended.errors) == (0, []) and processed_views(unpacked_root) == ALL_VIEWS


@pytest.mark.parametrize("place", ["S1/Segments_mat_gt_bb", f"S1/{POSES}", "S1"])
def test_folder_of_a_subject_that_cannot_be_listed_costs_itself(unpacked_root, place):
    folder = unpacked_root / "extracted" / place
    folder.chmod(0)
    for _ in range(2):
        ended = process(unpacked_root, *TWO, preexec_fn=obey_modes)
        assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
        assert f"{folder}: Permission denied; check its permissions" in ended.stderr
        lost = {view for view in ALL_VIEWS if view.startswith("S1")} if place in ("S1", f"S1/{POSES}") else set()
        assert processed_views(unpacked_root) == ALL_VIEWS - lost
    folder.chmod(0o700)
    ended = process(unpacked_root, *TWO, preexec_fn=obey_modes)
    assert (ended.returncode, ended.errors) == (0, []) and processed_views(unpacked_root) == ALL_VIEWS


@pytest.mark.parametrize("place", ["", "imageSequence", f"imageSequence/{CAMERA}"])
def test_result_that_cannot_be_read_is_named_and_not_made_again(unpacked_root, place):
    assert process(unpacked_root, *TWO).returncode == 0
    before = times_of_files(unpacked_root / "processed")
    folder = unpacked_root / "processed" / "S1" / "Walking-1" / place
    folder.chmod(0)
    ended = process(unpacked_root, *TWO, preexec_fn=obey_modes)
    folder.chmod(0o700)
    assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
    assert str(folder) in ended.stderr and "Permission denied; check its permissions" in ended.stderr
    assert times_of_files(unpacked_root / "processed") == before


@pytest.mark.parametrize("kinds", [[VIDEOS], [VIDEOS, "Poses_D3_Positions_mono"]], ids=" ".join)
def test_missing_kind_is_one_line_for_a_subject(unpacked_root, kinds):
    for kind in kinds:
        shutil.rmtree(unpacked_root / "extracted" / "S1" / kind)
    ended = process(unpacked_root, "--subjects", "S1", "S9", *TWO[3:4], "Walking-1", "Greeting-2", "--every", "60")
    assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
    names = ", ".join(sorted(kinds))
    assert f": S1: left out, no {names} in {unpacked_root / 'extracted' / 'S1'}; run extract_all.py" in ended.stderr
    assert len(processed_views(unpacked_root)) == 4 and "S1" not in str(processed_views(unpacked_root))


@needs_faults
def test_leftover_of_a_sequence_is_named_and_blocks_nothing(unpacked_root, tmp_path):
    leftover = unpacked_root / "processed" / "S1" / "Walking-1" / ".making"
    leftover.mkdir(parents=True)
    (leftover / ".nfs0001").touch()
    busy = failing(tmp_path, ("unlink", errno.EBUSY, ".nfs"))
    for _ in range(2):
        ended = process(unpacked_root, *TWO, environment=busy)
        assert (ended.returncode, ended.errors) == (0, []) and processed_views(unpacked_root) == ALL_VIEWS
        assert f"{leftover}: cannot remove this leftover of an interrupted run: Device or resource busy" in ended.stdout
    assert "0 frames of 0 views written" in ended.stdout, "it is not made again"
    assert [path.name for path in leftover.parent.glob(".making*")] == [".making"]
    leftover.parent.joinpath(".making", ".nfs0001").unlink()
    assert process(unpacked_root, *TWO).returncode == 0 and leftovers_in_processed(unpacked_root) == []


ALL_FRAMES = ("--subjects", "S1", "S9", "--all-frames", "--no-segments", "--jobs", "2")


@pytest.mark.parametrize("options", ["", "nr_inodes=90"], ids=["bytes", "inodes"])
def test_full_disk_ends_the_run_in_one_line(unpacked_root, small_disk, options):
    """Before, there is a notice that the disk is small."""
    (unpacked_root / "processed").symlink_to(small_disk(64 if options else 4, options))
    ended = process(unpacked_root, *ALL_FRAMES)
    assert ended.returncode == 1
    (line,) = [line for line in ended.errors if "none of its files" not in line]
    words = "disk is full: no inodes left for more files (" if options else "disk is full ("
    assert words in line and "bytes" in line, ended.text
    assert options or "the disk may be too small for that; " in ended.stdout
    assert "Exception ignored" not in ended.text


@needs_faults
def test_exceeded_quota_ends_the_run_in_one_line(unpacked_root, tmp_path):
    rule = ("write", errno.EDQUOT, "/.making/annot.h5")
    ended = process(unpacked_root, *TWO, "--jobs", "1", environment=failing(tmp_path, rule))
    assert ended.returncode == 1 and len(ended.errors) == 1, ended.text
    assert "Walking-1: your quota on this disk is exceeded; free some space and run again" in ended.stderr


def test_file_size_limit_names_each_sequence(unpacked_root):
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10_000, 10_000))
    ended = process(unpacked_root, *TWO, preexec_fn=limit)
    assert ended.returncode == 1 and len(ended.errors) == 2, ended.text
    assert all("could not be written to " in line and "file size limit exceeded; " in line for line in ended.errors)


# -- downloads ---------------------------------------------------------------------------------------------------------


@needs_faults
@pytest.mark.parametrize(
    ("call", "number", "words"),
    [
        ("write", errno.EDQUOT, "your quota on this disk is exceeded; free some space"),
        ("write", errno.EFBIG, "file size limit exceeded; choose a disk"),
        ("open", errno.EACCES, "Permission denied; check its permissions"),
        ("read", errno.EIO, "Input/output error; check the disk"),
    ],
)
def test_file_that_a_download_cannot_use_costs_its_archive(tmp_path, call, number, words):
    """While an archive is written, and where one that was downloaded by hand is verified."""
    release = small_release(tmp_path / "site", subjects=["S1"])
    with faulty_site(release) as site:
        downloads = Downloads(tmp_path / "root", site, "requests")
        name = "Videos_S1.tgz.part"
        if call != "write":
            downloads.archives.mkdir()
            shutil.copy(release / "Videos_S1.tgz", downloads.archives)
            name = "Videos_S1.tgz"
        ended = downloads.run("--subjects", "S1", **failing(tmp_path, (call, number, f"archives/{name}")))
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.text
        assert "Videos_S1.tgz" in ended.stderr and words in ended.stderr
        assert downloads.is_right("Poses_D2_Positions_S1") and "5 archives: " in ended.stdout
