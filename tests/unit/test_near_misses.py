"""h36m/archives/near_misses.py: files in archives/ that are nearly what is wanted, by names and by what they hold."""

import gzip
import io
import tarfile

import pytest

from h36m.archives.near_misses import browser_download, near_misses, unfinished_download
from h36m.dataset import BOXES, KIND_FACTS, PART_LABELS, POSES_3D, POSES_3D_WORLD, VIDEOS, Archive

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
    "name",
    [
        "Videos_S1 (1).tgz",
        "Videos_S1(1).tgz",
        "Videos_S1 (12).tgz",
        "Videos_S1.tar.gz",
        "Videos_S1 (1).tar.gz",
        "Videos_S1.tar (1).gz",
        "Videos_S1.gz",
        "Videos_S1.tgz.gz",
        "Videos_S1.tgz.tar",
        "Videos_S1.tgz.tgz",
        "Videos_S1.TGZ",
        "videos_s1.tgz",
        "Videos_S1 copy.tgz",
        "Videos_S1 copy 2.tgz",
        "Copy of Videos_S1.tgz",
        "Videos_S1 - Copy.tgz",
        "Videos_S1 - Copy (2).tgz",
        "Videos_S1 - Kopie.tgz",
        "Videos_S1 (copy).tgz",
        "Videos_S1 (another copy).tgz",
        "Videos_S1-1.tgz",
        "Videos_S1_1.tgz",
        "Videos_S1.tgz.1",
        "Videos_S1.tgz (1)",
        "Videos S1.tgz",
        "Videos-S1.tgz",
        "Videos_S1",
        "Videos_S1.tar",
        "SubjectSpecific_1.tgz",
        "SubjectSpecific_1 (2).tgz",
        "a file of any name.tgz",
        "a.tar.gz",
        "a.gz",
    ],
)
def test_archive_under_another_name_is_to_be_renamed(tmp_path, name):
    line = line_about(tmp_path, name, VIDEOS_S1)
    assert line == f"{name}: looks like Videos_S1.tgz under another name; rename it to Videos_S1.tgz and run again"


@pytest.mark.parametrize(
    "name",
    [
        "Videos_S1.tgz.crdownload",
        "Videos_S1 (1).tgz.crdownload",
        "Videos_S1.tgz.opdownload",
        "Videos_S1.tgz.x3Zk9_aB.partial",
        "Videos_S1.x3Zk9_aB.tgz.part",
        "Videos_S1(1).tgz.part",
        "Videos_S1.tar.gz.part",
        "Unconfirmed 123456.crdownload",
        "SubjectSpecific_1.tgz.crdownload",
        "SubjectSpecific_1.x3Zk9_aB.tgz.part",
    ],
)
def test_unfinished_browser_download_is_to_be_finished(tmp_path, name):
    line = line_about(tmp_path, name, VIDEOS_S1[:90])
    assert line.startswith(f"{name}: an unfinished browser download of Videos_S1.tgz; finish it in the browser")


def test_safaris_folder_of_an_unfinished_download_is_named(tmp_path):
    (tmp_path / "Videos_S1.tgz.download").mkdir()
    (tmp_path / "Videos_S1").mkdir()
    [line] = near_misses(tmp_path, ABSENT)
    assert line.startswith("Videos_S1.tgz.download: an unfinished browser download of Videos_S1.tgz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Videos_S1 (1).tgz", b"", "named like Videos_S1.tgz, but empty; remove it"),
        ("Videos_S1 (1).tgz", PAGE, "but it is not a gzip file; it looks like an HTML page: 'Please log in'; remove"),
        ("Videos_S1.tar.gz", gzip.compress(PAGE), "but it is a compressed HTML page: 'Please log in'; remove it"),
        ("Videos_S1.tar", tar_of(VIDEOS, "S1"), "Videos_S1.tgz already decompressed, as Safari does"),
        ("Videos_S1 (1).tar", tar_of(VIDEOS, "S1"), "Videos_S1.tgz already decompressed, as Safari does"),
        ("Videos_S1.tgz.gz", gzip.compress(VIDEOS_S1), "Videos_S1.tgz compressed twice; decompress it once"),
        (
            "Videos_S1 (1).tgz",
            gzip.compress(tar_of(POSES_3D, "S5")),
            "contains Poses_D3_Positions_mono_S5.tgz; rename it",
        ),
        ("SubjectSpecific_5.tgz", gzip.compress(tar_of(VIDEOS, "S11")), "looks like Videos_S11.tgz"),
        ("SubjectSpecific_1.tgz", gzip.compress(tar_of(BOXES, "S1")), "looks like Segments_mat_gt_bb_S1.tgz"),
        ("SubjectSpecific_6.tgz", gzip.compress(tar_of(PART_LABELS, "S5")), "looks like Segments_mat_gt_pl_S5.tgz"),
        ("Poses_D3_Positions-1_S1.tgz", gzip.compress(tar_of(POSES_3D_WORLD, "S1")), "Poses_D3_Positions_S1.tgz"),
    ],
    ids=[
        "empty",
        "page",
        "compressed page",
        "tar",
        "tar copy",
        "gzip twice",
        "other",
        "S11",
        "boxes",
        "labels",
        "poses",
    ],
)
def test_line_says_what_a_file_is_and_what_to_do(tmp_path, name, content, words):
    assert words in line_about(tmp_path, name, content)


@pytest.mark.parametrize(
    "name",
    [
        "Videos_S1.tgz",
        "Videos_S5.tgz",
        *[f"Videos_S1.tgz{more}" for more in (".part", ".part.st", ".part.about", ".part.st.tmp", ".st", ".changed")],
        *[f"Videos_S1.tgz{more}" for more in (".rejected", ".rejected-2", ".rejected.st", ".part.about.12.tmp")],
        ".lock",
        ".checked.json",
        ".Videos_S1.tgz.swp",
        "checksums.txt",
        "Videos_S1.txt",
        "Videos_S1.54138969.mp4",
    ],
)
def test_our_own_and_other_files_are_no_near_misses(tmp_path, name):
    assert line_about(tmp_path, name, VIDEOS_S1) is None


@pytest.mark.parametrize("name", ["Videos_S1 (1).tgz", "SubjectSpecific_1.tgz", "Videos_S1.tgz.crdownload"])
def test_near_miss_of_an_archive_that_is_not_absent_is_no_matter(tmp_path, name):
    assert line_about(tmp_path, name, VIDEOS_S1, absent=[Archive(VIDEOS, "S11"), Archive(POSES_3D, "S1")]) is None
    assert near_misses(tmp_path, []) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar"), PAGE, gzip.compress(PAGE)[:20]],
    ids=["empty", "text", "gzip", "page", "compressed page"],  # gzip puts the time into its bytes
)
def test_unrecognised_file_is_no_near_miss(tmp_path, content):
    assert line_about(tmp_path, "backup.tgz", content) is None


@pytest.mark.parametrize("name", ["S1\\Videos\\a", "a folder/S1/Videos/a", "./S1/Videos/a"])
def test_archive_packed_in_other_ways_is_known_by_its_content(tmp_path, name):
    """And by none of the strays in it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(".Trashes/S5/MySegmentsMat/ground_truth_bb/a"))
        archive.addfile(tarfile.TarInfo(name))
    assert "looks like Videos_S1.tgz" in line_about(tmp_path, "a.tgz", gzip.compress(file.getvalue()))


def test_folder_that_does_not_exist_has_no_near_misses(tmp_path):
    assert near_misses(tmp_path / "nowhere", ABSENT) == []


def test_long_names_are_compared_quickly(tmp_path):
    for name in ("Videos_S1" + ".12345678" * 26 + ".crdownload", "Videos_S1" + " (1)" * 60):
        line_about(tmp_path, name, b"")
        (tmp_path / name).unlink()


# -- files under the archive's own name --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["Videos_S1.tgz.part", "Videos_S1.x3Zk9_aB.tgz.part"])
def test_empty_archive_beside_firefoxs_part_is_a_browser_download(tmp_path, part):
    archive = tmp_path / "Videos_S1.tgz"
    archive.touch()
    assert browser_download(archive) is None
    (tmp_path / part).write_bytes(VIDEOS_S1[:90])
    (tmp_path / "Videos_S5.tgz.part").touch()
    assert browser_download(archive).startswith(
        f"Videos_S1.tgz: an unfinished browser download ({part}); finish it in the browser"
    )
    assert unfinished_download(archive, VIDEOS) == browser_download(archive)
    archive.write_bytes(b"x")
    assert browser_download(archive) is None


def test_empty_archive_beside_our_own_part_is_no_browser_download(tmp_path):
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
