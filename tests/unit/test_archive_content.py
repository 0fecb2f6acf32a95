"""h36m/archives/content.py: whether the first bytes and the member names of a file are those of the archive."""

import gzip
import hashlib
import io
import tarfile
from pathlib import PurePosixPath

import pytest
from helpers.archives import unpacked

from h36m.archives import gzip_stream
from h36m.archives.content import BEGINNING_BYTES, fault_in_beginning
from h36m.archives.members import archive_of_member, is_stray, require_member
from h36m.dataset import BOXES, KIND_FACTS, PART_LABELS, POSES_3D, POSES_3D_UNIVERSAL, SILHOUETTES, VIDEOS, Archive
from h36m.dataset import POSES_3D_WORLD as POSES_WORLD
from h36m.download.verify import check_archive
from h36m.errors import BadArchiveError

PAGE = b"<!DOCTYPE html><html><body>Please <b>log in</b></body></html>"
LONG_PAGE = b"<html><head><title>Human3.6M</title></head><body>" + b"<p>Please log in</p>" * 500
FOLDER = tarfile.DIRTYPE


def tar(*members: tuple[str, bytes], format: int = tarfile.GNU_FORMAT, size=None, pax=None, **comment) -> bytes:
    """Return a tar of members, each a name with its content, or with FOLDER for a folder.

    Args:
        size: that the headers tell, in place of the content's.
        pax: further fields of the members' headers.
        comment: fields of a header before all members.
    """
    file = io.BytesIO()
    format = tarfile.PAX_FORMAT if pax else format
    with tarfile.open(fileobj=file, mode="w", format=format, pax_headers=comment or None) as opened:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type = FOLDER if content == FOLDER else tarfile.REGTYPE
            member.size = size or (0 if content == FOLDER else len(content))
            member.pax_headers = pax or {}
            if size:
                file.write(member.tobuf(format))
            else:
                opened.addfile(member, io.BytesIO(content))
    return file.getvalue()


def fault_of_member(name: str, kind: str, subject: str) -> str | None:
    """Return why an archive with a member of this name is not the one that its own name says; None if it may be."""
    try:
        require_member(name, Archive(kind, subject))
    except BadArchiveError as fault:
        return str(fault)
    return None


def inner_file(kind: str, subject: str = "S1") -> str:
    return f"{subject}/{KIND_FACTS[kind].inner_folder}/Walking 1.54138969{KIND_FACTS[kind].extension}"


VIDEO = (inner_file(VIDEOS), bytes(range(256)) * 400)
LONG_NAME = f"S1/Videos/{'x' * 150}.mp4"
OTHERS_LONG_NAME = f"S11/Videos/{'x' * 150}.mp4"

# -- the first bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KIND_FACTS)
@pytest.mark.parametrize("length", [0, 1, 2, 5, 18, 100, 300, 512, 2000, BEGINNING_BYTES])
def test_beginning_of_a_real_archive_has_no_fault(kind, length):
    """However few bytes of it there are: nothing is rejected too early."""
    for level in (0, 1, 9):
        archive = gzip.compress(tar((inner_file(kind, "S11"), bytes(range(256)) * 99)), level)
        assert fault_in_beginning(archive[:length], Archive(kind, "S11")) is None


@pytest.mark.parametrize(
    "content",
    [
        tar(("./", FOLDER), ("./S1", FOLDER), ("./S1/Videos", FOLDER), ("./S1/Videos/a.mp4", b"abc")),
        tar((LONG_NAME, b"abc")),
        tar((LONG_NAME, b"abc"), format=tarfile.PAX_FORMAT, comment="made by somebody"),
        tar(("S1/Videos/ü.mp4", b"abc"), format=tarfile.USTAR_FORMAT),
        tar(("README", b"<html>"), ("Videos/x.mp4", b"abc")),
        tar(("S11/.DS_Store", b"abc"), ("./._S5", b""), ("__MACOSX/S5/MySegmentsMat/._a", b""), ("S1/Videos/a", b"")),
    ],
    ids=["folders", "GNU long name", "pax", "ustar", "README", "strays"],
)
def test_ways_to_write_the_archive_have_no_fault(content):
    for cut in (512, 700, 1024, 1100, 1536, 1700, 2048):
        pieces = gzip.compress(content[:cut]) + gzip.compress(content[cut:])
        assert fault_in_beginning(gzip.compress(content, 0)[:cut], Archive(VIDEOS, "S1")) is None
        assert fault_in_beginning(pieces, Archive(VIDEOS, "S1")) is None


def test_gzip_header_with_name_and_comment_is_accepted():
    file = io.BytesIO()
    with gzip.GzipFile("Videos_S1.tar", "wb", fileobj=file, mtime=0) as zipped:
        zipped.write(tar(VIDEO))
    for length in (4, 12, 20, 40, 2000):
        assert fault_in_beginning(file.getvalue()[:length], Archive(VIDEOS, "S1")) is None


@pytest.mark.parametrize(
    ("beginning", "fault"),
    [
        (PAGE, "is not a gzip file; it looks like an HTML page: 'Please log in'"),
        (b"<", "is not a gzip file; it begins with b'<'"),
        (b"\x1f<", r"is not a gzip file; it begins with b'\x1f<'"),
        (b"PK\3\4 a zip file", r"is not a gzip file; it begins with b'PK\x03\x04 a z'"),
        (tar(VIDEO), "is not a gzip file; it is a tar archive that is not compressed"),
        (gzip.compress(PAGE), "is gzip, but contains no tar archive; it looks like an HTML page: 'Please log in'"),
        (gzip.compress(LONG_PAGE, 0)[:200], "is gzip, but contains no tar archive; it looks like an HTML page: 'Human"),
        (gzip.compress(b"no tar"), "is gzip, but contains no tar archive; it begins with b'no tar'"),
        (gzip.compress(b"x" * 5000, 0)[:600], "is gzip, but contains no tar archive"),
        (gzip.compress(b""), "is gzip, but contains no tar archive; it is empty"),
        (gzip.compress(b"\1" + tar(VIDEO)[1:]), "is gzip, but contains no tar archive"),
        (gzip.compress(bytes(10**8)), "is gzip, but contains no tar archive; it begins with b'"),
        (b"\x1f\x8bnothing of a gzip file", "is damaged: its gzip stream cannot be decompressed"),
        (gzip.compress(PAGE)[:-8] + bytes(8), "is damaged: its gzip stream cannot be decompressed"),
        (gzip.compress(tar(("S11", FOLDER))), "contains the folder S11, but its name says S1"),
        (gzip.compress(tar((OTHERS_LONG_NAME, b""))), "contains the folder S11, but its name says S1"),
        (gzip.compress(tar(("S1", FOLDER), ("S5/a", b""))), "contains the folder S5, but its name says S1"),
        (
            gzip.compress(tar((inner_file(POSES_3D), b"abc"))),
            "contains S1/MyPoseFeatures/D3_Positions_mono, but its name says Videos",
        ),
        (gzip.compress(tar(("../a", b""))), "contains '../a', which is outside of its folder"),
    ],
    # The bytes would be in the tests' names.
    ids=[
        *["page", "one byte", "half magic", "zip", "tar", "compressed page", "cut compressed page", "small gzip"],
        *["cut gzip", "empty gzip", "bad checksum", "zeros that grow", "damaged", "CRC"],
        *["subject's folder", "GNU long name", "second member", "kind", "outside"],
    ],
)
def test_beginning_of_something_else_has_a_fault(beginning, fault):
    found = fault_in_beginning(beginning, Archive(VIDEOS, "S1"))
    assert found is not None and found.startswith(fault)
    assert found.isprintable() and len(found) < 150


def test_members_behind_the_first_bytes_are_not_judged():
    content = tar(VIDEO, ("S11/a", b""))
    assert fault_in_beginning(gzip.compress(content, 0)[:BEGINNING_BYTES], Archive(VIDEOS, "S1")) is None


# -- the name of a member ----------------------------------------------------------------------------------------------

POSES = [kind for kind in KIND_FACTS if kind.startswith("Poses_")]
WITH_KNOWN_FOLDER = [kind for kind in KIND_FACTS if kind != PART_LABELS]


@pytest.mark.parametrize("kind", KIND_FACTS)
@pytest.mark.parametrize("other", WITH_KNOWN_FOLDER)
def test_member_of_another_kind_is_a_fault(kind, other):
    expected = f"contains S1/{KIND_FACTS[other].inner_folder}, but its name says {kind}"
    found = {fault_of_member(f"{start}{inner_file(other)}", kind, "S1") for start in ("", "./", "././")}
    assert found == ({None} if kind == other else {expected})


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("README", KIND_FACTS),
        (".", KIND_FACTS),
        ("./", KIND_FACTS),
        ("S1", KIND_FACTS),
        ("S1/readme.txt", KIND_FACTS),
        ("S1/a new folder/a", KIND_FACTS),
        ("Videos/x.mp4", KIND_FACTS),
        ("S12x/Videos/x.mp4", KIND_FACTS),
        ("S1/MyPoseFeatures", POSES),
        ("S1/MyPoseFeatures/D3_Positions_monochrome/a", POSES),
        ("S1/MyPoseFeatures/D3_Positions/a", [POSES_WORLD]),
        ("S1/MyPoseFeatures/D3_Positions_mono/a", [POSES_3D]),
        ("S1/MyPoseFeatures/D3_Positions_mono_universal/a", [POSES_3D_UNIVERSAL]),
        ("S1/MyPoseFeatures/D3_Angles/a", ["Poses_D3_Angles"]),
        ("S1/MySegmentsMat", [BOXES, PART_LABELS, SILHOUETTES]),
        ("S1/MySegmentsMat/ground_truth_bb", [BOXES]),
        # It is not published which of the two another folder belongs to.
        ("S1/MySegmentsMat/ground_truth_pl/a.mat", [BOXES, PART_LABELS, SILHOUETTES]),
        ("S1/MySegmentsMat/PartLabels/a.mat", [BOXES, PART_LABELS, SILHOUETTES]),
        ("S1/Videos", [VIDEOS]),
    ],
)
def test_member_is_accepted_by_the_kinds_that_it_does_not_contradict(name, kinds):
    assert [kind for kind in KIND_FACTS if fault_of_member(name, kind, "S1") is None] == list(kinds)


@pytest.mark.parametrize("name", ["S11", "./S11/Videos/a", "S11\\a", "around//S11/a"])
def test_member_of_another_subject_is_a_fault(name):
    assert fault_of_member(name, VIDEOS, "S1") == "contains the folder S11, but its name says S1"


@pytest.mark.parametrize("name", ["a", "a/b.mp4", "./a", "a/./b", "a//b", "..a/b..", "a/...", "é x/ü", "C", "a b:"])
def test_member_inside_of_the_folder_is_accepted(name):
    expected = [part for part in name.split("/") if part not in ("", ".")]
    assert list(require_member(name, Archive(VIDEOS, "S1")).parts) == expected


@pytest.mark.parametrize(
    "name",
    [
        *["", "/S1/a", "//host/share/a", "..", "../a", "S1/../../b", "a/..", "a\\..\\..\\b", "..\\a", "\\a"],
        *["\\\\host\\share\\a", "C:a", "C:/a", "c:\\a", "S1/a\0b"],
    ],
)
def test_member_outside_of_the_folder_is_a_fault(name):
    assert "outside" in fault_of_member(name, VIDEOS, "S1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(inner_file(kind), Archive(kind, "S1")) for kind in KIND_FACTS],
        ("around\\S5\\Videos\\a", Archive(VIDEOS, "S5")),
        ("S1/MySegmentsMat/another folder/a", Archive(PART_LABELS, "S1")),
        *[
            (name, None)
            for name in ("S1/MySegmentsMat", "S1/MyPoseFeatures", "S1", "S1/a", "Videos/a", ".x/S1/Videos/a")
        ],
    ],
)
def test_archive_is_known_by_a_member(name, expected):
    assert archive_of_member(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, True) for name in (".DS_Store", "._a", "__MACOSX", "thumbs.db", "Desktop.ini", ".Trashes")],
        *[(name, False) for name in ("DS_Store", "a._b", "a.DS_Store", "MACOSX", "Thumbs", "desktop.ini.txt")],
    ],
)
def test_strays_are_known_by_their_names_and_folders(name, expected):
    assert is_stray(PurePosixPath("S1", name)) == is_stray(PurePosixPath(name, "a")) == expected


# -- all of a file -----------------------------------------------------------------------------------------------------

ARCHIVE = gzip.compress(tar(VIDEO))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (ARCHIVE, None),
        (ARCHIVE + bytes(3000), None),
        (ARCHIVE + b"\r\n", None),
        (ARCHIVE + bytes(700) + b"<!-- served in 0.2 s -->", None),
        (ARCHIVE + b"garbage" * 100_000, None),
        (ARCHIVE + b"\x1f", None),
        (gzip.compress(tar(VIDEO)[:-1024]) + gzip.compress(bytes(400)) + gzip.compress(bytes(624)) + b"\n", None),
        (gzip.compress(tar(VIDEO)[:9000]) + b"\n", "is damaged: its gzip stream contains no complete tar archive"),
        (gzip.compress(tar(VIDEO)[:-9500]) + b"\n", "is damaged: its gzip stream contains no complete tar archive"),
        (ARCHIVE + b"\x1f\x8b", "is truncated"),
        (ARCHIVE + b"\x1f\x8b garbage", "is damaged"),
        (ARCHIVE[:-1], "is truncated"),
        (ARCHIVE[:-5] + b"\x55" + ARCHIVE[-4:], "is damaged"),
        (b"", "is empty"),
        (PAGE, "is not a gzip file"),
        (gzip.compress(PAGE), "is gzip, but contains no tar archive"),
        (gzip.compress(tar(VIDEO)[:9000]), "is not a complete tar archive"),
        (gzip.compress(tar(("S1/a", b""), pax={"GNU.sparse.size": "many"})), "is not a complete tar archive"),
        (gzip.compress(tar(("S1/a", b""), size=1 << 70)), "is not a complete tar archive"),
        (gzip.compress(tar(VIDEO, ("S5/a", b""))), "contains the folder S5, but its name says S1"),
        (gzip.compress(tar(VIDEO, (inner_file(BOXES), b""))), "contains S1/MySegmentsMat/ground_truth_bb, but its"),
        (gzip.compress(tar(("S1", FOLDER))), "contains no file"),
    ],
    ids=[
        *["good", "zeros", "CRLF", "zeros and comment", "long garbage", "half a magic", "small members and newline"],
        *["cut tar and newline", "no end of tar", "magic", "other member", "cut off", "wrong CRC", "empty", "page"],
        *["compressed page", "cut tar", "not a number", "huge number", "subject", "kind", "folder only"],
    ],
)
def test_download_and_extract_judge_a_file_alike(tmp_path, content, fault):
    archive = tmp_path / "Videos_S1.tgz"
    archive.write_bytes(content)
    found = check_archive(archive, Archive(VIDEOS, "S1"), None).fault
    assert (found or "None").startswith(str(fault))
    try:
        with unpacked(archive, tmp_path / "Videos", Archive(VIDEOS, "S1")) as (complete, _):
            assert [path.name for path in complete.iterdir()] == ["Walking 1.54138969.mp4"]
            unpacking = None
    except BadArchiveError as error:
        unpacking = str(error)
    assert unpacking == found
    # With the right MD5, an archive that both accept stays accepted.
    if fault is None:
        assert check_archive(archive, Archive(VIDEOS, "S1"), hashlib.md5(content).hexdigest()).fault is None


@pytest.mark.parametrize("split", [1, 2])
def test_second_gzip_member_is_found_across_two_reads(tmp_path, monkeypatch, split):
    """Its magic bytes may be the last of one read and the first of the next."""
    first = gzip.compress(tar(VIDEO)[:9000])
    monkeypatch.setattr(gzip_stream, "CHUNK_BYTES", len(first) + 2 - split)
    archive = tmp_path / "Videos_S1.tgz"
    archive.write_bytes(first + gzip.compress(tar(VIDEO)[9000:]))
    assert check_archive(archive, Archive(VIDEOS, "S1"), None).fault is None
