"""Gzip streams, unpacking and extract_all.py function by function, on small real archives."""

import gzip
import io
import os
import shutil
import tarfile
from pathlib import PurePosixPath

import pytest
from helpers.steps import happen_in_order, watch_steps
from hypothesis import given
from hypothesis import strategies as st

import extract_all
from h36m.archives.gzip_stream import CHUNK_BYTES, GzipStream, decompressed, describe_page
from h36m.archives.members import STRAY_NAMES, is_in_place, is_stray, path_inside, places_of
from h36m.dataset import (
    BOXES,
    KIND_FACTS,
    KINDS,
    PART_LABELS,
    POSES_2D,
    POSES_3D_WORLD,
    UNPACKED_RECORD,
    VIDEOS,
    Archive,
    archive_file,
    unpacked_folder,
)
from h36m.download.verify import check_archive
from h36m.errors import BadArchiveError, TaskError, UnsafeArchiveError
from h36m.extract.unpack import unfinished_folder, unpacked, unpacked_size, write_file, write_members
from h36m.sequences import file_names
from h36m.storage import Record


def packed(*members, mtime: int = 1_000_000_000) -> bytes:
    """Return a gzip'd tar of members: (name, content), or (name, type, target) for links, folders and devices."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content, *target in members:
            member = tarfile.TarInfo(name)
            member.mtime = mtime
            if isinstance(content, str):
                member.type, member.linkname = content.encode(), "".join(target)
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


NAME = "Directions 1.54138969.mp4"
FILE = (f"S1/Videos/{NAME}", b"abc")
SYMLINK, HARDLINK, FOLDER, FIFO, DEVICE = "2", "1", "5", "6", "3"


# -- gzip streams ------------------------------------------------------------------------------------------------------


def content_of(tmp_path, compressed: bytes) -> bytes:
    file = tmp_path / "a.gz"
    file.write_bytes(compressed)
    with file.open("rb", buffering=0) as raw:
        return b"".join(decompressed(raw))


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"abc"],
        [b"abc", b"", b"def"],  # members, as of files that were joined
        [os.urandom(2 * CHUNK_BYTES)],
        [bytes(20 * CHUNK_BYTES), b"x"],
    ],
    ids=["empty", "small", "three members", "longer than a chunk", "long zeros"],
)
@pytest.mark.parametrize("padding", [0, 7, 512])
def test_content_of_a_gzip_file_is_what_was_compressed(tmp_path, pieces, padding):
    compressed = b"".join(gzip.compress(piece, 1) for piece in pieces) + bytes(padding)
    assert content_of(tmp_path, compressed) == b"".join(pieces)


def test_bytes_read_are_counted_to_the_last(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(CHUNK_BYTES + 1000), 1))
    counts = []
    with (tmp_path / "a.gz").open("rb", buffering=0) as raw:
        for _ in decompressed(raw, counts.append):
            pass
    assert sum(counts) == (tmp_path / "a.gz").stat().st_size and len(counts) == 2


@pytest.mark.parametrize("kept", [0, 1, 5, 20, -9, -8, -4, -1])
def test_gzip_file_that_is_cut_off_anywhere_is_refused(tmp_path, kept):
    with pytest.raises(BadArchiveError):
        content_of(tmp_path, gzip.compress(b"content " * 99)[:kept])


@pytest.mark.parametrize(
    "at", [-8, -5, -4, -1, 20], ids=["CRC", "CRC's end", "length", "length's end", "compressed bytes"]
)
def test_gzip_file_with_a_flipped_bit_is_refused(tmp_path, at):
    compressed = bytearray(gzip.compress(b"content " * 99))
    compressed[at] ^= 1
    with pytest.raises(BadArchiveError):
        content_of(tmp_path, bytes(compressed))


@pytest.mark.parametrize("rest", [b"garbage", b"\0\0garbage", b"\x1f\x8b"])
def test_garbage_behind_a_gzip_member_is_refused(tmp_path, rest):
    with pytest.raises(BadArchiveError):
        content_of(tmp_path, gzip.compress(b"content") + rest)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=9), st.lists(st.integers(0, 12)))
def test_gzip_stream_reads_and_seeks_forward_as_a_file_does(pieces, steps):
    stream, file = GzipStream(iter(pieces)), io.BytesIO(b"".join(pieces))
    for number, step in enumerate(steps):
        if number % 3 == 2:
            position = min(stream.tell() + step, len(file.getvalue()))
            assert stream.seek(position) == file.seek(position)
        else:
            assert stream.read(step) == file.read(step)
        assert stream.tell() == file.tell()


def test_gzip_stream_does_not_go_back():
    stream = GzipStream(iter([b"abc"]))
    stream.read(2)
    for position, whence in ((1, io.SEEK_SET), (0, io.SEEK_END), (0, io.SEEK_CUR)):
        with pytest.raises(io.UnsupportedOperation):
            stream.seek(position, whence)


@pytest.mark.parametrize(
    ("beginning", "words"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><title>Please \t log in</title>", "it looks like an HTML page: 'Please log in'"),
        (b"<HTML><body class=x>Error <b>500</b>", "it looks like an HTML page: 'Error 500'"),
        (b"<html><a href=", "it looks like an HTML page: ''"),
        (b"\xff\xd8\xff\xe0JFIF and more", r"it begins with b'\xff\xd8\xff\xe0JFIF'"),
        (b"PK", "it begins with b'PK'"),
    ],
)
def test_something_else_than_an_archive_is_described(beginning, words):
    assert describe_page(beginning) == words


def test_description_of_a_page_is_short_and_printable():
    described = describe_page(b"<html>" + bytes(range(256)) * 9)
    assert described.isprintable() and len(described) < 100


# -- members -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a/b.mp4", "./a", "a/./b", "a//b", "..a/b..", "a/...", "é x/ü", "C", "a b:"])
def test_paths_inside_of_the_folder_are_accepted(name):
    assert path_inside(name).as_posix().split("/") == [part for part in name.split("/") if part not in ("", ".")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "//host/share/a",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        "a\\..\\..\\b",
        "..\\a",
        "\\a",
        "\\\\host\\share\\a",
        "C:a",
        "C:/a",
        "c:\\a",
        "a\0b",
    ],
)
def test_paths_outside_of_the_folder_are_refused(name):
    with pytest.raises(BadArchiveError, match="outside"):
        path_inside(name)


@pytest.fixture
def written(tmp_path):
    """A function that writes an archive's members into a folder and returns its files with their contents."""

    def written(*members, subject="S1"):
        folder = tmp_path / "folder"
        folder.mkdir()
        paths = write_members(io.BytesIO(packed(*members)), folder, Archive(VIDEOS, subject), lambda count: None).places
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        assert {path.as_posix() for path in paths} == files.keys() and len(paths) == len(files)
        assert not any(path.is_symlink() for path in files.values())
        return {name: path.read_bytes() for name, path in files.items()}

    return written


def test_files_of_an_archive_are_written_with_their_content(written, tmp_path):
    assert written(("S1", FOLDER), FILE, ("./S1/b", b"")) == {FILE[0]: b"abc", "S1/b": b""}
    assert (tmp_path / "folder" / FILE[0]).stat().st_mtime == 1_000_000_000


def test_links_become_copies_of_the_file_that_they_lead_to(written):
    links = ("S1/Videos/b", SYMLINK, NAME), ("S1/c", SYMLINK, "Videos/b"), ("S1/d", HARDLINK, FILE[0])
    windows = ("S1\\Videos\\e", SYMLINK, f"..\\Videos\\{NAME}")
    names = ("S1/Videos/b", "S1/c", "S1/d", "S1/Videos/e")
    assert written(*links, windows, FILE) == dict.fromkeys((FILE[0], *names), b"abc")


def test_video_that_is_a_link_is_unpacked_to_its_place(tmp_path):
    """As programs write that keep content in one folder and names in another."""
    archive = tmp_path / "Videos_S1.tgz"
    archive.write_bytes(packed((f"S1/Videos/{NAME}", SYMLINK, "../content/1"), ("S1/content/1", b"abc")))
    with unpacked(archive, tmp_path / "Videos", Archive(VIDEOS, "S1"), lambda count: None) as complete:
        assert (complete / NAME).read_bytes() == (complete / "content" / "1").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("S5/Videos/a.mp4", b"abc")], "S5, but its name says S1"),
        ([FILE, ("S11/a", b"abc")], "S11, but its name says S1"),
        ([("../a", b"abc")], "outside"),
        ([FILE, ("S1/../../a", b"abc")], "outside"),
        ([FILE, FILE], "twice"),
        ([FILE, (f"{FILE[0]}/b", b"abc")], "twice"),
        ([FILE, ("S1/b", FIFO)], "neither a file nor a folder"),
        ([FILE, ("S1/b", DEVICE)], "neither a file nor a folder"),
        ([FILE, ("S1/b", SYMLINK, "c")], "target is not in the archive"),
        ([FILE, ("S1/b", SYMLINK, "b")], "target is not in the archive"),
        ([FILE, ("S1/b", SYMLINK, "c"), ("S1/c", SYMLINK, "b")], "target is not in the archive"),
        ([FILE, ("S1/b", SYMLINK, "/etc/passwd")], "outside"),
        ([FILE, ("S1/b", SYMLINK, "../../a")], "outside"),
        ([FILE, ("S1/b", HARDLINK, "../a")], "outside"),
        ([FILE, ("S1/b", SYMLINK, "..\\..\\a")], "outside"),
        ([FILE, ("S1/b", SYMLINK, ".DS_Store"), ("S1/.DS_Store", b"")], "target is not in the archive"),
        ([("S1", FOLDER)], "no file"),
        ([], "no file"),
    ],
)
def test_archive_with_a_harmful_or_strange_member_is_refused(written, members, words):
    with pytest.raises(BadArchiveError, match=words):
        written(*members)


def test_file_is_never_written_over(tmp_path):
    """On a disk that ignores case, two members' names may differ and be one file's all the same."""
    path = PurePosixPath("S1/a.mp4")
    write_file(io.BytesIO(b"first"), tmp_path, path, 0)
    with pytest.raises(UnsafeArchiveError, match="twice"):
        write_file(io.BytesIO(b"second"), tmp_path, path, 0)
    assert (tmp_path / path).read_bytes() == b"first"


@pytest.mark.parametrize("damage", ["header", "end"])
def test_tar_that_is_damaged_or_cut_off_is_refused(tmp_path, damage):
    plain = bytearray(gzip.decompress(packed(FILE, ("S1/b", b"x" * 2000))))
    if damage == "header":
        plain[1024 + 150] ^= 0xFF  # the checksum of the second member's header
    else:
        del plain[2000:]
    with pytest.raises(BadArchiveError, match="is not a complete tar archive"):
        write_members(io.BytesIO(gzip.compress(plain)), tmp_path, Archive(VIDEOS, "S1"), lambda count: None)


# -- where files are unpacked to ---------------------------------------------------------------------------------------

OTHER_NAME = "Walking.60457274.mp4"


@pytest.fixture
def unpacked_files(tmp_path):
    """A function that unpacks an archive of the files with these names, and returns where their names are then.

    Each file's content is its name in the archive. What was moved out of the way is checked to be removed.
    """

    def unpacked_files(names, kind=VIDEOS):
        archive = tmp_path / f"{kind}_S1.tgz"
        archive.write_bytes(packed(*[(name, name.encode()) for name in names]))
        with unpacked(archive, tmp_path / kind, Archive(kind, "S1"), lambda count: None) as complete:
            files = [path for path in complete.rglob("*") if path.is_file()]
            found = {path.read_text(): path.relative_to(complete).as_posix() for path in files}
            assert len(found) == len(files)
        assert list(tmp_path.iterdir()) == [archive]
        archive.unlink()
        return found

    return unpacked_files


@pytest.mark.parametrize(
    "places",
    [
        {f"S1/Videos/{NAME}": NAME, f"S1/Videos/{OTHER_NAME}": OTHER_NAME},
        {f"./S1/Videos/{NAME}": NAME},
        {NAME: NAME},
        {f"a folder/around/S1/Videos/{NAME}": NAME, f"a folder/around/S1/Videos/{OTHER_NAME}": OTHER_NAME},
        {f"S1\\Videos\\{NAME}": NAME, f"S1\\Videos\\{OTHER_NAME}": OTHER_NAME},
        {f"S1/{NAME}": NAME, f"S1/Videos/{OTHER_NAME}": OTHER_NAME},
        {f"S1/Videos/a/{NAME}": NAME, f"S1/Videos/b/{OTHER_NAME}": OTHER_NAME},
        {f"S1/Videos/{NAME.upper()}": NAME, f"S1/Videos/{OTHER_NAME.lower()}": OTHER_NAME},
        {f"S1/Videos/{NAME}": NAME, "S1/readme.txt": "readme.txt"},
        {f"S1/Videos/{NAME}": NAME, "S1/Videos/readme.txt": "readme.txt"},
        {f"S1/Videos/{NAME}": NAME, "README": "README", "S1/Videos/README": "S1/Videos/README"},
        {f"S1/Videos/{NAME}": NAME, "S1/README": "README", "S1/Videos/readme": "Videos/readme"},
        {f"S1/{NAME}": NAME, "README": "README", "S1/README": "S1/README"},
        {f"S1/Videos/{NAME}": NAME, "S1/docs/a.txt": "docs/a.txt", "S1/Videos/more/b.txt": "more/b.txt"},
        {f"S1/Videos/{NAME}": NAME, "S1/x": "x", "S1/Videos/x/y": "Videos/x/y"},
        # The site's archives have these too; process_all.py reads none of them.
        {f"S1/Videos/{NAME}": NAME, "S1/Videos/_ALL.54138969.mp4": "_ALL.54138969.mp4", "S1/a": "a"},
        {f"S1/Videos/{NAME}": NAME, "S1/Videos/Walking.0.mp4": "Walking.0.mp4", "S1/a": "a"},
        {f"S1/Videos/{NAME}": NAME, "S1/Videos/not listed.mp4": "not listed.mp4", "S1/a": "a"},
    ],
    ids=[
        *["one folder", "leading dot", "no folder", "folders around", "backslashes", "two levels", "two folders"],
        *["upper and lower case", "file above", "file beside", "two of one name", "two but for case", "at the top"],
        *["folders of others", "file and folder", "_ALL", "another camera", "not listed"],
    ],
)
def test_files_are_unpacked_to_where_processing_looks(unpacked_files, places):
    """At the top under the right names, wherever the archive has them; every other file is kept, too."""
    assert unpacked_files(places) == places


@pytest.mark.parametrize(
    ("stray", "kind"), [*((stray, VIDEOS) for stray in STRAY_NAMES), *((".DS_Store", kind) for kind in KINDS)]
)
def test_stray_is_skipped_wherever_it_is(unpacked_files, kind, stray):
    """Even if it is named like one of the kind's files, or is in another subject's folder."""
    name, stray = f"S1/x/{name_in(kind)}", stray.replace("*", "any")
    strays = [f"S1/{stray}", f"{stray}/S1/x/{name_in(kind)}", f"S1/x/{stray.upper()}", f"./S5/{stray}"]
    assert unpacked_files([*strays, name], kind) == {name: name_in(kind)}


@pytest.mark.parametrize("name", ["DS_Store", "a._b", ".DS_Store.txt", "nfs", "Icon", "a.directory", "Zone.Identifier"])
def test_name_that_is_only_similar_is_no_stray(name):
    assert not is_stray(PurePosixPath("S1", name)) and not is_stray(PurePosixPath(name, "a"))


def test_volume_label_and_folders_of_gnu_tar_are_no_files(unpacked_files, tmp_path):
    """As `tar --label` and `tar --listed-incremental` write them."""
    archive = tmp_path / "Videos_S1.tgz"
    archive.write_bytes(packed(("/mnt/S5 backup", "V", ""), ("S1/Videos/", "D", ""), FILE))
    assert check_archive(archive, Archive(VIDEOS, "S1"), None).fault is None
    with unpacked(archive, tmp_path / VIDEOS, Archive(VIDEOS, "S1"), lambda count: None) as complete:
        assert [path.name for path in complete.iterdir()] == [NAME]


def test_strays_are_reported(tmp_path):
    archive, reported = tmp_path / "Videos_S1.tgz", []
    archive.write_bytes(packed(("S1/.DS_Store", b""), ("S1/.Trashes", FOLDER), FILE, ("__MACOSX/._S1", b"")))
    with unpacked(archive, tmp_path / "Videos", Archive(VIDEOS, "S1"), lambda count: None, reported.extend):
        pass
    assert reported == ["S1/.DS_Store", "__MACOSX/._S1"]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ([f"S1/a/{NAME}", f"S1/b/{NAME}"], f"contains '{NAME}' twice: 'S1/a/{NAME}' and 'S1/b/{NAME}'"),
        ([f"S1/a/{NAME}", f"S1/a/{NAME.upper()}"], f"contains '{NAME}' twice"),
        ([FILE[0], f"S1/{NAME}/a"], "contains"),
        (["S1/Videos/a.mp4"], f"contains no file of its kind, such as '{NAME}', but 'S1/Videos/a.mp4'"),
        (["S1/Videos/Directions 1.mp4"], "contains no file of its kind"),
        (["S1/Videos/Directions 1.54138969.cdf"], "contains no file of its kind"),
        (["S1/Videos/_ALL.54138969.mp4"], "contains no file of its kind"),
        (["S1/Videos/WalkDog.54138969.mp4"], "contains no file of its kind"),  # S1's are named WalkingDog
        (list("abcde"), "but 'a', 'b', 'c' and 2 more"),
        (["S1/.DS_Store"], "contains only files created by operating systems: 'S1/.DS_Store'"),
        ([f"S1/._{NAME}", "S1/.Trashes/a"], "contains only files created by operating systems"),
        ([f"around/S5/Videos/{NAME}"], "contains the folder S5, but its name says S1"),
        ([f"S5\\Videos\\{NAME}"], "contains the folder S5, but its name says S1"),
        ([f"around/S1/MySegmentsMat/{NAME}"], "contains S1/MySegmentsMat, but its name says Videos"),
    ],
)
def test_archive_without_a_place_for_its_files_is_refused(tmp_path, names, fault):
    """By the download as well, which reads archives without a published MD5 in the same way."""
    archive = tmp_path / "Videos_S1.tgz"
    archive.write_bytes(packed(*[(name, b"") for name in names]))
    with (
        pytest.raises(BadArchiveError) as error,
        unpacked(archive, tmp_path / "Videos", Archive(VIDEOS, "S1"), lambda count: None),
    ):
        pytest.fail("it was accepted")
    assert str(error.value).startswith(fault) or fault in str(error.value)
    assert check_archive(archive, Archive(VIDEOS, "S1"), None).fault == str(error.value)
    assert list(tmp_path.iterdir()) == [archive]


def test_poses_of_cameras_are_not_mistaken_for_world_coordinates(tmp_path):
    """A file in no known folder is known by its name only."""
    with pytest.raises(BadArchiveError, match=r"such as 'Directions 1\.cdf', but 'x/Directions 1\.54138969\.cdf'"):
        places_of([PurePosixPath("x/Directions 1.54138969.cdf")], Archive(POSES_3D_WORLD, "S1"))
    with pytest.raises(BadArchiveError, match="no file of its kind"):
        places_of([PurePosixPath("x/Directions 1.cdf")], Archive(POSES_2D, "S1"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([NAME], True),
        ([NAME, "x/readme.txt", "_ALL.54138969.mp4", f"x/{NAME}"], True),
        ([], False),
        (["x.mp4"], False),
        ([f"S1/Videos/{NAME}"], False),
        ([NAME, f"Videos/{OTHER_NAME}"], False),
        ([NAME.upper()], False),
    ],
)
def test_unpacked_folder_is_looked_into(tmp_path, names, expected):
    """An earlier version unpacked an archive with a stray into folders of its own."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert is_in_place(tmp_path, Archive(VIDEOS, "S1")) is expected


def test_archive_whose_trailer_is_wrong_is_refused_and_leaves_nothing(tmp_path):
    archive = tmp_path / "Videos_S1.tgz"
    archive.write_bytes(packed(FILE)[:-1] + b"\x77")
    with (
        pytest.raises(BadArchiveError),
        unpacked(archive, tmp_path / "Videos", Archive(VIDEOS, "S1"), lambda count: None),
    ):
        pytest.fail("it was accepted")
    assert list(tmp_path.iterdir()) == [archive]


def test_trailer_far_behind_the_last_member_is_read_too(tmp_path):
    """What tarfile does not read, the rest of the last chunk and those after it, is checked all the same."""
    archive = tmp_path / "Videos_S1.tgz"
    compressed = bytearray(gzip.compress(gzip.decompress(packed(FILE)) + bytes(3 * CHUNK_BYTES), compresslevel=0))
    compressed[-8] ^= 1
    archive.write_bytes(compressed)
    with (
        pytest.raises(BadArchiveError),
        unpacked(archive, tmp_path / "Videos", Archive(VIDEOS, "S1"), lambda count: None),
    ):
        pytest.fail("it was accepted")


# -- unpacked_size -----------------------------------------------------------------------------------------------------


def test_unpacked_size_is_the_length_that_gzip_notes(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(bytes(1_000_000)))
    assert unpacked_size(tmp_path / "a") == 1_000_000
    content = os.urandom(50_000)  # cannot be compressed
    (tmp_path / "a").write_bytes(gzip.compress(content))
    assert unpacked_size(tmp_path / "a") == 50_000


def test_unpacked_size_beyond_4_gib_is_made_up_for(tmp_path):
    """gzip notes the length modulo 2**32: of 5 GiB in 4.5 GiB of archive it notes 1 GiB."""
    with (tmp_path / "a").open("wb") as file:
        file.truncate(9 << 29)  # a hole: it takes no space
        file.seek(-4, io.SEEK_END)
        file.write((1 << 30).to_bytes(4, "little"))
    assert unpacked_size(tmp_path / "a") == 5 << 30


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 100])
def test_unpacked_size_of_no_gzip_file_is_its_own(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert unpacked_size(tmp_path / "a") == len(content)


# -- extract_all.py ----------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    (tmp_path / "archives").mkdir()
    (tmp_path / "extracted").mkdir()
    return tmp_path


def name_in(kind: str, number: int = 0) -> str:
    """Return the name of a file that process_all.py reads of S1."""
    return list(file_names(Archive(kind, "S1")).values())[number]


def put_archive(root, kind, subject, content=None):
    archive = archive_file(root, Archive(kind, subject))
    archive.write_bytes(packed((f"{subject}/x/{name_in(kind)}", b"abc")) if content is None else content)
    return archive


def put_folder(root, kind, subject):
    folder = unpacked_folder(root, Archive(kind, subject))
    folder.mkdir(parents=True)
    (folder / name_in(kind)).write_text("old")
    return folder


def plan_of(root, subjects=("S1",)):
    """Return which kinds of archive a plan has to do, has done, and misses."""
    plan = extract_all.plan_run(root, list(subjects), Record(root / "extracted" / "record.json"))
    return tuple([task.archive for task in tasks] for tasks in plan)


@pytest.mark.parametrize(
    ("has_archive", "has_folder", "is_recorded", "place"),
    [
        (True, False, False, "to_do"),
        (True, False, True, "to_do"),  # somebody has deleted the folder
        (True, True, False, "to_do"),
        (True, True, True, "done"),
        (False, True, True, "done"),  # --delete-archives
        (False, True, False, "done"),
        (False, False, True, "absent"),
        (False, False, False, "absent"),
    ],
)
def test_plan_of_an_archive(root, has_archive, has_folder, is_recorded, place):
    archive = put_archive(root, VIDEOS, "S1")
    record = Record(root / "extracted" / "record.json")
    if is_recorded:
        record.add(archive)
    if not has_archive:
        archive.unlink()
    if has_folder:
        put_folder(root, VIDEOS, "S1")
    plan = extract_all.plan_run(root, ["S1", "S1"], record)
    found = {
        name: [task.archive.subject for task in tasks if task.archive.kind == VIDEOS]
        for name, tasks in plan._asdict().items()
    }
    assert found == {"to_do": [], "done": [], "absent": [], "incomplete": []} | {place: ["S1"]}
    assert sum(map(len, plan)) == len(KINDS)


def test_plan_of_some_kinds_leaves_the_others_alone(root):
    """Also what a killed run has left of them."""
    put_archive(root, VIDEOS, "S1")
    put_archive(root, BOXES, "S1")
    leftover = unfinished_folder(unpacked_folder(root, Archive(BOXES, "S1")))
    leftover.mkdir(parents=True)
    plan = extract_all.plan_run(root, ["S1"], Record(root / "extracted" / "record.json"), [VIDEOS, POSES_2D])
    found = [[task.archive.kind for task in tasks] for tasks in plan]
    assert found == [[VIDEOS], [], [POSES_2D], []] and leftover.exists()


@pytest.mark.parametrize("has_archive", [True, False])
@pytest.mark.parametrize("name", [f"S1/Videos/{NAME}", "readme.txt"])
def test_plan_notices_a_folder_without_its_files(root, name, has_archive):
    """It was unpacked by an earlier version, or its files were deleted: "nothing to do" would not be true."""
    archive, folder = put_archive(root, VIDEOS, "S1"), unpacked_folder(root, Archive(VIDEOS, "S1"))
    Record(root / "extracted" / "record.json").add(archive)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).touch()
    if not has_archive:
        archive.unlink()
    to_do, done, absent, _ = plan_of(root)
    assert ((VIDEOS, "S1") in to_do, done, (VIDEOS, "S1") in absent) == (has_archive, [], not has_archive)


@pytest.mark.parametrize("kind", [VIDEOS, BOXES])
def test_folder_without_its_files_and_without_an_archive_is_a_problem(root, kind):
    folder = unpacked_folder(root, Archive(kind, "S1"))
    folder.mkdir(parents=True)
    lines = extract_all.report_absent(tasks_without_archives(root, (kind, "S1")), ["S1"], pytest.fail)
    assert lines[1].startswith(f"{folder}: its {KIND_FACTS[kind].extension} files are not at the top of this folder")


def test_plan_takes_an_archive_that_has_changed(root):
    archive = put_archive(root, VIDEOS, "S1")
    put_folder(root, VIDEOS, "S1")
    Record(root / "extracted" / "record.json").add(archive)
    assert plan_of(root)[1] == [(VIDEOS, "S1")]
    archive.write_bytes(archive.read_bytes() + bytes(1))
    assert plan_of(root)[0] == [(VIDEOS, "S1")]


def test_plan_removes_what_a_killed_run_has_left(root):
    folder = unpacked_folder(root, Archive(VIDEOS, "S1"))
    for leftover in (unfinished_folder(folder), folder.with_name(f".{VIDEOS}.replaced")):
        leftover.mkdir(parents=True)
        (leftover / "a.mp4").write_text("half")
    plan_of(root)
    assert list(folder.parent.iterdir()) == []


def tasks_without_archives(root, *names):
    return [
        extract_all.Task(archive, archive_file(root, archive), unpacked_folder(root, archive))
        for archive in (Archive(*name) for name in names)
    ]


@pytest.mark.parametrize(
    ("absent", "problems", "said"),
    [
        ([], 0, 0),
        ([(VIDEOS, "S1")], 1, 0),
        ([(VIDEOS, "S1"), (POSES_2D, "S1"), (VIDEOS, "S5")], 2, 0),
        ([(BOXES, "S1"), (BOXES, "S5")], 0, 1),  # they are optional
        ([(BOXES, "S1")], 1, 0),  # S5 has some
        ([(BOXES, "S1"), (BOXES, "S5"), (PART_LABELS, "S5"), (VIDEOS, "S5")], 2, 1),
    ],
)
def test_absent_archives_are_problems_unless_all_of_an_optional_kind(root, absent, problems, said):
    lines = []
    found = extract_all.report_absent(tasks_without_archives(root, *absent), ["S1", "S5", "S5"], lines.append)
    assert (len(found), len(lines)) == (problems, said)
    assert all(f"{kind}_{subject}.tgz" in " ".join(found + lines) for kind, subject in absent)
    assert all(("download_all.py" in line) == ("Segments" not in line) for line in found + lines)


def test_absent_optional_kind_is_a_problem_if_it_was_asked_for(root):
    absent, lines = tasks_without_archives(root, (BOXES, "S1"), (PART_LABELS, "S1")), []
    [problem] = extract_all.report_absent(absent, ["S1"], lines.append, [BOXES])
    assert "Segments_mat_gt_bb_S1.tgz" in problem and len(lines) == 1 and "Segments_mat_gt_pl_S1.tgz" in lines[0]


def run_with(root, *options):
    """Run extract_all.py's main; return its problems."""
    return extract_all.main(extract_all.build_parser().parse_args(["--root", str(root), "--subjects", "S1", *options]))


def test_with_kinds_nothing_else_is_unpacked_named_or_deleted(root, capsys):
    """The archive of another kind is damaged and larger than the disk, and archives of other kinds are absent."""
    damaged = put_archive(root, VIDEOS, "S1", b"damaged")
    with damaged.open("r+b") as file:
        file.truncate(2 * shutil.disk_usage(root).free)
    chosen = {put_archive(root, kind, "S1") for kind in (BOXES, POSES_2D)}
    leftover = unfinished_folder(unpacked_folder(root, Archive(VIDEOS, "S1")))
    leftover.mkdir(parents=True)
    options = ["--kinds", BOXES, POSES_2D, BOXES]
    assert run_with(root, *options) == []
    assert {path.name for path in leftover.parent.iterdir()} == {BOXES, POSES_2D, leftover.name}
    output = capsys.readouterr().out
    assert "2 of 2 archives unpacked" in output and VIDEOS not in output and PART_LABELS not in output
    assert run_with(root, *options, "--delete-archives") == []
    assert capsys.readouterr().out.startswith("nothing to do: 2 archives are unpacked")
    assert damaged.exists() and not any(archive.exists() for archive in chosen)
    [problem] = run_with(root, "--kinds", PART_LABELS)
    assert f"{PART_LABELS}_S1.tgz" in problem and capsys.readouterr().out == ""


def test_space_is_required_before_anything_is_unpacked(root):
    archive = put_archive(root, VIDEOS, "S1")
    tasks = tasks_without_archives(root, (VIDEOS, "S1"))
    extract_all.require_space(root / "extracted", tasks, 1, delete_archives=False)
    with archive.open("r+b") as file:
        file.truncate(2 * shutil.disk_usage(root).free)  # a hole: it takes no space
    with pytest.raises(TaskError, match="--delete-archives"):
        extract_all.require_space(root / "extracted", tasks, 1, delete_archives=False)


def unpack_one(root, archive_content=None):
    """Unpack the archive of S1's videos; return the problem and the notice."""
    archive = put_archive(root, VIDEOS, "S1", archive_content)
    [task] = tasks_without_archives(root, (VIDEOS, "S1"))
    record = Record(root / "extracted" / "record.json")
    problem, notice = extract_all.unpack_one(task, record, lambda count: None)
    assert (problem is None) == Record(record.path).holds(archive)
    return problem, notice


def test_unpacked_archive_is_recorded_and_in_its_place(root):
    assert unpack_one(root) == (None, "")
    assert [path.name for path in unpacked_folder(root, Archive(VIDEOS, "S1")).iterdir()] == [NAME]


def test_bad_archive_is_a_problem_and_leaves_nothing(root):
    problem, _ = unpack_one(root, packed(FILE)[:-3])
    assert problem.startswith("Videos_S1.tgz is truncated") and "\n" not in problem
    assert list((root / "extracted" / "S1").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (packed(FILE)[:-3], "remove it and run download_all.py again"),
        (packed(("S1/MyPoseFeatures/D2_Positions/a.cdf", b"")), "rename it to match its content, or remove it"),
        (packed(("S5/Videos/a.mp4", b"")), "rename it to match its content, or remove it"),
        (packed(FILE, ("../a", b"")), "check its source"),
        (packed(FILE, FILE), "check its source"),
    ],
    ids=["cut off", "kind", "subject", "outside", "twice"],
)
def test_downloading_again_is_advised_where_it_helps(root, content, words):
    problem, _ = unpack_one(root, content)
    assert words in problem and problem.startswith("Videos_S1.tgz ")
    assert ("download_all.py" in problem) == ("check" not in words)


def test_folder_of_an_older_version_is_replaced(root):
    unpack_one(root, packed(FILE, ("S1/Videos/old", b"abc")))
    assert unpack_one(root) == (None, "")
    assert [path.name for path in unpacked_folder(root, Archive(VIDEOS, "S1")).iterdir()] == [NAME]
    assert [path.name for path in (root / "extracted" / "S1").iterdir()] == [VIDEOS]


def test_folder_that_no_run_has_made_is_kept_under_another_name(root):
    put_folder(root, VIDEOS, "S1")
    problem, notice = unpack_one(root)
    assert problem is None and f"{VIDEOS}.old" in notice
    assert (root / "extracted" / "S1" / f"{VIDEOS}.old" / NAME).read_text() == "old"


# -- after a power cut -------------------------------------------------------------------------------------------------

OTHER_NAME = "Walking 1.54138969.mp4"
TWO_FILES = packed((f"S1/Videos/{NAME}", b"abcd"), (f"S1/Videos/{OTHER_NAME}", b"efgh"))


def task_of_videos(root):
    [task] = tasks_without_archives(root, (VIDEOS, "S1"))
    return task


def record_of(root):
    return Record(root / "extracted" / "record.json")


def forget_files(root):
    """Take the sizes of files out of the record, as an older version wrote it."""
    record = record_of(root)
    record.add(task_of_videos(root).file)


def place_of(root):
    """Return the list of the plan that the videos of S1 are in."""
    plan = extract_all.plan_run(root, ["S1"], record_of(root), [VIDEOS])
    [name] = [name for name, tasks in plan._asdict().items() if tasks]
    return name


def unpack_again(root):
    """Unpack the archive as it is; return the problem and the notice."""
    return extract_all.unpack_one(task_of_videos(root), record_of(root), lambda count: None)


def names_in(root):
    return sorted(path.name for path in (root / "extracted" / "S1").iterdir())


def test_files_and_name_are_on_the_disk_before_the_record(root, monkeypatch):
    steps = watch_steps(monkeypatch)
    assert unpack_one(root, TWO_FILES) == (None, "")
    task = task_of_videos(root)
    number = {"file": (task.folder / NAME).stat().st_ino, "folder": task.folder.stat().st_ino}
    number |= {"subject": task.folder.parent.stat().st_ino, "root": root.stat().st_ino}
    number |= {"record": record_of(root).path.stat().st_ino}
    assert happen_in_order(
        steps,
        ("sync", number["file"]),
        ("sync", number["folder"]),
        ("rename", number["folder"]),
        ("sync", number["subject"]),
        ("sync", number["root"]),
        ("rename", number["record"]),
    )


@pytest.mark.parametrize("is_noted", [True, False])
def test_folder_with_an_empty_file_is_unpacked_again(root, is_noted):
    """Also of a version that recorded no sizes. All other files are trusted."""
    unpack_one(root, TWO_FILES)
    if not is_noted:
        forget_files(root)
    assert place_of(root) == "done"
    file = task_of_videos(root).folder / NAME
    file.write_bytes(b"")
    assert place_of(root) == "to_do"
    assert unpack_again(root) == (None, "")
    assert file.read_bytes() == b"abcd" and place_of(root) == "done" and names_in(root) == [VIDEOS]


def test_folder_with_a_missing_file_is_unpacked_again(root):
    unpack_one(root, TWO_FILES)
    (task_of_videos(root).folder / NAME).unlink()
    assert place_of(root) == "to_do"
    assert unpack_again(root) == (None, "") and place_of(root) == "done" and names_in(root) == [VIDEOS]


def test_cut_file_may_be_the_users_and_is_kept_aside(root):
    unpack_one(root, TWO_FILES)
    (task_of_videos(root).folder / NAME).write_bytes(b"abc")
    assert place_of(root) == "to_do"
    problem, notice = unpack_again(root)
    assert problem is None and f"{VIDEOS}.old" in notice and place_of(root) == "done"
    assert (root / "extracted" / "S1" / f"{VIDEOS}.old" / NAME).read_bytes() == b"abc"


def test_file_that_has_grown_is_the_users_and_left_alone(root):
    unpack_one(root, TWO_FILES)
    (task_of_videos(root).folder / NAME).write_bytes(b"encoded again")
    (task_of_videos(root).folder / "more.txt").write_bytes(b"")
    assert place_of(root) == "done"


def test_folder_of_a_run_that_did_not_come_to_record_it_is_replaced(root):
    """It is not mistaken for another tool's: no copy of it is kept."""
    unpack_one(root, TWO_FILES)
    record_of(root).path.unlink()
    assert place_of(root) == "to_do"
    assert unpack_again(root) == (None, "") and names_in(root) == [VIDEOS]


@pytest.mark.parametrize(("content", "place"), [(b"", "incomplete"), (b"abc", "incomplete"), (None, "done")])
def test_lost_file_without_its_archive_is_a_problem(root, content, place, capsys):
    """A deleted one is not: the user may have deleted it, as the archive."""
    unpack_one(root, TWO_FILES)
    record_of(root).path.rename(root / "extracted" / UNPACKED_RECORD)
    task = task_of_videos(root)
    task.file.unlink()
    (task.folder / NAME).unlink()
    if content is not None:
        (task.folder / NAME).write_bytes(content)
    problems = run_with(root, "--kinds", VIDEOS)
    assert len(problems) == (place == "incomplete")
    assert all(NAME in line and "download_all.py" in line and "\n" not in line for line in problems)


def test_archive_of_an_earlier_run_is_deleted_after_a_sync_of_its_folder(root, monkeypatch):
    """A version that did not sync may have unpacked it a moment ago."""
    unpack_one(root, TWO_FILES)
    task, synced = task_of_videos(root), []
    monkeypatch.setattr(extract_all, "sync_tree", lambda folder: synced.append(task.file.exists()))
    extract_all.delete_archive_of_earlier_run(task)
    extract_all.delete_archive_of_earlier_run(task)
    assert synced == [True] and not task.file.exists()


def test_folder_that_is_a_link_is_kept_as_such(root, tmp_path):
    unpack_one(root, packed(FILE, ("S1/Videos/old", b"abc")))
    folder = task_of_videos(root).folder
    folder.rename(tmp_path / "on another disk")
    folder.symlink_to(tmp_path / "on another disk")
    problem, notice = unpack_one(root, TWO_FILES)
    assert problem is None and f"{VIDEOS}.old" in notice
    assert (tmp_path / "on another disk" / "old").exists() and (folder / NAME).exists()
