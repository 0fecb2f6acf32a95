"""h36m/extract/unpack.py on generated archives: nothing outside of the folder, and accepted content is right."""

import collections
import gzip
import io
import posixpath
import re
import tarfile
import tempfile
from pathlib import Path

from helpers.archives import unpacked
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from h36m.dataset import VIDEOS, Archive
from h36m.errors import BadArchiveError
from h36m.sequences import file_names

WILD_PARTS = ["S1", "Videos", "a", "b.mp4", "é x", "..", ".", "", "S5", "C:", "..\\..", "/"]
WILD_NAMES = st.lists(st.sampled_from(WILD_PARTS), min_size=1, max_size=5).map("/".join)
# Names that process_all.py looks for, at the top of the folder.
VIDEO_NAMES = list(file_names(Archive(VIDEOS, "S1")).values())[:6]
TAME_NAMES = st.sampled_from(
    [
        *[f"S1/{folder}{name}" for folder, name in zip(("", "./", "a/", "a//", "b/", ""), VIDEO_NAMES, strict=True)],
        *("S1/f", "S1/a/f", "S1/.DS_Store"),
    ]
)
NAMES = st.integers(0, 9).flatmap(lambda number: WILD_NAMES if number == 9 else TAME_NAMES)
CONTENTS = st.binary(max_size=1500)  # around a tar block of 512 bytes, and beyond
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
TYPES = st.sampled_from([tarfile.REGTYPE] * 12 + [tarfile.DIRTYPE, tarfile.FIFOTYPE, *LINKS])
MEMBERS = st.lists(st.tuples(TYPES, NAMES, CONTENTS), max_size=6)

# Harmless names: no file's name is also a folder's, as it ends in a way that no folder does.
FOLDERS = st.lists(st.sampled_from(["Videos", "a", "é x", "x" * 120]), max_size=4).map(lambda parts: ["S1", *parts])
IN_FOLDERS = st.builds(lambda parts, name: "/".join([*parts, name]), FOLDERS, st.sampled_from(["c.mp4", "d.txt"]))
VIDEOS_IN_FOLDERS = st.dictionaries(st.sampled_from(VIDEO_NAMES), FOLDERS, min_size=1)
HARMLESS_FILES = st.builds(
    lambda videos, others, content: others | {"/".join([*parts, name]): content for name, parts in videos.items()},
    VIDEOS_IN_FOLDERS,
    st.dictionaries(IN_FOLDERS, CONTENTS, max_size=8),
    CONTENTS,
)


def packed(members: list, tar_format: int) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tar_format) as archive:
        for kind, name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "../b.mp4" if kind in LINKS else ""
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content) if member.size else None)
    return gzip.compress(plain.getvalue())


def below(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder: files with their contents, folders without."""
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def try_to_unpack(outer: Path, archive: bytes) -> dict[str, bytes] | None:
    """Unpack an archive deep in a folder; return the resulting files, None if it was not accepted.

    Everything else in the outer folder must stay as it is.
    """
    folder = outer / "root" / "extracted" / "S1" / "Videos"
    folder.parent.mkdir(parents=True)
    for place in (outer, outer / "root", folder.parent):
        (place / "a").mkdir()
        (place / "b.mp4").write_bytes(b"not yours")
    (outer / "Videos_S1.tgz").write_bytes(archive)
    before = below(outer)
    try:
        with unpacked(outer / "Videos_S1.tgz", folder, Archive(VIDEOS, "S1")) as (complete, _):
            assert folder.parent in complete.parents
            complete.rename(folder)
    except BadArchiveError:
        assert not folder.exists()
    after = below(outer)
    here = folder.relative_to(outer).as_posix()
    assert {name: content for name, content in after.items() if not f"{name}/".startswith(f"{here}/")} == before
    return (
        {name: content for name, content in below(folder).items() if content is not None} if folder.exists() else None
    )


def files_of(members: list) -> dict[str, bytes]:
    """Return the files of an archive without the strays, by plain strings."""
    files = {posixpath.normpath(name): content for kind, name, content in members if kind == tarfile.REGTYPE}
    return {name: content for name, content in files.items() if not re.search(r"(^|/)(\.[^/]|__MACOSX(/|$))", name)}


def assert_right(found: dict[str, bytes], members: list) -> None:
    """Check that each video is at the top, every other file is kept, and nothing else is there."""
    files = files_of(members)
    videos = {posixpath.basename(name): files[name] for name in files if posixpath.basename(name) in VIDEO_NAMES}
    assert videos and videos.items() <= found.items()
    # A file keeps the end of its path.
    ends = [(posixpath.basename(name), content) for name, content in files.items()]
    assert sorted(ends) == sorted((posixpath.basename(name), content) for name, content in found.items())
    assert all(any(f"/{whole}".endswith(f"/{name}") for whole in files) for name in found)


def test_any_members_write_nothing_outside_and_come_out_as_they_went_in():
    """Archives that are not accepted write nothing; an accepted one's files are those that went in."""
    outcomes = collections.Counter()

    @settings(max_examples=150, deadline=None, derandomize=True)  # so that as many are accepted each time
    @given(members=MEMBERS, tar_format=FORMATS)
    def check(members, tar_format):
        try:
            archive = packed(members, tar_format)
        except ValueError:  # a name that this format cannot hold
            return
        with tempfile.TemporaryDirectory() as outer:
            files = try_to_unpack(Path(outer), archive)
            outcomes[files is not None] += 1
            if files is not None:
                assert_right(files, members)

    check()
    assert outcomes[True] >= 10 and outcomes[False] >= 10, outcomes


@settings(max_examples=60, deadline=None)
@given(files=HARMLESS_FILES, tar_format=FORMATS, data=st.data())
def test_archive_of_files_in_folders_is_accepted_only_whole(files, tar_format, data):
    """A truncated one is rejected; one with a flipped bit is accepted only if its files are right."""
    members = [(tarfile.REGTYPE, name, content) for name, content in files.items()]
    try:
        archive = packed(members, tar_format)
    except ValueError:  # a name that this format cannot hold
        reject()
    at = data.draw(st.integers(0, len(archive) - 1))
    flipped = archive[:at] + bytes([archive[at] ^ 1 << data.draw(st.integers(0, 7))]) + archive[at + 1 :]
    found = []
    for content in (archive, archive[:at], flipped):
        with tempfile.TemporaryDirectory() as outer:
            found.append(try_to_unpack(Path(outer), content))
    assert_right(found[0], members)
    assert found[1] is None
    # Some bits mean nothing, such as the age in gzip's header or those that fill up the last byte.
    assert found[2] in (None, found[0])
