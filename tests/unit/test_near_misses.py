"""h36m/archives/near_misses.py: files in archives/ that are nearly what is wanted, by names and by what they hold."""

import gzip
import io
import tarfile

import pytest

from h36m.archives.near_misses import browser_download, near_misses, unfinished_download
from h36m.dataset import BOXES, KIND_FACTS, PART_LABELS, POSES_3D, POSES_3D_ANGLES, POSES_3D_WORLD, VIDEOS, Archive

ABSENT = [
    Archive(VIDEOS, "S1"),
    Archive(POSES_3D_WORLD, "S1"),
    Archive(BOXES, "S1"),
    Archive(PART_LABELS, "S5"),
    Archive(VIDEOS, "S11"),
]


def tar_of(kind: str, subject: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(".Trashes/S7/MySegmentsMat/ground_truth_bb/a"))
        archive.addfile(tarfile.TarInfo(f"{subject}/{KIND_FACTS[kind].inner_folder}/a"))
    return file.getvalue()


VIDEOS_S1 = gzip.compress(tar_of(VIDEOS, "S1"))
PAGE = b"<html><body>Please log in</body></html>"


def line_about(folder, name: str, content: bytes, absent=ABSENT) -> str | None:
    """Return the only line about a folder with one file, None for none; the file must stay as it is."""
    (folder / name).write_bytes(content)
    lines = near_misses(folder, absent)
    assert (folder / name).read_bytes() == content and len(list(folder.iterdir())) == 1
    assert len(lines) < 2 and all("\n" not in line and line.startswith(f"{name}: ") for line in lines)
    return lines[0] if lines else None


@pytest.mark.parametrize(
    ("name", "kind", "subject"),
    [
        ("Videos_S1 (1).tgz", VIDEOS, "S1"),
        ("videos_s1.tar.gz", VIDEOS, "S1"),
        ("SubjectSpecific_1.tgz", VIDEOS, "S1"),
        ("SubjectSpecific_5 (2).tgz", VIDEOS, "S11"),
        ("SubjectSpecific_1.tgz", BOXES, "S1"),
        ("SubjectSpecific_6.tgz", PART_LABELS, "S5"),
        ("Videos_S1 (1).tgz", POSES_3D_WORLD, "S1"),
    ],
)
def test_archive_under_another_name_is_to_be_renamed(tmp_path, name, kind, subject):
    line, right = line_about(tmp_path, name, gzip.compress(tar_of(kind, subject))), f"{kind}_{subject}.tgz"
    assert line == f"{name}: looks like {right} under another name; rename it to {right} and run again"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Videos_S1.tgz.crdownload", 0),
        ("Videos_S1 (1).tgz.part", 0),
        ("Videos_S1.x3Zk9_aB.tgz.part", 0),
        ("Videos_S1.tgz.partial", 0),
        ("SubjectSpecific_1.tgz.opdownload", -20),
        ("Unconfirmed 123456.crdownload", -20),
    ],
)
def test_unfinished_browser_download_is_to_be_finished(tmp_path, name, kept):
    line = line_about(tmp_path, name, VIDEOS_S1[:kept])
    assert line.startswith(f"{name}: an unfinished browser download of Videos_S1.tgz; finish it in the browser")


def test_safaris_folder_of_an_unfinished_download_is_named(tmp_path):
    (tmp_path / "Videos_S1.tgz.download").mkdir()
    (tmp_path / "Videos_S1.tgz").mkdir()
    (tmp_path / "Videos_S1 (1).tgz").mkdir()
    [line] = near_misses(tmp_path, ABSENT)
    assert line.startswith("Videos_S1.tgz.download: an unfinished browser download of Videos_S1.tgz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Videos_S1 (1).tgz", b"", "named like Videos_S1.tgz, but it is empty; remove it"),
        ("Videos_S1 (1).tgz", PAGE, "but it is not a gzip file; it looks like an HTML page: 'Please log in'; remove"),
        ("Videos_S1 (1).tgz", gzip.compress(tar_of(POSES_3D, "S5")), "but it contains the folder S5"),
        ("Videos_S1.tar", tar_of(VIDEOS, "S1"), "Videos_S1.tgz already decompressed, as Safari does"),
    ],
    ids=["empty", "page", "other", "tar"],  # gzip puts the time into its bytes
)
def test_line_says_what_a_file_is_and_what_to_do(tmp_path, name, content, words):
    assert words in line_about(tmp_path, name, content)


@pytest.mark.parametrize(
    "more", ["", ".part", ".part.st", ".part.about", ".part.about.12.tmp", ".st", ".changed", ".rejected-2"]
)
@pytest.mark.parametrize("kind", [VIDEOS, POSES_3D_ANGLES])
def test_our_own_files_are_not_near_misses(tmp_path, kind, more):
    assert line_about(tmp_path, f"{kind}_S1.tgz{more}", VIDEOS_S1, [Archive(kind, "S1"), *ABSENT]) is None


@pytest.mark.parametrize(
    "name", ["backup.tgz", "Videos_S1.txt", "Videos_S1.tgz.md5", "Videos_S1.54138969.mp4", ".lock"]
)
@pytest.mark.parametrize("content", [b"", b"words", PAGE, gzip.compress(b"no tar")], ids=len)
def test_other_files_are_not_near_misses(tmp_path, name, content):
    assert line_about(tmp_path, name, content) is None


def test_near_misses_of_archives_that_are_present_are_not_named(tmp_path):
    assert line_about(tmp_path, "Videos_S1 (1).tgz", VIDEOS_S1, absent=[Archive(VIDEOS, "S11")]) is None
    assert near_misses(tmp_path, []) == near_misses(tmp_path / "nowhere", ABSENT) == []


# -- files under the archive's own name --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["Videos_S1.tgz.part", "Videos_S1.x3Zk9_aB.tgz.part"])
def test_empty_archive_next_to_firefoxs_part_is_a_browser_download(tmp_path, part):
    archive = tmp_path / "Videos_S1.tgz"
    archive.touch()
    (tmp_path / "Videos_S5.tgz.part").touch()
    assert browser_download(archive) is None
    (tmp_path / part).write_bytes(VIDEOS_S1[:90])
    line = f"Videos_S1.tgz: an unfinished browser download ({part}); finish it in the browser"
    assert browser_download(archive).startswith(line) and unfinished_download(archive, VIDEOS).startswith(line)
    archive.write_bytes(b"x")
    assert browser_download(archive) is None


def test_empty_archive_next_to_our_own_part_is_not_a_browser_download(tmp_path):
    for name in ("Videos_S1.tgz", "Videos_S1.tgz.part", "Videos_S1.tgz.part.about"):
        (tmp_path / name).touch()
    assert browser_download(tmp_path / "Videos_S1.tgz") is None


def test_archive_with_axels_state_is_an_unfinished_download(tmp_path):
    archive = tmp_path / "Segments_mat_gt_pl_S1.tgz"
    archive.write_bytes(VIDEOS_S1[:90])
    assert unfinished_download(archive, PART_LABELS) is None
    (tmp_path / f"{archive.name}.st").touch()
    line = unfinished_download(archive, PART_LABELS)
    assert line.startswith(f"{archive.name}: an unfinished download") and "run download_seg_mat_gt_pl.py" in line
