"""Gzip streams, unpacking and extract_all.py function by function, on small real archives."""

import gzip
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from helpers.archives import unpacked
from helpers.steps import happen_in_order, watch_steps
from hypothesis import given
from hypothesis import strategies as st

import extract_all
from h36m.archives.gzip_stream import CHUNK_BYTES, GzipStream, decompressed
from h36m.archives.members import is_in_place
from h36m.dataset import (
    BOXES,
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
from h36m.errors import BadArchiveError
from h36m.extract.unpack import unfinished_folder, unpacked_size
from h36m.sequences import file_names
from h36m.storage import Record


def packed(*members, mtime: int = 1_000_000_000) -> bytes:
    """Return a gzip'd tar of members: (name, content), or (name, type) for folders, links and devices."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mtime = mtime
            if isinstance(content, str):
                member.type, member.linkname = content.encode(), NAME
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


NAME = "Directions 1.54138969.mp4"
OTHER_NAME = "Walking.60457274.mp4"
FILE = (f"S1/Videos/{NAME}", b"abc")
TWO_FILES = packed((f"S1/Videos/{NAME}", b"abcd"), (f"S1/Videos/{OTHER_NAME}", b"efgh"))
HARDLINK, SYMLINK, DEVICE, FOLDER, FIFO = "1", "2", "3", "5", "6"


# -- gzip streams ------------------------------------------------------------------------------------------------------


def content_of(tmp_path, compressed: bytes) -> bytes:
    file = tmp_path / "a.gz"
    file.write_bytes(compressed)
    with file.open("rb", buffering=0) as raw:
        return b"".join(decompressed(raw))


@pytest.mark.parametrize(
    "pieces",
    [[b""], [b"abc", b"", b"def"], [os.urandom(2 * CHUNK_BYTES)], [bytes(20 * CHUNK_BYTES), b"x"]],
    ids=["empty", "three members", "longer than a chunk", "long zeros"],
)
@pytest.mark.parametrize("padding", [0, 7, 2 * CHUNK_BYTES])
def test_content_of_a_gzip_file_is_what_was_compressed(tmp_path, pieces, padding):
    compressed = b"".join(gzip.compress(piece, 1) + bytes(padding) for piece in pieces)
    assert content_of(tmp_path, compressed) == b"".join(pieces)


def test_bytes_read_are_counted_to_the_last(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(CHUNK_BYTES + 1000), 1))
    counts = []
    with (tmp_path / "a.gz").open("rb", buffering=0) as raw:
        for _ in decompressed(raw, counts.append):
            pass
    assert sum(counts) == (tmp_path / "a.gz").stat().st_size and max(counts) == CHUNK_BYTES


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


# -- where files are unpacked to ---------------------------------------------------------------------------------------


def outcome(folder, content: bytes, kind: str) -> tuple[dict[str, bytes], list[str]] | str:
    """Unpack an archive of S1 and read it as the download does: both accept it, or refuse it for the same reason.

    Returns:
        its files with their contents and its strays; or why it is refused. Nothing of it is left in the folder.
    """
    archive = folder / f"{kind}_S1.tgz"
    archive.write_bytes(content)
    found: tuple[dict[str, bytes], list[str]] | str
    try:
        with unpacked(archive, folder / kind, Archive(kind, "S1")) as (complete, strays):
            files = [path for path in complete.rglob("*") if not path.is_dir()]
            assert not any(path.is_symlink() or path.stat().st_mtime != 1_000_000_000 for path in files)
            found = {path.relative_to(complete).as_posix(): path.read_bytes() for path in files}, strays
    except BadArchiveError as error:
        found = str(error)
    assert check_archive(archive, Archive(kind, "S1"), None).fault == (found if isinstance(found, str) else None)
    assert list(folder.iterdir()) == [archive]
    return found


@pytest.mark.parametrize(
    "places",
    [
        {f"S1/Videos/{NAME}": NAME, f"S1/Videos/{OTHER_NAME}": OTHER_NAME},
        {NAME: NAME},
        {f"a folder/around/S1/Videos/{NAME}": NAME, f"a folder/around/S1/Videos/{OTHER_NAME}": OTHER_NAME},
        {f"S1\\Videos\\{NAME}": NAME, f"S1\\Videos\\{OTHER_NAME}": OTHER_NAME},
        {f"S1/Videos/a/{NAME}": NAME, f"S1/{OTHER_NAME}": OTHER_NAME},
        {f"S1/Videos/{NAME.upper()}": NAME, f"S1/Videos/{OTHER_NAME.lower()}": OTHER_NAME},
        {f"./S1/Videos/{NAME}": NAME, "./S1/Videos/readme": "readme", "./S1/Videos/more/x": "more/x"},
        {f"S1/Videos/{NAME}": NAME, "README": "README", "S1/Videos/README": "S1/Videos/README"},
        # The site's archives have such files too; process_all.py does not read them.
        {f"S1/Videos/{NAME}": NAME, "S1/Videos/_ALL.54138969.mp4": "_ALL.54138969.mp4"},
    ],
    ids=[
        *["one folder", "no folder", "folders around", "backslashes", "two folders", "upper and lower case"],
        *["leading dots", "other files", "_ALL"],
    ],
)
def test_files_are_unpacked_to_where_processing_looks(tmp_path, places):
    """At the top under the right names, wherever the archive has them; every other file is kept, too."""
    members = [("S1", FOLDER), *((name, name.encode()) for name in places)]
    assert outcome(tmp_path, packed(*members), VIDEOS) == ({place: name.encode() for name, place in places.items()}, [])


@pytest.mark.parametrize("kind", KINDS)
def test_strays_are_skipped_wherever_they_are(tmp_path, kind):
    """Even if they are named like one of the kind's files, or are in another subject's folder."""
    name = name_in(kind)
    strays = [f"S1/._{name}", f"__MACOSX/S1/{name}", f".Trashes/S5/{name}", "./S5/desktop.ini", "S1/x/Thumbs.db"]
    members = [(stray, b"") for stray in strays] + [("S5/.git", FOLDER), (f"S1/x/{name}", b"abc")]
    assert outcome(tmp_path, packed(*members), kind) == ({name: b"abc"}, strays)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ([f"S1/a/{NAME}", f"S1/b/{NAME}"], f"contains '{NAME}' twice: 'S1/a/{NAME}' and 'S1/b/{NAME}'"),
        ([f"S1/a/{NAME}", f"S1/a/{NAME.upper()}"], f"contains '{NAME}' twice"),
        ([FILE, FILE], f"contains '{FILE[0]}' twice"),
        ([FILE, "S1/a", "S1/A"], "contains 'A' twice"),
        ([FILE, "S1/a", "S1/A/b"], "contains 'S1/a' twice, as a file and as a folder"),
        ([FILE, "S1/a/b", "S1/a"], "contains 'S1/a' twice, as a file and as a folder"),
        ([FILE, f"S1/Videos/{NAME}/a"], f"contains 'S1/Videos/{NAME}' twice, as a file and as a folder"),
        (["S1/Videos/a.mp4"], f"contains no file of its kind, such as '{NAME}', but 'S1/Videos/a.mp4'"),
        (["S1/Videos/Directions 1.54138969.cdf"], "contains no file of its kind"),
        (["S1/Videos/WalkDog.54138969.mp4"], "contains no file of its kind"),  # S1's are named WalkingDog
        (list("abcde"), "but 'a', 'b', 'c' and 2 more"),
        ([f"S1/._{NAME}", "S1/.Trashes/a"], "contains only files created by operating systems: 'S1/._"),
        ([f"around/S5/Videos/{NAME}"], "contains the folder S5, but its name says S1"),
        ([f"around/S1/MySegmentsMat/{NAME}"], "contains S1/MySegmentsMat, but its name says Videos"),
        ([FILE, ("S1/../../a", b"abc")], "contains 'S1/../../a', which is outside"),
        *[([FILE, ("S1/b", kind)], "neither a file nor a folder") for kind in (HARDLINK, SYMLINK, DEVICE, FIFO)],
        ([("S1", FOLDER)], "contains no file"),
    ],
    ids=str,
)
def test_archive_that_cannot_be_placed_is_refused(tmp_path, members, fault):
    members = [(member, b"") if isinstance(member, str) else member for member in members]
    assert fault in outcome(tmp_path, packed(*members), VIDEOS)


@pytest.mark.parametrize(
    ("name", "kind"), [("Directions 1.54138969.cdf", POSES_3D_WORLD), ("Directions 1.cdf", POSES_2D)]
)
def test_poses_and_world_coordinates_differ_by_their_names(tmp_path, name, kind):
    assert "contains no file of its kind" in outcome(tmp_path, packed((f"x/{name}", b"")), kind)


@pytest.mark.parametrize("damage", ["header", "end", "CRC"])
def test_damage_behind_the_first_member_is_refused(tmp_path, damage):
    plain = bytearray(gzip.decompress(packed(FILE, ("S1/b", b"x" * 2000))) + bytes(3 * CHUNK_BYTES))
    if damage == "header":
        plain[1024 + 150] ^= 0xFF  # the checksum of the second member's header
    elif damage == "end":
        del plain[2000:]
    compressed = bytearray(gzip.compress(plain, compresslevel=0))
    if damage == "CRC":  # which tarfile does not come to: the rest of its chunk, and chunks after it, are read too
        compressed[-8] ^= 1
    assert ("is damaged" if damage == "CRC" else "is not a complete tar") in outcome(tmp_path, compressed, VIDEOS)


@pytest.mark.parametrize(
    ("names", "expected"),
    [([NAME, "x/a", "b"], True), ([], False), (["x.mp4"], False), ([f"S1/Videos/{NAME}"], False)],
)
def test_unpacked_folder_is_looked_into(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert is_in_place(tmp_path, Archive(VIDEOS, "S1")) is expected


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


def name_in(kind: str) -> str:
    """Return the name of a file that process_all.py reads of S1."""
    return next(iter(file_names(Archive(kind, "S1")).values()))


def record_of(root):
    return Record(root / "extracted" / UNPACKED_RECORD)


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
    """Return which archives a plan has to do, has done, and misses, and its problems."""
    plan = extract_all.plan_run(root, list(subjects), record_of(root))
    return (
        [task.archive for task in plan.to_do],
        [task.archive for task in plan.done],
        [task.archive for task in plan.absent],
        plan.problems,
    )


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
    record = record_of(root)
    if is_recorded:
        record.add(archive)
    if not has_archive:
        archive.unlink()
    if has_folder:
        put_folder(root, VIDEOS, "S1")
    places = zip(("to_do", "done", "absent"), plan_of(root, ["S1", "S1"]), strict=False)
    assert [name for name, archives in places if (VIDEOS, "S1") in archives] == [place]
    assert sum(map(len, plan_of(root, ["S1", "S1"]))) == len(KINDS)


@pytest.mark.parametrize("has_archive", [True, False])
def test_plan_notices_a_folder_without_its_files(root, has_archive):
    """They were deleted, or somebody has unpacked them to folders: "nothing to do" would not be true."""
    archive, folder = put_archive(root, VIDEOS, "S1"), unpacked_folder(root, Archive(VIDEOS, "S1"))
    record_of(root).add(archive)
    (folder / "S1" / "Videos").mkdir(parents=True)
    (folder / "S1" / "Videos" / NAME).touch()
    if not has_archive:
        archive.unlink()
    to_do, done, absent, _ = plan_of(root)
    assert ((VIDEOS, "S1") in to_do, done, (VIDEOS, "S1") in absent) == (has_archive, [], not has_archive)
    if not has_archive:
        lines = extract_all.report_absent(tasks_without_archives(root, (VIDEOS, "S1")), ["S1"], pytest.fail)
        assert lines[1].startswith(f"{folder}: its .mp4 files are not at the top of this folder")


def test_plan_takes_an_archive_that_has_changed(root):
    archive = put_archive(root, VIDEOS, "S1")
    put_folder(root, VIDEOS, "S1")
    record_of(root).add(archive)
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
    assert extract_all.lack_of_space(root, tasks, 1, delete_archives=False) == []
    with archive.open("r+b") as file:
        file.truncate(2 * shutil.disk_usage(root).free)  # a hole: it takes no space
    assert run_with(root)[-1:] == extract_all.lack_of_space(root / "extracted", tasks, 1, delete_archives=False) != []
    assert not unpacked_folder(root, Archive(VIDEOS, "S1")).parent.exists()


def test_deleted_archives_free_space_only_on_their_own_disk(root):
    """Four archives of two fifths of the free space each: with two jobs, one is deleted before the third begins."""
    memory = Path("/dev/shm")  # a file system of its own on Linux
    if not memory.is_dir() or memory.stat().st_dev == root.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    free, tasks = shutil.disk_usage(root).free, [(kind, "S1") for kind in KINDS[:4]]
    with tempfile.TemporaryDirectory(dir=memory) as other:
        for folder in (root / "archives", Path(other)):
            for kind, subject in tasks:
                # A hole, and the length that gzip notes.
                with (folder / Archive(kind, subject).file_name).open("wb") as file:
                    file.seek(free * 2 // 5 - 4)
                    file.write((free * 2 // 5 % 2**32).to_bytes(4, "little"))
        here = tasks_without_archives(root, *tasks)
        there = [task._replace(file=Path(other, task.file.name)) for task in here]
        assert extract_all.lack_of_space(root, here, 2, delete_archives=True) == []
        for to_do, deletes in ((there, True), (here, False)):
            assert "choose fewer" in extract_all.lack_of_space(root, to_do, 2, deletes)[0]


def unpack_one(root, content=None):
    """Unpack the archive of S1's videos, after it was written if there is some content; return problem and notice."""
    if content is not None:
        put_archive(root, VIDEOS, "S1", content)
    problem, notice = extract_all.unpack_one(task_of_videos(root), record_of(root), lambda count: None)
    assert (problem is None) == record_of(root).holds(task_of_videos(root).file)
    return problem, notice


def task_of_videos(root):
    [task] = tasks_without_archives(root, (VIDEOS, "S1"))
    return task


def names_in(root):
    return sorted(path.name for path in (root / "extracted" / "S1").iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (packed(FILE)[:-3], "remove it and run download_all.py again"),
        (packed(("S5/Videos/a.mp4", b"")), "rename it to match its content, or remove it, and run download_all.py"),
        (packed(FILE, ("../a", b"")), "check its source"),
        (packed(FILE, ("S1/a", SYMLINK)), "check its source"),
    ],
    ids=["cut off", "subject", "outside", "link"],
)
def test_bad_archive_leaves_nothing_and_the_remedy_helps(root, content, words):
    problem, _ = unpack_one(root, content)
    assert problem.startswith("Videos_S1.tgz ") and words in problem and "\n" not in problem
    assert ("download_all.py" in problem) == ("check" not in words)
    assert list((root / "extracted" / "S1").iterdir()) == []


def test_files_and_name_are_on_the_disk_before_the_record(root, monkeypatch):
    steps = watch_steps(monkeypatch)
    assert unpack_one(root, TWO_FILES) == (None, "")
    task = task_of_videos(root)
    number = {"file": (task.folder / NAME).stat().st_ino, "folder": task.folder.stat().st_ino}
    number |= {"subject": task.folder.parent.stat().st_ino, "root": root.stat().st_ino}
    number |= {"record": record_of(root).path.stat().st_ino}
    assert happen_in_order(
        steps,
        ("rename", number["file"]),
        ("sync", number["file"]),
        ("sync", number["folder"]),
        ("rename", number["folder"]),
        ("sync", number["subject"]),
        ("sync", number["root"]),
        ("rename", number["record"]),
    )


# -- a folder that exists ----------------------------------------------------------------------------------------------


def move(folder):
    """Move the folder to another disk, and link to it."""
    (folder / NAME).unlink()
    folder.rename(folder.parent.parent.parent / "elsewhere")
    folder.symlink_to(folder.parent.parent.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda folder: (folder / NAME).unlink(), None),
        (lambda folder: (folder / NAME).write_bytes(b""), None),
        (lambda folder: (folder / NAME).write_bytes(b"abc"), NAME),
        (lambda folder: ((folder / OTHER_NAME).unlink(), (folder / NAME).write_bytes(b"mine")), NAME),
        (lambda folder: (folder / NAME).rename(folder / "mine.txt"), "mine.txt"),
        (move, OTHER_NAME),
    ],
    ids=["deleted", "emptied", "cut", "rewritten in its size", "renamed", "moved"],
)
def test_folder_with_lost_files_is_unpacked_again(root, change, kept):
    """What may be the user's is kept: files that have another size or time stamp, and the whole folder with them."""
    unpack_one(root, TWO_FILES)
    folder = task_of_videos(root).folder
    assert plan_of(root)[1] == [(VIDEOS, "S1")]
    change(folder)
    assert plan_of(root)[0] == [(VIDEOS, "S1")]
    problem, notice = unpack_one(root)
    assert problem is None and plan_of(root)[1] == [(VIDEOS, "S1")]
    assert (folder / NAME).read_bytes() == b"abcd" and (folder / OTHER_NAME).read_bytes() == b"efgh"
    assert names_in(root) == ([VIDEOS, f"{VIDEOS}.old"] if kept else [VIDEOS])
    if kept:
        old = folder.with_name(f"{VIDEOS}.old")
        assert f"renamed to {old}" in notice and (old / kept).exists() and old.is_symlink() == (change is move)


@pytest.mark.parametrize("mine", [None, "a new file", "a changed file"])
def test_folder_of_an_earlier_version_is_replaced_if_unchanged(root, mine):
    unpack_one(root, packed(FILE, ("S1/Videos/old", b"abc")))
    folder = task_of_videos(root).folder
    if mine:
        (folder / (mine if mine == "a new file" else "old")).write_bytes(b"mine")
    assert unpack_one(root, TWO_FILES)[0] is None
    assert sorted(path.name for path in folder.iterdir()) == [NAME, OTHER_NAME]
    assert names_in(root) == ([VIDEOS, f"{VIDEOS}.old"] if mine else [VIDEOS])


@pytest.mark.parametrize("is_same", [True, False])
def test_folder_that_is_not_recorded_is_replaced_if_it_is_the_same(root, is_same):
    """A killed run may not have come to record it. A folder of another program has other time stamps, if not sizes."""
    unpack_one(root, TWO_FILES)
    record_of(root).path.unlink()
    if not is_same:
        os.utime(task_of_videos(root).folder / NAME)
    assert plan_of(root)[0] == [(VIDEOS, "S1")]
    assert unpack_one(root)[0] is None
    assert names_in(root) == ([VIDEOS] if is_same else [VIDEOS, f"{VIDEOS}.old"])


def test_file_where_the_folder_belongs_is_kept(root):
    task_of_videos(root).folder.parent.mkdir()
    task_of_videos(root).folder.write_text("mine")
    assert unpack_one(root, TWO_FILES)[0] is None
    assert (root / "extracted" / "S1" / f"{VIDEOS}.old").read_text() == "mine"


def test_file_that_has_grown_is_the_users_and_left_alone(root):
    unpack_one(root, TWO_FILES)
    (task_of_videos(root).folder / NAME).write_bytes(b"encoded again")
    (task_of_videos(root).folder / "more.txt").write_bytes(b"")
    assert plan_of(root)[1] == [(VIDEOS, "S1")]


@pytest.mark.parametrize("content", [b"", b"abc", None])
def test_truncated_file_without_its_archive_is_a_problem(root, content):
    """A deleted one is not: the user may have deleted it, as the archive."""
    unpack_one(root, TWO_FILES)
    task_of_videos(root).file.unlink()
    file = task_of_videos(root).folder / NAME
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    problems = run_with(root, "--kinds", VIDEOS)
    assert len(problems) == (content is not None)
    assert all(NAME in line and "download_all.py" in line and "\n" not in line for line in problems)
